// SPDX-License-Identifier: GPL-2.0-or-later
/* What was mounted when this program began to look. */
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "tool.h"

static struct mounts *mounts;

void mounts_forget(void)
{
	mounts_free(mounts);
	mounts = NULL;
}

const struct mounts *the_mounts(void)
{
	if (mounts)
		return mounts;
	mounts = mounts_read();
	if (!mounts) {
		complain("/proc/self/mountinfo", "cannot be read; mount /proc");
		exit(EXIT_FAILURE);
	}
	return mounts;
}

bool mount_of_dev(dev_t dev, struct mount *mount)
{
	return mounts_of_dev(the_mounts(), dev, mount);
}

bool mount_of_file(int fd, struct mount *mount)
{
	return mounts_of_file(the_mounts(), fd, "", mount);
}

/* The library knows the filesystem of a device that it is not named after: btrfs, the log of XFS. */
dev_t dev_of_device(int fd, dev_t device)
{
	struct freezefd_status status;
	struct mount mount;

	if (mount_of_dev(device, &mount) || freezefd_status(fd, &status) || !status.dev)
		return device;
	return status.dev;
}

bool is_among(const dev_t *list, size_t count, dev_t dev)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == dev)
			return true;
	return false;
}
