// SPDX-License-Identifier: GPL-2.0-or-later
/* What holds by guardians promise beyond others: that nobody's end, and nobody's malice, ends the promise. */
#include <dirent.h>
#include <stddef.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/klog.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <linux/securebits.h>

#include "../../common/guardian-protocol.h"
#include "contract.h"

/* --- the two processes --- */

/* To the guardian of the filesystem under test; a negative errno value when there is none. */
static int connect_to_guardian(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const dev_t number = status_of(dir).dev;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), ret;

	check(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), GUARDIAN_DIR "/" GUARDIAN_NAME,
		 major(number), minor(number));
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

static bool nobody_answers(void)
{
	const int socket = connect_to_guardian();

	if (socket >= 0)
		close(socket);
	return socket == -ECONNREFUSED || socket == -ENOENT;
}

static void wait_no_guardian(void)
{
	wait_until(nobody_answers());
}

static pid_t parent_of(pid_t pid)
{
	char path[32], line[512] = "", *end;
	pid_t parent = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	return end && sscanf(end + 2, "%*c %d", &parent) == 1 ? parent : 0;
}

/* The watcher has made the socket, and the guardian is its only child. */
static bool find_pair(pid_t *guardian, pid_t *watcher)
{
	int socket = connect_to_guardian();
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	struct dirent *entry;
	DIR *proc;

	*guardian = 0;
	if (socket < 0)
		return false;
	check(!getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &len));
	close(socket);
	*watcher = peer.pid;
	proc = opendir("/proc");
	check(proc);
	while (!*guardian && (entry = readdir(proc)))
		if (atoi(entry->d_name) > 0 && parent_of(atoi(entry->d_name)) == *watcher)
			*guardian = atoi(entry->d_name);
	closedir(proc);
	return *guardian > 0;
}

static void get_pair(pid_t *guardian, pid_t *watcher)
{
	wait_until(find_pair(guardian, watcher));
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

static void wait_asleep(pid_t pid)
{
	unsigned int in_row = 0;

	wait_until(seen_asleep(pid, 'S', &in_row));
}

TEST(C5, "a thaw does not wait for the hold of another that begins meanwhile")
{
	int fd = hold(dir), second = no_hold(dir);
	pid_t guardian, watcher, thawing, freezing;

	get_pair(&guardian, &watcher);
	stop_pair(guardian, watcher);
	IN_CHILD(thawing)
		check_eq(freezefd_thaw(fd), 0);
	wait_asleep(thawing);
	IN_CHILD(freezing)
		check_eq(freezefd_freeze(second), 0);
	wait_asleep(freezing);
	continue_pair(guardian, watcher);
	reap(thawing);
	reap(freezing);
	check_hold(second, HELD);
	check_state(dir, FROZEN);
	check_eq(freezefd_thaw(second), 0);
	check_state(dir, THAWED);
}

static void on_signal(int sig)
{
}

TEST(C6, "a signal ends the wait for a freeze, which is taken back")
{
	const struct sigaction action = {.sa_handler = on_signal};
	int fd = no_hold(dir);
	pid_t guardian, watcher, freezing;

	get_pair(&guardian, &watcher);
	for (int again = 0; again < 2; again++) {
		stop_pair(guardian, watcher);
		IN_CHILD(freezing) {
			check(!sigaction(SIGUSR1, &action, NULL));
			check_eq(freezefd_freeze(fd), -EINTR);
			if (again)
				check_eq(freezefd_freeze(fd), 0);
		}
		wait_asleep(freezing);
		kill(freezing, SIGUSR1);
		if (again)
			wait_asleep(freezing);
		else
			reap(freezing);
		continue_pair(guardian, watcher);
		if (again)
			reap(freezing);
		else
			wait_state(dir, THAWED);
		check_eq(status_of(fd).hold, again ? FREEZEFD_HOLD_HELD : FREEZEFD_HOLD_NONE);
	}
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C1, "status of a descriptor does not wait for a guardian that does not answer")
{
	struct freezefd_status status;
	int fd = hold(dir);
	pid_t guardian, watcher;

	get_pair(&guardian, &watcher);
	stop_pair(guardian, watcher);
	check_eq(freezefd_status(fd, &status), -ETIMEDOUT);
	/* It is known to be there, so that nobody takes the hold for one of FIFREEZE. */
	status = status_of(dir);
	check_eq(status.fd_holds, 1);
	check_eq(status.user_holds, 0);
	continue_pair(guardian, watcher);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

/* Runs body() as the first process of a new PID namespace. */
static void in_namespace(void (*body)(void))
{
	pid_t child, init;

	IN_CHILD(child) {
		check(!unshare(CLONE_NEWPID));
		/* start_child() ends who has no parent, and this one sees none. */
		init = fork();
		check(init >= 0);
		if (!init) {
			body();
			_exit(0);
		}
		reap(init);
	}
	reap(child);
}

static const struct freezefd_options risk = {.size = sizeof(risk),
					     .flags = FREEZEFD_MAY_STAY_FROZEN};

static void hold_in_namespace(void)
{
	int fd;

	check_eq(freezefd_open(dir, NULL), -ENOTRECOVERABLE);
	check_state(dir, THAWED);
	fd = freezefd_open(dir, &risk);
	check(fd >= 0);
	check_state(dir, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C4, "in a PID namespace, whose end would leave it frozen, nothing is held unasked")
{
	int fd;

	in_namespace(hold_in_namespace);
	check_state(dir, THAWED);
	fd = freezefd_open(dir, &risk);
	check(fd >= 0);
	check_eq(freezefd_thaw(fd), 0);
}

static void force_held(void)
{
	check_eq(status_of(dir).fd_holds, 1);
	check_eq(freezefd_thaw_force(dir), 0);
}

static void force_device(void)
{
	check_eq(freezefd_thaw_force(dev), 0);
}

TEST(C10, "a thaw by force reaches over the bounds of PID namespaces")
{
	int fd = hold(dir);

	in_namespace(force_held);
	check_state(dir, THAWED);
	check_eq(freezefd_thaw(fd), -ECANCELED);
	close(fd);
	wait_no_guardian();

	check(!ioctl(dir, FIFREEZE, 0));
	in_namespace(force_device);
	check_state(dir, THAWED);
}

TEST(C7, "a hold begins though root has used up its instances of inotify")
{
	pid_t child;

	IN_CHILD(child) {
		while (inotify_init1(IN_CLOEXEC) >= 0)
			;
		if (dup(dir) < 0)
			skip("there are more of them than a process may have open");
		check_eq(freezefd_thaw(hold(dir)), 0);
	}
	reap(child);
}

/* --- what others see --- */

static void read_text(const char *path, char *line, size_t size, const char *with)
{
	FILE *file = fopen(path, "re");

	check(file);
	while (fgets(line, (int)size, file) && !strstr(line, with))
		;
	fclose(file);
	check(strstr(line, with));
}

TEST(C14, "a freeze and a thaw by force leave the mount table and the kernel's log as they were")
{
	char before[1024], after[1024], *log = malloc(1 << 20);
	const char *mounted = getenv("FREEZEFD_TEST_DIR");
	int fd, len;

	check(log);
	read_text("/proc/self/mountinfo", before, sizeof(before), mounted);
	fd = hold(dir);
	check_eq(freezefd_thaw(fd), 0);
	check_eq(freezefd_freeze(fd), 0);
	check_eq(freezefd_thaw_force(dev), 0);
	close(fd);
	wait_no_guardian();
	check(!ioctl(dir, FIFREEZE, 0));
	check_eq(freezefd_thaw_force(dev), 0);
	read_text("/proc/self/mountinfo", after, sizeof(after), mounted);
	check(!strcmp(before, after));
	len = klogctl(3, log, (1 << 20) - 1); /* SYSLOG_ACTION_READ_ALL */
	check(len >= 0);
	log[len] = 0;
	check(!strstr(log, "freeze-guardian"));
	free(log);
}

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

TEST(C11, "CAP_SYS_ADMIN is not enough to hold for who is not root, and that is told")
{
	pid_t child;

	IN_CHILD(child) {
		check(!prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
		check(!setresuid(65534, 65534, 65534));
		check_state(dir, THAWED);
		check_eq(freezefd_open(dir, NULL), -EPERM);
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
