/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI_LINUX_FREEZEFD_H
#define _UAPI_LINUX_FREEZEFD_H

#include <linux/types.h>
#include <linux/ioctl.h>

/* Values for freeze_status.state. */
#define FREEZE_STATE_THAWED	0 /* Writers run. */
#define FREEZE_STATE_FREEZING	1 /* Writers may wait, the device still changes. */
#define FREEZE_STATE_FROZEN	2 /* Writers wait, the device holds a clean image. */

/* Values for freeze_status.hold, which is for freeze descriptors alone. */
#define FREEZEFD_HOLD_NONE	0 /* Holds nothing; the value on any other file. */
#define FREEZEFD_HOLD_HELD	1 /* Keeps the filesystem frozen. */
#define FREEZEFD_HOLD_EXPIRED	2 /* Expired; the next thaw returns ETIME. */
#define FREEZEFD_HOLD_REVOKED	3 /* Revoked; the next thaw returns ECANCELED. */
#define FREEZEFD_HOLD_GONE	4 /* The filesystem no longer exists. */

/* Flags for freezefd_args.flags. */
#define FREEZEFD_THAWED		1 /* Make the descriptor, do not freeze yet. */

/**
 * struct freeze_status - what FS_IOC_FREEZE_STATUS tells
 * @state: one of FREEZE_STATE_*
 * @hold: one of FREEZEFD_HOLD_*
 * @fd_holds: freeze descriptors that hold the filesystem frozen
 * @user_holds: holds of FIFREEZE and of the block layer (device-mapper)
 * @kernel_holds: the kernel's own holds (suspend, online repair)
 * @dev: number of the filesystem (s_dev); 0 when it is gone
 * @frozen_ns: for how long its writers have been stopped, in nanoseconds of
 *	CLOCK_BOOTTIME; zero unless it is frozen
 * @timeout_ns: on a freeze descriptor that holds the filesystem, what is left
 *	of its deadline, in nanoseconds; on one that does not, the deadline of
 *	its next freeze; zero when there is none
 * @bdev_holds: those of @user_holds that are the block layer's
 * @reserved: always zero
 */
struct freeze_status {
	__u32 state;
	__u32 hold;
	__u32 fd_holds;
	__u32 user_holds;
	__u32 kernel_holds;
	__u32 dev;
	__u64 frozen_ns;
	__u64 timeout_ns;
	__u32 bdev_holds;
	__u32 reserved;
};

/**
 * struct freezefd_args - what FS_IOC_FREEZEFD takes
 * @flags: FREEZEFD_THAWED or zero
 * @reserved: must be zero
 * @timeout_ns: the deadline: for how long a hold may stop writers, in
 *	nanoseconds of CLOCK_BOOTTIME; zero for no limit, at most INT64_MAX
 */
struct freezefd_args {
	__u32 flags;
	__u32 reserved;
	__u64 timeout_ns;
};

#define FREEZE_STATUS_SIZE_VER0	40 /* sizeof first published struct */
#define FREEZE_STATUS_SIZE_VER1	48 /* sizeof second published struct */
#define FREEZEFD_ARGS_SIZE_VER0	16 /* sizeof first published struct */

/* On any open file of a filesystem and on an open block device. */
#define FS_IOC_FREEZE_STATUS	_IOR(0x15, 0x40, struct freeze_status)
#define FS_IOC_FREEZEFD		_IOW(0x15, 0x41, struct freezefd_args)
#define FS_IOC_THAW_FORCE	_IO(0x15, 0x42)

/* On a freeze descriptor, which answers FS_IOC_FREEZE_STATUS too. */
#define FREEZEFD_IOC_FREEZE	_IO(0x15, 0x43)
#define FREEZEFD_IOC_THAW	_IO(0x15, 0x44)
#define FREEZEFD_IOC_TIMEOUT	_IOW(0x15, 0x45, __u64)

#endif /* _UAPI_LINUX_FREEZEFD_H */
