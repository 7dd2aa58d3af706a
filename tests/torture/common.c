// SPDX-License-Identifier: GPL-2.0-or-later
/* Decisions, time, what is told of a failure. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "torture.h"

_Thread_local int who = MAX_WORKERS;
static _Thread_local uint64_t random_state;

/* A stream of its own for everybody, so that what one decides does not depend on the others. */
void seed_with(uint32_t round, int stream, uint32_t life)
{
	random_state = ((uint64_t)shared->seed << 32) ^ ((uint64_t)round << 16) ^
		       ((uint64_t)stream << 8) ^ life;
	for (int i = 0; i < 8; i++)
		below(2);
}

uint32_t below(uint32_t n)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (random_state >> 33) % n;
}

void doze(uint32_t max_us)
{
	usleep(below(max_us));
}

/* From 2 ms on, as many short ones as long ones. */
uint64_t random_timeout(void)
{
	return (MAX_TIMEOUT >> below(11)) / 1000 * (500 + below(501));
}

uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * SEC + ts.tv_nsec;
}

bool poll_until(bool (*done)(void *), void *arg)
{
	const uint64_t limit = now() + END_LIMIT;

	while (!done(arg)) {
		if (now() > limit)
			return false;
		usleep(2000);
	}
	return true;
}

bool kernel_before(int major, int minor)
{
	struct utsname name;
	int is_major = 0, is_minor = 0;

	uname(&name);
	sscanf(name.release, "%d.%d", &is_major, &is_minor);
	return is_major < major || (is_major == major && is_minor < minor);
}

static void count(const char *what, bool done)
{
	for (size_t i = 0; i < sizeof(shared->tallies) / sizeof(*shared->tallies); i++) {
		struct tally *tally = &shared->tallies[i];
		const char *empty = NULL;

		if (tally->what != what &&
		    !atomic_compare_exchange_strong(&tally->what, &empty, what) && empty != what)
			continue;
		atomic_fetch_add(done ? &tally->done : &tally->refused, 1);
		return;
	}
}

void print_tallies(void)
{
	printf("# done + refused:");
	for (struct tally *tally = shared->tallies; tally->what; tally++)
		printf(" %s %u+%u", tally->what, tally->done, tally->refused);
	putchar('\n');
}

void trail(const char *what, struct fs *fs, struct hold *hold, int result)
{
	struct event *event = &shared->trail[atomic_fetch_add(&shared->events, 1) % TRAIL];

	*event = (struct event){.time = now(),
				.what = what,
				.who = who,
				.fs = fs ? fs - shared->fs : -1,
				.hold = fs && hold ? hold - fs->descriptors : -1,
				.result = result};
	count(what, result >= 0);
}

/* What has come before it, of this filesystem. */
static void print_trail(struct fs *fs)
{
	const uint32_t end = shared->events, begin = end > TRAIL ? end - TRAIL : 0;
	const uint64_t time = now();

	printf("#     ms  who  fs  fd  what, result\n");
	for (uint32_t i = begin; i < end; i++) {
		const struct event *event = &shared->trail[i % TRAIL];

		if (!fs || event->fs < 0 || event->fs == fs - shared->fs)
			printf("# %8.2f %3d %3d %3d  %s %d\n",
			       (double)((int64_t)(event->time - time)) / MS, event->who, event->fs,
			       event->hold, event->what, event->result);
	}
}

void fail(struct fs *fs, const char *fmt, ...)
{
	va_list args;
	char text[512];

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (atomic_fetch_add(&shared->failures, 1) > 10)
		return;
	printf("not ok --seed %u --round %u%s%s%s\n#   by %d: %s\n", shared->seed, shared->round,
	       fs ? ": " : "", fs ? fs->type : "", fs ? fs->device : "", who, text);
	if (shared->failures == 1)
		print_trail(fs);
	fflush(stdout);
}

/* Where nothing is mounted there is a tmpfs, which cannot be frozen and must not be. */
int open_target(struct fs *fs, bool by_device)
{
	struct stat dir, base;
	int fd;

	if (by_device) {
		fd = open(fs->device, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	}
	fd = open(fs->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!fstat(fd, &dir) && !stat(BASE, &base) && dir.st_dev != base.st_dev)
		return fd;
	close(fd);
	return -ENOENT;
}

int sh(const char *fmt, ...)
{
	char command[1024];
	va_list args;
	int status;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	fflush(stdout);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static void cat(const char *path)
{
	char text[4096];
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = file < 0 ? 0 : read(file, text, sizeof(text) - 1);

	if (n > 0)
		printf("%.*s", (int)n, text);
	close(file);
}

/* What those of our process group wait for. */
void print_stacks(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char path[64];

	while (proc && (entry = readdir(proc))) {
		const pid_t pid = atoi(entry->d_name);

		if (!isdigit((unsigned char)*entry->d_name) || getpgid(pid) != getpgrp() ||
		    pid == getpid())
			continue;
		printf("# process %d: ", pid);
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		cat(path);
		snprintf(path, sizeof(path), "/proc/%d/stack", pid);
		cat(path);
	}
	if (proc)
		closedir(proc);
}
