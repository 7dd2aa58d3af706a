// SPDX-License-Identifier: GPL-2.0-or-later
/* C7: the device goes away in the middle of a hold. Nothing hangs, the descriptor says so. */
#include "contract.h"

static void unplug(void)
{
	pid_t pid;

	IN_CHILD(pid)
		null_power(false);
	reap(pid);
}

TEST(C7, "a device that is unplugged in a hold hangs nobody, and the close ends it")
{
	const char *device = null_disk(0), *path;
	int fs, fd;

	path = new_fs(device, "plugged");
	fs = open_dir(path);
	fd = hold(fs);
	unplug();
	status_of(fs);
	status_of(fd);
	events(fd);
	close(fd);
	wait_state(fs, THAWED);
	close(fs);
	check(!umount2(path, 0));
}

TEST(C7, "a device that is unplugged in a hold lets go the writers at the thaw")
{
	const char *device = null_disk(0), *path;
	pid_t writer;
	int fs, fd;

	path = new_fs(device, "plugged");
	fs = open_dir(path);
	fd = hold(fs);
	writer = start_child();
	if (writer == 0) {
		/* Whether it can be written is another matter. */
		close(openat(fs, "late", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
		_exit(0);
	}
	wait_blocked(writer);
	unplug();
	check_eq(freezefd_thaw(fd), 0);
	reap(writer);
	close(fs);
	check(!umount2(path, 0));
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
}

TEST(C7, "a device that is unplugged after the umount in a hold")
{
	const char *device = null_disk(0), *path;
	int fs, fd;

	path = new_fs(device, "plugged");
	fs = open_dir(path);
	fd = hold(fs);
	close(fs);
	check(!umount2(path, 0));
	unplug();
	check_state(fd, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	check_eq(events(fd), POLLHUP);
}

TEST(C7, "a device that fails all I/O in a hold hangs nobody, and the close ends it")
{
	const char *device = dm_over(scratch(0)), *path;
	int fs, fd;

	path = new_fs(device, "failing");
	fs = open_dir(path);
	fd = hold(fs);
	dm_become("error");
	check_hold(fd, HELD);
	check_state(fs, FROZEN);
	close(fd);
	wait_state(fs, THAWED);
	close(fs);
	check(!umount2(path, 0));
}
