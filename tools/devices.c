// SPDX-License-Identifier: GPL-2.0-or-later
/* The filesystems that are in use on the block devices of the machine. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "tool.h"

/* 0: a drive without a medium, an unused loop device. */
static unsigned long long device_size(const char *sysfs)
{
	char *path = text("%s/size", sysfs);
	FILE *file = fopen(path, "re");
	unsigned long long size = 0;

	free(path);
	if (file && fscanf(file, "%llu", &size) != 1)
		size = 0;
	if (file)
		fclose(file);
	return size;
}

/*
 * By device: the way to a mount point may lead through a server that does not answer, and none
 * leads to what was unmounted while frozen.
 */
int device_open(dev_t device)
{
	char *path = device_path(device);
	int fd = path ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	struct mount mount;

	free(path);
	return fd < 0 && mount_of_dev(device, &mount) ? mount_open(&mount) : fd;
}

static bool contains(const dev_t *devs, size_t count, dev_t dev)
{
	for (size_t i = 0; i < count; i++)
		if (devs[i] == dev)
			return true;
	return false;
}

/* Is it the same for each? */
static bool is_general(int err)
{
	return err == -ENOSYS || err == -EPERM || err == -ELIBACC;
}

bool each_filesystem(filesystem_fn *tell, void *arg, bool quiet)
{
	size_t unreadable = 0, nr_seen = 0;
	glob_t devices = {0};
	bool ok = true;
	dev_t *seen;
	int err = 0;

	glob("/sys/dev/block/*", 0, NULL, &devices);
	seen = array(NULL, devices.gl_pathc, sizeof(*seen));
	/* That there is no engine, or none for this user, is said once. */
	for (size_t i = 0; i < devices.gl_pathc && !is_general(err); i++) {
		const char *sysfs = devices.gl_pathv[i];
		struct target target = {.fd = -1};
		struct freezefd_status status;
		unsigned int maj, min;

		if (sscanf(sysfs, "/sys/dev/block/%u:%u", &maj, &min) != 2 || !device_size(sysfs))
			continue;
		target.device = makedev(maj, min);
		target.fd = device_open(target.device);
		if (target.fd < 0) {
			unreadable += errno == EACCES || errno == EPERM;
			continue;
		}
		err = freezefd_status(target.fd, &status);
		if (err && err != -ENODEV && err != -EOPNOTSUPP) {
			if (!quiet)
				complain_errno(err == -ENOSYS || err == -EPERM ? "status" : sysfs,
					       err);
			ok = false;
		}
		if (!err && !contains(seen, nr_seen, status.dev)) {
			seen[nr_seen++] = status.dev;
			target.mounted = mount_of_dev(status.dev, &target.mount);
			target.mount.dev = status.dev;
			tell(arg, &target, &status);
		}
		target_close(&target);
	}
	free(seen);
	globfree(&devices);
	if (unreadable && !quiet)
		complain("/dev", "%zu block device%s could not be asked; become root", unreadable,
			 unreadable == 1 ? "" : "s");
	return ok && !unreadable;
}
