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

#include "../lib/private.h"
#include "tool.h"

enum {
	TARGET,
	SOURCE,
	FSTYPE,
	LABEL,
	UUID,
	STATE,
	FOR,
	SINCE,
	FDS,
	USER,
	BDEV,
	KERNEL,
	WAITERS,
	WAITING,
	HOLDERS,
	ENGINE,
	COLUMNS
};

static const struct column columns[] = {
	[TARGET] = {"TARGET", "where the filesystem is mounted"},
	[SOURCE] = {"SOURCE", "its device"},
	[FSTYPE] = {"FSTYPE", "its type"},
	[LABEL] = {"LABEL", "its label", .hidden = true},
	[UUID] = {"UUID", "its UUID", .hidden = true},
	[STATE] = {"STATE", "thawed, freezing or frozen"},
	[FOR] = {"FOR", "how long it has been frozen (seconds in JSON)", .number = true},
	[SINCE] = {"SINCE", "the moment it was frozen", .hidden = true},
	[FDS] = {"FDS", "holds of freeze descriptors", .number = true},
	[USER] = {"USER", "holds of FIFREEZE and device-mapper", .number = true},
	[BDEV] = {"BDEV", "those of USER that are device-mapper's", .number = true, .hidden = true},
	[KERNEL] = {"KERNEL", "holds of the kernel itself", .number = true},
	[WAITERS] = {"WAITERS", "tasks that wait for the thaw; empty: not known", .number = true},
	[WAITING] = {"WAITING", "their processes, the first of them", .hidden = true},
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

/* "LIST, COMMAND (PID)"; takes both strings. */
static char *add_process(char *list, char *command, pid_t pid)
{
	char *more = text("%s%s%s (%d)", list ? list : "", list ? ", " : "", command, pid);

	free(list);
	free(command);
	return more;
}

static char *holders_of(struct view *view, dev_t dev, const char *device)
{
	char *list = NULL;

	if (!view->holders_known)
		holders_read(&view->holders);
	view->holders_known = true;
	for (size_t i = 0; i < view->holders.count; i++) {
		const struct holder *holder = &view->holders.holder[i];

		if (holder_holds(holder, dev, device))
			list = add_process(list, copy(holder->command), holder->pid);
	}
	return list;
}

/* Who waits for the thaw. Nobody waits for what is not frozen; where it is not known the cells stay empty. */
static void add_waiters(int fd, uint32_t state, char **cells)
{
	struct waiters waiters = {0};
	char *list = NULL, *more;

	if (state != FREEZE_STATE_THAWED && private_freezefd_waiters(fd, &waiters))
		return;
	cells[WAITERS] = text("%u", waiters.count);
	for (unsigned int i = 0; i < waiters.processes; i++)
		list = add_process(list, command_of(waiters.pid[i]), waiters.pid[i]);
	if (list && waiters.listed < waiters.count) {
		more = text("%s and %u more", list, waiters.count - waiters.listed);
		free(list);
		list = more;
	}
	cells[WAITING] = list;
}

/* Of a filesystem on several devices, the one it was mounted by; 0: none. */
static dev_t device_of(const struct target *target)
{
	struct stat st;

	if (target->device)
		return target->device;
	if (major(target->mount.dev))
		return target->mount.dev;
	if (target->mounted && !strncmp(target->mount.source, "/dev/", 5) &&
	    !stat(target->mount.source, &st) && S_ISBLK(st.st_mode))
		return st.st_rdev;
	return 0;
}

/* From what is written on the device. */
static void add_probed(const struct target *target, char **cells)
{
	dev_t device = device_of(target);
	struct probed probed;

	if (!device || !probe_device(device, &probed))
		return;
	if (!cells[FSTYPE] && *probed.type)
		cells[FSTYPE] = copy(probed.type);
	if (*probed.label)
		cells[LABEL] = copy(probed.label);
	if (*probed.uuid)
		cells[UUID] = copy(probed.uuid);
}

static void add(struct view *view, const struct target *target,
		const struct freezefd_status *status)
{
	const char *engine = freezefd_engine(target->fd);
	char *device = target->device ? device_path(target->device) : NULL;
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
	} else if (device) {
		cells[SOURCE] = copy(device);
	}
	if (table_shows(view->table, LABEL) || table_shows(view->table, UUID) ||
	    (!target->mounted && table_shows(view->table, FSTYPE)))
		add_probed(target, cells);
	if (status->frozen_ns) {
		cells[FOR] = show_duration(status->frozen_ns, view->json);
		cells[SINCE] = format_since(status->frozen_ns);
	}
	if (table_shows(view->table, WAITERS) || table_shows(view->table, WAITING))
		add_waiters(target->fd, status->state, cells);
	if (status->fd_holds && table_shows(view->table, HOLDERS))
		cells[HOLDERS] = holders_of(view, target->mount.dev, device);
	free(device);
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
	char *path = device_path(device);
	int fd = path ? open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
	struct mount mount;

	free(path);
	return fd < 0 && mount_of_dev(device, &mount) ? mount_open(&mount) : fd;
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
