// SPDX-License-Identifier: LGPL-2.1-or-later
/* Superblocks: read with BPF, reached through a mount that nobody sees. Part of the library and of its helper. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/fs.h>

#include "device.h"
#include "superblock.h"

/* More holds of FIFREEZE and the block layer than this on one filesystem: no. */
#define MAX_HOLDS 64
/* More waiters than these have room for are not counted. */
#define MAX_PAGES 4096

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr)) < 0 ? -errno : 0;
}

static int run(struct sb_reader reader, const uint64_t *args)
{
	union bpf_attr attr = {0};
	int ret;

	attr.test.prog_fd = reader.prog;
	attr.test.ctx_in = (uintptr_t)args;
	attr.test.ctx_size_in = SB_ARGS * sizeof(args[0]);
	ret = bpf(BPF_PROG_TEST_RUN, &attr);
	return ret ? ret : (int)attr.test.retval;
}

int sb_peer(struct sb_reader reader, int socket, uint64_t first)
{
	const uint64_t args[SB_ARGS] = {
		[SB_ARG_FD] = socket, [SB_ARG_PEER] = 1, [SB_ARG_FIRST] = first};

	return run(reader, args);
}

static int try_read_record(struct sb_reader reader, uint64_t *args, struct sb_record *record)
{
	union bpf_attr attr = {0};
	int ret;

	/* Others ask at the same time, with the same map. */
	if (getrandom(&args[SB_ARG_KEY], sizeof(args[0]), 0) != sizeof(args[0]))
		return -errno;
	switch (ret = run(reader, args)) {
	case SB_FOUND:
		break;
	case SB_NONE:
		return -ENODEV;
	case SB_BADF:
		return -EBADF;
	case 0:
	case SB_FULL:
	case SB_CHANGED:
		return -EAGAIN;
	default:
		return ret == -EPERM ? -EPERM : -ENOSYS;
	}
	attr.map_fd = reader.map;
	attr.key = (uintptr_t)&args[SB_ARG_KEY];
	attr.value = (uintptr_t)record;
	ret = bpf(BPF_MAP_LOOKUP_ELEM, &attr);
	if (ret)
		return ret == -ENOENT ? -EAGAIN : -ENOSYS;
	attr.value = 0;
	bpf(BPF_MAP_DELETE_ELEM, &attr);
	return 0;
}

static int read_record(struct sb_reader reader, uint64_t *args, struct sb_record *record)
{
	int ret = -EAGAIN;

	/*
	 * Very many others at once may leave no room in the map, push the answer
	 * out, or have its lock while they do not get a CPU. 100 ms at the most.
	 */
	for (int i = 0; i < 200 && ret == -EAGAIN; i++) {
		if (i >= 100)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		ret = try_read_record(reader, args, record);
	}
	return ret == -EAGAIN ? -ENOSYS : ret;
}

int sb_read_id(struct sb_reader reader, uint64_t id, struct sb_record *record)
{
	uint64_t args[SB_ARGS] = {[SB_ARG_ID] = id};

	return read_record(reader, args, record);
}

static void add_process(struct waiters *waiters, int pid)
{
	unsigned int i = 0;

	while (i < waiters->processes && waiters->pid[i] != pid)
		i++;
	if (i == sizeof(waiters->pid) / sizeof(waiters->pid[0]))
		return;
	waiters->pid[i] = pid;
	waiters->listed++;
	if (i == waiters->processes)
		waiters->processes++;
}

/* Of one level of the freeze. */
static int add_waiters(struct sb_reader reader, uint64_t id, uint64_t level,
		       struct waiters *waiters)
{
	uint64_t args[SB_ARGS] = {[SB_ARG_ID] = id, [SB_ARG_LEVEL] = level};
	struct sb_record record;
	int ret;

	for (int page = 0; page < MAX_PAGES; page++) {
		ret = try_read_record(reader, args, &record);
		if (ret)
			return ret;
		for (unsigned int i = 0; i < record.waiting.count; i++)
			add_process(waiters, record.waiting.pid[i]);
		waiters->count += record.waiting.count;
		args[SB_ARG_AFTER] = record.waiting.last;
		if (!record.waiting.last)
			return 0;
	}
	return -EAGAIN;
}

int sb_waiters(struct sb_reader reader, uint64_t id, struct waiters *waiters)
{
	int ret = -EAGAIN;

	for (int i = 0; i < 10 && ret == -EAGAIN; i++) {
		*waiters = (struct waiters){0};
		ret = 0;
		for (int level = 1; level <= SB_LEVELS && !ret; level++)
			ret = add_waiters(reader, id, level, waiters);
	}
	return ret;
}

static int read_named(struct sb_reader reader, int fd, const char *name, struct sb_record *record)
{
	uint64_t args[SB_ARGS] = {[SB_ARG_FD] = fd};

	memcpy(&args[SB_ARG_NAME], name, strnlen(name, SB_NAME_LEN - 1));
	return read_record(reader, args, record);
}

/*
 * A btrfs on several devices is named after one of them, and nothing in the
 * others leads to it; sysfs has the list.
 */
static int read_btrfs(struct sb_reader reader, int fd, const char *name, struct sb_record *record)
{
	DIR *all = opendir("/sys/fs/btrfs"), *devices;
	int ret = -ENODEV;
	struct dirent *fs, *device;
	char path[512];

	while (all && ret == -ENODEV && (fs = readdir(all))) {
		snprintf(path, sizeof(path), "/sys/fs/btrfs/%.255s/devices/%s", fs->d_name, name);
		if (access(path, F_OK))
			continue;
		*strrchr(path, '/') = 0;
		devices = opendir(path);
		while (devices && ret == -ENODEV && (device = readdir(devices)))
			if (*device->d_name != '.')
				ret = read_named(reader, fd, device->d_name, record);
		if (devices)
			closedir(devices);
	}
	if (all)
		closedir(all);
	return ret;
}

int sb_read(struct sb_reader reader, int fd, struct sb_record *record)
{
	char name[SB_NAME_LEN];
	struct stat st = {0};
	int ret;

	/* Of a filesystem that has shut down not even this works. */
	if (fstat(fd, &st) && errno == EBADF)
		return -EBADF;
	if (!S_ISBLK(st.st_mode))
		return read_named(reader, fd, "", record);
	if (!device_name(st.st_rdev, name, sizeof(name)))
		*name = 0;
	ret = read_named(reader, fd, name, record);
	return ret == -ENODEV && *name ? read_btrfs(reader, fd, name, record) : ret;
}

void sb_status(const struct sb_record *record, struct freezefd_status *status)
{
	status->state = record->frozen == SB_UNFROZEN	       ? FREEZE_STATE_THAWED
			: record->frozen == SB_FREEZE_COMPLETE ? FREEZE_STATE_FROZEN
							       : FREEZE_STATE_FREEZING;
	status->user_holds = record->user_holds;
	status->kernel_holds = record->kernel_holds;
	status->dev = sb_dev(record->dev);
}

static int mount_unseen(const char *bdev, const struct sb_record *record)
{
	int context, mount = -1, root = -1, error;

	context = fsopen(record->type, FSOPEN_CLOEXEC);
	if (context < 0)
		return -errno;
	if (!fsconfig(context, FSCONFIG_SET_STRING, "source", bdev, 0) &&
	    (!(record->flags & SB_READ_ONLY) ||
	     !fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0)) &&
	    !fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mount = fsmount(context, FSMOUNT_CLOEXEC, 0);
	/* Nothing that is read there is to be written down. */
	if (mount >= 0)
		root = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC);
	error = errno;
	if (mount >= 0)
		close(mount);
	close(context);
	return root < 0 ? -error : root;
}

int sb_open_root(struct sb_reader reader, const char *bdev, const struct sb_record *record)
{
	struct sb_record now;
	int ret, root;

	ret = sb_read_id(reader, record->id, &now);
	if (ret)
		return ret;
	root = mount_unseen(bdev, &now);
	/* Whatever the error is called, it may be that the filesystem has gone away. */
	if (root < 0)
		return sb_read_id(reader, record->id, &now) == -ENODEV ? -ENODEV : root;
	ret = sb_read(reader, root, &now);
	if (!ret && now.id != record->id)
		ret = -ENODEV;
	if (ret) {
		close(root);
		return ret;
	}
	return root;
}

int sb_thaw(struct sb_reader reader, int root, uint64_t id)
{
	struct sb_record before, now;
	const bool known = !sb_read_id(reader, id, &before);

	/* Whatever was read: this waits for a freeze that is under way. */
	if (!ioctl(root, FITHAW, 0))
		return 0;
	if (errno != EINVAL)
		return -errno;
	/*
	 * Before 7.3 it says so, too, when others still hold it: thaw_super_locked() in fs/super.c.
	 * And so does JFS when it cannot write.
	 */
	if (!known || !before.user_holds || sb_read_id(reader, id, &now))
		return -EINVAL;
	return now.user_holds < before.user_holds ? 0 : -EIO;
}

int sb_thaw_all(struct sb_reader reader, int root, uint64_t id)
{
	struct sb_record now;
	int ret = sb_read_id(reader, id, &now);

	if (ret)
		return ret;
	if (now.frozen != SB_FREEZE_COMPLETE || !now.user_holds)
		return -EINVAL;
	for (int i = 0; i < MAX_HOLDS; i++) {
		ret = sb_thaw(reader, root, id);
		if (ret)
			return ret;
		if (sb_read_id(reader, id, &now) || !now.user_holds)
			return 0;
	}
	return -EBUSY;
}
