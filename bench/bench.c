// SPDX-License-Identifier: GPL-2.0-or-later
/* What the measuring programs share. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/freezefd_dev.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include "bench.h"

void die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

unsigned int parse_rounds(const char *arg)
{
	char *end;
	unsigned long rounds = strtoul(arg, &end, 10);

	if (*end || rounds < 1 || rounds > 100000)
		die("not a number of rounds: %s", arg);
	return rounds;
}

void samples_init(struct samples *samples, const char *what, unsigned int rounds)
{
	samples->what = what;
	samples->ns = calloc(rounds, sizeof(*samples->ns));
	if (!samples->ns)
		die("out of memory");
}

int open_target(const char *path)
{
	struct stat target, root;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &target) || stat("/", &root))
		die("%s: %s", path, strerror(errno));
	if (target.st_dev == root.st_dev)
		die("%s: is on the root filesystem, which must not be frozen", path);
	return fd;
}

const char *filesystem_name(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		die("statfs: %s", strerror(errno));
	switch (fs.f_type) {
	case EXT4_SUPER_MAGIC:
		return "ext4";
	case XFS_SUPER_MAGIC:
		return "XFS";
	}
	die("neither ext4 nor XFS: filesystem type %#lx", (long)fs.f_type);
}

void settle(void)
{
	/*
	 * A thawed semaphore stays in its slow mode for a grace period, and a
	 * freeze that comes before its end is spared the wait for another one.
	 * Each of these calls takes a whole grace period.
	 */
	for (int i = 0; i < 2; i++)
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
			die("membarrier: %s", strerror(errno));
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void sort(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare);
}

static double *sorted(const double *values, unsigned int n)
{
	double *copy = malloc(n * sizeof(*copy));

	if (!copy)
		die("out of memory");
	memcpy(copy, values, n * sizeof(*copy));
	sort(copy, n);
	return copy;
}

static double median(const double *sorted, unsigned int n)
{
	return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

/*
 * The median of the rounds' own ratios: what drifts from round to round cancels.
 * With it the interval that holds the true median with 95 % confidence, whatever
 * the distribution: the order statistics around it.
 */
static void report_ratio(const struct samples *samples, const struct samples *base,
			 unsigned int rounds)
{
	struct samples ratio;
	unsigned int low;
	double *order;

	samples_init(&ratio, NULL, rounds);
	for (unsigned int i = 0; i < rounds; i++)
		ratio.ns[i] = samples->ns[i] / base->ns[i];
	order = sorted(ratio.ns, rounds);
	low = fmax(0, floor((rounds - 1.96 * sqrt(rounds)) / 2));
	printf("\t%s\t%.4f\t%.4f\t%.4f", base->what, median(order, rounds), order[low],
	       order[rounds - 1 - low]);
	free(order);
	free(ratio.ns);
}

void print_spread(const struct samples *samples, unsigned int rounds)
{
	double *order = sorted(samples->ns, rounds);

	printf("\t%.0f\t%.0f\t%.0f", median(order, rounds), order[0], order[rounds - 1]);
	free(order);
}

void report(const char *measure, const char *target, const struct samples *samples,
	    const struct samples *base, unsigned int rounds, struct goal goal)
{
	printf("bench\t%s\t%s\t%s\t%u", measure, target, samples->what, rounds);
	print_spread(samples, rounds);
	if (base)
		report_ratio(samples, base, rounds);
	else
		printf("\t-\t-\t-\t-");
	printf("\t%g\t%g\n", goal.ratio, goal.ns);
}

int module_device(void)
{
	const char *engine = getenv("FREEZEFD_ENGINE");
	static int device = -1;

	if (device < 0 && engine && !strcmp(engine, "module")) {
		device = open("/dev/freezefd", O_RDONLY | O_CLOEXEC);
		if (device < 0)
			die("/dev/freezefd: %s", strerror(errno));
	}
	return device;
}

int open_freezefd(int target, uint32_t flags)
{
	struct freezefd_dev_args args = {.fd = target, .args = {.flags = flags}};
	int fd = module_device() < 0 ? ioctl(target, FS_IOC_FREEZEFD, &args.args)
				     : ioctl(module_device(), FREEZEFD_DEV_FREEZEFD, &args);

	if (fd < 0)
		die("cannot make a freeze descriptor: %s", strerror(errno));
	return fd;
}
