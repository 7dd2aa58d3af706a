// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/btrfs.h>

#include "../../common/device.h"
#include "btrfs.h"

#define SYSFS "/sys/fs/btrfs"

/* sysfs lists the devices of each btrfs that is in use by its UUID. */
static bool find_uuid(int bdev, char uuid[BTRFS_UUID_UNPARSED_SIZE])
{
	char name[256], path[768];
	struct dirent *entry;
	bool found = false;
	struct stat st;
	DIR *all;

	if (fstat(bdev, &st) || !S_ISBLK(st.st_mode) ||
	    !device_name(st.st_rdev, name, sizeof(name)))
		return false;
	all = opendir(SYSFS);
	while (!found && all && (entry = readdir(all))) {
		snprintf(path, sizeof(path), SYSFS "/%s/devices/%s", entry->d_name, name);
		found = strlen(entry->d_name) == BTRFS_UUID_UNPARSED_SIZE - 1 &&
			!access(path, F_OK);
		if (found)
			strcpy(uuid, entry->d_name);
	}
	if (all)
		closedir(all);
	return found;
}

static bool has_uuid(int fd, const char *uuid)
{
	char text[BTRFS_UUID_UNPARSED_SIZE], *end = text;
	struct btrfs_ioctl_fs_info_args info = {0};

	if (ioctl(fd, BTRFS_IOC_FS_INFO, &info))
		return false;
	for (int i = 0; i < BTRFS_FSID_SIZE; i++)
		end += sprintf(end, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
			       info.fsid[i]);
	return !strcmp(text, uuid);
}

int btrfs_open(int bdev)
{
	char uuid[BTRFS_UUID_UNPARSED_SIZE], buffer[8192];
	int fd = -1, error = -ENODEV;
	struct mntent mount;
	FILE *mounts;

	if (!find_uuid(bdev, uuid))
		return error;
	mounts = setmntent("/proc/self/mounts", "re");
	while (mounts && fd < 0 && getmntent_r(mounts, &mount, buffer, sizeof(buffer))) {
		if (strcmp(mount.mnt_type, "btrfs"))
			continue;
		fd = open(mount.mnt_dir, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (fd < 0 && errno == EACCES)
			error = -EPERM;
		if (fd >= 0 && !has_uuid(fd, uuid)) {
			close(fd);
			fd = -1;
		}
	}
	if (mounts)
		endmntent(mounts);
	return fd < 0 ? error : fd;
}
