// SPDX-License-Identifier: GPL-2.0
/*
 * Freeze descriptors for kernels that do not have them: tell whether a filesystem
 * is frozen and hold it frozen for as long as a file is open.
 *
 * One file, because the kernel series has one, fs/freezefd.c, to read beside it.
 *
 * What a descriptor can be in, and who may change it, is as in fs/freezefd.c of the
 * kernel series.  What differs comes from the kernel not knowing of descriptors:
 *
 * - All descriptors of a superblock share one hold of the kernel's kind, which the
 *   first takes and the last drops.  struct held_super counts them.
 * - Nothing ends a freeze that waits for a writer.  So a worker freezes, and its
 *   caller waits for it no longer than until the deadline or a fatal signal.  What
 *   is frozen after that is thawed at once.
 * - A task that is killed must not thaw: btrfs reads then, is interrupted and turns
 *   read-only for good.  So a worker thaws, and its caller waits for it.
 * - A mark of fsnotify tells that a superblock goes.
 * - Before 6.6 a stranger's FITHAW drops the hold.  An entry in the queue of the
 *   writers, which a thaw wakes, tells of it.
 *
 *   from          to                       by whom
 *   ============  =======================  ===================================
 *   NONE          HELD                     worker that freezes, for who opens it
 *                                          or calls FREEZEFD_IOC_FREEZE
 *   HELD          NONE                     FREEZEFD_IOC_THAW, last close
 *   HELD          EXPIRED                  worker, after the deadline
 *   HELD          REVOKED                  freezefd_revoke(): a forced thaw, or
 *                                          held_super_check(): a stranger's
 *   EXPIRED,      NONE                     FREEZEFD_IOC_THAW, which tells of it
 *   REVOKED
 *
 * The hold changes under freezefd.lock and freezefd_lock.  Who waits for a worker
 * has freezefd.lock for it.  Locks nest as freezefd.lock, held_super.lock, s_umount.
 * freezefd_lock is innermost but for that of freezefd.wait.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/refcount.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <linux/freezefd_dev.h>
#include "compat.h"

/* A minor number for local use, see Documentation/admin-guide/devices.txt. */
#define FREEZEFD_MINOR 250

static int minor = FREEZEFD_MINOR;
module_param(minor, int, 0444);
MODULE_PARM_DESC(minor, "minor number of /dev/freezefd (default 250; 255: any)");

/* A superblock that there are descriptors for. */
struct held_super {
	struct fsnotify_mark	mark;		/* its references are those to this */
	struct mutex		lock;		/* of freezing and thawing it */
	struct super_block	*sb;		/* NULL when it is gone */
	struct list_head	node;		/* on held_supers */
	struct hlist_head	descriptors;
	unsigned int		users;		/* how many those are */
	unsigned int		holds;		/* how many of them hold it */
	unsigned int		broken_times;	/* all of them by somebody else's thaw */
	ktime_t			since;		/* CLOCK_BOOTTIME of the first hold */
	bool			expedited;
#ifndef HAVE_FREEZE_HOLDERS
	struct wait_queue_entry	thawed;
	struct work_struct	broken;
#endif
};

struct freezefd {
	struct mutex		lock;		/* see above */
	refcount_t		ref;		/* the file's, workers' */
	wait_queue_head_t	wait;
	struct held_super	*super;
	struct hlist_node	node;		/* on held_super.descriptors */
	u32			hold;		/* FREEZEFD_HOLD_* */
	ktime_t			since;		/* CLOCK_BOOTTIME of the hold */
	ktime_t			deadline;	/* CLOCK_BOOTTIME, or KTIME_MAX */
	u64			timeout_ns;	/* of the next hold; 0: none */
	u64			limit_ns;	/* to it without CAP_SYS_ADMIN */
	bool			closing;	/* nobody will use it again */
	struct super_block	*closing_sb;	/* active reference until the release, or NULL */
	bool			released;	/* left to the worker */
	struct hrtimer		timer;
	struct work_struct	work;

	struct work_struct	freeze_work;
	struct super_block	*freeze_sb;	/* active reference of the worker */
	bool			freeze_runs;	/* until it has ended, */
	bool			freeze_left;	/* or its caller waits no more */
	int			freeze_error;
};

static DEFINE_SPINLOCK(freezefd_lock);
static LIST_HEAD(held_supers);
static struct fsnotify_group *freezefd_group;
static const struct file_operations freezefd_fops;
/*
 * Several, as a freeze may wait for ever for what a thaw brings, and the workers of
 * thaw_wq wait for who waits for super_wq.
 */
static struct workqueue_struct *freeze_wq, *thaw_wq, *super_wq;

static bool can_freeze(const struct super_block *sb)
{
	return sb->s_op->freeze_super || sb->s_op->freeze_fs;
}

/*
 * gfs2 has its own way to freeze.  It takes it for granted that nobody calls FITHAW
 * while only the kernel holds it, and withdraws.
 */
static bool can_hold(const struct super_block *sb)
{
	return sb->s_op->freeze_fs && !sb->s_op->freeze_super;
}

static bool may_admin_freeze(const struct super_block *sb)
{
	return ns_capable(sb->s_user_ns, CAP_SYS_ADMIN);
}

/* Is it mounted?  Until then there is less to it than freezing takes. */
static bool is_born(struct super_block *sb)
{
	/* Pairs with vfs_get_tree(). */
	return smp_load_acquire(&sb->s_flags) & SB_BORN;
}

static bool get_active(struct super_block *sb)
{
	return atomic_inc_not_zero(&sb->s_active);
}

static bool freeze_under_way(const struct super_block *sb)
{
	const unsigned short frozen = READ_ONCE(sb->s_writers.frozen);

	return frozen != SB_UNFROZEN && frozen != SB_FREEZE_COMPLETE;
}

/* ---- Superblocks ---- */

static struct held_super *find_held_super(const struct super_block *sb)
{
	struct held_super *super;

	lockdep_assert_held(&freezefd_lock);

	list_for_each_entry(super, &held_supers, node)
		if (super->sb == sb)
			return super;
	return NULL;
}

/* ---- Status ---- */

/*
 * Lockless: a freeze may hold s_umount for as long as its I/O takes.  Whether the
 * writers of what no ioctl can freeze have to wait is not known.
 */
static inline int super_freeze_status(const struct super_block *sb,
				      unsigned short frozen,
				      const struct held_super *super,
				      struct freeze_status *status)
{
	status->dev = new_encode_dev(sb->s_dev);
	/* The holds that there are by now belong to a freeze that began after this was read. */
	if (frozen == SB_UNFROZEN)
		return can_freeze(sb) ? 0 : -EOPNOTSUPP;

	/* Dropped a moment after the thaw. */
	if (super)
		status->fd_holds = super->holds;
#ifdef HAVE_FREEZE_HOLDERS
	status->user_holds = user_holds(sb);
	status->kernel_holds = kernel_holds(sb);
	if (status->fd_holds && status->kernel_holds)
		status->kernel_holds--;
#else
	if (frozen == SB_FREEZE_COMPLETE && !status->fd_holds)
		status->user_holds = 1;
#endif
	if (status->user_holds && sb->s_bdev && bdev_freezes(sb->s_bdev) > 0)
		status->bdev_holds = 1;

	status->state = frozen == SB_FREEZE_COMPLETE ? FREEZE_STATE_FROZEN :
						       FREEZE_STATE_FREEZING;
	/* Of a freeze of others it is not known. */
	if (status->state == FREEZE_STATE_FROZEN && status->fd_holds)
		status->frozen_ns = ktime_get_boottime() - super->since;
	return 0;
}

static int sb_freeze_status(struct super_block *sb, void *arg)
{
	unsigned short frozen = READ_ONCE(sb->s_writers.frozen);
	int error;

	if (!is_born(sb))
		return -ENODEV;
	/* No descriptor holds what is not frozen. */
	if (frozen == SB_UNFROZEN)
		return super_freeze_status(sb, frozen, NULL, arg);
	spin_lock(&freezefd_lock);
	frozen = READ_ONCE(sb->s_writers.frozen);
	error = super_freeze_status(sb, frozen, find_held_super(sb), arg);
	spin_unlock(&freezefd_lock);
	return error;
}

static int freeze_status_to_user(const struct freeze_status *status,
				 void __user *argp, size_t size)
{
	/* Nearly always.  CONFIG_HARDENED_USERCOPY need not look at a size that is constant. */
	if (likely(size == sizeof(*status)))
		return copy_to_user(argp, status, sizeof(*status)) ? -EFAULT : 0;
	if (size < FREEZE_STATUS_SIZE_VER0)
		return -EINVAL;
	return copy_struct_to_user(argp, size, status, sizeof(*status), NULL);
}

/* ---- Freezing and thawing ---- */

/* The grace periods of others are expedited, too, so for no longer than needed. */
static void held_super_expedite(struct held_super *super, bool expedite)
{
	if (xchg(&super->expedited, expedite) == expedite)
		return;
	if (expedite)
		rcu_expedite_gp();
	else
		rcu_unexpedite_gp();
}

struct thaw_call {
	struct work_struct	work;
	struct super_block	*sb;
	struct block_device	*bdev;		/* by the block layer, or NULL */
	enum freeze_holder	who;
	int			error;
};

/*
 * Drop a hold of a superblock to which the caller has an active reference, as who
 * froze it has.  In 6.12 the kernel says -EINVAL when others still hold it, and the
 * hold is gone all the same.  JFS says so when it cannot write, and stays frozen.
 */
static int drop_hold(struct super_block *sb, enum freeze_holder who)
{
	const unsigned int holds = holds_of(sb, who);
	int error;

	/* The kernel may drop that reference. */
	atomic_inc(&sb->s_active);
	error = fs_super_thaw(sb, who);
	if (error == -EINVAL && holds)
		error = holds_of(sb, who) < holds ? 0 : -EIO;
	deactivate_super(sb);
	return error;
}

static void thaw_call_work(struct work_struct *work)
{
	struct thaw_call *call = container_of(work, struct thaw_call, work);

	call->error = call->bdev ? bdev_thaw(call->bdev) :
				   drop_hold(call->sb, call->who);
}

/* Where no signal interrupts it. */
static int thaw_uninterrupted(struct thaw_call *call)
{
	INIT_WORK_ONSTACK(&call->work, thaw_call_work);
	queue_work(super_wq, &call->work);
	flush_work(&call->work);
	destroy_work_on_stack(&call->work);
	return call->error;
}

static int super_thaw(struct super_block *sb, enum freeze_holder who)
{
	struct thaw_call call = { .sb = sb, .who = who };
	int error;

	if (current->flags & PF_KTHREAD)
		return drop_hold(sb, who);
	/*
	 * If it is unmounted, its end is here: what a worker closes, its device for
	 * one, stays open for some time.
	 */
	atomic_inc(&sb->s_active);
	error = thaw_uninterrupted(&call);
	deactivate_super(sb);
	return error;
}

/*
 * f2fs refuses with EINVAL if an inode was still being evicted after the sync:
 * f2fs_freeze() in fs/f2fs/super.c.  So try again.
 */
static int super_freeze(struct super_block *sb)
{
	int tries = 3, error;

	do
		error = fs_super_freeze(sb, FREEZE_HOLDER_KERNEL);
	while (error == -EINVAL && tries--);
	return error;
}

#ifdef HAVE_FREEZE_HOLDERS
static bool held_super_is_broken(struct held_super *super) { return false; }
static void held_super_unwatch(struct held_super *super, struct super_block *sb) { }
static void held_super_init(struct held_super *super) { }
static void held_super_exit(struct held_super *super) { }

/* Asked by who does not hold it.  The kernel's own hold admits no other of its kind. */
static bool is_held_by_others(struct super_block *sb)
{
	return kernel_holds(sb);
}

static int held_super_freeze(struct held_super *super, struct super_block *sb)
{
	return super_freeze(sb);
}

static int held_super_thaw(struct held_super *super)
{
	mend_bdev_freezes(super->sb);
	return super_thaw(super->sb, FREEZE_HOLDER_KERNEL);
}
#else
static void held_super_broken(struct work_struct *work);

/* Asked by who does not hold it; there is one hold at most. */
static bool is_held_by_others(struct super_block *sb)
{
	return READ_ONCE(sb->s_writers.frozen) == SB_FREEZE_COMPLETE;
}

static wait_queue_head_t *held_super_waiters(struct super_block *sb)
{
	return &sb->s_writers.rw_sem[SB_FREEZE_WRITE - 1].waiters;
}

/* A thaw wakes writers, and this one with them. */
static int held_super_thawed(struct wait_queue_entry *entry, unsigned int mode,
			     int flags, void *key)
{
	struct held_super *super = container_of(entry, struct held_super, thawed);

	list_del_init_careful(&entry->entry);
	queue_work(thaw_wq, &super->broken);
	return 0;
}

/* Returns whether it was still in the queue: nobody had thawed. */
static bool held_super_unwatch(struct held_super *super, struct super_block *sb)
{
	bool watched;

	spin_lock_irq(&held_super_waiters(sb)->lock);
	watched = !list_empty(&super->thawed.entry);
	list_del_init(&super->thawed.entry);
	spin_unlock_irq(&held_super_waiters(sb)->lock);
	return watched;
}

static int held_super_freeze(struct held_super *super, struct super_block *sb)
{
	int error = super_freeze(sb);

	if (!error) {
		add_wait_queue(held_super_waiters(sb), &super->thawed);
		/* Thawed already, which woke nobody here. */
		if (READ_ONCE(sb->s_writers.frozen) != SB_FREEZE_COMPLETE)
			queue_work(thaw_wq, &super->broken);
	}
	return error;
}

static int held_super_thaw(struct held_super *super)
{
	struct super_block *sb;
	int error = -ECANCELED;

	/* A stranger's thaw may have been the end of it. */
	spin_lock(&freezefd_lock);
	sb = super->sb && get_active(super->sb) ? super->sb : NULL;
	spin_unlock(&freezefd_lock);
	if (!sb)
		return error;
	if (held_super_unwatch(super, sb)) {
		error = super_thaw(sb, FREEZE_HOLDER_KERNEL);
		/* Thawed while it was read-only, which wakes nobody. */
		if (error == -EINVAL)
			error = -ECANCELED;
		else if (error)
			add_wait_queue(held_super_waiters(sb), &super->thawed);
	}
	deactivate_super(sb);
	return error;
}

static bool held_super_is_broken(struct held_super *super)
{
	struct super_block *sb;
	bool broken;

	if (!super->holds)
		return false;
	spin_lock(&freezefd_lock);
	sb = super->sb;
	/* The end of a hold on what was read-only wakes nobody. */
	broken = !sb || list_empty_careful(&super->thawed.entry) ||
		 READ_ONCE(sb->s_writers.frozen) != SB_FREEZE_COMPLETE;
	if (broken && sb)
		held_super_unwatch(super, sb);
	spin_unlock(&freezefd_lock);
	return broken;
}

static void held_super_init(struct held_super *super)
{
	init_waitqueue_func_entry(&super->thawed, held_super_thawed);
	INIT_LIST_HEAD(&super->thawed.entry);
	INIT_WORK(&super->broken, held_super_broken);
}

static void held_super_exit(struct held_super *super)
{
	cancel_work_sync(&super->broken);
}
#endif

/*
 * Called with held_super.lock.  When somebody else has thawed what the descriptors
 * hold they hold it no more.
 */
static void held_super_check(struct held_super *super)
{
	struct freezefd *ffd;

	lockdep_assert_held(&super->lock);

	if (!held_super_is_broken(super))
		return;
	spin_lock(&freezefd_lock);
	super->holds = 0;
	super->broken_times++;
	hlist_for_each_entry(ffd, &super->descriptors, node) {
		if (ffd->hold != FREEZEFD_HOLD_HELD)
			continue;
		ffd->hold = FREEZEFD_HOLD_REVOKED;
		wake_up_poll(&ffd->wait, EPOLLERR);
	}
	spin_unlock(&freezefd_lock);
}

#ifndef HAVE_FREEZE_HOLDERS
static void held_super_broken(struct work_struct *work)
{
	struct held_super *super = container_of(work, struct held_super, broken);

	mutex_lock(&super->lock);
	held_super_check(super);
	mutex_unlock(&super->lock);
}
#endif

/*
 * Take a hold of the superblock, which stops writers unless there is one.  It counts
 * from the beginning: a freeze that waits for a writer is not the kernel's own.
 */
static int held_super_hold(struct held_super *super, struct super_block *sb,
			   ktime_t since)
{
	bool first;
	int error;

	lockdep_assert_held(&super->lock);

	if (!super->holds && is_held_by_others(sb))
		return -EBUSY;
	spin_lock(&freezefd_lock);
	first = !super->holds++;
	if (first)
		super->since = since;
	spin_unlock(&freezefd_lock);
	error = first ? held_super_freeze(super, sb) : 0;
	if (error) {
		spin_lock(&freezefd_lock);
		super->holds--;
		spin_unlock(&freezefd_lock);
	}
	return error;
}

/*
 * Drop a hold.  -ECANCELED: somebody else had thawed.  With any other error the
 * filesystem refuses to thaw and the hold stays.
 */
static int held_super_drop(struct held_super *super)
{
	int error = 0;

	lockdep_assert_held(&super->lock);

	if (super->holds == 1)
		error = held_super_thaw(super);
	if (error && error != -ECANCELED)
		return error;
	spin_lock(&freezefd_lock);
	super->holds--;
	spin_unlock(&freezefd_lock);
	return error;
}

/*
 * The superblock is being shut down, or the last descriptor for it has gone.
 * Called once for each mark.
 */
static void super_mark_freeing(struct fsnotify_mark *mark,
			       struct fsnotify_group *group)
{
	struct held_super *super = container_of(mark, struct held_super, mark);
	struct freezefd *ffd;

	spin_lock(&freezefd_lock);
	if (super->sb)
		held_super_unwatch(super, super->sb);
	list_del_init(&super->node);
	WRITE_ONCE(super->sb, NULL);
	hlist_for_each_entry(ffd, &super->descriptors, node)
		wake_up_poll(&ffd->wait, EPOLLHUP);
	spin_unlock(&freezefd_lock);
}

static void super_mark_free(struct fsnotify_mark *mark)
{
	kfree(container_of(mark, struct held_super, mark));
}

static const struct fsnotify_ops super_mark_ops = {
	.freeing_mark	= super_mark_freeing,
	.free_mark	= super_mark_free,
};

/* What there is of @sb, with one more user, or NULL. */
static struct held_super *held_super_use(const struct super_block *sb)
{
	struct held_super *super;

	spin_lock(&freezefd_lock);
	super = find_held_super(sb);
	if (super)
		super->users++;
	spin_unlock(&freezefd_lock);
	return super;
}

/*
 * What there is of @sb, to which there is an active reference, with one more user,
 * or an error.
 */
static struct held_super *held_super_get(struct super_block *sb)
{
	static DEFINE_MUTEX(making);
	struct held_super *super;
	int error;

	mutex_lock(&making);
	super = held_super_use(sb);
	if (super)
		goto out;

	super = kzalloc(sizeof(*super), GFP_KERNEL_ACCOUNT);
	if (!super) {
		super = ERR_PTR(-ENOMEM);
		goto out;
	}
	mutex_init(&super->lock);
	super->sb = sb;
	super->users = 1;
	INIT_LIST_HEAD(&super->node);
	held_super_init(super);
	fsnotify_init_mark(&super->mark, freezefd_group);
	error = add_super_mark(&super->mark, sb);
	if (error) {
		fsnotify_put_mark(&super->mark);
		super = ERR_PTR(error);
		goto out;
	}
	spin_lock(&freezefd_lock);
	list_add(&super->node, &held_supers);
	spin_unlock(&freezefd_lock);
out:
	mutex_unlock(&making);
	return super;
}

static void held_super_unuse(struct held_super *super)
{
	bool last;

	spin_lock(&freezefd_lock);
	last = !--super->users;
	if (last) {
		list_del_init(&super->node);
		/* Not later: from now on it may go without notice. */
		if (super->sb)
			held_super_unwatch(super, super->sb);
		WRITE_ONCE(super->sb, NULL);
	}
	spin_unlock(&freezefd_lock);
	if (!last)
		return;
	fsnotify_destroy_mark(&super->mark, freezefd_group);
	held_super_exit(super);
	fsnotify_put_mark(&super->mark);
}

/* ---- Descriptors ---- */

static void freezefd_set_hold(struct freezefd *ffd, u32 hold)
{
	lockdep_assert_held(&ffd->lock);

	spin_lock(&freezefd_lock);
	ffd->hold = hold;
	spin_unlock(&freezefd_lock);
}

/* The error of a hold that has been broken, until a thaw has returned it. */
static int freezefd_broken(const struct freezefd *ffd)
{
	if (ffd->hold == FREEZEFD_HOLD_EXPIRED)
		return -ETIME;
	if (ffd->hold == FREEZEFD_HOLD_REVOKED)
		return -ECANCELED;
	return 0;
}

static void freezefd_put(struct freezefd *ffd)
{
	if (!refcount_dec_and_test(&ffd->ref))
		return;
	spin_lock(&freezefd_lock);
	hlist_del_init(&ffd->node);
	spin_unlock(&freezefd_lock);
	held_super_unuse(ffd->super);
	kfree(ffd);
}

/* An active reference to the superblock of @ffd, or NULL when it is dying. */
static struct super_block *freezefd_get_super(struct freezefd *ffd)
{
	struct super_block *sb;

	spin_lock(&freezefd_lock);
	sb = ffd->super->sb;
	if (sb && !get_active(sb))
		sb = NULL;
	spin_unlock(&freezefd_lock);
	return sb;
}

/* The same of one that only the freeze keeps, so that the worker's thaw is not its end. */
static struct super_block *freezefd_get_unmounted(struct freezefd *ffd)
{
	struct super_block *sb = NULL;

	if (READ_ONCE(ffd->hold) == FREEZEFD_HOLD_HELD)
		sb = freezefd_get_super(ffd);
	/* Not the last: its end may wait for what the task has yet to flush. */
	if (sb && atomic_read(&sb->s_active) > 2 &&
	    atomic_add_unless(&sb->s_active, -1, 1))
		return NULL;
	return sb;
}

/* With freezefd_lock: when a hold, that begins at @start or began, has its end. */
static void freezefd_set_deadline(struct freezefd *ffd, u64 timeout_ns,
				  ktime_t start)
{
	ffd->timeout_ns = timeout_ns;
	ffd->deadline = KTIME_MAX;
	if (timeout_ns)
		ffd->deadline = ktime_add_safe(start, timeout_ns);
	if (ffd->hold == FREEZEFD_HOLD_HELD && timeout_ns)
		hrtimer_start(&ffd->timer, ffd->deadline, HRTIMER_MODE_ABS);
}

/*
 * Drop the hold of @ffd, which is @hold from now on.  If the filesystem refuses
 * to thaw it stays held, and the error is returned.
 */
static int freezefd_drop(struct freezefd *ffd, u32 hold)
{
	struct held_super *super = ffd->super;
	int error = 0;

	lockdep_assert_held(&ffd->lock);

	mutex_lock(&super->lock);
	held_super_check(super);
	if (ffd->hold == FREEZEFD_HOLD_HELD) {
		/* First, so that nobody sees a thawed filesystem as held. */
		freezefd_set_hold(ffd, hold);
		error = held_super_drop(super);
	} else {
		error = freezefd_broken(ffd);
	}
	if (error == -ECANCELED)
		freezefd_set_hold(ffd, hold == FREEZEFD_HOLD_NONE ?
					       hold : FREEZEFD_HOLD_REVOKED);
	else if (error)
		freezefd_set_hold(ffd, FREEZEFD_HOLD_HELD);
	mutex_unlock(&super->lock);

	if (freezefd_broken(ffd))
		wake_up_poll(&ffd->wait, EPOLLERR);
	return error;
}

/* Thaw for a holder that is on its way out, or whose time is up. */
static void freezefd_work(struct work_struct *work)
{
	struct freezefd *ffd = container_of(work, struct freezefd, work);
	const u32 hold = READ_ONCE(ffd->closing) ? FREEZEFD_HOLD_NONE :
						   FREEZEFD_HOLD_EXPIRED;
	const ktime_t now = ktime_get_boottime();
	bool released;
	int error;

	mutex_lock(&ffd->lock);
	if (ffd->hold == FREEZEFD_HOLD_HELD) {
		/* It may have been renewed since the timer fired. */
		if (hold == FREEZEFD_HOLD_EXPIRED &&
		    ktime_before(now, ffd->deadline)) {
			hrtimer_start(&ffd->timer, ffd->deadline,
				      HRTIMER_MODE_ABS);
		} else {
			error = freezefd_drop(ffd, hold);
			if (error && error != -ECANCELED)
				hrtimer_start(&ffd->timer, NSEC_PER_SEC,
					      HRTIMER_MODE_REL);
		}
	}
	released = ffd->released && ffd->hold != FREEZEFD_HOLD_HELD;
	mutex_unlock(&ffd->lock);
	if (released) {
		/* Once it does not hold, nobody starts them again. */
		hrtimer_cancel(&ffd->timer);
		cancel_work(&ffd->work);
		freezefd_put(ffd);
		/* The end of the module waits for the end of this. */
		module_put(THIS_MODULE);
	}
}

static enum hrtimer_restart freezefd_timer(struct hrtimer *timer)
{
	struct freezefd *ffd = container_of(timer, struct freezefd, timer);

	/* A thaw sleeps, and must not write between suspend and resume. */
	queue_work(thaw_wq, &ffd->work);
	return HRTIMER_NORESTART;
}

/* From @start on a freeze may stop writers, or waits for one that does. */
static void freezefd_freeze_begins(struct freezefd *ffd, ktime_t start)
{
	spin_lock(&freezefd_lock);
	ffd->since = start;
	freezefd_set_deadline(ffd, ffd->timeout_ns, start);
	spin_unlock(&freezefd_lock);
	wake_up(&ffd->wait);
}

/* Returns whether @ffd holds what has been frozen for it. */
static bool freezefd_freeze_ends(struct freezefd *ffd)
{
	bool held = false;

	spin_lock(&freezefd_lock);
	if (!ffd->freeze_left &&
	    ktime_before(ktime_get_boottime(), ffd->deadline)) {
		held = true;
		ffd->hold = FREEZEFD_HOLD_HELD;
		freezefd_set_deadline(ffd, ffd->timeout_ns, ffd->since);
	}
	spin_unlock(&freezefd_lock);
	return held;
}

static int freezefd_freeze_super(struct freezefd *ffd, struct super_block *sb)
{
	struct held_super *super = ffd->super;
	unsigned int broken_times;
	int error = 0;

	/* Write back now, so that less is left to write while writers wait. */
	down_read(&sb->s_umount);
	if (sb->s_writers.frozen == SB_UNFROZEN)
		error = sync_filesystem(sb);
	up_read(&sb->s_umount);
	if (error)
		return error;

	freezefd_freeze_begins(ffd, ktime_get_boottime());
	mutex_lock(&super->lock);
	held_super_check(super);
	/* While this waited for another descriptor it stopped nobody. */
	freezefd_freeze_begins(ffd, ktime_get_boottime());
	/* In this order: who leaves ends the expediting. */
	held_super_expedite(super, true);
	error = READ_ONCE(ffd->freeze_left) ? -EINTR :
		held_super_hold(super, sb, ffd->since);
	held_super_expedite(super, false);
	if (!error && !freezefd_freeze_ends(ffd)) {
		broken_times = super->broken_times;
		error = held_super_drop(super);
		/* Nobody would hear of it. */
		while (error && error != -ECANCELED) {
			mutex_unlock(&super->lock);
			msleep(MSEC_PER_SEC);
			mutex_lock(&super->lock);
			held_super_check(super);
			/* Those that there are now may be others'. */
			if (super->broken_times != broken_times)
				break;
			error = held_super_drop(super);
		}
		error = -ETIME;
	}
	mutex_unlock(&super->lock);
	return error;
}

static void freezefd_freeze_work(struct work_struct *work)
{
	struct freezefd *ffd = container_of(work, struct freezefd, freeze_work);
	struct super_block *sb = ffd->freeze_sb;
	const int error = freezefd_freeze_super(ffd, sb);

	deactivate_super(sb);
	spin_lock(&freezefd_lock);
	ffd->freeze_error = error;
	ffd->freeze_runs = false;
	spin_unlock(&freezefd_lock);
	wake_up(&ffd->wait);
	freezefd_put(ffd);
	/* The end of the module waits for the end of this. */
	module_put(THIS_MODULE);
}

/* What is left until a time of CLOCK_BOOTTIME, in jiffies. */
static long jiffies_until(ktime_t until)
{
	s64 left = ktime_sub(until, ktime_get_boottime());

	if (until == KTIME_MAX)
		return MAX_SCHEDULE_TIMEOUT;
	if (left <= 0)
		return 0;
	return min_t(u64, nsecs_to_jiffies64(left) + 1, MAX_SCHEDULE_TIMEOUT - 1);
}

/*
 * Wait for the worker until its deadline, which comes with its beginning.  What
 * takes longer than a second waits for a writer, not for a grace period.
 */
static int freezefd_wait(struct freezefd *ffd)
{
	ktime_t deadline;
	long ret;

	do {
		deadline = READ_ONCE(ffd->deadline);
		ret = wait_event_killable_timeout(ffd->wait,
						  !READ_ONCE(ffd->freeze_runs) ||
						  READ_ONCE(ffd->deadline) != deadline,
						  min_t(long, jiffies_until(deadline), HZ));
		if (ret < 0)
			return -EINTR;
		if (!ret)
			held_super_expedite(ffd->super, false);
	} while (READ_ONCE(ffd->freeze_runs) &&
		 jiffies_until(READ_ONCE(ffd->deadline)));
	return -ETIME;
}

static int freezefd_freeze(struct freezefd *ffd)
{
	int error;

	lockdep_assert_held(&ffd->lock);

	if (ffd->hold != FREEZEFD_HOLD_NONE)
		return freezefd_broken(ffd) ?: -EBUSY;
	/* One that was given up has not come to its end yet. */
	if (READ_ONCE(ffd->freeze_runs))
		return -EBUSY;
	ffd->freeze_sb = freezefd_get_super(ffd);
	if (!ffd->freeze_sb)
		return -ESTALE;

	ffd->deadline = KTIME_MAX;
	ffd->freeze_runs = true;
	ffd->freeze_left = false;
	refcount_inc(&ffd->ref);
	__module_get(THIS_MODULE);
	queue_work(freeze_wq, &ffd->freeze_work);
	error = freezefd_wait(ffd);

	spin_lock(&freezefd_lock);
	if (ffd->hold != FREEZEFD_HOLD_NONE)
		error = 0;
	else if (!ffd->freeze_runs)
		error = ffd->freeze_error;
	else
		ffd->freeze_left = true;
	spin_unlock(&freezefd_lock);
	/* What now waits may do so for long. */
	if (error)
		held_super_expedite(ffd->super, false);
	return error;
}

static int freezefd_thaw(struct freezefd *ffd)
{
	int error;

	if (ffd->hold == FREEZEFD_HOLD_HELD) {
		error = freezefd_drop(ffd, FREEZEFD_HOLD_NONE);
		if (!freezefd_broken(ffd))
			return error;
	}
	error = freezefd_broken(ffd);
	if (error) {
		freezefd_set_hold(ffd, FREEZEFD_HOLD_NONE);
		return error;
	}
	return READ_ONCE(ffd->super->sb) ? -EINVAL : -ESTALE;
}

/* Who was handed a descriptor gets no more time than it was made with. */
static int freezefd_timeout(struct freezefd *ffd, u64 timeout_ns)
{
	struct super_block *sb;
	bool may_admin;
	int error;

	error = freezefd_broken(ffd);
	if (error)
		return error;
	sb = freezefd_get_super(ffd);
	if (!sb)
		return -ESTALE;
	may_admin = may_admin_freeze(sb);
	deactivate_super(sb);

	if (may_admin)
		ffd->limit_ns = timeout_ns;
	else if (ffd->limit_ns && (!timeout_ns || timeout_ns > ffd->limit_ns))
		return -EPERM;
	spin_lock(&freezefd_lock);
	freezefd_set_deadline(ffd, timeout_ns, ktime_get_boottime());
	spin_unlock(&freezefd_lock);
	return 0;
}

static void freezefd_query(const struct freezefd *ffd,
			   struct freeze_status *status)
{
	const struct super_block *sb = ffd->super->sb;

	lockdep_assert_held(&freezefd_lock);

	status->hold = ffd->hold;
	if (sb)
		super_freeze_status(sb, READ_ONCE(sb->s_writers.frozen), ffd->super, status);
	else if (ffd->hold == FREEZEFD_HOLD_NONE)
		status->hold = FREEZEFD_HOLD_GONE;
	/* By somebody else a moment ago, or while it was read-only. */
	if (status->hold == FREEZEFD_HOLD_HELD &&
	    (!sb || READ_ONCE(sb->s_writers.frozen) == SB_UNFROZEN))
		status->hold = FREEZEFD_HOLD_REVOKED;

	status->timeout_ns = ffd->timeout_ns;
	/* Past and about to be told is not the same as none. */
	if (status->hold == FREEZEFD_HOLD_HELD && ffd->timeout_ns)
		status->timeout_ns = max_t(s64, 1, ktime_sub(ffd->deadline,
							     ktime_get_boottime()));
}

/* As extensible_ioctl_valid(), which came with 6.19: any size is taken. */
static bool is_call(unsigned int cmd, unsigned int call)
{
	return !((cmd ^ call) & ~IOCSIZE_MASK);
}

static long freezefd_status(struct freezefd *ffd, void __user *argp, size_t size)
{
	struct freeze_status status = {};

	spin_lock(&freezefd_lock);
	freezefd_query(ffd, &status);
	spin_unlock(&freezefd_lock);
	return freeze_status_to_user(&status, argp, size);
}

static long freezefd_ioctl(struct file *file, unsigned int cmd,
			   unsigned long arg)
{
	struct freezefd *ffd = file->private_data;
	void __user *argp = (void __user *)arg;
	u64 timeout_ns = 0;
	long error;

	if (is_call(cmd, FS_IOC_FREEZE_STATUS))
		return freezefd_status(ffd, argp, _IOC_SIZE(cmd));
	/* As on any file that is on no filesystem to freeze. */
	if (is_call(cmd, FS_IOC_FREEZEFD))
		return -EOPNOTSUPP;
	if (cmd == FS_IOC_THAW_FORCE)
		return -EINVAL;
	if (cmd == FREEZEFD_IOC_TIMEOUT) {
		if (copy_from_user(&timeout_ns, argp, sizeof(timeout_ns)))
			return -EFAULT;
		if (timeout_ns > KTIME_MAX)
			return -EINVAL;
	} else if (cmd != FREEZEFD_IOC_FREEZE && cmd != FREEZEFD_IOC_THAW) {
		return -ENOTTY;
	}

	if (mutex_lock_killable(&ffd->lock))
		return -EINTR;
	if (cmd == FREEZEFD_IOC_FREEZE)
		error = freezefd_freeze(ffd);
	else if (cmd == FREEZEFD_IOC_THAW)
		error = freezefd_thaw(ffd);
	else
		error = freezefd_timeout(ffd, timeout_ns);
	mutex_unlock(&ffd->lock);
	return error;
}

static __poll_t freezefd_poll(struct file *file, poll_table *wait)
{
	struct freezefd *ffd = file->private_data;
	__poll_t events = 0;

	poll_wait(file, &ffd->wait, wait);

	spin_lock(&freezefd_lock);
	if (freezefd_broken(ffd))
		events |= EPOLLERR;
	if (!ffd->super->sb)
		events |= EPOLLHUP;
	spin_unlock(&freezefd_lock);
	return events;
}

static void freezefd_show_fdinfo(struct seq_file *m, struct file *file)
{
	static const char * const states[] = { "thawed", "freezing", "frozen" };
	static const char * const holds[] = { "none", "held", "expired",
					      "revoked", "gone" };
	struct freezefd *ffd = file->private_data;
	struct freeze_status status = {};
	const struct super_block *sb;

	spin_lock(&freezefd_lock);
	freezefd_query(ffd, &status);
	seq_printf(m, "freezefd-hold:\t%s\n", holds[status.hold]);
	seq_printf(m, "freezefd-timeout-ns:\t%llu\n", status.timeout_ns);
	sb = ffd->super->sb;
	if (sb) {
		seq_printf(m, "freezefd-fs:\t%u:%u %s %s %llu ",
			   MAJOR(sb->s_dev), MINOR(sb->s_dev), sb->s_type->name,
			   states[status.state], status.frozen_ns);
		seq_escape(m, sb->s_id, " \t\n\\");
		seq_putc(m, '\n');
	}
	spin_unlock(&freezefd_lock);
}

/*
 * A task that exits flushes all its files and releases them later, in no fixed
 * order.  Releasing a deleted file of the frozen filesystem writes to it, and so
 * waits for the thaw.  So start the thaw now.  Leave it to the worker: it may have
 * to wait for another descriptor of this task, if this filesystem's device is a
 * file on a filesystem that the task holds frozen as well.
 */
static int freezefd_flush(struct file *file, fl_owner_t id)
{
	struct freezefd *ffd = file->private_data;

	/*
	 * The file is no longer in the table of descriptors.  Who still got it
	 * from there, as pidfd_getfd() may, has counted itself.
	 */
	smp_mb();
	if (file_count(file) == 1 && !ffd->closing) {
		ffd->closing_sb = freezefd_get_unmounted(ffd);
		WRITE_ONCE(ffd->closing, true);
		queue_work(thaw_wq, &ffd->work);
	}
	return 0;
}

static int freezefd_release(struct inode *inode, struct file *file)
{
	struct freezefd *ffd = file->private_data;
	struct super_block *sb = ffd->closing_sb;

	mutex_lock(&ffd->lock);
	if (ffd->hold == FREEZEFD_HOLD_HELD)
		freezefd_drop(ffd, FREEZEFD_HOLD_NONE);
	if (ffd->hold == FREEZEFD_HOLD_HELD) {
		/* The worker tries again, and frees it in the end. */
		ffd->closing = true;
		ffd->released = true;
		__module_get(THIS_MODULE);
		hrtimer_start(&ffd->timer, NSEC_PER_SEC, HRTIMER_MODE_REL);
		mutex_unlock(&ffd->lock);
	} else {
		mutex_unlock(&ffd->lock);
		/* In this order: only a hold starts the timer again. */
		hrtimer_cancel(&ffd->timer);
		cancel_work_sync(&ffd->work);
		freezefd_put(ffd);
	}
	if (sb)
		deactivate_super(sb);
	return 0;
}

static const struct file_operations freezefd_fops = {
	.owner		= THIS_MODULE,
	.llseek		= noop_llseek,
	.poll		= freezefd_poll,
	.unlocked_ioctl	= freezefd_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.flush		= freezefd_flush,
	.release	= freezefd_release,
	.show_fdinfo	= freezefd_show_fdinfo,
};

static struct freezefd *freezefd_alloc(struct super_block *sb, u64 timeout_ns)
{
	struct held_super *super;
	struct freezefd *ffd;

	ffd = kzalloc(sizeof(*ffd), GFP_KERNEL_ACCOUNT);
	if (!ffd)
		return ERR_PTR(-ENOMEM);
	super = held_super_get(sb);
	if (IS_ERR(super)) {
		kfree(ffd);
		return ERR_CAST(super);
	}
	mutex_init(&ffd->lock);
	refcount_set(&ffd->ref, 1);
	init_waitqueue_head(&ffd->wait);
	INIT_WORK(&ffd->work, freezefd_work);
	INIT_WORK(&ffd->freeze_work, freezefd_freeze_work);
	hrtimer_setup(&ffd->timer, freezefd_timer, CLOCK_BOOTTIME,
		      HRTIMER_MODE_ABS);
	ffd->super = super;
	ffd->deadline = KTIME_MAX;
	ffd->timeout_ns = timeout_ns;
	ffd->limit_ns = timeout_ns;

	spin_lock(&freezefd_lock);
	hlist_add_head(&ffd->node, &super->descriptors);
	spin_unlock(&freezefd_lock);
	return ffd;
}

/* ---- Force ---- */

/* A descriptor that holds @sb, with a reference, or NULL. */
static struct freezefd *freezefd_get_holder(struct super_block *sb)
{
	struct held_super *super;
	struct freezefd *ffd, *found = NULL;

	spin_lock(&freezefd_lock);
	super = find_held_super(sb);
	if (super)
		hlist_for_each_entry(ffd, &super->descriptors, node)
			if (ffd->hold == FREEZEFD_HOLD_HELD &&
			    refcount_inc_not_zero(&ffd->ref)) {
				found = ffd;
				break;
			}
	spin_unlock(&freezefd_lock);
	return found;
}

/*
 * Revoke the holds of all descriptors on @sb, to which there is an active
 * reference, and tell their holders.  Returns how many there were, -EINTR when the
 * task is being killed, or the error of a filesystem that refused to thaw.
 */
static int freezefd_revoke(struct super_block *sb)
{
	struct freezefd *ffd;
	int dropped = 0, error = 0;

	while (!error && (ffd = freezefd_get_holder(sb))) {
		error = mutex_lock_killable(&ffd->lock);
		if (!error) {
			if (ffd->hold == FREEZEFD_HOLD_HELD) {
				error = freezefd_drop(ffd, FREEZEFD_HOLD_REVOKED);
				if (error == -ECANCELED)
					error = 0;
				dropped += !error;
			}
			mutex_unlock(&ffd->lock);
		}
		freezefd_put(ffd);
	}
	return error ?: dropped;
}

/* Wait until nobody freezes, thaws or unmounts @sb, which nothing can end. */
static int wait_not_busy(struct super_block *sb)
{
	while (freeze_under_way(sb) || !down_write_trylock(&sb->s_umount)) {
		schedule_timeout_killable(max(HZ / 50, 1));
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	up_write(&sb->s_umount);
	return 0;
}

/*
 * Drop the holds of user space and of the block layer, which froze @bdev if it did.
 * Adds up in @dropped.
 */
static int thaw_user_holds(struct super_block *sb, struct block_device *bdev,
			   int *dropped)
{
	struct thaw_call call = { .bdev = bdev };
	int error;

	/* So, and not by the count alone, the device can be mounted again. */
	while (bdev && bdev_freezes(bdev) > 0 && !thaw_uninterrupted(&call))
		++*dropped;
	for (;;) {
		error = wait_not_busy(sb);
		if (error)
			return error;
#ifdef HAVE_FREEZE_HOLDERS
		/* gfs2 takes it for granted that there is such a hold. */
		if (!user_holds(sb))
			break;
#else
		/* A worker may wait long for s_umount of what a user has mounted. */
		if (READ_ONCE(sb->s_writers.frozen) != SB_FREEZE_COMPLETE)
			break;
#endif
		error = super_thaw(sb, FREEZE_HOLDER_USERSPACE);
		/* Somebody else has thawed. */
		if (error == -EINVAL)
			break;
		if (error)
			return error;
		++*dropped;
	}
	mend_bdev_freezes(sb);
	return 0;
}

/*
 * Wait for a descriptor that has frozen @sb, but does not know yet that it holds it,
 * or that drops its hold, which the filesystem may refuse.
 */
static int wait_for_holders(struct super_block *sb)
{
	struct held_super *super = held_super_use(sb);
	int error;

	if (!super)
		return 0;
	error = mutex_lock_killable(&super->lock);
	if (!error)
		mutex_unlock(&super->lock);
	held_super_unuse(super);
	return error;
}

/* @sb has an active reference. */
static int super_thaw_force(struct super_block *sb, struct block_device *bdev)
{
	int error, dropped = 0;

	error = wait_not_busy(sb);
	if (!error)
		error = wait_for_holders(sb);
	if (!error) {
		error = freezefd_revoke(sb);
		dropped = max(error, 0);
	}
	if (error >= 0)
		error = thaw_user_holds(sb, bdev, &dropped);
	return error ?: dropped ? 0 : -EINVAL;
}

/* ---- The device ---- */

/* An active reference in @arg, for who may freeze it. */
static int sb_get_active(struct super_block *sb, void *arg)
{
	if (!may_admin_freeze(sb))
		return -EPERM;
	if (!is_born(sb) || !get_active(sb))
		return -ENODEV;
	*(struct super_block **)arg = sb;
	return 0;
}

static struct block_device *file_block_device(struct file *file)
{
	return S_ISBLK(file_inode(file)->i_mode) ?
		       I_BDEV(file->f_mapping->host) : NULL;
}

/*
 * Before 7.3 a btrfs does not hold its devices by its superblock but by its type,
 * as others may.  One that there is a descriptor for is known by its name, which is
 * that of a device of it.  Returns an active reference, or NULL.
 */
static struct super_block *get_held_btrfs(const struct block_device *bdev)
{
	struct super_block *sb, *found = NULL;
	struct held_super *super;
	char name[32];

	snprintf(name, sizeof(name), "%pg", bdev);
	spin_lock(&freezefd_lock);
	list_for_each_entry(super, &held_supers, node) {
		sb = super->sb;
		if (sb && !sb->s_bdev && !strcmp(sb->s_type->name, "btrfs") &&
		    READ_ONCE(bdev->bd_holder) == sb->s_type &&
		    !strcmp(sb->s_id, name) && get_active(sb)) {
			found = sb;
			break;
		}
	}
	spin_unlock(&freezefd_lock);
	return found;
}

/*
 * Call @fn for the superblock that @file is on or, if it is a block device, for, as
 * with_bdev_super() does.
 */
static int with_target_super(struct file *file,
			     int (*fn)(struct super_block *sb, void *arg),
			     void *arg)
{
	struct block_device *bdev = file_block_device(file);
	struct super_block *sb;
	int ret;

	if (!bdev)
		return fn(file_inode(file)->i_sb, arg);
	ret = with_bdev_super(bdev, fn, arg);
	if (ret != -ENODEV)
		return ret;
	sb = get_held_btrfs(bdev);
	if (sb) {
		ret = fn(sb, arg);
		deactivate_super(sb);
	}
	return ret;
}

static int dev_status(struct file *target, void __user *argp, size_t size)
{
	struct freeze_status status = {};
	int error;

	if (target->f_op == &freezefd_fops)
		return freezefd_status(target->private_data, argp, size);
	error = with_target_super(target, sb_freeze_status, &status);
	return error ?: freeze_status_to_user(&status, argp, size);
}

/* The caller may freeze @sb and has an active reference. */
static int dev_freezefd(struct super_block *sb, void __user *argp, size_t size)
{
	struct freezefd_args args;
	struct freezefd *ffd;
	struct file *file;
	int fd, error;

	if (size < FREEZEFD_ARGS_SIZE_VER0)
		return -EINVAL;
	error = copy_struct_from_user(&args, sizeof(args), argp, size);
	if (error)
		return error;
	if ((args.flags & ~FREEZEFD_THAWED) || args.reserved ||
	    args.timeout_ns > KTIME_MAX)
		return -EINVAL;
	if (!can_hold(sb))
		return -EOPNOTSUPP;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	ffd = freezefd_alloc(sb, args.timeout_ns);
	error = PTR_ERR_OR_ZERO(ffd);
	if (error)
		goto put_fd;
	file = anon_inode_create_getfile("[freezefd]", &freezefd_fops, ffd,
					 O_RDWR, NULL);
	if (IS_ERR(file)) {
		error = PTR_ERR(file);
		freezefd_put(ffd);
		goto put_fd;
	}

	/* Nothing may fail once the filesystem is frozen. */
	if (!(args.flags & FREEZEFD_THAWED)) {
		mutex_lock(&ffd->lock);
		error = freezefd_freeze(ffd);
		mutex_unlock(&ffd->lock);
		if (error) {
			fput(file);
			goto put_fd;
		}
	}
	fd_install(fd, file);
	return fd;

put_fd:
	put_unused_fd(fd);
	return error;
}

static int dev_call(struct file *target, unsigned int cmd, void __user *argp,
		    size_t size)
{
	struct super_block *sb;
	int error;

	if (is_call(cmd, FREEZEFD_DEV_STATUS))
		return dev_status(target, argp, size);

	error = with_target_super(target, sb_get_active, &sb);
	if (error)
		return error;
	if (is_call(cmd, FREEZEFD_DEV_FREEZEFD))
		error = dev_freezefd(sb, argp, size);
	else
		error = super_thaw_force(sb, file_block_device(target) ?: sb->s_bdev);
	deactivate_super(sb);
	return error;
}

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct freezefd_dev_target __user *head = (void __user *)arg;
	struct fd target;
	u32 fd, reserved;
	long error;

	if (!is_call(cmd, FREEZEFD_DEV_STATUS) &&
	    !is_call(cmd, FREEZEFD_DEV_FREEZEFD) && cmd != FREEZEFD_DEV_THAW_FORCE)
		return -ENOTTY;
	if (_IOC_SIZE(cmd) < sizeof(*head))
		return -EINVAL;
	if (get_user(fd, &head->fd) || get_user(reserved, &head->reserved))
		return -EFAULT;
	if (reserved)
		return -EINVAL;
	target = fdget(fd);
	if (!fd_file(target))
		return -EBADF;
	error = dev_call(fd_file(target), cmd, head + 1, _IOC_SIZE(cmd) - sizeof(*head));
	fdput(target);
	return error;
}

static const struct file_operations dev_fops = {
	.owner		= THIS_MODULE,
	.llseek		= noop_llseek,
	.unlocked_ioctl	= dev_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct miscdevice dev = {
	.name	= "freezefd",
	.mode	= 0666,
	.fops	= &dev_fops,
};

static int __init freezefd_init(void)
{
	int error = -ENOMEM;

	if (IS_ENABLED(HAVE_FREEZE_DESCRIPTORS)) {
		pr_info("not loaded: this kernel has freeze descriptors itself\n");
		return -EEXIST;
	}
	freeze_wq = alloc_workqueue("freezefd_freeze", WQ_UNBOUND | WQ_FREEZABLE, 0);
	thaw_wq = alloc_workqueue("freezefd_thaw", WQ_UNBOUND | WQ_FREEZABLE, 0);
	/* Not freezable: who waits for it is, and goes first. */
	super_wq = alloc_workqueue("freezefd_super", WQ_UNBOUND, 0);
	if (!freeze_wq || !thaw_wq || !super_wq)
		goto fail;
	freezefd_group = fsnotify_alloc_group(&super_mark_ops, FSNOTIFY_GROUP_DUPS);
	if (IS_ERR(freezefd_group)) {
		error = PTR_ERR(freezefd_group);
		goto fail;
	}
	dev.minor = minor;
	error = misc_register(&dev);
	if (!error)
		return 0;
	pr_err("minor number %d is taken (error %d): give another one as minor=N\n",
	       minor, error);
	fsnotify_put_group(freezefd_group);
fail:
	if (super_wq)
		destroy_workqueue(super_wq);
	if (thaw_wq)
		destroy_workqueue(thaw_wq);
	if (freeze_wq)
		destroy_workqueue(freeze_wq);
	return error;
}

/* Nobody has a descriptor, and nothing is held: each has the module in use. */
static void __exit freezefd_exit(void)
{
	misc_deregister(&dev);
	destroy_workqueue(freeze_wq);
	destroy_workqueue(thaw_wq);
	destroy_workqueue(super_wq);
	/* Each mark has the group until its last call has returned. */
	while (refcount_read(&freezefd_group->refcnt) > 1)
		msleep(20);
	fsnotify_put_group(freezefd_group);
}

module_init(freezefd_init);
module_exit(freezefd_exit);
MODULE_DESCRIPTION("Freeze descriptors: a file descriptor that holds a filesystem frozen");
MODULE_AUTHOR("The freezefd developers");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
MODULE_ALIAS_MISCDEV(FREEZEFD_MINOR);
MODULE_ALIAS("devname:freezefd");
