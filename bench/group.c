// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * group ROUNDS DIRECTORY...: how long it takes from the first filesystem whose writers are stopped to the last,
 * one after the other and as a group. Prints medians in milliseconds.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <freezefd.h>

#define TIMEOUT_NS UINT64_C(600000000000) /* one after the other, 1,000 take minutes */

static const struct freezefd_options options = {.size = sizeof(options), .timeout_ns = TIMEOUT_NS};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* A guardian that has nothing to do stays for 50 ms. The next call must start its own. */
static void let_guardians_end(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
}

static void die(const char *what, int err)
{
	fprintf(stderr, "group: %s: %s\n", what, strerror(-err));
	exit(1);
}

/* Milliseconds from the first filesystem whose writers were stopped to the last; thaws and closes. */
static double spread(const int *fds, int count)
{
	uint64_t first = UINT64_MAX, last = 0;
	struct freezefd_status status;
	int ret;

	for (int i = 0; i < count; i++) {
		uint64_t stopped;

		ret = freezefd_status(fds[i], &status);
		if (ret)
			die("status", ret);
		stopped = now_ns() - status.frozen_ns;
		if (stopped < first)
			first = stopped;
		if (stopped > last)
			last = stopped;
	}
	ret = freezefd_thaw_group(fds, (size_t)count, NULL);
	if (ret)
		die("thaw", ret);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	return (double)(last - first) / 1e6;
}

static double one_after_the_other(const int *targets, int *fds, int count)
{
	for (int i = 0; i < count; i++) {
		fds[i] = freezefd_open(targets[i], &options);
		if (fds[i] < 0)
			die("freezefd_open", fds[i]);
	}
	return spread(fds, count);
}

static double as_a_group(const int *targets, int *fds, int count, double *call)
{
	const uint64_t start = now_ns();
	int ret = freezefd_open_group(targets, fds, (size_t)count, &options, NULL);

	if (ret)
		die("freezefd_open_group", ret);
	*call = (double)(now_ns() - start) / 1e6;
	return spread(fds, count);
}

static int compare(const void *a, const void *b)
{
	const double one = *(const double *)a, two = *(const double *)b;

	return (one > two) - (one < two);
}

static double median(double *values, int count)
{
	qsort(values, (size_t)count, sizeof(*values), compare);
	return values[count / 2];
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[1]) : 0, count = argc - 2;
	struct rlimit limit;
	int *targets, *fds;
	double *serial, *group, *call, one, other;

	if (rounds < 1) {
		fputs("Usage: group ROUNDS DIRECTORY...\n", stderr);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	targets = calloc((size_t)count, sizeof(*targets));
	fds = calloc((size_t)count, sizeof(*fds));
	serial = calloc((size_t)rounds, sizeof(*serial));
	group = calloc((size_t)rounds, sizeof(*group));
	call = calloc((size_t)rounds, sizeof(*call));
	if (!targets || !fds || !serial || !group || !call)
		die("memory", -12);
	for (int i = 0; i < count; i++) {
		targets[i] = open(argv[2 + i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (targets[i] < 0)
			die(argv[2 + i], -2);
	}
	for (int i = 0; i < rounds; i++) {
		let_guardians_end();
		serial[i] = one_after_the_other(targets, fds, count);
		let_guardians_end();
		group[i] = as_a_group(targets, fds, count, &call[i]);
	}
	one = median(serial, rounds);
	other = median(group, rounds);
	printf("%5d filesystems, %s: one after the other %.2f ms, as a group %.2f ms, %.1f times shorter; the call %.2f ms\n",
	       count, freezefd_engine(targets[0]), one, other, one / other, median(call, rounds));
	return 0;
}
