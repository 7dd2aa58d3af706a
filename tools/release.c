// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd release: end a detached hold and tell what became of it. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tool.h"

static const char usage[] =
	"Usage: freezefd release NAME...\n"
	"End holds that 'freezefd hold --detach' began and printed the names of.\n"
	"\n"
	"  -h, --help           this help\n"
	"\n"
	"Exit status: 0 held until now; 124 broken before; 1 no such hold; 2 wrong usage.\n";

static int broken(const char *name)
{
	complain(name, "its holder ended early, which thawed the filesystem; do it again");
	return EXIT_BROKEN;
}

static int no_hold(const char *name)
{
	complain(name, "no such hold; 'freezefd list' tells what is held");
	return EXIT_FAILURE;
}

/* The messages of the holder, then its verdict in the last byte, which is not the end of a line. */
static int read_answer(const char *name, int fd)
{
	char *answer = NULL;
	size_t len = 0;
	ssize_t more;
	int status;

	do {
		answer = array(answer, len + 512, 1);
		more = read(fd, answer + len, 512);
		if (more > 0)
			len += (size_t)more;
	} while (more > 0 || (more < 0 && errno == EINTR));
	if (!len || answer[len - 1] == '\n') {
		fwrite(answer, 1, len, stderr);
		status = broken(name);
	} else {
		fwrite(answer, 1, len - 1, stderr);
		status = (unsigned char)answer[len - 1];
	}
	free(answer);
	return status;
}

static int release(const char *name)
{
	struct sockaddr_un address;
	int fd, err, status;
	char *path;

	path = *name && !strchr(name, '/') ? hold_socket(name) : NULL;
	if (!path)
		return no_hold(name);
	err = hold_address(path, &address);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!err && (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))))
		err = -errno;

	if (!err) {
		status = read_answer(name, fd);
	} else if (err == -ECONNREFUSED) {
		unlink(path);
		status = broken(name);
	} else if (err == -ENOENT) {
		status = no_hold(name);
	} else {
		complain(name, "%s", strerror(-err));
		status = EXIT_FAILURE;
	}
	if (fd >= 0)
		close(fd);
	free(path);
	return status;
}

int cmd_release(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int opt, status = EXIT_SUCCESS;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		}
		return wrong_option("release");
	}
	if (optind == argc)
		return usage_error("release", "no name");
	for (; optind < argc; optind++) {
		int ret = release(argv[optind]);

		if (ret > status)
			status = ret;
	}
	return status;
}
