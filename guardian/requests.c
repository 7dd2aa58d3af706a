// SPDX-License-Identifier: GPL-2.0-or-later
/* What the guardian is asked, and what it answers. */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../common/pass.h"
#include "loop.h"

/* SCM_MAX_FD of the kernel's include/net/scm.h */
#define MAX_DESCRIPTORS 253

struct packet {
	struct guardian_request request;
	int fd;	      /* came along, or -1 */
	bool strange; /* more than one did */
	bool root;    /* sent it; known of a freeze descriptor */
	bool cut;     /* not all that came along could be taken */
};

/* False when who waited for it has gone, after a signal say. */
static bool answer_with(int socket, const struct guardian_reply *reply)
{
	bool taken;

	if (socket < 0)
		return true;
	taken = send(socket, reply, sizeof(*reply), MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
	release(socket);
	return taken;
}

bool answer(int socket, int error)
{
	const struct guardian_reply reply = {.error = error};

	return answer_with(socket, &reply);
}

void forget_freeze(struct hold *hold)
{
	struct pollfd poll_ = {.fd = hold->waiter};

	if (!hold->freezing || hold->waiter < 0 || poll(&poll_, 1, 0) != 1)
		return;
	release(hold->waiter);
	hold->waiter = -1;
	hold->freezing = false;
}

static int broken(const struct hold *hold)
{
	return hold->state == FREEZEFD_HOLD_EXPIRED   ? -ETIME
	       : hold->state == FREEZEFD_HOLD_REVOKED ? -ECANCELED
						      : 0;
}

static void fill_hold(const struct hold *hold, struct freezefd_status *status)
{
	/* It will be told so at the end of this round, and closed. */
	status->hold = guardian.gone && hold->state == FREEZEFD_HOLD_NONE ? FREEZEFD_HOLD_GONE
									  : hold->state;
	status->timeout_ns = hold->timeout_ns;
	if (hold->state != FREEZEFD_HOLD_HELD)
		return;
	status->timeout_ns = hold->deadline_ns ? hold->deadline_ns - now_ns() : 0;
	if ((int64_t)status->timeout_ns < 0)
		status->timeout_ns = 1; /* about to fire */
}

static int fill_fs(struct freezefd_status *status)
{
	struct sb_record now;
	struct hold *hold;
	int ret;

	for_each_hold (hold, next)
		status->fd_holds += hold->state == FREEZEFD_HOLD_HELD;
	status->dev = guardian.gone ? 0 : sb_dev(guardian.fs->record.dev);
	ret = guardian.gone ? -ENODEV
			    : sb_read_id(guardian.fs->reader, guardian.fs->record.id, &now);
	/* With ENODEV there is nothing that could be frozen. Else nobody knows. */
	if (ret)
		return ret == -ENODEV ? 0 : ret;
	sb_status(&now, status);
	if (status->fd_holds && status->user_holds)
		status->user_holds--;
	if (status->state == FREEZE_STATE_FROZEN && status->fd_holds)
		status->frozen_ns = now_ns() - guardian.common->stopped_ns;
	return 0;
}

static void tell_status(const struct hold *hold, int socket)
{
	struct guardian_reply reply = {0};

	if (hold)
		fill_hold(hold, &reply.status);
	reply.error = fill_fs(&reply.status);
	answer_with(socket, &reply);
}

static void tell_list(int socket)
{
	struct freezefd_status status = {0};
	struct guardian_list *list;
	size_t size = sizeof(*list), i = 0;
	struct hold *hold;

	fill_fs(&status);
	for_each_hold (hold, next)
		size += sizeof(list->hold[0]);
	list = calloc(1, size);
	if (list) {
		memcpy(list->type, guardian.fs->record.type, sizeof(list->type));
		memcpy(list->name, guardian.fs->record.name, sizeof(list->name));
		for_each_hold (hold, next) {
			list->hold[i].inode = hold->inode;
			list->hold[i].status = status;
			fill_hold(hold, &list->hold[i++].status);
		}
		send(socket, list, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	free(list);
	release(socket);
}

/* To load them takes a process the tenth of a second, and memory. */
static void hand_out_reader(int socket)
{
	const struct guardian_reply reply = {.number = SB_KIND};
	const int fds[] = {guardian.fs->reader.prog, guardian.fs->reader.map};

	send_fds(socket, &reply, sizeof(reply), fds, 2, MSG_DONTWAIT);
	release(socket);
}

static void ask_freeze(struct hold *hold, int socket)
{
	int error = broken(hold);

	/* One who was interrupted asks again, while the freeze is still under way. */
	forget_freeze(hold);
	if (error || hold->freezing || hold->state == FREEZEFD_HOLD_HELD) {
		answer(socket, error ? error : -EBUSY);
		return;
	}
	hold->freezing = true;
	hold->asked_ns = now_ns();
	hold->waiter = socket;
}

static void ask_thaw(struct hold *hold, int socket)
{
	struct guardian_reply reply = {.error = broken(hold), .number = hold->news};

	if (reply.error) {
		hold->state = FREEZEFD_HOLD_NONE;
		hold->news = 0;
		answer_with(socket, &reply);
		return;
	}
	if (hold->state != FREEZEFD_HOLD_HELD) {
		answer(socket, -EINVAL);
		return;
	}
	hold->state = FREEZEFD_HOLD_NONE;
	hold->deadline_ns = 0;
	if (is_wanted())
		answer(socket, 0);
	else
		await_thaw(socket, false);
}

/* Who was handed the descriptor gets no more time than it was made with. */
static void ask_timeout(struct hold *hold, const struct packet *packet)
{
	const uint64_t timeout_ns = packet->request.timeout_ns;
	int error = broken(hold);

	if (!error && timeout_ns > INT64_MAX)
		error = -EINVAL;
	else if (!error && packet->root)
		hold->limit_ns = timeout_ns;
	else if (!error && hold->limit_ns && (!timeout_ns || timeout_ns > hold->limit_ns))
		error = -EPERM;
	if (!error) {
		hold->timeout_ns = timeout_ns;
		if (hold->state == FREEZEFD_HOLD_HELD)
			hold->deadline_ns = after(now_ns(), timeout_ns);
	}
	answer(packet->fd, error);
}

static void ask_force(int socket)
{
	revoke_all();
	await_thaw(socket, true);
}

/*
 * A socket like those that the library makes for an answer. What else it may be somebody else decides: to
 * send to it could wait, or speak to others in root's name. Neither call waits.
 */
static bool is_answer(int fd)
{
	struct sockaddr_un peer;
	socklen_t size = sizeof(int), length = sizeof(peer);
	int domain, type;

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) && domain == AF_UNIX &&
	       !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) && type == SOCK_SEQPACKET &&
	       !getpeername(fd, (struct sockaddr *)&peer, &length) &&
	       length == offsetof(struct sockaddr_un, sun_path);
}

static void take_descriptors(const struct cmsghdr *cmsg, struct packet *packet)
{
	int fd;

	for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(fd)) <= cmsg->cmsg_len; i++) {
		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
		packet->strange |= packet->fd >= 0;
		if (packet->fd < 0)
			packet->fd = fd;
		else
			release(fd);
	}
}

/*
 * 1, 0 at the end of the socket, -EAGAIN. There is room for all that can come along: what there is not
 * room for the kernel would close here, and that may wait.
 */
static int receive(int socket, struct packet *packet)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int)) +
			   CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = {.iov_base = &packet->request, .iov_len = sizeof(packet->request)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct ucred sender;
	ssize_t n;

	*packet = (struct packet){.fd = -1};
	n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
	packet->cut = msg.msg_flags & MSG_CTRUNC;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET)
			continue;
		if (cmsg->cmsg_type == SCM_RIGHTS)
			take_descriptors(cmsg, packet);
		if (cmsg->cmsg_type != SCM_CREDENTIALS)
			continue;
		memcpy(&sender, CMSG_DATA(cmsg), sizeof(sender));
		packet->root = sender.uid == 0;
	}
	if (n == 0)
		return 0;
	if (n != sizeof(packet->request))
		packet->request.op = UINT32_MAX;
	return 1;
}

static void on_hold(struct source *source)
{
	struct hold *hold = (struct hold *)source;
	struct packet packet;
	int got = receive(source->fd, &packet);

	if (got == -EAGAIN)
		return;
	/* The last copy of the descriptor is closed, or somebody does with it what the library does not. */
	if (!got || packet.strange || (packet.fd >= 0 && !is_answer(packet.fd))) {
		release(packet.fd);
		free_hold(hold);
		return;
	}
	/* There is no descriptor for the way of the answer. What nobody can be told of is not done. */
	if (packet.cut) {
		release(packet.fd);
		return;
	}
	look_for_strangers();
	switch (packet.request.op) {
	case GUARDIAN_STATUS:
		tell_status(hold, packet.fd);
		break;
	case GUARDIAN_FREEZE:
		ask_freeze(hold, packet.fd);
		break;
	case GUARDIAN_THAW:
		ask_thaw(hold, packet.fd);
		break;
	case GUARDIAN_TIMEOUT:
		ask_timeout(hold, &packet);
		break;
	default:
		answer(packet.fd, -EINVAL);
	}
}

static void ask_open(const struct guardian_request *request, int pair, int socket)
{
	const int yes = 1;
	/* Who had connected before the filesystem or the watcher went is not served after. */
	const bool serves = guardian.fs->listener >= 0;
	struct hold *hold = NULL;

	if (serves && request->timeout_ns <= INT64_MAX &&
	    !setsockopt(pair, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)))
		hold = new_source(&guardian.holds, sizeof(*hold), pair, on_hold);
	else
		release(pair);
	if (!hold) {
		answer(socket, serves ? -ENOMEM : -EAGAIN);
		return;
	}
	hold->timeout_ns = hold->limit_ns = request->timeout_ns;
	hold->inode = request->inode;
	hold->waiter = -1;
	if (request->flags & FREEZEFD_THAWED) {
		answer(socket, 0);
		return;
	}
	ask_freeze(hold, socket);
}

static void on_connection(struct source *connection)
{
	struct packet packet;
	int socket = connection->fd, got = receive(socket, &packet);

	if (got == -EAGAIN)
		return;
	/* One request each: from here on the socket is for its answer. */
	unwatch(connection);
	connection->fd = -1;
	drop(connection);
	look_for_strangers();
	if (!got) {
		release(socket);
	} else if (packet.cut) {
		answer(socket, -ENFILE);
	} else if (packet.request.op == GUARDIAN_STATUS) {
		tell_status(NULL, socket);
	} else if (packet.request.op == GUARDIAN_LIST) {
		tell_list(socket);
	} else if (packet.request.op == GUARDIAN_READER) {
		hand_out_reader(socket);
	} else if (packet.request.op == GUARDIAN_FORCE) {
		ask_force(socket);
	} else if (packet.request.op == GUARDIAN_OPEN && packet.fd >= 0) {
		ask_open(&packet.request, packet.fd, socket);
		packet.fd = -1;
	} else {
		answer(socket, -EINVAL);
	}
	release(packet.fd);
}

void on_listener(struct source *source)
{
	static struct source *connections;
	int fd = accept4(guardian.fs->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		new_source(&connections, sizeof(*connections), fd, on_connection);
	else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		be_deaf(source);
}
