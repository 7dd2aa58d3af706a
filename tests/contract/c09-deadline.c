// SPDX-License-Identifier: GPL-2.0-or-later
/* C9: the deadline. No test measures time: one deadline is the clock of another. */
#include <sys/mman.h>
#include <time.h>

#include "contract.h"

#define SOON  (SECOND / 5)
#define LATER (3600 * SECOND)

static void wait_expired(int fd)
{
	wait_until(events(fd) & POLLERR);
	check_hold(fd, EXPIRED);
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
		check_eq(freezefd_freeze(fd), 0);
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
	check_eq(freezefd_freeze(fd), 0);
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
	struct freezefd_options options = {.size = sizeof(options),
					   .timeout_ns = (uint64_t)INT64_MAX + 1};
	int fd;

	check_eq(freezefd_open(dir, &options), -EINVAL);
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

TEST(C9, "the deadline counts from when the filesystem is frozen, not from the call")
{
	const uint64_t unit = a_while();
	int fs = open_dir(scratch_fs(0)), clock;
	pid_t freezer;

	start_slow_write(fs);
	IN_CHILD(freezer) {
		int fd = hold_for(fs, 3 * unit);

		check_hold(fd, HELD);
		check_eq(freezefd_thaw(fd), 0);
	}
	wait_state(fs, FREEZING);
	wait_in_freeze(freezer);
	clock = hold_for(dir, 4 * unit);
	wait_expired(clock);
	check_state(fs, FREEZING);
	end_slow_write();
	reap(freezer);
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
