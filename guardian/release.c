// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The thread that closes what others have sent. With the last copy of a socket goes all that still lies in
 * it, and the last close of a file that was deleted on what is frozen waits for the thaw.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop.h"

#define STACK_SIZE (16 * 1024) /* all of it is locked in memory */

static int queue[2] = {-1, -1};

static void *run(void *arg)
{
	int fd;

	block_signals();
	for (;;)
		if (read(queue[0], &fd, sizeof(fd)) == sizeof(fd))
			close(fd);
	return NULL;
}

int release_start(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	int ret;

	if (pipe2(queue, O_CLOEXEC))
		return -errno;
	/* The reader waits. */
	fcntl(queue[1], F_SETFL, O_NONBLOCK);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	ret = pthread_create(&thread, &attr, run, NULL);
	block_signals();
	return -ret;
}

/* What finds no room in the queue. */
static int *kept;
static size_t nr_kept, room;

static bool keep(int fd)
{
	if (nr_kept == room) {
		const size_t more = room ? 2 * room : 64;
		int *fds = reallocarray(kept, more, sizeof(*fds));

		if (!fds)
			return false;
		kept = fds;
		room = more;
	}
	kept[nr_kept++] = fd;
	return true;
}

void release(int fd)
{
	if (fd < 0)
		return;
	/* Without memory: if this one waits now, too, the watcher gives us up. */
	if (!keep(fd))
		close(fd);
	while (nr_kept && write(queue[1], &kept[nr_kept - 1], sizeof(fd)) == sizeof(fd))
		nr_kept--;
}
