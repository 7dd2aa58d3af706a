// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd monitor: what it tells of the filesystems that it follows, as text or JSON. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>

#include "monitor.h"

static void put(json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_text(value));
}

static json_object *process(const struct held *held)
{
	json_object *object = json_object_new_object();

	json_object_object_add(object, "pid", json_object_new_int(held->pid));
	put(object, "command", held->command);
	json_object_object_add(object, "fd", json_object_new_int(held->fd));
	return object;
}

static json_object *seconds(uint64_t ns)
{
	char *number = show_duration(ns, true);
	json_object *object = json_object_new_double_s(strtod(number, NULL), number);

	free(number);
	return object;
}

static void tell_json(struct monitor *monitor, const struct followed *fs, const struct event *event)
{
	json_object *object = json_object_new_object(), *list = json_object_new_array();
	char *time = format_since(0);

	put(object, "time", time);
	put(object, "event", event->what);
	if (event->reason)
		put(object, "reason", event->reason);
	put(object, "target", fs->target);
	put(object, "source", fs->source);
	put(object, "fstype", fs->fstype);
	put(object, "engine", fs->engine);
	if (event->lasted)
		json_object_object_add(object, "for", seconds(event->lasted));
	for (size_t i = 0; i < event->count; i++)
		json_object_array_add(list, process(&event->held[i]));
	json_object_object_add(object, "holders", list);
	fprintf(monitor->lines, "%s\n",
		json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
							       JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
	free(time);
}

static void tell_text(struct monitor *monitor, const struct followed *fs, const struct event *event)
{
	char *time = format_since(0), *line = NULL, *shown, *lasted;
	size_t size;
	FILE *out = open_memstream(&line, &size);

	if (!out)
		out_of_memory();
	fprintf(out, "%s %-8s %s %s %s", time, event->what, fs->target ? fs->target : "-",
		fs->source ? fs->source : "-", fs->engine ? fs->engine : "-");
	if (event->reason)
		fprintf(out, " %s", event->reason);
	if (event->lasted) {
		lasted = format_duration(event->lasted);
		fprintf(out, " for %s", lasted);
		free(lasted);
	}
	for (size_t i = 0; i < event->count; i++)
		fprintf(out, "%s %s (%d)", i ? "," : " by", event->held[i].command,
			event->held[i].pid);
	fclose(out);
	shown = escape(line, true);
	fprintf(monitor->lines, "%s\n", shown);
	free(shown);
	free(line);
	free(time);
}

void monitor_tell(struct monitor *monitor, const struct followed *fs, struct event event)
{
	if (monitor->json)
		tell_json(monitor, fs, &event);
	else
		tell_text(monitor, fs, &event);
}

bool monitor_print(struct monitor *monitor)
{
	struct freezefd_status status;
	struct stat st;

	fflush(monitor->lines);
	if (!monitor->size ||
	    (!fstat(STDOUT_FILENO, &st) && S_ISREG(st.st_mode) &&
	     !freezefd_status(STDOUT_FILENO, &status) && status.state != FREEZE_STATE_THAWED))
		return true;
	fwrite(monitor->text, 1, monitor->size, stdout);
	rewind(monitor->lines);
	fflush(monitor->lines); /* which sets the size to 0 */
	return !output_error();
}

static struct held *find_held(struct held *held, size_t count, const struct held *wanted)
{
	for (size_t i = 0; i < count; i++)
		if (held[i].pid == wanted->pid && held[i].fd == wanted->fd)
			return &held[i];
	return NULL;
}

/*
 * Holds that broke since the last look. One that has been told already is no longer to be seen;
 * it is taken for broken when its deadline fell between the two looks between which it ended.
 */
static void tell_broken(struct monitor *monitor, const struct followed *fs,
			const struct followed *before)
{
	for (size_t i = 0; i < fs->nr_held; i++) {
		struct held *held = &fs->held[i],
			    *old = find_held(before->held, before->nr_held, held);

		if (strcmp(held->hold, "held") && (!old || strcmp(old->hold, held->hold)))
			monitor_tell(monitor, fs,
				     (struct event){.what = "broken",
						    .reason = held->hold,
						    .held = held,
						    .count = 1});
	}
	for (size_t i = 0; i < before->nr_held; i++) {
		struct held *old = &before->held[i];

		if (!strcmp(old->hold, "held") && !find_held(fs->held, fs->nr_held, old) &&
		    old->deadline > monitor->last && old->deadline <= monitor->now)
			monitor_tell(monitor, fs,
				     (struct event){.what = "broken",
						    .reason = "expired",
						    .held = old,
						    .count = 1});
	}
}

static void tell_thaw(struct monitor *monitor, struct followed *before, bool gone)
{
	monitor_tell(monitor, before,
		     (struct event){.what = gone ? "gone" : "thawed",
				    .lasted = monitor->now - before->begun,
				    .held = before->held,
				    .count = before->nr_held});
}

void monitor_compare(struct monitor *monitor, struct followed *fs, struct followed *before)
{
	const bool thawed = fs->state < before->state || fs->again;

	tell_broken(monitor, fs, before);
	if (thawed)
		tell_thaw(monitor, before, fs->gone);
	if (fs->state != FREEZE_STATE_THAWED && (thawed || fs->state != before->state))
		monitor_tell(monitor, fs,
			     (struct event){.what = state_name(fs->state),
					    .lasted = fs->begun < monitor->last
							      ? monitor->now - fs->begun
							      : 0,
					    .held = fs->held,
					    .count = fs->nr_held});
}
