// SPDX-License-Identifier: GPL-2.0-or-later
/* Several filesystems, frozen as one. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

/*
 * A filesystem in a file on another one has to be frozen before that one: its
 * own freeze writes. Loop devices tell this; for what else may be nested
 * (a network block device served by this machine), the later mount goes first.
 */
struct place {
	struct target target;
	int depth, order;
};

static int compare(const void *a, const void *b)
{
	const struct place *one = a, *two = b;

	if (one->depth != two->depth)
		return two->depth - one->depth;
	return (two->order > one->order) - (two->order < one->order);
}

static bool known(const struct place *place, size_t count, dev_t dev)
{
	for (size_t i = 0; i < count; i++)
		if (place[i].target.mount.dev == dev)
			return true;
	return false;
}

static bool open_targets(struct holds *holds, char **names, int count)
{
	struct place *place = array(NULL, (size_t)count, sizeof(*place));
	bool ok = true;

	for (int i = 0; ok && i < count; i++) {
		struct target *target = &place[holds->count].target;

		ok = target_open(target, names[i]);
		if (!ok)
			break;
		if (known(place, holds->count, target->mount.dev)) {
			target_close(target);
			continue;
		}
		place[holds->count].depth = loop_depth(&target->mount);
		place[holds->count].order = target->mounted ? target->mount.order : INT_MAX;
		holds->count++;
	}
	qsort(place, holds->count, sizeof(*place), compare);
	for (size_t i = 0; i < holds->count; i++)
		holds->target[i] = place[i].target;
	free(place);
	return ok;
}

/* The superblock of ext4, from Documentation/filesystems/ext4/super.rst. */
#define EXT4_FEATURE_COMPAT 0x45c /* from the beginning of the device; 32 bits */
#define EXT4_FAST_COMMIT    0x400

/*
 * On kernels without freeze descriptors a freeze of it may never end, and what is synced
 * after the thaw may be lost: see freezefd-guardian(7).
 */
static void warn_of_fast_commits(const struct target *target)
{
	uint32_t features = 0;
	const char *engine;
	char *device;
	int fd;

	if (!target->mounted || strcmp(target->mount.fstype, "ext4"))
		return;
	engine = freezefd_engine(target->fd);
	if (!engine || !strcmp(engine, "native"))
		return;
	device = device_path(target->mount.dev);
	fd = device ? open(device, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0 &&
	    pread(fd, &features, sizeof(features), EXT4_FEATURE_COMPAT) == sizeof(features) &&
	    (le32toh(features) & EXT4_FAST_COMMIT))
		complain(
			target->name,
			"warning: this kernel may hang when it freezes fast commits, and lose what is "
			"synced after it; unmount it and 'tune2fs -O ^fast_commit %s'",
			device);
	if (fd >= 0)
		close(fd);
	free(device);
}

static struct rlimit limit;

/* Two descriptors for each target may be more than a program has by default. */
static void limit_raise(void)
{
	struct rlimit most;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	most = (struct rlimit){limit.rlim_max, limit.rlim_max};
	setrlimit(RLIMIT_NOFILE, &most);
}

void limit_restore(void)
{
	setrlimit(RLIMIT_NOFILE, &limit);
}

bool holds_open(struct holds *holds, char **names, int count, uint32_t flags, uint64_t timeout_ns)
{
	struct freezefd_options options = {
		.size = sizeof(options),
		.flags = FREEZEFD_THAWED | flags,
		.timeout_ns = timeout_ns,
	};
	bool ok;

	*holds = (struct holds){
		.target = array(NULL, (size_t)count, sizeof(*holds->target)),
		.poll = array(NULL, (size_t)count + 1, sizeof(*holds->poll)),
		.result = array(NULL, (size_t)count, sizeof(*holds->result)),
		.timeout_ns = timeout_ns,
	};
	limit_raise();
	ok = open_targets(holds, names, count);
	for (size_t i = 0; i < holds->count; i++)
		holds->result[i] = 0;
	for (size_t i = 0; i <= holds->count; i++)
		holds->poll[i] = (struct pollfd){.fd = -1};
	for (size_t i = 0; ok && i < holds->count; i++) {
		int fd;

		/* A child may have ended, even one that is none of ours: in a PID namespace as its first process. */
		do
			fd = freezefd_open(holds->target[i].fd, &options);
		while (fd == -EINTR && !caught_signal);
		ok = fd >= 0;
		/* An engine whose descriptors are sockets tells of a broken hold by a message. */
		if (ok) {
			holds->poll[i] = (struct pollfd){.fd = fd, .events = POLLIN};
			warn_of_fast_commits(&holds->target[i]);
		} else if (!caught_signal) {
			complain_engine(holds->target[i].name, fd);
		}
	}
	if (!ok)
		holds_free(holds);
	return ok;
}

bool holds_contain(const struct holds *holds, int fd)
{
	struct mount mount;
	struct stat st;

	/* Writing to a pipe or a device waits for no filesystem. */
	if (fstat(fd, &st) || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) ||
	    !mount_written_by(fd, &mount))
		return false;
	for (size_t i = 0; i < holds->count; i++)
		if (holds->target[i].mount.dev == mount.dev)
			return true;
	return false;
}

bool holds_block(const struct holds *holds, int fd, const char *name)
{
	if (!holds_contain(holds, fd))
		return false;
	complain(name, "on a filesystem that is to be frozen; send it somewhere else");
	return true;
}

static uint64_t now(void)
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
static void sync_ahead(const struct holds *holds)
{
	uint64_t took = UINT64_MAX, before, start;

	do {
		before = took;
		start = now();
		for (size_t i = 0; i < holds->count && !caught_signal; i++) {
			int fd = target_file(&holds->target[i]);

			if (fd >= 0) {
				syncfs(fd);
				close(fd);
			}
		}
		took = now() - start;
	} while (!caught_signal && took > SYNC_SHORT && took < before / 2);
}

/* Is it a FIFREEZE in force that keeps us from freezing? Such a one has no holder to be named. */
static bool frozen_by_others(const struct target *target, int err)
{
	struct freezefd_status status;

	return err == -EBUSY && !freezefd_status(target->fd, &status) &&
	       status.state == FREEZE_STATE_FROZEN && status.user_holds;
}

/* The first one may have been broken while the last one was frozen. */
static bool all_held(const struct holds *holds)
{
	struct freezefd_status status;

	for (size_t i = 0; i < holds->count; i++)
		if (!freezefd_status(holds->poll[i].fd, &status) &&
		    status.hold != FREEZEFD_HOLD_HELD)
			return false;
	return true;
}

int holds_freeze(struct holds *holds, int cannot)
{
	const struct target *failed;
	bool by_others;
	int ret = 0;

	sync_ahead(holds);
	holds->begun_ns = now();
	while (holds->frozen < holds->count && !caught_signal && (!ret || ret == -EINTR)) {
		ret = freezefd_freeze(holds->poll[holds->frozen].fd);
		if (!ret)
			holds->frozen++;
	}
	if (!ret && !caught_signal && all_held(holds)) {
		/* An open target would keep its mount busy. */
		for (size_t i = 0; i < holds->count; i++)
			target_close(&holds->target[i]);
		return 0;
	}
	failed = &holds->target[holds->frozen];
	by_others = ret && frozen_by_others(failed, ret);
	holds_thaw(holds);
	if (caught_signal)
		return EXIT_SIGNAL + caught_signal;
	if (by_others)
		complain(
			failed->name,
			"frozen by FIFREEZE (fsfreeze, a guest agent, freezefd in a container) or device-mapper, which share with nobody; wait for the end of that");
	else if (ret)
		complain_errno(failed->name, ret);
	return holds_verdict(holds) == EXIT_BROKEN ? EXIT_BROKEN : cannot;
}

/* Not by a thaw: its guardian was killed. Only of that engine POLLHUP is the end of a hold. */
static bool has_died(int fd)
{
	struct pollfd hold = {.fd = fd};
	const char *engine = freezefd_engine(fd);

	return poll(&hold, 1, 0) == 1 && hold.revents & POLLHUP && engine &&
	       !strcmp(engine, "guardian");
}

bool holds_broken(const struct holds *holds)
{
	for (size_t i = 0; i < holds->count; i++)
		if (holds->poll[i].revents)
			return true;
	return false;
}

void holds_thaw(struct holds *holds)
{
	for (size_t i = holds->count; i-- > 0;) {
		target_close(&holds->target[i]);
		if (holds->poll[i].fd < 0)
			continue;
		if (i < holds->frozen)
			holds->result[i] = freezefd_thaw(holds->poll[i].fd);
		if (holds->result[i] == -ECANCELED && has_died(holds->poll[i].fd))
			holds->result[i] = -EOWNERDEAD;
		close(holds->poll[i].fd);
		holds->poll[i].fd = -1;
		holds->poll[i].revents = 0;
	}
	if (holds->frozen)
		holds->lasted_ns = now() - holds->begun_ns;
	holds->frozen = 0;
}

int holds_verdict(const struct holds *holds)
{
	int verdict = EXIT_SUCCESS;
	char *timeout;

	for (size_t i = 0; i < holds->count; i++) {
		const char *name = holds->target[i].name;

		switch (holds->result[i]) {
		case 0:
			continue;
		case -ETIME:
			timeout = format_duration(holds->timeout_ns);
			complain(name, "the freeze was broken by its timeout of %s; allow more",
				 timeout);
			free(timeout);
			verdict = EXIT_BROKEN;
			break;
		case -ECANCELED:
			complain(
				name,
				"the freeze was broken by another thaw (FITHAW, 'freezefd thaw --force', SysRq-j); do it again");
			verdict = EXIT_BROKEN;
			break;
		case -EOWNERDEAD:
			complain(name,
				 "the freeze was broken, its guardian was killed; do it again");
			verdict = EXIT_BROKEN;
			break;
		case -ESTALE:
			complain(name, "the freeze was broken, its filesystem is gone");
			verdict = EXIT_BROKEN;
			break;
		default:
			complain(name, "thaw: %s", strerror(-holds->result[i]));
			if (!verdict)
				verdict = EXIT_FAILURE;
		}
	}
	return verdict;
}

void holds_free(struct holds *holds)
{
	holds_thaw(holds);
	free(holds->target);
	free(holds->poll);
	free(holds->result);
	*holds = (struct holds){0};
}
