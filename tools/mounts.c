// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which superblock is it? st_dev does not tell: every subvolume of btrfs has
 * its own. /proc/self/mountinfo has the superblock's number, s_dev.
 */
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <libmount.h>

#include "tool.h"

/* The table lives as long as the process: what mount_of_...() return points into it. */
static struct libmnt_table *mounts(void)
{
	static struct libmnt_table *table;

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

static void describe(struct libmnt_fs *fs, int order, struct mount *mount)
{
	mount->dev = mnt_fs_get_devno(fs);
	mount->order = order;
	mount->dir = mnt_fs_get_target(fs);
	mount->source = mnt_fs_get_source(fs);
	mount->fstype = mnt_fs_get_fstype(fs);
}

/* The first mount that test() likes. */
static bool find(bool (*test)(struct libmnt_fs *fs, uint64_t key), uint64_t key,
		 struct mount *mount)
{
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	bool found = false;

	for (int i = 0; !found && iter && !mnt_table_next_fs(mounts(), iter, &fs); i++) {
		found = test(fs, key);
		if (found)
			describe(fs, i, mount);
	}
	mnt_free_iter(iter);
	return found;
}

static bool has_dev(struct libmnt_fs *fs, uint64_t dev)
{
	return mnt_fs_get_devno(fs) == dev;
}

static bool has_id(struct libmnt_fs *fs, uint64_t id)
{
	return (uint64_t)mnt_fs_get_id(fs) == id;
}

static bool is_device(const char *path, dev_t device)
{
	struct stat st;

	return path && !strncmp(path, "/dev/", 5) && !stat(path, &st) && S_ISBLK(st.st_mode) &&
	       st.st_rdev == device;
}

/* For a filesystem on several devices, whose number is not one of them. */
static bool has_source(struct libmnt_fs *fs, uint64_t device)
{
	return major(mnt_fs_get_devno(fs)) == 0 && is_device(mnt_fs_get_source(fs), device);
}

/* The mount options name it. */
static bool xfs_has_device(struct libmnt_fs *fs, dev_t device)
{
	static const char *const options[] = {"logdev", "rtdev"};
	bool found = false;
	char *value, *path;
	size_t len;

	for (size_t i = 0; !found && i < ARRAY_SIZE(options); i++) {
		if (mnt_fs_get_option(fs, options[i], &value, &len))
			continue;
		path = text("%.*s", (int)len, value);
		found = is_device(path, device);
		free(path);
	}
	return found;
}

/* In the directory of sysfs that has the device it is named after. */
static bool btrfs_has_device(struct libmnt_fs *fs, dev_t device)
{
	const char *source = mnt_fs_get_source(fs);
	char *one, *other, *pattern, *path;
	bool found = false;
	glob_t devices;
	struct stat st;

	if (!source || stat(source, &st))
		return false;
	one = device_path(st.st_rdev);
	other = device_path(device);
	if (one && other) {
		pattern = text("/sys/fs/btrfs/*/devices/%s", strrchr(one, '/') + 1);
		if (!glob(pattern, GLOB_NOSORT, NULL, &devices)) {
			*strrchr(devices.gl_pathv[0], '/') = 0;
			path = text("%s/%s", devices.gl_pathv[0], strrchr(other, '/') + 1);
			found = !access(path, F_OK);
			free(path);
			globfree(&devices);
		}
		free(pattern);
	}
	free(one);
	free(other);
	return found;
}

/* Not the device that it is named after: another one of btrfs, the log of XFS. */
static bool has_device(struct libmnt_fs *fs, uint64_t device)
{
	const char *type = mnt_fs_get_fstype(fs);

	if (type && !strcmp(type, "xfs"))
		return xfs_has_device(fs, device);
	return type && !strcmp(type, "btrfs") && btrfs_has_device(fs, device);
}

bool mount_of_dev(dev_t dev, struct mount *mount)
{
	return find(has_dev, dev, mount);
}

bool mount_of_device(dev_t device, struct mount *mount)
{
	return find(has_dev, device, mount) || find(has_source, device, mount) ||
	       find(has_device, device, mount);
}

static bool mount_of_path(int fd, const char *path, struct mount *mount)
{
	struct statx stx;

	if (statx(fd, path, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx))
		return false;
	if (stx.stx_mask & STATX_MNT_ID && find(has_id, stx.stx_mnt_id, mount))
		return mount_of_dev(mount->dev, mount); /* the first one, for the order */
	return mount_of_dev(makedev(stx.stx_dev_major, stx.stx_dev_minor), mount);
}

bool mount_of_file(int fd, struct mount *mount)
{
	return mount_of_path(fd, "", mount);
}

/* A network or FUSE server that does not answer would make us wait. */
static bool is_local(struct libmnt_fs *fs)
{
	const char *type = mnt_fs_get_fstype(fs);

	return type && !mnt_fs_is_pseudofs(fs) && !mnt_fs_is_netfs(fs) && strncmp(type, "fuse", 4);
}

bool next_mount(size_t *index, struct mount *mount)
{
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct mount first;
	struct libmnt_fs *fs;
	bool found = false;

	for (size_t i = 0; !found && iter && !mnt_table_next_fs(mounts(), iter, &fs); i++) {
		if (i < *index || !is_local(fs))
			continue;
		describe(fs, (int)i, mount);
		found = mount_of_dev(mount->dev, &first) && first.order == mount->order;
		*index = i + 1;
	}
	mnt_free_iter(iter);
	return found;
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

static int device_depth(const char *sysfs, int left);

static int mount_depth(const struct mount *mount, int left)
{
	dev_t device = mount->dev;
	struct stat st;
	char *sysfs;
	int depth;

	/* On several devices: the one it was mounted by stands for all. */
	if (!major(device) && mount->source && !strncmp(mount->source, "/dev/", 5) &&
	    !stat(mount->source, &st))
		device = st.st_rdev;
	sysfs = text("/sys/dev/block/%u:%u", major(device), minor(device));
	depth = device_depth(sysfs, left);
	free(sysfs);
	return depth;
}

/* One more than the filesystem that the file behind a loop device is on; 0: no loop device. */
static int backing_depth(const char *sysfs, const char *attribute, int left)
{
	char *path = text("%s/%s", sysfs, attribute), line[4096];
	FILE *file = fopen(path, "re");
	struct mount mount;
	int depth = 0;

	free(path);
	if (!file)
		return 0;
	if (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		depth = 1;
		if (mount_of_path(AT_FDCWD, line, &mount))
			depth += mount_depth(&mount, left - 1);
	}
	fclose(file);
	return depth;
}

static int device_depth(const char *sysfs, int left)
{
	struct dirent *entry;
	int depth, deepest;
	char *path;
	DIR *slaves;

	if (left <= 0)
		return 0;
	deepest = backing_depth(sysfs, "loop/backing_file", left);
	if (!deepest) /* a partition of one */
		deepest = backing_depth(sysfs, "../loop/backing_file", left);

	path = text("%s/slaves", sysfs);
	slaves = opendir(path);
	free(path);
	while (slaves && (entry = readdir(slaves))) {
		if (entry->d_name[0] == '.')
			continue;
		path = text("%s/slaves/%s", sysfs, entry->d_name);
		depth = device_depth(path, left - 1);
		free(path);
		if (depth > deepest)
			deepest = depth;
	}
	if (slaves)
		closedir(slaves);
	return deepest;
}

int loop_depth(const struct mount *mount)
{
	return mount_depth(mount, 16);
}
