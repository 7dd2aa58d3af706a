// SPDX-License-Identifier: GPL-2.0-or-later
/* C2: status on a block device speaks of the filesystem on it. */
#include <linux/btrfs.h>

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

/* Keeps the lock under which btrfs opens and closes devices busy: reading the superblock takes 10 ms. */
static pid_t start_scanner(const char *device)
{
	struct btrfs_ioctl_vol_args args = {0};
	int control = open_dev("/dev/btrfs-control");
	pid_t pid;

	strncpy(args.name, device, sizeof(args.name) - 1);
	IN_CHILD(pid)
		while (!*shared)
			check(!ioctl(control, BTRFS_IOC_SCAN_DEV, &args));
	return pid;
}

/* Is bdev a device of what is mounted again and again by the name of device, while it is still being unmounted? */
static void mount_while_unmounting(const char *device, int bdev, const char *to_scan)
{
	const char *slow, *path;
	pid_t scanner, pid;
	char name[16];

	slow = dm_over(to_scan);
	dm_become("delay %s 0 10", to_scan);
	path = mount_fs(device, "first", 0, NULL);
	scanner = start_scanner(slow);
	for (int i = 0; i < 20; i++) {
		IN_CHILD(pid)
			check(!umount2(path, 0));
		snprintf(name, sizeof(name), "again%d", i);
		path = mount_fs(device, name, 0, NULL);
		reap(pid);
		check_state(bdev, THAWED);
	}
	*shared = 1;
	reap(scanner);
}

static void need_btrfs_that_waits(void)
{
	if (strcmp(fstype(), "btrfs"))
		skip("only btrfs closes its devices when a new superblock may be there already");
	if (!is_native(dir))
		skip("the kernel's btrfs may leave its devices to the superblock that goes");
}

TEST(C2, "a block device leads to what is mounted while it is still being unmounted")
{
	need_btrfs_that_waits();
	make_fs(scratch(0));
	make_fs(scratch(1));
	mount_while_unmounting(scratch(0), open_dev(scratch(0)), scratch(1));
}

TEST(C2, "a seed device leads to what is mounted while it is still being unmounted")
{
	const char *seed = null_disk(0), *path;

	need_btrfs_that_waits();
	need_program("btrfstune");
	make_fs(seed);
	sh("btrfstune -S 1 %s", seed);
	path = mount_fs(seed, "seed", MS_RDONLY, NULL);
	sh("btrfs device add -f %s %s >/dev/null && mount -o remount,rw %s", scratch(0), path,
	   path);
	check(!umount2(path, 0));
	make_fs(scratch(1));
	mount_while_unmounting(scratch(0), open_dev(seed), scratch(1));
}
