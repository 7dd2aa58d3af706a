// SPDX-License-Identifier: GPL-2.0-or-later
/* C12: the kernel's calls as they are, below the library. */
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <linux/freezefd_dev.h>

#include "contract.h"

#define STATUS(size) _IOC(_IOC_READ, 0x15, 0x40, size)
#define OPEN(size)   _IOC(_IOC_WRITE, 0x15, 0x41, size)

/* What a later version of a struct may be, as seen from here. */
#define BIG 256

static int call(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

/* Two pages, of which the second cannot be touched. */
static char *end_of_memory(void)
{
	const size_t page = sysconf(_SC_PAGESIZE);
	static char *end;

	if (!end) {
		end = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);
		check(end != MAP_FAILED);
		end += page;
		check(!mprotect(end, page, PROT_NONE));
	}
	return end;
}

static int module_device(void)
{
	static int device = -1;

	if (device < 0)
		device = open("/dev/freezefd", O_RDONLY | O_CLOEXEC);
	check(device >= 0);
	return device;
}

/*
 * A call on a target, whatever its argument: the kernel's own or, with the kernel module, the one on its device, which has the
 * number of the target before the argument.
 */
static int ask(int target, unsigned long request, void *arg)
{
	const char *engine = getenv("FREEZEFD_ENGINE");
	const struct freezefd_dev_target head = {.fd = target};
	char *end = end_of_memory(), buffer[sizeof(head) + BIG];
	const size_t size = _IOC_SIZE(request);
	unsigned int dir = _IOC_DIR(request) | _IOC_WRITE;
	struct stat st;
	int device, ret;

	check(!fstat(target, &st));
	if (!engine || strcmp(engine, "module") || !(st.st_mode & S_IFMT))
		return call(target, request, arg);
	device = module_device();
	request = _IOC(dir, 0x15, _IOC_NR(request) + 8, size + sizeof(head));
	if (!arg)
		arg = end;
	if ((char *)arg <= end && (char *)arg >= end - BIG) {
		/* The argument stays where it is. */
		memcpy((char *)arg - sizeof(head), &head, sizeof(head));
		return call(device, request, (char *)arg - sizeof(head));
	}
	memcpy(buffer, &head, sizeof(head));
	memcpy(buffer + sizeof(head), arg, size);
	ret = call(device, request, buffer);
	memcpy(arg, buffer + sizeof(head), size);
	return ret;
}

static void check_nothing_done(void)
{
	check_state(dir, THAWED);
	check_eq(status_of(dir).fd_holds, 0);
}

TEST(C12, "raw: numbers and layout of the interface")
{
	check_eq(STATUS(FREEZE_STATUS_SIZE_VER0), 0x80281540);
	check_eq(FS_IOC_FREEZE_STATUS, 0x80301540);
	check_eq(FS_IOC_FREEZEFD, 0x40101541);
	check_eq(FS_IOC_THAW_FORCE, 0x1542);
	check_eq(FREEZEFD_IOC_FREEZE, 0x1543);
	check_eq(FREEZEFD_IOC_THAW, 0x1544);
	check_eq(FREEZEFD_IOC_TIMEOUT, 0x40081545);
	check_eq(FREEZE_STATUS_SIZE_VER0, 40);
	check_eq(sizeof(struct freeze_status), FREEZE_STATUS_SIZE_VER1);
	check_eq(sizeof(struct freezefd_args), FREEZEFD_ARGS_SIZE_VER0);
	check_eq(offsetof(struct freeze_status, frozen_ns), 24);
	check_eq(offsetof(struct freeze_status, timeout_ns), 32);
	check_eq(offsetof(struct freeze_status, bdev_holds), 40);
	check_eq(offsetof(struct freezefd_args, timeout_ns), 8);
	check_eq(FREEZEFD_DEV_STATUS, 0xc0381548);
	check_eq(FREEZEFD_DEV_FREEZEFD, 0x40181549);
	check_eq(FREEZEFD_DEV_THAW_FORCE, 0x4008154a);
}

TEST(C12, "raw: status of every size")
{
	int fd = no_hold(dir), target[] = {dir, dev, fd};
	unsigned char buffer[BIG];

	for (size_t t = 0; t < ARRAY_SIZE(target); t++) {
		check_eq(ask(target[t], STATUS(0), buffer), -EINVAL);
		check_eq(ask(target[t], STATUS(8), buffer), -EINVAL);
		check_eq(ask(target[t], STATUS(FREEZE_STATUS_SIZE_VER0 - 1), buffer), -EINVAL);
		memset(buffer, 0xff, BIG);
		check_eq(ask(target[t], STATUS(FREEZE_STATUS_SIZE_VER0), buffer), 0);
		check_eq(buffer[FREEZE_STATUS_SIZE_VER0], 0xff);
		memset(buffer, 0xff, BIG);
		check_eq(ask(target[t], STATUS(BIG - 1), buffer), 0);
		/* What the kernel does not know it zeroes. */
		for (int i = FREEZE_STATUS_SIZE_VER1; i < BIG - 1; i++)
			check_eq(buffer[i], 0);
		check_eq(buffer[BIG - 1], 0xff);
	}
}

TEST(C12, "raw: status to a bad address is EFAULT")
{
	int fd = no_hold(dir), target[] = {dir, dev, fd};
	char *end = end_of_memory();

	for (size_t t = 0; t < ARRAY_SIZE(target); t++) {
		check_eq(ask(target[t], FS_IOC_FREEZE_STATUS, NULL), -EFAULT);
		check_eq(ask(target[t], FS_IOC_FREEZE_STATUS, end), -EFAULT);
		check_eq(ask(target[t], FS_IOC_FREEZE_STATUS, end - 8), -EFAULT);
		check_eq(ask(target[t], FS_IOC_FREEZE_STATUS, end - sizeof(struct freeze_status)),
			 0);
		check_eq(ask(target[t], STATUS(BIG), end - sizeof(struct freeze_status)), -EFAULT);
	}
}

TEST(C12, "raw: arguments of every size")
{
	union {
		struct freezefd_args args;
		unsigned char bytes[BIG];
	} u = {.args = {.flags = FREEZEFD_THAWED}};
	int target[] = {dir, dev}, fd;

	for (size_t t = 0; t < ARRAY_SIZE(target); t++) {
		check_eq(ask(target[t], OPEN(0), &u), -EINVAL);
		check_eq(ask(target[t], OPEN(8), &u), -EINVAL);
		check_eq(ask(target[t], OPEN(FREEZEFD_ARGS_SIZE_VER0 - 1), &u), -EINVAL);
		check_nothing_done();
		fd = ask(target[t], OPEN(BIG), &u);
		check(fd >= 0 && !close(fd));
		for (int i = FREEZEFD_ARGS_SIZE_VER0; i < BIG; i += 3) {
			u.args.flags = i % 2;
			u.bytes[i] = 1;
			check_eq(ask(target[t], OPEN(BIG), &u), -E2BIG);
			/* Beyond the size that was given nobody looks. */
			u.args.flags = FREEZEFD_THAWED;
			fd = ask(target[t], FS_IOC_FREEZEFD, &u);
			check(fd >= 0 && !close(fd));
			u.bytes[i] = 0;
		}
		check_nothing_done();
	}
}

TEST(C12, "raw: unknown flags and values are EINVAL")
{
	const struct freezefd_args bad[] = {
		{.flags = 2},
		{.flags = 1U << 31},
		{.flags = ~0U},
		{.flags = FREEZEFD_THAWED, .reserved = 1},
		{.reserved = 1U << 31},
		{.timeout_ns = (uint64_t)INT64_MAX + 1},
		{.flags = FREEZEFD_THAWED, .timeout_ns = UINT64_MAX},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct freezefd_args args = bad[i];

		check_eq(ask(dir, FS_IOC_FREEZEFD, &args), -EINVAL);
		check_eq(ask(dev, FS_IOC_FREEZEFD, &args), -EINVAL);
		check_nothing_done();
	}
}

TEST(C12, "raw: arguments at a bad address are EFAULT")
{
	int fd = hold(dir), target[] = {dir, dev};
	char *end = end_of_memory();

	check_eq(call(fd, FREEZEFD_IOC_TIMEOUT, NULL), -EFAULT);
	check_eq(call(fd, FREEZEFD_IOC_TIMEOUT, end - 4), -EFAULT);
	check_eq(status_of(fd).timeout_ns, 0);
	check_eq(freezefd_thaw(fd), 0);
	for (size_t t = 0; t < ARRAY_SIZE(target); t++) {
		check_eq(ask(target[t], FS_IOC_FREEZEFD, NULL), -EFAULT);
		check_eq(ask(target[t], FS_IOC_FREEZEFD, end), -EFAULT);
		check_eq(ask(target[t], FS_IOC_FREEZEFD, end - 8), -EFAULT);
		check_eq(ask(target[t], OPEN(BIG), end - FREEZEFD_ARGS_SIZE_VER0), -EFAULT);
		check_nothing_done();
	}
}

TEST(C12, "raw: with no descriptor left it is EMFILE, and nothing is frozen")
{
	struct freezefd_args args = {0};
	struct freeze_status status;
	const int asked = ask(dir, FS_IOC_FREEZE_STATUS, &status);
	const int lowest = dup(dir), saved = dup(dir);
	const struct rlimit full = {lowest, 4096}, enough = {4096, 4096};

	check(!asked && saved >= 0 && !close(saved) && !close(lowest));
	check(!setrlimit(RLIMIT_NOFILE, &full));
	check_eq(ask(dir, FS_IOC_FREEZEFD, &args), -EMFILE);
	check_eq(ask(dev, FS_IOC_FREEZEFD, &args), -EMFILE);
	check(!setrlimit(RLIMIT_NOFILE, &enough));
	check_nothing_done();
	check_writable(dir);
}

TEST(C12, "raw: who may ask is looked at before what is asked")
{
	pid_t nobody;

	IN_CHILD(nobody) {
		check(!setresuid(65534, 65534, 65534));
		check_eq(ask(dir, FS_IOC_FREEZEFD, NULL), -EPERM);
		check_eq(ask(dev, FS_IOC_FREEZEFD, NULL), -EPERM);
		check_eq(ask(dir, OPEN(0), NULL), -EPERM);
	}
	reap(nobody);
}

TEST(C12, "raw: a freeze descriptor does nothing else")
{
	int fd = hold(dir);
	char byte = 0;

	check(read(fd, &byte, 1) < 0);
	check(write(fd, &byte, 1) < 0);
	check(pread(fd, &byte, 1, 0) < 0);
	check(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
	check(ftruncate(fd, 0) < 0);
	check_eq(call(fd, _IO(0x15, 0x46), NULL), -ENOTTY);
	check_eq(call(fd, _IO('?', 1), NULL), -ENOTTY);
	check_eq(call(dir, FREEZEFD_IOC_FREEZE, NULL), -ENOTTY);
	check_eq(call(dir, FREEZEFD_IOC_THAW, NULL), -ENOTTY);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C12, "raw: a 32-bit caller gets the same")
{
	pid_t caller;

	if (access(CALLER32, X_OK))
		skip("%s was not built: the compiler has no -m32", CALLER32);
	IN_CHILD(caller) {
		execl(CALLER32, CALLER32, getenv("FREEZEFD_ENGINE") ?: "native",
		      getenv("FREEZEFD_TEST_DIR"), getenv("FREEZEFD_TEST_DEV"), NULL);
		if (errno == ENOEXEC)
			skip("the kernel runs no 32-bit programs");
		check(!"exec");
	}
	reap(caller);
	check_nothing_done();
}

static int ask_device(unsigned long request, void *arg)
{
	return call(module_device(), request, arg);
}

TEST(C12, "raw: what the device of the module is asked of no target, or in no call of it")
{
	struct freezefd_dev_status status = {.fd = -1};
	struct freezefd_dev_args args = {.fd = -1};
	struct freezefd_dev_target target = {.fd = -1};
	const int path = open("/", O_PATH | O_CLOEXEC);

	if (!is_module(dir))
		skip("the engine has no device");
	for (;;) {
		check_eq(ask_device(FREEZEFD_DEV_STATUS, &status), -EBADF);
		check_eq(ask_device(FREEZEFD_DEV_FREEZEFD, &args), -EBADF);
		check_eq(ask_device(FREEZEFD_DEV_THAW_FORCE, &target), -EBADF);
		if (status.fd == path)
			break;
		status.fd = args.fd = target.fd = status.fd == -1 ? 4095 : path;
	}
	status.fd = args.fd = target.fd = dir;
	status.reserved = args.reserved = target.reserved = 1;
	check_eq(ask_device(FREEZEFD_DEV_STATUS, &status), -EINVAL);
	check_eq(ask_device(FREEZEFD_DEV_FREEZEFD, &args), -EINVAL);
	check_eq(ask_device(FREEZEFD_DEV_THAW_FORCE, &target), -EINVAL);
	check_eq(ask_device(FREEZEFD_DEV_STATUS, NULL), -EFAULT);
	check_eq(ask_device(_IOC(_IOC_READ | _IOC_WRITE, 0x15, 0x48, 0), &status), -EINVAL);
	check_eq(ask_device(_IOC(_IOC_READ | _IOC_WRITE, 0x15, 0x48, 7), &status), -EINVAL);
	check_eq(ask_device(_IOC(_IOC_READ, 0x15, 0x48, sizeof(status)), &status), -ENOTTY);
	check_eq(ask_device(_IO(0x15, 0x4b), &status), -ENOTTY);
	check_eq(ask_device(FS_IOC_FREEZEFD, &args), -ENOTTY);
	check_eq(ask_device(FREEZEFD_IOC_FREEZE, &args), -ENOTTY);
	check_nothing_done();
}

TEST(C12, "raw: a freeze descriptor as the target of the module's device")
{
	const int fd = hold(dir);
	struct freezefd_dev_status status = {.fd = fd};
	struct freezefd_dev_args args = {.fd = fd};
	struct freezefd_dev_target target = {.fd = fd};

	if (!is_module(dir))
		skip("the engine has no device");
	check_eq(ask_device(FREEZEFD_DEV_STATUS, &status), 0);
	check_eq(status.status.hold, FREEZEFD_HOLD_HELD);
	check_eq(status.status.fd_holds, 1);
	check_eq(ask_device(FREEZEFD_DEV_FREEZEFD, &args), -EOPNOTSUPP);
	check_eq(ask_device(FREEZEFD_DEV_THAW_FORCE, &target), -EINVAL);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}
