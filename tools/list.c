// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd list: who holds what. */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

enum { PID, COMMAND, FD, SOURCE, FSTYPE, TARGET, HOLD, STATE, FOR, SINCE, LEFT, NAME, COLUMNS };

static const struct column columns[] = {
	[PID] = {"PID", "process that has the freeze descriptor", .number = true},
	[COMMAND] = {"COMMAND", "its command"},
	[FD] = {"FD", "number of the descriptor there", .number = true},
	[SOURCE] = {"SOURCE", "device of the filesystem"},
	[FSTYPE] = {"FSTYPE", "type of the filesystem"},
	[TARGET] = {"TARGET", "where it is mounted"},
	[HOLD] = {"HOLD", "none, held, expired, revoked or gone"},
	[STATE] = {"STATE", "of the filesystem: thawed, freezing or frozen"},
	[FOR] = {"FOR", "how long it has been frozen (seconds in JSON)", .number = true},
	[SINCE] = {"SINCE", "the moment it was frozen", .hidden = true},
	[LEFT] = {"LEFT", "time to the deadline of the hold (seconds in JSON)", .number = true},
	[NAME] = {"NAME", "of a hold in the background, for 'freezefd release'"},
};

static const char usage[] =
	"Usage: freezefd list [OPTION...]\n"
	"List the freeze descriptors of all processes. One that several processes share is\n"
	"listed for each.\n"
	"\n" TABLE_HELP "  -h, --help           this help\n"
	"\n"
	"Exit status: 0; 1 not all processes could be looked into; 2 wrong usage.\n";

static void add(struct table *table, const struct holder *holder, const struct fdinfo_fs *fs,
		bool json)
{
	char *cells[COLUMNS] = {
		[PID] = text("%d", holder->pid),
		[COMMAND] = copy(holder->command),
		[FD] = text("%d", holder->fd),
		[HOLD] = copy(holder->info.hold),
		[NAME] = holder->name ? copy(holder->name) : NULL,
	};
	struct mount mount;

	if (!strcmp(holder->info.hold, "held") && holder->info.timeout_ns)
		cells[LEFT] = show_duration(holder->info.timeout_ns, json);
	if (fs) {
		cells[SOURCE] = stack_device_path(fs->dev);
		if (!cells[SOURCE])
			cells[SOURCE] = text("/dev/%s", fs->id);
		cells[FSTYPE] = copy(fs->type);
		cells[STATE] = copy(fs->state);
		if (mount_of_dev(fs->dev, &mount))
			cells[TARGET] = copy(mount.dir);
		if (fs->frozen_ns) {
			cells[FOR] = show_duration(fs->frozen_ns, json);
			cells[SINCE] = format_since(fs->frozen_ns);
		}
	}
	table_row(table, cells);
}

int cmd_list(int argc, char **argv)
{
	static const struct option long_options[] = {
		TABLE_LONG_OPTIONS,
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct table_options options = {0};
	int opt, status = EXIT_SUCCESS;
	struct holders holders;
	struct table *table;

	while ((opt = getopt_long(argc, argv, TABLE_OPTIONS "h", long_options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(usage, stdout);
			table_columns_help(columns, COLUMNS);
			return EXIT_SUCCESS;
		}
		if (!table_option(opt, optarg, &options))
			return wrong_option("list");
	}
	if (optind < argc)
		return usage_error("list", "'%s' is one argument too many", argv[optind]);
	table = table_new("list", columns, COLUMNS, &options);
	if (!table)
		return EXIT_USAGE;

	holders_read(&holders);
	for (size_t i = 0; i < holders.count; i++) {
		const struct holder *holder = &holders.holder[i];

		for (size_t j = 0; j < holder->info.count; j++)
			add(table, holder, &holder->info.fs[j], options.json);
		if (!holder->info.count)
			add(table, holder, NULL, options.json);
	}
	if (table_print(table) || holders.unknown)
		status = EXIT_FAILURE;
	if (holders.unreadable) {
		complain("/proc", "%zu process%s could not be looked into; become root",
			 holders.unreadable, holders.unreadable == 1 ? "" : "es");
		status = EXIT_FAILURE;
	}
	holders_free(&holders);
	return status;
}
