// SPDX-License-Identifier: GPL-2.0-or-later
/* C17: no freeze while the kernel itself writes under a hold of its own. */
#include <inttypes.h>
#include <sys/sysmacros.h>

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

/* Those that are complete, since the device is there. */
static uint64_t count_writes(const char *device)
{
	uint64_t writes;
	struct stat st;
	char path[64];
	FILE *file;

	check(!stat(device, &st));
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(st.st_rdev),
		 minor(st.st_rdev));
	file = fopen(path, "re");
	check(file && fscanf(file, "%*u %*u %*u %*u %" SCNu64, &writes) == 1);
	fclose(file);
	return writes;
}

TEST(C17, "a freeze waits for the last that a resize of ext4 writes")
{
	const uint64_t blocks = 64 * 1024;
	const char *device;
	uint64_t writes;
	pid_t resizer;
	int fs, fd;

	if (strcmp(fstype(), "ext4"))
		skip("only ext4 writes when its resize is over");
	if (!is_native(dir))
		skip("the kernel's ext4 does not let a freeze wait for that");
	device = dm_over(scratch(0));
	/* Each of many small groups has a copy of the superblock, which is written at the end. */
	sh("mkfs.ext4 -q -F -E lazy_itable_init=0 -O meta_bg,^resize_inode,^sparse_super "
	   "-b 1024 -g 1024 %s 32M >/dev/null",
	   device);
	fs = open_dir(mount_fs(device, "resized", 0, NULL));
	check(!syncfs(fs));
	dm_become("delay %s 0 0 %s 0 10", scratch(0), scratch(0));
	writes = count_writes(device);
	IN_CHILD(resizer)
		check(!ioctl(fs, _IOW('f', 16, uint64_t), &blocks));
	wait_until(count_writes(device) > writes);
	fd = hold(fs);
	writes = count_writes(device);
	reap(resizer);
	check_eq(count_writes(device), writes);
	check_eq(freezefd_thaw(fd), 0);
	check_writable(fs);
}
