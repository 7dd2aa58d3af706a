// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd status: what is frozen, since when, by whom. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tool.h"

enum {
	TARGET,
	SOURCE,
	FSTYPE,
	STATE,
	FOR,
	SINCE,
	FDS,
	USER,
	BDEV,
	KERNEL,
	HOLDERS,
	ENGINE,
	COLUMNS
};

static const struct column columns[] = {
	[TARGET] = {"TARGET", "where the filesystem is mounted"},
	[SOURCE] = {"SOURCE", "its device"},
	[FSTYPE] = {"FSTYPE", "its type"},
	[STATE] = {"STATE", "thawed, freezing or frozen"},
	[FOR] = {"FOR", "how long it has been frozen (seconds in JSON)", .number = true},
	[SINCE] = {"SINCE", "the moment it was frozen", .hidden = true},
	[FDS] = {"FDS", "holds of freeze descriptors", .number = true},
	[USER] = {"USER", "holds of FIFREEZE and device-mapper", .number = true},
	[BDEV] = {"BDEV", "those of USER that are device-mapper's", .number = true, .hidden = true},
	[KERNEL] = {"KERNEL", "holds of the kernel itself", .number = true},
	[HOLDERS] = {"HOLDERS", "processes with a freeze descriptor that holds it"},
	[ENGINE] = {"ENGINE", "who answers"},
};

static const char usage[] =
	"Usage: freezefd status [OPTION...] [TARGET...]\n"
	"Tell whether filesystems are frozen, since when and by whom. Without TARGET: all that\n"
	"are mounted from a local device, and block devices that carry a frozen one.\n"
	"\n"
	"TARGET is a file or directory on the filesystem, its block device, or UUID=...\n"
	"\n"
	"  -q, --quiet          print nothing, see exit status\n" TABLE_HELP
	"  -h, --help           this help\n"
	"\n"
	"Exit status: 0; 1 a target could not be asked; 2 wrong usage. With --quiet: 0 all\n"
	"are frozen; 1 one is not; 2 a target could not be asked, or wrong usage.\n";

struct view {
	struct table *table;
	bool json;
	bool failed, unfrozen;
	bool holders_known;
	struct holders holders;
};

static char *holders_of(struct view *view, dev_t dev, dev_t device)
{
	char *list = NULL, *more;

	if (!view->holders_known)
		holders_read(&view->holders);
	view->holders_known = true;
	for (size_t i = 0; i < view->holders.count; i++) {
		const struct holder *holder = &view->holders.holder[i];

		if (!holder_holds(holder, dev, device))
			continue;
		more = text("%s%s%s (%d)", list ? list : "", list ? ", " : "", holder->command,
			    holder->pid);
		free(list);
		list = more;
	}
	return list;
}

static const char *state_name(uint32_t state)
{
	static const char *const names[] = {
		[FREEZE_STATE_THAWED] = "thawed",
		[FREEZE_STATE_FREEZING] = "freezing",
		[FREEZE_STATE_FROZEN] = "frozen",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

static void add(struct view *view, const struct target *target,
		const struct freezefd_status *status)
{
	const char *engine = freezefd_engine(target->fd);
	char *cells[COLUMNS] = {
		[STATE] = copy(state_name(status->state)),
		[FDS] = text("%" PRIu32, status->fd_holds),
		[USER] = text("%" PRIu32, status->user_holds),
		[BDEV] = text("%" PRIu32, status->bdev_holds),
		[KERNEL] = text("%" PRIu32, status->kernel_holds),
		[ENGINE] = engine ? copy(engine) : NULL,
	};

	if (target->mounted) {
		cells[TARGET] = copy(target->mount.dir);
		cells[SOURCE] = copy(target->mount.source);
		cells[FSTYPE] = copy(target->mount.fstype);
	} else if (target->device) {
		cells[SOURCE] = stack_device_path(target->device);
	}
	if (status->frozen_ns) {
		cells[FOR] = show_duration(status->frozen_ns, view->json);
		cells[SINCE] = format_since(status->frozen_ns);
	}
	if (status->fd_holds)
		cells[HOLDERS] = holders_of(view, target->mount.dev, target->device);
	table_row(view->table, cells);
}

static void ask_named(struct view *view, char **names)
{
	struct freezefd_status status;
	struct target target;

	for (; *names; names++) {
		int err;

		if (!target_open(&target, *names)) {
			view->failed = true;
			continue;
		}
		err = freezefd_status(target.fd, &status);
		if (err) {
			complain_errno(*names, err);
			view->failed = true;
		} else {
			view->unfrozen |= status.state != FREEZE_STATE_FROZEN;
			if (view->table)
				add(view, &target, &status);
		}
		target_close(&target);
	}
}

/* 0: a drive without a medium, an unused loop device. */
static unsigned long long device_size(const char *sysfs)
{
	char *path = text("%s/size", sysfs);
	FILE *file = fopen(path, "re");
	unsigned long long size = 0;

	free(path);
	if (file && fscanf(file, "%llu", &size) != 1)
		size = 0;
	if (file)
		fclose(file);
	return size;
}

/*
 * By device: the way to a mount point may lead through a server that does not answer, and none
 * leads to what was unmounted while frozen.
 */
static int open_device(dev_t device)
{
	char *path = stack_device_path(device);
	int fd = path ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	struct mount mount;

	free(path);
	return fd < 0 && mount_of_dev(device, &mount) ? mounts_open(the_mounts(), &mount) : fd;
}

static bool contains(const dev_t *devs, size_t count, dev_t dev)
{
	for (size_t i = 0; i < count; i++)
		if (devs[i] == dev)
			return true;
	return false;
}

/* The filesystems of all block devices, once each, but for those that are neither mounted nor frozen. */
static void ask_all(struct view *view)
{
	size_t unreadable = 0, nr_seen = 0;
	glob_t devices = {0};
	dev_t *seen;
	int err = 0;

	glob("/sys/dev/block/*", 0, NULL, &devices);
	seen = array(NULL, devices.gl_pathc, sizeof(*seen));
	/* That there is no engine, or none for this user, is said once. */
	for (size_t i = 0; i < devices.gl_pathc && err != -ENOSYS && err != -EPERM; i++) {
		const char *sysfs = devices.gl_pathv[i];
		struct target target = {.fd = -1};
		struct freezefd_status status;
		unsigned int maj, min;

		if (sscanf(sysfs, "/sys/dev/block/%u:%u", &maj, &min) != 2 || !device_size(sysfs))
			continue;
		target.device = makedev(maj, min);
		target.fd = open_device(target.device);
		if (target.fd < 0) {
			unreadable += errno == EACCES || errno == EPERM;
			continue;
		}
		err = freezefd_status(target.fd, &status);
		if (err && err != -ENODEV && err != -EOPNOTSUPP) {
			complain_errno(err == -ENOSYS || err == -EPERM ? "status" : sysfs, err);
			view->failed = true;
		}
		if (!err && !contains(seen, nr_seen, status.dev)) {
			seen[nr_seen++] = status.dev;
			target.mounted = mount_of_dev(status.dev, &target.mount);
			target.mount.dev = status.dev;
			if (target.mounted || status.state != FREEZE_STATE_THAWED)
				add(view, &target, &status);
		}
		target_close(&target);
	}
	free(seen);
	globfree(&devices);
	if (unreadable) {
		complain("/dev", "%zu block device%s could not be asked; become root", unreadable,
			 unreadable == 1 ? "" : "s");
		view->failed = true;
	}
}

int cmd_status(int argc, char **argv)
{
	static const struct option long_options[] = {
		TABLE_LONG_OPTIONS,
		{"quiet", no_argument, NULL, 'q'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct table_options options = {0};
	struct view view = {0};
	bool be_quiet = false;
	int opt;

	while ((opt = getopt_long(argc, argv, TABLE_OPTIONS "qh", long_options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(usage, stdout);
			table_columns_help(columns, COLUMNS);
			return EXIT_SUCCESS;
		}
		if (opt == 'q')
			be_quiet = true;
		else if (!table_option(opt, optarg, &options))
			return wrong_option("status");
	}
	if (be_quiet && optind == argc)
		return usage_error("status", "--quiet needs a target");
	if (be_quiet) {
		ask_named(&view, argv + optind);
		return view.failed ? 2 : view.unfrozen;
	}

	view.json = options.json;
	view.table = table_new("status", columns, COLUMNS, &options);
	if (!view.table)
		return EXIT_USAGE;
	if (optind < argc)
		ask_named(&view, argv + optind);
	else
		ask_all(&view);
	holders_free(&view.holders);
	if (table_print(view.table))
		view.failed = true;
	return view.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
