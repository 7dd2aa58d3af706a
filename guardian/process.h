/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * freeze-guardian: holds a filesystem frozen for those who have a freeze
 * descriptor. Two processes with one table of descriptors: the guardian, which
 * does all the work, and its parent the watcher, which thaws when the guardian
 * dies. The guardian thaws and ends when the watcher dies.
 */
#ifndef FREEZEFD_GUARDIAN_PROCESS_H
#define FREEZEFD_GUARDIAN_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "../common/guardian-protocol.h"
#include "../common/superblock.h"

/* What there is from the start; never changed after. */
struct fs {
	struct sb_reader reader;
	struct sb_record record; /* as it was then: id, numbers, type and path are what counts */
	const char *bdev;	 /* path of its block device below the guardian's root */
	int inotify;		 /* tells when the filesystem goes away, without keeping it */
	int directory;		 /* GUARDIAN_DIR, which is in the client's mount namespace */
	int lock;		 /* a file there, locked as long as one of the two lives */
	int listener;
	int watcher; /* pidfd */
};

/* In memory that both processes see. */
struct common {
	/*
	 * The root directory by which the filesystem is frozen, from before
	 * FIFREEZE until after FITHAW; -1 at other times.
	 */
	_Atomic int root;
	/* Since when writers may have been stopped, CLOCK_BOOTTIME; 0: FIFREEZE was not called yet. */
	_Atomic uint64_t stopped_ns;
	/* Somebody waits for the freeze that is under way. */
	_Atomic bool wanted;
	/* Grows, several times a second, as long as there is such a root and the guardian lives. */
	_Atomic unsigned int beats;
	/* The names in GUARDIAN_DIR are given up: they may be another guardian's by now. */
	_Atomic bool nameless;
};

/*
 * main.c: every one, of this thread. The C library has two that it never blocks,
 * and unblocks when it makes a thread; they kill like others.
 */
void block_signals(void);

/* main.c: gives up the names in GUARDIAN_DIR, once. */
void leave_directory(const struct fs *fs, struct common *common);

uint64_t now_ns(void); /* CLOCK_BOOTTIME */

/*
 * confine.c: gives up what neither of the two needs from now on. What fails here, as on a kernel
 * without filters, is done without.
 */
void confine(void);

/* loop.c: the guardian. Returns when nobody has a freeze descriptor any more. */
void serve(struct fs *fs, struct common *common);

/* work.c: what may block is done by a thread, one thing at a time. */
/* LEAVE: what others have thawed; what they may have frozen since is theirs. */
enum work { WORK_FREEZE, WORK_THAW, WORK_LEAVE, WORK_FORCE };

/* Returns an eventfd that is readable when what was begun is done, or a negative errno value. */
int work_start(const struct fs *fs, struct common *common);
void work_begin(enum work what);
/* What became of it: 0 or a negative errno value; ECANCELED when it was not begun, because nobody wanted it. */
int work_result(void);

#endif /* FREEZEFD_GUARDIAN_PROCESS_H */
