// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * freezefd monitor: freezes, thaws and broken holds as they happen. The filesystems are asked
 * again and again: that works with every engine and for every user, and takes no lock.
 *
 * Each is opened by its device only for as long as it is asked: a descriptor that stays open
 * would keep a mount or a device busy.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <libmount.h>

#include "monitor.h"

#define NSEC_PER_SEC UINT64_C(1000000000)
#define INTERVAL     (NSEC_PER_SEC / 5)
/* What is mounted elsewhere, in a container, no event tells. */
#define SEARCH_EVERY (5 * NSEC_PER_SEC)

enum { METRICS = 256 };

static const char usage[] =
	"Usage: freezefd monitor [OPTION...] [TARGET...]\n"
	"Follow freezes, thaws and broken holds, of the TARGETs or of all filesystems on local\n"
	"devices, until a signal comes. What is shorter than the interval may be missed.\n"
	"\n"
	"TARGET is a file or directory on the filesystem, its block device, or UUID=...\n"
	"\n"
	"  -J, --json            print a JSON object a line\n"
	"  -i, --interval TIME   between two looks (default: 200ms)\n"
	"      --metrics[=FILE]  instead, write what is so now as OpenMetrics to standard output,\n"
	"                        or replace FILE by it, for node_exporter's textfile collector\n"
	"  -h, --help            this help\n"
	"\n"
	"Exit status: 0; 1 something could not be asked or written; 2 wrong usage.\n";

static void forget_held(struct followed *fs)
{
	for (size_t i = 0; i < fs->nr_held; i++) {
		free(fs->held[i].command);
		free(fs->held[i].hold);
	}
	free(fs->held);
	fs->held = NULL;
	fs->nr_held = 0;
}

static void read_held(struct monitor *monitor, struct followed *fs, const struct holders *holders)
{
	fs->held = NULL;
	fs->nr_held = 0;
	for (size_t i = 0; i < holders->count; i++) {
		const struct holder *holder = &holders->holder[i];

		if (!holder_of(holder, fs->dev, fs->path) || !strcmp(holder->info.hold, "none"))
			continue;
		fs->held = array(fs->held, fs->nr_held + 1, sizeof(*fs->held));
		fs->held[fs->nr_held++] = (struct held){
			.pid = holder->pid,
			.fd = holder->fd,
			.command = copy(holder->command),
			.hold = copy(holder->info.hold),
			.deadline = holder->info.timeout_ns ? monitor->now + holder->info.timeout_ns
							    : 0,
		};
	}
}

/* ---- One look */

static void drop(struct monitor *monitor, struct followed *fs)
{
	forget_held(fs);
	free(fs->target);
	free(fs->source);
	free(fs->fstype);
	free(fs->path);
	*fs = monitor->fs[--monitor->count];
}

static bool deadline_passed(const struct monitor *monitor, const struct followed *fs)
{
	for (size_t i = 0; i < fs->nr_held; i++)
		if (!strcmp(fs->held[i].hold, "held") && fs->held[i].deadline &&
		    fs->held[i].deadline <= monitor->now)
			return true;
	return false;
}

/* What is so now, the holders left out. False: nobody can tell. */
static bool ask(struct monitor *monitor, struct followed *fs)
{
	struct freezefd_status status;
	const uint32_t before = fs->state, holds = fs->fd_holds;
	const uint64_t begun = fs->begun, asked = now_ns();
	const bool exact = fs->exact;
	int fd = device_open(fs->device), err;
	uint64_t answered;

	if (fd < 0)
		return errno == EMFILE || errno == ENFILE || errno == EACCES || errno == EPERM;
	err = freezefd_status(fd, &status);
	answered = now_ns();
	if (!err && !fs->engine)
		fs->engine = freezefd_engine(fd);
	close(fd);
	if (err)
		return err != -ENODEV && err != -EOPNOTSUPP;
	if (status.dev != fs->dev)
		return false;
	fs->state = status.state;
	fs->fd_holds = status.fd_holds;
	fs->exact = status.frozen_ns;
	if (status.frozen_ns)
		fs->begun = answered - status.frozen_ns;
	else if (before == FREEZE_STATE_THAWED || fs->state < before)
		fs->begun = monitor->now;
	/* The same moment comes out later by as long as the answer took, at the most. */
	fs->again = exact && fs->exact && fs->begun > begun + (answered - asked);
	/* Once more after a change: a process that freezes for another one hands the descriptor on then. */
	fs->suspect = fs->changed || deadline_passed(monitor, fs);
	fs->changed = fs->state != before || fs->fd_holds != holds || fs->again;
	fs->suspect |= fs->changed;
	return true;
}

/* A thaw takes time after the last hold is dropped. Whose hold that was is told with its end. */
static void keep_last(struct followed *fs, struct followed *before)
{
	if (fs->nr_held || fs->again || fs->state == FREEZE_STATE_THAWED)
		return;
	fs->held = before->held;
	fs->nr_held = before->nr_held;
	before->held = NULL;
	before->nr_held = 0;
	for (size_t i = 0; i < fs->nr_held; i++) {
		free(fs->held[i].hold);
		fs->held[i].hold = copy("none");
	}
}

/* Reading the holders of all processes takes its time, so it is done once, and only when there is a cause. */
static void look(struct monitor *monitor)
{
	struct followed *before = array(NULL, monitor->count, sizeof(*before));
	struct holders holders = {0};
	bool suspect = false;

	for (size_t i = 0; i < monitor->count; i++) {
		struct followed *fs = &monitor->fs[i];

		before[i] = *fs;
		if (!ask(monitor, fs)) {
			fs->gone = true;
			fs->suspect = fs->state != FREEZE_STATE_THAWED;
			fs->state = FREEZE_STATE_THAWED;
		}
		suspect |= fs->suspect;
	}
	if (suspect)
		holders_read(&holders);
	for (size_t i = 0; i < monitor->count; i++) {
		if (!monitor->fs[i].suspect)
			continue;
		monitor->fs[i].suspect = false;
		read_held(monitor, &monitor->fs[i], &holders);
		monitor_compare(monitor, &monitor->fs[i], &before[i]);
		keep_last(&monitor->fs[i], &before[i]);
		forget_held(&before[i]);
	}
	holders_free(&holders);
	free(before);
	for (size_t i = monitor->count; i--;)
		if (monitor->fs[i].gone)
			drop(monitor, &monitor->fs[i]);
}

/* ---- Which filesystems there are */

static char *copy_of(const char *string)
{
	return string ? copy(string) : NULL;
}

static void found(void *arg, const struct target *target, const struct freezefd_status *status)
{
	struct monitor *monitor = arg;
	struct followed *fs = NULL;

	(void)status; /* the look that follows asks again */
	if (!target_among(monitor->only, monitor->nr_only, target))
		return;
	for (size_t i = 0; i < monitor->count && !fs; i++)
		if (monitor->fs[i].dev == target->mount.dev)
			fs = &monitor->fs[i];
	if (!fs) {
		monitor->fs = array(monitor->fs, monitor->count + 1, sizeof(*fs));
		fs = &monitor->fs[monitor->count++];
		*fs = (struct followed){.dev = target->mount.dev};
	}
	if (fs->mounted && !target->mounted && fs->state != FREEZE_STATE_THAWED)
		monitor_tell(monitor, fs,
			     (struct event){
				     .what = "unmounted", .held = fs->held, .count = fs->nr_held});
	fs->device = target->device;
	fs->mounted = target->mounted;
	free(fs->path);
	fs->path = stack_device_path(target->device);
	free(fs->target);
	fs->target = target->mounted ? copy_of(target->mount.dir) : NULL;
	/* What it was is still true when it is no longer mounted. */
	if (target->mounted || !fs->source) {
		free(fs->source);
		free(fs->fstype);
		fs->source = copy_of(target->mounted ? target->mount.source : fs->path);
		fs->fstype = target->mounted ? copy_of(target->mount.fstype) : NULL;
	}
}

static void search(struct monitor *monitor, bool first)
{
	mounts_forget();
	monitor->searched = monitor->now;
	/* What cannot be asked is said once, and with targets only if it is one of them. */
	if (!each_filesystem(found, monitor, !first || monitor->only) && first && !monitor->only)
		monitor->failed = true;
}

/* False after a complaint: it is one that cannot be opened by its device. */
static bool all_followed(const struct monitor *monitor)
{
	for (size_t i = 0; i < monitor->nr_only; i++) {
		size_t j = 0;

		while (j < monitor->count && monitor->fs[j].dev != monitor->only[i].mount.dev)
			j++;
		if (j == monitor->count) {
			complain(monitor->only[i].name,
				 "its block device cannot be opened; become root");
			return false;
		}
	}
	return true;
}

static bool changed(struct libmnt_monitor *mounts)
{
	const char *name;
	bool any = false;
	int type;

	while (!mnt_monitor_next_change(mounts, &name, &type))
		any = true;
	return any;
}

static struct libmnt_monitor *watch_mounts(void)
{
	struct libmnt_monitor *mounts = mnt_new_monitor();

	if (mounts && mnt_monitor_enable_kernel(mounts, 1) >= 0)
		return mounts;
	complain("/proc/self/mountinfo", "cannot be watched; mount /proc");
	mnt_unref_monitor(mounts);
	return NULL;
}

static int watch_clock(uint64_t interval)
{
	struct timespec ts = {.tv_sec = (time_t)(interval / NSEC_PER_SEC),
			      .tv_nsec = (long)(interval % NSEC_PER_SEC)};
	const struct itimerspec when = {.it_interval = ts, .it_value = ts};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd >= 0)
		timerfd_settime(fd, 0, &when, NULL);
	return fd;
}

static int follow(struct monitor *monitor, uint64_t interval)
{
	struct libmnt_monitor *mounts = watch_mounts();
	struct pollfd poll[2] = {{.events = POLLIN}, {.events = POLLIN}};
	bool moved = true, first = true;
	sigset_t before;
	uint64_t ticks;

	if (!mounts)
		return EXIT_FAILURE;
	poll[0].fd = watch_clock(interval);
	poll[1].fd = mnt_monitor_get_fd(mounts);
	catch_signals();
	block_signals(&before);
	while (!caught_signal) {
		monitor->last = monitor->now;
		monitor->now = now_ns();
		if (first)
			monitor->last = monitor->now;
		if (moved || monitor->now - monitor->searched > SEARCH_EVERY)
			search(monitor, first);
		if (first && !all_followed(monitor))
			return EXIT_FAILURE;
		first = moved = false;
		look(monitor);
		if (!monitor_print(monitor) || (monitor->failed && !monitor->count))
			return EXIT_FAILURE;
		/* Mounts that change all the time are not read more often than the filesystems. */
		while (!caught_signal &&
		       (!poll[0].revents || read(poll[0].fd, &ticks, sizeof(ticks)) < 0)) {
			wait_events(poll, ARRAY_SIZE(poll), 0);
			if (poll[1].revents)
				moved |= changed(mounts);
		}
		poll[0].revents = 0;
	}
	monitor_print(monitor);
	mnt_unref_monitor(mounts);
	close(poll[0].fd);
	if (!monitor->size)
		return EXIT_SUCCESS;
	complain("standard output",
		 "the last lines are lost: it is on a filesystem that is frozen");
	return EXIT_FAILURE;
}

static bool open_targets(struct monitor *monitor, char **names, size_t count)
{
	struct freezefd_status status;
	int err;

	if (!count)
		return true;
	monitor->only = array(NULL, count, sizeof(*monitor->only));
	for (; monitor->nr_only < count; monitor->nr_only++) {
		struct target *target = &monitor->only[monitor->nr_only];

		if (!target_open(target, names[monitor->nr_only]))
			return false;
		err = freezefd_status(target->fd, &status);
		target->device = target_device(target);
		if (!err)
			target->mount.dev = status.dev;
		target_close(target);
		if (err) {
			complain_errno(target->name, err);
			return false;
		}
	}
	return true;
}

static bool interval_option(const char *string, uint64_t *ns)
{
	if (!parse_duration(string, ns))
		return true;
	usage_error("monitor", "'%s' is not an interval; write 200ms, 1s or 1m", string);
	return false;
}

int cmd_monitor(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'J'},
		{"interval", required_argument, NULL, 'i'},
		{"metrics", optional_argument, NULL, METRICS},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct monitor monitor = {0};
	uint64_t interval = INTERVAL;
	const char *file = NULL;
	bool metrics = false;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "Ji:h", options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		}
		if (opt == 'J') {
			monitor.json = true;
		} else if (opt == METRICS) {
			metrics = true;
			file = optarg;
		} else if (opt != 'i') {
			return wrong_option("monitor");
		} else if (!interval_option(optarg, &interval)) {
			return EXIT_USAGE;
		}
	}
	if (metrics && monitor.json)
		return usage_error("monitor", "--metrics is a format of its own, without --json");
	confine_monitor();
	if (!open_targets(&monitor, argv + optind, (size_t)(argc - optind)))
		return EXIT_FAILURE;
	if (metrics) {
		status = write_metrics(monitor.only, monitor.nr_only, file);
	} else {
		monitor.lines = open_memstream(&monitor.text, &monitor.size);
		if (!monitor.lines)
			out_of_memory();
		status = follow(&monitor, interval);
		fclose(monitor.lines);
		free(monitor.text);
	}
	while (monitor.count)
		drop(&monitor, &monitor.fs[0]);
	free(monitor.fs);
	free(monitor.only);
	return status;
}
