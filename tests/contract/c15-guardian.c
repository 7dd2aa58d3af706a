// SPDX-License-Identifier: GPL-2.0-or-later
/* What holds by guardians promise beyond others: that nobody's end, and nobody's malice, ends the promise. */
#include <dirent.h>

#include "helpers.h"

/* --- the two processes --- */

TEST(C15, "either process is killed: the other thaws, and the holder is told")
{
	pid_t pair[2], writer;

	for (int i = 0; i < 4; i++) {
		int fd = hold(dir), idle = no_hold(dir);

		writer = start_writer(dir);
		wait_blocked(writer);
		get_pair(&pair[0], &pair[1]);
		kill(pair[i % 2], SIGKILL);
		reap(writer);
		wait_state(dir, THAWED);
		wait_until(events(fd) & POLLHUP);
		check_hold(fd, REVOKED);
		check_eq(freezefd_thaw(fd), -ECANCELED);
		check_eq(freezefd_freeze(fd), -ECANCELED);
		check_eq(freezefd_freeze(idle), -ECANCELED);
		wait_no_guardian();
		check_state(dir, THAWED);
		close(fd);
		close(idle);
	}
}

/* Kills one of the two and waits until fd has lost its hold and both have gone. */
static void kill_one(int which, int fd, bool held)
{
	pid_t pair[2], writer = -1;

	get_pair(&pair[0], &pair[1]);
	if (held) {
		writer = start_writer(dir);
		wait_blocked(writer);
	}
	kill(pair[which], SIGKILL);
	if (held)
		reap(writer);
	wait_until(events(fd) & POLLHUP);
	check_hold(fd, REVOKED);
	wait_no_guardian();
	check_state(dir, THAWED);
	close(fd);
}

/* A program passes on what it ignores to all that it executes. */
TEST(C15, "either process is killed where the caller ignored SIGCHLD: the other thaws")
{
	for (int i = 0; i < 4; i++) {
		const bool held = i / 2;
		int fd;

		signal(SIGCHLD, SIG_IGN);
		fd = held ? hold(dir) : no_hold(dir);
		signal(SIGCHLD, SIG_DFL);
		kill_one(i % 2, fd, held);
	}
}

/* There the names of the guardian's sockets cannot be taken away before the thaw. */
TEST(C15, "either process is killed while /run lies on what they hold: the other thaws")
{
	const char *const target = getenv("FREEZEFD_TEST_DIR");

	cleanup("rm -rf '%s/run'", target);
	sh("mkdir '%s/run' && mount --bind '%s/run' /run", target, target);
	for (int i = 0; i < 2; i++)
		kill_one(i, hold(dir), true);
}

static void stop_one(int which)
{
	pid_t pair[2];
	int fd = hold(dir);

	get_pair(&pair[0], &pair[1]);
	for (int i = 0; i < 3; i++) {
		kill(pair[which], SIGSTOP);
		check_hold(fd, HELD);
		wait_until(process_state(pair[which]) != 'T');
	}
	check_eq(freezefd_thaw(fd), 0);
	check_state(dir, THAWED);
}

TEST(C15, "the guardian is stopped: the watcher continues it")
{
	stop_one(0);
}

TEST(C15, "the watcher is stopped: the guardian continues it")
{
	stop_one(1);
}

TEST(C15, "both ignore every signal that one can ignore")
{
	pid_t pair[2];
	int fd = hold(dir);

	get_pair(&pair[0], &pair[1]);
	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		if (sig == SIGKILL || sig == SIGSTOP)
			continue;
		kill(pair[0], sig);
		kill(pair[1], sig);
	}
	check_hold(fd, HELD);
	check_state(dir, FROZEN);
	for (int i = 0; i < 2; i++)
		check(strchr("SR", process_state(pair[i])));
	check_eq(freezefd_thaw(fd), 0);
	check_eq(freezefd_freeze(fd), 0);
	check_hold(fd, HELD);
	close(fd);
	wait_state(dir, THAWED);
	wait_no_guardian();
}

TEST(C10, "what both leave frozen that are killed at once, a thaw by force frees")
{
	pid_t pair[2];
	int fd = hold(dir);

	get_pair(&pair[0], &pair[1]);
	kill(pair[1], SIGSTOP);
	kill(pair[0], SIGKILL);
	kill(pair[1], SIGKILL);
	wait_no_guardian();
	check_hold(fd, REVOKED);
	if (status_of(dir).state == FREEZE_STATE_FROZEN)
		check_eq(freezefd_thaw_force(dev), 0);
	else
		note("the watcher was fast enough to thaw");
	check_state(dir, THAWED);
	check_eq(freezefd_thaw(fd), -ECANCELED);
	fd = hold(dir);
	check_state(dir, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
}

static unsigned int open_files(pid_t pid)
{
	unsigned int count = 0;
	char path[32];
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	fds = opendir(path);
	check(fds);
	while (readdir(fds))
		count++;
	closedir(fds);
	return count;
}

TEST(C15, "processes that are killed while they ask leave nothing behind")
{
	unsigned int before;
	pid_t child;

	time_limit(900);
	check_state(dir, THAWED);
	before = open_files(getpid());
	for (int i = 0; i < 4000; i++) {
		shared[0] = 0;
		IN_CHILD(child)
			for (;;) {
				status_of(dir);
				shared[0]++;
			}
		while (!shared[0])
			;
		/* At any moment of the next call, which takes some microseconds; more on an emulated machine. */
		for (const uint64_t until = nsec() + i % 64 * 1000; nsec() < until;)
			;
		kill(child, SIGKILL);
		check(waitpid(child, NULL, 0) == child);
	}
	check_state(dir, THAWED);
	/* Had its program become useless, the library would have loaded another. */
	check_eq(open_files(getpid()), before);
}

TEST(C15, "the guardian has no more files open after thousands of requests than before")
{
	int fd = no_hold(dir);
	pid_t guardian, watcher;
	unsigned int before;

	get_pair(&guardian, &watcher);
	check_eq(freezefd_freeze(fd), 0);
	before = open_files(guardian);
	for (int i = 0; i < 500; i++) {
		int other = i % 2 ? hold(dir) : no_hold(dir);

		status_of(fd);
		status_of(dir);
		check_eq(freezefd_freeze(fd), -EBUSY);
		check_eq(freezefd_set_timeout(fd, 3600 * SECOND), 0);
		check_eq(freezefd_thaw(fd), 0);
		check_eq(freezefd_freeze(fd), 0);
		close(other);
	}
	/* Fewer: the socket of the last answer may have been counted before. */
	wait_until(open_files(guardian) <= before);
	close(fd);
}

/* --- malice --- */

TEST(C15, "connections that ask nothing keep neither others away nor the guardian alive")
{
	int fd = hold(dir), idle[100], other;

	for (size_t i = 0; i < ARRAY_SIZE(idle); i++) {
		idle[i] = connect_to_guardian();
		check(idle[i] >= 0);
	}
	other = hold(dir);
	check_hold(other, HELD);
	check_eq(status_of(dir).fd_holds, 2);
	close(fd);
	check_eq(freezefd_thaw(other), 0);
	close(other);
	wait_no_guardian();
}

TEST(C11, "who is not root does not get as far as the guardian")
{
	int fd = hold(dir);
	pid_t nobody;

	IN_CHILD(nobody) {
		check(!setresgid(65534, 65534, 65534));
		check(!setresuid(65534, 65534, 65534));
		check_eq(connect_to_guardian(), -EACCES);
	}
	reap(nobody);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C1, "status of the filesystem answers while both processes are stopped")
{
	int fd = hold(dir);
	pid_t guardian, watcher;

	get_pair(&guardian, &watcher);
	stop_pair(guardian, watcher);
	check_state(dir, FROZEN);
	check_state(dev, FROZEN);
	continue_pair(guardian, watcher);
	check_eq(freezefd_thaw(fd), 0);
	check_state(dir, THAWED);
}

/*
 * In the release of such a file whoever lets go of it last waits for the thaw. No
 * process may be able to make that the guardian.
 */
TEST(C15, "a file deleted on what is frozen that is sent to the guardian keeps no freeze")
{
	int file, socket, fd, ret;
	pid_t guardian, watcher;

	file = openat(dir, "deleted", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	check(file >= 0 && write(file, "x", 1) == 1 && !unlinkat(dir, "deleted", 0));
	fd = hold_for(dir, SECOND);
	get_pair(&guardian, &watcher);
	stop_pair(guardian, watcher);
	socket = connect_to_guardian();
	check(socket >= 0);
	check_eq(send_fd(socket, file), 0);
	close(file);
	continue_pair(guardian, watcher);
	wait_state(dir, THAWED);
	/* By the deadline, or by the watcher, who gives up a guardian that shows no life. */
	ret = freezefd_thaw(fd);
	note("the hold ended by %s", ret == -ETIME ? "the deadline" : "the watcher");
	check(ret == -ETIME || ret == -ECANCELED);
	check_writable(dir);
	close(fd);
	close(socket);
	wait_no_guardian();
	fd = hold(dir);
	check_state(dir, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
}
