// SPDX-License-Identifier: LGPL-2.1-or-later
/* Several filesystems, frozen as one. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../common/stack.h"
#include "engine.h"

/* At most so many are worked on at a time. They wait for disks and for grace periods, hardly for a CPU. */
#define MAX_THREADS 256
#define STACK_SIZE  (128 * 1024)

/* A filesystem of the group. */
struct member {
	size_t target; /* index of the first target that is on it */
	int fd;
	dev_t dev;
	int depth; /* how many filesystems it lies on */
	int file;  /* a directory of it, while it is synced */
};

struct group {
	const int *targets;
	struct freezefd_options options;
	struct member *member;
	size_t first;	   /* of the members that are frozen now */
	_Atomic int error; /* the first one */
	size_t failed;	   /* the target that it is about */
};

/* --- several at once --- */

struct crew {
	void (*work)(void *arg, size_t i);
	void *arg;
	size_t count;
	_Atomic size_t next;
	pthread_mutex_t gate; /* held until all are there */
};

static void *do_work(void *arg)
{
	struct crew *crew = arg;
	size_t i;

	pthread_mutex_lock(&crew->gate);
	pthread_mutex_unlock(&crew->gate);
	while ((i = crew->next++) < crew->count)
		crew->work(crew->arg, i);
	return NULL;
}

/* Begins them in order, in one moment. Without threads it does one after the other. */
static void for_each(size_t count, void (*work)(void *arg, size_t i), void *arg)
{
	struct crew crew = {
		.work = work, .arg = arg, .count = count, .gate = PTHREAD_MUTEX_INITIALIZER};
	pthread_t threads[MAX_THREADS];
	sigset_t all, before;
	pthread_attr_t attr;
	size_t started = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	/* A signal is the caller's, and must not end a freeze that the caller waits for. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pthread_mutex_lock(&crew.gate);
	while (started + 1 < count && started < MAX_THREADS &&
	       !pthread_create(&threads[started], &attr, do_work, &crew))
		started++;
	pthread_mutex_unlock(&crew.gate);
	do_work(&crew);
	while (started)
		pthread_join(threads[--started], NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
}

/* --- the steps --- */

static void fail(struct group *group, const struct member *member, int error)
{
	int none = 0;

	if (atomic_compare_exchange_strong(&group->error, &none, error))
		group->failed = member->target;
}

static void open_one(void *arg, size_t i)
{
	struct group *group = arg;
	struct member *member = &group->member[i];
	struct freezefd_status status;
	int ret;

	member->target = i;
	member->fd = member->file = -1;
	if (group->error)
		return;
	ret = freezefd_open(group->targets[i], &group->options);
	if (ret >= 0) {
		member->fd = ret;
		ret = freezefd_status(member->fd, &status);
		member->dev = status.dev;
	}
	if (ret < 0)
		fail(group, member, ret);
}

static int by_dev(const void *a, const void *b)
{
	const struct member *one = a, *two = b;

	if (one->dev != two->dev)
		return one->dev > two->dev ? 1 : -1;
	return one->target > two->target ? 1 : -1;
}

/* Leaves one of each filesystem. */
static size_t unite(struct member *member, size_t count)
{
	size_t kept = 0;

	qsort(member, count, sizeof(*member), by_dev);
	for (size_t i = 0; i < count; i++) {
		if (kept && member[i].dev && member[kept - 1].dev == member[i].dev)
			close(member[i].fd);
		else
			member[kept++] = member[i];
	}
	return kept;
}

static int by_depth(const void *a, const void *b)
{
	const struct member *one = a, *two = b;

	if (one->depth != two->depth)
		return one->depth - two->depth;
	return one->target > two->target ? 1 : -1;
}

/*
 * The end of a process closes its descriptors from the lowest number on, and each of them
 * waits for its thaw. A thaw writes, so that the lowest one must be what others lie on.
 */
static int renumber(struct member *member, size_t count)
{
	int highest = -1;

	for (size_t i = 0; i < count; i++) {
		int fd = member[i].fd;

		if (fd < highest) {
			fd = fcntl(fd, F_DUPFD_CLOEXEC, highest + 1);
			if (fd < 0)
				return errno == EINVAL ? -EMFILE : -errno;
			close(member[i].fd);
			member[i].fd = fd;
		}
		highest = fd;
	}
	return 0;
}

static void sync_one(void *arg, size_t i)
{
	struct group *group = arg;

	/* What cannot be written the freeze reports. */
	if (group->member[i].file >= 0)
		syncfs(group->member[i].file);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* A round that took no longer leaves little for the next. */
#define SYNC_SHORT 1000000 /* ns */

/*
 * What is on the disk already is not written while others wait for it. A round leaves
 * what writers have made meanwhile, and is worth another only if it took less than half
 * the time of the one before: writers that are as fast as the disk cannot hold us off.
 */
static void sync_all(struct group *group, size_t count, const struct mounts *mounts)
{
	uint64_t took = UINT64_MAX, before, start;
	struct mount mount;

	for (size_t i = 0; i < count; i++)
		if (mounts_of_dev(mounts, group->member[i].dev, &mount))
			group->member[i].file = mounts_open(mounts, &mount);
	do {
		before = took;
		start = now_ns();
		for_each(count, sync_one, group);
		took = now_ns() - start;
	} while (took > SYNC_SHORT && took < before / 2);
	/* An open directory would keep the mount busy. */
	for (size_t i = 0; i < count; i++)
		if (group->member[i].file >= 0)
			close(group->member[i].file);
}

static void freeze_one(void *arg, size_t i)
{
	struct group *group = arg;
	struct member *member = &group->member[group->first + i];
	int ret = group->error ? 0 : freezefd_freeze(member->fd);

	if (ret)
		fail(group, member, ret);
}

/* What lies on others is frozen before them, because its freeze writes to them. */
static void freeze_all(struct group *group, size_t count)
{
	const struct member *member = group->member;
	size_t first = count, last;

	while (first && !group->error) {
		last = first--;
		while (first && member[first - 1].depth == member[first].depth)
			first--;
		group->first = first;
		for_each(last - first, freeze_one, group);
	}
}

/* The first one may have been broken while the last one was frozen. */
static void check_one(void *arg, size_t i)
{
	struct group *group = arg;
	struct freezefd_status status;
	int ret = freezefd_status(group->member[i].fd, &status);

	if (!ret && status.hold != FREEZEFD_HOLD_HELD)
		ret = status.hold == FREEZEFD_HOLD_EXPIRED ? -ETIME
		      : status.hold == FREEZEFD_HOLD_GONE  ? -ESTALE
							   : -ECANCELED;
	if (ret)
		fail(group, &group->member[i], ret);
}

static void close_one(void *arg, size_t i)
{
	struct group *group = arg;

	if (group->member[i].fd >= 0)
		close(group->member[i].fd);
}

static int freeze_group(struct group *group, size_t count)
{
	struct mounts *mounts = mounts_read();
	int ret = mounts ? 0 : -errno;

	if (ret)
		return ret;
	for (size_t i = 0; i < count; i++)
		group->member[i].depth = stack_below(mounts, group->member[i].dev, NULL, NULL);
	qsort(group->member, count, sizeof(*group->member), by_depth);
	ret = renumber(group->member, count);
	if (!ret)
		sync_all(group, count, mounts);
	mounts_free(mounts);
	if (ret)
		return ret;
	freeze_all(group, count);
	if (!group->error)
		for_each(count, check_one, group);
	return group->error;
}

int freezefd_open_group(const int *targets, int *fds, size_t count,
			const struct freezefd_options *options, size_t *failed)
{
	struct group group = {.targets = targets, .options = {.size = sizeof(group.options)}};
	int ret;

	if (options) {
		ret = check_options(options);
		if (ret)
			return ret;
		memcpy(&group.options, options,
		       options->size < sizeof(group.options) ? options->size
							     : sizeof(group.options));
		group.options.size = sizeof(group.options);
	}
	if (!count || group.options.flags & FREEZEFD_THAWED)
		return -EINVAL;
	group.options.flags |= FREEZEFD_THAWED;
	for (size_t i = 0; i < count; i++)
		fds[i] = -1;
	group.member = calloc(count, sizeof(*group.member));
	if (!group.member)
		return -ENOMEM;
	/* The guardian engine loads its reader of superblocks at the first call: not in every thread. */
	freezefd_engine(targets[0]);
	for_each(count, open_one, &group);
	ret = group.error;
	if (!ret) {
		count = unite(group.member, count);
		ret = freeze_group(&group, count);
	}
	if (ret)
		for_each(count, close_one, &group);
	for (size_t i = 0; !ret && i < count; i++)
		fds[group.member[i].target] = group.member[i].fd;
	if (ret && failed)
		*failed = group.failed;
	free(group.member);
	return ret;
}

/* --- the thaw --- */

struct thaw {
	size_t index;
	int fd;
	int result;
};

static int by_fd(const void *a, const void *b)
{
	const struct thaw *one = a, *two = b;

	return (one->fd > two->fd) - (one->fd < two->fd);
}

static void thaw_one(void *arg, size_t i)
{
	struct thaw *thaw = arg;

	thaw[i].result = freezefd_thaw(thaw[i].fd);
}

int freezefd_thaw_group(const int *fds, size_t count, int *results)
{
	struct thaw *thaw = calloc(count ? count : 1, sizeof(*thaw));
	size_t used = 0;
	int ret = 0;

	if (!thaw)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		if (fds[i] >= 0)
			thaw[used++] = (struct thaw){.index = i, .fd = fds[i]};
	/* See renumber(). */
	qsort(thaw, used, sizeof(*thaw), by_fd);
	for_each(used, thaw_one, thaw);
	for (size_t i = 0; results && i < count; i++)
		results[i] = 0;
	for (size_t i = 0; i < used; i++) {
		if (results)
			results[thaw[i].index] = thaw[i].result;
		if (!ret)
			ret = thaw[i].result;
	}
	free(thaw);
	return ret;
}
