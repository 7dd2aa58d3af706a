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
	struct table_options options = {0};
	struct holders holders;
	struct table *table;
	int status = table_command("list", usage, columns, COLUMNS, argc, argv, &options);

	if (status >= 0)
		return status;
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
	status = EXIT_SUCCESS;
	if (table_print(table))
		status = EXIT_FAILURE;
	if (!holders_complete(&holders))
		status = EXIT_FAILURE;
	holders_free(&holders);
	return status;
}
