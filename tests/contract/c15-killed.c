// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * C15: killed in the middle. A process that does all that one can do with
 * freeze descriptors is killed at any moment; nothing may stay frozen.
 * FREEZEFD_TEST_SEED replays, FREEZEFD_TEST_ROUNDS makes it longer.
 */
#include <sys/prctl.h>
#include <time.h>

#include "contract.h"

static uint64_t random_state;

static unsigned int random_below(unsigned int n)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (random_state >> 33) % n;
}

static void seed(unsigned int *nr_rounds)
{
	unsigned int value = from_env("FREEZEFD_TEST_SEED", time(NULL) ^ getpid());

	*nr_rounds = rounds(40);
	random_state = value;
	note("FREEZEFD_TEST_SEED=%u FREEZEFD_TEST_ROUNDS=%u", value, *nr_rounds);
}

/* Every way to make, use, share and lose a descriptor, until killed. */
static void misuse(int target)
{
	int pair[2], fd = -1;

	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
	for (;;) {
		switch (random_below(8)) {
		case 0:
			close(fd);
			fd = freezefd_open(target, NULL);
			break;
		case 1:
			freezefd_thaw(fd);
			break;
		case 2:
			freezefd_freeze(fd);
			break;
		case 3:
			close(dup(fd));
			break;
		case 4:
			send_fd(pair[0], fd);
			break;
		case 5:
			fcntl(pair[1], F_SETFL, O_NONBLOCK);
			close(receive_fd(pair[1]));
			break;
		case 6:
			freezefd_set_timeout(fd, random_below(1000000));
			break;
		case 7:
			/* The child inherits all, and dies with us or of its own. */
			if (start_child() == 0) {
				if (random_below(2))
					freezefd_freeze(fd);
				if (random_below(2))
					pause();
				_exit(0);
			}
			waitpid(-1, NULL, WNOHANG);
			break;
		}
	}
}

static void doze(unsigned int below_us)
{
	const struct timespec ts = {.tv_nsec = 1000L * random_below(below_us)};

	nanosleep(&ts, NULL);
}

static bool all_reaped(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return errno == ECHILD;
}

TEST(C15, "killed at any moment, the process leaves the filesystem thawed")
{
	unsigned int rounds;

	time_limit(600);
	/* The victim's children die with it, but one may be in a freeze that it ends first. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	seed(&rounds);
	for (unsigned int i = 0; i < rounds; i++) {
		int target = i % 2 ? dev : dir;
		uint64_t state = random_state + i;
		pid_t victim;

		IN_CHILD(victim) {
			random_state = state;
			misuse(target);
		}
		doze(200000);
		kill(victim, SIGKILL);
		wait_until(all_reaped());
		wait_state(dir, THAWED);
		check_eq(status_of(dir).fd_holds, 0);
		check_writable(dir);
	}
}

TEST(C15, "killed while a writer keeps its freeze waiting, the process leaves it thawed")
{
	pid_t victim;
	int fs = open_dir(scratch_fs(0));

	for (int i = 0; i < 3; i++) {
		start_slow_write(fs);
		IN_CHILD(victim)
			hold(fs);
		wait_state(fs, FREEZING);
		wait_in_freeze(victim);
		kill(victim, SIGKILL);
		if (is_guardian(fs)) {
			check_state(fs, FREEZING);
			end_slow_write();
			end_of(victim);
			wait_state(fs, THAWED);
		} else {
			/* It gives up, whatever the writer does. */
			end_of(victim);
			check_state(fs, THAWED);
			check_writable(fs);
			end_slow_write();
		}
		check_eq(status_of(fs).fd_holds, 0);
		check_writable(fs);
	}
}

TEST(C15, "killed while another one's freeze keeps its own waiting, the process leaves it")
{
	pid_t first, second;
	int fs = open_dir(scratch_fs(0)), fd;

	fd = no_hold(fs);
	first = start_stalled_freeze(fs, fd);
	shared[0] = 0;
	IN_CHILD(second) {
		shared[0] = 1;
		hold(fs);
	}
	wait_until(shared[0]);
	wait_until(process_state(second) != 'R');
	kill(second, SIGKILL);
	end_slow_write();
	end_of(second);
	reap(first);
	check_hold(fd, HELD);
	wait_until(status_of(fs).fd_holds == 1);
	check_eq(freezefd_thaw(fd), 0);
	check_writable(fs);
}

TEST(C15, "killed while the device keeps its thaw waiting, the process leaves it writable")
{
	pid_t thawer;
	int fs = slow_fs(), fd;

	fd = hold(fs);
	dm_stall();
	IN_CHILD(thawer)
		freezefd_thaw(fd);
	/* Not every filesystem needs its device for a thaw. */
	wait_until(process_state(thawer) != 'R');
	kill(thawer, SIGKILL);
	dm_let_go();
	end_of(thawer);
	close(fd);
	wait_state(fs, THAWED);
	check_writable(fs);
}
