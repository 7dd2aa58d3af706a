// SPDX-License-Identifier: GPL-2.0-or-later
/* C12: bad input, and never a freeze left behind by a call that failed. */
#include "contract.h"

/* Neither freezes nor is revoked. */
static void check_cannot_freeze(int target)
{
	struct freezefd_status status;

	check_eq(freezefd_open(target, NULL), -EOPNOTSUPP);
	check_eq(try_hold(target, FREEZEFD_THAWED, 0), -EOPNOTSUPP);
	check_eq(freezefd_thaw_force(target), -EINVAL);
	/* Its writers may wait for what is below it, as those of an overlay do. */
	check_eq(freezefd_status(target, &status), -EOPNOTSUPP);
}

TEST(C12, "a filesystem that cannot freeze is EOPNOTSUPP, its status too")
{
	int tmpfs;

	check(!mount("tmpfs", "/mnt", "tmpfs", 0, NULL));
	tmpfs = open_dir("/mnt");
	check_cannot_freeze(tmpfs);
	check_cannot_freeze(open_dir("/proc"));
	check_cannot_freeze(open_dir("/sys"));
	check_cannot_freeze(open_dir("/dev"));
}

TEST(C12, "overlayfs does not hand the freeze down")
{
	int fs;

	check(!mount("tmpfs", "/mnt", "tmpfs", 0, NULL));
	check(!mkdir("/mnt/u", 0755) && !mkdir("/mnt/w", 0755) && !mkdir("/mnt/m", 0755));
	if (mount("overlay", "/mnt/m", "overlay", 0,
		  "lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w"))
		skip("no overlay here: %s", strerror(errno));
	fs = open_dir("/mnt/m");
	check_cannot_freeze(fs);
	fs = open("/mnt/m/passwd", O_RDWR | O_CLOEXEC);
	check(fs >= 0);
	check_cannot_freeze(fs);
}

TEST(C12, "pipes, sockets and device nodes cannot freeze")
{
	int pipe_fd[2], pair[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);

	check(null >= 0 && !pipe2(pipe_fd, O_CLOEXEC));
	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	check_cannot_freeze(null);
	check_cannot_freeze(pipe_fd[0]);
	check_cannot_freeze(pair[0]);
}

TEST(C12, "O_PATH and closed descriptors are EBADF")
{
	int by_path = open(getenv("FREEZEFD_TEST_DIR"), O_PATH | O_CLOEXEC), closed = dup(dir);
	int bad[] = {by_path, closed, -1};
	struct freezefd_status status;

	check(by_path >= 0 && closed >= 0 && !close(closed));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		check_eq(freezefd_open(bad[i], NULL), -EBADF);
		check_eq(freezefd_status(bad[i], &status), -EBADF);
		check_eq(freezefd_thaw_force(bad[i]), -EBADF);
		check_eq(freezefd_freeze(bad[i]), -EBADF);
		check_eq(freezefd_thaw(bad[i]), -EBADF);
		check_eq(freezefd_set_timeout(bad[i], 1), -EBADF);
	}
	check_state(dir, THAWED);
}

TEST(C12, "a freeze descriptor is no target")
{
	int fd = hold(dir), idle = no_hold(dir);

	check(freezefd_open(fd, NULL) < 0);
	check(freezefd_open(idle, NULL) < 0);
	check_eq(freezefd_thaw_force(fd), -EOPNOTSUPP);
	check(ioctl(fd, FIFREEZE, 0) < 0);
	check(ioctl(fd, FITHAW, 0) < 0);
	check_hold(fd, HELD);
	check_hold(idle, NONE);
	check_eq(status_of(dir).fd_holds, 1);
	check_eq(status_of(dir).user_holds, 0);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C12, "other files are no freeze descriptors")
{
	int pipe_fd[2], other[] = {dir, dev, -1};

	check(!pipe2(pipe_fd, O_CLOEXEC));
	other[2] = pipe_fd[0];
	for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
		check(freezefd_freeze(other[i]) < 0);
		check(freezefd_thaw(other[i]) < 0);
		check(freezefd_set_timeout(other[i], SECOND) < 0);
	}
	check_state(dir, THAWED);
}

TEST(C12, "options that are not understood are EINVAL and freeze nothing")
{
	const struct freezefd_options good = {.size = sizeof(good)};
	struct freezefd_options bad[6];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].flags = 4;
	bad[1].flags = 1U << 31 | FREEZEFD_THAWED;
	bad[2].reserved = 1;
	bad[3].timeout_ns = UINT64_MAX;
	bad[4].size = 0;
	bad[5].engine = "no such engine";
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		check_eq(freezefd_open(dir, &bad[i]), -EINVAL);
		check_eq(freezefd_open(dev, &bad[i]), -EINVAL);
		check_state(dir, THAWED);
	}
	check_writable(dir);
}

/* From now on the device of DM answers every request with an error, or with what it should. */
static void fail_device(bool fail)
{
	if (fail)
		dm_become("error");
	else
		dm_become("linear %s 0", scratch(0));
}

TEST(C12, "a freeze that fails for the device leaves nothing frozen")
{
	const char *device = dm_over(scratch(0)), *path;

	for (int i = 0; i < 3; i++) {
		int fs, bdev, idle;

		path = new_fs(device, "broken");
		fs = open_dir(path);
		bdev = open_dev(device);
		idle = no_hold(fs);
		sh("dd if=/dev/zero of=%s/dirty bs=64k count=64 status=none", path);

		fail_device(true);
		check((i == 0	? freezefd_open(fs, NULL)
		       : i == 1 ? freezefd_open(bdev, NULL)
				: freezefd_freeze(idle)) < 0);
		check_state(fs, THAWED);
		check_eq(status_of(fs).fd_holds, 0);
		check_eq(status_of(fs).frozen_ns, 0);
		check_hold(idle, NONE);
		check_eq(freezefd_thaw(idle), -EINVAL);

		/* Nothing of the freeze keeps it here. */
		close(fs);
		close(bdev);
		check(!umount2(path, 0));
		wait_until(status_of(idle).hold == FREEZEFD_HOLD_GONE);
		fail_device(false);
	}
}

/* Its mount waits for the device, of which it is the holder already. */
TEST(C12, "a filesystem that is being mounted is no target yet")
{
	const char *device = dm_over(scratch(0)), *path = new_fs(device, "late");
	const int bdev = open_dev(device);
	struct freezefd_status status;
	pid_t mounter;

	check(!umount2(path, 0));
	wait_until(freezefd_status(bdev, &status) == -ENODEV);
	/* Nothing of it is left in memory. */
	check(!ioctl(bdev, BLKFLSBUF, 0));
	dm_stall();
	IN_CHILD(mounter)
		check(!mount(device, path, fstype(), 0, NULL));
	wait_blocked(mounter);
	check_eq(freezefd_status(bdev, &status), -ENODEV);
	check_eq(try_hold(bdev, 0, 0), -ENODEV);
	check_eq(try_hold(bdev, FREEZEFD_THAWED, 0), -ENODEV);
	check_eq(freezefd_thaw_force(bdev), -ENODEV);
	dm_let_go();
	reap(mounter);
}
