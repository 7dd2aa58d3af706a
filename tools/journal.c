// SPDX-License-Identifier: GPL-2.0-or-later
/* What the journal is told of a hold. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include "tool.h"

#define NSEC_PER_SEC UINT64_C(1000000000)
#define STACK_SIZE   (128 * 1024) /* all of it is locked in memory */

struct late {
	struct timespec when; /* of CLOCK_BOOTTIME */
	char *message;
};

static pthread_t thread;
static bool running;

static void forget(void *arg)
{
	struct late *late = arg;

	free(late->message);
	free(late);
}

static void *wait_and_warn(void *arg)
{
	struct late *late = arg;

	pthread_cleanup_push(forget, late);
	while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &late->when, NULL) == EINTR)
		;
	syslog(LOG_WARNING, "%s", late->message);
	pthread_cleanup_pop(1);
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

void journal_thawed(void)
{
	if (!running)
		return;
	running = false;
	pthread_cancel(thread);
	pthread_detach(thread);
}

/*
 * A thread: if the daemon does not take the message, because it waits for the frozen filesystem
 * itself, nothing else is to wait for that. Signals are for the others.
 */
void journal_frozen(const struct holds *holds)
{
	const uint64_t half = holds->timeout_ns / 2;
	struct late *late;
	sigset_t all, before;
	pthread_attr_t attr;

	journal_thawed();
	if (!half)
		return;
	late = array(NULL, 1, sizeof(*late));
	clock_gettime(CLOCK_BOOTTIME, &late->when);
	late->when.tv_sec += (time_t)(half / NSEC_PER_SEC);
	late->when.tv_nsec += (long)(half % NSEC_PER_SEC);
	if (late->when.tv_nsec >= (long)NSEC_PER_SEC) {
		late->when.tv_nsec -= (long)NSEC_PER_SEC;
		late->when.tv_sec++;
	}
	late->message = message_of(holds);
	openlog("freezefd", LOG_PID, LOG_DAEMON);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	running = !pthread_create(&thread, &attr, wait_and_warn, late);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!running)
		forget(late);
}
