// SPDX-License-Identifier: GPL-2.0-or-later
/* Finds, stops and continues the two processes behind a hold of the guardian engine. */
#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "../../common/guardian-protocol.h"
#include "helpers.h"

int connect_to_guardian(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const dev_t number = status_of(dir).dev;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), ret;

	check(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), GUARDIAN_DIR "/" GUARDIAN_NAME,
		 major(number), minor(number));
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

static bool nobody_answers(void)
{
	const int socket = connect_to_guardian();

	if (socket >= 0)
		close(socket);
	return socket == -ECONNREFUSED || socket == -ENOENT;
}

void wait_no_guardian(void)
{
	wait_until(nobody_answers());
}

static pid_t parent_of(pid_t pid)
{
	char path[32], line[512] = "", *end;
	pid_t parent = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	return end && sscanf(end + 2, "%*c %d", &parent) == 1 ? parent : 0;
}

/* The watcher has made the socket, and the guardian is its only child. */
static bool find_pair(pid_t *guardian, pid_t *watcher)
{
	int socket = connect_to_guardian();
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	struct dirent *entry;
	DIR *proc;

	*guardian = 0;
	if (socket < 0)
		return false;
	check(!getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &len));
	close(socket);
	*watcher = peer.pid;
	proc = opendir("/proc");
	check(proc);
	while (!*guardian && (entry = readdir(proc)))
		if (atoi(entry->d_name) > 0 && parent_of(atoi(entry->d_name)) == *watcher)
			*guardian = atoi(entry->d_name);
	closedir(proc);
	return *guardian > 0;
}

void get_pair(pid_t *guardian, pid_t *watcher)
{
	wait_until(find_pair(guardian, watcher));
}

/* Both, so that neither continues the other. */
void stop_pair(pid_t guardian, pid_t watcher)
{
	while (process_state(guardian) != 'T' || process_state(watcher) != 'T') {
		kill(watcher, SIGSTOP);
		kill(guardian, SIGSTOP);
	}
}

void continue_pair(pid_t guardian, pid_t watcher)
{
	kill(watcher, SIGCONT);
	kill(guardian, SIGCONT);
}
