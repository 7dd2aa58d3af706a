// SPDX-License-Identifier: GPL-2.0-or-later
/* C7: umount during a hold; the end of the filesystem. */
#include <sched.h>
#include <sys/epoll.h>

#include "contract.h"

static const uint64_t timeout_max = INT64_MAX;

/* The device has no owner any more: to be opened exclusively, to be made anew. */
static void check_free(const char *device)
{
	wait_until(try_open_excl(device) == 0);
	make_fs(device);
}

static void check_gone(int fd)
{
	const struct freezefd_status status = status_of(fd);

	check_eq(status.hold, FREEZEFD_HOLD_GONE);
	check_eq(status.state, FREEZE_STATE_THAWED);
	check_eq(status.fd_holds, 0);
	check_eq(status.frozen_ns, 0);
	check_eq(freezefd_freeze(fd), -ESTALE);
	check_eq(freezefd_thaw(fd), -ESTALE);
	check_eq(freezefd_set_timeout(fd, SECOND), -ESTALE);
	check_eq(events(fd), POLLHUP);
}

/* A filesystem on scratch(0), held and unmounted. */
static int hold_unmounted(void)
{
	const char *path = scratch_fs(0);
	int fs = open_dir(path), fd = hold(fs);

	close(fs);
	check(!umount2(path, 0));
	return fd;
}

TEST(C7, "umount during a hold succeeds and the hold stays")
{
	int fd = hold_unmounted(), bdev = open_dev(scratch(0));

	check_hold(fd, HELD);
	check_state(fd, FROZEN);
	check_state(bdev, FROZEN);
	check_eq(status_of(fd).fd_holds, 1);
	check_eq(status_of(bdev).fd_holds, 1);
	check_eq(events(fd), 0);
	check_eq(try_open_excl(scratch(0)), -EBUSY);
	check_eq(freezefd_freeze(fd), -EBUSY);
	check_eq(freezefd_set_timeout(fd, timeout_max), 0);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C7,
     "one who has not yet heard of his broken hold keeps nobody from the next filesystem of the device")
{
	int fd = hold_unmounted(), bdev = open_dev(scratch(0)), next;

	check_eq(freezefd_thaw_force(bdev), 0);
	close(bdev);
	check_free(scratch(0));
	next = hold_unmounted();
	check_hold(next, HELD);
	check_hold(fd, REVOKED);
	check_eq(freezefd_thaw(fd), -ECANCELED);
	check_eq(freezefd_thaw(next), 0);
	check_free(scratch(0));
}

TEST(C7, "after the thaw the unmounted filesystem goes away and the device is free")
{
	int fd = hold_unmounted(), bdev = open_dev(scratch(0));
	struct freezefd_status status;

	check_eq(freezefd_thaw(fd), 0);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	check_gone(fd);
	check_free(scratch(0));
	check_eq(freezefd_status(bdev, &status), -ENODEV);
	check_gone(fd);
}

TEST(C7, "after the last close the unmounted filesystem goes away and the device is free")
{
	int fd = hold_unmounted();

	check_eq(try_open_excl(scratch(0)), -EBUSY);
	close(fd);
	check_free(scratch(0));
}

/* To be removed, a device must be closed. */
static void check_closed_after(bool last_close)
{
	const char *path = new_fs(dm_over(scratch(0)), "dm");
	int fs = open_dir(path), fd = hold(fs);
	bool guardian = is_guardian(fs), native = is_native(fs);

	close(fs);
	check(!umount2(path, 0));
	check(dm_opens() > 0);
	if (last_close)
		close(fd);
	else
		check_eq(freezefd_thaw(fd), 0);
	if (guardian)
		skip("the guardian closes it a moment later");
	/* The kernel's worker may have been first: what it closes is closed a moment later. */
	if (native && last_close)
		wait_until(dm_opens() == 0);
	check_eq(dm_opens(), 0);
}

TEST(C7, "when the thaw returns the device of what was unmounted is closed")
{
	check_closed_after(false);
}

TEST(C7, "after the last close the device of what was unmounted is closed")
{
	check_closed_after(true);
}

TEST(C7, "after SIGKILL of the holder the unmounted filesystem goes away")
{
	const char *path = scratch_fs(0);
	int bdev = open_dev(scratch(0));
	struct freezefd_status status;
	pid_t holder;

	shared[0] = 0;
	IN_CHILD(holder) {
		hold(bdev);
		shared[0] = 1;
		for (;;)
			pause();
	}
	wait_until(shared[0]);
	check(!umount2(path, 0));
	check_state(bdev, FROZEN);
	kill(holder, SIGKILL);
	end_of(holder);
	wait_until(freezefd_status(bdev, &status) == -ENODEV);
	check_free(scratch(0));
}

TEST(C7, "the block device freezes and thaws what is unmounted")
{
	int fd = hold_unmounted(), bdev = open_dev(scratch(0)), other;

	other = hold(bdev);
	check_eq(status_of(bdev).fd_holds, 2);
	check_eq(freezefd_thaw(fd), 0);
	check_hold(fd, NONE);
	check_state(fd, FROZEN);
	check_eq(freezefd_freeze(fd), 0);
	check_eq(freezefd_thaw(other), 0);
	check_eq(freezefd_freeze(other), 0);
	close(fd);
	wait_until(status_of(bdev).fd_holds == 1);
	check_state(other, FROZEN);
	check_eq(freezefd_thaw(other), 0);
	wait_until(status_of(other).hold == FREEZEFD_HOLD_GONE);
	check_gone(other);
	check_free(scratch(0));
}

TEST(C7, "a thawed descriptor keeps neither mount nor device busy")
{
	const char *path = scratch_fs(0);
	int fs = open_dir(path), fd = no_hold(fs), used = hold(fs);

	check_eq(freezefd_thaw(used), 0);
	close(fs);
	check(!umount2(path, 0));
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	check_gone(fd);
	check_gone(used);
	check_free(scratch(0));
}

TEST(C7, "a waiter is woken when the filesystem goes away")
{
	const char *path = scratch_fs(0);
	int fs = open_dir(path), fd = no_hold(fs), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	pid_t poller, epoller;

	close(fs);
	check(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
	IN_CHILD(poller) {
		struct pollfd pfd = {.fd = fd};

		check(poll(&pfd, 1, -1) == 1 && pfd.revents == POLLHUP);
	}
	/* Where the descriptor is a socket, news may come before the end of it. */
	IN_CHILD(epoller)
		do
			check(epoll_wait(ep, &event, 1, -1) == 1);
		while (!(event.events & EPOLLHUP));
	wait_until(process_state(poller) == 'S' && process_state(epoller) == 'S');
	check(!umount2(path, 0));
	reap(poller);
	reap(epoller);
}

TEST(C7, "a descriptor of a filesystem that is gone does not take the next one for it")
{
	const char *path = scratch_fs(0);
	int fs = open_dir(path), fd = no_hold(fs);

	close(fs);
	check(!umount2(path, 0));
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	path = mount_fs(scratch(0), "again", 0, NULL);
	fs = open_dir(path);
	check_gone(fd);
	check_state(fs, THAWED);
	check_writable(fs);
}

TEST(C7, "what was unmounted frozen can be mounted again, and is the same and still frozen")
{
	int fd = hold_unmounted(), fs;
	pid_t writer;

	fs = open_dir(mount_fs(scratch(0), "again", 0, NULL));
	check_state(fs, FROZEN);
	check_eq(status_of(fs).fd_holds, 1);
	check_hold(fd, HELD);
	writer = start_writer(fs);
	wait_blocked(writer);
	check_eq(freezefd_thaw(fd), 0);
	reap(writer);
	check_hold(fd, NONE);
	check_eq(freezefd_freeze(fd), 0);
	check_state(fs, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C7, "lazy umount: an open file, then the hold alone, keeps the filesystem")
{
	const char *path = scratch_fs(0);
	int fs = open_dir(path), bdev = open_dev(scratch(0)), fd = hold(fs);

	check(!umount2(path, MNT_DETACH));
	check_state(fs, FROZEN);
	check_state(bdev, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
	check_writable(fs);
	check_eq(freezefd_freeze(fd), 0);
	close(fs);
	check_hold(fd, HELD);
	check_state(bdev, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	check_free(scratch(0));
}

TEST(C7, "the end of the mount namespace is an umount like any other")
{
	int pair[2], fd, bdev;
	pid_t mounter;

	make_fs(scratch(0));
	bdev = open_dev(scratch(0));
	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	IN_CHILD(mounter) {
		check(!unshare(CLONE_NEWNS));
		mount_fs(scratch(0), "inner", 0, NULL);
		check_eq(send_fd(pair[0], hold(bdev)), 0);
	}
	reap(mounter);
	fd = receive_fd(pair[1]);
	check(fd >= 0);
	check_hold(fd, HELD);
	check_state(bdev, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	check_gone(fd);
	check_free(scratch(0));
}

TEST(C7, "a writer that waits keeps its mount until the thaw")
{
	const char *path = scratch_fs(0);
	int fs = open_dir(path), bdev = open_dev(scratch(0)), fd = hold(fs);
	pid_t writer = start_writer(fs);

	wait_blocked(writer);
	close(fs);
	check(umount2(path, 0) == -1 && errno == EBUSY);
	check(!umount2(path, MNT_DETACH));
	check_state(bdev, FROZEN);
	check_eq(process_state(writer), 'D');
	check_eq(freezefd_thaw(fd), 0);
	reap(writer);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	check_free(scratch(0));
}

TEST(C7, "the deadline ends the hold of an unmounted filesystem")
{
	int fd = hold_unmounted(), bdev = open_dev(scratch(0));

	check_state(bdev, FROZEN);
	check_eq(freezefd_set_timeout(fd, SECOND / 5), 0);
	wait_until(events(fd) & POLLERR);
	/* Told first, gone next. */
	check_hold(fd, EXPIRED);
	check_free(scratch(0));
	check_hold(fd, EXPIRED);
	check_eq(freezefd_freeze(fd), -ETIME);
	check_eq(freezefd_thaw(fd), -ETIME);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	check_gone(fd);
}
