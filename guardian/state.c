// SPDX-License-Identifier: GPL-2.0-or-later
/* The guardian's holds: who holds, until when, and when to freeze and to thaw. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "loop.h"

/* So often is looked, while something is held, for what nobody tells, and the watcher shown a sign of life. */
#define CHECK_MS 50
/* So often is tried to thaw what refuses. */
#define AGAIN_MS 1000
/* So much of the table of a process that dies is looked through each time: it may be huge. */
#define WINDOWS 4

/* Who waits for the end of a thaw. */
struct waiter {
	int socket;
	bool forced;
	struct waiter *next;
};

static struct waiter *waiters;
static uint64_t refused_ns; /* since when the filesystem refuses to thaw; 0: it does not */
static uint64_t last_news;

static void send_news(struct hold *hold, uint32_t what)
{
	const struct guardian_news news = {.what = what, .number = ++last_news};

	send(hold->source.fd, &news, sizeof(news), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (what == GUARDIAN_BROKEN)
		hold->news = news.number;
}

void await_thaw(int socket, bool forced)
{
	struct waiter *waiter = malloc(sizeof(*waiter));

	if (!waiter) {
		answer(socket, -ENOMEM);
		return;
	}
	*waiter = (struct waiter){.socket = socket, .forced = forced, .next = waiters};
	waiters = waiter;
}

static void answer_waiters(bool forced, int error)
{
	struct waiter **link = &waiters;

	while (*link) {
		struct waiter *waiter = *link;

		if (waiter->forced != forced) {
			link = &waiter->next;
			continue;
		}
		*link = waiter->next;
		answer(waiter->socket, error);
		free(waiter);
	}
}

static bool is_busy(void)
{
	return guardian.state != THAWED && guardian.state != FROZEN;
}

bool is_wanted(void)
{
	struct hold *hold;

	for_each_hold (hold, next)
		if (hold->freezing || hold->state == FREEZEFD_HOLD_HELD)
			return true;
	return false;
}

uint64_t after(uint64_t start_ns, uint64_t timeout_ns)
{
	return timeout_ns ? start_ns + timeout_ns : 0;
}

/*
 * Of a hold, or of the freeze that is to make it one: that counts from when writers are stopped,
 * or from the call when others had stopped them already.
 */
static uint64_t deadline_of(const struct hold *hold)
{
	const uint64_t stopped = guardian.common->stopped_ns;

	if (!hold->freezing)
		return hold->deadline_ns;
	if (!stopped || guardian.state == THAWED)
		return 0;
	return after(stopped > hold->asked_ns ? stopped : hold->asked_ns, hold->timeout_ns);
}

int time_left(void)
{
	const uint64_t now = now_ns();
	uint64_t left = CHECK_MS * 1000000ULL;
	struct hold *hold;

	for_each_hold (hold, next) {
		const uint64_t deadline = deadline_of(hold);

		if (deadline && deadline < now + left)
			left = deadline > now ? deadline - now : 0;
	}
	return (left + 999999) / 1000000;
}

static void break_hold(struct hold *hold, uint32_t state)
{
	hold->state = state;
	hold->deadline_ns = 0;
	send_news(hold, GUARDIAN_BROKEN);
}

void revoke_all(void)
{
	struct hold *hold;

	for_each_hold (hold, next)
		if (hold->state == FREEZEFD_HOLD_HELD)
			break_hold(hold, FREEZEFD_HOLD_REVOKED);
}

static void start_work(enum work what)
{
	if (what == WORK_FREEZE)
		guardian.common->stopped_ns = 0;
	guardian.state = what == WORK_FREEZE ? FREEZING : what == WORK_FORCE ? FORCING : THAWING;
	work_begin(what);
}

/* A FITHAW that was not ours, or SysRq-j: nobody tells, so one has to look. */
void look_for_strangers(void)
{
	struct sb_record now;
	int ret;

	if (guardian.state != FROZEN)
		return;
	ret = sb_read_id(guardian.fs->reader, guardian.fs->record.id, &now);
	/* What could not be read is looked at again; it tells nothing of the hold. */
	if (ret ? ret != -ENODEV : now.frozen == SB_FREEZE_COMPLETE && now.user_holds)
		return;
	revoke_all();
	start_work(WORK_LEAVE);
}

void free_hold(struct hold *hold)
{
	answer(hold->waiter, -ECANCELED);
	hold->waiter = -1;
	drop(&hold->source);
}

/* Did the holder die, but is it kept from releasing its descriptor by what it froze? */
static bool is_dead(struct hold *hold)
{
	for (int i = 0; i < WINDOWS; i++) {
		switch (sb_peer(guardian.fs->reader, hold->source.fd, hold->first)) {
		case SB_PEER_CLOSED:
			return true;
		case SB_PEER_DIES:
			/* Twice: while one looked, without a lock, it may have been handed on. */
			if (hold->dies)
				return true;
			hold->dies = true;
			return false;
		case SB_PEER_LOOK_ON:
			hold->dies = false;
			hold->first += SB_WINDOW;
			break;
		default:
			hold->dies = false;
			hold->first = 0;
			return false;
		}
	}
	return false;
}

static void look_for_dead(void)
{
	struct hold *hold;

	for_each_hold (hold, next)
		if (hold->state == FREEZEFD_HOLD_HELD && is_dead(hold))
			free_hold(hold);
}

/* Nothing more can be done with it: the library reads the last news off the closed socket. */
static void leave(struct hold *hold)
{
	if (hold->freezing)
		answer(hold->waiter, -ESTALE);
	hold->waiter = -1;
	send_news(hold, GUARDIAN_GONE);
	free_hold(hold);
}

/* Who has not waited for it does not hold. */
static void grant(struct hold *hold)
{
	const uint64_t deadline = deadline_of(hold);

	hold->freezing = false;
	if (answer(hold->waiter, 0)) {
		hold->state = FREEZEFD_HOLD_HELD;
		hold->deadline_ns = deadline;
	}
	hold->waiter = -1;
}

static void freeze_failed(int error)
{
	struct hold *hold;

	/* It went away while it was to be frozen. */
	if (error == -ENODEV)
		error = -ESTALE;
	for_each_hold (hold, next) {
		if (!hold->freezing)
			continue;
		hold->freezing = false;
		answer(hold->waiter, error);
		hold->waiter = -1;
	}
}

static bool force_wanted(void)
{
	for (struct waiter *waiter = waiters; waiter; waiter = waiter->next)
		if (waiter->forced)
			return true;
	return false;
}

static void forget_freezes(void)
{
	struct hold *hold;

	for_each_hold (hold, next)
		forget_freeze(hold);
	guardian.common->wanted = is_wanted();
}

void advance(void)
{
	struct hold *hold;

	if (is_busy())
		return;
	forget_freezes();
	if (guardian.gone) {
		for_each_hold (hold, next)
			if (hold->state == FREEZEFD_HOLD_NONE)
				leave(hold);
	}
	if (force_wanted()) {
		start_work(WORK_FORCE);
	} else if (guardian.state == FROZEN) {
		for_each_hold (hold, next)
			if (hold->freezing)
				grant(hold);
		/* Who waits for a thaw no longer holds it, even if others have begun to since. */
		if (is_wanted())
			answer_waiters(false, 0);
		else if (!refused_ns || now_ns() - refused_ns > AGAIN_MS * 1000000ULL)
			start_work(WORK_THAW);
	} else if (is_wanted() && !guardian.gone) {
		start_work(WORK_FREEZE);
	}
}

/* A FIFREEZE that goes on after that is undone when it ends: nobody wants it then. */
static void give_up(struct hold *hold)
{
	hold->freezing = false;
	answer(hold->waiter, -ETIME);
	hold->waiter = -1;
}

void check_deadlines(void)
{
	const uint64_t now = now_ns();
	struct hold *hold;

	for_each_hold (hold, next) {
		const uint64_t deadline = deadline_of(hold);

		if (!deadline || deadline > now)
			continue;
		if (hold->freezing)
			give_up(hold);
		else if (hold->state == FREEZEFD_HOLD_HELD)
			break_hold(hold, FREEZEFD_HOLD_EXPIRED);
	}
}

static void thaw_ended(void)
{
	const bool refused = guardian.common->root >= 0;

	guardian.state = refused ? FROZEN : THAWED;
	refused_ns = refused ? now_ns() : 0;
}

void work_done(struct source *source)
{
	const int ret = work_result();

	switch (guardian.state) {
	case FREEZING:
		guardian.state = ret ? THAWED : FROZEN;
		/* It is too late for some: before the others are told. */
		check_deadlines();
		/* Who has asked since it was given up gets a new one. */
		if (ret && (ret != -ECANCELED || guardian.common->stopped_ns))
			freeze_failed(ret);
		break;
	case FORCING:
		answer_waiters(true, ret);
		answer_waiters(false, -ECANCELED);
		thaw_ended();
		break;
	default:
		answer_waiters(false, ret);
		thaw_ended();
	}
}

/* A connection that asks for nothing is no reason to stay. */
bool is_idle(void)
{
	return !guardian.holds && guardian.state == THAWED && !waiters;
}

void check_now_and_then(uint64_t *last_ns)
{
	const uint64_t now = now_ns();

	guardian.common->beats++;
	if (now - *last_ns < CHECK_MS * 1000000ULL)
		return;
	*last_ns = now;
	look_for_strangers();
	look_for_dead();
	forget_freezes();
	/* It may have been stopped. */
	syscall(SYS_pidfd_send_signal, guardian.fs->watcher, SIGCONT, NULL, 0);
}
