// SPDX-License-Identifier: GPL-2.0-or-later
/* What calls cost a process under freezefd guard, beside one that is not: syscalls ROUNDS FREEZEFD. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench.h"

#define CALLS	2000
#define BATCHES 200

static int zero, channel[2];

static long call_getpid(void)
{
	return syscall(SYS_getpid);
}

static long call_read(void)
{
	char byte;

	return read(zero, &byte, 1);
}

static long call_ioctl(void)
{
	int count;

	return ioctl(channel[0], FIONREAD, &count);
}

static const struct {
	const char *name;
	long (*call)(void);
} calls[] = {{"getpid", call_getpid}, {"read", call_read}, {"ioctl(FIONREAD)", call_ioctl}};

static double batch(size_t which)
{
	uint64_t start = now_ns();

	for (int n = 0; n < CALLS; n++)
		if (calls[which].call() < 0)
			die("%s: %s", calls[which].name, strerror(errno));
	return (double)(now_ns() - start) / CALLS;
}

/* Nanoseconds for each call: the fastest of many batches, which nothing else has disturbed. */
static void measure(double *ns)
{
	double took;

	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (zero < 0 || pipe(channel))
		die("cannot open what is to be called: %s", strerror(errno));
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		ns[i] = batch(i);
		for (int n = 1; n < BATCHES; n++) {
			took = batch(i);
			if (took < ns[i])
				ns[i] = took;
		}
	}
}

/* In a process of its own, by way of COMMAND... */
static void measure_in(char **command, double *ns)
{
	int out[2], status;
	pid_t child;

	if (pipe(out) || (child = fork()) < 0)
		die("cannot start: %s", strerror(errno));
	if (!child) {
		dup2(out[1], STDOUT_FILENO);
		execv(command[0], command);
		die("%s: %s", command[0], strerror(errno));
	}
	close(out[1]);
	if (read(out[0], ns, sizeof(*ns) * ARRAY_SIZE(calls)) !=
	    (ssize_t)(sizeof(*ns) * ARRAY_SIZE(calls)))
		die("%s: no result", command[0]);
	close(out[0]);
	if (waitpid(child, &status, 0) != child || status)
		die("%s failed", command[0]);
}

int main(int argc, char **argv)
{
	static char self[] = "/proc/self/exe", guard[] = "guard", end[] = "--", child[] = "child";
	double ns[ARRAY_SIZE(calls)];
	struct samples plain[ARRAY_SIZE(calls)], guarded[ARRAY_SIZE(calls)];
	unsigned int rounds;

	if (argc == 2 && !strcmp(argv[1], child)) {
		measure(ns);
		return write(STDOUT_FILENO, ns, sizeof(ns)) != sizeof(ns);
	}
	if (argc != 3)
		die("usage: %s ROUNDS FREEZEFD", argv[0]);
	rounds = parse_rounds(argv[1]);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		samples_init(&plain[i], "plain", rounds);
		samples_init(&guarded[i], "guard", rounds);
	}
	for (unsigned int round = 0; round < rounds; round++) {
		for (unsigned int turn = 0; turn < 2; turn++) {
			const int under = (round + turn) % 2;
			char *path = realpath(self, NULL);
			char *with[] = {argv[2], guard, end, path, child, NULL};
			char *without[] = {path, child, NULL};

			measure_in(under ? with : without, ns);
			for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
				(under ? guarded : plain)[i].ns[round] = ns[i];
			free(path);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		report("syscalls", calls[i].name, &plain[i], NULL, rounds, (struct goal){});
		report("syscalls", calls[i].name, &guarded[i], &plain[i], rounds, (struct goal){});
	}
	return 0;
}
