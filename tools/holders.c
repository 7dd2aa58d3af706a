// SPDX-License-Identifier: GPL-2.0-or-later
/* Who holds what: the freeze descriptors of all processes, as /proc tells them. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tool.h"

static bool parse_fs(const char *line, struct fdinfo_fs *fs)
{
	unsigned int maj, min;
	int at = 0;

	*fs = (struct fdinfo_fs){0};
	if (sscanf(line, "%u:%u %31s %15s %" SCNu64 " %n", &maj, &min, fs->type, fs->state,
		   &fs->frozen_ns, &at) != 5 ||
	    !at)
		return false;
	fs->dev = makedev(maj, min);
	snprintf(fs->id, sizeof(fs->id), "%s", line + at);
	return true;
}

bool fdinfo_parse(FILE *file, struct fdinfo *info)
{
	char *line = NULL;
	size_t room = 0;

	*info = (struct fdinfo){0};
	while (getline(&line, &room, file) > 0) {
		char *value = strchr(line, ':');

		if (!value)
			continue;
		*value++ = 0;
		value += strspn(value, " \t");
		value[strcspn(value, "\n")] = 0;
		if (!strcmp(line, "freezefd-hold")) {
			snprintf(info->hold, sizeof(info->hold), "%s", value);
		} else if (!strcmp(line, "freezefd-timeout-ns")) {
			info->timeout_ns = strtoull(value, NULL, 10);
		} else if (!strcmp(line, "freezefd-fs")) {
			info->fs = array(info->fs, info->count + 1, sizeof(*info->fs));
			if (parse_fs(value, &info->fs[info->count]))
				info->count++;
		}
	}
	free(line);
	if (*info->hold)
		return true;
	free(info->fs);
	*info = (struct fdinfo){0};
	return false;
}

/* Not cmdline: reading that one can wait for a process that a freeze has stopped. */
static char *read_command(int proc)
{
	char comm[64];
	int fd = openat(proc, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, comm, sizeof(comm) - 1);

	if (fd >= 0)
		close(fd);
	if (len < 0)
		return copy("?");
	comm[len] = 0;
	comm[strcspn(comm, "\n")] = 0;
	return copy(comm);
}

static void read_holder(struct holders *holders, int proc, pid_t pid, int fd)
{
	struct fdinfo info;
	FILE *file = NULL;
	char *path = text("fdinfo/%d", fd);
	int in = openat(proc, path, O_RDONLY | O_CLOEXEC);

	free(path);
	if (in < 0)
		return;
	file = fdopen(in, "r");
	if (!file) {
		close(in);
		return;
	}
	if (fdinfo_parse(file, &info)) {
		holders->holder =
			array(holders->holder, holders->count + 1, sizeof(*holders->holder));
		holders->holder[holders->count++] = (struct holder){
			.pid = pid,
			.fd = fd,
			.command = read_command(proc),
			.info = info,
		};
	}
	fclose(file);
}

static void read_process(struct holders *holders, int proc, pid_t pid)
{
	static const char wanted[] = "anon_inode:[freezefd]";
	char link[sizeof(wanted)];
	struct dirent *entry;
	int in;
	DIR *fds;

	in = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (in < 0) {
		holders->unreadable += errno == EACCES || errno == EPERM;
		return;
	}
	fds = fdopendir(in);
	if (!fds) {
		close(in);
		return;
	}
	while ((entry = readdir(fds))) {
		if (readlinkat(in, entry->d_name, link, sizeof(link)) != sizeof(wanted) - 1)
			continue;
		if (!memcmp(link, wanted, sizeof(wanted) - 1))
			read_holder(holders, proc, pid, atoi(entry->d_name));
	}
	closedir(fds);
}

void holders_read(struct holders *holders)
{
	struct dirent *entry;
	DIR *procs = opendir("/proc");
	int proc;

	*holders = (struct holders){0};
	while (procs && (entry = readdir(procs))) {
		if (!isdigit((unsigned char)*entry->d_name))
			continue;
		proc = openat(dirfd(procs), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (proc < 0)
			continue;
		read_process(holders, proc, atoi(entry->d_name));
		close(proc);
	}
	if (procs)
		closedir(procs);
}

void holders_free(struct holders *holders)
{
	for (size_t i = 0; i < holders->count; i++) {
		free(holders->holder[i].command);
		free(holders->holder[i].info.fs);
	}
	free(holders->holder);
}

bool holder_holds(const struct holder *holder, dev_t dev, dev_t device)
{
	const struct fdinfo *info = &holder->info;
	char *path = device ? device_path(device) : NULL;
	bool found = false;

	if (!strcmp(info->hold, "held"))
		for (size_t i = 0; i < info->count; i++)
			/* By name for one on several devices that is not mounted. */
			found |= info->fs[i].dev == dev ||
				 (path && !strcmp(path + strlen("/dev/"), info->fs[i].id));
	free(path);
	return found;
}
