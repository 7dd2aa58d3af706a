// SPDX-License-Identifier: GPL-2.0-or-later
/* The ways to freeze and thaw that are compared for how long they keep writers waiting. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include "bench.h"
#include "freezefd.h"
#include "stall.h"

extern char **environ;

static void run(const char *const argv[])
{
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, (char **)argv, environ))
		die("%s: cannot be started", argv[0]);
	if (waitpid(pid, &status, 0) != pid || status)
		die("%s failed, wait status %#x", argv[0], status);
}

static void by_ioctl(struct times *times)
{
	times->ask = now_ns();
	if (ioctl(target, FIFREEZE, 0))
		die("FIFREEZE: %s", strerror(errno));
	times->frozen = now_ns();
	nap(HOLD_NS);
	times->thaw = now_ns();
	if (ioctl(target, FITHAW, 0))
		die("FITHAW: %s", strerror(errno));
	times->thawed = now_ns();
}

/* The library's best engine, or the one that FREEZEFD_ENGINE names. */
static void by_descriptor(struct times *times)
{
	int fd;

	times->ask = now_ns();
	fd = freezefd_open(target, NULL);
	if (fd < 0)
		die("freezefd_open: %s", strerror(-fd));
	times->frozen = now_ns();
	nap(HOLD_NS);
	times->thaw = now_ns();
	close(fd);
	times->thawed = now_ns();
}

/* No freeze: what writers feel of the sync that every freeze has in it. */
static void by_syncfs(struct times *times)
{
	times->ask = now_ns();
	if (syncfs(target))
		die("syncfs: %s", strerror(errno));
	times->frozen = times->thaw = times->thawed = now_ns();
}

static void by_command(struct times *times, const char *name, const char *freeze, const char *thaw)
{
	times->ask = now_ns();
	run((const char *const[]){name, freeze, directory, NULL});
	times->frozen = now_ns();
	nap(HOLD_NS);
	times->thaw = now_ns();
	run((const char *const[]){name, thaw, directory, NULL});
	times->thawed = now_ns();
}

static void by_fsfreeze(struct times *times)
{
	by_command(times, "fsfreeze", "--freeze", "--unfreeze");
}

static void by_xfs_freeze(struct times *times)
{
	by_command(times, "xfs_freeze", "-f", "-u");
}

/* The command that it runs is this program, which says when it ran. */
static void by_freezefd(struct times *times)
{
	const char *tool = getenv("BENCH_FREEZEFD");
	char stamps[] = "/tmp/stamps-XXXXXX", self[PATH_MAX] = "";
	int fd = mkstemp(stamps);
	uint64_t at[2];

	if (fd < 0 || readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		die("%s: %s", stamps, strerror(errno));
	times->ask = now_ns();
	run((const char *const[]){tool ? tool : "freezefd", "run", "--timeout", "30", directory,
				  "--", self, "hold", stamps, NULL});
	times->thawed = now_ns();
	if (read(fd, at, sizeof(at)) != sizeof(at))
		die("%s: no times in it", stamps);
	times->frozen = at[0];
	times->thaw = at[1];
	close(fd);
	unlink(stamps);
}

void hold(const char *stamps)
{
	int fd = open(stamps, O_WRONLY | O_CLOEXEC);
	uint64_t at[2] = {now_ns()};

	nap(HOLD_NS);
	at[1] = now_ns();
	if (write(fd, at, sizeof(at)) != sizeof(at))
		die("%s: %s", stamps, strerror(errno));
}

/* For as long as it takes to freeze, hold and thaw an idle filesystem. */
static void by_nothing(struct times *times)
{
	times->ask = now_ns();
	nap(5 * HOLD_NS);
	times->frozen = times->thaw = times->thawed = now_ns();
}

static const struct way ways[] = {
	{"FIFREEZE", by_ioctl},
	{"descriptor", by_descriptor},
	{"fsfreeze", by_fsfreeze},
	{"xfs_freeze", by_xfs_freeze},
	{"freezefd", by_freezefd},
	/* To compare. */
	{"syncfs", by_syncfs},
	{"nothing", by_nothing},
};

const struct way *find_way(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		if (!strcmp(ways[i].name, name))
			return &ways[i];
	return NULL;
}
