// SPDX-License-Identifier: GPL-2.0-or-later
/* The model: what is certain, what is possible, and whether a status is one that it allows. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "torture.h"

void span_begin(struct span *span)
{
	atomic_fetch_add(&span->begun, 1);
}

void span_end(struct span *span)
{
	atomic_fetch_add(&span->ended, 1);
}

uint32_t quiet(struct span *span)
{
	const uint32_t begun = span->begun;

	return span->ended == begun ? begun : NEVER;
}

bool still(struct span *span, uint32_t since)
{
	return since != NEVER && span->begun == since;
}

static struct word unpack(uint64_t value)
{
	struct word word;

	memcpy(&word, &value, sizeof(word));
	return word;
}

static uint64_t pack(struct word word)
{
	uint64_t value;

	memcpy(&value, &word, sizeof(value));
	return value;
}

struct word word_of(struct hold *hold)
{
	return unpack(hold->word);
}

void begin(struct hold *hold, struct word *before)
{
	uint64_t old = hold->word;
	struct word word;

	do {
		word = unpack(old);
		if (word.active)
			word.dirty = 1;
		*before = word;
		word.active++;
		word.generation++;
	} while (!atomic_compare_exchange_weak(&hold->word, &old, pack(word)));
}

/* Returns whether the operation was alone; if not, nobody knows what has come of it. */
bool end(struct hold *hold, enum phase phase)
{
	uint64_t old = hold->word;
	struct word word;
	bool alone;

	do {
		word = unpack(old);
		alone = word.active == 1 && !word.dirty;
		word.active--;
		word.generation++;
		if (alone)
			word.phase = phase;
		else if (!word.active)
			word.phase = hold->copies ? UNKNOWN : FREE;
		word.dirty = word.active > 0;
	} while (!atomic_compare_exchange_weak(&hold->word, &old, pack(word)));
	return alone;
}

/* A record for a new descriptor, within an operation. */
struct hold *allocate(struct fs *fs, struct word *before)
{
	for (int i = 0; i < PER_FS; i++) {
		struct hold *hold = &fs->descriptors[i];
		uint64_t old = hold->word;
		struct word word = unpack(old);

		if (word.phase != FREE || word.active || hold->fuzzy)
			continue;
		*before = word;
		before->phase = word.phase = UNHELD;
		word.active = 1;
		word.generation++;
		if (atomic_compare_exchange_strong(&hold->word, &old, pack(word)))
			return hold;
	}
	return NULL;
}

void begin_call(struct call *call, struct fs *fs, struct hold *hold)
{
	call->fs = fs;
	call->hold = hold;
	call->lost = fs->lost;
	call->breaks = quiet(&fs->breaks);
	call->user = quiet(&fs->user);
	call->mounts = quiet(&fs->mounts);
	call->kernel = quiet(&fs->kernel);
	call->start = now();
}

/* Its result has been written to the hold before, by who knows it. */
void end_call(struct call *call, enum phase phase)
{
	call->end = now();
	call->alone = end(call->hold, phase);
}

bool certain(struct call *call)
{
	return call->alone && !call->hold->fuzzy && !call->before.dirty && !call->fs->lost;
}

/* Only now that the freeze has returned: its hold is one that must last. */
void granted(struct call *call)
{
	struct hold *hold = call->hold;

	hold->asked = call->start;
	hold->granted = now();
	hold->earliest = call->start + hold->timeout;
	hold->latest = hold->granted + hold->timeout;
	hold->breaks = still(&call->fs->breaks, call->breaks) ? call->breaks : NEVER;
	hold->mounts = call->mounts;
	hold->written = written(call->fs);
}

/* Since the descriptor was made: it may have been made when only others' holds kept what was unmounted. */
bool may_be_gone(const struct hold *hold, const struct fs *fs)
{
	return !fs->mounted || hold->made != fs->mounts.begun;
}

/* May a freeze, or the opening of a descriptor, have failed so? */
bool may_fail(const struct call *call, int error)
{
	struct fs *fs = call->fs;

	if (faulted)
		return true;
	switch (error) {
	case -EINTR:
	case -ETIME:
		return true;
	case -EBUSY:
		/* One hold for all, or a freeze that was given up and goes on. */
		return !native || call->before.phase != UNHELD || call->before.dirty ||
		       !still(&fs->kernel, call->kernel) || fs->lost;
	case -ECANCELED:
		return call->before.phase != UNHELD || call->before.dirty;
	case -ENODEV:
	case -ESTALE:
	case -EOPNOTSUPP:
		/* The filesystem may be gone, and another one come. */
		return !fs->mounted || !still(&fs->mounts, call->mounts) || fs->lost ||
		       call->hold->made != fs->mounts.begun;
	case -EINVAL:
		/* f2fs_freeze() refuses what was written to while it was synced. */
		return !strcmp(fs->type, "f2fs") || fs->lost;
	default:
		return fs->lost;
	}
}

uint32_t written(struct fs *fs)
{
	uint32_t sum = 0;

	for (int i = 0; i < WRITERS; i++)
		sum += fs->written[i];
	return sum;
}

void thawed_by_force(struct fs *fs, uint64_t start)
{
	uint64_t last = fs->forced;

	while (last < start && !atomic_compare_exchange_weak(&fs->forced, &last, start))
		;
}

/* ---- Status ---- */

struct bounds {
	uint32_t must, may;
};

/* What was known of a filesystem when it was asked. */
struct before {
	uint64_t words[PER_FS + 2], forced;
	uint32_t breaks, user, mounts, kernel;
};

static struct hold *hold_at(struct fs *fs, int i)
{
	return i < PER_FS ? &fs->descriptors[i] : i == PER_FS ? &fs->fifreeze : &fs->bdev;
}

static void look_before(struct before *before, struct fs *fs)
{
	for (int i = 0; i < PER_FS + 2; i++)
		before->words[i] = hold_at(fs, i)->word;
	before->breaks = quiet(&fs->breaks);
	before->user = quiet(&fs->user);
	before->mounts = quiet(&fs->mounts);
	before->kernel = quiet(&fs->kernel);
	before->forced = fs->forced;
}

/* Has it held all the time since? */
static bool must_hold(struct fs *fs, struct hold *hold, uint64_t word, uint64_t end)
{
	const struct word was = unpack(word);
	bool kept = !was.active && was.phase == HELD && end < hold->earliest &&
		    still(&fs->breaks, hold->breaks);

	if (hold == &fs->fifreeze || hold == &fs->bdev)
		kept = kept && native && fs->mounted && still(&fs->mounts, hold->mounts);
	/* What is read last was true all the time. */
	return kept && !fs->lost && !hold->fuzzy && hold->word == word && !shared->ending;
}

static bool may_hold(struct hold *hold, uint64_t word)
{
	const struct word was = unpack(word);

	return hold->word != word || was.active || hold->fuzzy || was.phase >= HELD;
}

static struct bounds count(struct fs *fs, const struct before *before, int from, int to,
			   uint64_t end)
{
	struct bounds bounds = {0};

	for (int i = from; i < to; i++) {
		struct hold *hold = hold_at(fs, i);

		bounds.must += must_hold(fs, hold, before->words[i], end);
		bounds.may += may_hold(hold, before->words[i]);
	}
	return bounds;
}

static void check_counts(struct fs *fs, const struct before *before, uint64_t end,
			 const struct freezefd_status *status)
{
	const struct bounds fds = count(fs, before, 0, PER_FS, end),
			    user = count(fs, before, PER_FS, PER_FS + 2, end);
	const bool kernel_quiet = still(&fs->kernel, before->kernel);

	atomic_fetch_add(&shared->checks, 1);
	if (fds.must || user.must)
		atomic_fetch_add(&shared->certain, 1);
	if ((fds.must || user.must) && status->state != FREEZE_STATE_FROZEN)
		fail(fs, "state %u, but %u descriptors and %u others hold it", status->state,
		     fds.must, user.must);
	/* A guardian, and a worker of the module whose caller has left, thaw a moment later. */
	if (native && !fds.may && !user.may && kernel_quiet && still(&fs->breaks, before->breaks) &&
	    status->state != FREEZE_STATE_THAWED)
		fail(fs, "state %u, but nobody can hold it", status->state);
	/* Another engine counts otherwise what the kernel does not tell apart. */
	if (guardian ? fds.must && !status->fd_holds : status->fd_holds < fds.must)
		fail(fs, "%u descriptors hold, but at least %u do", status->fd_holds, fds.must);
	if (!guardian && status->fd_holds > fds.may + fs->left)
		fail(fs, "%u descriptors hold, but at most %u do", status->fd_holds, fds.may);
	if (status->fd_holds < fds.must)
		for (int i = 0; i < PER_FS; i++)
			if (must_hold(fs, hold_at(fs, i), before->words[i], end))
				printf("# must hold: %d, %d copies\n", i, hold_at(fs, i)->copies);
	if (!native)
		return;
	if (status->user_holds < user.must || status->user_holds > user.may)
		fail(fs, "user_holds %u, should be from %u to %u", status->user_holds, user.must,
		     user.may);
	if (status->kernel_holds && kernel_quiet)
		fail(fs, "kernel_holds %u, but the kernel does nothing", status->kernel_holds);
}

/* What a descriptor says of itself, when nobody did anything to it meanwhile. */
static void check_hold(struct fs *fs, const struct before *before, uint64_t end, struct hold *hold,
		       const struct freezefd_status *status)
{
	const int index = hold - fs->descriptors;
	const struct word was = unpack(before->words[index]);
	const uint32_t told = status->hold;
	const uint64_t granted = hold->granted, earliest = hold->earliest, timeout = hold->timeout;
	const uint32_t breaks = hold->breaks;
	const bool forced = before->forced > granted;
	bool allowed;

	if (was.active || hold->fuzzy || fs->lost || was.phase == UNKNOWN)
		return;
	if (was.phase == UNHELD)
		allowed = told == FREEZEFD_HOLD_NONE ||
			  (told == FREEZEFD_HOLD_GONE && may_be_gone(hold, fs));
	else
		allowed = (told == FREEZEFD_HOLD_HELD && !forced) ||
			  (told == FREEZEFD_HOLD_EXPIRED && end >= earliest) ||
			  (told == FREEZEFD_HOLD_REVOKED && !still(&fs->breaks, breaks));
	if (hold->word != before->words[index])
		return;
	if (!allowed)
		fail(fs, "descriptor %d: hold %u in phase %u, %+lld ms from its deadline%s", index,
		     told, was.phase, (long long)(end - earliest) / (long long)MS,
		     forced ? ", after a thaw by force" : "");
	if (told == FREEZEFD_HOLD_HELD && status->timeout_ns > timeout)
		fail(fs, "descriptor %d: %llu ms are left of a deadline of %llu ms", index,
		     (unsigned long long)(status->timeout_ns / MS),
		     (unsigned long long)(timeout / MS));
}

/* While it must hold nobody writes, but for what had been written before and not been counted. */
static void check_writers(struct fs *fs, const struct before *before)
{
	for (int i = 0; i < PER_FS; i++) {
		struct hold *hold = &fs->descriptors[i];
		const uint32_t since = hold->written, more = written(fs) - since;

		if (!must_hold(fs, hold, before->words[i], now()))
			continue;
		atomic_fetch_add(&shared->blocked, 1);
		if (more > WRITERS)
			fail(fs, "descriptor %d: %u writes while it holds", i, more);
	}
}

void check_status(struct fs *fs, int any_fd, struct hold *hold)
{
	struct freezefd_status status;
	struct before before;
	uint64_t end;
	int error;

	look_before(&before, fs);
	inject_fault(fs, false);
	error = freezefd_status(any_fd, &status);
	end_fault();
	end = now();
	trail("status", fs, hold, error ? error : (int)status.state);
	check_writers(fs, &before);
	if (!error) {
		/* That of an earlier superblock tells nothing of the one that is mounted now. */
		if (!hold || status.hold == FREEZEFD_HOLD_HELD || hold->made == fs->mounts.begun)
			check_counts(fs, &before, end, &status);
		if (hold)
			check_hold(fs, &before, end, hold, &status);
		return;
	}
	if (error == -ENODEV && !hold && (!fs->mounted || !still(&fs->mounts, before.mounts)))
		return;
	if (faulted || (error == -ETIMEDOUT && guardian))
		return;
	if (!fs->lost)
		fail(fs, "status%s: %s", hold ? " of a descriptor" : "", strerror(-error));
}
