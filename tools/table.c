// SPDX-License-Identifier: GPL-2.0-or-later
/* Tables and JSON by way of libsmartcols, the columns being the user's choice. */
#include <getopt.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <libsmartcols.h>

#include "tool.h"

#define MAX_COLUMNS 32

struct table {
	struct libscols_table *scols;
	size_t total; /* columns that there are */
	size_t count; /* columns that are shown */
	size_t shown[MAX_COLUMNS];
};

static bool show(struct table *table, size_t column)
{
	if (table->count == MAX_COLUMNS)
		return false;
	table->shown[table->count++] = column;
	return true;
}

static bool show_named(struct table *table, const struct column *columns, const char *list)
{
	locale_t ascii = newlocale(LC_CTYPE_MASK, "C", 0);
	char *names = copy(list), *rest = names, *name;
	bool ok = true;

	while (ok && (name = strsep(&rest, ","))) {
		size_t i = 0;

		/* Not as the locale has it: a Turkish 'i' is no 'I'. */
		while (i < table->total && strcasecmp_l(columns[i].name, name, ascii) != 0)
			i++;
		ok = i < table->total && show(table, i);
		if (!ok)
			complain(name, "no such column; --help lists them");
	}
	free(names);
	freelocale(ascii);
	return ok;
}

static bool choose(struct table *table, const struct column *columns,
		   const struct table_options *options)
{
	const char *list = options->columns;

	if (!list || *list == '+')
		for (size_t i = 0; i < table->total; i++)
			if (options->json || !columns[i].hidden)
				show(table, i);
	if (list && *list == '+')
		list++;
	return !list || show_named(table, columns, list);
}

static bool add_column(struct table *table, const struct column *column)
{
	struct libscols_column *cl = scols_table_new_column(table->scols, column->name, 0,
							    column->number ? SCOLS_FL_RIGHT : 0);

	return cl && !scols_column_set_json_type(cl, column->number ? SCOLS_JSON_NUMBER
								    : SCOLS_JSON_STRING);
}

struct table *table_new(const char *name, const struct column *columns, size_t count,
			const struct table_options *options)
{
	struct table *table = array(NULL, 1, sizeof(*table));

	*table = (struct table){.total = count};
	if (!choose(table, columns, options)) {
		free(table);
		return NULL;
	}
	scols_init_debug(0);
	table->scols = scols_new_table();
	if (!table->scols)
		out_of_memory();
	scols_table_set_name(table->scols, name);
	scols_table_enable_json(table->scols, options->json);
	scols_table_enable_noheadings(table->scols, options->noheadings);
	for (size_t i = 0; i < table->count; i++)
		if (!add_column(table, &columns[table->shown[i]]))
			out_of_memory();
	return table;
}

bool table_shows(const struct table *table, size_t column)
{
	for (size_t i = 0; i < table->count; i++)
		if (table->shown[i] == column)
			return true;
	return false;
}

void table_row(struct table *table, char **cells)
{
	struct libscols_line *line = scols_table_new_line(table->scols, NULL);

	if (!line)
		out_of_memory();
	for (size_t i = 0; i < table->count; i++) {
		char *cell = cells[table->shown[i]], *valid;

		if (!cell)
			continue;
		/* libsmartcols escapes in JSON what has to be, but for what is no UTF-8. */
		valid = scols_table_is_json(table->scols) ? escape(cell, false) : copy(cell);
		if (scols_line_refer_data(line, i, valid))
			out_of_memory();
	}
	for (size_t i = 0; i < table->total; i++)
		free(cells[i]);
}

void table_write(struct table *table, FILE *out)
{
	/* libsmartcols prints nothing at all for an empty table. */
	if (scols_table_is_json(table->scols) && !scols_table_get_nlines(table->scols)) {
		fprintf(out, "{\n   \"%s\": []\n}\n", scols_table_get_name(table->scols));
	} else {
		scols_table_set_stream(table->scols, out);
		scols_print_table(table->scols);
	}
	scols_unref_table(table->scols);
	free(table);
}

int table_print(struct table *table)
{
	table_write(table, stdout);
	return output_error();
}

void table_columns_help(const struct column *columns, size_t count)
{
	puts("\nColumns:");
	for (size_t i = 0; i < count; i++)
		printf("  %-10s %s\n", columns[i].name, columns[i].help);
}

bool table_option(int opt, char *value, struct table_options *options)
{
	switch (opt) {
	case 'J':
		options->json = true;
		return true;
	case 'n':
		options->noheadings = true;
		return true;
	case 'o':
		options->columns = value;
		return true;
	default:
		return false;
	}
}

int table_command(const char *verb, const char *usage, const struct column *columns, size_t count,
		  int argc, char **argv, struct table_options *options)
{
	static const struct option long_options[] = {
		TABLE_LONG_OPTIONS,
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, TABLE_OPTIONS "h", long_options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(usage, stdout);
			table_columns_help(columns, count);
			return EXIT_SUCCESS;
		}
		if (!table_option(opt, optarg, options))
			return wrong_option(verb);
	}
	if (optind < argc)
		return usage_error(verb, "'%s' is one argument too many", argv[optind]);
	return -1;
}
