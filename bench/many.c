// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * many NUMBER TIMEOUT DIRECTORY...: so many freeze descriptors that hold, spread over the
 * filesystems and over processes of 4 each. Says "ready" and waits for the end of its input.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <freezefd.h>

#define EACH 4

static int hold(const char *directory, unsigned int seconds)
{
	const struct freezefd_options options = {.size = sizeof(options),
						 .timeout_ns = seconds * UINT64_C(1000000000)};
	int target = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = target < 0 ? -1 : freezefd_open(target, &options);

	if (fd < 0) {
		fprintf(stderr, "many: %s: %s\n", directory,
			target < 0 ? "cannot be opened" : strerror(-fd));
		exit(EXIT_FAILURE);
	}
	close(target);
	return fd;
}

static void wait_for_end(void)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

int main(int argc, char **argv)
{
	const int number = argc > 3 ? atoi(argv[1]) : 0;
	int fds[EACH], count = 0;

	for (int i = 0; i < number; i++) {
		fds[count++] = hold(argv[3 + i % (argc - 3)], (unsigned int)atoi(argv[2]));
		if (count < EACH || i + 1 == number)
			continue;
		if (!fork()) {
			wait_for_end();
			_exit(EXIT_SUCCESS);
		}
		while (count)
			close(fds[--count]);
	}
	puts("ready");
	fflush(stdout);
	wait_for_end();
	return EXIT_SUCCESS;
}
