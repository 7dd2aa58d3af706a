// SPDX-License-Identifier: GPL-2.0-or-later
/* The guardian's loop: what it waits for, and what it does in every round. */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

/* The one who has just closed its descriptor may be about to make the next one. Who only asks does not prolong it. */
#define LINGER_MS 50
/* Without a descriptor for another connection, which stays ready meanwhile, it is tried again after so long. */
#define DEAF_MS 50

struct guardian guardian;
static int epoll;

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static bool watch(struct source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	return !epoll_ctl(epoll, EPOLL_CTL_ADD, source->fd, &event);
}

void unwatch(const struct source *source)
{
	epoll_ctl(epoll, EPOLL_CTL_DEL, source->fd, NULL);
}

void *new_source(struct source **list, size_t size, int fd, void (*handle)(struct source *))
{
	struct source *source = calloc(1, size);

	if (source)
		*source = (struct source){.fd = fd, .handle = handle, .next = *list, .link = list};
	if (!source || !watch(source)) {
		free(source);
		release(fd);
		return NULL;
	}
	if (*list)
		(*list)->link = &source->next;
	*list = source;
	return source;
}

/* Freed when the events of this round are done with: one may be of this source. */
static struct source *garbage;

void drop(struct source *source)
{
	*source->link = source->next;
	if (source->next)
		source->next->link = source->link;
	if (source->fd >= 0) {
		/* The watcher's table is the same, but a copy may be on its way in a message. */
		unwatch(source);
		/* The other end hears of it now, whatever the close has to wait for. */
		shutdown(source->fd, SHUT_RDWR);
		release(source->fd);
	}
	source->fd = -1;
	source->next = garbage;
	garbage = source;
}

static void collect_garbage(void)
{
	while (garbage) {
		struct source *source = garbage;

		garbage = source->next;
		free(source);
	}
}

static void close_listener(void)
{
	if (guardian.fs->listener >= 0)
		close(guardian.fs->listener);
	guardian.fs->listener = -1;
}

static void read_inotify(void)
{
	char buffer[1024] __attribute__((aligned(8)));
	ssize_t n;

	while ((n = read(guardian.fs->inotify, buffer, sizeof(buffer))) > 0)
		for (char *at = buffer; at < buffer + n;) {
			const struct inotify_event *event = (void *)at;

			if (event->mask & (IN_UNMOUNT | IN_IGNORED))
				guardian.gone = true;
			at += sizeof(*event) + event->len;
		}
	if (!guardian.gone || guardian.fs->listener < 0)
		return;
	/*
	 * The next filesystem of this device number gets a guardian of its own, and the name: who has not
	 * yet heard of a broken hold may keep this one for long.
	 */
	close_listener();
	leave_directory(guardian.fs, guardian.common);
	close(guardian.fs->lock);
	guardian.fs->lock = -1;
	revoke_all();
}

/*
 * Alone one could not keep the promise. The watcher cannot be had back: who holds is told by the end. The
 * names may lie on what is frozen, and stay until after the thaw.
 */
static void on_watcher(struct source *source)
{
	struct hold *hold;

	unwatch(source);
	revoke_all();
	for_each_hold (hold, next)
		free_hold(hold);
	close_listener();
}

static struct source *deaf;
static uint64_t deaf_ns;

void be_deaf(struct source *listener)
{
	unwatch(listener);
	deaf = listener;
	deaf_ns = now_ns();
}

static void listen_again(void)
{
	if (!deaf || guardian.fs->listener < 0 || now_ns() - deaf_ns < DEAF_MS * 1000000ULL)
		return;
	if (watch(deaf))
		deaf = NULL;
}

/* What is read in every round, or only looked at then. */
static void on_inotify(struct source *source)
{
}

void serve(struct fs *the_fs, struct common *the_common)
{
	struct source *fixed = NULL;
	uint64_t checked_ns = 0, idle_ns = 0;

	guardian.fs = the_fs;
	guardian.common = the_common;
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || release_start() ||
	    !new_source(&fixed, sizeof(*fixed), guardian.fs->listener, on_listener) ||
	    !new_source(&fixed, sizeof(*fixed), guardian.fs->inotify, on_inotify) ||
	    !new_source(&fixed, sizeof(*fixed), work_start(guardian.fs, guardian.common),
			work_done) ||
	    !new_source(&fixed, sizeof(*fixed), guardian.fs->watcher, on_watcher))
		return;

	for (;;) {
		struct epoll_event events[64];
		int n, ms = guardian.state != THAWED ? time_left() : -1;

		if (!is_idle())
			idle_ns = 0;
		else if (!idle_ns)
			idle_ns = now_ns();
		if (idle_ns)
			ms = LINGER_MS - (int)((now_ns() - idle_ns) / 1000000);
		if (idle_ns && (ms <= 0 || guardian.fs->listener < 0))
			return;
		if (deaf && (ms < 0 || ms > DEAF_MS))
			ms = DEAF_MS;
		n = epoll_wait(epoll, events, sizeof(events) / sizeof(events[0]), ms);
		/* First: what is gone is gone for every request of this round. */
		read_inotify();
		check_deadlines();
		check_now_and_then(&checked_ns);
		listen_again();
		for (int i = 0; i < n; i++) {
			struct source *source = events[i].data.ptr;

			/* Unless it was dropped earlier in this round. */
			if (source->fd >= 0)
				source->handle(source);
		}
		collect_garbage();
		advance();
		collect_garbage();
	}
}
