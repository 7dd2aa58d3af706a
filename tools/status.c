// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd status: what is frozen, since when, by whom. */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../common/private.h"
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

/* From what is written on the device. */
static void add_probed(const struct target *target, char **cells)
{
	dev_t device = target_device(target);
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
	char *device = target->device ? stack_device_path(target->device) : NULL;
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

static void add_found(void *view, const struct target *target, const struct freezefd_status *status)
{
	if (target->mounted || status->state != FREEZE_STATE_THAWED)
		add(view, target, status);
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
	else if (!each_filesystem(add_found, &view, false))
		view.failed = true;
	holders_free(&view.holders);
	if (table_print(view.table))
		view.failed = true;
	return view.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
