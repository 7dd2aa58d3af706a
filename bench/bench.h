/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* What one way of doing a thing took, a figure for each round. */
struct samples {
	const char *what;
	double *ns;
};

/* What is asked of a figure; zero where nothing is. */
struct goal {
	double ratio; /* to the base, at most */
	double ns;    /* less than */
};

void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
uint64_t now_ns(void);
unsigned int parse_rounds(const char *arg);
void samples_init(struct samples *samples, const char *what, unsigned int rounds);

/* Open a directory that may be frozen: never one of the root filesystem. */
int open_target(const char *path);
const char *filesystem_name(int fd);

/* A freeze descriptor of the kernel's own or, with FREEZEFD_ENGINE=module, of its module. */
int open_freezefd(int target, uint32_t flags);
/* /dev/freezefd with that engine, or -1. */
int module_device(void);

/* Wait until nothing remembers the last thaw, so that every freeze pays in full. */
void settle(void);

void sort(double *values, size_t n);

/* Print median, lowest and highest in nanoseconds, each with a tab before it. */
void print_spread(const struct samples *samples, unsigned int rounds);

/*
 * Print one record: fields separated by tabs, in the order that ./run reads them
 * in. Without a base there is no ratio.
 */
void report(const char *measure, const char *target, const struct samples *samples,
	    const struct samples *base, unsigned int rounds, struct goal goal);

#endif /* BENCH_H */
