// SPDX-License-Identifier: GPL-2.0-or-later
/* Filesystems and devices of a test's own. */
#include <limits.h>
#include <stdarg.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <sys/ioctl.h>
#include <linux/dm-ioctl.h>
#include <linux/userfaultfd.h>

#include "contract.h"

const char *scratch(unsigned int i)
{
	const char *list = getenv("FREEZEFD_TEST_SCRATCH");
	static char path[4][PATH_MAX];
	int n;

	check(i < ARRAY_SIZE(path));
	for (unsigned int k = 0; k <= i; k++) {
		if (!list || sscanf(list, "%4095s%n", path[i], &n) != 1)
			skip("FREEZEFD_TEST_SCRATCH names fewer than %u devices", i + 1);
		list += n;
	}
	return path[i];
}

const char *fstype(void)
{
	const char *type = getenv("FREEZEFD_TEST_FSTYPE");

	if (!type || !*type)
		skip("FREEZEFD_TEST_FSTYPE is not set");
	return type;
}

void need_machine(void)
{
	const char *shared_with = getenv("FREEZEFD_TEST_SHARED");

	if (shared_with && *shared_with)
		skip("all of the machine would feel it, and others use that");
}

static int vsh(const char *fmt, va_list args)
{
	char command[1024];
	int status;

	check(vsnprintf(command, sizeof(command), fmt, args) < (int)sizeof(command));
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int try_sh(const char *fmt, ...)
{
	va_list args;
	int status;

	va_start(args, fmt);
	status = vsh(fmt, args);
	va_end(args);
	return status;
}

void sh(const char *fmt, ...)
{
	va_list args;
	int status;

	va_start(args, fmt);
	status = vsh(fmt, args);
	va_end(args);
	if (status) {
		errno = 0;
		fail_at(__FILE__, __LINE__, "exit status %d of: %s", status, fmt);
	}
}

int open_log(void)
{
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (log < 0)
		skip("no /dev/kmsg to read");
	check(lseek(log, 0, SEEK_END) == 0);
	return log;
}

bool log_says(int log, const char *text)
{
	char line[8192];
	ssize_t n = read(log, line, sizeof(line) - 1);

	line[n > 0 ? n : 0] = 0;
	return strstr(line, text);
}

void need_program(const char *name)
{
	if (try_sh("command -v %s >/dev/null", name))
		skip("%s is not installed", name);
}

void make_fs(const char *device)
{
	/* What was unmounted, or thawed unmounted, may still be on its way out. */
	wait_until(try_open_excl(device) != -EBUSY);
	/*
	 * Only the e2fsprogs have another letter for "whatever is on it". ext4's
	 * lazy initialisation holds s_umount while it waits for a stopped device:
	 * ext4_lazyinit_thread() in fs/ext4/super.c, here and in mount_fs().
	 */
	sh("mkfs.%s -q %s %s >/dev/null", fstype(),
	   strncmp(fstype(), "ext", 3) ? "-f" : "-F -E lazy_itable_init=0", device);
}

const char *mount_fs(const char *device, const char *name, unsigned long flags, const char *data)
{
	static bool prepared;
	char *path;

	/* In the test's own mount namespace: gone with it. */
	if (!prepared)
		check(!mount("contract", "/mnt", "tmpfs", 0, NULL));
	prepared = true;
	check(asprintf(&path, "/mnt/%s", name) > 0);
	check(!mkdir(path, 0755) || errno == EEXIST);
	if (!data && !strcmp(fstype(), "ext4"))
		data = "no_prefetch_block_bitmaps";
	check(!mount(device, path, fstype(), flags, data));
	return path;
}

const char *new_fs(const char *device, const char *name)
{
	make_fs(device);
	return mount_fs(device, name, 0, NULL);
}

const char *scratch_fs(unsigned int i)
{
	char name[32];

	snprintf(name, sizeof(name), "scratch%u", i);
	return new_fs(scratch(i), name);
}

int open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	check(fd >= 0);
	return fd;
}

int open_dev(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	check(fd >= 0);
	return fd;
}

/* 0 when the device is free: no filesystem, no device-mapper has it. */
int try_open_excl(const char *path)
{
	int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

#define NULLB_NAME "freezefd-null"
#define NULLB	   "/sys/kernel/config/nullb/" NULLB_NAME

const char *null_disk(unsigned int cache_mib)
{
	static char path[64];
	unsigned int number;
	FILE *file;

	if (access("/sys/kernel/config/nullb", F_OK))
		mount("configfs", "/sys/kernel/config", "configfs", 0, NULL);
	if (mkdir(NULLB, 0755))
		skip("no null_blk: %s", strerror(errno));
	cleanup("echo 0 >" NULLB "/power; rmdir " NULLB);
	sh("cd " NULLB " && echo 1 >memory_backed && echo 320 >size && echo %u >cache_size",
	   cache_mib);
	null_power(true);
	/* Named after its directory, or by its number on kernels that do not know that. */
	if (!access("/dev/" NULLB_NAME, F_OK))
		return "/dev/" NULLB_NAME;
	file = fopen(NULLB "/index", "re");
	check(file && fscanf(file, "%u", &number) == 1);
	fclose(file);
	snprintf(path, sizeof(path), "/dev/nullb%u", number);
	return path;
}

void null_power(bool on)
{
	sh("echo %d >" NULLB "/power", on);
}

const char *dm_over(const char *device)
{
	need_program("dmsetup");
	/* The node may be there without the driver. */
	if (try_sh("dmsetup version >/dev/null 2>&1"))
		skip("no device-mapper");
	cleanup("dmsetup resume " DM "; dmsetup remove --retry " DM);
	sh("echo 0 $(blockdev --getsz %s) linear %s 0 | dmsetup create " DM, device, device);
	return "/dev/mapper/" DM;
}

int dm_opens(void)
{
	static int control = -1;
	struct dm_ioctl info = {
		.version = {DM_VERSION_MAJOR},
		.data_size = sizeof(info),
		.name = DM,
	};

	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	check(!ioctl(control, DM_DEV_STATUS, &info));
	return info.open_count;
}

int slow_fs(void)
{
	return open_dir(new_fs(dm_over(scratch(0)), "slow"));
}

void dm_stall(void)
{
	sh("dmsetup suspend --noflush --nolockfs " DM);
}

int dm_freezable_fs(const char *device)
{
	int fs = open_dir(new_fs(device, "dm"));

	sh("dmsetup suspend " DM);
	if (!is_native(fs) && status_of(fs).state == FREEZE_STATE_THAWED) {
		dm_let_go();
		skip("the block layer of this kernel finds no %s on a device", fstype());
	}
	check_state(fs, FROZEN);
	dm_let_go();
	check_state(fs, THAWED);
	return fs;
}

void dm_suspend_within_hold(int fs)
{
	int failed = try_sh("dmsetup suspend " DM);

	if (failed && !is_native(fs))
		skip("this kernel does not suspend what is frozen already");
	check_eq(failed, 0);
}

void dm_let_go(void)
{
	sh("dmsetup resume " DM);
}

void dm_become(const char *fmt, ...)
{
	char target[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(target, sizeof(target), fmt, args);
	va_end(args);
	dm_stall();
	sh("echo 0 $(blockdev --getsz %s) %s | dmsetup load " DM, scratch(0), target);
	dm_let_go();
}

/*
 * A new name: something for the journal, and for nobody else. Were there data,
 * the kernel might begin to write it back, and would then hold s_umount for as
 * long as the device is stalled: the freeze that a test wants stuck would not begin.
 */
void make_dirty(int dirfd)
{
	int fd;

	check(!unlinkat(dirfd, "dirty", 0) || errno == ENOENT);
	fd = openat(dirfd, "dirty", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	check(fd >= 0);
	close(fd);
}

/* The pipes to and from the child of start_slow_write(), and its process. */
static int slow_began[2], slow_go[2];
static pid_t slow_writer;

static void *write_page(void *page)
{
	int fd = openat(shared[1], "slow", O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	check(fd >= 0 && write(fd, page, 1) == 1);
	return NULL;
}

/* The kernel wants the page when it has access to the filesystem, and waits for it. */
static void write_slowly(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffdio_zeropage zero;
	struct pollfd fault = {.events = POLLIN};
	const long size = sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t writer;
	char go;

	fault.fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fault.fd < 0)
		skip("no userfaultfd: %s", strerror(errno));
	range.range.start = (uintptr_t)page;
	range.range.len = size;
	check(page != MAP_FAILED && !ioctl(fault.fd, UFFDIO_API, &api) &&
	      !ioctl(fault.fd, UFFDIO_REGISTER, &range));
	check(!pthread_create(&writer, NULL, write_page, page));
	check(poll(&fault, 1, -1) == 1);
	check(write(slow_began[1], "", 1) == 1 && read(slow_go[0], &go, 1) == 1);
	zero = (struct uffdio_zeropage){.range = range.range};
	check(!ioctl(fault.fd, UFFDIO_ZEROPAGE, &zero));
	check(!pthread_join(writer, NULL));
}

void start_slow_write(int fs)
{
	char began;

	check(!pipe2(slow_began, O_CLOEXEC) && !pipe2(slow_go, O_CLOEXEC));
	shared[1] = fs;
	IN_CHILD(slow_writer) {
		close(slow_began[0]);
		write_slowly();
	}
	close(slow_began[1]);
	if (read(slow_began[0], &began, 1) != 1)
		skip("no userfaultfd");
}

void end_slow_write(void)
{
	check(write(slow_go[1], "", 1) == 1);
	reap(slow_writer);
}

pid_t start_stalled_freeze(int fs, int fd)
{
	pid_t freezer;

	start_slow_write(fs);
	IN_CHILD(freezer)
		check_eq(freezefd_freeze(fd), 0);
	wait_state(fs, FREEZING);
	wait_in_freeze(freezer);
	return freezer;
}

int shrink_f2fs(int fs, const char *device)
{
	const unsigned int block_count_at = 1024 + 36, section = 512;
	uint64_t blocks;
	int bdev = open_dev(device);

	check(pread(bdev, &blocks, sizeof(blocks), block_count_at) == sizeof(blocks));
	close(bdev);
	blocks = (blocks / section - 4) * section;
	return ioctl(fs, _IOW(0xf5, 16, uint64_t), &blocks) ? -errno : 0;
}

/*
 * f2fs freezes in the kernel's name while it shrinks, and writes then: on a
 * device that stalls, the kernel holds for as long as we like.
 */
pid_t start_kernel_hold(int *fs, int *bdev)
{
	unsigned int in_row = 0;
	const char *device;
	pid_t resizer;

	if (strcmp(fstype(), "f2fs"))
		skip("only on f2fs can user space make the kernel hold for long");
	device = dm_over(scratch(0));
	*fs = open_dir(new_fs(device, "dm"));
	*bdev = open_dev(device);
	check(!syncfs(*fs));
	dm_stall();
	IN_CHILD(resizer)
		check_eq(shrink_f2fs(*fs, scratch(0)), 0);
	wait_until(status_of(*fs).kernel_holds == 1 ||
		   (is_guardian(*fs) && seen_asleep(resizer, 'D', &in_row)));
	if (status_of(*fs).kernel_holds == 0) {
		dm_let_go();
		reap(resizer);
		skip("on this kernel f2fs writes first, or its freeze is not told from FIFREEZE");
	}
	return resizer;
}
