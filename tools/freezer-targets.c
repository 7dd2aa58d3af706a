// SPDX-License-Identifier: GPL-2.0-or-later
/* What is to be frozen: the targets opened, those left out that cannot be, and what would wait for itself. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <endian.h>

#include "freezer.h"

/* So many overlays may lie on each other; one that is mounted over its own layers has no end. */
#define MAX_OVERLAYS 32

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

bool freezer_open_targets(struct work *work)
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

bool freezer_would_wait(const struct work *work)
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
