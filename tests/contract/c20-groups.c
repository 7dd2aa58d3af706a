// SPDX-License-Identifier: GPL-2.0-or-later
/* C20: several filesystems, frozen as one. */
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "contract.h"

static int open_group(const int *targets, int *fds, size_t count, size_t *failed)
{
	const struct freezefd_options options = {.size = sizeof(options),
						 .timeout_ns = 60 * SECOND};

	return freezefd_open_group(targets, fds, count, &options, failed);
}

TEST(C20, "a group has a descriptor for each filesystem, however it is named")
{
	int targets[] = {dir, open_dir(scratch_fs(0)), dev, dir}, fds[4], results[4];

	check_eq(open_group(targets, fds, 4, NULL), 0);
	check(fds[0] >= 0 && fds[1] >= 0 && fds[2] == -1 && fds[3] == -1);
	check_hold(fds[0], HELD);
	check_hold(fds[1], HELD);
	check_eq(status_of(dir).fd_holds, 1);
	check(fcntl(fds[0], F_GETFD) == FD_CLOEXEC && fcntl(fds[1], F_GETFD) == FD_CLOEXEC);
	check_eq(freezefd_thaw_force(targets[1]), 0);
	check_eq(freezefd_thaw_group(fds, 4, results), -ECANCELED);
	check_eq(results[0], 0);
	check_eq(results[1], -ECANCELED);
	check_eq(results[2], 0);
	check_state(dir, THAWED);
	check_state(targets[1], THAWED);
}

TEST(C20, "all of a group is frozen, or none, and the one that fails is told")
{
	const struct freezefd_options thawed = {.size = sizeof(thawed), .flags = FREEZEFD_THAWED};
	int targets[] = {dir, open_dir("/proc"), open_dir(scratch_fs(0))}, fds[3];
	size_t failed = 9;

	check_eq(open_group(targets, fds, 3, &failed), -EOPNOTSUPP);
	check_eq(failed, 1);
	check(fds[0] == -1 && fds[1] == -1 && fds[2] == -1);
	wait_state(dir, THAWED);
	wait_state(targets[2], THAWED);
	targets[1] = -1;
	check_eq(open_group(targets, fds, 3, &failed), -EBADF);
	check_eq(failed, 1);
	check_eq(open_group(targets, fds, 0, &failed), -EINVAL);
	check_eq(freezefd_open_group(targets, fds, 1, &thawed, &failed), -EINVAL);
	check_writable(dir);
}

/* A loop device over a file of fs, open. It goes with the last descriptor. */
static int loop_over(int fs)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), loop, file;
	struct loop_config config = {.info.lo_flags = LO_FLAGS_AUTOCLEAR};
	char path[32];

	file = openat(fs, "image", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	check(file >= 0 && !ftruncate(file, 400 << 20));
	snprintf(path, sizeof(path), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	loop = open(path, O_RDWR | O_CLOEXEC);
	config.fd = (uint32_t)file;
	check(loop >= 0 && !ioctl(loop, LOOP_CONFIGURE, &config));
	close(file);
	close(control);
	return loop;
}

TEST(C20,
     "what lies on another one is frozen before it and thawed after it, at the end of a process too")
{
	int below = open_dir(scratch_fs(0)), loop = loop_over(below), fds[2], targets[2];
	char path[64], link[32];
	pid_t holder;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", loop);
	path[readlink(link, path, sizeof(path) - 1)] = 0;
	targets[0] = below;
	targets[1] = open_dir(new_fs(path, "upper"));
	for (int round = 0; round < 2; round++) {
		check_eq(open_group(targets, fds, 2, NULL), 0);
		check(fds[0] < fds[1]);
		check_eq(freezefd_thaw_group(fds, 2, NULL), 0);
		check(!close(fds[0]) && !close(fds[1]));
		check_writable(targets[1]);
	}
	shared[0] = 0;
	IN_CHILD(holder) {
		check_eq(open_group(targets, fds, 2, NULL), 0);
		shared[0] = 1;
		for (;;)
			pause();
	}
	wait_until(shared[0]);
	kill(holder, SIGKILL);
	end_of(holder);
	wait_state(below, THAWED);
	wait_state(targets[1], THAWED);
	check_writable(targets[1]);
}
