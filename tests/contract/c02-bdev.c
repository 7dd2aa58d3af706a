// SPDX-License-Identifier: GPL-2.0-or-later
/* C2: status on a block device speaks of the filesystem on it. */
#include "contract.h"

TEST(C2, "a block device tells the state of the mounted filesystem")
{
	struct freezefd_status by_dir, by_dev;
	int fd;

	check_state(dev, THAWED);
	fd = hold(dir);
	by_dir = status_of(dir);
	by_dev = status_of(dev);
	check_eq(by_dev.state, FREEZE_STATE_FROZEN);
	check_eq(by_dev.hold, FREEZEFD_HOLD_NONE);
	check_eq(by_dev.fd_holds, by_dir.fd_holds);
	check_eq(by_dev.user_holds, by_dir.user_holds);
	check_eq(by_dev.kernel_holds, by_dir.kernel_holds);
	check(by_dev.frozen_ns >= by_dir.frozen_ns);
	check_eq(freezefd_thaw(fd), 0);
	check_state(dev, THAWED);
}

TEST(C2, "a block device freezes the filesystem on it, not the one of its node")
{
	struct freezefd_status status;
	int devtmpfs = open_dir("/dev"), fd = hold(dev);
	pid_t writer, other;

	check_state(dir, FROZEN);
	check_state(dev, FROZEN);
	check_eq(freezefd_status(devtmpfs, &status), -EOPNOTSUPP);
	writer = start_writer(dir);
	wait_blocked(writer);
	other = start_writer(devtmpfs);
	reap(other);
	check_eq(freezefd_thaw(fd), 0);
	reap(writer);
	check_state(dev, THAWED);
}

TEST(C2, "a block device tells of an unmounted frozen filesystem")
{
	const char *path = scratch_fs(0);
	int bdev = open_dev(scratch(0)), fd = hold(bdev);

	check(!umount2(path, 0));
	check_state(bdev, FROZEN);
	check_eq(status_of(bdev).fd_holds, 1);
	check(status_of(bdev).frozen_ns > 0);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C2, "a block device without a filesystem is ENODEV")
{
	struct freezefd_status status;
	int bdev;

	sh("wipefs -qa %s", scratch(0));
	bdev = open_dev(scratch(0));
	check_eq(freezefd_status(bdev, &status), -ENODEV);
	check_eq(freezefd_open(bdev, NULL), -ENODEV);
	check_eq(freezefd_thaw_force(bdev), -ENODEV);
}

TEST(C2, "a block device whose filesystem was unmounted is ENODEV")
{
	struct freezefd_status status;
	const char *path = scratch_fs(0);
	int bdev = open_dev(scratch(0));

	check_state(bdev, THAWED);
	check(!umount2(path, 0));
	check_eq(freezefd_status(bdev, &status), -ENODEV);
	check_eq(freezefd_open(bdev, NULL), -ENODEV);
	check_eq(freezefd_thaw_force(bdev), -ENODEV);
}
