// SPDX-License-Identifier: GPL-2.0-or-later
/* C9: the deadline. No test measures time: one deadline is the clock of another. */
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <time.h>

#include "contract.h"

#define SOON  (SECOND / 5)
#define LATER (3600 * SECOND)

static void wait_expired(int fd)
{
	wait_until(events(fd) & POLLERR);
	check_hold(fd, EXPIRED);
}

/* With the deadline that fd has: on a slow machine it may give a freeze up. */
static void freeze_in_time(int fd)
{
	int ret;

	wait_until((ret = freezefd_freeze(fd)) != -ETIME);
	check_eq(ret, 0);
}

TEST(C9, "the deadline thaws")
{
	int fd = hold_for(dir, SOON);
	pid_t writer = start_writer(dir);

	wait_state(dir, THAWED);
	reap(writer);
	check_hold(fd, EXPIRED);
	check_eq(freezefd_thaw(fd), -ETIME);
}

TEST(C9, "the deadline fires while every holder is stopped")
{
	pid_t holder;

	shared[0] = 0;
	IN_CHILD(holder) {
		int fd = hold_for(dir, SECOND);
		pid_t heir;

		IN_CHILD(heir)
			for (;;)
				pause();
		kill(heir, SIGSTOP);
		shared[0] = 1;
		raise(SIGSTOP);
		check_hold(fd, EXPIRED);
		check_eq(freezefd_thaw(fd), -ETIME);
	}
	wait_until(shared[0] && process_state(holder) == 'T');
	wait_state(dir, THAWED);
	check_eq(process_state(holder), 'T');
	check_writable(dir);
	kill(holder, SIGCONT);
	reap(holder);
}

TEST(C9, "the deadline fires while the holder waits for its own freeze, beyond SIGKILL")
{
	const uint64_t unit = a_while();
	pid_t holder;

	shared[0] = 0;
	IN_CHILD(holder) {
		int fd = hold_for(dir, 2 * unit);

		shared[0] = 1;
		check(openat(dir, "own", O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0);
		shared[0] = 2;
		check_eq(freezefd_thaw(fd), -ETIME);
		check(!unlinkat(dir, "own", 0));
	}
	wait_until(shared[0] == 1);
	wait_blocked(holder);
	wait_until(shared[0] == 2);
	reap(holder);

	shared[0] = 0;
	IN_CHILD(holder) {
		hold_for(dir, 2 * unit);
		shared[0] = 1;
		openat(dir, "own", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	}
	wait_until(shared[0] == 1);
	wait_blocked(holder);
	kill(holder, SIGKILL);
	end_of(holder);
	wait_state(dir, THAWED);
	unlinkat(dir, "own", 0);
}

TEST(C9, "a deadline that is renewed or disarmed does not fire")
{
	const uint64_t unit = a_while();
	int renewed = hold_for(dir, 3 * unit), disarmed = hold_for(dir, 3 * unit), clock;

	check_eq(freezefd_set_timeout(renewed, LATER), 0);
	check_eq(freezefd_set_timeout(disarmed, 0), 0);
	clock = hold_for(dir, 4 * unit);
	wait_expired(clock);
	check_hold(renewed, HELD);
	check_hold(disarmed, HELD);
	check(status_of(renewed).timeout_ns > LATER / 2);
	check_eq(status_of(disarmed).timeout_ns, 0);
	check_eq(freezefd_thaw(renewed), 0);
	check_eq(freezefd_thaw(disarmed), 0);
	check_eq(freezefd_thaw(clock), -ETIME);
}

TEST(C9, "a deadline can be armed, shortened and renewed in the middle of a hold")
{
	int fd = hold(dir);

	check_eq(status_of(fd).timeout_ns, 0);
	check_eq(freezefd_set_timeout(fd, LATER), 0);
	for (int i = 0; i < 10; i++)
		check_eq(freezefd_set_timeout(fd, LATER + i), 0);
	check(status_of(fd).timeout_ns > LATER / 2);
	check_hold(fd, HELD);
	check_eq(freezefd_set_timeout(fd, SOON), 0);
	wait_expired(fd);
	wait_state(dir, THAWED);
	check_eq(freezefd_thaw(fd), -ETIME);
}

TEST(C9, "every freeze of the descriptor begins with the same deadline")
{
	int fd = hold_for(dir, SOON);

	for (int i = 0; i < 3; i++) {
		wait_expired(fd);
		wait_state(dir, THAWED);
		check_eq(freezefd_thaw(fd), -ETIME);
		check_eq(status_of(fd).timeout_ns, SOON);
		freeze_in_time(fd);
	}
	wait_expired(fd);
}

TEST(C9, "the deadline of a hold that ended before breaks nothing later")
{
	const uint64_t unit = a_while();
	int dropped = hold_for(dir, 2 * unit), revoked = hold_for(dir, 2 * unit), clock;

	check_eq(freezefd_thaw(dropped), 0);
	check_eq(freezefd_thaw_force(dir), 0);
	check_eq(freezefd_thaw(revoked), -ECANCELED);
	check_eq(freezefd_set_timeout(dropped, 0), 0);
	check_eq(freezefd_set_timeout(revoked, 0), 0);
	check_eq(freezefd_freeze(dropped), 0);
	check_eq(freezefd_freeze(revoked), 0);
	clock = hold_for(dir, 3 * unit);
	wait_expired(clock);
	check_hold(dropped, HELD);
	check_hold(revoked, HELD);
	check_eq(freezefd_thaw(dropped), 0);
	check_eq(freezefd_thaw(revoked), 0);
}

TEST(C9, "a deadline set on a thawed descriptor waits for the freeze")
{
	int fd = no_hold(dir), clock;

	check_eq(freezefd_set_timeout(fd, SOON), 0);
	check_eq(status_of(fd).timeout_ns, SOON);
	clock = hold_for(dir, 2 * SOON);
	wait_expired(clock);
	check_hold(fd, NONE);
	check_eq(status_of(fd).timeout_ns, SOON);
	check_eq(events(fd), 0);
	freeze_in_time(fd);
	wait_expired(fd);
	check_eq(freezefd_thaw(fd), -ETIME);
}

TEST(C9, "status tells what is left of the deadline, on the descriptor only")
{
	int fd = hold_for(dir, LATER), plain = hold(dir);
	uint64_t left = status_of(fd).timeout_ns;

	check(left > 0 && left < LATER);
	wait_until(status_of(fd).timeout_ns < left);
	check_eq(status_of(plain).timeout_ns, 0);
	check_eq(status_of(dir).timeout_ns, 0);
	check_eq(status_of(dev).timeout_ns, 0);
	check_eq(freezefd_thaw(fd), 0);
	check_eq(status_of(fd).timeout_ns, LATER);
}

TEST(C9, "the longest deadline is INT64_MAX")
{
	int fd;

	check_eq(try_hold(dir, 0, (uint64_t)INT64_MAX + 1), -EINVAL);
	check_state(dir, THAWED);
	fd = hold_for(dir, INT64_MAX);
	check_eq(freezefd_set_timeout(fd, INT64_MAX), 0);
	check_eq(freezefd_set_timeout(fd, (uint64_t)INT64_MAX + 1), -EINVAL);
	check_eq(freezefd_set_timeout(fd, UINT64_MAX), -EINVAL);
	/* Far away is not in the past. */
	check_hold(fd, HELD);
	check(status_of(fd).timeout_ns > LATER);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C9, "the shortest deadline is kept too")
{
	int fd = hold_for(dir, 1);

	wait_expired(fd);
	wait_state(dir, THAWED);
	check_eq(freezefd_thaw(fd), -ETIME);
}

TEST(C9, "a freeze that is not complete by its deadline is given up, and others write")
{
	int fs, fd;

	fs = open_dir(scratch_fs(0));
	check_eq(try_hold(fs, 0, 1), -ETIME);
	check_state(fs, THAWED);

	start_slow_write(fs);
	check_eq(try_hold(fs, 0, SOON), -ETIME);
	check_state(fs, THAWED);
	check_eq(status_of(fs).fd_holds, 0);
	check_writable(fs);

	/* The descriptor has nothing to tell and can be used again. */
	fd = try_hold(fs, FREEZEFD_THAWED, SOON);
	check(fd >= 0);
	check_eq(freezefd_freeze(fd), -ETIME);
	check_hold(fd, NONE);
	check_eq(events(fd), 0);
	check_eq(freezefd_thaw(fd), -EINVAL);
	check_eq(freezefd_set_timeout(fd, LATER), 0);
	end_slow_write();
	check_eq(freezefd_freeze(fd), 0);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
	check_writable(fs);
}

TEST(C9, "a freeze that was given up leaves nothing frozen when what it waited for has ended")
{
	int fs, fd;

	fs = open_dir(scratch_fs(0));
	fd = no_hold(fs);
	check_eq(freezefd_set_timeout(fd, SOON), 0);
	start_slow_write(fs);
	check_eq(freezefd_freeze(fd), -ETIME);
	check_hold(fd, NONE);
	check_eq(events(fd), 0);
	end_slow_write();
	check_writable(fs);
	wait_state(fs, THAWED);

	check_eq(freezefd_set_timeout(fd, LATER), 0);
	/* Where a worker of the kernel module freezes, the one before has not ended for a moment. */
	wait_until(freezefd_freeze(fd) == 0);
	check_eq(status_of(fs).fd_holds, 1);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C9, "the deadline counts from when the first writer is stopped, not from when all are")
{
	uint64_t start;
	pid_t freezer;
	int fs, fd;

	fs = open_dir(scratch_fs(0));
	fd = no_hold(fs);
	check_eq(freezefd_set_timeout(fd, LATER), 0);
	freezer = start_stalled_freeze(fs, fd);
	start = nsec();
	wait_until(nsec() - start >= SECOND / 10);
	end_slow_write();
	reap(freezer);
	check_hold(fd, HELD);
	check(status_of(fd).frozen_ns >= SECOND / 10);
	check(status_of(fd).timeout_ns <= LATER - SECOND / 10);
	check_eq(freezefd_thaw(fd), 0);
}

static unsigned long free_blocks(int fs)
{
	struct statvfs st;

	check(!fstatvfs(fs, &st));
	return st.f_bfree;
}

/* XFS has stopped its garbage collection by then, and must not leave it at that. */
TEST(C9, "a freeze whose I/O outlasts its deadline is dropped, and the filesystem works on")
{
	unsigned long before;
	int fs, fd, file;

	fs = slow_fs();
	check(!syncfs(fs));
	before = free_blocks(fs);
	dm_become("delay %s 0 0 %s 0 200", scratch(0), scratch(0));
	fd = try_hold(fs, 0, SECOND / 20);
	if (fd >= 0)
		skip("%s freezes without writing", fstype());
	check_eq(fd, -ETIME);
	/* A worker of the kernel module has yet to drop it. */
	wait_state(fs, THAWED);
	check_eq(status_of(fs).fd_holds, 0);
	dm_become("linear %s 0", scratch(0));

	file = openat(fs, "space", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	check(file >= 0 && !posix_fallocate(file, 0, 8 << 20) && !syncfs(fs));
	check(!close(file) && !unlinkat(fs, "space", 0));
	if (!strcmp(fstype(), "xfs") || !strcmp(fstype(), "ext4"))
		wait_until(free_blocks(fs) + 64 >= before);
	check_writable(fs);
}

TEST(C9, "a freeze that waits for another one waits no longer than its deadline")
{
	pid_t freezer;
	int fs, first;

	fs = open_dir(scratch_fs(0));
	first = no_hold(fs);
	freezer = start_stalled_freeze(fs, first);
	check_eq(try_hold(fs, 0, SOON), -ETIME);
	check_state(fs, FREEZING);
	end_slow_write();
	reap(freezer);
	check_eq(status_of(fs).fd_holds, 1);
	check_eq(freezefd_thaw(first), 0);
}

TEST(C9, "writers that wait for a freeze which is given up go on")
{
	pid_t freezer, writer;
	int fs, fd;

	fs = open_dir(scratch_fs(0));
	fd = no_hold(fs);
	check_eq(freezefd_set_timeout(fd, 2 * a_while()), 0);
	start_slow_write(fs);
	IN_CHILD(freezer)
		check_eq(freezefd_freeze(fd), -ETIME);
	wait_state(fs, FREEZING);
	writer = start_writer(fs);
	wait_blocked(writer);
	reap(freezer);
	reap(writer);
	end_slow_write();
}

/* Its sync waits for the device, while writers run: that is no stall yet. */
TEST(C9, "the deadline counts from when writers are stopped, not from the call")
{
	const uint64_t unit = a_while();
	int fs, fd, clock;
	pid_t freezer;

	fs = slow_fs();
	fd = no_hold(fs);
	check_eq(freezefd_set_timeout(fd, 3 * unit), 0);
	make_dirty(fs);
	dm_stall();
	IN_CHILD(freezer)
		check_eq(freezefd_freeze(fd), 0);
	wait_blocked(freezer);
	if (status_of(fs).state != FREEZE_STATE_THAWED) {
		dm_let_go();
		end_of(freezer);
		skip("this kernel syncs after it has stopped writers");
	}
	clock = hold_for(dir, 4 * unit);
	wait_expired(clock);
	check_state(fs, THAWED);
	dm_let_go();
	reap(freezer);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

static uint64_t awake(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

TEST(C9, "the machine's sleep counts")
{
	const char *alarm = "/sys/class/rtc/rtc0/wakealarm";
	uint64_t woken;
	int fd;

	need_machine();
	if (!try_sh("grep -q ' 9p ' /proc/self/mounts"))
		skip("the machine's files come by 9p, which does not wake up again");
	if (access(alarm, W_OK))
		skip("no clock to wake the machine: %s", alarm);
	if (try_sh("grep -qE 'freeze|mem' /sys/power/state"))
		skip("the machine cannot sleep");
	fd = hold_for(dir, 60 * SECOND);
	sh("echo 0 >%s; echo +3 >%s", alarm, alarm);
	woken = nsec() - awake();
	sh("echo freeze >/sys/power/state 2>/dev/null || echo mem >/sys/power/state");
	woken = nsec() - awake() - woken;
	if (woken < SECOND)
		skip("the machine did not sleep");
	/* What is left and the time awake do not add up to all: the sleep is missing. */
	check(status_of(fd).frozen_ns >= woken);
	check(status_of(fd).timeout_ns <= 60 * SECOND - woken);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C9, "a hold lives on when the machine goes to sleep and resumes")
{
	int fd;

	need_machine();
	if (access("/sys/power/pm_test", W_OK))
		skip("the kernel cannot rehearse a sleep");
	if (is_guardian(dir) && !access("/sys/power/freeze_filesystems", F_OK))
		skip("a resume warns of what FIFREEZE holds, since Linux 6.16");
	fd = hold_for(dir, LATER);
	cleanup("echo none >/sys/power/pm_test");
	/* It freezes and thaws filesystems and tasks, waits for a second in between, and leaves the devices alone. */
	sh("echo 1 >/sys/module/suspend/parameters/pm_test_delay; echo freezer >/sys/power/pm_test; echo freeze >/sys/power/state");
	check_state(dir, FROZEN);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
	check_writable(dir);
}

/* JFS writes when it is thawed, and fails if it cannot: fs/jfs/super.c. Others do not tell. */
TEST(C9, "a filesystem that refuses to thaw at the deadline is tried again until it does")
{
	const char *device;
	int log, fs, fd;

	if (strcmp(fstype(), "ext4"))
		skip("the same with every type under test");
	need_program("mkfs.jfs");
	device = dm_over(scratch(0));
	sh("mkfs.jfs -q %s >/dev/null", device);
	check(!mount("contract", "/mnt", "tmpfs", 0, NULL) && !mkdir("/mnt/jfs", 0755));
	if (mount(device, "/mnt/jfs", "jfs", 0, "errors=continue")) {
		check_eq(errno, ENODEV);
		skip("the kernel has no JFS");
	}
	fs = open_dir("/mnt/jfs");
	log = open_log();
	fd = hold(fs);
	dm_become("error");
	check_eq(freezefd_set_timeout(fd, SOON), 0);
	for (int tries = 0; tries < 2; tries++)
		wait_until(log_says(log, "Filesystem thaw failed"));
	check_state(fs, FROZEN);
	/* A guardian has told its holder already. */
	if (is_guardian(dir))
		check_hold(fd, EXPIRED);
	else
		check_hold(fd, HELD);
	dm_become("linear %s 0", scratch(0));
	wait_state(fs, THAWED);
	check_hold(fd, EXPIRED);
	check_eq(freezefd_thaw(fd), -ETIME);
	check_writable(fs);
}
