// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which superblock is it? st_dev does not tell: every subvolume of btrfs has
 * its own. /proc/self/mountinfo has the superblock's number, s_dev.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <libmount.h>
#include <linux/loop.h>

#include "tool.h"

/* So many filesystems and devices may lie on each other. */
#define MAX_DEPTH 16

/* What mount_of_...() return points into it. */
static struct libmnt_table *table;

void mounts_forget(void)
{
	mnt_unref_table(table);
	table = NULL;
}

static struct libmnt_table *mounts(void)
{
	if (!table) {
		table = mnt_new_table_from_file("/proc/self/mountinfo");
		if (!table) {
			complain("/proc/self/mountinfo", "cannot be read; mount /proc");
			table = mnt_new_table();
			if (!table)
				abort();
		}
	}
	return table;
}

/* In one pass: there may be thousands of mounts, and of devices to ask it for. */
bool mount_of_dev(dev_t dev, struct mount *mount)
{
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	bool found = false;

	for (int order = 0; iter && !found && !mnt_table_next_fs(mounts(), iter, &fs); order++) {
		found = mnt_fs_get_devno(fs) == dev;
		if (found)
			*mount = (struct mount){
				.dev = dev,
				.order = order,
				.dir = mnt_fs_get_target(fs),
				.source = mnt_fs_get_source(fs),
				.fstype = mnt_fs_get_fstype(fs),
			};
	}
	mnt_free_iter(iter);
	return found;
}

/* The library knows the filesystem of a device that it is not named after: btrfs, the log of XFS. */
dev_t dev_of_device(int fd, dev_t device)
{
	struct freezefd_status status;

	if (mnt_table_find_devno(mounts(), device, MNT_ITER_FORWARD) ||
	    freezefd_status(fd, &status) || !status.dev)
		return device;
	return status.dev;
}

static int has_id(struct libmnt_fs *fs, void *id)
{
	return (uint64_t)mnt_fs_get_id(fs) == *(uint64_t *)id;
}

static bool mount_of_path(int fd, const char *path, struct mount *mount)
{
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	struct statx stx;
	dev_t dev;

	if (!iter || statx(fd, path, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx)) {
		mnt_free_iter(iter);
		return false;
	}
	dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	if (stx.stx_mask & STATX_MNT_ID &&
	    !mnt_table_find_next_fs(mounts(), iter, has_id, &stx.stx_mnt_id, &fs))
		dev = mnt_fs_get_devno(fs);
	mnt_free_iter(iter);
	return mount_of_dev(dev, mount); /* the first one, for the order */
}

bool mount_of_file(int fd, struct mount *mount)
{
	return mount_of_path(fd, "", mount);
}

/* The filesystem of the upper layer of an overlay. */
static bool upper_mount(const struct mount *overlay, struct mount *upper)
{
	struct libmnt_fs *fs = mnt_table_find_devno(mounts(), overlay->dev, MNT_ITER_FORWARD);
	char *value, *path;
	size_t len;
	bool found;

	if (!fs || strcmp(overlay->fstype, "overlay") ||
	    mnt_fs_get_option(fs, "upperdir", &value, &len))
		return false;
	path = text("%.*s", (int)len, value);
	found = mount_of_path(AT_FDCWD, path, upper);
	free(path);
	return found;
}

bool mount_written_by(int fd, struct mount *mount)
{
	struct mount upper;

	if (!mount_of_file(fd, mount))
		return false;
	for (int left = MAX_DEPTH; left && upper_mount(mount, &upper); left--)
		*mount = upper;
	return true;
}

char *device_path(dev_t device)
{
	char *path = text("/sys/dev/block/%u:%u", major(device), minor(device));
	char link[512], *name;
	ssize_t len = readlink(path, link, sizeof(link) - 1);

	free(path);
	if (len < 0)
		return NULL;
	link[len] = 0;
	name = strrchr(link, '/');
	path = text("/dev/%s", name ? name + 1 : link);
	while ((name = strchr(path, '!'))) /* for the '/' of cciss/c0d0 */
		*name = '/';
	return path;
}

static int device_depth(dev_t device, int left);

static int mount_depth(const struct mount *mount, int left)
{
	dev_t device = mount->dev;
	struct mount upper;
	struct stat st;

	if (left <= 0)
		return 0;
	if (upper_mount(mount, &upper))
		return mount_depth(&upper, left - 1);
	/* On several devices: the one it was mounted by stands for all. */
	if (!major(device) && mount->source && !strncmp(mount->source, "/dev/", 5) &&
	    !stat(mount->source, &st))
		device = st.st_rdev;
	return device_depth(device, left);
}

/* In a subvolume of btrfs, which has a number of its own: the path tells, if it still leads there. */
static bool mount_of_subvolume(dev_t device, const struct loop_info64 *info, struct mount *mount)
{
	char *path = text("/sys/dev/block/%u:%u/loop/backing_file", major(device), minor(device));
	FILE *file = fopen(path, "re");
	char line[4096];
	struct stat st;
	bool found;

	free(path);
	found = file && fgets(line, sizeof(line), file);
	if (file)
		fclose(file);
	if (!found)
		return false;
	line[strcspn(line, "\n")] = 0;
	return !stat(line, &st) && st.st_dev == info->lo_device && st.st_ino == info->lo_inode &&
	       mount_of_path(AT_FDCWD, line, mount);
}

/* One more than the filesystem that the file behind a loop device is on; 0: no loop device. */
static int backing_depth(dev_t device, int left)
{
	char *path = device_path(device);
	int fd = path ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1, depth = 0;
	struct loop_info64 info;
	struct mount mount;

	if (fd >= 0 && !ioctl(fd, LOOP_GET_STATUS64, &info)) {
		depth = 1;
		if (mount_of_dev(info.lo_device, &mount) ||
		    mount_of_subvolume(device, &info, &mount))
			depth += mount_depth(&mount, left - 1);
	}
	if (fd >= 0)
		close(fd);
	free(path);
	return depth;
}

static int device_depth(dev_t device, int left)
{
	char *base = text("/sys/dev/block/%u:%u/slaves", major(device), minor(device)), *path;
	int deepest = backing_depth(device, left), depth;
	DIR *slaves = opendir(base);
	struct dirent *entry;
	unsigned int maj, min;
	FILE *file;

	while (left > 0 && slaves && (entry = readdir(slaves))) {
		path = text("%s/%s/dev", base, entry->d_name);
		file = *entry->d_name == '.' ? NULL : fopen(path, "re");
		free(path);
		if (!file)
			continue;
		if (fscanf(file, "%u:%u", &maj, &min) == 2) {
			depth = device_depth(makedev(maj, min), left - 1);
			if (depth > deepest)
				deepest = depth;
		}
		fclose(file);
	}
	if (slaves)
		closedir(slaves);
	free(base);
	return deepest;
}

int loop_depth(const struct mount *mount)
{
	return mount_depth(mount, MAX_DEPTH);
}
