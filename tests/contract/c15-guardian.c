// SPDX-License-Identifier: GPL-2.0-or-later
/* What holds by guardians promise beyond others: that nobody's end, and nobody's malice, ends the promise. */
#include <dirent.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/un.h>

#include <linux/securebits.h>

#include "../../lib/guardian.h"
#include "contract.h"

/* --- the two processes --- */

static bool read_stat(pid_t pid, char comm[32], pid_t *parent)
{
	char path[32], line[512] = "", *begin, *end;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	begin = fgets(line, sizeof(line), file) ? strchr(line, '(') : NULL;
	fclose(file);
	end = begin ? strrchr(begin, ')') : NULL;
	if (!end)
		return false;
	*end = 0;
	snprintf(comm, 32, "%s", begin + 1);
	return sscanf(end + 2, "%*c %d", parent) == 1;
}

static bool is_one(pid_t pid, pid_t *parent)
{
	char comm[32];

	return read_stat(pid, comm, parent) && !strcmp(comm, "freeze-guardian") &&
	       process_state(pid) != 'Z';
}

/* How many there are, and a pair of them. */
static int find_pair(pid_t *guardian, pid_t *watcher)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t parent, other;
	int count = 0;

	check(proc);
	while ((entry = readdir(proc))) {
		pid_t pid = atoi(entry->d_name);

		if (pid <= 0 || !is_one(pid, &parent))
			continue;
		count++;
		if (!is_one(parent, &other))
			continue;
		*guardian = pid;
		*watcher = parent;
	}
	closedir(proc);
	return count;
}

/* Those of the one filesystem that is held; others may be about to end. */
static void get_pair(pid_t *guardian, pid_t *watcher)
{
	wait_until(find_pair(guardian, watcher) == 2);
}

static void wait_no_guardian(void)
{
	pid_t guardian, watcher;

	wait_until(find_pair(&guardian, &watcher) == 0);
}

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

/* --- others --- */

/* The library has to load its program again, as in a program that nobody of ours started. What was open is closed. */
static void forget_program(int target)
{
	check(dup2(target, STDIN_FILENO) == STDIN_FILENO);
	check(!close_range(STDERR_FILENO + 1, ~0U, 0));
}

TEST(C5, "programs that have nothing in common share a hold")
{
	int fd = hold(dir);
	pid_t other;

	shared[0] = 0;
	IN_CHILD(other) {
		int own;

		forget_program(dir);
		own = hold(STDIN_FILENO);
		check_hold(own, HELD);
		check_eq(status_of(STDIN_FILENO).fd_holds, 2);
		shared[0] = 1;
		for (;;)
			pause();
	}
	wait_until(shared[0] || strchr("ZX", process_state(other)));
	check(shared[0]);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
	check_state(dir, FROZEN);
	check_eq(status_of(dir).fd_holds, 1);
	kill(other, SIGKILL);
	end_of(other);
	wait_state(dir, THAWED);
}

TEST(C5, "a stranger's FIFREEZE keeps a hold away, and is left as it was")
{
	check(!ioctl(dir, FIFREEZE, 0));
	check_eq(freezefd_open(dir, NULL), -EBUSY);
	check_eq(freezefd_open(dev, NULL), -EBUSY);
	check_state(dir, FROZEN);
	check_eq(status_of(dir).user_holds, 1);
	check_eq(status_of(dir).fd_holds, 0);
	check(!ioctl(dir, FITHAW, 0));
	check_state(dir, THAWED);
}

TEST(C8, "a stranger's FITHAW is told, also when nobody asks")
{
	int fd = hold(dir);

	check(!ioctl(dir, FITHAW, 0));
	wait_until(events(fd) == POLLERR);
	check_hold(fd, REVOKED);
	check_eq(freezefd_thaw(fd), -ECANCELED);

	check_eq(freezefd_freeze(fd), 0);
	check(!ioctl(dir, FITHAW, 0));
	check_eq(freezefd_thaw(fd), -ECANCELED);
	check_hold(fd, NONE);
}

TEST(C8, "a hold that begins after a stranger's FITHAW is a freeze of its own")
{
	for (int i = 0; i < 10; i++) {
		int first = hold(dir), second;
		pid_t writer;

		check(!ioctl(dir, FITHAW, 0));
		second = hold(dir);
		check_state(dir, FROZEN);
		writer = start_writer(dir);
		wait_blocked(writer);
		check_hold(first, REVOKED);
		check_hold(second, HELD);
		check_eq(freezefd_thaw(second), 0);
		reap(writer);
		check_eq(freezefd_thaw(first), -ECANCELED);
		close(first);
		close(second);
	}
}

TEST(C11, "without the means to look nothing is guessed and nothing frozen")
{
	struct freezefd_status status;
	pid_t child;

	IN_CHILD(child) {
		int bdev;

		forget_program(dir);
		check(!setresgid(65534, 65534, 65534));
		check(!setresuid(65534, 65534, 65534));
		check_eq(freezefd_status(STDIN_FILENO, &status), -EPERM);
		check_eq(freezefd_open(STDIN_FILENO, NULL), -EPERM);
		bdev = open(getenv("FREEZEFD_TEST_DEV"), O_RDONLY | O_CLOEXEC);
		check(bdev < 0 || freezefd_thaw_force(bdev) == -EPERM);
	}
	reap(child);
	check_state(dir, THAWED);

	IN_CHILD(child) {
		forget_program(dir);
		check(!mount("no BTF", "/sys/kernel/btf", "tmpfs", 0, NULL));
		check_eq(freezefd_status(STDIN_FILENO, &status), -ENOSYS);
		check_eq(freezefd_open(STDIN_FILENO, NULL), -ENOSYS);
		check_eq(freezefd_thaw_force(STDIN_FILENO), -ENOSYS);
	}
	reap(child);
	check_state(dir, THAWED);
}

TEST(C11, "CAP_SYS_ADMIN is not enough for who is not root, and that is told")
{
	pid_t child;

	IN_CHILD(child) {
		check(!prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
		check(!setresuid(65534, 65534, 65534));
		check_state(dir, THAWED);
		check_eq(freezefd_open(dir, NULL), -EPERM);
		check_eq(freezefd_thaw_force(dir), -EPERM);
		check_state(dir, THAWED);
	}
	reap(child);
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

/* The filesystem's number, as the kernel has it: that of a btrfs is not what stat tells. */
static int connect_to_guardian(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char line[1024], number[32], path[256];
	const char *mounted = getenv("FREEZEFD_TEST_DIR");
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	int fd, n;

	check(mounts);
	while (!found && fgets(line, sizeof(line), mounts))
		found = sscanf(line, "%*d %*d %31s %*s %255s", number, path) == 2 &&
			!strcmp(path, mounted);
	fclose(mounts);
	check(found);
	n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, GUARDIAN_FS "%s", number);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	check(fd >= 0);
	if (!connect(fd, (struct sockaddr *)&address,
		     offsetof(struct sockaddr_un, sun_path) + 1 + n))
		return fd;
	n = -errno;
	close(fd);
	return n;
}

static bool nobody_answers(void)
{
	const int socket = connect_to_guardian();

	if (socket >= 0)
		close(socket);
	return socket == -ECONNREFUSED;
}

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
	/* A thread of it may outlast the process that one sees. */
	wait_until(nobody_answers());
}

TEST(C11, "who has no privilege gets neither a hold nor a thaw out of the guardian")
{
	int fd = hold(dir);
	pid_t nobody;

	IN_CHILD(nobody) {
		const uint32_t ops[] = {GUARDIAN_OPEN,	GUARDIAN_FORCE,	  GUARDIAN_FREEZE,
					GUARDIAN_THAW,	GUARDIAN_TIMEOUT, 99,
					GUARDIAN_STATUS};

		check(!setresgid(65534, 65534, 65534));
		check(!setresuid(65534, 65534, 65534));
		for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
			const struct guardian_request request = {.op = ops[i]};
			const int socket = connect_to_guardian();
			struct guardian_reply reply;

			check(socket >= 0);
			check_eq(send(socket, &request, sizeof(request), MSG_NOSIGNAL),
				 sizeof(request));
			check_eq(recv(socket, &reply, sizeof(reply), 0), sizeof(reply));
			check_eq(reply.error, ops[i] == GUARDIAN_STATUS ? 0 : -EPERM);
			close(socket);
		}
	}
	reap(nobody);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

/* Both, so that neither continues the other. */
static void stop_pair(pid_t guardian, pid_t watcher)
{
	while (process_state(guardian) != 'T' || process_state(watcher) != 'T') {
		kill(watcher, SIGSTOP);
		kill(guardian, SIGSTOP);
	}
}

static void continue_pair(pid_t guardian, pid_t watcher)
{
	kill(watcher, SIGCONT);
	kill(guardian, SIGCONT);
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
