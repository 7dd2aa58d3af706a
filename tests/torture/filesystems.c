// SPDX-License-Identifier: GPL-2.0-or-later
/* What is to be true of a filesystem when nobody holds it, and how it is made, checked and mounted again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/loop.h>

#include "torture.h"

static bool is_thawed(void *arg)
{
	struct freezefd_status status;
	struct fs *fs = arg;
	int device = open(fs->device, O_RDONLY | O_CLOEXEC), error;

	error = device < 0 ? -errno : freezefd_status(device, &status);
	close(device);
	/* What is mounted nowhere may be gone; no device leads to an old kernel's btrfs. */
	if (error)
		return fs->lost || error == -ENODEV || error == -ENXIO;
	return status.state == FREEZE_STATE_THAWED && !status.fd_holds && !status.user_holds &&
	       !status.kernel_holds;
}

void expect_thawed(struct fs *fs, const char *when)
{
	struct freezefd_status status = {0};
	int device;

	if (poll_until(is_thawed, fs))
		return;
	device = open(fs->device, O_RDONLY | O_CLOEXEC);
	freezefd_status(device, &status);
	fail(fs, "not thawed %s: state %u, held by %u descriptors, %u others, the kernel %u", when,
	     status.state, status.fd_holds, status.user_holds, status.kernel_holds);
	freezefd_thaw_force(device);
	close(device);
}

static bool is_mounted(void *arg)
{
	struct fs *fs = arg;

	if (!fs->mounted)
		fs->mounted = !mount(fs->device, fs->dir, fs->type, 0, NULL);
	return fs->mounted;
}

bool is_writable(void *arg)
{
	struct fs *fs = arg;

	return !mount(NULL, fs->dir, NULL, MS_REMOUNT, NULL);
}

void expect_mounted(struct fs *fs)
{
	if (!poll_until(is_mounted, fs))
		fail(fs, "cannot mount it: %m");
}

static bool is_left_alone(void *arg)
{
	struct fs *fs = arg;

	return quiet(&fs->mounts) != NEVER;
}

void undo_fifreeze(struct fs *fs)
{
	struct freezefd_status status;
	int dir;

	if (word_of(&fs->fifreeze).phase == UNHELD || fs->gone)
		return;
	if (!poll_until(is_left_alone, fs))
		fail(fs, "a mount or umount is stuck");
	expect_mounted(fs);
	dir = open_target(fs, false);
	while (!freezefd_status(dir, &status) && status.user_holds && !ioctl(dir, FITHAW, 0))
		;
	close(dir);
}

bool is_free(void *arg)
{
	struct fs *fs = arg;
	int device = open(fs->device, O_RDWR | O_EXCL | O_CLOEXEC);
	const int error = errno;

	close(device);
	return device >= 0 || error == ENXIO || error == ENOENT;
}

bool is_unmounted(void *arg)
{
	struct fs *fs = arg;

	if (fs->mounted && umount2(fs->dir, 0) && errno != EINVAL)
		return false;
	fs->mounted = false;
	return true;
}

static void attach_again(struct fs *fs)
{
	int device, image, power;

	if (fs->null) {
		power = open(fs->null, O_WRONLY | O_CLOEXEC);
		if (pwrite(power, "0", 1, 0) != 1 || pwrite(power, "1", 1, 0) != 1)
			fail(fs, "%s: %m", fs->null);
		close(power);
	}
	if (fs->image) {
		device = open(fs->device, O_RDWR | O_CLOEXEC);
		image = open(fs->image, O_RDWR | O_CLOEXEC);
		ioctl(device, LOOP_SET_FD, image);
		close(image);
		close(device);
	}
}

void make(struct fs *fs)
{
	static const char *const mkfs[][2] = {
		{"ext4", "mkfs.ext4 -q -F -E lazy_itable_init=0 %s 320M"},
		{"xfs", "mkfs.xfs -q -f -d size=320m %s"},
		{"btrfs", "mkfs.btrfs -q -f %s"},
		{"f2fs", "mkfs.f2fs -q -f %s"},
	};
	char command[256] = "false", path[128];

	for (size_t i = 0; i < sizeof(mkfs) / sizeof(*mkfs); i++)
		if (!strcmp(mkfs[i][0], fs->type))
			snprintf(command, sizeof(command), mkfs[i][1], fs->device);
	if (sh("%s >/dev/null", command))
		fail(fs, "cannot make a filesystem on %s", fs->device);
	expect_mounted(fs);
	for (int i = 0; i < WRITERS; i++) {
		int file;

		snprintf(path, sizeof(path), "%s/written-%d", fs->dir, i);
		file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
		if (file < 0 || ftruncate(file, 128 * 1024))
			fail(fs, "%s: %m", path);
		close(file);
	}
}

static void check_clean(struct fs *fs)
{
	static const char *const fsck[][2] = {
		{"ext4", "e2fsck -fn"},
		{"xfs", "xfs_repair -n"},
		{"btrfs", "btrfs check --readonly"},
		{"f2fs", "fsck.f2fs --dry-run"},
	};

	for (size_t i = 0; i < sizeof(fsck) / sizeof(*fsck); i++)
		if (!strcmp(fsck[i][0], fs->type) &&
		    sh("%s %s >" BASE "/fsck 2>&1 || { cat " BASE "/fsck; false; }", fsck[i][1],
		       fs->device))
			fail(fs, "its check finds something");
}

/* A device that was taken away comes back; what was on it does not. */
void renew_fs(struct fs *fs, bool check)
{
	const bool gone = fs->gone, lost = fs->lost;

	if (!poll_until(is_unmounted, fs))
		fail(fs, "cannot unmount it: %m");
	if (!poll_until(is_free, fs))
		fail(fs, "%s is still in use after the umount", fs->device);
	if (gone)
		attach_again(fs);
	fs->gone = fs->lost = false;
	if (check && !lost)
		check_clean(fs);
	if (lost || !below(4))
		make(fs);
	else
		expect_mounted(fs);
}
