/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guardian's loop, its holds and the requests to it know of each other. */
#ifndef FREEZEFD_GUARDIAN_LOOP_H
#define FREEZEFD_GUARDIAN_LOOP_H

#include "process.h"

/* What the loop waits for. */
struct source {
	int fd;
	void (*handle)(struct source *source);
	struct source *next, **link; /* connections and holds: the others of the kind */
};

/* A freeze descriptor. */
struct hold {
	struct source source; /* first: the guardian's end of the pair */
	uint32_t state;	      /* FREEZEFD_HOLD_*, but not GONE */
	bool freezing;	      /* has asked for a freeze and not got it yet */
	int waiter;	      /* who waits for that freeze, or -1 */
	uint64_t inode;	      /* of the client's end */
	uint64_t asked_ns;    /* for that freeze */
	uint64_t timeout_ns, deadline_ns;
	uint64_t limit_ns; /* to the timeout, for who is not root; 0: none */
	uint64_t news;	   /* the number of the one not told yet */
	bool dies;	   /* its holder, as it seemed at the last look */
	uint64_t first;	   /* descriptor to look at next */
};

extern struct guardian {
	struct fs *fs;
	struct common *common;
	struct source *holds;
	/* Of what we do to the filesystem. FREEZING, THAWING and FORCING: the thread is at it. */
	enum { THAWED, FREEZING, FROZEN, THAWING, FORCING } state;
	bool gone; /* the filesystem, while nothing of ours kept it */
} guardian;

#define for_each_hold(it, next_)                           \
	for (struct source * next_, *at_ = guardian.holds; \
	     at_ && (next_ = at_->next, it = (struct hold *)at_, true); at_ = next_)

/* --- loop.c --- */

/* A struct of this size that begins with a source. The descriptor is closed when there is no memory for it. */
void *new_source(struct source **list, size_t size, int fd, void (*handle)(struct source *));
void unwatch(const struct source *source);
/* There is no descriptor for another connection now. */
void be_deaf(struct source *listener);
void drop(struct source *source);

/* --- release.c --- */

/* Starts its thread. 0 or a negative errno value. */
int release_start(void);
/*
 * Closes a descriptor that others have sent or sent to, or nothing if it is -1, soon. To close it here could wait: for a
 * thaw, or for the server of a file of FUSE.
 */
void release(int fd);

/* --- state.c --- */

/* Milliseconds to the next deadline, or to the next look when that is earlier. */
int time_left(void);
void check_deadlines(void);
/* What nobody tells, and what the watcher is to know. */
void check_now_and_then(uint64_t *last_ns);
void look_for_strangers(void);
/* Begin what has to be done next, if nothing is being done. */
void advance(void);
void work_done(struct source *source);

bool is_wanted(void);
bool is_idle(void);
uint64_t after(uint64_t start_ns, uint64_t timeout_ns);
void await_thaw(int socket, bool forced);
void revoke_all(void);
void free_hold(struct hold *hold);

/* --- requests.c --- */

void on_listener(struct source *source);
/* False when who waited for it has gone, after a signal say. */
bool answer(int socket, int error);
/* If who asked for a freeze does not wait for it any more. */
void forget_freeze(struct hold *hold);

#endif /* FREEZEFD_GUARDIAN_LOOP_H */
