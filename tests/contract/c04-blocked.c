// SPDX-License-Identifier: GPL-2.0-or-later
/* C4: a hold ends with a holder that what it has frozen keeps from dying. */
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include "contract.h"

static void *pause_in_thread(void *unused)
{
	(void)unused;
	pause();
	return NULL;
}

/* Whom else it leaves the hold to. */
enum other { NOBODY, A_COPY, THE_TABLE, THE_ONLY_COPY };

/*
 * Its files are closed with its last thread, and that waits for the thaw. The
 * pid of the other one goes to shared[1].
 */
static pid_t start_blocked_holder(enum other other, uint64_t timeout_ns)
{
	pthread_t thread;
	pid_t holder;

	shared[1] = 0;
	/* To open what is there already is no write. */
	unlinkat(dir, "by-the-holder", 0);
	IN_CHILD(holder) {
		int fd = hold_for(dir, timeout_ns), far = fcntl(fd, F_DUPFD_CLOEXEC, 600);

		check(far >= 0 && !close(fd));
		check(!pthread_create(&thread, NULL, pause_in_thread, NULL));
		if (other != NOBODY) {
			int flags = SIGCHLD | (other == THE_TABLE ? CLONE_FILES : 0);
			pid_t pid = syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);

			if (pid == 0)
				for (;;)
					pause();
			if (other == THE_ONLY_COPY)
				close(far);
			shared[1] = pid;
		}
		close(openat(dir, "by-the-holder", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	}
	wait_until(other == NOBODY || shared[1]);
	wait_state(dir, FROZEN);
	wait_blocked(holder);
	return holder;
}

TEST(C4, "the deadline lets a holder die whose own thread writes to what it froze")
{
	pid_t holder = start_blocked_holder(NOBODY, 2 * a_while());

	kill(holder, SIGKILL);
	wait_state(dir, THAWED);
	end_of(holder);
}

TEST(C4, "SIGKILL of such a holder leaves the hold to another process that has the descriptor")
{
	for (enum other other = A_COPY; other <= THE_ONLY_COPY; other++) {
		pid_t holder = start_blocked_holder(other, 0);
		int clock;

		kill(holder, SIGKILL);
		clock = hold_for(dir, SECOND / 2);
		wait_until(status_of(clock).hold == FREEZEFD_HOLD_EXPIRED);
		close(clock);
		check_state(dir, FROZEN);
		check_eq(status_of(dir).fd_holds, 1);
		check_eq(freezefd_thaw_force(dir), 0);
		kill(shared[1], SIGKILL);
		end_of(holder);
	}
}

/* The only reference to a file that has no name any more: its release writes to the filesystem. */
static void open_deleted(void)
{
	int file = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (file < 0) {
		file = openat(dir, "deleted", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
		check(file >= 0 && !unlinkat(dir, "deleted", 0));
	}
	check(write(file, "x", 1) == 1);
}

enum { PLAIN, COPIED, IN_FLIGHT };

/*
 * A dying process releases its files in an order that nobody chose. If it
 * waited for the thaw in one of them, the hold would never be released.
 */
static void kill_with_deleted_files(int kind)
{
	for (int i = 0; i < 5; i++) {
		pid_t holder;

		shared[0] = 0;
		IN_CHILD(holder) {
			int fd, pair[2];

			open_deleted();
			fd = no_hold(dir);
			check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
			open_deleted();
			if (kind == IN_FLIGHT)
				check_eq(freezefd_set_timeout(fd, SECOND), 0);
			check_eq(freezefd_freeze(fd), 0);
			if (kind == COPIED)
				check(dup(fd) >= 0);
			if (kind == IN_FLIGHT) {
				check_eq(send_fd(pair[0], fd), 0);
				close(fd);
			}
			shared[0] = 1;
			for (;;)
				pause();
		}
		wait_until(shared[0]);
		if (kind != IN_FLIGHT)
			check_state(dir, FROZEN);
		kill(holder, SIGKILL);
		end_of(holder);
		wait_state(dir, THAWED);
	}
}

TEST(C4, "a holder dies that has deleted files of the frozen filesystem open")
{
	kill_with_deleted_files(PLAIN);
}

TEST(C4, "a holder dies that has them and a copy of the descriptor")
{
	kill_with_deleted_files(COPIED);
}

/*
 * No close of the descriptor comes before the release of the files: the socket
 * is one of them. A deadline is what there is against that, as below.
 */
TEST(C4, "a holder dies that has them and the descriptor in flight to itself, with a deadline")
{
	kill_with_deleted_files(IN_FLIGHT);
}

/* Each may see the reference of another one, and none that it has the last. */
TEST(C4, "several holders die at once that have them, with a deadline")
{
	for (int round = 0; round < 10; round++) {
		int fd = no_hold(dir);
		pid_t holder[4];

		for (size_t i = 0; i < ARRAY_SIZE(holder); i++) {
			shared[i] = 0;
			IN_CHILD(holder[i]) {
				open_deleted();
				shared[i] = 1;
				for (;;)
					pause();
			}
		}
		for (size_t i = 0; i < ARRAY_SIZE(holder); i++)
			wait_until(shared[i]);
		check_eq(freezefd_freeze(fd), 0);
		check_eq(freezefd_set_timeout(fd, SECOND), 0);
		close(fd);
		for (size_t i = 0; i < ARRAY_SIZE(holder); i++)
			kill(holder[i], SIGKILL);
		for (size_t i = 0; i < ARRAY_SIZE(holder); i++)
			end_of(holder[i]);
		wait_state(dir, THAWED);
	}
}
