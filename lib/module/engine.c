// SPDX-License-Identifier: LGPL-2.1-or-later
/* Freeze descriptors of the kernel module freezefd, which /dev/freezefd makes. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <linux/freezefd_dev.h>

#include "../engine.h"
#include "../native/calls.h"
#include "btrfs.h"

/* The first one to open it loads the module, where the system has its node. */
static int device_call(unsigned long request, void *arg)
{
	const int device = open("/dev/freezefd", O_RDONLY | O_CLOEXEC);
	int ret;

	if (device < 0)
		return errno == EMFILE || errno == ENFILE ? -errno : -ENOSYS;
	ret = kernel_call(device, request, arg);
	close(device);
	return ret;
}

/* What @arg points to begins with the target. */
static int target_call(unsigned long request, void *arg)
{
	__s32 *const target = arg, device = *target;
	int ret = device_call(request, arg);

	if (ret != -ENODEV)
		return ret;
	*target = btrfs_open(device);
	if (*target < 0)
		return *target;
	ret = device_call(request, arg);
	close(*target);
	return ret;
}

static int module_probe(int target)
{
	struct freezefd_dev_status args = {.fd = -1};
	const int ret = device_call(FREEZEFD_DEV_STATUS, &args);

	(void)target;
	/* The module knows the call, but not this descriptor. */
	if (ret == -EBADF)
		return 0;
	return ret == -EMFILE || ret == -ENFILE ? ret : -ENOSYS;
}

static bool module_owns(int fd)
{
	return is_kernel_descriptor(fd);
}

static int module_open(int target, uint32_t flags, uint64_t timeout_ns)
{
	struct freezefd_dev_args args = {
		.fd = target,
		.args = {.flags = flags & FREEZEFD_THAWED, .timeout_ns = timeout_ns},
	};

	return target_call(FREEZEFD_DEV_FREEZEFD, &args);
}

static int module_thaw_force(int target)
{
	struct freezefd_dev_target args = {.fd = target};

	return target_call(FREEZEFD_DEV_THAW_FORCE, &args);
}

static int module_status(int any_fd, struct freezefd_status *status)
{
	struct freezefd_dev_status args = {.fd = any_fd};
	int ret;

	if (is_kernel_descriptor(any_fd))
		return kernel_call(any_fd, FS_IOC_FREEZE_STATUS, status);
	ret = target_call(FREEZEFD_DEV_STATUS, &args);
	if (!ret)
		memcpy(status, &args.status, sizeof(args.status));
	return ret;
}

const struct engine module_engine = {
	.name = "module",
	.probe = module_probe,
	.owns = module_owns,
	.open = module_open,
	.thaw_force = module_thaw_force,
	.status = module_status,
	.freeze = native_freeze,
	.thaw = native_thaw,
	.set_timeout = native_set_timeout,
};
