// SPDX-License-Identifier: GPL-2.0-or-later
/* C17: no freeze while the kernel itself writes under a hold of its own. */
#include <inttypes.h>
#include <sys/resource.h>
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

/* Sectors, by writes that are complete, since the device is there. A flush of its cache writes none. */
static uint64_t written(const char *device)
{
	uint64_t sectors;
	struct stat st;
	char path[64];
	FILE *file;

	check(!stat(device, &st));
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(st.st_rdev),
		 minor(st.st_rdev));
	file = fopen(path, "re");
	check(file && fscanf(file, "%*u %*u %*u %*u %*u %*u %" SCNu64, &sectors) == 1);
	fclose(file);
	return sectors;
}

TEST(C17, "a freeze waits for the last that a resize of ext4 writes")
{
	const uint64_t blocks = 64 * 1024;
	const char *device;
	uint64_t before;
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
	before = written(device);
	IN_CHILD(resizer)
		check(!ioctl(fs, _IOW('f', 16, uint64_t), &blocks));
	wait_until(written(device) > before);
	fd = hold(fs);
	before = written(device);
	reap(resizer);
	check_eq(written(device), before);
	check_eq(freezefd_thaw(fd), 0);
	check_writable(fs);
}

/* Each of its pages gets an extent of its own, in a transaction of its own. */
static void fsync_for_ever(int fs, const char *name)
{
	const char page[4096] = "";
	int fd = openat(fs, name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	for (;;) {
		check(fd >= 0 && !ftruncate(fd, 0));
		for (off_t i = 0; i < 32; i++)
			check(pwrite(fd, page, sizeof(page), i * 2 * (off_t)sizeof(page)) ==
			      sizeof(page));
		check(!fsync(fd));
		__atomic_add_fetch(shared, 1, __ATOMIC_RELAXED);
	}
}

TEST(C17, "a freeze waits for the last transaction that an fsync() of ext4 begins")
{
	pid_t pids[4];
	uint64_t before;
	int fs, fd, calls, torn = 0;

	if (strcmp(fstype(), "ext4"))
		skip("only ext4 looks for more to write with a transaction");
	if (!is_native(dir))
		skip("the kernel's ext4 does not let a freeze wait for that");
	time_limit(300);
	sh("mkfs.ext4 -q -F -E lazy_itable_init=0 %s >/dev/null", scratch(0));
	fs = open_dir(mount_fs(scratch(0), "fsync", MS_NOATIME, NULL));
	for (int i = 0; i < 4; i++)
		IN_CHILD(pids[i])
			fsync_for_ever(fs, (char[]){(char)('a' + i), 0});
	fd = no_hold(fs);
	/* The others are then often between two transactions, and wait for the processor. */
	check(!setpriority(PRIO_PROCESS, 0, -20));
	for (unsigned int i = 0; i < rounds(200); i++) {
		calls = *shared;
		wait_until(*shared - calls > 0);
		check_eq(freezefd_freeze(fd), 0);
		before = written(scratch(0));
		/* What is in a transaction is written now instead of seconds later. */
		check(!syncfs(fs));
		torn += written(scratch(0)) != before;
		check_eq(freezefd_thaw(fd), 0);
	}
	for (int i = 0; i < 4; i++) {
		kill(pids[i], SIGKILL);
		end_of(pids[i]);
	}
	check_eq(torn, 0);
}
