// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * C15, C6, C8: threads that use one descriptor, and one filesystem, at once.
 * What each call returns depends on the others; that all is thawed in the end
 * does not. FREEZEFD_TEST_ROUNDS makes it longer.
 */
#include <pthread.h>

#include "contract.h"

static int common_fd;
static volatile bool stop;

static void check_one_of_at(int line, int got, const int *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (got == want[i])
			return;
	check_eq_at(__FILE__, line, "the result", got, want[0]);
}

#define check_one_of(got, want) check_one_of_at(__LINE__, got, want, ARRAY_SIZE(want))

static void check_freeze(int got)
{
	const int want[] = {0, -EBUSY, -ETIME, -ECANCELED, -EINTR};

	check_one_of(got, want);
}

static void check_thaw(int got)
{
	const int want[] = {0, -EINVAL, -ETIME, -ECANCELED};

	check_one_of(got, want);
}

static void *freezer(void *arg)
{
	for (unsigned int i = 0; i < rounds(40); i++)
		check_freeze(freezefd_freeze(common_fd));
	return NULL;
}

static void *thawer(void *arg)
{
	while (!stop) {
		check_thaw(freezefd_thaw(common_fd));
		usleep(1000);
	}
	return NULL;
}

static void *watcher(void *arg)
{
	while (!stop) {
		const struct freezefd_status by_fd = status_of(common_fd), by_dir = status_of(dir);

		check(by_fd.hold <= FREEZEFD_HOLD_REVOKED);
		check(by_dir.state <= FREEZE_STATE_FROZEN);
		check(by_dir.state != FREEZE_STATE_THAWED || by_dir.frozen_ns == 0);
		status_of(dev);
		events(common_fd);
		usleep(500);
	}
	return NULL;
}

static void *renewer(void *arg)
{
	const int want[] = {0, -ETIME, -ECANCELED};

	for (unsigned int i = 0; !stop; i++) {
		check_one_of(freezefd_set_timeout(common_fd, i % 3 * 500000), want);
		usleep(1000);
	}
	return NULL;
}

static void *copier(void *arg)
{
	while (!stop) {
		close(dup(common_fd));
		usleep(200);
	}
	return NULL;
}

static void *stranger(void *arg)
{
	while (!stop) {
		ioctl(dir, FITHAW, 0);
		usleep(1000);
	}
	return NULL;
}

static void *forcer(void *arg)
{
	for (unsigned int i = 0; !stop; i++) {
		const int ret = freezefd_thaw_force(i % 2 ? dir : dev);

		check(ret == 0 || ret == -EINVAL);
		usleep(5000);
	}
	return NULL;
}

static void *opener(void *arg)
{
	for (unsigned int i = 0; i < rounds(40) / 4; i++) {
		int fd = hold(i % 2 ? dir : dev);

		check_thaw(freezefd_thaw(fd));
		check_freeze(freezefd_freeze(fd));
		close(fd);
	}
	return NULL;
}

/* All of them at once; those that count their rounds end the others. */
static void run_at_once(void *(*const counting[])(void *), size_t nr_counting,
			void *(*const endless[])(void *), size_t nr_endless)
{
	pthread_t thread[16];

	time_limit(600);
	common_fd = no_hold(dir);
	for (size_t i = 0; i < nr_counting; i++)
		check(!pthread_create(&thread[i], NULL, counting[i], NULL));
	for (size_t i = 0; i < nr_endless; i++)
		check(!pthread_create(&thread[nr_counting + i], NULL, endless[i], NULL));
	for (size_t i = 0; i < nr_counting; i++)
		check(!pthread_join(thread[i], NULL));
	stop = true;
	for (size_t i = 0; i < nr_endless; i++)
		check(!pthread_join(thread[nr_counting + i], NULL));

	close(common_fd);
	wait_state(dir, THAWED);
	check_eq(status_of(dir).fd_holds, 0);
	check_eq(status_of(dir).user_holds, 0);
	check_writable(dir);
}

TEST(C15, "threads freeze, thaw, renew, copy and ask on one descriptor")
{
	void *(*const counting[])(void *) = {freezer, freezer};
	void *(*const endless[])(void *) = {thawer, watcher, renewer, copier};

	run_at_once(counting, ARRAY_SIZE(counting), endless, ARRAY_SIZE(endless));
}

TEST(C15, "threads freeze one filesystem while others thaw it by force")
{
	void *(*const counting[])(void *) = {freezer, opener, opener};
	void *(*const endless[])(void *) = {thawer, watcher, stranger, forcer};

	run_at_once(counting, ARRAY_SIZE(counting), endless, ARRAY_SIZE(endless));
}

static void *close_one(void *fd)
{
	close(*(int *)fd);
	return NULL;
}

static void *freeze_one(void *fd)
{
	freezefd_freeze(*(int *)fd);
	return NULL;
}

static void *thaw_one(void *fd)
{
	freezefd_thaw(*(int *)fd);
	return NULL;
}

TEST(C15, "a close that races with a freeze or a thaw of the same descriptor")
{
	void *(*const rival[])(void *) = {freeze_one, thaw_one};

	time_limit(600);
	for (unsigned int i = 0; i < rounds(40); i++) {
		int fd = i % 2 ? hold(dir) : no_hold(dir);
		pthread_t closer, other;

		check(!pthread_create(&other, NULL, rival[i % 2], &fd));
		check(!pthread_create(&closer, NULL, close_one, &fd));
		check(!pthread_join(closer, NULL));
		check(!pthread_join(other, NULL));
		wait_state(dir, THAWED);
		check_eq(status_of(dir).fd_holds, 0);
	}
	check_writable(dir);
}

TEST(C15, "umount that races with freeze, thaw and close")
{
	time_limit(600);
	for (unsigned int i = 0; i < rounds(40) / 4; i++) {
		const char *path = scratch_fs(0);
		int fs = open_dir(path), bdev = open_dev(scratch(0)), fd = no_hold(fs);
		struct freezefd_status status;
		pid_t user, umounter;

		close(fs);
		IN_CHILD(user) {
			for (int k = 0; k < 20; k++) {
				const int want[] = {0, -ESTALE};

				int ret = freezefd_freeze(fd);

				check_one_of(ret, want);
				freezefd_status(bdev, &status);
				if (ret == 0)
					check_eq(freezefd_thaw(fd), 0);
			}
		}
		IN_CHILD(umounter)
			check(!umount2(path, 0));
		reap(umounter);
		reap(user);
		wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
		close(fd);
		check_eq(freezefd_status(bdev, &status), -ENODEV);
		close(bdev);
	}
}
