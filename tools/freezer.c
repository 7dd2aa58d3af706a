// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The process that freezes. Opening a target, a sync and a freeze may each wait where no
 * signal reaches them: for a permission that is not given, for a suspended device. So
 * they are done by a child, which is killed and left behind when the time is over. The
 * descriptors that it has are closed when it can end, and that thaws.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../common/pass.h"
#include "freezer.h"

/* So long after the start is first looked for what is in the way, and then so often. */
#define LOOK_MS 300

/* --- what it waits for --- */

static void nap(long ms)
{
	const struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

static void send_note(int socket, const char *name, const char *why)
{
	struct packet packet = {.kind = PACKET_NOTE};

	snprintf(packet.strings, sizeof(packet.strings), "%s: %s", name, why);
	send(socket, &packet, offsetof(struct packet, strings) + strlen(packet.strings),
	     MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void *explain(void *arg)
{
	struct work *work = arg;
	const struct target *target;
	const char *opening;
	char *why;

	for (;;) {
		nap(LOOK_MS);
		opening = work->opening;
		if (opening) {
			send_note(work->socket, opening,
				  "opening it waits for a server or for a permission");
			continue;
		}
		why = blocked_by(work->target, work->opened, &target);
		if (why)
			send_note(work->socket, target->name, why);
		free(why);
	}
	return NULL;
}

/* --- the freeze --- */

/* Nobody's writers wait while the device cannot be written to anyhow. */
static void await_below(const struct work *work)
{
	bool blocked;

	do {
		blocked = false;
		for (size_t i = 0; !blocked && i < work->opened; i++) {
			char *why = blocked_below(&work->target[i]);

			blocked = why;
			free(why);
		}
		if (blocked)
			nap(20);
	} while (blocked);
}

/* Is it a FIFREEZE in force that keeps us from freezing? Such a one has no holder to be named. */
static bool frozen_by_others(const struct target *target, int err)
{
	struct freezefd_status status;

	return err == -EBUSY && !freezefd_status(target->fd, &status) &&
	       status.state == FREEZE_STATE_FROZEN && status.user_holds;
}

/* One that is given up lets the writers go, too. */
static uint64_t freeze_deadline(const struct request *request)
{
	if (request->within_ns &&
	    (!request->timeout_ns || request->within_ns < request->timeout_ns))
		return request->within_ns;
	return request->timeout_ns;
}

static int freeze_group(struct work *work, int *fds)
{
	const struct request *request = work->request;
	struct freezefd_options options = {
		.size = sizeof(options),
		.flags = request->flags,
		.timeout_ns = freeze_deadline(request),
	};
	int *targets = array(NULL, work->opened, sizeof(*targets)), ret;
	size_t failed = 0;

	for (size_t i = 0; i < work->opened; i++)
		targets[i] = work->target[i].fd;
	ret = freezefd_open_group(targets, fds, work->opened, &options, &failed);
	free(targets);
	if (ret && frozen_by_others(&work->target[failed], ret))
		complain(
			work->target[failed].name,
			"frozen by FIFREEZE (fsfreeze, a guest agent, freezefd in a container) or device-mapper, which share with nobody; wait for the end of that");
	else if (ret)
		complain_engine(work->target[failed].name, ret);
	return ret;
}

/*
 * The deadline was that of the freeze; from here on it is that of the hold, which has lasted
 * for over_ns. 0 or an errno value.
 */
static int set_deadline(const struct request *request, int fd, uint64_t over_ns)
{
	uint64_t left = request->timeout_ns;

	if (left == freeze_deadline(request))
		return 0;
	if (left)
		left = left > over_ns ? left - over_ns : 1;
	return freezefd_set_timeout(fd, left);
}

static char *uuid_of(const struct target *target)
{
	struct probed probed = {0};
	dev_t device = target_device(target);

	return device && probe_device(device, &probed) ? copy(probed.uuid) : NULL;
}

/* A string and its end. */
static void put(struct packet *packet, size_t *size, const char *string)
{
	size_t len = string ? strnlen(string, PATH_MAX - 1) : 0;

	if (len)
		memcpy(packet->strings + *size, string, len);
	packet->strings[*size + len] = 0;
	*size += len + 1;
}

/* 0 or a negative errno value. */
static int send_hold(const struct work *work, size_t i, int fd)
{
	const struct target *target = &work->target[i];
	struct packet packet = {.kind = PACKET_HOLD};
	struct freezefd_status status = {0};
	const uint64_t deadline = freeze_deadline(work->request);
	uint64_t over_ns;
	size_t size = 0;
	char *device;
	int err = freezefd_status(fd, &status);

	/* Others may have frozen it long before: of a hold of ours what is left tells its age. */
	over_ns = deadline ? deadline - status.timeout_ns : status.frozen_ns;
	packet.frozen_ns = now_ns() - over_ns;
	if (!err)
		err = set_deadline(work->request, fd, over_ns);
	if (err)
		return err;
	device = target->mounted ? NULL : stack_device_path(target->device);
	put(&packet, &size, target->name);
	put(&packet, &size, target->mounted ? target->mount.dir : NULL);
	put(&packet, &size, target->mounted ? target->mount.source : device);
	put(&packet, &size, target->mounted ? target->mount.fstype : NULL);
	put(&packet, &size, work->uuid[i]);
	put(&packet, &size, freezefd_engine(fd));
	free(device);
	return send_fds(work->socket, &packet, offsetof(struct packet, strings) + size, &fd,
			fd >= 0, 0);
}

struct sent {
	int fd;
	size_t target;
};

static int by_fd(const void *a, const void *b)
{
	return ((const struct sent *)a)->fd - ((const struct sent *)b)->fd;
}

/* In the order of their numbers, which is the one in which they can be closed. */
static bool send_holds(const struct work *work, const int *fds)
{
	struct sent *sent = array(NULL, work->opened, sizeof(*sent));
	size_t count = 0, i;
	int err = 0;

	for (i = 0; i < work->opened; i++)
		if (fds[i] >= 0)
			sent[count++] = (struct sent){fds[i], i};
	qsort(sent, count, sizeof(*sent), by_fd);
	for (i = 0; !err && i < count; i++)
		err = send_hold(work, sent[i].target, sent[i].fd);
	if (err) {
		/* Nothing is said while it is frozen. */
		for (size_t j = 0; j < count; j++)
			close(sent[j].fd);
		complain_errno(work->target[sent[i - 1].target].name, err);
	}
	free(sent);
	return !err;
}

/* Somebody may read the output to its end, whatever becomes of this process. */
static void leave_output(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

void freeze_all(const struct request *request, int socket, int cannot)
{
	struct work work = {.request = request, .socket = socket};
	struct packet done = {.kind = PACKET_DONE, .status = cannot};
	pthread_t thread;
	int *fds;

	the_mounts(); /* from here on both threads only read it */
	if (pthread_create(&thread, NULL, explain, &work))
		complain(request->verb, "cannot tell what a freeze waits for: no thread");
	if (freezer_open_targets(&work) && (request->force || !freezer_would_wait(&work))) {
		work.uuid = array(NULL, work.opened, sizeof(*work.uuid));
		for (size_t i = 0; i < work.opened; i++)
			work.uuid[i] = request->report ? uuid_of(&work.target[i]) : NULL;
		leave_output();
		await_below(&work);
		/* The descriptors of the holds are not those of the other thread, which may wait for ever. */
		unshare(CLONE_FILES);
		fds = array(NULL, work.opened, sizeof(*fds));
		if (!freeze_group(&work, fds) && send_holds(&work, fds))
			done.status = 0;
	}
	/* Or it would be waited for, while all is frozen. With this status nothing has been complained of. */
	if (send(socket, &done, offsetof(struct packet, strings), MSG_NOSIGNAL) < 0)
		_exit(EXIT_SUCCESS);
	/* Until it is killed it has copies, which thaw in order: those in a socket would not. */
	for (;;)
		pause();
}
