// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * powercut work: writes and freezes on a filesystem whose device logs its writes (device-mapper's log-writes), and marks
 * in that log what fsync(2) has acknowledged and what was copied while frozen.
 * powercut list, replay: read that log, and bring a device to any point of it.
 * powercut verify: is all that was acknowledged there?
 *
 * The format of the log: Documentation/admin-guide/device-mapper/log-writes.rst and drivers/md/dm-log-writes.c.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/dm-ioctl.h>
#include <linux/fs.h>

#include "freezefd.h"

#define WRITERS	  3
#define LOG_MAGIC 0x6a736677736872ULL
#define MAX_FILE  65536

enum { LOG_FLUSH = 1, LOG_FUA = 2, LOG_DISCARD = 4, LOG_MARK = 8 };

struct log_super {
	uint64_t magic, version, entries;
	uint32_t sector_size;
} __attribute__((packed));

struct log_entry {
	uint64_t sector, sectors, flags, length;
};

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "powercut: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/* ---- Files whose name tells what is in them ---- */

static size_t content(int writer, unsigned int number, unsigned char *data)
{
	uint32_t x = writer * 2654435761U + number * 40503U + 1;
	const size_t size = 100 + x % (MAX_FILE - 100);

	for (size_t i = 0; i < size; i++) {
		x = x * 1664525U + 1013904223U;
		data[i] = x >> 24;
	}
	return size;
}

static void verify(const char *dir)
{
	static unsigned char data[MAX_FILE], found[MAX_FILE + 1];
	unsigned int number, wrong = 0;
	int writer;

	while (scanf(" ack %d %u", &writer, &number) == 2) {
		const size_t size = content(writer, number, data);
		char path[4096];
		int file;
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%d-%u", dir, writer, number);
		file = open(path, O_RDONLY);
		n = file < 0 ? -1 : read(file, found, sizeof(found));
		if (n != (ssize_t)size || memcmp(data, found, size)) {
			printf("%s: %s\n", path, n < 0 ? strerror(errno) : "not what was written");
			wrong++;
		}
		close(file);
	}
	if (wrong)
		exit(EXIT_FAILURE);
}

/* ---- Work ---- */

static const char *dm_name;
static int top;
static atomic_bool stop;

static void mark(const char *text)
{
	struct {
		struct dm_ioctl dm;
		struct dm_target_msg target;
		char text[64];
	} message = {.dm = {.version = {DM_VERSION_MAJOR},
			    .data_size = sizeof(message),
			    .data_start = sizeof(struct dm_ioctl)}};
	int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

	snprintf(message.dm.name, sizeof(message.dm.name), "%s", dm_name);
	snprintf(message.target.message, sizeof(message.text), "mark %s", text);
	if (ioctl(control, DM_TARGET_MSG, &message))
		die("mark");
	close(control);
}

static void *write_files(void *arg)
{
	const int writer = (int)(intptr_t)arg;
	unsigned char *data = malloc(MAX_FILE);

	for (unsigned int i = 0; !stop && data; i++) {
		char name[64];
		const size_t size = content(writer, i, data);
		int file;

		snprintf(name, sizeof(name), "%d-%u", writer, i);
		file = openat(top, name, O_CREAT | O_EXCL | O_WRONLY, 0600);
		if (file < 0 || write(file, data, size) != (ssize_t)size || fsync(file) ||
		    fsync(top))
			die(name);
		close(file);
		snprintf(name, sizeof(name), "ack-%d-%u", writer, i);
		mark(name);
	}
	free(data);
	return NULL;
}

/* With FIFREEZE where that is all there is. */
static int freeze(bool fifreeze)
{
	const struct freezefd_options options = {.size = sizeof(options),
						 .timeout_ns = 300000000000ULL};
	int fd;

	if (fifreeze) {
		if (ioctl(top, FIFREEZE, 0))
			die("FIFREEZE");
		return -1;
	}
	fd = freezefd_open(top, &options);
	if (fd < 0) {
		errno = -fd;
		die("freeze");
	}
	return fd;
}

static void thaw(int fd)
{
	if (fd < 0 ? ioctl(top, FITHAW, 0) : freezefd_thaw(fd))
		die("thaw");
	close(fd);
}

/* work DIR DM fifreeze|freezefd FREEZES COMMAND: the command is run while it is frozen, with the freeze's number. */
static void work(char **argv)
{
	const bool fifreeze = !strcmp(argv[2], "fifreeze");
	const int freezes = atoi(argv[3]);
	pthread_t writers[WRITERS];

	dm_name = argv[1];
	top = open(argv[0], O_RDONLY | O_DIRECTORY);
	if (top < 0)
		die(argv[0]);
	for (int i = 0; i < WRITERS; i++)
		if (pthread_create(&writers[i], NULL, write_files, (void *)(intptr_t)i))
			die("pthread_create");
	for (int i = 0; i < freezes; i++) {
		char text[4096];
		int fd, status;

		usleep(200000);
		fd = freeze(fifreeze);
		snprintf(text, sizeof(text), "frozen-%d", i);
		mark(text);
		snprintf(text, sizeof(text), "%s %d", argv[4], i);
		status = system(text);
		snprintf(text, sizeof(text), "thaw-%d", i);
		mark(text);
		thaw(fd);
		if (status)
			exit(EXIT_FAILURE);
	}
	usleep(200000);
	stop = true;
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	mark("end");
}

/* ---- The log ---- */

struct log {
	int fd;
	uint64_t entries, at; /* of the next entry, bytes */
	uint32_t sector_size;
	unsigned char block[4096];
};

static void open_log(struct log *log, const char *path)
{
	struct log_super super;

	log->fd = open(path, O_RDONLY);
	if (log->fd < 0 || pread(log->fd, &super, sizeof(super), 0) != sizeof(super))
		die(path);
	log->entries = le64toh(super.entries);
	log->sector_size = le32toh(super.sector_size);
	log->at = log->sector_size;
	if (le64toh(super.magic) != LOG_MAGIC || log->sector_size > sizeof(log->block)) {
		fprintf(stderr, "powercut: %s: not a log of device-mapper's log-writes\n", path);
		exit(EXIT_FAILURE);
	}
}

/* The next entry, and where its data is. What a mark says follows the entry in the log's block. */
static uint64_t next_entry(struct log *log, struct log_entry *entry)
{
	const uint64_t data = log->at + log->sector_size;

	if (pread(log->fd, log->block, log->sector_size, log->at) != log->sector_size)
		die("log");
	memcpy(entry, log->block, sizeof(*entry));
	entry->sector = le64toh(entry->sector);
	entry->sectors = le64toh(entry->sectors);
	entry->flags = le64toh(entry->flags);
	entry->length = le64toh(entry->length);
	log->at = data + (entry->flags & LOG_DISCARD ? 0 : entry->sectors * log->sector_size);
	return data;
}

/* A line for each: its number, what it is, what a mark says. */
static void list(const char *path)
{
	struct log log;
	struct log_entry entry;

	open_log(&log, path);
	for (uint64_t i = 0; i < log.entries; i++) {
		next_entry(&log, &entry);
		if (entry.flags & LOG_MARK)
			printf("%llu mark %.*s\n", (unsigned long long)i, (int)entry.length,
			       (const char *)log.block + sizeof(entry));
		else
			printf("%llu %s\n", (unsigned long long)i,
			       entry.flags & (LOG_FLUSH | LOG_FUA) ? "flush"
			       : entry.flags & LOG_DISCARD	   ? "discard"
								   : "write");
	}
}

static void copy(struct log *log, int target, uint64_t from, uint64_t to, uint64_t size)
{
	static unsigned char data[1 << 20];

	while (size) {
		const size_t n = size < sizeof(data) ? size : sizeof(data);

		if (pread(log->fd, data, n, from) != (ssize_t)n ||
		    pwrite(target, data, n, to) != (ssize_t)n)
			die("replay");
		from += n;
		to += n;
		size -= n;
	}
}

/* Entries FROM to TO, without TO. A discard may leave what was there, and so does this. */
static void replay(const char *path, const char *device, uint64_t from, uint64_t to)
{
	int target = open(device, O_WRONLY);
	struct log log;
	struct log_entry entry;

	open_log(&log, path);
	if (target < 0)
		die(device);
	for (uint64_t i = 0; i < to && i < log.entries; i++) {
		const uint64_t data = next_entry(&log, &entry);

		if (i >= from && !(entry.flags & (LOG_DISCARD | LOG_MARK)))
			copy(&log, target, data, entry.sector * log.sector_size,
			     entry.sectors * log.sector_size);
	}
	if (fsync(target))
		die(device);
	close(target);
}

int main(int argc, char **argv)
{
	if (argc == 7 && !strcmp(argv[1], "work")) {
		work(argv + 2);
	} else if (argc == 3 && !strcmp(argv[1], "list")) {
		list(argv[2]);
	} else if (argc == 6 && !strcmp(argv[1], "replay")) {
		replay(argv[2], argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10));
	} else if (argc == 3 && !strcmp(argv[1], "verify")) {
		verify(argv[2]);
	} else {
		fputs("Usage: powercut work|list|replay|verify ...; run tests/powercut/run --help\n",
		      stderr);
		return 2;
	}
	return EXIT_SUCCESS;
}
