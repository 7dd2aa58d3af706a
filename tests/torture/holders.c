// SPDX-License-Identifier: GPL-2.0-or-later
/* Threads that hold: each has a few freeze descriptors, and hands them to the others. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../common/pass.h"
#include "torture.h"

#define MAX_OWN 4

struct own {
	struct fs *fs;
	struct hold *hold;
	int fd;
};

static _Thread_local struct own own[MAX_OWN];
static _Thread_local struct worker *self;
static bool alone; /* no other thread in this process */

static struct own *free_place(void)
{
	for (int i = 0; i < MAX_OWN; i++)
		if (!own[i].hold)
			return &own[i];
	return NULL;
}

static struct own *any_own(void)
{
	struct own *place = &own[below(MAX_OWN)];

	for (int i = 0; i < MAX_OWN && !place->hold; i++)
		place = &own[(place - own + 1) % MAX_OWN];
	return place->hold ? place : NULL;
}

/* Within an operation on the hold, so that it is not certain before the supervisor may know. */
static void acquire(struct own *place, struct fs *fs, struct hold *hold, int fd)
{
	*place = (struct own){fs, hold, fd};
	atomic_fetch_add(&hold->owned[who], 1);
	if (self->doomed)
		hold->fuzzy = true;
}

static void work_on(struct call *call, const struct own *place)
{
	self->current = place->hold;
	begin(place->hold, &call->before);
	begin_call(call, place->fs, place->hold);
}

static void done(struct call *call, const char *what, enum phase phase, int result)
{
	end_call(call, phase);
	self->current = NULL;
	trail(what, call->fs, call->hold, result);
}

/* Before it is told: the module's worker may still freeze for a moment. */
static int given_up(struct fs *fs, int error)
{
	if (module && (error == -ETIME || error == -EINTR))
		atomic_fetch_add(&fs->left, 1);
	return error;
}

static void open_one(void)
{
	struct own *place = free_place();
	struct fs *fs = &shared->fs[below(fs_count)];
	struct freezefd_options options = {.size = sizeof(options), .timeout_ns = random_timeout()};
	const bool by_device = below(2);
	struct call call;
	struct hold *hold;
	int target, fd;

	options.flags = below(shared->calm) ? FREEZEFD_THAWED : 0;
	if (!place || !(hold = allocate(fs, &call.before)))
		return;
	self->current = hold;
	hold->made = fs->mounts.begun;
	begin_call(&call, fs, hold);
	target = open_target(fs, by_device);
	if (target < 0) {
		done(&call, "open target", FREE, target);
		return;
	}
	hold->timeout = options.timeout_ns;
	inject_fault(fs, !options.flags);
	fd = given_up(fs, freezefd_open(target, &options));
	end_fault();
	close(target);
	if (fd >= 0) {
		hold->copies = 1;
		acquire(place, fs, hold, fd);
		granted(&call);
	}
	done(&call, options.flags ? "open thawed" : "open",
	     fd < 0	     ? FREE
	     : options.flags ? UNHELD
			     : HELD,
	     fd < 0 ? fd : 0);
	if (fd < 0 && !may_fail(&call, fd))
		fail(fs, "open: %s", strerror(-fd));
}

static void freeze(struct own *place)
{
	struct call call;
	enum phase phase;
	int error;

	work_on(&call, place);
	inject_fault(place->fs, true);
	error = given_up(place->fs, freezefd_freeze(place->fd));
	end_fault();
	if (!error)
		granted(&call);
	phase = error ? call.before.phase : HELD;
	done(&call, "freeze", phase, error);
	if (!certain(&call) || call.before.phase == UNKNOWN)
		return;
	if (!error && call.before.phase == HELD)
		fail(call.fs, "freeze of what holds: 0");
	if (error && !may_fail(&call, error))
		fail(call.fs, "freeze: %s", strerror(-error));
}

/* It was frozen from the freeze until now only when a thaw says so, and always then. */
static void check_thaw(struct call *call, int error, uint32_t more)
{
	struct hold *hold = call->hold;
	struct fs *fs = call->fs;

	switch (error) {
	case 0:
		/* A guardian does not see a stranger's thaw and freeze. */
		if (more > WRITERS && (!guardian || still(&fs->user, call->user)))
			fail(fs, "thaw: 0, but there were %u writes since the freeze", more);
		if (fs->forced > hold->granted && fs->forced < call->start && !guardian)
			fail(fs, "thaw: 0, but it was thawed by force");
		break;
	case -ETIME:
		if (call->end < hold->earliest)
			fail(fs, "thaw: expired, %llu ms too early",
			     (unsigned long long)((hold->earliest - call->end) / MS));
		break;
	case -ECANCELED:
		if (still(&fs->breaks, hold->breaks))
			fail(fs, "thaw: revoked, but nobody did that");
		break;
	default:
		fail(fs, "thaw: %s", strerror(-error));
	}
}

static void thaw(struct own *place)
{
	struct call call;
	uint32_t more;
	int error;

	work_on(&call, place);
	more = written(place->fs) - place->hold->written;
	inject_fault(place->fs, call.before.phase != UNHELD);
	error = freezefd_thaw(place->fd);
	end_fault();
	done(&call, "thaw", UNHELD, error);
	if (!certain(&call) || call.lost)
		return;
	if (call.before.phase == HELD)
		check_thaw(&call, error, more);
	else if (call.before.phase == UNHELD && error != -EINVAL && !faulted &&
		 (error != -ESTALE || !may_be_gone(call.hold, call.fs)))
		fail(call.fs, "thaw of what holds nothing: %s", error ? strerror(-error) : "0");
}

static void renew(struct own *place)
{
	const uint64_t timeout = random_timeout();
	struct hold *hold = place->hold;
	struct call call;
	int error;

	work_on(&call, place);
	/* It may fire by the old one until the new one is set, and by the new one as soon as it is. */
	if (call.start + timeout < hold->earliest)
		hold->earliest = call.start + timeout;
	inject_fault(place->fs, false);
	error = freezefd_set_timeout(place->fd, timeout);
	end_fault();
	if (!error) {
		hold->earliest = call.start + timeout;
		hold->latest = now() + timeout;
		hold->timeout = timeout;
	}
	/* Which of two was the last one is not known. */
	if (word_of(hold).active > 1 || word_of(hold).dirty)
		hold->fuzzy = true;
	done(&call, "renew", call.before.phase, error);
	if (!certain(&call) || !error || may_fail(&call, error))
		return;
	if (error != -ECANCELED || still(&call.fs->breaks, hold->breaks))
		fail(call.fs, "renew: %s", strerror(-error));
}

static void duplicate(struct own *place)
{
	struct own *other = free_place();
	struct call call;
	int fd;

	if (!other)
		return;
	work_on(&call, place);
	atomic_fetch_add(&place->hold->copies, 1);
	fd = fcntl(place->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		fail(place->fs, "dup: %m");
	acquire(other, place->fs, place->hold, fd);
	done(&call, "dup", call.before.phase, 0);
}

static void close_one(struct own *place)
{
	struct call call;
	bool last;

	work_on(&call, place);
	inject_fault(place->fs, true);
	close(place->fd);
	end_fault();
	atomic_fetch_sub(&place->hold->owned[who], 1);
	last = atomic_fetch_sub(&place->hold->copies, 1) == 1;
	done(&call, last ? "last close" : "close", last ? FREE : call.before.phase, 0);
	place->hold = NULL;
}

static void pass(struct own *place)
{
	const struct own message = *place;
	const int to = below(MAX_WORKERS);
	struct call call;

	work_on(&call, place);
	atomic_fetch_add(&place->hold->copies, 1);
	if (send_fds(shared->inbox[to][0], &message, sizeof(message), &place->fd, 1, MSG_DONTWAIT))
		atomic_fetch_sub(&place->hold->copies, 1);
	done(&call, "pass", call.before.phase, to);
}

static void receive(void)
{
	const int inbox = shared->inbox[who][1];
	struct own *place = free_place(), message;
	struct call call;
	int fd;

	/* What it is has to be known before there is one more that may die with us. */
	if (!place ||
	    recv(inbox, &message, sizeof(message), MSG_PEEK | MSG_DONTWAIT) != sizeof(message))
		return;
	work_on(&call, &message);
	if (receive_fd(inbox, &message, sizeof(message), MSG_DONTWAIT, &fd) != sizeof(message) ||
	    fd < 0)
		fail(call.fs, "a message has lost its descriptor");
	else
		acquire(place, message.fs, message.hold, fd);
	done(&call, "receive", call.before.phase, 0);
}

/* A child that has copies, and outlives what is done here meanwhile. */
static pid_t child;

static void fork_child(void)
{
	const pid_t parent = getpid();

	self->forked = true;
	for (int i = 0; i < MAX_OWN; i++) {
		struct hold *hold = own[i].hold;

		if (!hold)
			continue;
		atomic_fetch_add(&hold->copies, 1);
		atomic_fetch_add(&hold->owned[who], 1);
		if (self->doomed)
			hold->fuzzy = true;
	}
	child = fork();
	if (child < 0) {
		fail(NULL, "fork: %m");
		_exit(1);
	}
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		for (;;)
			pause();
	}
	trail("fork", NULL, NULL, child);
}

static struct own copies[MAX_OWN];

static void end_child(void)
{
	struct call calls[MAX_OWN];
	bool last;

	for (int i = 0; i < MAX_OWN; i++)
		if (copies[i].hold)
			begin(copies[i].hold, &calls[i].before);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	for (int i = 0; i < MAX_OWN; i++) {
		struct hold *hold = copies[i].hold;

		if (!hold)
			continue;
		atomic_fetch_sub(&hold->owned[who], 1);
		last = atomic_fetch_sub(&hold->copies, 1) == 1;
		end(hold, last ? FREE : calls[i].before.phase);
	}
	child = 0;
	self->forked = false;
	trail("end child", NULL, NULL, 0);
}

static void fork_or_end(void)
{
	if (!alone)
		return;
	if (child) {
		end_child();
		return;
	}
	memcpy(copies, own, sizeof(copies));
	fork_child();
}

static void look_at(struct own *place)
{
	struct pollfd events = {.fd = place->fd, .events = POLLIN};
	struct hold *hold = place->hold;
	const uint64_t word = hold->word;
	const uint32_t breaks = hold->breaks;
	const bool held = word_of(hold).phase == HELD && !word_of(hold).active;

	check_status(place->fs, place->fd, hold);
	poll(&events, 1, 0);
	if (held && events.revents && now() < hold->earliest && still(&place->fs->breaks, breaks) &&
	    !hold->fuzzy && !place->fs->lost && hold->word == word)
		fail(place->fs, "poll tells %#x of a hold that nobody has broken", events.revents);
}

static void look(void)
{
	struct fs *fs = &shared->fs[below(fs_count)];
	int target = open_target(fs, below(2));

	if (target < 0)
		return;
	check_status(fs, target, NULL);
	close(target);
}

static void force(void)
{
	struct fs *fs = &shared->fs[below(fs_count)];
	const uint64_t start = now();
	int target, error;

	if (!want(FORCE))
		return;
	target = open_target(fs, below(2));
	if (target < 0)
		return;
	span_begin(&fs->breaks);
	inject_fault(fs, true);
	error = freezefd_thaw_force(target);
	end_fault();
	if (!error)
		thawed_by_force(fs, start);
	span_end(&fs->breaks);
	close(target);
	trail("force", fs, NULL, error);
	if (error && error != -EINVAL && error != -ENODEV && error != -EOPNOTSUPP &&
	    error != -EINTR && !fs->lost)
		fail(fs, "force: %s", strerror(-error));
}

static void one(void)
{
	static const char choice[] = "oooooofffftttttttrrrrddppprrcccccsssssssslllleFFzzzzzzzz";
	struct own *place = any_own();
	const char what = choice[below(sizeof(choice) - 1)];

	atomic_fetch_add(&shared->operations, 1);
	switch (what) {
	case 'o':
		open_one();
		return;
	case 'e':
		if (!below(50))
			force();
		return;
	case 'l':
		look();
		return;
	case 'F':
		fork_or_end();
		return;
	case 'p':
		receive();
		break;
	case 'z':
		doze(20000);
		return;
	}
	if (!place)
		return;
	switch (what) {
	case 'f':
		if (!below(shared->calm))
			freeze(place);
		break;
	case 't':
		thaw(place);
		break;
	case 'r':
		renew(place);
		break;
	case 'd':
		duplicate(place);
		break;
	case 'p':
		pass(place);
		break;
	case 'c':
		close_one(place);
		break;
	case 's':
		look_at(place);
		break;
	}
}

static uint32_t life;

static void *thread(void *arg)
{
	who = (int)(intptr_t)arg;
	self = &shared->workers[who];
	seed_with(shared->round, who, life);
	while (!shared->stop)
		one();
	return NULL;
}

void hold_at_random(int first, int threads, uint32_t which_life)
{
	pthread_t others[MAX_WORKERS];

	alone = threads == 1;
	life = which_life;
	for (int i = 1; i < threads; i++)
		if (pthread_create(&others[i], NULL, thread, (void *)(intptr_t)(first + i)))
			fail(NULL, "pthread_create: %m");
	thread((void *)(intptr_t)first);
	for (int i = 1; i < threads; i++)
		pthread_join(others[i], NULL);
}
