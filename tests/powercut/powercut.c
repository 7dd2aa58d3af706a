// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What tests/powercut/run needs of C: writers whose fsync(2) is noted in the log of dm-log-writes, the
 * replay of that log, and a look at the files that it says must be there.
 *
 * The log: Documentation/admin-guide/device-mapper/log-writes.rst and drivers/md/dm-log-writes.c, Linux 7.3.
 * A write stands in it when it has been flushed, so that a prefix of the log is what a disk with a cache may
 * have after a power cut.
 */
#include <endian.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/dm-ioctl.h>

#define MAGIC	      0x6a736677736872ULL
#define FLUSH	      1
#define FUA	      2
#define DISCARD	      4
#define MARK	      8
#define MAX_FILE      40000
#define LOG_SECTOR    512
#define MARK_OF_FSYNC "fsync "

struct entry {
	uint64_t sector, sectors, flags, length; /* of the mark */
	off_t data;				 /* where it lies in the log */
	char mark[LOG_SECTOR];
};

static int log_fd;
static off_t at;
static uint64_t entries;

static void read_all(int fd, void *data, size_t size, off_t offset)
{
	if (pread(fd, data, size, offset) != (ssize_t)size)
		err(1, "the log ends too early");
}

static void open_log(const char *path)
{
	struct {
		uint64_t magic, version, entries;
		uint32_t sector_size;
	} super;

	log_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (log_fd < 0)
		err(1, "%s", path);
	read_all(log_fd, &super, sizeof(super), 0);
	if (le64toh(super.magic) != MAGIC || le32toh(super.sector_size) != LOG_SECTOR)
		errx(1, "%s: not a log of dm-log-writes with sectors of 512 bytes", path);
	entries = le64toh(super.entries);
	at = LOG_SECTOR;
}

static void next_entry(struct entry *entry)
{
	uint64_t head[4];

	read_all(log_fd, head, sizeof(head), at);
	*entry = (struct entry){.sector = le64toh(head[0]),
				.sectors = le64toh(head[1]),
				.flags = le64toh(head[2]),
				.length = le64toh(head[3]),
				.data = at + LOG_SECTOR};
	if (entry->flags & MARK && entry->length < sizeof(entry->mark) - sizeof(head))
		read_all(log_fd, entry->mark, entry->length, at + (off_t)sizeof(head));
	at += LOG_SECTOR;
	if (!(entry->flags & DISCARD))
		at += (off_t)entry->sectors * LOG_SECTOR;
}

/* A line each: number, kind, sectors, mark. */
static int list(void)
{
	struct entry entry;

	for (uint64_t i = 0; i < entries; i++) {
		next_entry(&entry);
		printf("%llu %s %llu %s\n", (unsigned long long)i,
		       entry.flags & MARK	     ? "mark"
		       : entry.flags & (FLUSH | FUA) ? "flush"
		       : entry.flags & DISCARD	     ? "discard"
						     : "write",
		       (unsigned long long)entry.sectors, entry.mark);
	}
	return 0;
}

/*
 * Entries from one up to before another one; of the last one the first half only if that is wanted, in blocks of 4 KiB.
 * A smaller block is not torn: XFS counts on that, whose recovery leaves alone what has a newer LSN in its first sector
 * (xlog_recover_get_buf_lsn() in fs/xfs/xfs_buf_item_recover.c, Linux 7.3).
 */
static int replay(const char *device, uint64_t from, uint64_t to, bool half)
{
	int fd = open(device, O_WRONLY | O_CLOEXEC);
	struct entry entry;

	if (fd < 0)
		err(1, "%s", device);
	for (uint64_t i = 0; i < to && i < entries; i++) {
		size_t size;
		char *data;

		next_entry(&entry);
		if (i < from || entry.flags & (MARK | DISCARD) || !entry.sectors)
			continue;
		size = entry.sectors * LOG_SECTOR;
		data = malloc(size);
		if (!data)
			err(1, "memory");
		read_all(log_fd, data, size, entry.data);
		if (half && i == to - 1)
			size = entry.sectors / 16 * 8 * LOG_SECTOR;
		if (pwrite(fd, data, size, (off_t)entry.sector * LOG_SECTOR) != (ssize_t)size)
			err(1, "%s", device);
		free(data);
	}
	if (fsync(fd))
		err(1, "%s", device);
	return 0;
}

/* The size and the bytes of a file are made from its name. */
static size_t content(unsigned int writer, unsigned int number, char *data)
{
	const size_t size = 1 + (number * 7919 + writer * 104729) % MAX_FILE;

	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 31 + number * 17 + writer);
	return size;
}

static void mark(const char *device, const char *text)
{
	union {
		struct dm_ioctl head;
		char space[sizeof(struct dm_ioctl) + sizeof(struct dm_target_msg) + 100];
	} message = {.head = {.version = {DM_VERSION_MAJOR, 0, 0},
			      .data_size = sizeof(message),
			      .data_start = sizeof(struct dm_ioctl)}};
	char *to = message.space + sizeof(struct dm_ioctl) + sizeof(struct dm_target_msg);
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

	snprintf(message.head.name, sizeof(message.head.name), "%s", device);
	snprintf(to, 100, "mark %s", text);
	/* One word is the message, the other one its argument. */
	for (char *blank = strchr(to + strlen("mark "), ' '); blank; blank = strchr(blank, ' '))
		*blank = '-';
	if (fd < 0 || ioctl(fd, DM_TARGET_MSG, &message))
		err(1, "mark %s", device);
	close(fd);
}

/* Files until it is killed, each noted when its fsync(2) has returned. */
static int write_files(const char *directory, unsigned int writer, const char *device)
{
	static char data[MAX_FILE + 1];
	char path[4096], text[64];

	for (unsigned int number = 0;; number++) {
		const size_t size = content(writer, number, data);
		int fd;

		snprintf(path, sizeof(path), "%s/%u-%u", directory, writer, number);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || write(fd, data, size) != (ssize_t)size || fsync(fd) || close(fd))
			err(1, "%s", path);
		snprintf(text, sizeof(text), MARK_OF_FSYNC "%u %u", writer, number);
		mark(device, text);
		/* So that the log holds freezes, not only files. */
		usleep(30000);
	}
}

static bool is_there(const char *directory, unsigned int writer, unsigned int number)
{
	static char wanted[MAX_FILE + 1], got[MAX_FILE + 1];
	const size_t size = content(writer, number, wanted);
	char path[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%u-%u", directory, writer, number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, got, sizeof(got));
	if (fd >= 0)
		close(fd);
	if (n == (ssize_t)size && !memcmp(wanted, got, size))
		return true;
	printf("%u-%u: fsync was acknowledged, but the file is %s\n", writer, number,
	       n < 0 ? strerror(errno) : "another");
	return false;
}

/* What was acknowledged before that entry. */
static int check_files(const char *directory, uint64_t before)
{
	unsigned int writer, number, looked = 0;
	struct entry entry;
	bool ok = true;

	for (uint64_t i = 0; i < before && i < entries; i++) {
		next_entry(&entry);
		if (sscanf(entry.mark, "fsync-%u-%u", &writer, &number) != 2)
			continue;
		looked++;
		ok &= is_there(directory, writer, number);
	}
	printf("%u files\n", looked);
	return !ok;
}

static uint64_t parse(const char *text)
{
	return strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (!strcmp(verb, "write") && argc == 5)
		return write_files(argv[2], (unsigned int)parse(argv[3]), argv[4]);
	if (!strcmp(verb, "mark") && argc == 4) {
		mark(argv[2], argv[3]);
		return 0;
	}
	if (argc < 3)
		goto wrong;
	open_log(argv[2]);
	if (!strcmp(verb, "list"))
		return list();
	if (!strcmp(verb, "replay") && argc >= 6)
		return replay(argv[3], parse(argv[4]), parse(argv[5]), argc > 6);
	if (!strcmp(verb, "check") && argc == 5)
		return check_files(argv[3], parse(argv[4]));
wrong:
	fputs("Usage: powercut write DIRECTORY WRITER DEVICE | mark DEVICE TEXT | list LOG |\n"
	      "       replay LOG DEVICE FROM TO [half] | check LOG DIRECTORY BEFORE\n"
	      "tests/powercut/run runs it.\n",
	      stderr);
	return 2;
}
