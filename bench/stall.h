/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is frozen to measure stalls, and the ways to do so. */
#ifndef STALL_H
#define STALL_H

#include <stdint.h>

#define MS	1000000ull
#define HOLD_NS (10 * MS) /* how long the filesystem is held */

/* When the freeze was asked for, was there, was to end and had ended. */
struct times {
	uint64_t ask, frozen, thaw, thawed;
};

extern const char *directory; /* on what is frozen */
extern int target;	      /* it is open */

void nap(uint64_t ns);

/* stall-ways.c */

/* Freezes, holds for HOLD_NS and thaws. */
struct way {
	const char *name;
	void (*freeze)(struct times *times);
};

/* NULL: there is none of this name. */
const struct way *find_way(const char *name);
/* The command that one of them runs: writes to a file when it began and when it ended. */
void hold(const char *stamps);

#endif /* STALL_H */
