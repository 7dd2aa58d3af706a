// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * listener FILE: whoever opens FILE, or a file in the directory FILE, waits for a permission that is not
 * given. Prints "ready"; ends with its standard input, which gives it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/fanotify.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);
	char c;

	if (argc != 2 || fd < 0 ||
	    fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM | FAN_EVENT_ON_CHILD | FAN_ONDIR,
			  AT_FDCWD, argv[1])) {
		perror("listener");
		return 1;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	puts("ready");
	fflush(stdout);
	return read(STDIN_FILENO, &c, 1) < 0;
}
