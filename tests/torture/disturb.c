// SPDX-License-Identifier: GPL-2.0-or-later
/* What others do to a filesystem: administrators, maintenance, and those who write. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include <linux/btrfs.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <linux/loop.h>

#include "torture.h"

const char *const kinds[] = {"force",	"fifreeze", "suspend", "sysrq", "mounts",
			     "remount", "resize",   "trim",    "scrub", "balance",
			     "removal", "detach",   "memory",  "io"};
uint32_t wanted;

/* On an engine that has one hold for all, what drops any drops those of descriptors. */
static bool breaks_all(void)
{
	return guardian || one_hold;
}

static void begin_user(struct fs *fs)
{
	span_begin(&fs->user);
	if (breaks_all())
		span_begin(&fs->breaks);
}

static void end_user(struct fs *fs)
{
	span_end(&fs->user);
	if (breaks_all())
		span_end(&fs->breaks);
}

/*
 * Linux 6.8 to 6.12 count the freeze of a device that is resumed within a FIFREEZE for ever, and then do
 * not mount it any more: bdev_thaw() in block/bdev.c. Only the series keeps them apart.
 */
static bool take_turn(struct fs *fs)
{
	return native || !atomic_exchange(&fs->turn, true);
}

/* ---- FIFREEZE and FITHAW ---- */

static void check_user_freeze(struct call *call, int error)
{
	if (certain(call) && native && call->before.phase == UNHELD && error &&
	    !may_fail(call, error))
		fail(call->fs, "FIFREEZE: %s", strerror(-error));
}

static void check_user_thaw(struct call *call, int error)
{
	struct hold *hold = call->hold;
	const bool held = call->before.phase == HELD && still(&call->fs->breaks, hold->breaks) &&
			  still(&call->fs->mounts, hold->mounts);

	if (!certain(call) || !native)
		return;
	if (held && error)
		fail(call->fs, "FITHAW of a hold of FIFREEZE: %s", strerror(-error));
	if (call->before.phase == UNHELD && error != -EINVAL)
		fail(call->fs, "FITHAW without a hold of FIFREEZE: %s",
		     error ? strerror(-error) : "0");
}

/* A call of who has no descriptor, and so no deadline. */
static void begin_stranger(struct call *call, struct fs *fs, struct hold *hold)
{
	begin(hold, &call->before);
	begin_user(fs);
	begin_call(call, fs, hold);
	hold->timeout = 1000 * SEC;
}

static void user_freeze_or_thaw(struct fs *fs)
{
	const bool thaw = word_of(&fs->fifreeze).phase == HELD || !below(8);
	struct hold *hold = &fs->fifreeze;
	struct call call;
	int target, error;

	if (!take_turn(fs))
		return;
	target = open_target(fs, false);
	if (target < 0) {
		fs->turn = false;
		return;
	}
	begin_stranger(&call, fs, hold);
	error = ioctl(target, thaw ? FITHAW : FIFREEZE, 0) ? -errno : 0;
	if (!thaw && !error)
		granted(&call);
	end_user(fs);
	close(target);
	fs->turn = false;
	end_call(&call, thaw ? UNHELD : error ? call.before.phase : HELD);
	trail(thaw ? "FITHAW" : "FIFREEZE", fs, hold, error);
	if (thaw)
		check_user_thaw(&call, error);
	else
		check_user_freeze(&call, error);
}

/* ---- The device ---- */

static int dm_command(const char *name, unsigned int command, uint32_t flags)
{
	struct dm_ioctl dm = {
		.version = {DM_VERSION_MAJOR}, .data_size = sizeof(dm), .flags = flags};
	int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC), error;

	snprintf(dm.name, sizeof(dm.name), "%s", name);
	error = ioctl(control, command, &dm) ? -errno : 0;
	close(control);
	return error;
}

/* Resumed by the same one, always: what the thaw of a hold writes waits for that. */
static void suspend(struct fs *fs)
{
	/* The hold of a guardian is such a FIFREEZE, see take_turn(). */
	const bool may_lock = !guardian || kernel_before(6, 8) || !kernel_before(6, 13),
		   lock_fs = below(3) && may_lock;
	struct hold *hold = &fs->bdev;
	struct call call;
	int error;

	if (!fs->dm || !take_turn(fs))
		return;
	if (!native && word_of(&fs->fifreeze).phase != UNHELD) {
		fs->turn = false;
		return;
	}
	begin_stranger(&call, fs, hold);
	error = dm_command(fs->dm, DM_DEV_SUSPEND,
			   DM_SUSPEND_FLAG | (lock_fs ? 0 : DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG));
	if (!error)
		granted(&call);
	end_user(fs);
	end_call(&call, !error && lock_fs ? HELD : UNHELD);
	trail(lock_fs ? "suspend" : "stall", fs, NULL, error);
	if (error && native && certain(&call) && !may_fail(&call, error))
		fail(fs, "suspend: %s", strerror(-error));
	doze(300000);

	begin(hold, &call.before);
	begin_user(fs);
	error = dm_command(fs->dm, DM_DEV_SUSPEND, 0);
	end_user(fs);
	end(hold, UNHELD);
	fs->turn = false;
	trail("resume", fs, NULL, error);
	if (error)
		fail(fs, "resume: %s", strerror(-error));
}

static void take_away(struct fs *fs)
{
	int power;

	/* When it is mounted nowhere nothing leads to it then: nobody could thaw it. */
	if (!fs->null || below(4) || word_of(&fs->fifreeze).phase != UNHELD)
		return;
	fs->gone = fs->lost = true;
	power = open(fs->null, O_WRONLY | O_CLOEXEC);
	if (power < 0 || write(power, "0", 1) != 1)
		fail(fs, "removal of the device: %m");
	close(power);
	trail("removal", fs, NULL, 0);
}

static void detach(struct fs *fs)
{
	int loop;

	if (!fs->image || below(4) || word_of(&fs->fifreeze).phase != UNHELD)
		return;
	loop = open(fs->device, O_RDONLY | O_CLOEXEC);
	fs->gone = fs->lost = true;
	trail("detach", fs, NULL, ioctl(loop, LOOP_CLR_FD, 0) ? -errno : 0);
	close(loop);
}

/* ---- SysRq-j ---- */

static bool said(int log, const char *text)
{
	struct pollfd poll_log = {.fd = log, .events = POLLIN};
	const uint64_t limit = now() + END_LIMIT;
	char line[8192];

	while (now() < limit) {
		ssize_t n = read(log, line, sizeof(line) - 1);

		if (n > 0) {
			line[n] = 0;
			if (strstr(line, text))
				return true;
		} else if (n < 0 && errno == EAGAIN) {
			poll(&poll_log, 1, 1000);
		}
	}
	return false;
}

static void sysrq(void)
{
	const uint64_t start = now();
	int log, trigger;

	if (atomic_exchange(&shared->sysrq, true))
		return;
	log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	trigger = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
	lseek(log, 0, SEEK_END);
	for (int i = 0; i < fs_count; i++) {
		span_begin(&shared->fs[i].breaks);
		span_begin(&shared->fs[i].user);
	}
	if (write(trigger, "j", 1) != 1 || !said(log, "Emergency Thaw complete"))
		fail(NULL, "SysRq-j did not end");
	for (int i = 0; i < fs_count; i++) {
		if (native)
			thawed_by_force(&shared->fs[i], start);
		span_end(&shared->fs[i].user);
		span_end(&shared->fs[i].breaks);
	}
	trail("SysRq-j", NULL, NULL, 0);
	close(trigger);
	close(log);
	shared->sysrq = false;
}

/* Two of them: one suspends and resumes, the other one may so thaw what the first one has frozen. */
void administrate(struct fs *fs, int number)
{
	while (!shared->stop) {
		const uint32_t choice = below(8);

		doze(250000);
		if (number == 0) {
			if (choice < 7 && want(SUSPEND))
				suspend(fs);
			else if (!below(4) && want(SYSRQ))
				sysrq();
		} else if (choice == 0 && want(REMOVAL)) {
			take_away(fs);
		} else if (choice == 1 && want(DETACH)) {
			detach(fs);
		} else if (choice == 2 && want(IO) && !fs->gone) {
			spoil(fs);
		} else if (want(FIFREEZE_) && !fs->gone) {
			user_freeze_or_thaw(fs);
		}
	}
}

/* ---- Maintenance ---- */

static void mount_or_unmount(struct fs *fs)
{
	int error;

	span_begin(&fs->mounts);
	/* From then on who has stopped it all does that. */
	if (shared->stop) {
		span_end(&fs->mounts);
		return;
	}
	if (!fs->mounted) {
		error = mount(fs->device, fs->dir, fs->type, 0, NULL) ? -errno : 0;
		fs->mounted = !error;
		trail("mount", fs, NULL, error);
	} else {
		error = umount2(fs->dir, below(3) ? 0 : MNT_DETACH) ? -errno : 0;
		fs->mounted = !!error;
		trail("umount", fs, NULL, error);
	}
	span_end(&fs->mounts);
}

static void remount(struct fs *fs)
{
	const bool read_only = !below(3);
	int error;

	error = mount(NULL, fs->dir, NULL, MS_REMOUNT | (read_only ? MS_RDONLY : 0), NULL) ? -errno
											   : 0;
	trail(read_only ? "remount,ro" : "remount,rw", fs, NULL, error);
}

#define EXT4_IOC_RESIZE_FS	  _IOW('f', 16, uint64_t)
#define F2FS_IOC_GARBAGE_COLLECT  _IOW(0xf5, 6, uint32_t)
#define XFS_SCRUB_TYPE_FSCOUNTERS 24

struct xfs_growfs_data {
	uint64_t newblocks;
	uint32_t imaxpct;
};
#define XFS_IOC_FSGROWFSDATA _IOW('X', 110, struct xfs_growfs_data)

struct xfs_scrub_metadata {
	uint32_t type, flags;
	uint64_t ino;
	uint32_t gen, agno;
	uint64_t reserved[5];
};
#define XFS_IOC_SCRUB_METADATA _IOWR('X', 60, struct xfs_scrub_metadata)

static bool is(const struct fs *fs, const char *type)
{
	return !strcmp(fs->type, type);
}

/* Up to 80 MiB more than it was made with; most of them only grow, so most calls change nothing. */
static int resize(struct fs *fs, int dir)
{
	const uint64_t blocks = 80 * 1024 + below(20) * 1024;
	struct xfs_growfs_data growth = {.newblocks = blocks, .imaxpct = 25};
	struct btrfs_ioctl_vol_args volume = {0};

	/* Without the series ext4 writes after its resize, also when it is frozen by then, which the kernel warns of. */
	if (is(fs, "ext4") && native)
		return ioctl(dir, EXT4_IOC_RESIZE_FS, &blocks);
	if (is(fs, "xfs"))
		return ioctl(dir, XFS_IOC_FSGROWFSDATA, &growth);
	if (is(fs, "btrfs")) {
		snprintf(volume.name, sizeof(volume.name), "1:%uM", (uint32_t)(blocks / 256));
		return ioctl(dir, BTRFS_IOC_RESIZE, &volume);
	}
	return 0;
}

static int trim(int dir)
{
	struct fstrim_range range = {
		.start = below(300) * 1048576ULL, .len = 16 << 20, .minlen = 65536};

	return ioctl(dir, FITRIM, &range);
}

static int scrub(struct fs *fs, int dir)
{
	struct btrfs_ioctl_scrub_args all = {.devid = 1, .end = UINT64_MAX};
	struct xfs_scrub_metadata counters = {.type = XFS_SCRUB_TYPE_FSCOUNTERS};
	const uint32_t wait = 1;

	if (is(fs, "btrfs"))
		return ioctl(dir, BTRFS_IOC_SCRUB, &all);
	if (is(fs, "xfs"))
		return ioctl(dir, XFS_IOC_SCRUB_METADATA, &counters);
	if (is(fs, "f2fs"))
		return ioctl(dir, F2FS_IOC_GARBAGE_COLLECT, &wait);
	return syncfs(dir);
}

static int balance(struct fs *fs, int dir)
{
	struct btrfs_ioctl_balance_args all = {
		.flags = BTRFS_BALANCE_DATA | BTRFS_BALANCE_METADATA | BTRFS_BALANCE_SYSTEM |
			 BTRFS_BALANCE_FORCE,
	};

	return is(fs, "btrfs") ? ioctl(dir, BTRFS_IOC_BALANCE_V2, &all) : syncfs(dir);
}

static void maintain_files(struct fs *fs, int kind)
{
	int dir = open_target(fs, false), ret;

	if (dir < 0)
		return;
	span_begin(&fs->kernel);
	if (kind == REMOUNT) {
		close(dir);
		remount(fs);
		span_end(&fs->kernel);
		return;
	}
	ret = kind == RESIZE  ? resize(fs, dir)
	      : kind == TRIM  ? trim(dir)
	      : kind == SCRUB ? scrub(fs, dir)
			      : balance(fs, dir);
	trail(kinds[kind], fs, NULL, ret < 0 ? -errno : ret);
	close(dir);
	span_end(&fs->kernel);
}

void maintain(struct fs *fs)
{
	static const int choice[] = {MOUNTS, MOUNTS, MOUNTS, REMOUNT, RESIZE, TRIM, SCRUB, BALANCE};

	while (!shared->stop) {
		const int kind = choice[below(sizeof(choice) / sizeof(*choice))];

		/* That it is not mounted leaves the others little to do. */
		doze(fs->mounted ? 300000 : 20000);
		if (!fs->mounted || (kind == MOUNTS && want(MOUNTS)))
			mount_or_unmount(fs);
		else if (want(kind))
			maintain_files(fs, kind);
	}
}

/* ---- Writers ---- */

/* Each counts what it has written: while the filesystem is held that is one more at the most. */
static bool write_once(int file, char *page)
{
	static const char text[] = "written";

	switch (below(4)) {
	case 0:
		(*(volatile char *)page)++;
		return true;
	case 1:
		return ftruncate(file, 8192 + below(65536)) == 0;
	case 2:
		return pwrite(file, text, sizeof(text), below(65536)) > 0 && fdatasync(file) == 0;
	default:
		return pwrite(file, text, sizeof(text), below(65536)) > 0;
	}
}

void write_on(struct fs *fs, int writer)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/written-%d", fs->dir, writer);
	while (!shared->stop) {
		/* Where nothing is mounted it is not there. */
		int file = open(path, O_RDWR | O_CLOEXEC);
		char *page = MAP_FAILED;

		if (file >= 0)
			page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		for (int i = below(50); page != MAP_FAILED && i && !shared->stop; i--) {
			if (write_once(file, page))
				atomic_fetch_add(&fs->written[writer], 1);
			doze(2000);
		}
		if (page != MAP_FAILED)
			munmap(page, 4096);
		if (file >= 0)
			close(file);
		doze(10000);
	}
}
