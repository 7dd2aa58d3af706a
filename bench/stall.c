// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How long a freeze keeps writers waiting. Threads write all the time and note
 * when each write began and ended; the freeze is made by one of several ways,
 * held for a moment and undone. What a write took beyond the hold that was asked
 * for is its stall.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include "bench.h"
#include "stall.h"

/*
 * What each writer writes to, again and again. btrfs sets 256 KiB of metadata aside for each
 * block that is dirty; for more of them than this, writers wait with no freeze at all.
 */
#define FILE_SIZE      (1 << 16)
#define WRITE_SIZE     4096	 /* at a time */
#define PAUSE_NS       (MS / 2)	 /* between two writes of a writer */
#define BEFORE_NS      (20 * MS) /* writers run for so long before the freeze, and after it */
#define LIMIT_MS       60000	 /* a freeze longer than this is undone */
#define MAX_WRITERS    64
#define WRITES_A_ROUND 65536

struct op {
	uint64_t start, end;
};

/* Only the writer itself appends; count is stored last. */
struct writer {
	pthread_t thread;
	int fd;
	struct op *ops;
	atomic_uint count;
};

static struct writer writers[MAX_WRITERS];
static unsigned int nr_writers;
static atomic_bool stop;
const char *directory;
int target;

void nap(uint64_t ns)
{
	const struct timespec ts = {.tv_sec = ns / (1000 * MS), .tv_nsec = ns % (1000 * MS)};

	nanosleep(&ts, NULL);
}

/* --- safety: whatever becomes of us, somebody thaws --- */

static void thaw_hard(void)
{
	for (int i = 0; i < 16 && !ioctl(target, FITHAW, 0); i++)
		;
}

/* Returns the pipe to write a byte to before each freeze and after each thaw. */
static int start_reaper(void)
{
	int pipe_fd[2];
	pid_t pid;

	if (pipe(pipe_fd) || (pid = fork()) < 0)
		die("cannot start the reaper: %s", strerror(errno));
	if (pid) {
		close(pipe_fd[0]);
		fcntl(pipe_fd[1], F_SETFD, FD_CLOEXEC);
		return pipe_fd[1];
	}
	setsid();
	close(pipe_fd[1]);
	for (int timeout = -1;;) {
		struct pollfd wait = {.fd = pipe_fd[0], .events = POLLIN};
		int n = poll(&wait, 1, timeout);
		char what;

		if (n == 0 || read(pipe_fd[0], &what, 1) != 1) {
			thaw_hard();
			if (n)
				_exit(0);
			timeout = -1;
			continue;
		}
		timeout = what == 'f' ? LIMIT_MS : -1;
	}
}

static int reaper;

static void tell_reaper(char what)
{
	if (write(reaper, &what, 1) != 1)
		die("the reaper is gone");
}

/* --- writers --- */

static void *write_on(void *arg)
{
	struct writer *writer = arg;
	static const char data[WRITE_SIZE];
	unsigned int seed = writer - writers;

	while (!stop) {
		unsigned int n = atomic_load(&writer->count);
		off_t at = rand_r(&seed) % (FILE_SIZE / WRITE_SIZE) * WRITE_SIZE;
		struct op op = {.start = now_ns()};

		if (pwrite(writer->fd, data, sizeof(data), at) != sizeof(data))
			die("write: %s", strerror(errno));
		op.end = now_ns();
		if (n < WRITES_A_ROUND) {
			writer->ops[n] = op;
			atomic_store(&writer->count, n + 1);
		}
		nap(PAUSE_NS);
	}
	return NULL;
}

static int create(const char *name, off_t size)
{
	char buffer[WRITE_SIZE * 16] = "";
	int fd = openat(target, name, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		die("%s/%s: %s", directory, name, strerror(errno));
	for (off_t done = 0; done < size; done += sizeof(buffer))
		if (write(fd, buffer, sizeof(buffer)) != sizeof(buffer))
			die("%s/%s: %s", directory, name, strerror(errno));
	return fd;
}

static void start_writers(unsigned int n)
{
	nr_writers = n;
	stop = false;
	for (unsigned int i = 0; i < n; i++) {
		struct writer *writer = &writers[i];
		char name[32];

		snprintf(name, sizeof(name), "writer-%u", i);
		writer->fd = create(name, FILE_SIZE);
		writer->ops = malloc(WRITES_A_ROUND * sizeof(*writer->ops));
		if (!writer->ops || fsync(writer->fd) ||
		    pthread_create(&writer->thread, NULL, write_on, writer))
			die("cannot start a writer");
	}
}

static void stop_writers(void)
{
	stop = true;
	for (unsigned int i = 0; i < nr_writers; i++) {
		pthread_join(writers[i].thread, NULL);
		close(writers[i].fd);
	}
}

/* --- what came out --- */

static uint64_t overlap(const struct op *op, const struct times *times)
{
	uint64_t from = op->start > times->frozen ? op->start : times->frozen;
	uint64_t to = op->end < times->thaw ? op->end : times->thaw;

	return to > from ? to - from : 0;
}

static double *stalls; /* of every write of all rounds while the freeze came and went */
static size_t nr_stalls, max_stalls;

static void add_stall(double ns)
{
	if (nr_stalls == max_stalls) {
		max_stalls = max_stalls ? 2 * max_stalls : 65536;
		stalls = realloc(stalls, max_stalls * sizeof(*stalls));
		if (!stalls)
			die("out of memory");
	}
	stalls[nr_stalls++] = ns;
}

static double longest_stall(const struct times *times)
{
	double longest = 0;

	for (unsigned int i = 0; i < nr_writers; i++)
		for (unsigned int k = 0; k < writers[i].count; k++) {
			const struct op *op = &writers[i].ops[k];
			double ns = op->end - op->start - overlap(op, times);

			if (op->end < times->ask || op->start > times->thawed)
				continue;
			add_stall(ns);
			if (ns > longest)
				longest = ns;
		}
	return longest;
}

static void print_timeline(const struct times *times)
{
	printf("times\t%llu\t%llu\t%llu\n", (unsigned long long)(times->frozen - times->ask),
	       (unsigned long long)(times->thaw - times->ask),
	       (unsigned long long)(times->thawed - times->ask));
	for (unsigned int i = 0; i < nr_writers; i++)
		for (unsigned int k = 0; k < writers[i].count; k++)
			printf("op\t%u\t%lld\t%llu\n", i,
			       (long long)(writers[i].ops[k].start - times->ask),
			       (unsigned long long)(writers[i].ops[k].end -
						    writers[i].ops[k].start));
}

/* Until each writer has begun a write after @when, and so has noted all before. */
static void wait_for_writers(uint64_t when)
{
	for (unsigned int i = 0; i < nr_writers; i++)
		for (;;) {
			unsigned int n = atomic_load(&writers[i].count);

			if (n == WRITES_A_ROUND || (n && writers[i].ops[n - 1].start > when))
				break;
			if (now_ns() > when + LIMIT_MS * MS)
				die("a writer does not go on");
			nap(MS);
		}
}

/* Writers run; what they wrote before the round does not count. */
static struct times freeze_once(const struct way *way, unsigned int dirty_mib)
{
	struct times times;

	if (dirty_mib)
		close(create("dirty", (off_t)dirty_mib << 20));
	settle();
	for (unsigned int i = 0; i < nr_writers; i++)
		atomic_store(&writers[i].count, 0);
	nap(BEFORE_NS);
	tell_reaper('f');
	way->freeze(&times);
	tell_reaper('t');
	wait_for_writers(times.thawed + BEFORE_NS);
	return times;
}

static void undirty(void)
{
	unlinkat(target, "dirty", 0);
	if (syncfs(target))
		die("syncfs: %s", strerror(errno));
}

static void measure(const struct way *way, unsigned int rounds, unsigned int dirty_mib,
		    bool timeline)
{
	struct samples longest, call;

	samples_init(&longest, "longest", rounds);
	samples_init(&call, "call", rounds);
	for (unsigned int i = 0; i <= rounds; i++) {
		struct times times = freeze_once(way, dirty_mib);

		/* The first one warms up. */
		if (i) {
			longest.ns[i - 1] = longest_stall(&times);
			call.ns[i - 1] = times.frozen - times.ask;
		}
		if (timeline && i == rounds)
			print_timeline(&times);
		undirty();
	}
	if (timeline)
		return;
	sort(stalls, nr_stalls);
	printf("stall\t%s\t%u\t%u\t%s", getenv("BENCH_FS"), dirty_mib, rounds, way->name);
	print_spread(&longest, rounds);
	print_spread(&call, rounds);
	printf("\t%.0f\t%zu\n", stalls[nr_stalls * 999 / 1000], nr_stalls);
}

/*
 * What no freeze can do without, measured alone: a flush of the device's cache,
 * and a commit of the log, which has one in it.
 */
static void measure_floor(unsigned int rounds, const char *device)
{
	struct samples flush, commit;
	int bdev = open(device, O_RDWR | O_CLOEXEC), file = create("floor", WRITE_SIZE * 16);

	if (bdev < 0)
		die("%s: %s", device, strerror(errno));
	samples_init(&flush, "flush", rounds);
	samples_init(&commit, "commit", rounds);
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t start;

		if (syncfs(target) || fchmod(file, i & 1 ? 0600 : 0640))
			die("floor: %s", strerror(errno));
		start = now_ns();
		if (fsync(file))
			die("fsync: %s", strerror(errno));
		commit.ns[i] = now_ns() - start;
		start = now_ns();
		if (fsync(bdev))
			die("%s: fsync: %s", device, strerror(errno));
		flush.ns[i] = now_ns() - start;
	}
	close(file);
	unlinkat(target, "floor", 0);
	printf("floor\t%s\t%u", getenv("BENCH_FS"), rounds);
	print_spread(&flush, rounds);
	print_spread(&commit, rounds);
	putchar('\n');
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (!*text || *end || value > 1000000)
		die("not a number that is of use here: %s", text);
	return value;
}

int main(int argc, char **argv)
{
	const struct way *way;

	if (argc == 3 && !strcmp(argv[1], "hold")) {
		hold(argv[2]);
		return 0;
	}
	if (argc == 5 && !strcmp(argv[1], "floor")) {
		directory = argv[3];
		target = open_target(directory);
		measure_floor(parse_rounds(argv[2]), argv[4]);
		return 0;
	}
	if (argc != 7 || (strcmp(argv[1], "measure") && strcmp(argv[1], "timeline")))
		die("usage: %s measure|timeline ROUNDS DIRECTORY WRITERS DIRTY-MIB WAY\n"
		    "       %s floor ROUNDS DIRECTORY DEVICE",
		    argv[0], argv[0]);
	way = find_way(argv[6]);
	if (!way || number(argv[4]) > MAX_WRITERS)
		die("no such way to freeze, or too many writers: %s", argv[6]);
	directory = argv[3];
	target = open_target(directory);
	reaper = start_reaper();
	signal(SIGPIPE, SIG_IGN);
	start_writers(number(argv[4]));
	measure(way, parse_rounds(argv[2]), number(argv[5]), !strcmp(argv[1], "timeline"));
	stop_writers();
	return 0;
}
