// SPDX-License-Identifier: GPL-2.0-or-later
/* C4: the hold lives as long as the open file description. */
#include <pthread.h>
#include <sys/resource.h>

#include "contract.h"

/* A child that has the hold and sleeps for ever. */
static pid_t start_holder(void)
{
	pid_t pid;

	shared[0] = 0;
	IN_CHILD(pid) {
		hold(dir);
		shared[0] = 1;
		for (;;)
			pause();
	}
	wait_until(shared[0]);
	check_state(dir, FROZEN);
	return pid;
}

TEST(C4, "the last close thaws")
{
	int fd = hold(dir);
	pid_t writer = start_writer(dir);

	wait_blocked(writer);
	close(fd);
	wait_state(dir, THAWED);
	check_eq(status_of(dir).fd_holds, 0);
	reap(writer);
}

TEST(C4, "when close returns, the filesystem is thawed")
{
	for (int i = 0; i < 10; i++) {
		close(hold(dir));
		check_state(dir, THAWED);
	}
}

TEST(C4, "dup extends the hold")
{
	int fd = hold(dir), copy = dup(fd);
	pid_t writer = start_writer(dir);

	check(copy >= 0);
	wait_blocked(writer);
	close(fd);
	wait_blocked(writer);
	check_state(dir, FROZEN);
	check_hold(copy, HELD);
	check_eq(status_of(dir).fd_holds, 1);
	close(copy);
	reap(writer);
	wait_state(dir, THAWED);
}

TEST(C4, "fork extends the hold")
{
	int fd = hold(dir);
	pid_t heir, writer;

	IN_CHILD(heir)
		for (;;)
			pause();
	close(fd);
	writer = start_writer(dir);
	wait_blocked(writer);
	check_state(dir, FROZEN);
	kill(heir, SIGKILL);
	end_of(heir);
	wait_state(dir, THAWED);
	reap(writer);
}

TEST(C4, "a descriptor passed over a socket extends the hold")
{
	pid_t sender, writer;
	int pair[2], fd;

	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	IN_CHILD(sender)
		check_eq(send_fd(pair[0], hold(dir)), 0);
	reap(sender);
	/* In flight: no process has it open. */
	writer = start_writer(dir);
	wait_blocked(writer);
	check_state(dir, FROZEN);
	fd = receive_fd(pair[1]);
	check(fd >= 0);
	check_hold(fd, HELD);
	close(fd);
	reap(writer);
	wait_state(dir, THAWED);
}

TEST(C4, "who received the descriptor keeps the hold when the maker is killed")
{
	int pair[2], fd;
	pid_t maker;

	check(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	IN_CHILD(maker) {
		check_eq(send_fd(pair[0], hold(dir)), 0);
		for (;;)
			pause();
	}
	fd = receive_fd(pair[1]);
	check(fd >= 0);
	kill(maker, SIGKILL);
	end_of(maker);
	check_state(dir, FROZEN);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
	wait_state(dir, THAWED);
}

TEST(C4, "a descriptor in flight ends with the socket")
{
	int pair[2], fd = hold(dir);

	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	check_eq(send_fd(pair[0], fd), 0);
	close(fd);
	check_state(dir, FROZEN);
	close(pair[0]);
	close(pair[1]);
	wait_state(dir, THAWED);
	check_writable(dir);
}

/* The close of any socket makes the collector run. */
static bool thawed_after_collection(void)
{
	int pair[2];

	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	close(pair[0]);
	close(pair[1]);
	return status_of(dir).state == FREEZE_STATE_THAWED;
}

/* A socket that carries itself is collected later, by the kernel's own thread. */
TEST(C4, "a descriptor in a loop of sockets ends when the loop is collected")
{
	int pair[2], fd = hold(dir);

	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	check_eq(send_fd(pair[0], fd), 0);
	check_eq(send_fd(pair[0], pair[0]), 0);
	check_eq(send_fd(pair[0], pair[1]), 0);
	close(fd);
	close(pair[0]);
	close(pair[1]);
	wait_until(thawed_after_collection());
	check_writable(dir);
}

TEST(C4, "exit ends the hold")
{
	pid_t holder;

	IN_CHILD(holder)
		hold(dir);
	reap(holder);
	wait_state(dir, THAWED);
}

TEST(C4, "SIGKILL ends the hold")
{
	pid_t holder = start_holder();

	kill(holder, SIGKILL);
	end_of(holder);
	wait_state(dir, THAWED);
	check_writable(dir);
}

TEST(C4, "a crash ends the hold")
{
	const struct rlimit none = {0, 0};
	pid_t holder;

	IN_CHILD(holder) {
		check(!setrlimit(RLIMIT_CORE, &none));
		hold(dir);
		raise(SIGSEGV);
	}
	check(WIFSIGNALED(end_of(holder)));
	wait_state(dir, THAWED);
}

TEST(C4, "the deadline lets a holder crash whose core is to go to the frozen filesystem")
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	char pattern[128] = "";
	pid_t holder;
	FILE *file = fopen("/proc/sys/kernel/core_pattern", "re");

	if (!file || !fgets(pattern, sizeof(pattern), file) || strncmp(pattern, "core", 4))
		skip("cores do not go to the working directory");
	fclose(file);
	IN_CHILD(holder) {
		check(!setrlimit(RLIMIT_CORE, &unlimited) && !fchdir(dir));
		hold_for(dir, SECOND / 2);
		raise(SIGSEGV);
	}
	check(WCOREDUMP(end_of(holder)));
	wait_state(dir, THAWED);
	sh("rm -f \"$FREEZEFD_TEST_DIR\"/core*");
}

TEST(C4, "SIGKILL of the holder lets eight blocked writers go on")
{
	pid_t holder = start_holder(), writer[8];

	for (size_t i = 0; i < ARRAY_SIZE(writer); i++)
		writer[i] = start_writer(dir);
	for (size_t i = 0; i < ARRAY_SIZE(writer); i++)
		wait_blocked(writer[i]);
	kill(holder, SIGKILL);
	end_of(holder);
	for (size_t i = 0; i < ARRAY_SIZE(writer); i++)
		reap(writer[i]);
	wait_state(dir, THAWED);
}

TEST(C4, "exec ends the hold: the descriptor is close-on-exec")
{
	pid_t holder;
	int pipe_fd[2], fd;

	fd = hold(dir);
	check(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	fd = no_hold(dir);
	check(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);

	check(!pipe2(pipe_fd, O_CLOEXEC));
	IN_CHILD(holder) {
		hold(dir);
		dup2(pipe_fd[0], STDIN_FILENO);
		execl("/bin/cat", "cat", NULL);
		check(!"exec");
	}
	wait_state(dir, THAWED);
	check(!kill(holder, 0));
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	end_of(holder);
}

TEST(C4, "exec keeps a hold that was made inheritable")
{
	pid_t holder, writer;
	int fd = hold(dir);

	IN_CHILD(holder) {
		check(!fcntl(fd, F_SETFD, 0));
		execl("/bin/sleep", "sleep", "1000", NULL);
		check(!"exec");
	}
	close(fd);
	check_state(dir, FROZEN);
	writer = start_writer(dir);
	wait_blocked(writer);
	check_state(dir, FROZEN);
	kill(holder, SIGKILL);
	end_of(holder);
	reap(writer);
}

TEST(C4, "a hold needs neither the file it was opened through nor its directory entry")
{
	int file, fd;

	file = openat(dir, "file", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	check(file >= 0);
	fd = hold(file);
	close(file);
	check_state(dir, FROZEN);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
	check(!unlinkat(dir, "file", 0));
	check_eq(freezefd_freeze(fd), 0);
	check_state(dir, FROZEN);
	close(fd);
	wait_state(dir, THAWED);
}

static void *hold_and_end(void *fd)
{
	*(int *)fd = hold(dir);
	return NULL;
}

TEST(C4, "the end of the thread that froze leaves the hold to the process")
{
	pthread_t thread;
	int fd;

	check(!pthread_create(&thread, NULL, hold_and_end, &fd));
	check(!pthread_join(thread, NULL));
	check_state(dir, FROZEN);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C4, "thousands of descriptors come and go")
{
	const struct rlimit many = {2200, 2200};
	static int fds[2000];

	for (int i = 0; i < 3000; i++)
		close(no_hold(dir));
	check_state(dir, THAWED);

	check(!setrlimit(RLIMIT_NOFILE, &many));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = hold(dir);
	check_eq(status_of(dir).fd_holds, ARRAY_SIZE(fds));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		check_state(dir, FROZEN);
		close(fds[i]);
	}
	wait_state(dir, THAWED);
	check_writable(dir);
}
