// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the tool shows of a machine, whatever that says: mounts, devices, fdinfo, the names of processes, the
 * answers of guardians and of detached holds, the holds of a freeze. JSON is JSON, metrics are OpenMetrics, and a terminal gets text.
 */
#include <string.h>

#include "../../tools/tool.h"
#include "fuzz.h"

/* The words of a command, with a space between them. */
static struct printed run(const char *command)
{
	char *words = strdup(command), *rest = words, *argv[8] = {0};
	struct printed printed;
	int argc = 0;

	while (rest)
		argv[argc++] = strsep(&rest, " ");
	printed = world_run(argc, argv);
	must(printed.status >= 0 && printed.status <= 255);
	must(is_plain(printed.err, printed.err_size));
	free(words);
	return printed;
}

static void check(const char *command, bool (*format)(const char *, size_t))
{
	struct printed printed = run(command);

	if (getenv("FUZZ_SHOW") && world_file)
		fprintf(stderr, "%s", world_file);
	if (!printed.status || printed.out_size)
		must(format(printed.out, printed.out_size));
	free(printed.out);
	free(printed.err);
}

/* The file that it writes. */
static void check_file(const char *command, bool (*format)(const char *, size_t))
{
	check(command, is_plain);
	must(!world_file || format(world_file, strlen(world_file)));
	free(world_file);
	world_file = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	world_begin(data, size);
	check("freezefd status --json", is_json);
	check("freezefd status --json /dev/sda1 /m1 /m2", is_json);
	check("freezefd status", is_plain);
	check("freezefd list --json", is_json);
	check("freezefd list", is_plain);
	check("freezefd monitor --json", is_json);
	check("freezefd monitor", is_plain);
	check("freezefd monitor --metrics", is_openmetrics);
	check("freezefd doctor --json", is_json);
	check("freezefd release 12-0000abcd", is_plain);
	check("freezefd thaw /m1 /dev/sda1", is_plain);
	check("freezefd hold --json /m1", is_json);
	check("freezefd run -v /m1 -- /bin/true", is_plain);
	check_file("freezefd run --report /m1/r /m1 -- /bin/true", is_json);
	check_file("freezefd monitor --metrics=/m1/f /m1", is_openmetrics);
	world_end();
	return 0;
}
