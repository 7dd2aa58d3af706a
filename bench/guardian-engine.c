// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the guardian engine costs: to ask, to freeze and thaw, and from the death
 * of the client until a blocked writer goes on. Through the library, which is
 * told to use it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <freezefd.h>
#include "bench.h"

#define CALLS 1000

static int target;
static volatile struct {
	uint64_t ns;
	int step;
} * shared;

static void check(int ret, const char *what)
{
	if (ret < 0)
		die("%s: %s", what, strerror(-ret));
}

static pid_t start_child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* Loads the program, in a process that has not done so yet. */
static double first_status(void)
{
	struct freezefd_status status;
	uint64_t start;
	int how;

	if (start_child() == 0) {
		start = now_ns();
		check(freezefd_status(target, &status), "freezefd_status");
		shared->ns = now_ns() - start;
		_exit(0);
	}
	if (wait(&how) < 0 || how)
		die("no first status");
	return shared->ns;
}

static double warm_status(void)
{
	struct freezefd_status status;
	uint64_t start = now_ns();

	for (int i = 0; i < CALLS; i++)
		check(freezefd_status(target, &status), "freezefd_status");
	return (double)(now_ns() - start) / CALLS;
}

static double classic_cycle(void)
{
	uint64_t start;

	settle();
	start = now_ns();
	if (ioctl(target, FIFREEZE, 0) || ioctl(target, FITHAW, 0))
		die("FIFREEZE or FITHAW: %s", strerror(errno));
	return now_ns() - start;
}

static double kept_cycle(int fd)
{
	uint64_t start;

	settle();
	start = now_ns();
	check(freezefd_freeze(fd), "freezefd_freeze");
	check(freezefd_thaw(fd), "freezefd_thaw");
	return now_ns() - start;
}

/* The start of the guardian included. */
static double fresh_cycle(void)
{
	uint64_t start;
	int fd;

	settle();
	/* The last one must have ended. */
	nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
	start = now_ns();
	fd = freezefd_open(target, NULL);
	check(fd, "freezefd_open");
	check(freezefd_thaw(fd), "freezefd_thaw");
	start = now_ns() - start;
	close(fd);
	return start;
}

static void await(int step)
{
	while (shared->step != step)
		nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static double release(void)
{
	pid_t holder, writer;
	uint64_t since;

	shared->step = 0;
	holder = start_child();
	if (holder == 0) {
		check(freezefd_open(target, NULL), "freezefd_open");
		shared->step = 1;
		for (;;)
			pause();
	}
	await(1);
	writer = start_child();
	if (writer == 0) {
		shared->step = 2;
		int fd = openat(target, "written", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

		shared->ns = now_ns();
		if (fd < 0)
			die("written: %s", strerror(errno));
		_exit(0);
	}
	await(2);
	settle();
	since = now_ns();
	kill(holder, SIGKILL);
	waitpid(writer, NULL, 0);
	waitpid(holder, NULL, 0);
	unlinkat(target, "written", 0);
	if (shared->ns < since)
		die("a writer went on while the filesystem was frozen");
	return shared->ns - since;
}

int main(int argc, char **argv)
{
	struct samples first, warm, classic, kept, fresh, killed;
	struct freezefd_status status;
	const char *name;
	unsigned int rounds;
	int fd;

	if (argc != 3)
		die("usage: %s ROUNDS DIRECTORY", argv[0]);
	rounds = parse_rounds(argv[1]);
	target = open_target(argv[2]);
	name = filesystem_name(target);
	setenv("FREEZEFD_ENGINE", "guardian", 1);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	samples_init(&first, "first freezefd_status", rounds);
	samples_init(&warm, "freezefd_status", rounds);
	samples_init(&classic, "FIFREEZE + FITHAW", rounds);
	samples_init(&kept, "freezefd_freeze + freezefd_thaw", rounds);
	samples_init(&fresh, "freezefd_open + freezefd_thaw", rounds);
	samples_init(&killed, "SIGKILL of the holder", rounds);

	for (unsigned int i = 0; i < rounds; i++)
		first.ns[i] = first_status();
	check(freezefd_status(target, &status), "freezefd_status");
	for (unsigned int i = 0; i < rounds; i++)
		warm.ns[i] = warm_status();
	for (unsigned int i = 0; i < rounds; i++) {
		const struct freezefd_options thawed = {.size = sizeof(thawed),
							.flags = FREEZEFD_THAWED};

		fresh.ns[i] = fresh_cycle();
		fd = freezefd_open(target, &thawed);
		check(fd, "freezefd_open");
		classic.ns[i] = classic_cycle();
		kept.ns[i] = kept_cycle(fd);
		close(fd);
	}
	for (unsigned int i = 0; i < rounds; i++)
		killed.ns[i] = release();

	report("guardian: status", name, &first, NULL, rounds, (struct goal){.ns = 60e6});
	report("guardian: status", name, &warm, NULL, rounds, (struct goal){.ns = 50e3});
	report("guardian: freeze and thaw", name, &classic, NULL, rounds, (struct goal){});
	report("guardian: freeze and thaw", name, &kept, &classic, rounds,
	       (struct goal){.ratio = 1.3});
	report("guardian: freeze and thaw", name, &fresh, &classic, rounds,
	       (struct goal){.ratio = 1.3});
	report("guardian: release of a writer", name, &killed, NULL, rounds,
	       (struct goal){.ns = 5e6});
	return 0;
}
