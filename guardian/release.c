// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The threads that close what others have sent. With the last copy of a socket goes all that still lies in
 * it, and the last close of a file that was deleted on what is frozen waits for the thaw. Sockets in which
 * nothing lies have a thread of their own: they are many, and are not to pile up behind what waits.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop.h"

#define STACK_SIZE (16 * 1024) /* all of it is locked in memory */

static struct queue {
	pthread_mutex_t mutex;
	pthread_cond_t some;
	int *fds; /* only the loop makes room: a thread that allocates would get a heap of its own */
	size_t count, size;
} of_strange, of_empty;

static int take_last(struct queue *queue)
{
	int fd;

	pthread_mutex_lock(&queue->mutex);
	while (!queue->count)
		pthread_cond_wait(&queue->some, &queue->mutex);
	fd = queue->fds[--queue->count];
	pthread_mutex_unlock(&queue->mutex);
	return fd;
}

static void *run(void *arg)
{
	block_signals();
	for (;;)
		close(take_last(arg));
	return NULL;
}

static int start(struct queue *queue)
{
	pthread_attr_t attr;
	pthread_t thread;
	int ret;

	pthread_mutex_init(&queue->mutex, NULL);
	pthread_cond_init(&queue->some, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	ret = pthread_create(&thread, &attr, run, queue);
	block_signals();
	return -ret;
}

int release_start(void)
{
	return start(&of_strange) ?: start(&of_empty);
}

static bool has_room(struct queue *queue)
{
	const size_t size = queue->size ? 2 * queue->size : 64;
	int *fds;

	if (queue->count < queue->size)
		return true;
	fds = reallocarray(queue->fds, size, sizeof(*fds));
	if (!fds)
		return false;
	queue->fds = fds;
	queue->size = size;
	return true;
}

static void put(struct queue *queue, int fd)
{
	bool put;

	if (fd < 0)
		return;
	pthread_mutex_lock(&queue->mutex);
	put = has_room(queue);
	if (put)
		queue->fds[queue->count++] = fd;
	pthread_mutex_unlock(&queue->mutex);
	pthread_cond_signal(&queue->some);
	/* Without memory: one that waits now the watcher gives up. */
	if (!put)
		close(fd);
}

void release(int fd)
{
	put(&of_strange, fd);
}

void release_empty(int fd)
{
	put(&of_empty, fd);
}
