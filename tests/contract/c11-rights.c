// SPDX-License-Identifier: GPL-2.0-or-later
/* C11: who may freeze, and that the descriptor is a capability. */
#include <sched.h>

#include "contract.h"

static void become_nobody(void)
{
	check(!setresgid(65534, 65534, 65534));
	check(!setresuid(65534, 65534, 65534));
}

/* Root, with every capability, of a namespace that owns nothing of ours. */
static void become_root_of_nothing(void)
{
	int map;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) {
		if (errno == EINVAL)
			skip("the kernel has no user namespaces");
		check(!"unshare");
	}
	map = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	check(write(map, "0 0 1", 5) == 5);
	close(map);
	check_eq(getuid(), 0);
}

static void check_forbidden(void)
{
	const struct freezefd_options thawed = {.size = sizeof(thawed), .flags = FREEZEFD_THAWED};

	check_eq(freezefd_open(dir, NULL), -EPERM);
	check_eq(freezefd_open(dev, NULL), -EPERM);
	check_eq(freezefd_open(dir, &thawed), -EPERM);
	check_eq(freezefd_open(dev, &thawed), -EPERM);
	check_eq(freezefd_thaw_force(dir), -EPERM);
	check_eq(freezefd_thaw_force(dev), -EPERM);
}

TEST(C11, "without CAP_SYS_ADMIN no descriptor and no force thaw")
{
	pid_t nobody;
	int fd;

	IN_CHILD(nobody) {
		become_nobody();
		check_forbidden();
		check_state(dir, THAWED);
	}
	reap(nobody);

	fd = hold(dir);
	IN_CHILD(nobody) {
		become_nobody();
		check_forbidden();
	}
	reap(nobody);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C11, "CAP_SYS_ADMIN in another user namespace does not do")
{
	int fd = hold(dir);
	pid_t child;

	IN_CHILD(child) {
		become_root_of_nothing();
		check_forbidden();
		check_state(dir, FROZEN);
	}
	reap(child);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

/* tmpfs cannot freeze, but who may ask is looked at first. */
TEST(C11, "CAP_SYS_ADMIN in the filesystem's own user namespace does")
{
	int outer = open_dir("/dev");
	pid_t child;

	check_eq(freezefd_open(outer, NULL), -EOPNOTSUPP);
	IN_CHILD(child) {
		int inner;

		become_root_of_nothing();
		check_eq(freezefd_open(outer, NULL), -EPERM);
		check(!mount("inner", "/mnt", "tmpfs", 0, NULL));
		inner = open_dir("/mnt");
		check_eq(freezefd_open(inner, NULL), -EOPNOTSUPP);
	}
	reap(child);
}

static void use_all(int fd)
{
	check_hold(fd, HELD);
	check_eq(freezefd_set_timeout(fd, 3600 * SECOND), 0);
	check_eq(freezefd_thaw(fd), 0);
	check_state(dir, THAWED);
	check_eq(freezefd_freeze(fd), 0);
	check_state(dir, FROZEN);
	check_hold(fd, HELD);
}

TEST(C11, "whoever drops the privilege keeps the descriptor and its use")
{
	pid_t agent;

	IN_CHILD(agent) {
		int fd = hold(dir), idle = no_hold(dir);

		become_nobody();
		use_all(fd);
		check_eq(freezefd_thaw(fd), 0);
		check_eq(freezefd_freeze(idle), 0);
		use_all(idle);
	}
	reap(agent);
	wait_state(dir, THAWED);
}

TEST(C11, "whoever is given the descriptor may use it")
{
	pid_t nobody;
	int pair[2];

	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	IN_CHILD(nobody) {
		int fd;

		become_nobody();
		check_eq(freezefd_open(dir, NULL), -EPERM);
		fd = receive_fd(pair[1]);
		check(fd >= 0);
		use_all(fd);
		check_eq(freezefd_thaw(fd), 0);
	}
	check_eq(send_fd(pair[0], hold(dir)), 0);
	reap(nobody);
	check_state(dir, THAWED);
}

TEST(C11, "who has a descriptor uses it in namespaces of his own, too")
{
	int fd = hold(dir);
	pid_t child;

	IN_CHILD(child) {
		become_root_of_nothing();
		check(!unshare(CLONE_NEWNET | CLONE_NEWIPC));
		check_eq(freezefd_open(dir, NULL), -EPERM);
		use_all(fd);
	}
	reap(child);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C11, "whoever is given the descriptor gets no more time than it was made with")
{
	const uint64_t limit = 3600 * SECOND;
	int fd = try_hold(dir, 0, limit);
	pid_t nobody;

	check(fd >= 0);
	IN_CHILD(nobody) {
		become_nobody();
		check_eq(freezefd_set_timeout(fd, limit + 1), -EPERM);
		check_eq(freezefd_set_timeout(fd, INT64_MAX), -EPERM);
		check_eq(freezefd_set_timeout(fd, 0), -EPERM);
		check(status_of(fd).timeout_ns <= limit && status_of(fd).timeout_ns > limit / 2);
		/* Less time, then again all of it: also for the next freeze. */
		check_eq(freezefd_set_timeout(fd, limit / 4), 0);
		check(status_of(fd).timeout_ns <= limit / 4);
		check_eq(freezefd_set_timeout(fd, limit), 0);
		check(status_of(fd).timeout_ns > limit / 2);
		check_eq(freezefd_thaw(fd), 0);
		check_eq(freezefd_set_timeout(fd, 0), -EPERM);
		check_eq(freezefd_freeze(fd), 0);
		check(status_of(fd).timeout_ns <= limit);
		check_eq(freezefd_set_timeout(fd, 0), -EPERM);
	}
	reap(nobody);
	/* Who may make one may do either. */
	check_eq(freezefd_set_timeout(fd, 2 * limit), 0);
	check_eq(freezefd_set_timeout(fd, 0), 0);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C11, "what was made without a deadline may be given any")
{
	int fd = hold(dir);
	pid_t nobody;

	IN_CHILD(nobody) {
		become_nobody();
		check_eq(freezefd_set_timeout(fd, 3600 * SECOND), 0);
		check_eq(freezefd_set_timeout(fd, 0), 0);
	}
	reap(nobody);
	check_eq(freezefd_thaw(fd), 0);
}
