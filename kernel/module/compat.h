/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All that differs between the kernels that freezefd.ko is built for.  Kbuild finds
 * out what there is.  The versions say since when mainline has it.
 */
#ifndef FREEZEFD_COMPAT_H
#define FREEZEFD_COMPAT_H

#include <linux/anon_inodes.h>
#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fsnotify_backend.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/uaccess.h>
#include <linux/version.h>

/* What holds a filesystem frozen is not guessed of a kernel that nobody has read. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error freezefd: Linux before 6.1 is not supported
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(7, 4, 0)
#error freezefd: not yet read against this kernel: the newest that is supported is Linux 7.3
#endif

/* 4.2; declared in kernel/rcu/rcu.h alone */
#ifndef HAVE_RCU_EXPEDITE_GP
void rcu_expedite_gp(void);
void rcu_unexpedite_gp(void);
#endif

/*
 * Freeze, and thaw the way the filesystem wants it.  6.6 tells the kernel's own
 * holder from user space's; 7.3, not 6.12, has a third argument.  Before 6.6 there
 * is one hold, which anybody may drop.
 */
#ifndef HAVE_FREEZE_HOLDERS
enum freeze_holder { FREEZE_HOLDER_KERNEL, FREEZE_HOLDER_USERSPACE };
#endif

#if defined(HAVE_FREEZE_OWNER)
#define CALL_FREEZE(fn, sb, who)	((fn)((sb), (who), NULL))
#elif defined(HAVE_FREEZE_HOLDERS)
#define CALL_FREEZE(fn, sb, who)	((fn)((sb), (who)))
#else
#define CALL_FREEZE(fn, sb, who)	((void)(who), (fn)((sb)))
#endif

static inline int fs_super_freeze(struct super_block *sb, enum freeze_holder who)
{
	return CALL_FREEZE(freeze_super, sb, who);
}

static inline int fs_super_thaw(struct super_block *sb, enum freeze_holder who)
{
	if (sb->s_op->thaw_super)
		return CALL_FREEZE(sb->s_op->thaw_super, sb, who);
	return CALL_FREEZE(thaw_super, sb, who);
}

/* How many holds there are of each kind: counted since 6.8, one bit each in 6.6. */
#if defined(HAVE_FREEZE_COUNTS)
static inline unsigned int user_holds(const struct super_block *sb)
{
	return READ_ONCE(sb->s_writers.freeze_ucount);
}

static inline unsigned int kernel_holds(const struct super_block *sb)
{
	return READ_ONCE(sb->s_writers.freeze_kcount);
}
#elif defined(HAVE_FREEZE_HOLDERS)
static inline unsigned int user_holds(const struct super_block *sb)
{
	return !!(READ_ONCE(sb->s_writers.freeze_holders) &
		  FREEZE_HOLDER_USERSPACE);
}

static inline unsigned int kernel_holds(const struct super_block *sb)
{
	return !!(READ_ONCE(sb->s_writers.freeze_holders) &
		  FREEZE_HOLDER_KERNEL);
}
#endif

/* The holds that a thaw by @who drops one of.  Before 6.6 there is one at most. */
static inline unsigned int holds_of(const struct super_block *sb,
				    enum freeze_holder who)
{
#ifdef HAVE_FREEZE_HOLDERS
	return who == FREEZE_HOLDER_KERNEL ? kernel_holds(sb) : user_holds(sb);
#else
	return READ_ONCE(sb->s_writers.frozen) == SB_FREEZE_COMPLETE;
#endif
}

/* Freezes of a device by the block layer: an atomic_t and another name since 6.8. */
#ifdef HAVE_BDEV_THAW
static inline int bdev_freezes(struct block_device *bdev)
{
	return atomic_read(&bdev->bd_fsfreeze_count);
}

/*
 * In 6.12, not in 7.3, the thaw of a device within one of our holds drops the block
 * layer's hold of the superblock, but fails all the same and leaves the device's own
 * count up (thaw_super_locked() in fs/super.c, bdev_thaw() in block/bdev.c): the
 * device could never be mounted again.  A superblock that nobody in user space
 * holds has no frozen device.
 */
static inline void mend_bdev_freezes(struct super_block *sb)
{
	struct block_device *bdev = sb->s_bdev;

	if (!bdev || bdev_freezes(bdev) <= 0 || user_holds(sb))
		return;
	mutex_lock(&bdev->bd_fsfreeze_mutex);
	if (bdev_freezes(bdev) > 0 && !user_holds(sb))
		atomic_set(&bdev->bd_fsfreeze_count, 0);
	mutex_unlock(&bdev->bd_fsfreeze_mutex);
}
#else
#define bdev_thaw(bdev)		thaw_bdev(bdev)

static inline int bdev_freezes(struct block_device *bdev)
{
	return READ_ONCE(bdev->bd_fsfreeze_count);
}

static inline void mend_bdev_freezes(struct super_block *sb)
{
}
#endif

/*
 * Call @fn for the superblock that uses @bdev, which it may use no longer than
 * that, and without sleeping.  Returns what it does, -ENODEV, or -EOPNOTSUPP when
 * several share the device.
 */
#if defined(HAVE_BD_SUPER)
/* Until 6.5: cleared before the superblock goes, which is freed by RCU. */
static inline int with_bdev_super(struct block_device *bdev,
				  int (*fn)(struct super_block *sb, void *arg),
				  void *arg)
{
	struct super_block *sb;
	int ret = -ENODEV;

	rcu_read_lock();
	sb = READ_ONCE(bdev->bd_super);
	if (sb)
		ret = fn(sb, arg);
	rcu_read_unlock();
	return ret;
}
#elif defined(HAVE_BD_HOLDER_LOCK)
/*
 * Since 6.6 the holder of a device is a superblock if its operations are those of
 * filesystems.  7.3 does not export these any more, but the kernel knows their name.
 */
static inline bool are_filesystem_ops(const struct blk_holder_ops *ops)
{
	static const char name[] = "fs_bdev_mark_dead";
	static const struct blk_holder_ops *known;
	char symbol[64];

	if (!ops || !ops->mark_dead)
		return false;
	if (ops == READ_ONCE(known))
		return true;
	snprintf(symbol, sizeof(symbol), "%ps", ops->mark_dead);
	if (strncmp(symbol, name, strlen(name)))
		return false;
	WRITE_ONCE(known, ops);
	return true;
}

/* In 7.3 the holder of a device that several share is their type (erofs). */
static inline bool is_super_holder(const void *holder)
{
	return holder && !is_vmalloc_or_module_addr(holder) &&
	       virt_addr_valid(holder) && PageSlab(virt_to_head_page(holder));
}

static inline int with_bdev_super(struct block_device *bdev,
				  int (*fn)(struct super_block *sb, void *arg),
				  void *arg)
{
	int ret = -ENODEV;

	/* Held for a moment only, not during the I/O of a freeze. */
	mutex_lock(&bdev->bd_holder_lock);
	if (are_filesystem_ops(bdev->bd_holder_ops))
		ret = is_super_holder(bdev->bd_holder) ?
			      fn(bdev->bd_holder, arg) : -EOPNOTSUPP;
	mutex_unlock(&bdev->bd_holder_lock);
	return ret;
}
#else
#error freezefd: this kernel does not tell which superblock uses a device
#endif

/* 6.10: marks are put on objects, before that on their lists; until 6.8 with a number. */
static inline int add_super_mark(struct fsnotify_mark *mark,
				 struct super_block *sb)
{
#if defined(HAVE_FSNOTIFY_OBJECTS)
	return fsnotify_add_mark(mark, sb, FSNOTIFY_OBJ_TYPE_SB, 0);
#elif defined(HAVE_FSNOTIFY_FSID)
	return fsnotify_add_mark(mark, &sb->s_fsnotify_marks,
				 FSNOTIFY_OBJ_TYPE_SB, 0, NULL);
#else
	return fsnotify_add_mark(mark, &sb->s_fsnotify_marks,
				 FSNOTIFY_OBJ_TYPE_SB, 0);
#endif
}

/* 6.8: an inode of its own lets security modules tell what it is. */
#ifndef HAVE_ANON_INODE_CREATE_GETFILE
static inline struct file *
anon_inode_create_getfile(const char *name, const struct file_operations *fops,
			  void *priv, int flags, const struct inode *context)
{
	return anon_inode_getfile(name, fops, priv, flags);
}
#endif

/* 6.12 */
#ifndef fd_file
#define fd_file(f)	((f).file)
#endif

/* 6.13 */
#ifndef HAVE_HRTIMER_SETUP
static inline void hrtimer_setup(struct hrtimer *timer,
				 enum hrtimer_restart (*fn)(struct hrtimer *),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = fn;
}
#endif

/* 6.13 */
#ifndef HAVE_COPY_STRUCT_TO_USER
static inline int copy_struct_to_user(void __user *dst, size_t usize,
				      const void *src, size_t ksize,
				      bool *ignored)
{
	const size_t size = min(ksize, usize);

	if (usize > ksize && clear_user(dst + size, usize - size))
		return -EFAULT;
	return copy_to_user(dst, src, size) ? -EFAULT : 0;
}
#endif

#endif /* FREEZEFD_COMPAT_H */
