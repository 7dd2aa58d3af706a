// SPDX-License-Identifier: GPL-2.0-or-later
/* Holds by guardians among others: who shares them, who freezes and thaws besides, who only looks. */
#include <pthread.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/klog.h>
#include <sys/prctl.h>

#include <linux/securebits.h>

#include "helpers.h"

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

/* A freeze of nobody's would keep writers waiting for the one that is under way. */
TEST(C6, "a freeze whose caller has gone before it begins does not begin")
{
	const uint64_t span = a_while();
	int fd = no_hold(dir);
	pid_t guardian, watcher, freezing;

	cleanup("rm -f '%s/slow'", getenv("FREEZEFD_TEST_DIR"));
	get_pair(&guardian, &watcher);
	start_slow_write(dir);
	stop_pair(guardian, watcher);
	IN_CHILD(freezing)
		freezefd_freeze(fd);
	wait_asleep(freezing);
	kill(freezing, SIGKILL);
	end_of(freezing);
	continue_pair(guardian, watcher);
	check_hold(fd, NONE);
	for (const uint64_t until = nsec() + span; nsec() < until;)
		check_state(dir, THAWED);
	end_slow_write();
}

static void *open_hold(void *thread)
{
	*(_Atomic pid_t *)thread = gettid();
	return (void *)(intptr_t)try_hold(dir, 0, 0);
}

/* The copy of the guardian's end would look like a guardian that lives. */
TEST(C15, "a child forked while another thread asks keeps no end of a guardian from its holder")
{
	int first = hold(dir), fd;
	pid_t guardian, watcher, child;
	_Atomic pid_t thread = 0;
	unsigned int in_row = 0;
	pthread_t asking;
	void *result;

	get_pair(&guardian, &watcher);
	stop_pair(guardian, watcher);
	check(!pthread_create(&asking, NULL, open_hold, &thread));
	wait_until(thread);
	wait_until(seen_asleep(thread, 'S', &in_row));
	IN_CHILD(child)
		for (;;)
			pause();
	continue_pair(guardian, watcher);
	check(!pthread_join(asking, &result));
	fd = (int)(intptr_t)result;
	check_hold(fd, HELD);
	/* Both at once: neither says good-bye. */
	stop_pair(guardian, watcher);
	kill(guardian, SIGKILL);
	kill(watcher, SIGKILL);
	wait_until(events(first) & POLLHUP);
	wait_until(events(fd) & POLLHUP);
	check_hold(fd, REVOKED);
	if (status_of(dir).state == FREEZE_STATE_FROZEN)
		check_eq(freezefd_thaw_force(dev), 0);
	check_state(dir, THAWED);
	kill(child, SIGKILL);
	end_of(child);
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

/* How often the kernel's log speaks of one; it may have died of something else before. */
static unsigned int guardians_in_log(void)
{
	char *log = malloc(1 << 20);
	unsigned int count = 0;
	int len;

	check(log);
	len = klogctl(3, log, (1 << 20) - 1); /* SYSLOG_ACTION_READ_ALL */
	check(len >= 0);
	log[len] = 0;
	for (const char *at = log; (at = strstr(at, "freeze-guardian")); at++)
		count++;
	free(log);
	return count;
}

TEST(C14, "a freeze and a thaw by force leave the mount table and the kernel's log as they were")
{
	char before[1024], after[1024];
	const char *mounted = getenv("FREEZEFD_TEST_DIR");
	const unsigned int in_log = guardians_in_log();
	int fd;

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
	check(guardians_in_log() <= in_log);
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
