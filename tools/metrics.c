// SPDX-License-Identifier: GPL-2.0-or-later
/* What is frozen, as OpenMetrics 1.0 text: freezefd monitor --metrics. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/private.h"
#include "tool.h"

struct sample {
	char *labels; /* device="...",mountpoint="...",fstype="..." */
	struct freezefd_status status;
	bool counted; /* its waiters */
	unsigned int waiters, expired, revoked;
};

struct metrics {
	const struct target *only;
	size_t nr_only, count;
	struct sample *sample;
	struct holders holders;
};

/* Escaped as the format wants it. Freed by the caller. */
static char *label(const char *name, const char *string)
{
	char *valid = escape(string ? string : "", false), *line = NULL;
	size_t size;
	FILE *out = open_memstream(&line, &size);

	if (!out)
		out_of_memory();
	fprintf(out, "%s=\"", name);
	for (const char *at = valid; *at; at++) {
		if (*at == '\\' || *at == '"')
			putc('\\', out);
		fputs(*at == '\n' ? "\\n" : (char[]){*at, 0}, out);
	}
	putc('"', out);
	fclose(out);
	free(valid);
	return line;
}

static char *labels_of(const struct target *target, const char *path)
{
	const struct mount *mount = &target->mount;
	char *device = label("device", target->mounted ? mount->source : path),
	     *mountpoint = label("mountpoint", target->mounted ? mount->dir : NULL),
	     *fstype = label("fstype", target->mounted ? mount->fstype : NULL),
	     *all = text("%s,%s,%s", device, mountpoint, fstype);

	free(device);
	free(mountpoint);
	free(fstype);
	return all;
}

static void count_broken(const struct metrics *metrics, dev_t dev, const char *path,
			 struct sample *sample)
{
	for (size_t i = 0; i < metrics->holders.count; i++) {
		const struct holder *holder = &metrics->holders.holder[i];

		if (!holder_of(holder, dev, path))
			continue;
		sample->expired += !strcmp(holder->info.hold, hold_name(FREEZEFD_HOLD_EXPIRED));
		sample->revoked += !strcmp(holder->info.hold, hold_name(FREEZEFD_HOLD_REVOKED));
	}
}

static void found(void *arg, const struct target *target, const struct freezefd_status *status)
{
	struct metrics *metrics = arg;
	struct sample sample = {.status = *status};
	struct waiters waiters = {0};
	char *path;

	if ((!target->mounted && status->state == FREEZE_STATE_THAWED) ||
	    !target_among(metrics->only, metrics->nr_only, target))
		return;
	path = stack_device_path(target->device);
	sample.labels = labels_of(target, path);
	count_broken(metrics, target->mount.dev, path, &sample);
	free(path);
	sample.counted = status->state == FREEZE_STATE_THAWED ||
			 !private_freezefd_waiters(target->fd, &waiters);
	sample.waiters = waiters.count;
	metrics->sample = array(metrics->sample, metrics->count + 1, sizeof(sample));
	metrics->sample[metrics->count++] = sample;
}

/* There may be none, and no array. */
#define for_each_sample(each, metrics) \
	for (each = (metrics)->sample; each && each < (metrics)->sample + (metrics)->count; each++)

static void begin(FILE *out, const char *name, const char *unit, const char *help)
{
	fprintf(out, "# TYPE %s gauge\n", name);
	if (unit)
		fprintf(out, "# UNIT %s %s\n", name, unit);
	fprintf(out, "# HELP %s %s\n", name, help);
}

static void put_states(FILE *out, const struct metrics *metrics)
{
	const struct sample *each;
	char *seconds;

	begin(out, "freezefd_frozen", NULL, "1 when the filesystem is frozen, else 0.");
	for_each_sample (each, metrics)
		fprintf(out, "freezefd_frozen{%s} %d\n", each->labels,
			each->status.state == FREEZE_STATE_FROZEN);
	begin(out, "freezefd_freezing", NULL,
	      "1 when a freeze of the filesystem has begun and is not complete, else 0.");
	for_each_sample (each, metrics)
		fprintf(out, "freezefd_freezing{%s} %d\n", each->labels,
			each->status.state == FREEZE_STATE_FREEZING);
	begin(out, "freezefd_frozen_seconds", "seconds",
	      "For how long its writers have been stopped; left out where that is not known.");
	for_each_sample (each, metrics) {
		if (each->status.state != FREEZE_STATE_THAWED && !each->status.frozen_ns)
			continue;
		seconds = show_duration(each->status.frozen_ns, true);
		fprintf(out, "freezefd_frozen_seconds{%s} %s\n", each->labels, seconds);
		free(seconds);
	}
}

static void put_holds(FILE *out, const struct metrics *metrics)
{
	const struct sample *each;

	begin(out, "freezefd_holds", NULL,
	      "Holds: of freeze descriptors, of FIFREEZE, of the block layer, of the kernel.");
	for_each_sample (each, metrics) {
		const struct freezefd_status *status = &each->status;
		const struct {
			const char *kind;
			uint32_t count;
		} holds[] = {
			{"descriptor", status->fd_holds},
			{"user", status->user_holds - status->bdev_holds},
			{"device", status->bdev_holds},
			{"kernel", status->kernel_holds},
		};

		for (size_t i = 0; i < ARRAY_SIZE(holds); i++)
			fprintf(out, "freezefd_holds{%s,kind=\"%s\"} %" PRIu32 "\n", each->labels,
				holds[i].kind, holds[i].count);
	}
	begin(out, "freezefd_broken_holds", NULL,
	      "Descriptors whose hold was broken, by its deadline or by force, and whose holder has not been told yet.");
	for_each_sample (each, metrics) {
		fprintf(out, "freezefd_broken_holds{%s,reason=\"expired\"} %u\n", each->labels,
			each->expired);
		fprintf(out, "freezefd_broken_holds{%s,reason=\"revoked\"} %u\n", each->labels,
			each->revoked);
	}
	begin(out, "freezefd_waiters", NULL,
	      "Tasks that wait for the thaw; left out where that is not known.");
	for_each_sample (each, metrics)
		if (each->counted)
			fprintf(out, "freezefd_waiters{%s} %u\n", each->labels, each->waiters);
}

static void put_all(FILE *out, const struct metrics *metrics)
{
	put_states(out, metrics);
	put_holds(out, metrics);
	fputs("# EOF\n", out);
}

/* Writing there would wait for the thaw. */
static bool is_frozen(const char *file)
{
	char *directory = copy(file), *slash = strrchr(directory, '/');
	struct freezefd_status status = {0};
	int fd;

	if (slash)
		slash[slash == directory] = 0;
	fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(directory);
	if (fd >= 0 && freezefd_status(fd, &status))
		status.state = FREEZE_STATE_THAWED;
	if (fd >= 0)
		close(fd);
	return status.state != FREEZE_STATE_THAWED;
}

static int replace(const char *file, const struct metrics *metrics)
{
	char *content = NULL;
	size_t size;
	FILE *out;
	int err;

	if (is_frozen(file)) {
		complain(file, "not written: on a filesystem that is frozen");
		return EXIT_FAILURE;
	}
	out = open_memstream(&content, &size);
	if (!out)
		out_of_memory();
	put_all(out, metrics);
	fclose(out);
	err = replace_file(file, content, 0644);
	if (err)
		complain(file, "%s", strerror(err));
	free(content);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

int write_metrics(const struct target *only, size_t count, const char *file)
{
	struct metrics metrics = {.only = only, .nr_only = count};
	int status = EXIT_SUCCESS;

	holders_read(&metrics.holders);
	if (!each_filesystem(found, &metrics, false))
		status = EXIT_FAILURE;
	if (!holders_complete(&metrics.holders))
		status = EXIT_FAILURE;
	/* Where nothing can be asked an empty list would look like good news. */
	if (status && !metrics.count)
		;
	else if (file)
		status |= replace(file, &metrics);
	else
		put_all(stdout, &metrics);
	for (size_t i = 0; i < metrics.count; i++)
		free(metrics.sample[i].labels);
	free(metrics.sample);
	holders_free(&metrics.holders);
	return status;
}
