// SPDX-License-Identifier: GPL-2.0-or-later
/* C18: freezes, thaws and broken holds are events that can be traced. */
#include <sys/sysmacros.h>

#include "contract.h"

#define TRACING "/sys/kernel/tracing"

/* Is there a line in the trace with all of these? */
static bool traced(const char *event, const char *what)
{
	char line[1024], device[32];
	const dev_t dev_of_fs = status_of(dir).dev;
	FILE *trace = fopen(TRACING "/trace", "re");
	bool found = false;

	snprintf(device, sizeof(device), "dev %u:%u ", major(dev_of_fs), minor(dev_of_fs));
	check(trace);
	while (fgets(line, sizeof(line), trace))
		if (strstr(line, event) && strstr(line, what) && strstr(line, device))
			found = true;
	fclose(trace);
	return found;
}

static void start_tracing(void)
{
	if (access(TRACING, F_OK) == 0 && access(TRACING "/events", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	if (access(TRACING "/events/freeze", F_OK))
		skip("the kernel has no event freeze");
	/* The test's own mount is gone by then. */
	cleanup("mount -t tracefs tracefs " TRACING " && echo 0 >" TRACING
		"/events/freeze/enable; umount " TRACING);
	sh("echo >" TRACING "/trace; echo 1 >" TRACING "/events/freeze/enable");
}

TEST(C18, "freezes, thaws, broken holds and force are traced, with device, holder and duration")
{
	char maker[32], by[32];
	int fd;

	start_tracing();
	snprintf(maker, sizeof(maker), "maker %d ", getpid());
	snprintf(by, sizeof(by), "-%d ", getpid());

	fd = hold(dir);
	check(traced("super_freeze:", "holder fd error 0 duration "));
	check(traced("super_freeze:", by));
	check_eq(freezefd_thaw(fd), 0);
	check(traced("super_thaw:", "holder fd error 0 duration "));
	check(traced("freezefd_drop:", maker) && traced("freezefd_drop:", "thawed duration "));

	check_eq(freezefd_freeze(fd), 0);
	check_eq(freezefd_set_timeout(fd, 1), 0);
	wait_until(traced("freezefd_drop:", "expired duration "));
	check_eq(freezefd_thaw(fd), -ETIME);
	check_eq(freezefd_set_timeout(fd, 0), 0);

	check_eq(freezefd_freeze(fd), 0);
	check(!ioctl(dir, FIFREEZE, 0));
	check(traced("super_freeze:", "holder user error 0 "));
	check_eq(freezefd_thaw_force(dir), 0);
	check(traced("freezefd_drop:", "revoked duration "));
	check(traced("super_thaw_force:", "holder user|fd|bdev error 0 duration "));
	/* Who did it. */
	check(traced("super_thaw_force:", by));
	check_eq(freezefd_thaw(fd), -ECANCELED);

	/* What failed, too. */
	check(!ioctl(dir, FIFREEZE, 0));
	check(ioctl(dir, FIFREEZE, 0) == -1 && errno == EBUSY);
	check(traced("super_freeze:", "holder user error -16 "));
	check(!ioctl(dir, FITHAW, 0));
}

TEST(C18, "a freeze that gave up waiting for another one is traced")
{
	pid_t freezer;

	start_tracing();
	freezer = start_stalled_freeze(dir, no_hold(dir));
	check_eq(try_hold(dir, 0, SECOND / 5), -ETIME);
	check(traced("super_freeze:", "holder fd error -62 "));
	end_slow_write();
	reap(freezer);
}
