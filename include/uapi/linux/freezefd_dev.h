/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/freezefd: what <linux/freezefd.h> asks of any file, on kernels that do not
 * have it.  The module of the same name makes the device.  Each call names its
 * target by a descriptor; what it does, and its errors, are those of the call
 * after which it is named.  A freeze descriptor answers the calls of
 * <linux/freezefd.h>, whoever made it.
 */
#ifndef _UAPI_LINUX_FREEZEFD_DEV_H
#define _UAPI_LINUX_FREEZEFD_DEV_H

#include <linux/freezefd.h>

/**
 * struct freezefd_dev_status - what FREEZEFD_DEV_STATUS tells
 * @fd: any open file of a filesystem, an open block device or a freeze descriptor
 * @reserved: must be zero
 * @status: filled in by the call
 */
struct freezefd_dev_status {
	__s32 fd;
	__u32 reserved;
	struct freeze_status status;
};

/**
 * struct freezefd_dev_args - what FREEZEFD_DEV_FREEZEFD takes
 * @fd: any open file of a filesystem or an open block device
 * @reserved: must be zero
 * @args: as for FS_IOC_FREEZEFD
 */
struct freezefd_dev_args {
	__s32 fd;
	__u32 reserved;
	struct freezefd_args args;
};

/**
 * struct freezefd_dev_target - what FREEZEFD_DEV_THAW_FORCE takes
 * @fd: any open file of a filesystem or an open block device
 * @reserved: must be zero
 */
struct freezefd_dev_target {
	__s32 fd;
	__u32 reserved;
};

#define FREEZEFD_DEV_STATUS	_IOWR(0x15, 0x48, struct freezefd_dev_status)
#define FREEZEFD_DEV_FREEZEFD	_IOW(0x15, 0x49, struct freezefd_dev_args)
#define FREEZEFD_DEV_THAW_FORCE	_IOW(0x15, 0x4a, struct freezefd_dev_target)

#endif /* _UAPI_LINUX_FREEZEFD_DEV_H */
