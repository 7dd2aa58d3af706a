// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two clients make holds, hand them to each other, thaw, freeze again and renew
 * them; at random moments somebody of the party is killed or stopped: a client or,
 * with the engine guardian, the guardian or its watcher, never both of those in one
 * round. After each round the filesystem must be thawed in time and nobody left.
 *
 * The seed decides who does what and who is hit; the moments are as the machine
 * has them.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../common/guardian-protocol.h"
#include "../../common/pass.h"
#include "freezefd.h"

#define MS	  1000000ULL
#define MAX_HOLDS 4
#define END_LIMIT (20000 * MS) /* for what has no limit of its own, so that a failure ends */

static int target;
static bool undoes_late;
static uint64_t random_state;
static unsigned int failures;

static uint64_t nsec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

static unsigned int below(unsigned int n)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (random_state >> 33) % n;
}

static void doze(unsigned int below_us)
{
	const struct timespec ts = {.tv_nsec = 1000L * below(below_us)};

	nanosleep(&ts, NULL);
}

static void fail(const char *fmt, ...)
{
	va_list args;

	printf("not ok ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	failures++;
}

/* --- a client --- */

static void __attribute__((noreturn)) client(int socket)
{
	struct freezefd_options options = {.size = sizeof(options)};
	struct freezefd_status status;
	int fds[MAX_HOLDS];
	char byte;

	memset(fds, -1, sizeof(fds));
	for (;;) {
		int *fd = &fds[below(MAX_HOLDS)];

		switch (below(9)) {
		case 0:
		case 1:
			close(*fd);
			options.flags = below(3) ? 0 : FREEZEFD_THAWED;
			options.timeout_ns = below(3) ? 0 : (1 + below(50)) * MS;
			*fd = freezefd_open(target, &options);
			break;
		case 2:
			freezefd_thaw(*fd);
			break;
		case 3:
			freezefd_freeze(*fd);
			break;
		case 4:
			freezefd_set_timeout(*fd, below(2) ? below(20) * MS : 3600000 * MS);
			break;
		case 5:
			if (*fd >= 0)
				send_fds(socket, "", 1, fd, 1, MSG_DONTWAIT);
			break;
		case 6:
			close(*fd);
			receive_fd(socket, &byte, sizeof(byte), MSG_DONTWAIT, fd);
			break;
		case 7:
			freezefd_status(*fd, &status);
			break;
		case 8:
			doze(20000);
			break;
		}
	}
}

static pid_t start_client(int socket, int other)
{
	uint64_t state = ((uint64_t)below(1U << 30) << 30) | below(1U << 30);
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpriority(PRIO_PROCESS, 0, 0);
		close(other);
		random_state = state;
		client(socket);
	}
	return pid;
}

/* --- the guardians --- */

static bool read_stat(pid_t pid, char *comm, pid_t *parent)
{
	char path[32], stat[512], *open_, *close_;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	if (n <= 0)
		return false;
	stat[n] = 0;
	open_ = strchr(stat, '(');
	close_ = strrchr(stat, ')');
	if (!open_ || !close_)
		return false;
	*close_ = 0;
	snprintf(comm, 32, "%s", open_ + 1);
	return sscanf(close_ + 2, "%*c %d", parent) == 1;
}

/*
 * How many there are of ours, whose parent we are once the client has gone, and a
 * pair of them, or 0. One that has only just started has no partner: it holds
 * nothing yet and is left alone. But it counts, under whatever name: a client that
 * was killed between fork and exec leaves one that is not called a guardian yet.
 */
static unsigned int find_guardians(pid_t *guardian, pid_t *watcher)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned int count = 0;

	*guardian = *watcher = 0;
	while (proc && (entry = readdir(proc))) {
		char comm[32];
		pid_t pid = atoi(entry->d_name), parent, grandparent;

		if (!isdigit((unsigned char)*entry->d_name) || !read_stat(pid, comm, &parent))
			continue;
		if (parent == getpid()) {
			count++;
		} else if (!strcmp(comm, "freeze-guardian") &&
			   read_stat(parent, comm, &grandparent) && grandparent == getpid() &&
			   !strcmp(comm, "freeze-guardian")) {
			count++;
			*guardian = pid;
			*watcher = parent;
		}
	}
	if (proc)
		closedir(proc);
	return count;
}

/* What has held the filesystem before may have left one for a moment: our clients would keep that busy, and it is not ours. */
static void wait_for_others(void)
{
	const struct timespec nap = {.tv_nsec = 2 * MS};
	const uint64_t start = nsec();
	struct stat st;
	char path[64];

	fstat(target, &st);
	snprintf(path, sizeof(path), GUARDIAN_DIR "/" GUARDIAN_NAME, major(st.st_dev),
		 minor(st.st_dev));
	while (!access(path, F_OK) && nsec() - start < END_LIMIT)
		nanosleep(&nap, NULL);
}

/* --- a round --- */

static uint32_t state(void)
{
	struct freezefd_status status;
	int ret = freezefd_status(target, &status);

	if (ret) {
		printf("# status: %s\n", strerror(-ret));
		exit(EXIT_FAILURE);
	}
	return status.state;
}

/* Nanoseconds from the event to the thaw; a freeze that is under way may be completed first. */
static uint64_t time_to_thaw(uint64_t event)
{
	const struct timespec nap = {.tv_nsec = 200000};
	uint64_t start = nsec();
	uint32_t now;

	while ((now = state()) != FREEZE_STATE_THAWED) {
		if (now == FREEZE_STATE_FREEZING)
			event = nsec();
		if (nsec() - start > END_LIMIT)
			return UINT64_MAX;
		nanosleep(&nap, NULL);
	}
	return nsec() - event;
}

static unsigned int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

enum { FIRST_CLIENT, SECOND_CLIENT, GUARDIAN, WATCHER, VICTIMS };

static const char *const names[] = {"first client", "second client", "guardian", "watcher"};

static void hit(const pid_t clients[2], bool *guardian_hit, char *log, size_t size)
{
	unsigned int who = below(VICTIMS), length = strlen(log);
	int signal = below(2) ? SIGKILL : SIGSTOP;
	pid_t guardian, watcher, victim;

	find_guardians(&guardian, &watcher);
	victim = who == GUARDIAN ? guardian : who == WATCHER ? watcher : clients[who];
	if (who >= GUARDIAN && (*guardian_hit || !guardian))
		return;
	*guardian_hit |= who >= GUARDIAN;
	kill(victim, signal);
	snprintf(log + length, size - length, " %s %s", signal == SIGKILL ? "kill" : "stop",
		 names[who]);
}

static void one_round(unsigned int round, uint64_t limit, uint64_t *took)
{
	const unsigned int files = open_files();
	bool guardian_hit = false;
	char log[256] = "";
	pid_t clients[2], guardian, watcher;
	uint64_t event, start;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		perror("socketpair");
		exit(EXIT_FAILURE);
	}
	clients[0] = start_client(pair[0], pair[1]);
	clients[1] = start_client(pair[1], pair[0]);
	close(pair[0]);
	close(pair[1]);
	for (unsigned int hits = 1 + below(3); hits; hits--) {
		doze(60000);
		hit(clients, &guardian_hit, log, sizeof(log));
	}
	doze(20000);
	for (int i = 0; i < 2; i++)
		kill(clients[i], SIGKILL);
	for (int i = 0; i < 2; i++)
		waitpid(clients[i], NULL, 0);
	event = nsec();

	*took = time_to_thaw(event);
	if (*took == UINT64_MAX) {
		fail("round %u:%s: left frozen", round, log);
		freezefd_thaw_force(target);
	} else if (*took > limit) {
		fail("round %u:%s: thawed after %.1f ms", round, log, (double)*took / MS);
	}

	start = nsec();
	for (;;) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (!find_guardians(&guardian, &watcher))
			break;
		if (nsec() - start > END_LIMIT) {
			fail("round %u:%s: processes are left: guardian %d, watcher %d", round, log,
			     guardian, watcher);
			break;
		}
		doze(2000);
	}
	/* A freeze of the module that nobody waits for any more may only begin now. It is undone. */
	if (undoes_late ? time_to_thaw(nsec()) > limit : state() != FREEZE_STATE_THAWED)
		fail("round %u:%s: frozen again by nobody", round, log);
	if (open_files() != files)
		fail("round %u:%s: %u open files, there were %u", round, log, open_files(), files);
}

static int compare(const void *a, const void *b)
{
	const uint64_t one = *(const uint64_t *)a, two = *(const uint64_t *)b;

	return (one > two) - (one < two);
}

static void tell_times(uint64_t *times, unsigned int rounds)
{
	qsort(times, rounds, sizeof(*times), compare);
	printf("# %u rounds, thawed within: median %.1f ms, 99 %% %.1f ms, slowest %.1f ms\n",
	       rounds, (double)times[rounds / 2] / MS, (double)times[rounds * 99 / 100] / MS,
	       (double)times[rounds - 1] / MS);
}

static unsigned int number(const char *name, unsigned int otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoul(value, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	const unsigned int rounds = number("FREEZEFD_CHAOS_ROUNDS", 2000),
			   seed = number("FREEZEFD_CHAOS_SEED", time(NULL) ^ getpid()),
			   limit_ms = number("FREEZEFD_CHAOS_LIMIT_MS", 100);
	unsigned int done = 0;
	const char *engine;
	uint64_t *times;

	if (argc != 2) {
		fprintf(stderr,
			"Usage: chaos DIRECTORY\nFreezes what the directory is on; run it with "
			"tests/guardian/run, in a VM.\n");
		return 2;
	}
	target = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (target < 0) {
		perror(argv[1]);
		return EXIT_FAILURE;
	}
	engine = freezefd_engine(target);
	if (!engine) {
		fprintf(stderr, "no such engine here: %m\n");
		return EXIT_FAILURE;
	}
	printf("# engine %s\n", engine);
	undoes_late = !strcmp(engine, "module");
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* That we wait for a processor is not to be measured. */
	setpriority(PRIO_PROCESS, 0, -20);
	printf("# FREEZEFD_CHAOS_SEED=%u FREEZEFD_CHAOS_ROUNDS=%u FREEZEFD_CHAOS_LIMIT_MS=%u\n",
	       seed, rounds, limit_ms);
	random_state = seed;
	wait_for_others();
	state();
	times = calloc(rounds + 1, sizeof(*times));
	if (!times) {
		perror("calloc");
		return EXIT_FAILURE;
	}
	while (done < rounds && failures < 10) {
		one_round(done + 1, limit_ms * MS, &times[done]);
		if (++done % 100 == 0)
			tell_times(times, done);
	}
	if (done)
		tell_times(times, done);
	return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
