/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What freezefd monitor follows, and tells. */
#ifndef FREEZEFD_MONITOR_H
#define FREEZEFD_MONITOR_H

#include "tool.h"

/* A descriptor that is known to belong to a filesystem. */
struct held {
	pid_t pid;
	int fd;
	char *command, *hold;
	uint64_t deadline; /* of CLOCK_BOOTTIME; 0: none */
};

struct followed {
	dev_t dev, device;
	bool mounted;
	char *target, *source, *fstype; /* NULL: not known */
	char *path;			/* of the device */
	const char *engine;
	uint32_t state, fd_holds;
	uint64_t begun; /* when it was frozen, or seen to be, of CLOCK_BOOTTIME */
	bool exact;	/* begun is what the kernel or the guardian says */
	bool again;	/* and it is another freeze than that of the last look */
	bool changed;	/* it was not as at the look before */
	bool suspect;	/* its holders are to be read */
	bool gone;	/* it is in use no more */
	size_t nr_held;
	struct held *held;
};

struct monitor {
	bool json, failed;
	size_t count, nr_only;
	struct followed *fs;
	struct target *only; /* NULL: all */
	uint64_t last, now;  /* the looks before this one and this one, of CLOCK_BOOTTIME */
	uint64_t searched;
	FILE *lines; /* not printed yet */
	char *text;
	size_t size;
};

struct event {
	const char *what, *reason;
	uint64_t lasted; /* nanoseconds; 0: not told */
	const struct held *held;
	size_t count; /* of them */
};

/* monitor-tell.c */

/* A line about an event, for monitor_print(). */
void monitor_tell(struct monitor *monitor, const struct followed *fs, struct event event);
/* Tells what has become of a filesystem since the look before, its holders included. */
void monitor_compare(struct monitor *monitor, struct followed *fs, struct followed *before);
/* A file on a frozen filesystem waits for the thaw, and what is to be told with it. False: it failed. */
bool monitor_print(struct monitor *monitor);

#endif /* FREEZEFD_MONITOR_H */
