// SPDX-License-Identifier: GPL-2.0-or-later
/* C14: read-only, on several devices, several on one device. */
#include "contract.h"

TEST(C14, "a read-only filesystem freezes and reports frozen")
{
	const char *path;
	int fs, bdev, fd;

	make_fs(scratch(0));
	path = mount_fs(scratch(0), "ro", MS_RDONLY, NULL);
	fs = open_dir(path);
	bdev = open_dev(scratch(0));
	check_state(fs, THAWED);

	fd = hold(fs);
	check_hold(fd, HELD);
	check_state(fs, FROZEN);
	check_state(bdev, FROZEN);
	check(status_of(fs).frozen_ns > 0);
	check(mount(NULL, path, NULL, MS_REMOUNT, NULL) == -1 && errno == EBUSY);
	check_eq(freezefd_thaw(fd), 0);
	check_state(fs, THAWED);
	check_eq(freezefd_freeze(fd), 0);
	close(fd);
	wait_state(fs, THAWED);

	fd = hold(bdev);
	check_eq(freezefd_thaw_force(fs), 0);
	check_state(fs, THAWED);
	check_eq(freezefd_thaw(fd), -ECANCELED);

	check(!mount(NULL, path, NULL, MS_REMOUNT, NULL));
	check_writable(fs);
}

TEST(C14, "a read-only filesystem stays when unmounted in a hold")
{
	const char *path;
	int fs, bdev, fd;

	make_fs(scratch(0));
	path = mount_fs(scratch(0), "ro", MS_RDONLY, NULL);
	fs = open_dir(path);
	bdev = open_dev(scratch(0));
	fd = hold(fs);
	close(fs);
	check(!umount2(path, 0));
	check_state(bdev, FROZEN);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	wait_until(try_open_excl(scratch(0)) == 0);
}

/* A filesystem that needs both devices: for its data, or for its log. */
static const char *two_device_fs(const char *a, const char *b)
{
	struct freezefd_status status;
	char data[4200] = "";
	const char *path;

	wait_until(try_open_excl(a) != -EBUSY && try_open_excl(b) != -EBUSY);
	sh("wipefs -qa %s %s", a, b);
	if (!strcmp(fstype(), "btrfs")) {
		sh("mkfs.btrfs -q -f -d raid1 -m raid1 %s %s >/dev/null 2>&1 && "
		   "btrfs device scan %s %s >/dev/null",
		   a, b, a, b);
	} else if (!strcmp(fstype(), "xfs")) {
		sh("mkfs.xfs -q -f -l logdev=%s,size=64m %s", b, a);
		snprintf(data, sizeof(data), "logdev=%s", b);
	} else if (!strcmp(fstype(), "ext4")) {
		sh("mke2fs -q -F -b 4096 -O journal_dev %s >/dev/null && "
		   "mkfs.ext4 -q -F -b 4096 -J device=%s %s",
		   b, b, a);
	} else if (!strcmp(fstype(), "f2fs")) {
		sh("mkfs.f2fs -q -f -c %s %s >/dev/null", b, a);
	} else {
		skip("no filesystem on two devices known for %s", fstype());
	}
	path = mount_fs(a, "two", 0, data);
	if (!strcmp(fstype(), "f2fs") && is_guardian(dir) &&
	    freezefd_status(open_dev(b), &status) == -ENODEV)
		skip("this kernel tells of f2fs's first device only whose it is");
	return path;
}

static void check_frozen_as_one(const int *any, size_t n, int fd)
{
	check_hold(fd, HELD);
	for (size_t i = 0; i < n; i++) {
		check_state(any[i], FROZEN);
		check_eq(status_of(any[i]).fd_holds, 1);
		check_eq(status_of(any[i]).user_holds, 0);
	}
}

TEST(C14, "a filesystem on two devices freezes as one, through either")
{
	const char *a = scratch(0), *b = scratch(1), *path = two_device_fs(a, b);
	int any[] = {open_dir(path), open_dev(a), open_dev(b)};
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(any); i++) {
		pid_t writer;

		fd = hold(any[i]);
		check_frozen_as_one(any, ARRAY_SIZE(any), fd);
		writer = start_writer(any[0]);
		wait_blocked(writer);
		check_eq(freezefd_thaw(fd), 0);
		reap(writer);
		for (size_t k = 0; k < ARRAY_SIZE(any); k++)
			check_state(any[k], THAWED);

		check_eq(freezefd_freeze(fd), 0);
		check_frozen_as_one(any, ARRAY_SIZE(any), fd);
		check_eq(freezefd_thaw_force(any[(i + 1) % ARRAY_SIZE(any)]), 0);
		check_state(any[0], THAWED);
		check_eq(freezefd_thaw(fd), -ECANCELED);
		close(fd);
	}
}

TEST(C14, "both devices stay taken until the thaw of what is unmounted")
{
	const char *a = scratch(0), *b = scratch(1), *path = two_device_fs(a, b);
	int bdev_a = open_dev(a), bdev_b = open_dev(b), fd = hold(bdev_b);

	check(!umount2(path, 0));
	check_state(bdev_a, FROZEN);
	check_state(bdev_b, FROZEN);
	check_eq(try_open_excl(a), -EBUSY);
	check_eq(try_open_excl(b), -EBUSY);
	check_eq(freezefd_thaw(fd), 0);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	wait_until(try_open_excl(a) == 0 && try_open_excl(b) == 0);
}

/* Two EROFS images whose data is on one third device. */
static void share_device(const char *blob, int fs[2])
{
	need_program("mkfs.erofs");
	if (try_sh("grep -qw erofs /proc/filesystems"))
		skip("the kernel has no EROFS");
	if (try_sh("mkfs.erofs --help 2>&1 | grep -q blobdev"))
		skip("mkfs.erofs has no --blobdev");
	check(!mount("images", "/mnt", "tmpfs", 0, NULL));
	check(!mkdir("/mnt/src", 0755));
	sh("dd if=/dev/urandom of=/mnt/src/data bs=64k count=16 status=none");
	for (int i = 0; i < 2; i++) {
		char path[32], data[4200];

		snprintf(path, sizeof(path), "/mnt/%d", i);
		check(!mkdir(path, 0755));
		sh("mkfs.erofs --chunksize=4096 --blobdev=%s -U %08d-1111-2222-3333-444444444444 "
		   "%s /mnt/src >/dev/null 2>&1",
		   blob, i, scratch(i));
		snprintf(data, sizeof(data), "device=%s", blob);
		check(!mount(scratch(i), path, "erofs", MS_RDONLY, data));
		fs[i] = open_dir(path);
	}
}

/* Of EROFS images, which cannot be frozen but by the block layer. */
TEST(C14, "a device that several filesystems share cannot be frozen, and tells when it is")
{
	const char *blob = dm_over(scratch(2));
	struct freezefd_status status;
	int fs[2], bdev;

	share_device(blob, fs);
	bdev = open_dev(blob);
	check_eq(freezefd_status(bdev, &status), -EOPNOTSUPP);
	check_eq(freezefd_open(bdev, NULL), -EOPNOTSUPP);
	/* The block layer freezes both. */
	sh("dmsetup suspend " DM);
	check_state(fs[0], FROZEN);
	check_state(fs[1], FROZEN);
	/* A module cannot find the superblocks by the device: freezefd-module(7). */
	if (!is_module(dir))
		check_state(bdev, FROZEN);
	sh("dmsetup resume " DM);
	check_eq(freezefd_status(bdev, &status), -EOPNOTSUPP);
	check_eq(freezefd_status(fs[0], &status), -EOPNOTSUPP);
}
