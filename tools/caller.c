// SPDX-License-Identifier: GPL-2.0-or-later
/* What freezefd guard has to know of who calls. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guard.h"
#include "tool.h"

/* A descriptor of a thread that need not be the first of its process: Linux 6.9. */
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

static bool same_user_namespace(pid_t thread)
{
	char *path = text("/proc/%d/ns/user", thread);
	struct stat its, ours;
	bool same = !stat(path, &its) && !stat("/proc/self/ns/user", &ours) &&
		    its.st_dev == ours.st_dev && its.st_ino == ours.st_ino;

	free(path);
	return same;
}

bool caller_read(pid_t thread, struct caller *caller)
{
	char *path = text("/proc/%d/status", thread), line[256];
	unsigned long long effective = 0;
	FILE *file = fopen(path, "re");

	free(path);
	*caller = (struct caller){0};
	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "Tgid: %d", &caller->process);
		sscanf(line, "CapEff: %llx", &effective);
	}
	if (file)
		fclose(file);
	caller->admin = effective & 1ULL << CAP_SYS_ADMIN && same_user_namespace(thread);
	return caller->process;
}

int caller_file(pid_t thread, int fd)
{
	int pidfd = pidfd_open(thread, PIDFD_THREAD), file, flags;
	struct caller caller;

	if (pidfd < 0 && errno == EINVAL && caller_read(thread, &caller)) {
		if (syscall(SYS_kcmp, thread, caller.process, KCMP_FILES, 0, 0) > 0)
			return -EOPNOTSUPP;
		pidfd = pidfd_open(caller.process, 0);
	}
	if (pidfd < 0)
		return -errno;
	file = pidfd_getfd(pidfd, fd, 0);
	flags = file < 0 ? -errno : fcntl(file, F_GETFL);
	close(pidfd);
	if (file >= 0 && flags & O_PATH) {
		close(file);
		return -EBADF;
	}
	return file < 0 ? flags : file;
}

/* PF_EXITING of include/linux/sched.h, in the 9th field of /proc/PID/stat. */
#define EXITING 4

/* The state of a thread that exits, Z when it is done; 0 of another. */
static char exits(const char *directory, const char *thread)
{
	char *path = text("%s/%s/stat", directory, thread), line[1024], *rest, state;
	FILE *file = fopen(path, "re");
	unsigned int flags;

	free(path);
	rest = file && fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	if (file)
		fclose(file);
	if (!rest || sscanf(rest, ") %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2)
		return 0;
	return flags & EXITING ? state : 0;
}

static bool is_killed(const char *directory, const char *thread)
{
	char *path = text("%s/%s/status", directory, thread), line[256];
	FILE *file = fopen(path, "re");
	unsigned long long pending = 0;

	free(path);
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "SigPnd: %llx", &pending);
	if (file)
		fclose(file);
	return pending & 1ULL << (SIGKILL - 1);
}

bool process_dies(pid_t process)
{
	char *path = text("/proc/%d/task", process);
	DIR *threads = opendir(path);
	bool killed = false, all_exit = true, one_is_left = false;
	struct dirent *entry;
	char state;

	while (!killed && threads && (entry = readdir(threads))) {
		if (*entry->d_name == '.')
			continue;
		killed = is_killed(path, entry->d_name);
		state = exits(path, entry->d_name);
		all_exit &= state != 0;
		one_is_left |= state && state != 'Z';
	}
	if (threads)
		closedir(threads);
	free(path);
	return killed || (all_exit && one_is_left);
}
