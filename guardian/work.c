// SPDX-License-Identifier: GPL-2.0-or-later
/* FIFREEZE and FITHAW wait for the disk, the mount waits for both: the thread that does so. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>

#include "process.h"

#define STACK_SIZE (64 * 1024) /* all of it is locked in memory */

static const struct fs *fs;
static struct common *common;
static sem_t begin;
static int done;
static enum work work;
static int result;

/*
 * f2fs refuses with EINVAL if a deleted file was still being evicted after the sync: f2fs_freeze() in fs/f2fs/super.c of 7.3.
 * So try again, unless nobody waits any more.
 */
static int call_fifreeze(int root)
{
	for (int tries = 3;; tries--) {
		if (!ioctl(root, FIFREEZE, 0))
			return 0;
		if (errno != EINVAL || !tries || !common->wanted)
			return -errno;
	}
}

static int freeze(void)
{
	int root = sb_open_root(fs->reader, fs->bdev, &fs->record), ret;

	if (root < 0)
		return root;
	/* What is on the disk already is not written while others wait for it. An error FIFREEZE has too. */
	syncfs(root);
	/* That may take long. */
	if (!common->wanted) {
		close(root);
		return -ECANCELED;
	}
	/* From here on the watcher would thaw. */
	common->root = root;
	common->stopped_ns = now_ns();
	ret = call_fifreeze(root);
	if (!ret)
		return 0;
	/* First: the watcher must not find the number of what is closed. */
	common->root = -1;
	close(root);
	return ret;
}

/* Drops the mount: the filesystem may go away now. */
static int leave(void)
{
	int root = common->root;

	common->root = -1;
	close(root);
	return 0;
}

/* If the filesystem refuses it stays ours, and is tried again. */
static int thaw(void)
{
	int ret = sb_thaw(fs->reader, common->root, fs->record.id);

	/* With EINVAL somebody else has thawed. */
	return ret && ret != -EINVAL ? ret : leave();
}

static int force(void)
{
	int root = common->root, ret;

	if (root < 0)
		root = sb_open_root(fs->reader, fs->bdev, &fs->record);
	if (root < 0)
		return root;
	ret = sb_thaw_all(fs->reader, root, fs->record.id);
	if (ret && ret != -EINVAL && root == common->root)
		return ret;
	common->root = -1;
	close(root);
	return ret;
}

static int do_work(void)
{
	switch (work) {
	case WORK_FREEZE:
		return freeze();
	case WORK_THAW:
		return thaw();
	case WORK_LEAVE:
		return leave();
	case WORK_FORCE:
		return force();
	}
	return -EINVAL;
}

static void *run(void *arg)
{
	const uint64_t one = 1;

	block_signals();
	for (;;) {
		while (sem_wait(&begin))
			;
		result = do_work();
		if (write(done, &one, sizeof(one)) != sizeof(one))
			_exit(1); /* the watcher does the rest */
	}
	return NULL;
}

int work_start(const struct fs *the_fs, struct common *the_common)
{
	pthread_attr_t attr;
	pthread_t thread;
	int ret;

	fs = the_fs;
	common = the_common;
	sem_init(&begin, 0, 0);
	done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (done < 0)
		return -errno;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	ret = pthread_create(&thread, &attr, run, NULL);
	block_signals();
	return ret ? -ret : done;
}

void work_begin(enum work what)
{
	work = what;
	sem_post(&begin);
}

int work_result(void)
{
	uint64_t count;

	while (read(done, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	return result;
}
