/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FREEZEFD_BTRFS_H
#define FREEZEFD_BTRFS_H

/*
 * Before Linux 7.3 nothing in a device leads to the btrfs on it.  The root of a mount
 * of it that this process sees, to be closed; -ENODEV when there is none, -EPERM when
 * one that may be of it cannot be opened.
 */
int btrfs_open(int bdev);

#endif /* FREEZEFD_BTRFS_H */
