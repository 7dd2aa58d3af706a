// SPDX-License-Identifier: GPL-2.0-or-later
/* C1: status is passive, and answers in the middle of a slow freeze. */
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "contract.h"

static unsigned long long ios(void)
{
	unsigned long long reads, writes;
	char path[64];
	struct stat st;
	FILE *file;

	check(!fstat(dev, &st));
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(st.st_rdev),
		 minor(st.st_rdev));
	file = fopen(path, "re");
	if (!file)
		skip("no %s", path);
	check(fscanf(file, "%llu %*u %*u %*u %llu", &reads, &writes) == 2);
	fclose(file);
	return reads + writes;
}

TEST(C1, "status answers while a writer keeps a freeze waiting")
{
	int fs = open_dir(scratch_fs(0)), bdev = open_dev(scratch(0)), fd;
	pid_t freezer;

	fd = no_hold(fs);
	check_state(fd, THAWED);

	freezer = start_stalled_freeze(fs, fd);
	/* Each of these would never return if it waited for the freeze. */
	check_state(fs, FREEZING);
	check_state(bdev, FREEZING);
	check_state(fd, FREEZING);
	check_hold(fd, NONE);
	check_eq(status_of(fs).frozen_ns, 0);
	check_eq(events(fd), 0);

	end_slow_write();
	reap(freezer);
	check_state(fs, FROZEN);
	check_state(bdev, FROZEN);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C1, "status answers while an umount holds s_umount")
{
	const char *device = dm_over(scratch(0)), *path;
	struct freezefd_status status;
	int fs, bdev, fd, ret;
	pid_t umounter;

	path = new_fs(device, "slow");
	bdev = open_dev(device);
	fs = open_dir(path);
	make_dirty(fs);
	fd = no_hold(fs);
	close(fs);

	dm_stall();
	IN_CHILD(umounter)
		check(!umount2(path, 0));
	wait_blocked(umounter);
	check_state(fd, THAWED);
	/* Either side of the moment at which the filesystem leaves the device. */
	ret = freezefd_status(bdev, &status);
	check(ret == 0 || ret == -ENODEV);
	dm_let_go();
	reap(umounter);
}

static int sync_fs(int fs, const char *path)
{
	(void)path;
	return syncfs(fs);
}

/* To become read-only it writes back. */
static int remount_readonly(int fs, const char *path)
{
	(void)fs;
	return mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

/* While the call waits for the device, and holds s_umount. */
static void check_answers_during(int (*call)(int fs, const char *path))
{
	const char *device = dm_over(scratch(0)), *path;
	int fs, bdev, fd;
	pid_t caller;

	path = new_fs(device, "slow");
	fs = open_dir(path);
	bdev = open_dev(device);
	fd = no_hold(fs);
	make_dirty(fs);

	dm_stall();
	IN_CHILD(caller)
		check(!call(fs, path));
	wait_blocked(caller);
	check_state(fs, THAWED);
	check_state(bdev, THAWED);
	check_state(fd, THAWED);
	dm_let_go();
	reap(caller);
}

TEST(C1, "status answers while a sync holds s_umount")
{
	check_answers_during(sync_fs);
}

TEST(C1, "status answers while a remount holds s_umount against everybody")
{
	check_answers_during(remount_readonly);
}

TEST(C1, "status of a frozen filesystem answers while writers wait")
{
	int fd = hold(dir);
	pid_t writer[4];

	for (size_t i = 0; i < ARRAY_SIZE(writer); i++)
		writer[i] = start_writer(dir);
	for (size_t i = 0; i < ARRAY_SIZE(writer); i++)
		wait_blocked(writer[i]);
	check_state(dir, FROZEN);
	check_state(dev, FROZEN);
	check_state(fd, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
	for (size_t i = 0; i < ARRAY_SIZE(writer); i++)
		reap(writer[i]);
}

TEST(C1, "status changes nothing and does no I/O")
{
	unsigned long long before;
	struct freezefd_status s;
	int fd;

	for (int i = 0; i < 1000; i++) {
		check_state(dir, THAWED);
		check_state(dev, THAWED);
	}
	s = status_of(dir);
	check_eq(s.hold, FREEZEFD_HOLD_NONE);
	check_eq(s.fd_holds, 0);
	check_eq(s.user_holds, 0);
	check_eq(s.kernel_holds, 0);
	check_eq(s.frozen_ns, 0);
	check_eq(s.timeout_ns, 0);
	check_writable(dir);

	/* Frozen, so that nobody else has a reason for I/O. */
	fd = hold(dir);
	before = ios();
	for (int i = 0; i < 1000; i++) {
		check_state(dir, FROZEN);
		check_state(dev, FROZEN);
		check_state(fd, FROZEN);
	}
	check_eq(ios(), before);
	check_eq(status_of(fd).fd_holds, 1);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C1, "status tells since when, and no state longer than it lasts")
{
	uint64_t before = nsec(), first;
	int fd = hold(dir);

	first = status_of(dir).frozen_ns;
	check(first > 0);
	wait_until(status_of(dir).frozen_ns > first);
	check(status_of(dev).frozen_ns > first);
	check(status_of(fd).frozen_ns > first);
	check(status_of(dir).frozen_ns < nsec() - before);

	/* A second hold does not begin the freeze anew. */
	first = status_of(dir).frozen_ns;
	close(hold(dir));
	check(status_of(dir).frozen_ns > first);

	check_eq(freezefd_thaw(fd), 0);
	check_eq(status_of(dir).frozen_ns, 0);
	before = nsec();
	check_eq(freezefd_freeze(fd), 0);
	check(status_of(dir).frozen_ns < nsec() - before);
}

TEST(C1, "status needs no privilege beyond the open file")
{
	int fd = hold(dir);
	pid_t nobody;

	IN_CHILD(nobody) {
		check(!setresgid(65534, 65534, 65534));
		check(!setresuid(65534, 65534, 65534));
		check_state(dir, FROZEN);
		check_state(dev, FROZEN);
		check_state(fd, FROZEN);
		check_hold(fd, HELD);
	}
	reap(nobody);
}

TEST(C1, "status answers on any kind of file of the filesystem")
{
	int file, node, fd;

	file = openat(dir, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	check(file >= 0);
	check(!mkfifoat(dir, "fifo", 0600));
	node = openat(dir, "fifo", O_RDWR | O_CLOEXEC);
	check(node >= 0);
	check(!unlinkat(dir, "file", 0));
	check(!unlinkat(dir, "fifo", 0));

	fd = hold(file);
	check_state(file, FROZEN);
	check_state(node, FROZEN);
	check_state(dir, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
	check_state(node, THAWED);
}

/* The beginning of struct statmount of linux/mount.h, as far as is asked for here. */
struct statmount_result {
	uint32_t size, mnt_opts;
	uint64_t mask;
	uint64_t more[16];
	uint64_t supported_mask;
	uint32_t uidmap_num, uidmap, gidmap_num, gidmap;
	uint32_t sb_freeze_state, spare;
	uint64_t sb_frozen_ns;
	uint64_t rest[64];
};

#define NR_STATMOUNT	    457
#define STATMOUNT_SUPPORTED 0x1000
#define STATMOUNT_SB_FREEZE 0x8000

static struct statmount_result statmount_of(int fd)
{
	struct statmount_result result = {0};
	struct statx stx;
	struct {
		uint32_t size, spare;
		uint64_t mnt_id, param, mnt_ns_id;
	} request = {.size = 32, .param = STATMOUNT_SUPPORTED | STATMOUNT_SB_FREEZE};

	/* STATX_MNT_ID_UNIQUE of Linux 6.8 */
	check(!statx(fd, "", AT_EMPTY_PATH, 0x4000, &stx));
	memcpy(&request.mnt_id, (const char *)&stx + 0x90, sizeof(request.mnt_id));
	if (syscall(NR_STATMOUNT, &request, &result, sizeof(result), 0))
		skip("no statmount(): %s", strerror(errno));
	if (!(result.supported_mask & STATMOUNT_SB_FREEZE))
		skip("statmount() of this kernel does not tell");
	return result;
}

TEST(C1, "raw: statmount() tells the state of a mount, and nothing of what cannot be frozen")
{
	/* The mount of this test's namespace: dir is one of another. */
	int here = open_dir(getenv("FREEZEFD_TEST_DIR")), fd;
	struct statmount_result result = statmount_of(here);

	check(result.mask & STATMOUNT_SB_FREEZE);
	check_eq(result.sb_freeze_state, FREEZE_STATE_THAWED);
	check_eq(result.sb_frozen_ns, 0);
	fd = hold(dir);
	result = statmount_of(here);
	check_eq(result.sb_freeze_state, FREEZE_STATE_FROZEN);
	check(result.sb_frozen_ns && result.sb_frozen_ns <= status_of(fd).frozen_ns);
	check_eq(freezefd_thaw(fd), 0);
	check_eq(statmount_of(here).sb_freeze_state, FREEZE_STATE_THAWED);
	check(!(statmount_of(open_dir("/proc")).mask & STATMOUNT_SB_FREEZE));
}
