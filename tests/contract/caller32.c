// SPDX-License-Identifier: GPL-2.0-or-later
/* Built with -m32: every call of the interface from a 32-bit process. caller32 ENGINE DIR DEV */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/freezefd_dev.h>

_Static_assert(sizeof(void *) == 4, "not a 32-bit program");

#define check(cond)                                                                \
	do {                                                                       \
		if (!(cond)) {                                                     \
			printf("# caller32.c:%d: %s fails: %s\n", __LINE__, #cond, \
			       strerror(errno));                                   \
			exit(EXIT_FAILURE);                                        \
		}                                                                  \
	} while (0)

/* Of the kernel module, or -1. */
static int device = -1;

static struct freeze_status status_of(int fd)
{
	struct freezefd_dev_status args;

	memset(&args, 0xff, sizeof(args));
	args.fd = fd;
	args.reserved = 0;
	check(!(device < 0 ? ioctl(fd, FS_IOC_FREEZE_STATUS, &args.status)
			   : ioctl(device, FREEZEFD_DEV_STATUS, &args)));
	return args.status;
}

static int open_hold(int target, __u64 timeout_ns)
{
	struct freezefd_dev_args args = {.fd = target, .args = {.timeout_ns = timeout_ns}};

	return device < 0 ? ioctl(target, FS_IOC_FREEZEFD, &args.args)
			  : ioctl(device, FREEZEFD_DEV_FREEZEFD, &args);
}

static int thaw_force(int target)
{
	struct freezefd_dev_target args = {.fd = target};

	return device < 0 ? ioctl(target, FS_IOC_THAW_FORCE)
			  : ioctl(device, FREEZEFD_DEV_THAW_FORCE, &args);
}

static void use(int target)
{
	const __u64 hour = 3600000000000ULL, none = 0;
	int fd = open_hold(target, hour);

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
	check(!thaw_force(target));
	check(status_of(fd).hold == FREEZEFD_HOLD_REVOKED);
	check(ioctl(fd, FREEZEFD_IOC_THAW) == -1 && errno == ECANCELED);
	check(ioctl(fd, FREEZEFD_IOC_TIMEOUT, NULL) == -1 && errno == EFAULT);
	close(fd);
}

int main(int argc, char **argv)
{
	if (!strcmp(argv[1], "module")) {
		device = open("/dev/freezefd", O_RDONLY | O_CLOEXEC);
		check(device >= 0);
	}
	for (int i = 2; i < argc; i++) {
		int target = open(argv[i], O_RDONLY | O_CLOEXEC);

		check(target >= 0);
		use(target);
		close(target);
	}
	return EXIT_SUCCESS;
}
