// SPDX-License-Identifier: GPL-2.0-or-later
/* What the journal is told of a hold. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define NSEC_PER_SEC UINT64_C(1000000000)
#define STACK_SIZE   (128 * 1024) /* all of it is locked in memory */

/* Of both threads; the last one to leave frees it. */
struct late {
	int timer;
	char *message;
	_Atomic bool over;
	_Atomic int users;
};

static struct late *current;

static void leave(struct late *late)
{
	if (--late->users)
		return;
	close(late->timer);
	free(late->message);
	free(late);
}

static void *wait_and_warn(void *arg)
{
	struct late *late = arg;
	uint64_t ticks;

	while (read(late->timer, &ticks, sizeof(ticks)) < 0 && errno == EINTR)
		;
	if (!late->over)
		syslog(LOG_WARNING, "%s", late->message);
	leave(late);
	return NULL;
}

/* "/srv, /home: still held ..." */
static char *message_of(const struct holds *holds)
{
	char *half = format_duration(holds->timeout_ns / 2),
	     *all = format_duration(holds->timeout_ns), *names = copy(""), *more, *message;

	for (size_t i = 0; i < holds->count; i++) {
		more = text("%s%s%s", names, i ? ", " : "", holds->hold[i].name);
		free(names);
		names = more;
	}
	more = text(
		"%s: still held frozen after %s, half of the timeout of %s that will break the hold",
		names, half, all);
	message = escape(more, true);
	free(more);
	free(names);
	free(half);
	free(all);
	return message;
}

/* Not pthread_cancel(3), which loads a library at its first call: that may lie on what is frozen. */
void journal_thawed(void)
{
	const struct itimerspec now = {.it_value.tv_nsec = 1};

	if (!current)
		return;
	current->over = true;
	timerfd_settime(current->timer, 0, &now, NULL);
	leave(current);
	current = NULL;
}

/*
 * A thread: if the daemon does not take the message, because it waits for the frozen filesystem
 * itself, nothing else is to wait for that. Signals are for the others.
 */
void journal_frozen(const struct holds *holds)
{
	const uint64_t half = holds->timeout_ns / 2;
	const struct itimerspec then = {
		.it_value = {(time_t)(half / NSEC_PER_SEC), (long)(half % NSEC_PER_SEC)}};
	struct late *late;
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;

	journal_thawed();
	if (!half)
		return;
	late = array(NULL, 1, sizeof(*late));
	*late = (struct late){.timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC),
			      .message = message_of(holds),
			      .users = 2};
	openlog("freezefd", LOG_PID, LOG_DAEMON);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (!timerfd_settime(late->timer, 0, &then, NULL) &&
	    !pthread_create(&thread, &attr, wait_and_warn, late))
		current = late;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (!current) {
		leave(late);
		leave(late);
	}
}
