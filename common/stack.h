/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What lies on what: mounted filesystems, the block devices under them, the
 * filesystems on which those keep their data in a file.
 *
 * st_dev does not tell a superblock: every subvolume of btrfs has its own. The
 * number used here is s_dev, as in the third field of /proc/self/mountinfo.
 */
#ifndef FREEZEFD_STACK_H
#define FREEZEFD_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What was mounted when it was read. */
struct mounts;

/* One mount: the strings live as long as the struct mounts. */
struct mount {
	dev_t dev; /* the superblock's s_dev */
	const char *dir, *source, *fstype;
};

/* NULL with errno set: there is no /proc, or no memory. */
struct mounts *mounts_read(void);
void mounts_free(struct mounts *mounts);

/* The mounts in the order in which they were made; false after the last. */
bool mounts_at(const struct mounts *mounts, size_t i, struct mount *mount);
/* The first mount of a superblock that is still there. */
bool mounts_of_dev(const struct mounts *mounts, dev_t dev, struct mount *mount);
/* That of the superblock of a file. path may be "" for dirfd itself. */
bool mounts_of_file(const struct mounts *mounts, int dirfd, const char *path, struct mount *mount);
/* Of an overlay: the filesystem that its upper directory is on. */
bool mounts_upper(const struct mounts *mounts, dev_t overlay, struct mount *upper);
/* The directory where it is mounted, open for reading, or a negative errno value. */
int mounts_open(const struct mounts *mounts, const struct mount *mount);

/* "/dev/sda1" by sysfs, NULL when there is no such device. Freed by the caller. */
char *stack_device_path(dev_t device);

/* Something below: a filesystem by its superblock, or a block device. */
typedef void stack_visit(void *arg, bool is_device, dev_t dev);

/*
 * Calls visit, which may be NULL, for everything that lies below a filesystem or a
 * block device. Returns how many filesystems lie on each other below it: what is on
 * something else has a higher number than that.
 */
int stack_below(const struct mounts *mounts, dev_t superblock, stack_visit *visit, void *arg);
int stack_below_device(const struct mounts *mounts, dev_t device, stack_visit *visit, void *arg);

#endif /* FREEZEFD_STACK_H */
