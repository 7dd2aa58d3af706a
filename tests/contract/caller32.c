// SPDX-License-Identifier: GPL-2.0-or-later
/* Built with -m32: every call of the interface from a 32-bit process. caller32 DIR DEV */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/freezefd.h>

_Static_assert(sizeof(void *) == 4, "not a 32-bit program");

#define check(cond)                                                                \
	do {                                                                       \
		if (!(cond)) {                                                     \
			printf("# caller32.c:%d: %s fails: %s\n", __LINE__, #cond, \
			       strerror(errno));                                   \
			exit(EXIT_FAILURE);                                        \
		}                                                                  \
	} while (0)

static struct freeze_status status_of(int fd)
{
	struct freeze_status status;

	memset(&status, 0xff, sizeof(status));
	check(!ioctl(fd, FS_IOC_FREEZE_STATUS, &status));
	return status;
}

static void use(int target)
{
	const __u64 hour = 3600000000000ULL, none = 0;
	struct freezefd_args args = {.timeout_ns = hour};
	int fd = ioctl(target, FS_IOC_FREEZEFD, &args);

	check(fd >= 0);
	check(status_of(target).state == FREEZE_STATE_FROZEN);
	check(status_of(target).frozen_ns > 0);
	check(status_of(fd).hold == FREEZEFD_HOLD_HELD);
	check(status_of(fd).timeout_ns > hour / 2 && status_of(fd).timeout_ns <= hour);
	check(!ioctl(fd, FREEZEFD_IOC_TIMEOUT, &none));
	check(status_of(fd).timeout_ns == 0);
	check(!ioctl(fd, FREEZEFD_IOC_THAW));
	check(status_of(target).state == FREEZE_STATE_THAWED);
	check(!ioctl(fd, FREEZEFD_IOC_FREEZE));
	check(status_of(target).fd_holds == 1);
	check(!ioctl(target, FS_IOC_THAW_FORCE));
	check(status_of(fd).hold == FREEZEFD_HOLD_REVOKED);
	check(ioctl(fd, FREEZEFD_IOC_THAW) == -1 && errno == ECANCELED);
	check(ioctl(fd, FREEZEFD_IOC_TIMEOUT, NULL) == -1 && errno == EFAULT);
	close(fd);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int target = open(argv[i], O_RDONLY | O_CLOEXEC);

		check(target >= 0);
		use(target);
		close(target);
	}
	return EXIT_SUCCESS;
}
