// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The process that freezes. Opening a target, a sync and a freeze may each wait where no
 * signal reaches them: for a permission that is not given, for a suspended device. So
 * they are done by a child, which is killed and left behind when the time is over. The
 * descriptors that it has are closed when it can end, and that thaws.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <endian.h>

#include "tool.h"

/* So long after the start is first looked for what is in the way, and then so often. */
#define LOOK_MS 300

/* So many overlays may lie on each other; one that is mounted over its own layers has no end. */
#define MAX_OVERLAYS 32

struct work {
	const struct request *request;
	int socket;
	struct target *target;
	_Atomic size_t opened; /* targets that may be looked at */
	char **uuid;	       /* of each, for a report */
	const char *_Atomic opening;
};

/* --- what it waits for --- */

static void nap(long ms)
{
	const struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

static void send_note(int socket, const char *name, const char *why)
{
	struct packet packet = {.kind = PACKET_NOTE};

	snprintf(packet.strings, sizeof(packet.strings), "%s: %s", name, why);
	send(socket, &packet, offsetof(struct packet, strings) + strlen(packet.strings),
	     MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void *explain(void *arg)
{
	struct work *work = arg;
	const struct target *target;
	const char *opening;
	char *why;

	for (;;) {
		nap(LOOK_MS);
		opening = work->opening;
		if (opening) {
			send_note(work->socket, opening,
				  "opening it waits for a server or for a permission");
			continue;
		}
		why = blocked_by(work->target, work->opened, &target);
		if (why)
			send_note(work->socket, target->name, why);
		free(why);
	}
	return NULL;
}

/* --- the targets --- */

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

	if (!target->mounted || strcmp(target->mount.fstype, "ext4") != 0)
		return;
	engine = freezefd_engine(target->fd);
	if (!engine || !strcmp(engine, "native"))
		return;
	device = stack_device_path(target->mount.dev);
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

static void complain_unfreezable(const struct target *target)
{
	struct mount upper;

	if (target->mounted && mounts_upper(the_mounts(), target->mount.dev, &upper))
		complain(
			target->name,
			"an overlay cannot be frozen; name %s, the filesystem of its upper directory",
			upper.dir);
	else
		complain_errno(target->name, -EOPNOTSUPP);
}

static bool is_mount_point(const struct target *target)
{
	struct statx stx;

	return !target->device &&
	       !statx(target->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &stx) &&
	       stx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

/* True when it is one of the group now. *ok: whether to go on. */
static bool take(struct work *work, struct target *target, bool *ok)
{
	const struct request *request = work->request;
	struct freezefd_status status;
	int err;

	if (request->mountpoint && !is_mount_point(target)) {
		complain(target->name, "not a mount point; mount it, or leave out --mountpoint");
		return *ok = false;
	}
	err = freezefd_status(target->fd, &status);
	if (err == -EOPNOTSUPP && (request->skip_unfreezable || request->all)) {
		if (request->skip_unfreezable)
			complain(target->name, "cannot be frozen; left out");
		return false;
	}
	if (err == -EOPNOTSUPP) {
		complain_unfreezable(target);
		return *ok = false;
	}
	/* Other reasons the freeze tells. */
	warn_of_fast_commits(target);
	return true;
}

static bool open_one(struct work *work, const char *name, const dev_t *excluded)
{
	struct target *target = &work->target[work->opened];
	bool ok;

	work->opening = name;
	ok = target_open(target, name);
	work->opening = NULL;
	if (!ok)
		return false;
	if (!is_among(excluded, work->request->nr_excluded, target->mount.dev) &&
	    take(work, target, &ok))
		work->opened++;
	else
		target_close(target);
	return ok;
}

/* A filesystem on a disk of this machine: others need not be asked, and may not answer. */
static bool is_local(const struct mount *mount)
{
	return major(mount->dev) || !strcmp(mount->fstype, "btrfs") ||
	       !strcmp(mount->fstype, "bcachefs");
}

/* Each once, by the first of its mounts that is not hidden under another one. */
static bool open_all(struct work *work, const dev_t *excluded)
{
	const size_t nr_excluded = work->request->nr_excluded;
	dev_t *done = NULL;
	size_t count = 0;
	struct mount mount;
	bool ok = true;
	int fd;

	for (size_t i = 0; ok && mounts_at(the_mounts(), i, &mount); i++) {
		if (!is_local(&mount) || is_among(done, count, mount.dev) ||
		    is_among(excluded, nr_excluded, mount.dev))
			continue;
		work->opening = mount.dir;
		fd = mounts_open(the_mounts(), &mount);
		if (fd < 0)
			continue;
		close(fd);
		ok = open_one(work, mount.dir, excluded);
		done = array(done, count + 1, sizeof(*done));
		done[count++] = mount.dev;
	}
	work->opening = NULL;
	for (size_t i = 0; ok && mounts_at(the_mounts(), i, &mount); i++) {
		ok = !is_local(&mount) || is_among(done, count, mount.dev) ||
		     is_among(excluded, nr_excluded, mount.dev);
		if (!ok)
			complain(
				mount.dir,
				"something else is mounted over it; name its device instead of --all");
	}
	free(done);
	return ok;
}

static bool open_targets(struct work *work)
{
	const struct request *request = work->request;
	dev_t *excluded = array(NULL, request->nr_excluded, sizeof(*excluded));
	size_t count = request->count;
	struct target target;
	struct mount mount;
	bool ok = true;

	if (request->all)
		while (mounts_at(the_mounts(), count, &mount))
			count++;
	work->target = array(NULL, count, sizeof(*work->target));
	for (size_t i = 0; ok && i < request->nr_excluded; i++) {
		work->opening = request->excluded[i];
		ok = target_open(&target, request->excluded[i]);
		work->opening = NULL;
		if (ok)
			excluded[i] = target.mount.dev;
		target_close(&target);
	}
	for (size_t i = 0; ok && i < request->count; i++)
		ok = open_one(work, request->names[i], excluded);
	if (ok && request->all)
		ok = open_all(work, excluded);
	if (ok && !work->opened) {
		complain(request->verb, "no filesystem is left to freeze; name others");
		ok = false;
	}
	free(excluded);
	return ok;
}

/* --- what would wait for itself --- */

static const struct target *target_of(const struct work *work, dev_t dev)
{
	for (size_t i = 0; i < work->opened; i++)
		if (work->target[i].mount.dev == dev)
			return &work->target[i];
	return NULL;
}

/* Is this file on one of the filesystems? Of an overlay, that to which it writes. */
static bool lies_on_target(const struct work *work, const char *path)
{
	struct mount mount, upper;
	struct stat st;
	int left = MAX_OVERLAYS;

	/* Writing to a pipe or a device waits for no filesystem. */
	if (stat(path, &st) || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) ||
	    !mounts_of_file(the_mounts(), AT_FDCWD, path, &mount))
		return false;
	while (left-- && mounts_upper(the_mounts(), mount.dev, &upper))
		mount = upper;
	return target_of(work, mount.dev);
}

struct search {
	const struct work *work;
	const struct target *found;
};

static void find_target(void *arg, bool is_device, dev_t dev)
{
	struct search *search = arg;

	if (!is_device && !search->found)
		search->found = target_of(search->work, dev);
}

/* Memory that is written to a device which keeps its data on what is frozen: everything may wait. */
static bool swap_lies_on_target(const struct work *work)
{
	struct search search = {work, NULL};
	FILE *file = fopen("/proc/swaps", "re");
	char line[512], path[256];
	struct stat st;

	while (file && !search.found && fgets(line, sizeof(line), file))
		if (sscanf(line, "%255s", path) == 1 && !stat(path, &st) && S_ISBLK(st.st_mode))
			stack_below_device(the_mounts(), st.st_rdev, find_target, &search);
	if (file)
		fclose(file);
	if (search.found)
		complain(search.found->name,
			 "memory is swapped to %s, which lies on it; 'swapoff %s', or --force",
			 path, path);
	return search.found;
}

static bool would_wait_for_itself(const struct work *work)
{
	const struct request *request = work->request;

	for (size_t i = 0; i < request->nr_places; i++) {
		if (!lies_on_target(work, request->place[i].path))
			continue;
		complain(
			request->place[i].name,
			"on a filesystem that is to be frozen, where a write waits for the thaw; move it, or use --force");
		return true;
	}
	return swap_lies_on_target(work);
}

/* --- the freeze --- */

/* Nobody's writers wait while the device cannot be written to anyhow. */
static void await_below(const struct work *work)
{
	bool blocked;

	do {
		blocked = false;
		for (size_t i = 0; !blocked && i < work->opened; i++) {
			char *why = blocked_below(&work->target[i]);

			blocked = why;
			free(why);
		}
		if (blocked)
			nap(20);
	} while (blocked);
}

/* Is it a FIFREEZE in force that keeps us from freezing? Such a one has no holder to be named. */
static bool frozen_by_others(const struct target *target, int err)
{
	struct freezefd_status status;

	return err == -EBUSY && !freezefd_status(target->fd, &status) &&
	       status.state == FREEZE_STATE_FROZEN && status.user_holds;
}

/* One that is given up lets the writers go, too. */
static uint64_t freeze_deadline(const struct request *request)
{
	if (request->within_ns &&
	    (!request->timeout_ns || request->within_ns < request->timeout_ns))
		return request->within_ns;
	return request->timeout_ns;
}

static int freeze_group(struct work *work, int *fds)
{
	const struct request *request = work->request;
	struct freezefd_options options = {
		.size = sizeof(options),
		.flags = request->flags,
		.timeout_ns = freeze_deadline(request),
	};
	int *targets = array(NULL, work->opened, sizeof(*targets)), ret;
	size_t failed = 0;

	for (size_t i = 0; i < work->opened; i++)
		targets[i] = work->target[i].fd;
	ret = freezefd_open_group(targets, fds, work->opened, &options, &failed);
	free(targets);
	if (ret && frozen_by_others(&work->target[failed], ret))
		complain(
			work->target[failed].name,
			"frozen by FIFREEZE (fsfreeze, a guest agent, freezefd in a container) or device-mapper, which share with nobody; wait for the end of that");
	else if (ret)
		complain_engine(work->target[failed].name, ret);
	return ret;
}

/*
 * The deadline was that of the freeze; from here on it is that of the hold, which has lasted
 * for over_ns. 0 or an errno value.
 */
static int set_deadline(const struct request *request, int fd, uint64_t over_ns)
{
	uint64_t left = request->timeout_ns;

	if (left == freeze_deadline(request))
		return 0;
	if (left)
		left = left > over_ns ? left - over_ns : 1;
	return freezefd_set_timeout(fd, left);
}

static char *uuid_of(const struct target *target)
{
	struct probed probed = {0};
	dev_t device = target_device(target);

	return device && probe_device(device, &probed) ? copy(probed.uuid) : NULL;
}

/* A string and its end. */
static void put(struct packet *packet, size_t *size, const char *string)
{
	size_t len = string ? strnlen(string, PATH_MAX - 1) : 0;

	if (len)
		memcpy(packet->strings + *size, string, len);
	packet->strings[*size + len] = 0;
	*size += len + 1;
}

/* 0 or a negative errno value. */
static int send_hold(const struct work *work, size_t i, int fd)
{
	const struct target *target = &work->target[i];
	struct packet packet = {.kind = PACKET_HOLD};
	struct freezefd_status status = {0};
	const uint64_t deadline = freeze_deadline(work->request);
	uint64_t over_ns;
	size_t size = 0;
	char *device;
	int err = freezefd_status(fd, &status);

	/* Others may have frozen it long before: of a hold of ours what is left tells its age. */
	over_ns = deadline ? deadline - status.timeout_ns : status.frozen_ns;
	packet.frozen_ns = now_ns() - over_ns;
	if (!err)
		err = set_deadline(work->request, fd, over_ns);
	if (err)
		return err;
	device = target->mounted ? NULL : stack_device_path(target->device);
	put(&packet, &size, target->name);
	put(&packet, &size, target->mounted ? target->mount.dir : NULL);
	put(&packet, &size, target->mounted ? target->mount.source : device);
	put(&packet, &size, target->mounted ? target->mount.fstype : NULL);
	put(&packet, &size, work->uuid[i]);
	put(&packet, &size, freezefd_engine(fd));
	free(device);
	return send_fd(work->socket, &packet, offsetof(struct packet, strings) + size, fd);
}

struct sent {
	int fd;
	size_t target;
};

static int by_fd(const void *a, const void *b)
{
	return ((const struct sent *)a)->fd - ((const struct sent *)b)->fd;
}

/* In the order of their numbers, which is the one in which they can be closed. */
static bool send_holds(const struct work *work, const int *fds)
{
	struct sent *sent = array(NULL, work->opened, sizeof(*sent));
	size_t count = 0, i;
	int err = 0;

	for (i = 0; i < work->opened; i++)
		if (fds[i] >= 0)
			sent[count++] = (struct sent){fds[i], i};
	qsort(sent, count, sizeof(*sent), by_fd);
	for (i = 0; !err && i < count; i++)
		err = send_hold(work, sent[i].target, sent[i].fd);
	if (err) {
		/* Nothing is said while it is frozen. */
		for (size_t j = 0; j < count; j++)
			close(sent[j].fd);
		complain_errno(work->target[sent[i - 1].target].name, err);
	}
	free(sent);
	return !err;
}

/* Somebody may read the output to its end, whatever becomes of this process. */
static void leave_output(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

void freeze_all(const struct request *request, int socket, int cannot)
{
	struct work work = {.request = request, .socket = socket};
	struct packet done = {.kind = PACKET_DONE, .status = cannot};
	pthread_t thread;
	int *fds;

	the_mounts(); /* from here on both threads only read it */
	if (pthread_create(&thread, NULL, explain, &work))
		complain(request->verb, "cannot tell what a freeze waits for: no thread");
	if (open_targets(&work) && (request->force || !would_wait_for_itself(&work))) {
		work.uuid = array(NULL, work.opened, sizeof(*work.uuid));
		for (size_t i = 0; i < work.opened; i++)
			work.uuid[i] = request->report ? uuid_of(&work.target[i]) : NULL;
		leave_output();
		await_below(&work);
		/* The descriptors of the holds are not those of the other thread, which may wait for ever. */
		unshare(CLONE_FILES);
		fds = array(NULL, work.opened, sizeof(*fds));
		if (!freeze_group(&work, fds) && send_holds(&work, fds))
			done.status = 0;
	}
	send(socket, &done, offsetof(struct packet, strings), MSG_NOSIGNAL);
	/* Until it is killed it has copies, which thaw in order: those in a socket would not. */
	for (;;)
		pause();
}
