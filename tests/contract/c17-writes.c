// SPDX-License-Identifier: GPL-2.0-or-later
/* C17: no freeze while the kernel itself writes under a hold of its own. */
#include "contract.h"

TEST(C17, "while the kernel writes under its hold, nothing is frozen and nobody can freeze")
{
	int fs, bdev, idle;
	pid_t resizer;

	if (is_guardian(dir))
		skip("FIFREEZE nests in any hold of the kernel");
	resizer = start_kernel_hold(&fs, &bdev);
	idle = no_hold(bdev);
	/* Writers wait, and the device changes all the same. */
	check_state(fs, FREEZING);
	check_state(bdev, FREEZING);
	check_eq(status_of(fs).frozen_ns, 0);
	check_eq(freezefd_open(fs, NULL), -EBUSY);
	check_eq(freezefd_open(bdev, NULL), -EBUSY);
	check_eq(freezefd_freeze(idle), -EBUSY);
	check_hold(idle, NONE);
	check(ioctl(fs, FIFREEZE, 0) == -1 && errno == EBUSY);
	check_eq(status_of(fs).fd_holds + status_of(fs).user_holds, 0);

	dm_let_go();
	reap(resizer);
	check_state(fs, THAWED);
	check_eq(freezefd_freeze(idle), 0);
	check_state(fs, FROZEN);
	check_eq(freezefd_thaw(idle), 0);
	check_writable(fs);
}

TEST(C17, "the kernel does not write under its hold to what others hold frozen")
{
	pid_t resizer;
	int fs, fd;

	if (strcmp(fstype(), "f2fs"))
		skip("only f2fs writes while the kernel holds it");
	if (is_guardian(dir))
		skip("FIFREEZE nests in any hold of the kernel");
	fs = open_dir(scratch_fs(0));
	/* Before it freezes it wants to write: so it waits for the thaw. */
	fd = hold(fs);
	IN_CHILD(resizer)
		check_eq(shrink_f2fs(fs, scratch(0)), 0);
	wait_blocked(resizer);
	check_eq(status_of(fs).kernel_holds, 0);
	check_eq(freezefd_thaw(fd), 0);
	reap(resizer);
	check_state(fs, THAWED);
}
