// SPDX-License-Identifier: GPL-2.0-or-later
/* The filesystems that are in use on the block devices of the machine. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "tool.h"

/*
 * By device: the way to a mount point may lead through a server that does not answer, and none
 * leads to what was unmounted while frozen.
 */
int device_open(dev_t device)
{
	char *path = stack_device_path(device);
	int fd = path ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1, err = errno;
	struct mount mount;

	free(path);
	if (fd < 0 && mount_of_dev(device, &mount)) {
		fd = mounts_open(the_mounts(), &mount);
		err = fd < 0 ? -fd : 0;
	}
	errno = err;
	return fd < 0 ? -1 : fd;
}

/* Is it the same for each? */
static bool is_general(int err)
{
	return err == -ENOSYS || err == -EPERM || err == -ELIBACC;
}

static void complain_about(dev_t device, int err, bool quiet)
{
	char *path = stack_device_path(device);

	if (!quiet)
		complain_errno(is_general(err) || !path ? "status" : path, err);
	free(path);
}

/* 0 when it carries a filesystem that has not been told yet. */
static int ask(struct target *target, struct freezefd_status *status, const dev_t *seen,
	       size_t nr_seen)
{
	int err = freezefd_status(target->fd, status);

	if (err)
		return err;
	if (is_among(seen, nr_seen, status->dev))
		return -EALREADY;
	target->mounted = mount_of_dev(status->dev, &target->mount);
	target->mount.dev = status->dev;
	return 0;
}

bool each_filesystem(filesystem_fn *tell, void *arg, bool quiet)
{
	/* Without drives that have no medium and unused loop devices, of which there may be hundreds. */
	FILE *devices = fopen("/proc/partitions", "re");
	size_t unreadable = 0, nr_seen = 0, room = 0;
	struct freezefd_status status;
	unsigned int maj, min;
	dev_t *seen = NULL;
	char *line = NULL;
	bool ok = devices;
	int err = 0;

	if (!devices && !quiet)
		complain("/proc/partitions", "%s; mount /proc", strerror(errno));
	/* That there is no engine, or none for this user, is said once. */
	while (devices && !is_general(err) && getline(&line, &room, devices) > 0) {
		struct target target = {.fd = -1};

		if (sscanf(line, "%u %u", &maj, &min) != 2)
			continue;
		target.device = makedev(maj, min);
		target.fd = device_open(target.device);
		if (target.fd < 0) {
			unreadable += errno == EACCES || errno == EPERM;
			continue;
		}
		err = ask(&target, &status, seen, nr_seen);
		if (!err) {
			seen = array(seen, nr_seen + 1, sizeof(*seen));
			seen[nr_seen++] = status.dev;
			tell(arg, &target, &status);
		} else if (err != -ENODEV && err != -EOPNOTSUPP && err != -EALREADY) {
			complain_about(target.device, err, quiet);
			ok = false;
		}
		target_close(&target);
	}
	free(line);
	free(seen);
	if (devices)
		fclose(devices);
	if (unreadable && !quiet)
		complain("/dev", "%zu block device%s could not be asked; become root", unreadable,
			 unreadable == 1 ? "" : "s");
	return ok && !unreadable;
}
