// SPDX-License-Identifier: GPL-2.0-or-later
/* C19: the thaw by force is the last resort: it ends, and goes behind no filesystem's back. */
#include "contract.h"

/* A child that forces a thaw and waits for somebody is killed. */
static void check_killable(int target)
{
	unsigned int in_row = 0;
	pid_t forcer;

	IN_CHILD(forcer)
		freezefd_thaw_force(target);
	wait_until(seen_asleep(forcer, 'D', &in_row));
	kill(forcer, SIGKILL);
	check(WIFSIGNALED(end_of(forcer)));
}

TEST(C19, "a force thaw that waits for a freeze can be killed")
{
	int fs, bdev, fd;
	pid_t freezer;

	if (is_guardian(dir))
		skip("it does not wait for a freeze that it did not begin");
	fs = open_dir(scratch_fs(0));
	bdev = open_dev(scratch(0));
	fd = no_hold(fs);
	freezer = start_stalled_freeze(fs, fd);
	check_killable(fs);
	check_killable(bdev);
	end_slow_write();
	reap(freezer);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw_force(fs), 0);
}

TEST(C19, "a force thaw that waits for the lock of the superblock can be killed")
{
	const char *device, *path;
	int fs, bdev;
	pid_t remounter;

	if (is_guardian(dir))
		skip("FITHAW cannot be interrupted");
	device = dm_over(scratch(0));
	path = new_fs(device, "slow");
	fs = open_dir(path);
	bdev = open_dev(device);
	make_dirty(fs);
	dm_stall();
	/* To become read-only it writes back, with the lock held. */
	IN_CHILD(remounter)
		check(!mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL));
	wait_blocked(remounter);
	check_killable(fs);
	check_killable(bdev);
	dm_let_go();
	reap(remounter);
}

/* It withdraws, and is of no use any more, when its own thaw finds it thawed. */
TEST(C19, "force and FITHAW at once leave gfs2 working")
{
	pid_t racer[4];
	int fs;

	if (is_guardian(dir))
		skip("it thaws by FITHAW alone");
	need_program("mkfs.gfs2");
	if (try_sh("grep -qw gfs2 /proc/filesystems"))
		skip("the kernel has no gfs2");
	sh("mkfs.gfs2 -O -q -p lock_nolock -j 1 -J 8 %s >/dev/null 2>&1", scratch(0));
	check(!mount("contract", "/mnt", "tmpfs", 0, NULL) && !mkdir("/mnt/gfs2", 0755));
	check(!mount(scratch(0), "/mnt/gfs2", "gfs2", 0, "lockproto=lock_nolock"));
	fs = open_dir("/mnt/gfs2");
	for (int round = 0; round < 100; round++) {
		int fd = round % 2 ? freezefd_open(fs, NULL) : -1;

		if (fd < 0)
			check(!ioctl(fs, FIFREEZE, 0));
		for (size_t i = 0; i < ARRAY_SIZE(racer); i++)
			IN_CHILD(racer[i]) {
				if (i % 2)
					freezefd_thaw_force(fs);
				else
					ioctl(fs, FITHAW, 0);
			}
		for (size_t i = 0; i < ARRAY_SIZE(racer); i++)
			reap(racer[i]);
		freezefd_thaw_force(fs);
		check_state(fs, THAWED);
		if (fd >= 0)
			close(fd);
	}
	check_writable(fs);
	sh("! dmesg | grep -E 'gfs2|GFS2' | grep -iE 'withdraw|fatal'");
}

/* Removed with its driver: what is mapped there must go, and so must whoever keeps it frozen. */
TEST(C19, "the removal of a DAX device revokes holds, as it drops FIFREEZE's")
{
	const char *const pmem = "/dev/pmem0", *const driver = "/sys/bus/nd/drivers/nd_pmem/unbind";
	int fs, fd;

	if (strcmp(fstype(), "xfs"))
		skip("only XFS drops freezes then");
	if (access(pmem, F_OK) || access(driver, F_OK))
		skip("the machine has no persistent memory");
	if (is_guardian(dir))
		skip("the kernel drops FIFREEZE, and nobody is told");
	sh("mkfs.xfs -qf -m rmapbt=1,reflink=1 %s", pmem);
	fs = open_dir(mount_fs(pmem, "pmem", 0, "dax=always"));
	fd = hold(fs);
	sh("echo $(basename $(readlink -f /sys/class/block/pmem0/device)) >%s", driver);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_REVOKED);
	check_eq(freezefd_thaw(fd), -ECANCELED);
}
