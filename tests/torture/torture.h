/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processes freeze, thaw and disturb a few filesystems at random, and a model in memory that they
 * share says what they may see. It knows what is certain (a descriptor holds, since its freeze
 * has returned and nothing that could have broken it has begun) and what is possible. Whatever
 * overlaps with an operation on the same descriptor, or with its owner's death, is not certain.
 */
#ifndef TORTURE_H
#define TORTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "freezefd.h"

#define US  1000ULL
#define MS  (1000 * US)
#define SEC (1000 * MS)

#define MAX_FS	    6
#define MAX_WORKERS 12 /* threads that hold, over all processes */
#define PER_FS	    64 /* freeze descriptors of a filesystem at a time */
#define WRITERS	    2  /* of a filesystem */
#define TRAIL	    512
/* Of every freeze descriptor. */
#define MAX_TIMEOUT (3 * SEC)
/* For what has no limit of its own, so that a failure ends: QEMU emulates, on a machine that others use. */
#define END_LIMIT (300 * SEC)
#define NEVER	  UINT32_MAX

/* ---- The model ---- */

/* Operations of a kind that have begun and ended, so that one can tell that none was under way. */
struct span {
	_Atomic uint32_t begun, ended;
};

enum phase {
	FREE,	/* the record is not in use */
	UNHELD, /* holds nothing */
	HELD,	/* holds since "granted", or is broken and has not told it */
	UNKNOWN /* operations have overlapped */
};

/* struct hold.word: changed in one step. */
struct word {
	uint16_t active; /* operations under way */
	uint8_t phase;
	uint8_t dirty; /* two of them have overlapped */
	uint32_t generation;
};

/* An open file description, or the one hold of FIFREEZE, or of the block layer. */
struct hold {
	_Atomic uint64_t word;
	_Atomic int copies; /* descriptors, those in messages, too */
	_Atomic bool fuzzy; /* an owner was killed in the middle: nothing is certain any more */
	_Atomic uint8_t owned[MAX_WORKERS];
	/* The rest is written within an operation. Times are of CLOCK_BOOTTIME. */
	uint64_t timeout;
	uint64_t asked, granted;   /* when its freeze was called and returned */
	uint64_t earliest, latest; /* when its deadline may, and must, have fired */
	uint32_t breaks, mounts;   /* of its filesystem when it was asked for; NEVER */
	uint32_t written;	   /* by the filesystem's writers when it was granted */
	uint32_t made;		   /* mounts when the descriptor was made */
};

struct fs {
	const char *type, *device;
	const char *dm;	   /* name of the device, if it is one of device-mapper */
	const char *image; /* file of a loop device that is to be detached */
	const char *null;  /* power switch of a null_blk that is to be taken away */
	char dir[64];
	_Atomic bool mounted;
	_Atomic bool gone;	 /* its device was taken away: until the end of the round */
	_Atomic bool lost;	 /* that, or spoilt by a fault: nothing is certain */
	_Atomic bool turn;	 /* of FIFREEZE or of a suspend, where they must not meet */
	struct span breaks;	 /* what breaks holds: force, SysRq-j */
	struct span user;	 /* FIFREEZE, FITHAW and suspends */
	struct span mounts;	 /* mount, unmount */
	struct span kernel;	 /* what freezes in the kernel's name, or remounts */
	_Atomic uint32_t left;	 /* freezes of this round that their callers have given up */
	_Atomic uint64_t forced; /* when the last thaw by force that did something began */
	_Atomic uint32_t written[WRITERS];
	struct hold fifreeze, bdev, descriptors[PER_FS];
};

struct worker {
	_Atomic(struct hold *) current; /* what it works on */
	_Atomic bool doomed;		/* is about to be killed */
	_Atomic bool forked;		/* a child has copies of all that it owns */
};

struct event {
	uint64_t time;
	const char *what;
	int who, fs, hold, result;
};

/* How often something was done, and with what success. */
struct tally {
	_Atomic(const char *) what;
	_Atomic uint32_t done, refused;
};

struct shared {
	uint32_t seed, round;
	uint32_t calm;	     /* of so many that could freeze one does */
	_Atomic bool ending; /* holders may end, which the model is not told */
	_Atomic bool stop;
	_Atomic uint32_t failures;
	_Atomic uint64_t operations, checks, certain, blocked;
	_Atomic bool sysrq;
	struct fs fs[MAX_FS];
	struct worker workers[MAX_WORKERS];
	int inbox[MAX_WORKERS][2];
	_Atomic uint32_t events;
	struct event trail[TRAIL];
	struct tally tallies[64];
};

extern struct shared *shared;
extern int fs_count;
extern bool native, module, guardian;
/* Linux before 6.6: one hold for all. */
extern bool one_hold;

/* What a call on a hold has to know of the time before it. */
struct call {
	struct fs *fs;
	struct hold *hold;
	struct word before;
	uint64_t start;
	uint32_t breaks, user, mounts, kernel;
	bool lost;
	/* by end_call() */
	uint64_t end;
	bool alone; /* nothing else was done to the hold meanwhile */
};

void span_begin(struct span *span);
void span_end(struct span *span);
/* A value for still(): NEVER while one is under way. */
uint32_t quiet(struct span *span);
bool still(struct span *span, uint32_t since);

struct word word_of(struct hold *hold);
void begin(struct hold *hold, struct word *before);
bool end(struct hold *hold, enum phase phase);
struct hold *allocate(struct fs *fs, struct word *before);
void begin_call(struct call *call, struct fs *fs, struct hold *hold);
void end_call(struct call *call, enum phase phase);
bool certain(struct call *call);
bool may_be_gone(const struct hold *hold, const struct fs *fs);
bool may_fail(const struct call *call, int error);
void granted(struct call *call);
uint32_t written(struct fs *fs);
/* All that held it at that time holds it no more. */
void thawed_by_force(struct fs *fs, uint64_t start);
/* Compares what is told by any_fd with the model; hold is that of any_fd, or NULL. */
void check_status(struct fs *fs, int any_fd, struct hold *hold);

/* ---- Decisions ---- */

extern _Thread_local int who; /* a worker's number, or another one's, for the trail */
void seed_with(uint32_t round, int stream, uint32_t life);
uint32_t below(uint32_t n);
void doze(uint32_t max_us);
uint64_t random_timeout(void);

/* ---- What all need ---- */

uint64_t now(void);
void trail(const char *what, struct fs *fs, struct hold *hold, int result);
void print_tallies(void);
void print_stacks(void);
void fail(struct fs *fs, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int open_target(struct fs *fs, bool by_device);
bool kernel_before(int major, int minor);
/* Returns false when it is not so for END_LIMIT. */
bool poll_until(bool (*done)(void *), void *arg);

/* ---- Fault injection ---- */

/* Something failed in the last call of this thread. */
extern _Thread_local bool faulted;
/* Lets something in the next call fail, now and then. After the call end_fault() says whether it did. */
void inject_fault(struct fs *fs, bool writes);
void end_fault(void);
/* Gives its device I/O errors for a moment. */
void spoil(struct fs *fs);

/* ---- Filesystems at the end of a round ---- */

/* A tmpfs in a mount namespace of our own: what is mounted nowhere is not somebody else's. */
#define BASE "/mnt"

void make(struct fs *fs);
void expect_thawed(struct fs *fs, const char *when);
void expect_mounted(struct fs *fs);
void undo_fifreeze(struct fs *fs);
void renew_fs(struct fs *fs, bool check);
/* For poll_until(). */
bool is_writable(void *fs);
bool is_free(void *fs);
bool is_unmounted(void *fs);

/* ---- Who does it: none of these returns before shared->stop, or ever ---- */

void hold_at_random(int first, int threads, uint32_t which_life);
void administrate(struct fs *fs, int number);
void maintain(struct fs *fs);
void write_on(struct fs *fs, int writer);
int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Which disturbances there are, as bits, and their names. */
enum {
	FORCE,
	FIFREEZE_,
	SUSPEND,
	SYSRQ,
	MOUNTS,
	REMOUNT,
	RESIZE,
	TRIM,
	SCRUB,
	BALANCE,
	REMOVAL,
	DETACH,
	MEMORY,
	IO,
	KINDS
};
extern const char *const kinds[];
extern uint32_t wanted;
static inline bool want(int kind)
{
	return wanted >> kind & 1;
}

#endif /* TORTURE_H */
