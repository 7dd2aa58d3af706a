// SPDX-License-Identifier: GPL-2.0-or-later
/* C5: holds are independent of each other and of every other kind of freeze. */
#include "contract.h"

static int fifreeze(int fd)
{
	return ioctl(fd, FIFREEZE, 0) ? -errno : 0;
}

static int fithaw(int fd)
{
	return ioctl(fd, FITHAW, 0) ? -errno : 0;
}

static void check_counts(int fd, unsigned int fd_holds, unsigned int user_holds)
{
	const struct freezefd_status status = status_of(fd);

	check_eq(status.fd_holds, fd_holds);
	check_eq(status.user_holds, user_holds);
	check_eq(status.kernel_holds, 0);
	check_eq(status.state, fd_holds + user_holds ? FREEZE_STATE_FROZEN : FREEZE_STATE_THAWED);
}

TEST(C5, "of many holds the last one thaws, in whatever order they go")
{
	int fd[16], order[] = {7, 0, 15, 3, 12, 1, 14, 9, 2, 11, 5, 8, 13, 6, 10, 4};
	pid_t writer;

	for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
		fd[i] = hold(i % 2 ? dir : dev);
		check_counts(dir, i + 1, 0);
	}
	writer = start_writer(dir);
	wait_blocked(writer);
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
		check_counts(dir, ARRAY_SIZE(fd) - i, 0);
		check_hold(fd[order[i]], HELD);
		check_eq(process_state(writer), 'D');
		if (i % 3)
			check_eq(freezefd_thaw(fd[order[i]]), 0);
		else
			close(fd[order[i]]);
	}
	wait_state(dir, THAWED);
	reap(writer);
}

TEST(C5, "a thaw drops one's own hold only")
{
	int a = hold(dir), b = hold(dir);

	check_eq(freezefd_thaw(a), 0);
	check_eq(freezefd_thaw(a), -EINVAL);
	check_eq(freezefd_thaw(a), -EINVAL);
	check_hold(a, NONE);
	check_hold(b, HELD);
	check_counts(dir, 1, 0);
	check_state(a, FROZEN);
	check_eq(freezefd_thaw(b), 0);
	check_counts(dir, 0, 0);
}

TEST(C5, "FITHAW of a stranger does not drop the hold")
{
	int fd = hold(dir);
	pid_t writer = start_writer(dir);

	wait_blocked(writer);
	for (int i = 0; i < 3; i++)
		check_eq(fithaw(dir), -EINVAL);
	check_counts(dir, 1, 0);
	check_hold(fd, HELD);
	check_eq(events(fd), 0);
	wait_blocked(writer);
	check_eq(freezefd_thaw(fd), 0);
	reap(writer);
}

TEST(C5, "FIFREEZE and FITHAW give the results they always gave")
{
	check_eq(fithaw(dir), -EINVAL);
	check_eq(fifreeze(dir), 0);
	check_counts(dir, 0, 1);
	check(status_of(dir).frozen_ns > 0);
	check_eq(fifreeze(dir), -EBUSY);
	check_counts(dir, 0, 1);
	check_eq(fithaw(dir), 0);
	check_counts(dir, 0, 0);
	check_eq(fithaw(dir), -EINVAL);
}

TEST(C5, "FIFREEZE and FITHAW nest within a hold")
{
	int fd = hold(dir);

	check_eq(fifreeze(dir), 0);
	check_counts(dir, 1, 1);
	check_eq(fifreeze(dir), -EBUSY);
	check_eq(fithaw(dir), 0);
	check_counts(dir, 1, 0);
	check_eq(fithaw(dir), -EINVAL);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
	check_counts(dir, 0, 0);
}

TEST(C5, "a hold nests within FIFREEZE and FITHAW")
{
	int fd;

	check_eq(fifreeze(dir), 0);
	fd = hold(dir);
	check_counts(dir, 1, 1);
	check_eq(freezefd_thaw(fd), 0);
	check_counts(dir, 0, 1);
	check_eq(freezefd_freeze(fd), 0);
	check_counts(dir, 1, 1);
	close(fd);
	wait_until(status_of(dir).fd_holds == 0);
	check_counts(dir, 0, 1);
	check_eq(fithaw(dir), 0);
	check_counts(dir, 0, 0);
}

TEST(C5, "FIFREEZE outlives the hold that it began in")
{
	int fd = hold(dir);

	check_eq(fifreeze(dir), 0);
	close(fd);
	wait_until(status_of(dir).fd_holds == 0);
	check_counts(dir, 0, 1);
	check_eq(fithaw(dir), 0);
	check_counts(dir, 0, 0);
	check_writable(dir);
}

TEST(C5, "device-mapper suspends and resumes within a hold")
{
	int fs = dm_freezable_fs(dm_over(scratch(0))), fd;
	pid_t writer;

	/* What it does without us. */
	sh("dmsetup suspend " DM);
	check_counts(fs, 0, 1);
	sh("dmsetup resume " DM);
	check_counts(fs, 0, 0);

	fd = hold(fs);
	dm_suspend_within_hold(fs);
	check_counts(fs, 1, 1);
	sh("dmsetup resume " DM);
	check_counts(fs, 1, 0);
	check_hold(fd, HELD);
	writer = start_writer(fs);
	wait_blocked(writer);
	check_eq(freezefd_thaw(fd), 0);
	reap(writer);
}

TEST(C5, "a hold that ends while device-mapper is suspended leaves it frozen")
{
	int fs = dm_freezable_fs(dm_over(scratch(0))), fd = hold(fs);

	dm_suspend_within_hold(fs);
	close(fd);
	/* Where a guardian drops it, the hold is still among those of user space for a moment. */
	wait_until(status_of(fs).fd_holds == 0 && status_of(fs).user_holds == 1);
	check_counts(fs, 0, 1);
	sh("dmsetup resume " DM);
	check_counts(fs, 0, 0);
	check_writable(fs);
}

TEST(C5, "a hold begins and ends while device-mapper is suspended, and one outlives that")
{
	int fs = dm_freezable_fs(dm_over(scratch(0))), fd;

	sh("dmsetup suspend " DM);
	fd = hold(fs);
	check_counts(fs, 1, 1);
	check_eq(freezefd_thaw(fd), 0);
	check_counts(fs, 0, 1);
	check_eq(freezefd_freeze(fd), 0);

	sh("dmsetup resume " DM);
	check_counts(fs, 1, 0);
	check_eq(freezefd_thaw(fd), 0);
	check_counts(fs, 0, 0);
	check_writable(fs);
}

TEST(C5, "freeze-on-suspend comes and goes within a hold")
{
	int fd;

	need_machine();
	if (access("/sys/power/freeze_filesystems", W_OK) || access("/sys/power/pm_test", W_OK))
		skip("the kernel has no freeze_filesystems or no pm_test");
	sh("echo 1 >/sys/power/freeze_filesystems && echo freezer >/sys/power/pm_test");
	cleanup("echo 0 >/sys/power/freeze_filesystems; echo none >/sys/power/pm_test");
	try_sh("echo 1 >/sys/module/suspend/parameters/pm_test_delay");

	fd = hold(dir);
	/* Freezes the filesystems, then the processes, waits for a while, thaws both. */
	sh("echo freeze >/sys/power/state || echo mem >/sys/power/state");
	check_counts(dir, 1, 0);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
	check_counts(dir, 0, 0);
	check_writable(dir);

	/* And what it does without us. */
	sh("echo freeze >/sys/power/state || echo mem >/sys/power/state");
	check_counts(dir, 0, 0);
}
