// SPDX-License-Identifier: LGPL-2.1-or-later
/* The kernel's own freeze descriptors. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/freezefd.h>

#include "../engine.h"
#include "calls.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* The kernel fills the caller's struct in place. */
_Static_assert(sizeof(struct freezefd_status) == sizeof(struct freeze_status),
	       "struct freezefd_status is not struct freeze_status");
#define SAME_PLACE(member)                                             \
	_Static_assert(offsetof(struct freezefd_status, member) ==     \
			       offsetof(struct freeze_status, member), \
		       #member " has moved")
SAME_PLACE(state);
SAME_PLACE(hold);
SAME_PLACE(fd_holds);
SAME_PLACE(user_holds);
SAME_PLACE(kernel_holds);
SAME_PLACE(dev);
SAME_PLACE(frozen_ns);
SAME_PLACE(timeout_ns);
SAME_PLACE(bdev_holds);

int kernel_call(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

/*
 * A kernel without the series hands an ioctl that it does not know to the
 * driver or the FUSE server behind the file, which may take for ever over it.
 * So a file of our own is asked, on the kernel's internal tmpfs.
 */
static int native_probe(int target)
{
	struct freezefd_status status;
	int fd, ret;

	fd = memfd_create("freezefd", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create("freezefd", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = kernel_call(fd, FS_IOC_FREEZE_STATUS, &status);
	close(fd);
	/* The kernel knows the call: a tmpfs cannot be frozen. */
	return ret == -EOPNOTSUPP ? 0 : -ENOSYS;
}

/*
 * Needs no /proc. Only files on anonymous inodes, which have no type, are
 * asked: a driver might take the number for one of its own calls. A call that
 * only a freeze descriptor knows is made with an address that cannot be read.
 */
bool is_kernel_descriptor(int fd)
{
	struct stat st;

	if (fstat(fd, &st) || (st.st_mode & S_IFMT))
		return false;
	return kernel_call(fd, FREEZEFD_IOC_TIMEOUT, (void *)-1L) == -EFAULT;
}

/* Those of the module answer alike, on kernels that have none of their own. */
static bool native_owns(int fd)
{
	return is_kernel_descriptor(fd) && !native_probe(fd);
}

static int native_open(int target, uint32_t flags, uint64_t timeout_ns)
{
	struct freezefd_args args = {.flags = flags & FREEZEFD_THAWED, .timeout_ns = timeout_ns};

	return kernel_call(target, FS_IOC_FREEZEFD, &args);
}

static int native_thaw_force(int target)
{
	return kernel_call(target, FS_IOC_THAW_FORCE, NULL);
}

static int native_status(int any_fd, struct freezefd_status *status)
{
	return kernel_call(any_fd, FS_IOC_FREEZE_STATUS, status);
}

int native_freeze(int fd)
{
	return kernel_call(fd, FREEZEFD_IOC_FREEZE, NULL);
}

int native_thaw(int fd)
{
	return kernel_call(fd, FREEZEFD_IOC_THAW, NULL);
}

int native_set_timeout(int fd, uint64_t ns)
{
	return kernel_call(fd, FREEZEFD_IOC_TIMEOUT, &ns);
}

const struct engine native_engine = {
	.name = "native",
	.probe = native_probe,
	.owns = native_owns,
	.open = native_open,
	.thaw_force = native_thaw_force,
	.status = native_status,
	.freeze = native_freeze,
	.thaw = native_thaw,
	.set_timeout = native_set_timeout,
};
