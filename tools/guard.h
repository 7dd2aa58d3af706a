/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FREEZEFD_GUARD_H
#define FREEZEFD_GUARD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include <freezefd.h>

/* What freezefd guard is made of, beside the command line and the agent in guard.c. */

/* Ends a freeze that is under way in a thread. */
#define CANCEL SIGRTMIN

/* A filesystem that the agent has frozen, or that a call is about. The calls take turns. */
struct guarded {
	struct guarded *next;
	dev_t dev;
	int fd; /* the freeze descriptor, -1 when it is not held */
	char *name;
	unsigned int users;
	bool busy;
	const char *doomed; /* why it is to be thawed as soon as it is not busy, or NULL */
};

extern struct guard {
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t turn;
	struct guarded *holds; /* the last one made first */
	struct call *calls;
	struct message *messages, **last;
	bool dropping, broken;

	/* These do not change. */
	int listener;
	struct freezefd_options options;
	bool verbose;
} guard;

/* --- guard-holds.c --- */

/* Standard error may be on what is frozen, so who serves does not write there: what it notes is told later. */
void guard_note(const char *about, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void guard_tell(void);

extern const char has_ended[]; /* a reason: the agent */

/* The hold of a filesystem, or a new one, for one caller at a time. */
struct guarded *guarded_take(dev_t dev);
void guarded_give(struct guarded *hold);
/* 0, or why it did not last, which has been noted. All others are doomed then. */
int guarded_drop(struct guarded *hold);
/* One that is doomed, and why is noted. */
void guarded_drop_one(struct guarded *hold);
bool guarded_is_broken(const struct guarded *hold);
bool guarded_is_doomed(const struct guarded *hold);
bool guarded_can_drop(const struct guarded *hold);

/* All that are made, and all that are being made if those are torn, too. */
void doom_holds(const char *reason);
/* If one is broken, all are doomed. Asked again: what was polled may have been closed meanwhile. */
void doom_broken(void);
void drop_doomed(void);

/* --- guard-calls.c --- */

/* A notification, which a thread of its own answers. */
void receive_call(void);
/* What is doomed is dropped by another thread. */
void start_drop(void);
/* What nobody waits for need not be frozen to the end. */
void cancel_abandoned(bool all);
/* What is still being frozen ends with this process. */
void drop_rest(void);

/* --- filter.c and caller.c --- */

/*
 * Makes the caller, and what it starts, wait in FIFREEZE and FITHAW for an answer that who has the
 * returned descriptor gives. -EBUSY: somebody else has one already.
 */
int filter_install(void);

struct caller {
	pid_t process;
	bool admin; /* CAP_SYS_ADMIN in effect, in our user namespace */
};

/* Of a thread; false when there is none any more. */
bool caller_read(pid_t thread, struct caller *caller);
/*
 * A copy of its descriptor, or a negative errno value: -EBADF as ioctl(2) has it, -EOPNOTSUPP for a
 * thread that does not share those of its process, before Linux 6.9.
 */
int caller_file(pid_t thread, int fd);
/* It has been killed or exits, but something keeps it: what it has frozen, say. */
bool process_dies(pid_t process);

#endif /* FREEZEFD_GUARD_H */
