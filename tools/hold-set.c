// SPDX-License-Identifier: GPL-2.0-or-later
/* A set of freeze descriptors: their freeze by a child, their end, what became of them. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../common/pass.h"
#include "tool.h"

#define NSEC_PER_SEC UINT64_C(1000000000)

/* When a terminal is told that it takes longer. */
#define SLOW_NS (2 * NSEC_PER_SEC)
/* A child that is killed mostly ends sooner, and then nothing is frozen any more. */
#define END_NS (NSEC_PER_SEC / 5)

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static struct rlimit limit;
static bool limit_raised;

/* Two descriptors for each target may be more than a program has by default. */
void limit_raise(void)
{
	struct rlimit most;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	most = (struct rlimit){limit.rlim_max, limit.rlim_max};
	limit_raised = !setrlimit(RLIMIT_NOFILE, &most);
}

void limit_restore(void)
{
	if (limit_raised)
		setrlimit(RLIMIT_NOFILE, &limit);
}

/* --- the child --- */

struct child {
	pid_t pid;
	int pidfd, socket;
	char *note; /* what it waits for, as it said last */
};

static int start(struct child *child, const struct request *request, int cannot)
{
	const pid_t parent = getpid();
	int pair[2];

	*child = (struct child){.pidfd = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	child->socket = pair[0];
	child->pid = fork();
	if (!child->pid) {
		close(pair[0]);
		/* Its descriptors would keep frozen what nobody waits for any more. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		freeze_all(request, pair[1], cannot);
	}
	close(pair[1]);
	if (child->pid > 0)
		child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	if (child->pid > 0 && child->pidfd >= 0)
		return 0;
	close(pair[0]);
	if (child->pid > 0)
		kill(child->pid, SIGKILL);
	return -EAGAIN;
}

/*
 * The caller has no copy of its descriptors now: a thaw that waits is not ours to wait for. Returns whether it gave
 * up by itself, and so has said why.
 */
static bool end(struct child *child)
{
	struct pollfd poll_ = {.fd = child->pidfd, .events = POLLIN};
	int status = 0;

	close(child->socket);
	kill(child->pid, SIGKILL);
	if (poll(&poll_, 1, END_NS / 1000000) == 1)
		waitpid(child->pid, &status, 0);
	close(child->pidfd);
	return WIFEXITED(status) && WEXITSTATUS(status);
}

/* The next string of a packet. */
static char *get(const struct packet *packet, size_t size, size_t *at)
{
	const char *string = packet->strings + *at;
	size_t len = strnlen(string, size - *at);

	*at += len < size - *at ? len + 1 : len;
	return strndup(string, len);
}

static void add_hold(struct holds *holds, const struct packet *packet, size_t size, int fd)
{
	size_t at = 0;
	struct hold hold = {.frozen_ns = packet->frozen_ns};
	char **strings[PACKET_STRINGS] = {&hold.name,	&hold.dir,  &hold.source,
					  &hold.fstype, &hold.uuid, &hold.engine};

	for (size_t i = 0; i < PACKET_STRINGS; i++) {
		*strings[i] = get(packet, size, &at);
		if (!*strings[i])
			out_of_memory();
	}
	holds->hold = array(holds->hold, holds->count + 1, sizeof(*holds->hold));
	holds->poll = array(holds->poll, holds->count + 2, sizeof(*holds->poll));
	/* An engine whose descriptors are sockets tells of a broken hold by a message. */
	holds->poll[holds->count] = (struct pollfd){.fd = fd, .events = POLLIN};
	holds->hold[holds->count++] = hold;
	holds->poll[holds->count] = (struct pollfd){.fd = -1};
	if (!holds->begun_ns || packet->frozen_ns < holds->begun_ns)
		holds->begun_ns = packet->frozen_ns;
}

#define GOES_ON -1
#define LOST	-2 /* no end was told */

/* GOES_ON, or how it ended: LOST, 0 or the exit status. */
static int read_packet(struct child *child, struct holds *holds)
{
	static struct packet packet;
	int fd;
	ssize_t len = receive_fd(child->socket, &packet, sizeof(packet) - 1, MSG_DONTWAIT, &fd);

	if (len == -EAGAIN || len == -EINTR)
		return GOES_ON;
	if (len < (ssize_t)offsetof(struct packet, strings) ||
	    (packet.kind == PACKET_HOLD && fd < 0))
		return LOST;
	((char *)&packet)[len] = 0;
	switch (packet.kind) {
	case PACKET_NOTE:
		free(child->note);
		child->note = copy(packet.strings);
		return GOES_ON;
	case PACKET_HOLD:
		add_hold(holds, &packet, (size_t)len - offsetof(struct packet, strings), fd);
		return GOES_ON;
	default:
		return packet.status;
	}
}

static void drop_all(struct holds *holds)
{
	for (size_t i = 0; i < holds->count; i++)
		close(holds->poll[i].fd);
	holds_free(holds);
}

static void say_slow(const struct request *request, const struct child *child)
{
	struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

	/* Somewhere else it may be one of those who wait. */
	if (isatty(STDERR_FILENO) && poll(&out, 1, 0) == 1)
		complain(request->verb, "not frozen yet%s%s", child->note ? ": " : "",
			 child->note ? child->note : "");
}

static void complain_late(const struct request *request, const struct child *child)
{
	char *span = format_duration(request->within_ns);

	complain(request->verb, "not frozen within %s, given up: %s", span,
		 child->note ? child->note : "what it waits for is not known; raise --within");
	free(span);
}

int holds_freeze(struct holds *holds, const struct request *request, int cannot)
{
	const uint64_t start_ns = now_ns(),
		       until = request->within_ns ? start_ns + request->within_ns : 0;
	uint64_t slow = start_ns + SLOW_NS;
	struct child child;
	bool has_complained;
	int status = GOES_ON, err;

	*holds = (struct holds){.timeout_ns = request->timeout_ns,
				.poll = array(NULL, 1, sizeof(*holds->poll))};
	holds->poll[0] = (struct pollfd){.fd = -1};
	limit_raise();
	/* What it lies on may be frozen, and be suspended after that: nothing is to be read for the thaw. */
	mlockall(MCL_CURRENT | MCL_FUTURE);
	err = start(&child, request, cannot);
	if (err) {
		complain(request->verb, "cannot start the process that freezes: %s",
			 reason_of(err));
		return cannot;
	}
	while (status == GOES_ON) {
		struct pollfd answer = {.fd = child.socket, .events = POLLIN};

		wait_events(&answer, 1, slow && (!until || slow < until) ? slow : until);
		if (answer.revents)
			status = read_packet(&child, holds);
		else if (caught_signal || (until && now_ns() >= until))
			break;
		if (slow && now_ns() >= slow) {
			say_slow(request, &child);
			slow = 0;
		}
	}
	if (status)
		drop_all(holds); /* first: its copies are then the last ones */
	holds->frozen = !status;
	if (holds->frozen)
		journal_frozen(holds);
	has_complained = end(&child);
	/* Now that nothing of ours is frozen: standard error may be on it. */
	if (status == LOST && !has_complained)
		complain("freeze",
			 "its process has died, or there is no descriptor for its answer");
	else if (status == GOES_ON && !caught_signal)
		complain_late(request, &child);
	free(child.note);
	if (status < 0)
		status = cannot;
	/* Nobody may have looked for a while. */
	wait_events(NULL, 0, 1);
	if (!status && caught_signal) {
		journal_thawed();
		drop_all(holds);
		status = cannot;
	}
	return status && caught_signal ? EXIT_SIGNAL + caught_signal : status;
}

/* --- while it is frozen, and after --- */

/* Not by a thaw: its guardian was killed. Only of that engine POLLHUP is the end of a hold. */
static bool has_died(const struct hold *hold, int fd)
{
	struct pollfd poll_ = {.fd = fd};

	return poll(&poll_, 1, 0) == 1 && poll_.revents & POLLHUP &&
	       !strcmp(hold->engine, "guardian");
}

bool holds_broken(const struct holds *holds)
{
	for (size_t i = 0; i < holds->count; i++)
		if (holds->poll[i].revents)
			return true;
	return false;
}

void holds_thaw(struct holds *holds)
{
	int *fds = array(NULL, holds->count, sizeof(*fds)),
	    *results = array(NULL, holds->count, sizeof(*results));

	journal_thawed();
	for (size_t i = 0; i < holds->count; i++)
		fds[i] = holds->poll[i].fd;
	if (holds->frozen && freezefd_thaw_group(fds, holds->count, results) == -ENOMEM)
		out_of_memory(); /* which thaws */
	for (size_t i = 0; holds->frozen && i < holds->count; i++) {
		struct hold *hold = &holds->hold[i];

		hold->thawed_ns = now_ns();
		hold->result = results[i];
		if (hold->result == -ECANCELED && has_died(hold, fds[i]))
			hold->result = -EOWNERDEAD;
		close(fds[i]);
		holds->poll[i] = (struct pollfd){.fd = -1};
	}
	holds->frozen = false;
	free(fds);
	free(results);
}

uint64_t holds_lasted(const struct holds *holds)
{
	uint64_t last = holds->begun_ns;

	for (size_t i = 0; i < holds->count; i++)
		if (holds->hold[i].thawed_ns > last)
			last = holds->hold[i].thawed_ns;
	return last - holds->begun_ns;
}
int holds_verdict(const struct holds *holds)
{
	int verdict = EXIT_SUCCESS;
	char *timeout;

	for (size_t i = 0; i < holds->count; i++) {
		const char *name = holds->hold[i].name;

		switch (holds->hold[i].result) {
		case 0:
			continue;
		case -ETIME:
			timeout = format_duration(holds->timeout_ns);
			complain(name, "the freeze was broken by its timeout of %s; allow more",
				 timeout);
			free(timeout);
			verdict = EXIT_BROKEN;
			break;
		case -ECANCELED:
			complain(
				name,
				"the freeze was broken by another thaw (FITHAW, 'freezefd thaw --force', SysRq-j); do it again");
			verdict = EXIT_BROKEN;
			break;
		case -EOWNERDEAD:
			complain(name,
				 "the freeze was broken, its guardian was killed; do it again");
			verdict = EXIT_BROKEN;
			break;
		case -ESTALE:
			complain(name, "the freeze was broken, its filesystem is gone");
			verdict = EXIT_BROKEN;
			break;
		default:
			complain(name, "not thawed: %s; 'freezefd thaw --force' tries again",
				 strerror(-holds->hold[i].result));
			if (!verdict)
				verdict = EXIT_FAILURE;
		}
	}
	return verdict;
}

void holds_free(struct holds *holds)
{
	for (size_t i = 0; i < holds->count; i++) {
		struct hold *hold = &holds->hold[i];
		char *strings[PACKET_STRINGS] = {hold->name,   hold->dir,  hold->source,
						 hold->fstype, hold->uuid, hold->engine};

		for (size_t j = 0; j < PACKET_STRINGS; j++)
			free(strings[j]);
	}
	free(holds->hold);
	free(holds->poll);
	*holds = (struct holds){0};
}
