// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd guard: what it holds for its agent, and what it has to tell of that. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guard.h"
#include "tool.h"

#define DEFAULT_TIMEOUT (300 * 1000000000ULL) /* ns */

struct message {
	struct message *next;
	char *about, *text;
};

struct guard guard = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.turn = PTHREAD_COND_INITIALIZER,
	.last = &guard.messages,
	.options = {.size = sizeof(guard.options), .timeout_ns = DEFAULT_TIMEOUT},
};

void guard_note(const char *about, const char *fmt, ...)
{
	struct message *message = array(NULL, 1, sizeof(*message));
	va_list args;

	*message = (struct message){.about = copy(about)};
	va_start(args, fmt);
	if (vasprintf(&message->text, fmt, args) < 0)
		out_of_memory();
	va_end(args);
	pthread_mutex_lock(&guard.lock);
	*guard.last = message;
	guard.last = &message->next;
	pthread_mutex_unlock(&guard.lock);
}

void guard_tell(void)
{
	struct message *message, *next;

	pthread_mutex_lock(&guard.lock);
	message = guard.messages;
	guard.messages = NULL;
	guard.last = &guard.messages;
	pthread_mutex_unlock(&guard.lock);
	for (; message; message = next) {
		next = message->next;
		complain(message->about, "%s", message->text);
		free(message->about);
		free(message->text);
		free(message);
	}
}

static struct guarded *find(dev_t dev)
{
	struct guarded *hold = guard.holds;

	while (hold && hold->dev != dev)
		hold = hold->next;
	return hold;
}

static void take_turn(struct guarded *hold)
{
	hold->users++;
	while (hold->busy)
		pthread_cond_wait(&guard.turn, &guard.lock);
	hold->busy = true;
}

struct guarded *guarded_take(dev_t dev)
{
	struct guarded *hold;

	pthread_mutex_lock(&guard.lock);
	hold = find(dev);
	if (!hold) {
		hold = array(NULL, 1, sizeof(*hold));
		*hold = (struct guarded){.next = guard.holds, .dev = dev, .fd = -1};
		guard.holds = hold;
	}
	take_turn(hold);
	pthread_mutex_unlock(&guard.lock);
	return hold;
}

void guarded_give(struct guarded *hold)
{
	struct guarded **at = &guard.holds;

	pthread_mutex_lock(&guard.lock);
	hold->busy = false;
	if (!--hold->users && hold->fd < 0) {
		while (*at != hold)
			at = &(*at)->next;
		*at = hold->next;
		free(hold->name);
		free(hold);
	}
	pthread_cond_broadcast(&guard.turn);
	pthread_mutex_unlock(&guard.lock);
}

static void set_fd(struct guarded *hold, int fd)
{
	pthread_mutex_lock(&guard.lock);
	hold->fd = fd;
	pthread_mutex_unlock(&guard.lock);
}

static const char is_torn[] = "another freeze of the agent was broken";
const char has_ended[] = "the agent has ended";

void doom_holds(const char *reason)
{
	pthread_mutex_lock(&guard.lock);
	for (struct guarded *hold = guard.holds; hold; hold = hold->next)
		if (hold->fd >= 0 || reason == is_torn)
			hold->doomed = reason;
	pthread_mutex_unlock(&guard.lock);
}

static void note_broken(const struct guarded *hold, int err)
{
	char *timeout = format_duration(guard.options.timeout_ns);

	if (err == -ETIME)
		guard_note(hold->name,
			   "the freeze was broken by its timeout of %s; allow more with --timeout",
			   timeout);
	else if (err == -ECANCELED)
		guard_note(
			hold->name,
			"the freeze was broken by another thaw (FITHAW, 'freezefd thaw --force', SysRq-j) or the death of its guardian; do it again");
	else if (err == -ESTALE)
		guard_note(hold->name, "the freeze was broken, its filesystem is gone");
	else
		guard_note(hold->name, "thaw: %s", strerror(-err));
	free(timeout);
	pthread_mutex_lock(&guard.lock);
	guard.broken = true;
	pthread_mutex_unlock(&guard.lock);
}

int guarded_drop(struct guarded *hold)
{
	struct freezefd_status status = {0};
	char *span;
	int ret;

	freezefd_status(hold->fd, &status);
	ret = freezefd_thaw(hold->fd);
	close(hold->fd);
	set_fd(hold, -1);
	if (ret) {
		note_broken(hold, ret);
		doom_holds(is_torn);
	} else if (guard.verbose) {
		span = format_duration(status.frozen_ns);
		guard_note(hold->name, "frozen for %s", span);
		free(span);
	}
	return ret;
}

bool guarded_is_broken(const struct guarded *hold)
{
	struct pollfd poll_hold = {.fd = hold->fd, .events = POLLIN};

	return poll(&poll_hold, 1, 0) > 0;
}

void doom_broken(void)
{
	bool broken = false;

	pthread_mutex_lock(&guard.lock);
	for (struct guarded *hold = guard.holds; hold && !broken; hold = hold->next)
		broken = hold->fd >= 0 && !hold->busy && guarded_is_broken(hold);
	pthread_mutex_unlock(&guard.lock);
	if (broken)
		doom_holds(is_torn);
}

bool guarded_is_doomed(const struct guarded *hold)
{
	bool doomed;

	pthread_mutex_lock(&guard.lock);
	doomed = hold->doomed;
	pthread_mutex_unlock(&guard.lock);
	return doomed;
}

bool guarded_can_drop(const struct guarded *hold)
{
	return hold->doomed && !hold->busy && hold->fd >= 0;
}

/* Whatever is being made is not waited for. */
static struct guarded *take_doomed(void)
{
	struct guarded *hold;

	pthread_mutex_lock(&guard.lock);
	for (hold = guard.holds; hold && !guarded_can_drop(hold);)
		hold = hold->next;
	if (hold)
		take_turn(hold);
	pthread_mutex_unlock(&guard.lock);
	return hold;
}

void guarded_drop_one(struct guarded *hold)
{
	const char *reason = hold->doomed;

	if (!guarded_drop(hold))
		guard_note(hold->name, "thawed, because %s", reason);
}

void drop_doomed(void)
{
	struct guarded *hold;

	while ((hold = take_doomed())) {
		guarded_drop_one(hold);
		guarded_give(hold);
	}
}
