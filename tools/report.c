// SPDX-License-Identifier: GPL-2.0-or-later
/* run --report: what became of a freeze, for whoever keeps the backup. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "tool.h"

#define NSEC_PER_SEC UINT64_C(1000000000)

/* A moment of CLOCK_BOOTTIME as ISO 8601, in UTC with milliseconds. */
static struct json_object *moment(uint64_t boot_ns)
{
	struct timespec now;
	uint64_t real_ns;
	char stamp[32], *string;
	struct json_object *object;
	time_t when;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	real_ns = (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
	real_ns -= now_ns() - boot_ns;
	when = (time_t)(real_ns / NSEC_PER_SEC);
	gmtime_r(&when, &tm);
	strftime(stamp, sizeof(stamp), "%FT%T", &tm);
	string = text("%s.%03dZ", stamp, (int)(real_ns / 1000000 % 1000));
	object = json_object_new_string(string);
	free(string);
	return object;
}

/* Null for "". */
static struct json_object *string_or_null(const char *string)
{
	return json_text(*string ? string : NULL);
}

static const char *reason(int result)
{
	switch (result) {
	case 0:
		return "";
	case -ETIME:
		return "timeout";
	case -ECANCELED:
		return "thawed";
	case -EOWNERDEAD:
		return "guardian";
	case -ESTALE:
		return "gone";
	default:
		return strerror(-result);
	}
}

static struct json_object *describe(const struct hold *hold)
{
	struct json_object *object = json_object_new_object();
	const uint64_t bound = hold->thawed_ns - hold->frozen_ns;
	char *seconds = text("%.6f", (double)bound / 1e9);

	json_object_object_add(object, "target", string_or_null(hold->name));
	json_object_object_add(object, "mountpoint", string_or_null(hold->dir));
	json_object_object_add(object, "source", string_or_null(hold->source));
	json_object_object_add(object, "fstype", string_or_null(hold->fstype));
	json_object_object_add(object, "uuid", string_or_null(hold->uuid));
	json_object_object_add(object, "engine", string_or_null(hold->engine));
	json_object_object_add(object, "frozen", moment(hold->frozen_ns));
	json_object_object_add(object, "thawed", moment(hold->thawed_ns));
	json_object_object_add(object, "stall_bound",
			       json_object_new_double_s((double)bound / 1e9, seconds));
	json_object_object_add(object, "unbroken", json_object_new_boolean(!hold->result));
	json_object_object_add(object, "reason", string_or_null(reason(hold->result)));
	free(seconds);
	return object;
}

static struct json_object *compose(const struct holds *holds, int status)
{
	struct json_object *object = json_object_new_object(), *list = json_object_new_array();
	bool unbroken = holds->count && !holds->early;

	for (size_t i = 0; i < holds->count; i++) {
		json_object_array_add(list, describe(&holds->hold[i]));
		unbroken = unbroken && !holds->hold[i].result;
	}
	json_object_object_add(object, "version", json_object_new_int(1));
	json_object_object_add(object, "status", json_object_new_int(status));
	json_object_object_add(object, "unbroken", json_object_new_boolean(unbroken));
	json_object_object_add(object, "filesystems", list);
	return object;
}

bool report_possible(const char *path)
{
	char *directory;
	struct stat st;
	bool possible;

	/* A link or a device would be replaced, too. */
	if (!*path || (!lstat(path, &st) && !S_ISREG(st.st_mode))) {
		complain(path, "a report replaces a file, and this is none; name one");
		return false;
	}
	directory = copy(path);
	possible = !access(dirname(directory), W_OK);
	if (!possible)
		complain(path, "a report cannot be written there: %s", strerror(errno));
	free(directory);
	return possible;
}

int report_write(const char *path, const struct holds *holds, int status)
{
	struct json_object *object = compose(holds, status);
	char *content = text("%s\n", json_object_to_json_string_ext(
					     object, JSON_C_TO_STRING_PRETTY |
							     JSON_C_TO_STRING_NOSLASHESCAPE));
	mode_t mask = umask(0);
	int err;

	umask(mask);
	err = replace_file(path, content, 0666 & ~mask);
	free(content);
	json_object_put(object);
	if (!err)
		return status;
	complain(path, "the report cannot be written: %s", strerror(err));
	return status ? status : EXIT_CANNOT_FREEZE;
}
