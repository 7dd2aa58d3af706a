// SPDX-License-Identifier: GPL-2.0-or-later
/* What it costs to freeze and thaw an idle filesystem, by each of the interfaces. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <linux/freezefd.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include "bench.h"

static void call(int fd, unsigned long request, void *arg, const char *name)
{
	if (ioctl(fd, request, arg))
		die("%s: %s", name, strerror(errno));
}

static void cycle_classic(int target, int freezefd)
{
	call(target, FIFREEZE, NULL, "FIFREEZE");
	call(target, FITHAW, NULL, "FITHAW");
}

static void cycle_kept(int target, int freezefd)
{
	call(freezefd, FREEZEFD_IOC_FREEZE, NULL, "FREEZEFD_IOC_FREEZE");
	call(freezefd, FREEZEFD_IOC_THAW, NULL, "FREEZEFD_IOC_THAW");
}

static void cycle_fresh(int target, int freezefd)
{
	close(open_freezefd(target, 0));
}

static const struct {
	const char *what;
	void (*run)(int target, int freezefd);
	struct goal goal;
} cycles[] = {
	{"FIFREEZE + FITHAW", cycle_classic, {}},
	{"FREEZEFD_IOC_FREEZE + FREEZEFD_IOC_THAW", cycle_kept, {.ratio = 1.05}},
	{"FS_IOC_FREEZEFD + close", cycle_fresh, {.ratio = 1.05}},
};

static double timed(unsigned int which, int target, int freezefd)
{
	uint64_t start;

	settle();
	start = now_ns();
	cycles[which].run(target, freezefd);
	return now_ns() - start;
}

int main(int argc, char **argv)
{
	struct samples samples[ARRAY_SIZE(cycles)];
	unsigned int rounds, which, i, k;
	int target, freezefd;

	if (argc != 3)
		die("usage: %s ROUNDS DIRECTORY", argv[0]);
	rounds = parse_rounds(argv[1]);
	target = open_target(argv[2]);
	freezefd = open_freezefd(target, FREEZEFD_THAWED);

	for (k = 0; k < ARRAY_SIZE(cycles); k++) {
		samples_init(&samples[k], cycles[k].what, rounds);
		timed(k, target, freezefd);
	}
	/* Each comes first, second and last equally often. */
	for (i = 0; i < rounds; i++)
		for (k = 0; k < ARRAY_SIZE(cycles); k++) {
			which = (i + k) % ARRAY_SIZE(cycles);
			samples[which].ns[i] = timed(which, target, freezefd);
		}

	for (k = 0; k < ARRAY_SIZE(cycles); k++)
		report("freeze and thaw", filesystem_name(target), &samples[k],
		       k ? &samples[0] : NULL, rounds, cycles[k].goal);
	return 0;
}
