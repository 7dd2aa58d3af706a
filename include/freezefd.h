/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * @file freezefd.h
 * A file descriptor that holds a filesystem frozen.
 *
 * The filesystem stays frozen while the descriptor, or a copy of it made by
 * dup(2), fork(2) or SCM_RIGHTS, is open anywhere. When the last copy is closed,
 * whatever the cause, it thaws.
 *
 * Every function returns a descriptor or 0, or a negative errno value. All are
 * safe to call from any thread; none keeps state outside the descriptor, and
 * none prints.
 */
#ifndef FREEZEFD_H
#define FREEZEFD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The values of linux/freezefd.h. The kernel's header need not be installed;
 * where it is, both may be included.
 */

/* freezefd_status.state */
#define FREEZE_STATE_THAWED   0 /* Writers run. */
#define FREEZE_STATE_FREEZING 1 /* A freeze has begun and is not complete. */
#define FREEZE_STATE_FROZEN   2 /* Writers wait, the device holds a clean image. */

/* freezefd_status.hold */
#define FREEZEFD_HOLD_NONE    0 /* Holds nothing; the value on any other file. */
#define FREEZEFD_HOLD_HELD    1 /* Keeps the filesystem frozen. */
#define FREEZEFD_HOLD_EXPIRED 2 /* Broken by its deadline, not yet told by a thaw. */
#define FREEZEFD_HOLD_REVOKED 3 /* Broken by an administrator, not yet told by a thaw. */
#define FREEZEFD_HOLD_GONE    4 /* The filesystem no longer exists. */

/* freezefd_options.flags */
#define FREEZEFD_THAWED 1 /* Make the descriptor, do not freeze yet. */
/*
 * Where the engine guardian would have to run in a PID namespace that is not the first one,
 * hold all the same: the end of that namespace leaves the filesystem frozen. Other engines
 * keep their promise with it and without.
 */
#define FREEZEFD_MAY_STAY_FROZEN 2

/**
 * What freezefd_open() is asked for. Zero it, then set size.
 */
struct freezefd_options {
	/** sizeof(struct freezefd_options), for later extensions. */
	size_t size;
	/** Any of FREEZEFD_THAWED, FREEZEFD_MAY_STAY_FROZEN. Others: -EINVAL. */
	uint32_t flags;
	/** Must be 0. */
	uint32_t reserved;
	/**
	 * Deadline of a hold in nanoseconds of CLOCK_BOOTTIME (the machine's
	 * sleep counts), from the moment the first writer is stopped: a freeze that
	 * is not complete by then is given up with -ETIME. 0: none. Above
	 * INT64_MAX: -EINVAL. The descriptor remembers it: every later freeze
	 * begins with the same deadline.
	 */
	uint64_t timeout_ns;
	/**
	 * The engine to use, by name; NULL for the one that the environment
	 * variable FREEZEFD_ENGINE names (ignored in set-user-ID programs), or the
	 * best one that works.
	 */
	const char *engine;
};

/**
 * What freezefd_status() tells.
 */
struct freezefd_status {
	/** FREEZE_STATE_* */
	uint32_t state;
	/** FREEZEFD_HOLD_*; NONE on what is not a freeze descriptor. */
	uint32_t hold;
	/** Freeze descriptors that hold the filesystem frozen. */
	uint32_t fd_holds;
	/** Holds of FIFREEZE and of the block layer (device-mapper). */
	uint32_t user_holds;
	/** The kernel's own holds (suspend, online repair). */
	uint32_t kernel_holds;
	/**
	 * The filesystem's device number (s_dev), as in the third field of
	 * /proc/PID/mountinfo; convert it to dev_t. Of several filesystems on one
	 * block device that of the first. 0: not known.
	 */
	uint32_t dev;
	/**
	 * Since when its writers have been stopped, nanoseconds of CLOCK_BOOTTIME until
	 * now; 0: it is not frozen.
	 */
	uint64_t frozen_ns;
	/**
	 * On a freeze descriptor that holds: what is left of its deadline,
	 * nanoseconds. On one that does not: the deadline of its next freeze.
	 * 0: none.
	 */
	uint64_t timeout_ns;
	/**
	 * Those of user_holds that are the block layer's. 0 also where the kernel does not
	 * count them apart.
	 */
	uint32_t bdev_holds;
	/** Always 0. */
	uint32_t reserved;
};

/**
 * Freeze a filesystem and return the descriptor that holds it frozen.
 *
 * @param target   any open file on the filesystem, or an open block device. It
 *                 may be closed afterwards.
 * @param options  NULL for none.
 *
 * @returns the descriptor, close-on-exec, or
 * -EPERM no CAP_SYS_ADMIN in the filesystem's user namespace;
 * -EOPNOTSUPP the filesystem cannot be frozen;
 * -ENODEV a block device with no filesystem on it;
 * -EBADF not an open descriptor, or opened with O_PATH;
 * -EINVAL options that are not understood, or an unknown engine;
 * -ENOSYS no engine works here; -ELIBACC the helpers of the engine are missing;
 * -ENOTRECOVERABLE the engine cannot keep its promise in this PID namespace, see
 * FREEZEFD_MAY_STAY_FROZEN;
 * -EINTR a signal came before it was frozen;
 * -ETIME the freeze was not complete by its deadline;
 * -EBUSY, -EIO, -EMFILE, -ENFILE, -ENOMEM: the system's own reasons.
 * After an error nothing is left frozen.
 */
int freezefd_open(int target, const struct freezefd_options *options);

/**
 * Freeze several filesystems as one: all of them, or none. What lies on others (a loop device on
 * its file, device-mapper, md, an overlay) is frozen before them; what is independent is
 * synced and then frozen at the same time, so that they stop in one moment.
 *
 * @param targets  count open files or block devices, as for freezefd_open().
 * @param fds      gets count descriptors, one for each filesystem: -1 for a target that is on the
 *                 same filesystem as an earlier one. The lower of two numbers is the
 *                 one to thaw first: a thaw writes to what the filesystem lies on. The end
 *                 of a process closes them in that order.
 * @param count    1 or more.
 * @param options  as for freezefd_open(), but for FREEZEFD_THAWED: -EINVAL. The deadline is that
 *                 of each.
 * @param failed   NULL, or gets the index of the target that an error is about.
 *
 * @returns 0, or an error of freezefd_open(), or -ETIME or -ECANCELED when one was broken before
 * the last one was frozen. After an error nothing is left frozen. A signal does not
 * interrupt it.
 */
int freezefd_open_group(const int *targets, int *fds, size_t count,
			const struct freezefd_options *options, size_t *failed);

/**
 * Drop several holds at the same time, in an order in which none waits for another for ever.
 *
 * @param fds      count freeze descriptors; negative numbers are passed over.
 * @param results  NULL, or gets for each what freezefd_thaw() returned.
 *
 * @returns 0, or the error of one, -ENOMEM before any was dropped.
 */
int freezefd_thaw_group(const int *fds, size_t count, int *results);

/**
 * Freeze again after a thaw.
 *
 * @returns 0, or -EBUSY when fd holds already; -EINTR when a signal came before it
 * was frozen, and it is not; -ESTALE when the filesystem is gone; -ETIME or -ECANCELED when fd
 * was broken and no thaw has told it yet; -ETIME also when the freeze was not complete by its
 * deadline: then nothing is frozen and fd can be used again; -EMFILE or -ENFILE when there is no
 * descriptor to ask with: then nothing was done.
 */
int freezefd_freeze(int fd);

/**
 * Drop the hold of fd.
 *
 * @returns 0 only when the filesystem was frozen from the freeze until now;
 * -ETIME when the deadline broke the hold, -ECANCELED when an administrator did
 * (told once, fd can be used again); -EINVAL when fd holds nothing; -ESTALE when
 * the filesystem is gone; -EMFILE or -ENFILE as for freezefd_freeze().
 */
int freezefd_thaw(int fd);

/**
 * Set the deadline of fd, counted from now; renews the one of a hold in force.
 * On a thawed fd: the deadline of the next freeze.
 *
 * @param ns  nanoseconds, at most INT64_MAX; 0 for no deadline.
 *
 * @returns 0, or -ETIME or -ECANCELED when the hold is already broken; -ESTALE
 * when the filesystem is gone; -EINVAL above INT64_MAX; -EPERM for none, or one above the one
 * that fd was made with, by a caller without CAP_SYS_ADMIN; -EMFILE or -ENFILE as for
 * freezefd_freeze().
 */
int freezefd_set_timeout(int fd, uint64_t ns);

/**
 * Tell whether a filesystem is frozen, and by how many. Takes no lock that a freeze
 * or a sync holds, and changes nothing. While the state changes, the members may be
 * a moment apart. With the engine guardian it waits for an answer of that, for at most
 * a second.
 *
 * @param any_fd  any open file on the filesystem, an open block device, or a
 *                freeze descriptor.
 *
 * @returns 0, or -ENODEV for a block device with no filesystem on it; -EOPNOTSUPP for what
 * cannot be frozen, of which nobody can tell whether its writers wait; -EBADF;
 * -ENOSYS when no engine works here; -EMFILE or -ENFILE: finding out which does
 * needs a descriptor; -ETIMEDOUT on a freeze descriptor when the guardian did not
 * answer within a second.
 */
int freezefd_status(int any_fd, struct freezefd_status *status);

/**
 * The administrator's override: drop every hold of freeze descriptors, FIFREEZE
 * and the block layer, mounted or not. Their holders are told.
 *
 * @param target  any open file on the filesystem, or an open block device.
 *
 * @returns 0, or -EINVAL when there was nothing to thaw; -EPERM; -ENODEV;
 * -EOPNOTSUPP on a freeze descriptor; -EBADF; -ENOSYS; -EMFILE, -ENFILE.
 */
int freezefd_thaw_force(int target);

/**
 * The engine that answers for a freeze descriptor, or would for another file.
 *
 * @returns its name ("native"), a string that is never freed; NULL with errno set
 * when there is none: ENOSYS, EINVAL where FREEZEFD_ENGINE names an unknown one,
 * or as freezefd_status().
 */
const char *freezefd_engine(int any_fd);

#ifdef __cplusplus
}
#endif

#endif /* FREEZEFD_H */
