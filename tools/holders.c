// SPDX-License-Identifier: GPL-2.0-or-later
/* Who holds what: the freeze descriptors of all processes, as /proc and the guardians tell. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "../common/guardian-protocol.h"
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
char *command_of(pid_t pid)
{
	char *path = text("/proc/%d/comm", pid), comm[64];

	const bool known = read_line(AT_FDCWD, path, comm, sizeof(comm));

	free(path);
	return copy(known ? comm : "?");
}

static struct {
	size_t count;
	struct fdinfo *info;
} sockets;

static void forget_guardians(void)
{
	for (size_t i = 0; i < sockets.count; i++)
		free(sockets.info[i].fs);
	sockets.count = 0;
}

static void read_list(const struct guardian_list *list, size_t size, dev_t dev)
{
	const size_t count = (size - sizeof(*list)) / sizeof(list->hold[0]);

	sockets.info = array(sockets.info, sockets.count + count, sizeof(*sockets.info));
	for (size_t i = 0; i < count; i++) {
		const struct freezefd_status *status = &list->hold[i].status;
		struct fdinfo *info = &sockets.info[sockets.count++];

		*info = (struct fdinfo){
			.inode = list->hold[i].inode,
			.timeout_ns = status->timeout_ns,
			.count = 1,
			.fs = array(NULL, 1, sizeof(*info->fs)),
		};
		*info->fs = (struct fdinfo_fs){.dev = dev, .frozen_ns = status->frozen_ns};
		strcpy(info->hold, hold_name(status->hold));
		strcpy(info->fs->state, state_name(status->state));
		memcpy(info->fs->type, list->type, sizeof(list->type));
		memcpy(info->fs->id, list->name, sizeof(list->name));
	}
}

/* A guardian that does not answer in time is left out. */
static void ask_guardian(const char *path)
{
	static union {
		struct guardian_list list;
		char space[1 << 18];
	} answer;
	const struct guardian_request request = {.op = GUARDIAN_LIST};
	const struct timeval limit = {.tv_sec = 1};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	unsigned int maj, min;
	ssize_t size = -1;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)) &&
	    send(fd, &request, sizeof(request), MSG_NOSIGNAL) > 0)
		size = recv(fd, &answer, sizeof(answer), 0);
	if (size >= (ssize_t)sizeof(answer.list) &&
	    sscanf(path, GUARDIAN_DIR "/" GUARDIAN_NAME, &maj, &min) == 2)
		read_list(&answer.list, (size_t)size, makedev(maj, min));
	if (fd >= 0)
		close(fd);
}

/* Of the sockets of guardians and of detached holds. */
static struct {
	size_t count;
	char **name;
} names;

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Not with glob(3): when there is no memory, that of glibc 2.36 frees what it has freed. */
static void read_names(void)
{
	DIR *dir = opendir(GUARDIAN_DIR);
	struct dirent *entry;

	if (!dir && errno == ENOMEM)
		out_of_memory();
	while (dir && (entry = readdir(dir))) {
		names.name = array(names.name, names.count + 1, sizeof(*names.name));
		names.name[names.count++] = copy(entry->d_name);
	}
	if (dir)
		closedir(dir);
	if (names.count)
		qsort(names.name, names.count, sizeof(*names.name), by_name);
}

static void forget_names(void)
{
	while (names.count)
		free(names.name[--names.count]);
}

static void ask_guardians(void)
{
	char *path;

	for (size_t i = 0; i < names.count; i++) {
		if (fnmatch("*:*[0-9]", names.name[i], 0))
			continue;
		path = text(GUARDIAN_DIR "/%s", names.name[i]);
		ask_guardian(path);
		free(path);
	}
}

/* Its name begins with the number of its process. */
static char *detached_name(pid_t pid)
{
	const char *name;

	for (size_t i = 0; i < names.count; i++) {
		name = names.name[i];
		if (atoi(name) == pid && !fnmatch("[0-9]*-*.sock", name, 0))
			return text("%.*s", (int)(strlen(name) - strlen(".sock")), name);
	}
	return NULL;
}

static void add_holder(struct holders *holders, pid_t pid, int fd, struct fdinfo *info)
{
	holders->holder = array(holders->holder, holders->count + 1, sizeof(*holders->holder));
	holders->holder[holders->count++] = (struct holder){
		.pid = pid,
		.fd = fd,
		.command = command_of(pid),
		.name = detached_name(pid),
		.info = *info,
	};
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
	if (fdinfo_parse(file, &info))
		add_holder(holders, pid, fd, &info);
	fclose(file);
}

static void read_socket(struct holders *holders, pid_t pid, int fd, const char *link)
{
	struct fdinfo info;
	uint64_t inode;

	if (sscanf(link, "socket:[%" SCNu64 "]", &inode) != 1)
		return;
	for (size_t i = 0; i < sockets.count; i++) {
		if (sockets.info[i].inode != inode)
			continue;
		info = sockets.info[i];
		info.fs = array(NULL, 1, sizeof(*info.fs));
		*info.fs = *sockets.info[i].fs;
		add_holder(holders, pid, fd, &info);
	}
}

static void read_process(struct holders *holders, int proc, pid_t pid)
{
	char link[64];
	struct dirent *entry;
	ssize_t len;
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
		len = readlinkat(in, entry->d_name, link, sizeof(link) - 1);
		link[len < 0 ? 0 : len] = 0;
		if (!strcmp(link, "anon_inode:[freezefd]"))
			read_holder(holders, proc, pid, atoi(entry->d_name));
		else if (sockets.count)
			read_socket(holders, pid, atoi(entry->d_name), link);
	}
	closedir(fds);
}

void holders_read(struct holders *holders)
{
	struct dirent *entry;
	DIR *procs = opendir("/proc");
	int proc;

	*holders = (struct holders){.unknown = true};
	read_names();
	forget_guardians();
	ask_guardians();
	while (procs && (entry = readdir(procs))) {
		if (!isdigit((unsigned char)*entry->d_name))
			continue;
		holders->unknown = false;
		proc = openat(dirfd(procs), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (proc < 0)
			continue;
		read_process(holders, proc, atoi(entry->d_name));
		close(proc);
	}
	if (procs)
		closedir(procs);
	forget_names();
	if (holders->unknown)
		complain("/proc", "cannot be read, so that nobody can be named; mount it");
}

bool holders_complete(const struct holders *holders)
{
	if (holders->unreadable)
		complain("/proc", "%zu process%s could not be looked into; become root",
			 holders->unreadable, holders->unreadable == 1 ? "" : "es");
	return !holders->unreadable && !holders->unknown;
}

void holders_free(struct holders *holders)
{
	for (size_t i = 0; i < holders->count; i++) {
		free(holders->holder[i].command);
		free(holders->holder[i].name);
		free(holders->holder[i].info.fs);
	}
	free(holders->holder);
}

bool holder_of(const struct holder *holder, dev_t dev, const char *device)
{
	const struct fdinfo *info = &holder->info;

	for (size_t i = 0; i < info->count; i++)
		/* By name for one on several devices that is not mounted. */
		if (info->fs[i].dev == dev ||
		    (device && !strcmp(device + strlen("/dev/"), info->fs[i].id)))
			return true;
	return false;
}

bool holder_holds(const struct holder *holder, dev_t dev, const char *device)
{
	return !strcmp(holder->info.hold, "held") && holder_of(holder, dev, device);
}
