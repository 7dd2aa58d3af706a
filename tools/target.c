// SPDX-License-Identifier: GPL-2.0-or-later
/* What a user names: a path, a block device, UUID=... */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <libmount.h>

#include "tool.h"

static const char *const tags[] = {"UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="};

static bool is_tag(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++)
		if (!strncmp(name, tags[i], strlen(tags[i])))
			return true;
	return false;
}

bool target_open(struct target *target, const char *name)
{
	const char *path = name;
	char *resolved = NULL;
	struct stat st;

	*target = (struct target){.name = name, .fd = -1};
	if (is_tag(name)) {
		path = resolved = mnt_resolve_spec(name, NULL);
		if (!path || *path != '/') {
			complain(name, "no such device; 'blkid' lists them");
			goto out;
		}
	}
	/* Only then is it opened: opening a watchdog or a tape does things. */
	if (stat(path, &st)) {
		complain_errno(name, -errno);
		goto out;
	}
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISBLK(st.st_mode)) {
		complain(name, "not a file, directory or block device; name the mount point");
		goto out;
	}
	target->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (target->fd < 0 || fstat(target->fd, &st)) {
		complain_errno(name, -errno);
		target_close(target);
		goto out;
	}
	if (S_ISBLK(st.st_mode)) {
		target->device = st.st_rdev;
		st.st_dev = dev_of_device(target->fd, st.st_rdev);
		target->mounted = mount_of_dev(st.st_dev, &target->mount);
	} else {
		target->mounted = mount_of_file(target->fd, &target->mount);
	}
	if (!target->mounted)
		target->mount.dev = st.st_dev;
out:
	free(resolved);
	return target->fd >= 0;
}

int target_file(const struct target *target)
{
	if (!target->device)
		return fcntl(target->fd, F_DUPFD_CLOEXEC, 0);
	return target->mounted ? mounts_open(the_mounts(), &target->mount) : -ENOENT;
}

dev_t target_device(const struct target *target)
{
	struct stat st;

	if (target->device)
		return target->device;
	if (major(target->mount.dev))
		return target->mount.dev;
	if (target->mounted && target->mount.source && !strncmp(target->mount.source, "/dev/", 5) &&
	    !stat(target->mount.source, &st) && S_ISBLK(st.st_mode))
		return st.st_rdev;
	return 0;
}

bool target_among(const struct target *list, size_t count, const struct target *target)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].mount.dev == target->mount.dev ||
		    (target->device && list[i].device == target->device))
			return true;
	return !count;
}

void target_close(struct target *target)
{
	if (target->fd >= 0)
		close(target->fd);
	target->fd = -1;
}
