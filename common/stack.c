// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <libmount.h>
#include <linux/loop.h>
#include <linux/major.h>

#include "device.h"
#include "stack.h"

/* A device of a btrfs, and which btrfs. */
struct member {
	dev_t device;
	unsigned int group;
};

struct mounts {
	struct libmnt_table *table;
	size_t count, nr_members;
	struct entry {
		uint64_t key; /* s_dev, or the number of the mount */
		size_t order;
		struct libmnt_fs *fs;
	} * by_dev, *by_id;
	struct libmnt_fs **all;
	struct member *member; /* those of one btrfs after each other */
};

static int by_key(const void *a, const void *b)
{
	const struct entry *one = a, *two = b;

	if (one->key != two->key)
		return one->key > two->key ? 1 : -1;
	return one->order > two->order ? 1 : -1;
}

/* "MAJ:MIN" of a file in sysfs; 0 when it has none. */
static dev_t read_dev(int dirfd, const char *path)
{
	unsigned int maj, min;
	char line[32] = "";
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (read(fd, line, sizeof(line) - 1) <= 0)
		*line = 0;
	close(fd);
	return sscanf(line, "%u:%u", &maj, &min) == 2 ? makedev(maj, min) : 0;
}

static bool add_member(struct mounts *mounts, dev_t device, unsigned int group)
{
	void *more = reallocarray(mounts->member, mounts->nr_members + 1, sizeof(struct member));

	if (!more)
		return false;
	mounts->member = more;
	mounts->member[mounts->nr_members++] = (struct member){device, group};
	return true;
}

/* Only sysfs names the devices of a btrfs; mountinfo has one of them. */
static bool read_members(struct mounts *mounts)
{
	DIR *all = opendir("/sys/fs/btrfs"), *one;
	struct dirent *fs, *entry;
	bool ok = true;
	char path[600];

	for (unsigned int group = 0; ok && all && (fs = readdir(all)); group++) {
		snprintf(path, sizeof(path), "/sys/fs/btrfs/%s/devices", fs->d_name);
		one = *fs->d_name == '.' ? NULL : opendir(path);
		while (ok && one && (entry = readdir(one))) {
			dev_t device;

			snprintf(path, sizeof(path), "%s/dev", entry->d_name);
			device = *entry->d_name == '.' ? 0 : read_dev(dirfd(one), path);
			if (device)
				ok = add_member(mounts, device, group);
		}
		if (one)
			closedir(one);
	}
	if (all)
		closedir(all);
	return ok;
}

static bool read_table(struct mounts *mounts)
{
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	size_t size;

	mounts->table = mnt_new_table_from_file("/proc/self/mountinfo");
	if (!iter || !mounts->table) {
		mnt_free_iter(iter);
		return false;
	}
	size = (size_t)mnt_table_get_nents(mounts->table) + 1;
	mounts->all = calloc(size, sizeof(fs));
	mounts->by_dev = calloc(2 * size, sizeof(struct entry));
	if (mounts->all && mounts->by_dev) {
		mounts->by_id = mounts->by_dev + size;
		for (size_t i = 0; !mnt_table_next_fs(mounts->table, iter, &fs); i++) {
			mounts->all[i] = fs;
			mounts->by_dev[i] = (struct entry){mnt_fs_get_devno(fs), i, fs};
			mounts->by_id[i] = (struct entry){(uint64_t)mnt_fs_get_id(fs), i, fs};
			mounts->count++;
		}
		qsort(mounts->by_dev, mounts->count, sizeof(struct entry), by_key);
		qsort(mounts->by_id, mounts->count, sizeof(struct entry), by_key);
	}
	mnt_free_iter(iter);
	return mounts->by_id;
}

struct mounts *mounts_read(void)
{
	struct mounts *mounts = calloc(1, sizeof(*mounts));

	if (mounts && read_table(mounts) && read_members(mounts))
		return mounts;
	mounts_free(mounts);
	return NULL;
}

void mounts_free(struct mounts *mounts)
{
	if (!mounts)
		return;
	mnt_unref_table(mounts->table);
	free(mounts->all);
	free(mounts->by_dev);
	free(mounts->member);
	free(mounts);
}

static bool describe(struct libmnt_fs *fs, struct mount *mount)
{
	*mount = (struct mount){
		.dev = mnt_fs_get_devno(fs),
		.dir = mnt_fs_get_target(fs),
		.source = mnt_fs_get_source(fs),
		.fstype = mnt_fs_get_fstype(fs),
	};
	return true;
}

bool mounts_at(const struct mounts *mounts, size_t i, struct mount *mount)
{
	return i < mounts->count && describe(mounts->all[i], mount);
}

/* The first one of that key. */
static struct libmnt_fs *find(const struct entry *entry, size_t count, uint64_t key)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (entry[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && entry[low].key == key ? entry[low].fs : NULL;
}

static struct libmnt_fs *first_of_dev(const struct mounts *mounts, dev_t dev)
{
	return find(mounts->by_dev, mounts->count, dev);
}

bool mounts_of_dev(const struct mounts *mounts, dev_t dev, struct mount *mount)
{
	struct libmnt_fs *fs = first_of_dev(mounts, dev);

	return fs && describe(fs, mount);
}

bool mounts_of_file(const struct mounts *mounts, int dirfd, const char *path, struct mount *mount)
{
	struct libmnt_fs *fs = NULL;
	struct statx stx;

	if (statx(dirfd, path, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx))
		return false;
	if (stx.stx_mask & STATX_MNT_ID)
		fs = find(mounts->by_id, mounts->count, stx.stx_mnt_id);
	return mounts_of_dev(
		mounts, fs ? mnt_fs_get_devno(fs) : makedev(stx.stx_dev_major, stx.stx_dev_minor),
		mount);
}

bool mounts_upper(const struct mounts *mounts, dev_t overlay, struct mount *upper)
{
	struct libmnt_fs *fs = first_of_dev(mounts, overlay);
	char *value, *path;
	size_t len;
	bool found;

	if (!fs || strcmp(mnt_fs_get_fstype(fs), "overlay") != 0 ||
	    mnt_fs_get_option(fs, "upperdir", &value, &len) || !value)
		return false;
	path = strndup(value, len);
	found = path && mounts_of_file(mounts, AT_FDCWD, path, upper);
	free(path);
	return found;
}

int mounts_open(const struct mounts *mounts, const struct mount *mount)
{
	int fd = open(mount->dir, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct mount found;

	if (fd < 0)
		return -errno;
	if (mounts_of_file(mounts, fd, "", &found) && found.dev == mount->dev)
		return fd;
	close(fd); /* something else is mounted over it */
	return -ENOENT;
}

char *stack_device_path(dev_t device)
{
	char name[256], *path, *slash;

	if (!device_name(device, name, sizeof(name)) || asprintf(&path, "/dev/%s", name) < 0)
		return NULL;
	while ((slash = strchr(path, '!'))) /* for the '/' of cciss/c0d0 */
		*slash = '/';
	return path;
}

/* --- what is below --- */

struct walk {
	const struct mounts *mounts;
	stack_visit *visit;
	void *arg;
	size_t count;
	/* Each once: several ways may lead to it, and a loop in what sysfs says must not be one of ours. */
	struct below {
		bool is_device;
		dev_t dev;
		int depth;
	} * seen;
};

static int below_device(struct walk *walk, dev_t device);

static int filesystem(struct walk *walk, dev_t superblock);

static int more(int one, int two)
{
	return one > two ? one : two;
}

static int enter(struct walk *walk, bool is_device, dev_t dev)
{
	const size_t at = walk->count;
	void *seen;
	int depth;

	for (size_t i = 0; i < at; i++)
		if (walk->seen[i].is_device == is_device && walk->seen[i].dev == dev)
			return walk->seen[i].depth;
	seen = reallocarray(walk->seen, at + 1, sizeof(*walk->seen));
	if (!seen)
		return 0;
	walk->seen = seen;
	walk->seen[walk->count++] = (struct below){is_device, dev, 0};
	if (walk->visit)
		walk->visit(walk->arg, is_device, dev);
	depth = is_device ? below_device(walk, dev) : 1 + filesystem(walk, dev);
	walk->seen[at].depth = depth;
	return depth;
}

static int enter_device(struct walk *walk, dev_t device)
{
	return enter(walk, true, device);
}

static int enter_filesystem(struct walk *walk, const struct mount *mount)
{
	return enter(walk, false, mount->dev);
}

/* A device that an option of the mount names, such as the log of XFS. */
static int option_device(struct walk *walk, struct libmnt_fs *fs, const char *name)
{
	struct stat st;
	char *value, *path;
	size_t len;
	int depth = 0;

	if (mnt_fs_get_option(fs, name, &value, &len) || !value)
		return 0;
	path = strndup(value, len);
	if (path && !stat(path, &st) && S_ISBLK(st.st_mode))
		depth = enter_device(walk, st.st_rdev);
	free(path);
	return depth;
}

/* All devices of the btrfs that has this one; the device alone when it has none. */
static int member_devices(struct walk *walk, dev_t device)
{
	const struct mounts *mounts = walk->mounts;
	int depth = 0;
	size_t i = 0;

	while (i < mounts->nr_members && mounts->member[i].device != device)
		i++;
	if (i == mounts->nr_members)
		return enter_device(walk, device);
	while (i && mounts->member[i - 1].group == mounts->member[i].group)
		i--;
	for (size_t first = i;
	     i < mounts->nr_members && mounts->member[i].group == mounts->member[first].group; i++)
		depth = more(depth, enter_device(walk, mounts->member[i].device));
	return depth;
}

static int filesystem(struct walk *walk, dev_t superblock)
{
	struct libmnt_fs *fs = first_of_dev(walk->mounts, superblock);
	const char *source = fs ? mnt_fs_get_source(fs) : NULL;
	struct mount upper;
	struct stat st;
	int depth = 0;

	if (mounts_upper(walk->mounts, superblock, &upper))
		return enter_filesystem(walk, &upper);
	if (major(superblock))
		depth = enter_device(walk, superblock);
	else if (source && *source == '/' && !stat(source, &st) && S_ISBLK(st.st_mode))
		depth = member_devices(walk, st.st_rdev);
	if (fs) {
		depth = more(depth, option_device(walk, fs, "logdev"));
		depth = more(depth, option_device(walk, fs, "rtdev"));
	}
	return depth;
}

/*
 * By the path of the file: in a subvolume of btrfs, which has a number of its own, or when the device cannot be asked. If
 * it still leads there, as far as the device has told.
 */
static bool path_of_loop(struct walk *walk, dev_t device, const struct loop_info64 *info,
			 struct mount *mount)
{
	char path[64], line[4096];
	struct stat st;
	FILE *file;
	bool found;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/loop/backing_file", major(device),
		 minor(device));
	file = fopen(path, "re");
	found = file && fgets(line, sizeof(line), file);
	if (file)
		fclose(file);
	if (!found)
		return false;
	line[strcspn(line, "\n")] = 0;
	if (info &&
	    (stat(line, &st) || st.st_dev != info->lo_device || st.st_ino != info->lo_inode))
		return false;
	return mounts_of_file(walk->mounts, AT_FDCWD, line, mount);
}

/* The filesystem that has the file behind a loop device. */
static int below_loop(struct walk *walk, dev_t device)
{
	char *path = stack_device_path(device);
	int fd = path ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1, depth = 0;
	struct loop_info64 info;
	const bool told = fd >= 0 && !ioctl(fd, LOOP_GET_STATUS64, &info);
	struct mount mount;

	if (told)
		depth = 1;
	if ((told && mounts_of_dev(walk->mounts, info.lo_device, &mount)) ||
	    path_of_loop(walk, device, told ? &info : NULL, &mount))
		depth = enter_filesystem(walk, &mount);
	if (fd >= 0)
		close(fd);
	free(path);
	return depth;
}

/* sysfs names what device-mapper, md, multipath and bcache are made of, and the disk of a partition. */
static int below_device(struct walk *walk, dev_t device)
{
	char path[300];
	struct dirent *entry;
	DIR *slaves;
	dev_t below;
	int depth = 0;

	if (major(device) == LOOP_MAJOR)
		depth = below_loop(walk, device);
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(device),
		 minor(device));
	if (!access(path, F_OK)) {
		strcpy(strrchr(path, '/'), "/../dev");
		below = read_dev(AT_FDCWD, path);
		if (below)
			depth = more(depth, enter_device(walk, below));
	}
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/slaves", major(device), minor(device));
	slaves = opendir(path);
	while (slaves && (entry = readdir(slaves))) {
		if (*entry->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "%s/dev", entry->d_name);
		below = read_dev(dirfd(slaves), path);
		if (below)
			depth = more(depth, enter_device(walk, below));
	}
	if (slaves)
		closedir(slaves);
	return depth;
}

int stack_below(const struct mounts *mounts, dev_t superblock, stack_visit *visit, void *arg)
{
	struct walk walk = {mounts, visit, arg};
	const int depth = filesystem(&walk, superblock);

	free(walk.seen);
	return depth;
}

int stack_below_device(const struct mounts *mounts, dev_t device, stack_visit *visit, void *arg)
{
	struct walk walk = {mounts, visit, arg};
	const int depth = enter_device(&walk, device);

	free(walk.seen);
	return depth;
}
