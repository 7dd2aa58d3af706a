// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd thaw: end somebody else's freeze. */
#include <errno.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tool.h"

static const char usage[] =
	"Usage: freezefd thaw [OPTION...] TARGET...\n"
	"Drop one hold of FIFREEZE (fsfreeze --freeze) on each filesystem; with --force all\n"
	"holds, those of freeze descriptors too, whose holders are told.\n"
	"\n"
	"TARGET is a file or directory on the filesystem, its block device, or UUID=...\n"
	"A filesystem that was unmounted while frozen is named by its device.\n"
	"\n"
	"  -f, --force          drop every hold but the kernel's own\n"
	"  -h, --help           this help\n"
	"\n"
	"Exit status: 0 thawed; 1 not frozen, still frozen, or not possible; 2 wrong usage.\n";

static void tell_holders(const struct target *target, const char *done)
{
	char *device = target->device ? stack_device_path(target->device) : NULL;
	struct holders holders;
	bool found = false;

	holders_read(&holders);
	for (size_t i = 0; i < holders.count; i++) {
		const struct holder *holder = &holders.holder[i];

		if (!holder_holds(holder, target->mount.dev, device))
			continue;
		found = true;
		complain(target->name,
			 "%sstill held frozen by %s (process %d); end that, or use --force", done,
			 holder->command, holder->pid);
	}
	if (!found)
		complain(target->name, "%sstill held frozen by a descriptor; use --force", done);
	holders_free(&holders);
	free(device);
}

/* After something was dropped: is it thawed? Says what keeps it frozen when not. */
static bool thawed(const struct target *target, const char *done)
{
	struct freezefd_status status;

	if (freezefd_status(target->fd, &status) || status.state == FREEZE_STATE_THAWED)
		return true;
	if (status.fd_holds)
		tell_holders(target, done);
	else if (status.bdev_holds && status.bdev_holds == status.user_holds)
		complain(
			target->name,
			"%sstill frozen by its block device; end that with 'dmsetup resume', or use --force",
			done);
	else if (status.user_holds)
		complain(target->name, "%sstill frozen by FIFREEZE or device-mapper; use --force",
			 done);
	else if (status.kernel_holds)
		complain(target->name,
			 "%sstill frozen by the kernel (suspend, online repair); wait for its end",
			 done);
	else
		complain(
			target->name,
			"%sa freeze or a thaw of it is under way; look again with 'freezefd status'",
			done);
	return false;
}

/* There was nothing to drop. */
static void tell_why_not(const struct target *target)
{
	struct freezefd_status status;
	int err = freezefd_status(target->fd, &status);

	if (err && err != -ENOSYS)
		complain_errno(target->name, err);
	else if (thawed(target, ""))
		complain(target->name, "not frozen; nothing to do");
}

static bool thaw(const struct target *target)
{
	struct freezefd_status status;
	int fd, err;

	/* The hold of a freeze descriptor is not meant, and on some kernels FITHAW would end it. */
	if (!freezefd_status(target->fd, &status) && status.fd_holds && !status.user_holds) {
		tell_why_not(target);
		return false;
	}
	/* FITHAW goes by path only: on a block device it would mean the filesystem of /dev. */
	fd = target_file(target);
	if (fd < 0) {
		err = freezefd_status(target->fd, &status);
		if (err || status.state == FREEZE_STATE_THAWED)
			tell_why_not(target);
		else
			complain(target->name, "not mounted where it can be reached; use --force");
		return false;
	}
	err = ioctl(fd, FITHAW, 0) ? -errno : 0;
	close(fd);
	if (!err)
		return thawed(target, "one hold dropped, ");
	if (err == -EINVAL)
		tell_why_not(target);
	else
		complain_errno(target->name, err);
	return false;
}

static bool thaw_force(const struct target *target)
{
	int err = freezefd_thaw_force(target->fd);

	if (!err)
		return thawed(target, "all holds dropped, ");
	if (err == -EINVAL)
		tell_why_not(target);
	else
		complain_errno(target->name, err);
	return false;
}

int cmd_thaw(int argc, char **argv)
{
	static const struct option options[] = {
		{"force", no_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int opt, status = EXIT_SUCCESS;
	struct target target;
	bool force = false;

	while ((opt = getopt_long(argc, argv, "fh", options, NULL)) != -1) {
		switch (opt) {
		case 'f':
			force = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			return wrong_option("thaw");
		}
	}
	if (optind == argc)
		return usage_error("thaw", "no target");
	for (; optind < argc; optind++) {
		if (!target_open(&target, argv[optind])) {
			status = EXIT_FAILURE;
			continue;
		}
		if (!(force ? thaw_force(&target) : thaw(&target)))
			status = EXIT_FAILURE;
		target_close(&target);
	}
	return status;
}
