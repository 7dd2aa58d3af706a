/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fuzzer of the kernel's calls: what ioctl.c, which judges, and ioctl-calls.c, which calls, share. */
#ifndef FUZZ_IOCTL_H
#define FUZZ_IOCTL_H

#include <stdatomic.h>
#include <sys/types.h>

#include "fuzz.h"

#define MAX_PROGRAM 400 /* bytes */
#define ACTORS	    2

/* Two filesystems and a device without one. */
enum { FS_A, FS_B, NR_FS };
extern const char *const mount_point[NR_FS];
extern const char *disk[NR_FS + 1];

void mount_fs(int fs);

enum call {
	CALL_STATUS,
	CALL_FREEZEFD,
	CALL_THAW_FORCE,
	CALL_FREEZE,
	CALL_THAW,
	CALL_TIMEOUT,
	CALL_FIFREEZE,
	CALL_FITHAW,
	CALL_DEV_STATUS,
	CALL_DEV_FREEZEFD,
	CALL_DEV_THAW_FORCE,
	CALL_OTHER,
	NR_CALLS
};

#define MAX_ERRNO 160

/* In memory that all processes share. */
struct shared {
	/* Why the input is a find. */
	char reason[200];
	_Atomic int failed;
	/* How often each call returned what: 0, or an errno value. */
	_Atomic unsigned long returned[NR_CALLS][MAX_ERRNO];
};
extern struct shared *shared;

#define fail(...)                                                                      \
	do {                                                                           \
		if (!atomic_exchange(&shared->failed, 1))                              \
			snprintf(shared->reason, sizeof(shared->reason), __VA_ARGS__); \
	} while (0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Who calls, one or two at a time. */
struct actor {
	struct input input;
	int number;
	int made[2]; /* slots of the last freeze descriptors */
};

/* Descriptors: one of each kind of files, and free places for copies and freeze descriptors. */
#define SLOTS	   26
#define FIRST_FREE 20
extern int slot[SLOTS];
extern int pair[2]; /* between the actors */

int *any_slot(struct actor *actor);
/* Where a new descriptor goes; negative ones go nowhere. */
void put(struct actor *actor, int fd);

/* ioctl-files.c */
void do_open(struct actor *actor);
void do_copy(struct actor *actor);
void do_close(struct actor *actor);
void do_io(struct actor *actor);
void do_send(struct actor *actor);
void do_receive(struct actor *actor);
void do_rights(struct actor *actor);
void do_sleep(struct actor *actor);
void do_mount(struct actor *actor);
void do_rest(struct actor *actor);

/* ioctl-calls.c: runs a program of calls to its end. Does not return. */
void run_program(const uint8_t *program, size_t size) __attribute__((noreturn));

#endif /* FUZZ_IOCTL_H */
