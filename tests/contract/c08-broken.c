// SPDX-License-Identifier: GPL-2.0-or-later
/* C8: a broken hold is told, once, and the descriptor can be used again. */
#include <sys/epoll.h>

#include "contract.h"

static void check_intact(int fd)
{
	check_hold(fd, HELD);
	check_eq(events(fd), 0);
	check_eq(freezefd_thaw(fd), 0);
	check_eq(events(fd), 0);
}

static void check_told_once(int fd, unsigned int hold_value, int error)
{
	for (int i = 0; i < 2; i++) {
		check_eq(status_of(fd).hold, hold_value);
		check_eq(events(fd), POLLERR);
		/* Neither of these tells it: whoever asks for the thaw must hear it. */
		check_eq(freezefd_freeze(fd), error);
		check_eq(freezefd_set_timeout(fd, 3600 * SECOND), error);
	}
	check_eq(freezefd_thaw(fd), error);
	check_hold(fd, NONE);
	check_eq(events(fd), 0);
	check_eq(freezefd_thaw(fd), -EINVAL);

	check_eq(freezefd_set_timeout(fd, 0), 0);
	check_eq(freezefd_freeze(fd), 0);
	check_state(dir, FROZEN);
	check_intact(fd);
	check_state(dir, THAWED);
}

TEST(C8, "a hold revoked by force is told once, then the descriptor works again")
{
	int fd = hold(dir);

	check_eq(freezefd_thaw_force(dir), 0);
	check_state(dir, THAWED);
	check_writable(dir);
	check_told_once(fd, FREEZEFD_HOLD_REVOKED, -ECANCELED);
}

TEST(C8, "a hold broken by its deadline is told once, then the descriptor works again")
{
	int fd = hold_for(dir, SECOND / 5);

	wait_state(dir, THAWED);
	check_writable(dir);
	check_told_once(fd, FREEZEFD_HOLD_EXPIRED, -ETIME);
}

TEST(C8, "a hold that was not broken says so")
{
	int fd = hold_for(dir, 3600 * SECOND);

	check_intact(fd);
	check_eq(freezefd_freeze(fd), 0);
	check_intact(fd);
}

TEST(C8, "each holder is told")
{
	int fd[3];
	pid_t heir;

	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = hold(dir);
	check_eq(freezefd_thaw_force(dir), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		check_eq(events(fd[i]), POLLERR);
	IN_CHILD(heir)
		check_eq(freezefd_thaw(fd[0]), -ECANCELED);
	reap(heir);
	check_hold(fd[0], NONE);
	check_hold(fd[1], REVOKED);
	check_eq(freezefd_thaw(fd[0]), -EINVAL);
	check_eq(freezefd_thaw(fd[1]), -ECANCELED);
	check_eq(freezefd_thaw(fd[2]), -ECANCELED);
}

TEST(C8, "a broken hold is told even when others have frozen it since")
{
	int broken = hold(dir), other;

	check_eq(freezefd_thaw_force(dir), 0);
	other = hold(dir);
	check_state(dir, FROZEN);
	check_hold(broken, REVOKED);
	check_state(broken, FROZEN);
	check_eq(freezefd_thaw(broken), -ECANCELED);
	check_eq(status_of(dir).fd_holds, 1);
	check_intact(other);
}

TEST(C8, "a deadline breaks its own hold only")
{
	int brief = hold_for(dir, SECOND / 5), lasting = hold(dir);

	wait_until(events(brief) == POLLERR);
	/* A hold is broken first and dropped then. */
	wait_until(status_of(dir).fd_holds == 1);
	check_state(dir, FROZEN);
	check_hold(brief, EXPIRED);
	check_eq(freezefd_thaw(brief), -ETIME);
	check_intact(lasting);
}

TEST(C8, "the first cause is the one that is told")
{
	int expired = hold_for(dir, SECOND / 5), revoked = hold_for(dir, 3600 * SECOND), other;

	wait_until(events(expired) == POLLERR);
	check_eq(freezefd_thaw_force(dir), 0);
	other = hold_for(dir, SECOND / 5);
	wait_until(events(other) == POLLERR);
	check_eq(freezefd_thaw(expired), -ETIME);
	check_eq(freezefd_thaw(revoked), -ECANCELED);
	check_eq(freezefd_thaw(other), -ETIME);
}

TEST(C8, "a waiter in poll, epoll and select is woken when the hold breaks")
{
	int fd = hold(dir), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	pid_t waiter[3];

	check(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
	for (int broken = 0; broken < 2; broken++) {
		IN_CHILD(waiter[0]) {
			struct pollfd pfd = {.fd = fd};

			check(poll(&pfd, 1, -1) == 1 && pfd.revents == POLLERR);
		}
		IN_CHILD(waiter[1])
			check(epoll_wait(ep, &event, 1, -1) == 1 && event.events == EPOLLERR);
		IN_CHILD(waiter[2]) {
			fd_set set;

			FD_ZERO(&set);
			FD_SET(fd, &set);
			check(select(fd + 1, &set, NULL, NULL, NULL) == 1);
		}
		for (size_t i = 0; i < ARRAY_SIZE(waiter); i++)
			wait_until(process_state(waiter[i]) == 'S');
		if (broken == 0)
			check_eq(freezefd_thaw_force(dir), 0);
		else
			check_eq(freezefd_set_timeout(fd, 1), 0);
		for (size_t i = 0; i < ARRAY_SIZE(waiter); i++)
			reap(waiter[i]);
		check_eq(freezefd_thaw(fd), broken == 0 ? -ECANCELED : -ETIME);
		/* Or the next hold would begin with that deadline, too. */
		check_eq(freezefd_set_timeout(fd, 0), 0);
		check_eq(freezefd_freeze(fd), 0);
		/* Nothing to say: a new wait must not end by itself. */
		check(epoll_wait(ep, &event, 1, 0) == 0);
	}
	check_intact(fd);
}
