// SPDX-License-Identifier: GPL-2.0-or-later
/* C10: the administrator's override. */
#include "contract.h"

TEST(C10, "force thaw with nothing to thaw is EINVAL")
{
	check_eq(freezefd_thaw_force(dir), -EINVAL);
	check_eq(freezefd_thaw_force(dev), -EINVAL);
	close(hold(dir));
	wait_state(dir, THAWED);
	check_eq(freezefd_thaw_force(dir), -EINVAL);
	check_eq(freezefd_thaw_force(dev), -EINVAL);
}

TEST(C10, "force thaw drops every hold at once")
{
	int fd[4], target[] = {dir, dev};

	for (size_t t = 0; t < ARRAY_SIZE(target); t++) {
		pid_t writer;

		for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
			fd[i] = hold(target[i % 2]);
		check(!ioctl(dir, FIFREEZE, 0));
		writer = start_writer(dir);
		wait_blocked(writer);
		check_eq(freezefd_thaw_force(target[t]), 0);
		reap(writer);
		check_state(dir, THAWED);
		check_eq(status_of(dir).fd_holds, 0);
		check_eq(status_of(dir).user_holds, 0);
		check(ioctl(dir, FITHAW, 0) == -1 && errno == EINVAL);
		for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
			check_hold(fd[i], REVOKED);
			check_eq(freezefd_thaw(fd[i]), -ECANCELED);
			close(fd[i]);
		}
		check_eq(freezefd_thaw_force(target[t]), -EINVAL);
	}
}

TEST(C10, "a revoked descriptor drops nobody's hold when it is closed")
{
	int revoked = hold(dir), fd;

	check_eq(freezefd_thaw_force(dir), 0);
	fd = hold(dir);
	close(revoked);
	check_state(dir, FROZEN);
	check_eq(status_of(dir).fd_holds, 1);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C10, "force thaw drops FIFREEZE alone")
{
	check(!ioctl(dir, FIFREEZE, 0));
	check_eq(freezefd_thaw_force(dev), 0);
	check_state(dir, THAWED);
	check_writable(dir);
	check(!ioctl(dir, FIFREEZE, 0));
	check_eq(freezefd_thaw_force(dir), 0);
	check_state(dir, THAWED);
}

TEST(C10, "a descriptor that holds nothing is not told of a force thaw")
{
	int idle = no_hold(dir), fd = hold(dir);

	check_eq(freezefd_thaw_force(dir), 0);
	check_hold(idle, NONE);
	check_eq(events(idle), 0);
	check_eq(freezefd_thaw(idle), -EINVAL);
	check_eq(freezefd_thaw(fd), -ECANCELED);
}

TEST(C10, "force thaw reaches what is unmounted and whose holder is beyond SIGKILL")
{
	const char *path = scratch_fs(0);
	int fs = open_dir(path), bdev = open_dev(scratch(0));
	struct freezefd_status status;
	pid_t holder;

	shared[0] = 0;
	IN_CHILD(holder) {
		int fd = hold(fs);

		shared[0] = 1;
		check(openat(fs, "own", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0);
		check_eq(freezefd_thaw(fd), -ECANCELED);
	}
	wait_until(shared[0]);
	wait_blocked(holder);
	close(fs);
	check(!umount2(path, MNT_DETACH));
	check_state(bdev, FROZEN);
	check_eq(freezefd_thaw_force(bdev), 0);
	reap(holder);
	wait_until(freezefd_status(bdev, &status) == -ENODEV);
}

TEST(C10, "force thaw of an unmounted filesystem frees the device")
{
	const char *path = scratch_fs(0);
	int bdev = open_dev(scratch(0)), fd = hold(bdev);
	struct freezefd_status status;

	check(!umount2(path, 0));
	check_eq(freezefd_thaw_force(bdev), 0);
	wait_until(freezefd_status(bdev, &status) == -ENODEV);
	wait_until(try_open_excl(scratch(0)) == 0);
	check_hold(fd, REVOKED);
	check_eq(events(fd) & POLLERR, POLLERR);
	check_eq(freezefd_thaw(fd), -ECANCELED);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	check_eq(freezefd_thaw(fd), -ESTALE);
}

TEST(C10, "force thaw of an unmounted FIFREEZE frees the device")
{
	const char *path = scratch_fs(0);
	int fs = open_dir(path), bdev = open_dev(scratch(0));

	check(!ioctl(fs, FIFREEZE, 0));
	close(fs);
	check(!umount2(path, 0));
	check_state(bdev, FROZEN);
	check_eq(status_of(bdev).user_holds, 1);
	check_eq(freezefd_thaw_force(bdev), 0);
	wait_until(try_open_excl(scratch(0)) == 0);
}

/* seen_asleep() of who may also end: then there is no hold left to wait for. */
static bool may_be_asleep(pid_t pid, unsigned int *in_row)
{
	*in_row = process_state(pid) == 'D' ? *in_row + 1 : 0;
	return *in_row == 25;
}

static void force_suspended(int fs, int bdev)
{
	unsigned int in_row = 0;
	pid_t forcer;

	check_eq(status_of(fs).user_holds, 1);
	/* To thaw may be to write, which has to wait for the device. */
	IN_CHILD(forcer)
		check_eq(freezefd_thaw_force(bdev), 0);
	/* Where the kernel does not count holds it is frozen until that has been written. */
	wait_until(status_of(fs).user_holds == 0 ||
		   (!is_native(fs) && may_be_asleep(forcer, &in_row)));
	sh("dmsetup resume " DM);
	reap(forcer);
	check_state(fs, THAWED);
	check_eq(status_of(fs).user_holds, 0);
	check_writable(fs);
}

/* Whatever counts the block layer's freezes still counts right. */
static void check_suspend_freezes(int fs)
{
	sh("dmsetup suspend " DM);
	if (status_of(fs).state == FREEZE_STATE_THAWED && is_guardian(fs)) {
		dm_let_go();
		skip("all but this: the kernel's block layer keeps a count that FITHAW does not know");
	}
	check_state(fs, FROZEN);
	sh("dmsetup resume " DM);
	check_state(fs, THAWED);
}

TEST(C10, "force thaw drops the block layer's hold, and device-mapper can go on")
{
	const char *device = dm_over(scratch(0));
	int fs = dm_freezable_fs(device), bdev = open_dev(device);

	for (int i = 0; i < 2; i++) {
		sh("dmsetup suspend " DM);
		force_suspended(fs, bdev);
		check_suspend_freezes(fs);
	}
}

TEST(C10, "force thaw drops the block layer's hold and that of a descriptor")
{
	const char *device = dm_over(scratch(0));
	int fs = dm_freezable_fs(device), bdev = open_dev(device), fd = hold(fs);

	dm_suspend_within_hold(fs);
	force_suspended(fs, bdev);
	check_eq(freezefd_thaw(fd), -ECANCELED);
	check_suspend_freezes(fs);
}

TEST(C10, "force thaw leaves the kernel's own holds alone")
{
	int fs, bdev, fd = -1;
	pid_t resizer;

	resizer = start_kernel_hold(&fs, &bdev);
	check_eq(freezefd_thaw_force(fs), -EINVAL);
	check_eq(freezefd_thaw_force(bdev), -EINVAL);
	check_eq(status_of(fs).kernel_holds, 1);

	/* A hold nests in one under which the kernel writes only where that keeps nobody away. */
	if (is_guardian(fs)) {
		fd = hold(fs);
		check_eq(freezefd_thaw_force(fs), 0);
		check_hold(fd, REVOKED);
		check_state(fs, FROZEN);
		check_eq(status_of(fs).kernel_holds, 1);
		check_eq(status_of(fs).fd_holds, 0);
		check_eq(status_of(fs).user_holds, 0);
		check_eq(freezefd_thaw(fd), -ECANCELED);
		/* A hold that is made meanwhile outlives the kernel's. */
		check_eq(freezefd_freeze(fd), 0);
	}
	dm_let_go();
	reap(resizer);
	check_eq(status_of(fs).kernel_holds, 0);
	if (fd >= 0) {
		check_hold(fd, HELD);
		check_state(fs, FROZEN);
		check_eq(freezefd_thaw(fd), 0);
	}
	check_state(fs, THAWED);
	check_writable(fs);
}
