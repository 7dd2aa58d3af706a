// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd status: what is frozen, since when, by whom. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tool.h"

enum { TARGET, SOURCE, FSTYPE, STATE, FOR, SINCE, FDS, USER, KERNEL, HOLDERS, ENGINE, COLUMNS };

static const struct column columns[] = {
	[TARGET] = {"TARGET", "where the filesystem is mounted"},
	[SOURCE] = {"SOURCE", "its device"},
	[FSTYPE] = {"FSTYPE", "its type"},
	[STATE] = {"STATE", "thawed, freezing or frozen"},
	[FOR] = {"FOR", "how long it has been frozen (seconds in JSON)", .number = true},
	[SINCE] = {"SINCE", "the moment it was frozen", .hidden = true},
	[FDS] = {"FDS", "holds of freeze descriptors", .number = true},
	[USER] = {"USER", "holds of FIFREEZE and device-mapper", .number = true},
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
	"  -q, --quiet          print nothing, see exit status\n" ENGINE_HELP TABLE_HELP
	"  -h, --help           this help\n"
	"\n"
	"Exit status: 0; 1 a target could not be asked; 2 wrong usage. With --quiet: 0 all\n"
	"are frozen; 1 one is not; 2 a target could not be asked, or wrong usage.\n";

struct view {
	struct table *table;
	bool json;
	bool failed;
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
		[KERNEL] = text("%" PRIu32, status->kernel_holds),
		[ENGINE] = engine ? copy(engine) : NULL,
	};

	if (target->mounted) {
		cells[TARGET] = copy(target->mount.dir);
		cells[SOURCE] = copy(target->mount.source);
		cells[FSTYPE] = copy(target->mount.fstype);
	} else if (target->device) {
		cells[SOURCE] = device_path(target->device);
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
			add(view, &target, &status);
		}
		target_close(&target);
	}
}

/* Rather by device: the way to a mount point may lead through a server that does not answer. */
static int open_mounted(const struct mount *mount)
{
	char *path = major(mount->dev) ? device_path(mount->dev) : copy(mount->source);
	struct mount found;
	struct stat st;
	int fd = -1, err;

	if (path && *path == '/' && !stat(path, &st) && S_ISBLK(st.st_mode) &&
	    (st.st_rdev == mount->dev || !major(mount->dev)))
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	free(path);
	if (fd >= 0)
		return fd;

	fd = open(mount->dir, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	err = fd < 0 ? -errno : 0;
	if (fd >= 0 && (!mount_of_file(fd, &found) || found.dev != mount->dev)) {
		close(fd);
		err = -ENOENT; /* something else is mounted over it */
	}
	return err ? err : fd;
}

/* False when nothing at all can be asked here. */
static bool ask_mounted(struct view *view)
{
	struct target target = {.mounted = true};
	struct freezefd_status status;
	size_t index = 0;

	while (next_mount(&index, &target.mount)) {
		int err;

		target.fd = open_mounted(&target.mount);
		err = target.fd < 0 ? target.fd : freezefd_status(target.fd, &status);
		if (!err) {
			add(view, &target, &status);
		} else {
			view->failed = true;
			complain_errno(err == -ENOSYS ? "status" : target.mount.dir, err);
		}
		target_close(&target);
		if (err == -ENOSYS)
			return false;
	}
	return true;
}

static bool read_device(const char *name, dev_t *device)
{
	unsigned long long size = 0;
	unsigned int maj, min;
	char *path = text("/sys/class/block/%s/dev", name);
	FILE *file = fopen(path, "re");
	bool ok = file && fscanf(file, "%u:%u", &maj, &min) == 2;

	free(path);
	if (file)
		fclose(file);
	path = text("/sys/class/block/%s/size", name);
	file = fopen(path, "re");
	ok = ok && file && fscanf(file, "%llu", &size) == 1;
	free(path);
	if (file)
		fclose(file);
	if (ok)
		*device = makedev(maj, min);
	return ok && size;
}

/* A filesystem that was unmounted while frozen has no path; only its device tells. */
static void ask_devices(struct view *view)
{
	DIR *devices = opendir("/sys/class/block");
	size_t unreadable = 0;
	struct dirent *entry;

	while (devices && (entry = readdir(devices))) {
		struct target target = {.fd = -1};
		struct freezefd_status status;
		struct mount mount;
		char *path;

		if (!read_device(entry->d_name, &target.device) ||
		    mount_of_device(target.device, &mount))
			continue;
		path = device_path(target.device);
		if (path)
			target.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		unreadable += target.fd < 0 && (errno == EACCES || errno == EPERM);
		free(path);
		if (target.fd < 0)
			continue;
		target.mount.dev = target.device;
		if (!freezefd_status(target.fd, &status) && status.state != FREEZE_STATE_THAWED)
			add(view, &target, &status);
		target_close(&target);
	}
	if (devices)
		closedir(devices);
	if (unreadable) {
		complain("/dev", "%zu block device%s could not be asked; become root", unreadable,
			 unreadable == 1 ? "" : "s");
		view->failed = true;
	}
}

static int quiet(char **names)
{
	struct freezefd_status status;
	struct target target;
	int result = 0;

	for (; *names; names++) {
		int err;

		if (!target_open(&target, *names))
			return 2;
		err = freezefd_status(target.fd, &status);
		target_close(&target);
		if (err) {
			complain_errno(*names, err);
			return 2;
		}
		if (status.state != FREEZE_STATE_FROZEN)
			result = 1;
	}
	return result;
}

int cmd_status(int argc, char **argv)
{
	static const struct option long_options[] = {
		TABLE_LONG_OPTIONS,
		{"quiet", no_argument, NULL, 'q'},
		ENGINE_LONG_OPTION,
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct table_options options = {0};
	struct view view = {0};
	bool be_quiet = false;
	int opt;

	while ((opt = getopt_long(argc, argv, TABLE_OPTIONS ENGINE_OPTION "qh", long_options,
				  NULL)) != -1) {
		if (opt == 'h') {
			fputs(usage, stdout);
			table_columns_help(columns, COLUMNS);
			return EXIT_SUCCESS;
		}
		if (opt == 'e' && !engine_option("status", optarg))
			return EXIT_USAGE;
		if (opt == 'q')
			be_quiet = true;
		else if (opt != 'e' && !table_option(opt, optarg, &options))
			return wrong_option("status");
	}
	if (be_quiet && optind == argc)
		return usage_error("status", "--quiet needs a target");
	if (be_quiet)
		return quiet(argv + optind);

	view.json = options.json;
	view.table = table_new("status", columns, COLUMNS, &options);
	if (!view.table)
		return EXIT_USAGE;
	if (optind < argc)
		ask_named(&view, argv + optind);
	else if (ask_mounted(&view))
		ask_devices(&view);
	holders_free(&view.holders);
	if (table_print(view.table))
		view.failed = true;
	return view.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
