// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How soon blocked writers go on when the holder of a freeze is killed, and when
 * somebody calls FITHAW.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "bench.h"

#define WRITERS	 8
#define LIMIT_NS 20000000000ull

/* One end of each pipe is the writer's, the other the measuring process's. */
static struct {
	pid_t pid;
	int go;
	int done;
} writers[WRITERS];

/* When each writer's write returned, told by the writer. */
static volatile uint64_t *returned;

static int target;

static void read_byte(int fd, const char *from)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		die("%s is gone", from);
}

static void write_byte(int fd)
{
	if (write(fd, "", 1) != 1)
		die("write: %s", strerror(errno));
}

static pid_t fork_child(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

static void __attribute__((noreturn)) writer(int k, int go, int done)
{
	char name[32], block[4096] = "";
	int fd;

	snprintf(name, sizeof(name), "writer-%d", k);
	fd = openat(target, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		die("%s: %s", name, strerror(errno));
	for (;;) {
		read_byte(go, "the measuring process");
		if (pwrite(fd, block, sizeof(block), 0) != sizeof(block))
			die("%s: %s", name, strerror(errno));
		returned[k] = now_ns();
		write_byte(done);
	}
}

static void start_writers(void)
{
	for (int k = 0; k < WRITERS; k++) {
		int go[2], done[2];

		if (pipe2(go, O_CLOEXEC) || pipe2(done, O_CLOEXEC))
			die("pipe: %s", strerror(errno));
		writers[k].pid = fork_child();
		if (writers[k].pid == 0)
			writer(k, go[0], done[1]);
		close(go[0]);
		close(done[1]);
		writers[k].go = go[1];
		writers[k].done = done[0];
	}
}

static char state(pid_t pid)
{
	char path[32], stat[512], *end;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, stat, sizeof(stat) - 1);
	if (len < 0)
		die("%s: %s", path, strerror(errno));
	close(fd);
	stat[len] = '\0';
	/* The name, in parentheses, may hold anything. */
	end = strrchr(stat, ')');
	return end && end[1] ? end[2] : '?';
}

/* The filesystem is frozen: let the writers run into it. */
static void block_writers(void)
{
	uint64_t start = now_ns();

	for (int k = 0; k < WRITERS; k++)
		write_byte(writers[k].go);
	for (int k = 0; k < WRITERS; k++)
		while (state(writers[k].pid) != 'D') {
			if (now_ns() - start > LIMIT_NS)
				die("writer %d is in state %c, not blocked", k,
				    state(writers[k].pid));
			nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
		}
	/*
	 * The last of them is only just asleep; and to freeze has left writes on
	 * their way to the device.
	 */
	settle();
}

static void await_writers(uint64_t since, double *first, double *last)
{
	uint64_t min = UINT64_MAX, max = 0;

	for (int k = 0; k < WRITERS; k++) {
		read_byte(writers[k].done, "a writer");
		if (returned[k] < min)
			min = returned[k];
		if (returned[k] > max)
			max = returned[k];
	}
	if (min < since)
		die("a writer went on while the filesystem was frozen");
	*first = min - since;
	*last = max - since;
}

static void release_by_thaw(double *first, double *last)
{
	uint64_t since;

	if (ioctl(target, FIFREEZE, NULL))
		die("FIFREEZE: %s", strerror(errno));
	block_writers();
	since = now_ns();
	if (ioctl(target, FITHAW, NULL))
		die("FITHAW: %s", strerror(errno));
	await_writers(since, first, last);
}

static void __attribute__((noreturn)) holder(int ready)
{
	open_freezefd(target, 0);
	write_byte(ready);
	for (;;)
		pause();
}

static void release_by_kill(double *first, double *last)
{
	uint64_t since;
	int ready[2];
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	pid = fork_child();
	if (pid == 0)
		holder(ready[1]);
	close(ready[1]);
	read_byte(ready[0], "the holder");
	block_writers();
	since = now_ns();
	kill(pid, SIGKILL);
	await_writers(since, first, last);
	waitpid(pid, NULL, 0);
	close(ready[0]);
}

int main(int argc, char **argv)
{
	struct samples thaw_first, thaw_last, kill_first, kill_last;
	const struct goal no_goal = {}, soon = {.ns = 2e6};
	const char *measure = "release of 8 writers", *name;
	unsigned int rounds, i;
	double unused;

	if (argc != 3)
		die("usage: %s ROUNDS DIRECTORY", argv[0]);
	rounds = parse_rounds(argv[1]);
	target = open_target(argv[2]);
	name = filesystem_name(target);
	samples_init(&thaw_first, "FITHAW to the first", rounds);
	samples_init(&kill_first, "SIGKILL of the holder to the first", rounds);
	samples_init(&thaw_last, "FITHAW to the last", rounds);
	samples_init(&kill_last, "SIGKILL of the holder to the last", rounds);

	returned = mmap(NULL, WRITERS * sizeof(*returned), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (returned == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	start_writers();

	release_by_thaw(&unused, &unused);
	release_by_kill(&unused, &unused);
	for (i = 0; i < rounds; i++) {
		if (i % 2)
			release_by_thaw(&thaw_first.ns[i], &thaw_last.ns[i]);
		release_by_kill(&kill_first.ns[i], &kill_last.ns[i]);
		if (!(i % 2))
			release_by_thaw(&thaw_first.ns[i], &thaw_last.ns[i]);
	}

	report(measure, name, &thaw_first, NULL, rounds, no_goal);
	report(measure, name, &kill_first, &thaw_first, rounds, soon);
	report(measure, name, &thaw_last, NULL, rounds, no_goal);
	report(measure, name, &kill_last, &thaw_last, rounds, no_goal);
	return 0;
}
