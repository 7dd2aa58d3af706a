// SPDX-License-Identifier: GPL-2.0-or-later
/* C13: SysRq-j thaws all that is frozen, and holders are told. */
#include "contract.h"

/* do_thaw_all() of fs/super.c logs it. */
#define COMPLETE "Emergency Thaw complete"

/* Begins it; returns the log of the kernel, to be read from here on. */
static int start_emergency_thaw(void)
{
	int fd, log;

	need_machine();
	fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		skip("no /proc/sysrq-trigger to write to");
	log = open_log();
	check(write(fd, "j", 1) == 1);
	close(fd);
	return log;
}

/*
 * A worker of the kernel goes over all filesystems, and again over those that
 * were busy: what is frozen before it has ended may thaw as well.
 */
static void emergency_thaw(void)
{
	int log = start_emergency_thaw();

	wait_until(log_says(log, COMPLETE));
	close(log);
}

TEST(C13, "SysRq-j revokes every hold")
{
	int fd[3], idle = no_hold(dir);
	pid_t writer;

	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = hold(i % 2 ? dev : dir);
	writer = start_writer(dir);
	wait_blocked(writer);
	emergency_thaw();
	wait_state(dir, THAWED);
	reap(writer);
	check_eq(status_of(dir).fd_holds, 0);
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
		wait_until(events(fd[i]) == POLLERR);
		check_hold(fd[i], REVOKED);
		check_eq(freezefd_thaw(fd[i]), -ECANCELED);
		check_eq(freezefd_thaw(fd[i]), -EINVAL);
	}
	check_hold(idle, NONE);
	check_eq(events(idle), 0);
	check_eq(freezefd_freeze(fd[0]), 0);
	check_state(dir, FROZEN);
	check_eq(freezefd_thaw(fd[0]), 0);
}

TEST(C13, "SysRq-j thaws holds and FIFREEZE together")
{
	int fd = hold(dir);

	check(!ioctl(dir, FIFREEZE, 0));
	emergency_thaw();
	wait_state(dir, THAWED);
	check_eq(status_of(dir).user_holds, 0);
	check_eq(freezefd_thaw(fd), -ECANCELED);
	check(ioctl(dir, FITHAW, 0) == -1 && errno == EINVAL);
	check_writable(dir);
}

TEST(C13, "SysRq-j reaches what is unmounted")
{
	const char *path = scratch_fs(0);
	int bdev = open_dev(scratch(0)), fd = hold(bdev);

	check(!umount2(path, 0));
	emergency_thaw();
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_REVOKED);
	wait_until(try_open_excl(scratch(0)) == 0);
	check_eq(freezefd_thaw(fd), -ECANCELED);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	check_eq(freezefd_thaw(fd), -ESTALE);
}

TEST(C13, "SysRq-j thaws what is being frozen, later, and the others at once")
{
	int fs, fd, other, log;
	pid_t freezer;

	if (is_guardian(dir))
		skip("the kernel skips what is being frozen");
	need_machine();
	fs = open_dir(scratch_fs(0));
	fd = no_hold(fs);
	other = hold(dir);
	freezer = start_stalled_freeze(fs, fd);
	log = start_emergency_thaw();
	wait_until(status_of(other).hold == FREEZEFD_HOLD_REVOKED);
	wait_state(dir, THAWED);
	check_state(fs, FREEZING);
	end_slow_write();
	reap(freezer);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_REVOKED);
	wait_state(fs, THAWED);
	wait_until(log_says(log, COMPLETE));
	check_eq(freezefd_thaw(fd), -ECANCELED);
}

TEST(C13, "SysRq-j thaws what is being frozen although another freeze hangs")
{
	pid_t freezer, other;
	int fs, fd;

	if (is_guardian(dir))
		skip("the kernel skips what is being frozen");
	need_machine();
	fs = open_dir(scratch_fs(0));
	fd = no_hold(fs);
	freezer = start_stalled_freeze(fs, fd);
	/* The kernel comes to the older filesystem first. */
	shared[0] = 0;
	IN_CHILD(other) {
		pid_t hanging = start_stalled_freeze(dir, no_hold(dir));

		shared[0] = 1;
		wait_until(shared[0] == 2);
		end_slow_write();
		reap(hanging);
	}
	wait_until(shared[0] == 1);
	close(start_emergency_thaw());
	end_slow_write();
	reap(freezer);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_REVOKED);
	wait_state(fs, THAWED);
	check_state(dir, FREEZING);
	shared[0] = 2;
	reap(other);
	wait_state(dir, THAWED);
}
