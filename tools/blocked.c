// SPDX-License-Identifier: GPL-2.0-or-later
/* Why a freeze does not come to an end, as far as it can be known. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/btrfs.h>

#include "tool.h"

/* --- below --- */

static char *suspended(dev_t device)
{
	char *path = text("/sys/dev/block/%u:%u/dm/suspended", major(device), minor(device));
	char line[8], name[129];

	read_line(AT_FDCWD, path, line, sizeof(line));
	free(path);
	if (strcmp(line, "1") != 0)
		return NULL;
	path = text("/sys/dev/block/%u:%u/dm/name", major(device), minor(device));
	read_line(AT_FDCWD, path, name, sizeof(name));
	free(path);
	return text("the device %s under it is suspended; 'dmsetup resume %s' ends that", name,
		    name);
}

static char *frozen(dev_t dev)
{
	struct freezefd_status status = {0};
	struct mount mount;
	int fd;

	if (!mount_of_dev(dev, &mount))
		return NULL;
	fd = mounts_open(the_mounts(), &mount);
	if (fd < 0)
		return NULL;
	if (freezefd_status(fd, &status))
		status.state = FREEZE_STATE_THAWED;
	close(fd);
	if (status.state != FREEZE_STATE_FROZEN)
		return NULL;
	return text("the filesystem under it, %s, is frozen; 'freezefd status %s' tells by whom",
		    mount.dir, mount.dir);
}

static bool is_frozen(const struct target *target)
{
	struct freezefd_status status;

	return !freezefd_status(target->fd, &status) && status.state == FREEZE_STATE_FROZEN;
}

static void look(void *arg, bool is_device, dev_t dev)
{
	char **found = arg;

	if (!*found)
		*found = is_device ? suspended(dev) : frozen(dev);
}

static char *below(const struct target *target)
{
	char *found = NULL;

	stack_below(the_mounts(), target->mount.dev, look, &found);
	return found;
}

/* One that is frozen already has written what it had to. */
char *blocked_below(const struct target *target)
{
	return is_frozen(target) ? NULL : below(target);
}

/* --- writers --- */

/* Which argument of a call is the descriptor of a file that it writes to, or -1. */
static int descriptor_of(long call)
{
	switch (call) {
	case SYS_write:
	case SYS_pwrite64:
	case SYS_writev:
	case SYS_pwritev:
	case SYS_pwritev2:
	case SYS_ftruncate:
	case SYS_fallocate:
	case SYS_sendfile:
	case SYS_ioctl:
	case SYS_fchmod:
	case SYS_fchown:
		return 0;
	case SYS_splice:
	case SYS_copy_file_range:
		return 2;
	default:
		return -1;
	}
}

/* The same for the path of one that it creates or truncates. */
static int path_of(long call)
{
	switch (call) {
#ifdef SYS_open
	case SYS_open:
	case SYS_creat:
#endif
	case SYS_truncate:
		return 0;
	case SYS_openat:
		return 1;
	default:
		return -1;
	}
}

/* What the task is writing to, as a path; NULL when it does not write. Freed by the caller. */
static char *written(int task, int pid)
{
	char line[256], name[256] = "";
	uint64_t args[6];
	char *path;
	long call;
	int at, mem;

	read_line(task, "syscall", line, sizeof(line));
	if (sscanf(line, "%ld %" SCNx64 " %" SCNx64 " %" SCNx64, &call, &args[0], &args[1],
		   &args[2]) != 4)
		return NULL;
	at = descriptor_of(call);
	if (at >= 0)
		return text("/proc/%d/fd/%d", pid, (int)args[at]);
	at = path_of(call);
	if (at < 0 || (call == SYS_openat && !(args[2] & (O_CREAT | O_TRUNC))))
		return NULL;
	path = text("/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	free(path);
	if (mem < 0 || pread(mem, name, sizeof(name) - 1, (off_t)args[at]) <= 0)
		*name = 0;
	if (mem >= 0)
		close(mem);
	if (!*name)
		return NULL;
	return text("/proc/%d/%s/%s", pid, *name == '/' ? "root" : "cwd", name);
}

/* To which of them does it write, waiting for something else than its thaw? NULL: to none. */
static const struct target *written_target(int task, int pid, const struct target *target,
					   size_t count)
{
	char wchan[64], *path;
	struct mount mount;
	bool found;

	read_line(task, "wchan", wchan, sizeof(wchan));
	if (!strcmp(wchan, "0") || strstr(wchan, "percpu_rwsem") || strstr(wchan, "percpu_down"))
		return NULL;
	path = written(task, pid);
	found = path && mounts_of_file(the_mounts(), AT_FDCWD, path, &mount);
	free(path);
	for (size_t i = 0; found && i < count; i++)
		if (target[i].mount.dev == mount.dev && !is_frozen(&target[i]))
			return &target[i];
	return NULL;
}

static char *writer_among(DIR *tasks, int pid, const struct target *target, size_t count,
			  const struct target **which)
{
	char *found = NULL, comm[64];
	struct dirent *entry;
	int task;

	while (!found && (entry = readdir(tasks))) {
		task = *entry->d_name == '.'
			       ? -1
			       : openat(dirfd(tasks), entry->d_name, O_RDONLY | O_CLOEXEC);
		if (task < 0)
			continue;
		*which = written_target(task, pid, target, count);
		if (*which) {
			read_line(task, "comm", comm, sizeof(comm));
			found = text("%s (%s) keeps a write open", comm, entry->d_name);
		}
		close(task);
	}
	return found;
}

static char *writer(const struct target *target, size_t count, const struct target **which)
{
	DIR *procs = opendir("/proc"), *tasks;
	struct dirent *entry;
	char *found = NULL, *path;

	while (!found && procs && (entry = readdir(procs))) {
		if (!isdigit((unsigned char)*entry->d_name) || atoi(entry->d_name) == getpid())
			continue;
		path = text("/proc/%s/task", entry->d_name);
		tasks = opendir(path);
		free(path);
		if (!tasks)
			continue;
		found = writer_among(tasks, atoi(entry->d_name), target, count, which);
		closedir(tasks);
	}
	if (procs)
		closedir(procs);
	return found;
}

/* A freeze of btrfs waits for a scrub, which is asked for by device. */
static char *scrub(const struct target *target)
{
	struct btrfs_ioctl_scrub_args args = {0};
	int fd = target->mounted && !strcmp(target->mount.fstype, "btrfs") ? target_file(target)
									   : -1;
	char *found = NULL;

	if (fd < 0)
		return NULL;
	for (args.devid = 1; !found && args.devid < 64; args.devid++)
		if (!ioctl(fd, BTRFS_IOC_SCRUB_PROGRESS, &args))
			found = text("it is being scrubbed; 'btrfs scrub cancel %s' ends that",
				     target->mount.dir);
	close(fd);
	return found;
}

char *blocked_by(const struct target *target, size_t count, const struct target **which)
{
	char *found = NULL;

	for (size_t i = 0; i < count && !found; i++) {
		if (is_frozen(&target[i]))
			continue;
		found = below(&target[i]);
		if (!found)
			found = scrub(&target[i]);
		*which = &target[i];
	}
	if (!found)
		found = writer(target, count, which);
	/* To sync means to flush the device, also of one that the device's suspension has frozen. */
	for (size_t i = 0; i < count && !found; i++) {
		found = below(&target[i]);
		*which = &target[i];
	}
	return found;
}
