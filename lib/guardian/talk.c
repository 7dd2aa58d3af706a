// SPDX-License-Identifier: LGPL-2.1-or-later
/* How the library talks with a guardian: finds or starts it, asks, and waits for the answer. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../common/pass.h"
#include "client.h"
#include "spawn.h"

#define MAX_ERRNO 4095
/* So long status waits for an answer, and a forced thaw before the caller thaws by itself. */
#define STATUS_MS 1000
#define FORCE_MS  5000
/* A guardian that ends closes all its descriptors within this time. */
#define END_MS 1000

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

uint64_t end_after(unsigned int ms)
{
	return now_ns() + ms * UINT64_C(1000000);
}

static uint64_t left_us(uint64_t end_ns)
{
	const uint64_t now = now_ns();

	return end_ns > now ? (end_ns - now) / 1000 : 0;
}

bool limit_wait(int socket, uint64_t end_ns)
{
	const uint64_t left = left_us(end_ns);
	const struct timeval limit = {(time_t)(left / 1000000), (suseconds_t)(left % 1000000)};

	/* To the kernel 0 is no limit. */
	if (left)
		setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return left;
}

/*
 * -EPIPE when the guardian ended instead of answering. To ask is not to wait, whatever keeps a
 * guardian from answering: -ETIMEDOUT. A freeze that a signal interrupts is taken back, unless
 * it has been answered by then.
 */
static int receive_reply(int socket, uint32_t op, struct guardian_reply *reply)
{
	const bool freezes = op == GUARDIAN_OPEN || op == GUARDIAN_FREEZE;
	/* 0: as long as it takes. */
	const unsigned int limit_ms = op == GUARDIAN_STATUS  ? STATUS_MS
				      : op == GUARDIAN_FORCE ? FORCE_MS
							     : 0;
	const uint64_t end_ns = end_after(limit_ms);
	ssize_t n;

	do {
		if (limit_ms && !limit_wait(socket, end_ns))
			return -ETIMEDOUT;
		n = recv(socket, reply, sizeof(*reply), 0);
	} while (n < 0 && errno == EINTR && !freezes);
	if (n < 0 && errno == EINTR) {
		shutdown(socket, SHUT_RDWR);
		n = recv(socket, reply, sizeof(*reply), MSG_DONTWAIT);
		if (n != sizeof(*reply))
			return -EINTR;
	}
	if (n < 0 && errno == EAGAIN)
		return -ETIMEDOUT;
	if (n != sizeof(*reply))
		return -EPIPE;
	/* Who handed us the descriptor may have made it himself. */
	if (reply->error > 0 || reply->error < -MAX_ERRNO)
		reply->error = -EPROTO;
	return 0;
}

/*
 * A guardian that has no descriptor for the socket of the answer closes that without an answer, and does nothing. One that
 * ends may close it a moment before the freeze descriptor's.
 */
static bool goes_on(int fd)
{
	struct pollfd poll_ = {.fd = fd};
	const uint64_t end_ns = end_after(END_MS);
	int ret;

	do
		ret = poll(&poll_, 1, (int)(left_us(end_ns) / 1000));
	while (ret < 0 && errno == EINTR);
	return !ret;
}

int ask(int fd, uint32_t op, uint64_t timeout_ns, struct guardian_reply *reply)
{
	const struct guardian_request request = {.op = op, .timeout_ns = timeout_ns};
	int pair[2], ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	ret = send_fds(fd, &request, sizeof(request), &pair[1], 1,
		       op == GUARDIAN_STATUS ? MSG_DONTWAIT : 0);
	close(pair[1]);
	if (ret == -EAGAIN)
		ret = -ETIMEDOUT;
	if (!ret)
		ret = receive_reply(pair[0], op, reply);
	close(pair[0]);
	if (ret == -EPIPE && goes_on(fd))
		ret = -ENFILE;
	return ret;
}

int connect_guardian(dev_t dev)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, ret;

	snprintf(address.sun_path, sizeof(address.sun_path), GUARDIAN_DIR "/" GUARDIAN_NAME,
		 major(dev), minor(dev));
	/* One that has very many requests, or is stopped, is tried again. */
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	ret = connect(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	fcntl(fd, F_SETFL, 0);
	if (!ret)
		return fd;
	close(fd);
	return ret == -ENOENT ? -ECONNREFUSED : ret == -EACCES ? -EPERM : ret;
}

int ask_fs(const struct sb_record *record, const struct guardian_request *request, int fd,
	   struct guardian_reply *reply)
{
	int socket = connect_guardian(sb_dev(record->dev)), ret = socket;

	if (socket >= 0)
		ret = send_fds(socket, request, sizeof(*request), &fd, fd >= 0, 0);
	if (fd >= 0)
		close(fd);
	if (socket < 0)
		return socket;
	if (!ret)
		ret = receive_reply(socket, request->op, reply);
	close(socket);
	/* It ended before it saw us. */
	return ret == -EPIPE || ret == -ECONNRESET ? -EAGAIN : ret;
}

int start_guardian(int target, struct sb_reader reader)
{
	const int fds[GUARDIAN_FDS - 1] = {target, reader.prog, reader.map};
	int all[GUARDIAN_FDS], pair[2], ret;
	struct guardian_reply reply;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	all[GUARDIAN_BOOT] = pair[1];
	memcpy(all + GUARDIAN_TARGET, fds, sizeof(fds));
	ret = spawn_helper("freeze-guardian", all, GUARDIAN_FDS);
	close(pair[1]);
	if (!ret)
		ret = receive_reply(pair[0], GUARDIAN_OPEN, &reply);
	close(pair[0]);
	if (ret)
		return ret == -EPIPE ? -EIO : ret;
	return reply.error == -EACCES ? -EPERM : reply.error;
}
