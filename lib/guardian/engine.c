// SPDX-License-Identifier: LGPL-2.1-or-later
/* Freeze descriptors on a kernel that has none: sockets to a helper that holds the filesystem. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#include "../../common/guardian-protocol.h"
#include "../../common/private.h"
#include "../../common/superblock.h"
#include "../engine.h"
#include "spawn.h"

/* A guardian that ends just now, or is just begun by another, is tried again so often. */
#define ATTEMPTS 100

/* --- the reader of superblocks --- */

/*
 * Loaded once in a process and inherited by its children: both descriptors plus
 * one in one word, 0 before that. It is a cache: two threads that load at once
 * do no harm, and one whose descriptors were closed behind our back is dropped.
 */
static _Atomic uint64_t cached_reader;

static struct sb_reader reader_of(uint64_t word)
{
	return (struct sb_reader){.prog = (int)(word >> 32) - 1, .map = (int)(uint32_t)word - 1};
}

static int receive_fds(int socket, void *data, size_t size, int *fds, size_t count)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = data, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg;
	ssize_t n;

	do
		n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (msg.msg_flags & MSG_CTRUNC) {
		/* There was room for one of them at the most. */
		if (cmsg && cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
			close(*(int *)CMSG_DATA(cmsg));
		return -EMFILE;
	}
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
	    cmsg->cmsg_len == CMSG_LEN(count * sizeof(int)))
		memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
	else
		fds[0] = -1;
	return n == (ssize_t)size ? 0 : -ENOSYS;
}

static int load(uint64_t *word)
{
	int pair[2], fds[2], ret, error;
	uint64_t none = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	ret = spawn_helper("freezefd-load-bpf", &pair[1], 1);
	close(pair[1]);
	if (!ret)
		ret = receive_fds(pair[0], &error, sizeof(error), fds, 2);
	close(pair[0]);
	if (ret)
		return ret;
	if (error || fds[0] < 0)
		return error ? -error : -ENOSYS;
	*word = (uint64_t)(fds[0] + 1) << 32 | (uint32_t)(fds[1] + 1);
	if (!atomic_compare_exchange_strong(&cached_reader, &none, *word)) {
		close(fds[0]);
		close(fds[1]);
		*word = none;
	}
	return 0;
}

/* The superblock of a target, and the reader that read it. */
static int read_target(int target, struct sb_record *record, struct sb_reader *reader)
{
	uint64_t word = atomic_load(&cached_reader);
	int ret;

	if (word) {
		*reader = reader_of(word);
		ret = sb_read(*reader, target, record);
		/* It does not know a filesystem whose module was loaded later. */
		if (ret != -ENOSYS && (ret || strcmp(record->type, "btrfs") || *record->path))
			return ret;
		atomic_compare_exchange_strong(&cached_reader, &word, 0);
	}
	ret = load(&word);
	if (ret)
		return ret;
	*reader = reader_of(word);
	return sb_read(*reader, target, record);
}

int private_freezefd_waiters(int any_fd, struct waiters *waiters)
{
	struct sb_record record;
	struct sb_reader reader;
	int ret = read_target(any_fd, &record, &reader);

	if (ret)
		return ret;
	ret = sb_waiters(reader, record.id, waiters);
	if (record.flags & SB_NESTED)
		waiters->processes = waiters->listed = 0;
	return ret;
}

static int guardian_probe(int target)
{
	struct sb_record record;
	struct sb_reader reader;
	int ret = read_target(target, &record, &reader);

	/* What is wrong with this target is the call's to say. */
	return ret == -ENODEV || ret == -EBADF ? 0 : ret;
}

/* --- talking to a guardian --- */

static int send_request(int socket, const struct guardian_request *request, int fd, int flags)
{
	union {
		struct cmsghdr cmsg;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.cmsg = {.cmsg_len = CMSG_LEN(sizeof(fd)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {.iov_base = (void *)request, .iov_len = sizeof(*request)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.cmsg), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	do
		n = sendmsg(socket, &msg, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/*
 * -EPIPE when the guardian ended instead of answering. To ask is not to wait, whatever keeps a
 * guardian from answering: -ETIMEDOUT. A freeze that a signal interrupts is taken back, unless
 * it has been answered by then.
 */
static int receive_reply(int socket, uint32_t op, struct guardian_reply *reply)
{
	const bool freezes = op == GUARDIAN_OPEN || op == GUARDIAN_FREEZE;
	const struct timeval limit = {.tv_sec = 1};
	ssize_t n;

	if (op == GUARDIAN_STATUS)
		setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	do
		n = recv(socket, reply, sizeof(*reply), 0);
	while (n < 0 && errno == EINTR && !freezes);
	if (n < 0 && errno == EINTR) {
		shutdown(socket, SHUT_RDWR);
		n = recv(socket, reply, sizeof(*reply), MSG_DONTWAIT);
		if (n != sizeof(*reply))
			return -EINTR;
	}
	if (n < 0 && errno == EAGAIN)
		return -ETIMEDOUT;
	return n == sizeof(*reply) ? 0 : -EPIPE;
}

/* On a freeze descriptor; the answer comes to this caller alone. */
static int ask(int fd, uint32_t op, uint64_t timeout_ns, struct guardian_reply *reply)
{
	const struct guardian_request request = {.op = op, .timeout_ns = timeout_ns};
	int pair[2], ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	ret = send_request(fd, &request, pair[1], op == GUARDIAN_STATUS ? MSG_DONTWAIT : 0);
	close(pair[1]);
	if (ret == -EAGAIN)
		ret = -ETIMEDOUT;
	if (!ret)
		ret = receive_reply(pair[0], op, reply);
	close(pair[0]);
	return ret;
}

/* A connection to the guardian of a filesystem; -ECONNREFUSED when there is none. */
static int connect_guardian(const struct sb_record *record)
{
	const dev_t dev = sb_dev(record->dev);
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

static int ask_fs(const struct sb_record *record, const struct guardian_request *request, int fd,
		  struct guardian_reply *reply)
{
	int socket = connect_guardian(record), ret;

	if (socket < 0)
		return socket;
	ret = send_request(socket, request, fd, 0);
	if (!ret)
		ret = receive_reply(socket, request->op, reply);
	close(socket);
	/* It ended before it saw us. */
	return ret == -EPIPE || ret == -ECONNRESET ? -EAGAIN : ret;
}

static int start_guardian(int target, struct sb_reader reader)
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

/* --- the engine --- */

static bool guardian_owns(int fd)
{
	struct sockaddr_un address;
	socklen_t len = sizeof(address);
	const size_t prefix = strlen(GUARDIAN_HOLD);

	memset(&address, 0, sizeof(address));
	return !getpeername(fd, (struct sockaddr *)&address, &len) &&
	       address.sun_family == AF_UNIX &&
	       len > offsetof(struct sockaddr_un, sun_path) + 1 + prefix && !*address.sun_path &&
	       !memcmp(address.sun_path + 1, GUARDIAN_HOLD, prefix);
}

/* Both ends, the guardian's with the address that tells what it is. */
static int make_pair(int pair[2])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	uint64_t name[2];
	int n;

	if (getrandom(name, sizeof(name), 0) != sizeof(name) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
		     GUARDIAN_HOLD "%016llx%016llx", (unsigned long long)name[0],
		     (unsigned long long)name[1]);
	if (bind(pair[1], (struct sockaddr *)&address,
		 offsetof(struct sockaddr_un, sun_path) + 1 + n)) {
		n = -errno;
		close(pair[0]);
		close(pair[1]);
		return n;
	}
	return 0;
}

/* Is it there, may it be frozen, and by us? */
static int check_target(int target, struct sb_record *record, struct sb_reader *reader)
{
	int ret = read_target(target, record, reader);

	return ret || record->flags & SB_MAY_FREEZE ? ret : -EPERM;
}

static void nap(void)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	nanosleep(&ms, NULL);
}

static int guardian_open(int target, uint32_t flags, uint64_t timeout_ns)
{
	struct guardian_request request = {
		.op = GUARDIAN_OPEN, .flags = flags, .timeout_ns = timeout_ns};
	struct sb_record record, now;
	struct guardian_reply reply;
	struct sb_reader reader;
	struct stat st;
	int pair[2], ret;

	for (int i = 0; i < ATTEMPTS; i++) {
		ret = check_target(target, &record, &reader);
		if (!ret && !(record.flags & SB_CAN_FREEZE))
			ret = -EOPNOTSUPP;
		/* The end of a PID namespace ends both helpers at once. */
		if (!ret && record.flags & SB_NESTED && !(flags & FREEZEFD_MAY_STAY_FROZEN))
			ret = -ENOTRECOVERABLE;
		if (ret)
			return ret;
		ret = make_pair(pair);
		if (ret)
			return ret;
		if (!fstat(pair[0], &st))
			request.inode = st.st_ino;
		ret = ask_fs(&record, &request, pair[1], &reply);
		close(pair[1]);
		if (!ret)
			ret = reply.error;
		/*
		 * Whose guardian that was the number of the device has told, which
		 * may have come to mean another filesystem since; not if this one
		 * is there still.
		 */
		if (!ret && !sb_read(reader, target, &now) && now.id == record.id)
			return pair[0];
		close(pair[0]);
		if (!ret)
			continue;
		if (ret == -ECONNREFUSED)
			ret = start_guardian(target, reader);
		if (ret == -EAGAIN)
			nap();
		else if (ret)
			return ret;
	}
	return -EBUSY;
}

/* As mountinfo has it: what would end the field is written \\ooo. */
static void unescape(char *path)
{
	char *to = path;

	for (; *path; to++) {
		if (path[0] == '\\' && strspn(path + 1, "01234567") >= 3) {
			*to = (path[1] - '0') << 6 | (path[2] - '0') << 3 | (path[3] - '0');
			path += 4;
		} else {
			*to = *path++;
		}
	}
	*to = 0;
}

/* Where the caller sees it mounted; -EBUSY when nowhere. */
static int open_mounted(struct sb_reader reader, const struct sb_record *record)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	unsigned int maj, min;
	struct sb_record now;
	char *line = NULL;
	size_t size = 0;
	int found = -1;

	while (mounts && found < 0 && getline(&line, &size, mounts) > 0) {
		char *path = NULL;

		if (sscanf(line, "%*d %*d %u:%u %*s %ms", &maj, &min, &path) != 3)
			continue;
		if (makedev(maj, min) == sb_dev(record->dev)) {
			unescape(path);
			found = open(path, O_RDONLY | O_NONBLOCK | O_NOATIME | O_CLOEXEC);
		}
		free(path);
		/* Something else may be mounted over it. */
		if (found >= 0 && (sb_read(reader, found, &now) || now.id != record->id)) {
			close(found);
			found = -1;
		}
	}
	free(line);
	if (mounts)
		fclose(mounts);
	return found < 0 ? -EBUSY : found;
}

/*
 * Nobody of ours holds it: whatever is there FIFREEZE has made, or the block layer. -EBUSY where
 * the caller has no way to it.
 */
static int thaw_strangers(int target, const struct sb_record *record, struct sb_reader reader)
{
	struct stat st = {0};
	int root, ret;

	if (record->frozen != SB_FREEZE_COMPLETE || !record->user_holds)
		return -EINVAL;
	/* See sb_read(). */
	fstat(target, &st);
	if (!S_ISBLK(st.st_mode))
		return sb_thaw_all(reader, target, record->id);
	root = open_mounted(reader, record);
	if (root < 0)
		return root;
	ret = sb_thaw_all(reader, root, record->id);
	close(root);
	return ret;
}

/* Also of what cannot be frozen here, such as FAT: the block layer freezes it. */
static int guardian_thaw_force(int target)
{
	const struct guardian_request request = {.op = GUARDIAN_FORCE};
	struct guardian_reply reply;
	struct sb_record record;
	struct sb_reader reader;
	int ret;

	for (int i = 0; i < ATTEMPTS; i++) {
		ret = check_target(target, &record, &reader);
		if (ret)
			return ret;
		ret = ask_fs(&record, &request, -1, &reply);
		if (!ret)
			ret = reply.error;
		/* Who may not ask it may thaw all the same. */
		if (ret == -ECONNREFUSED || ret == -EPERM) {
			ret = thaw_strangers(target, &record, reader);
			/* A guardian can mount it. */
			if (ret == -EBUSY)
				ret = start_guardian(target, reader) ?: -EAGAIN;
		}
		if (ret != -EAGAIN)
			return ret;
		nap();
	}
	return -EBUSY;
}

static int status_of_target(int target, struct freezefd_status *status)
{
	const struct guardian_request request = {.op = GUARDIAN_STATUS};
	struct guardian_reply reply;
	struct sb_record record;
	struct sb_reader reader;
	int ret = read_target(target, &record, &reader);

	if (ret)
		return ret;
	memset(status, 0, sizeof(*status));
	sb_status(&record, status);
	if (status->state == FREEZE_STATE_THAWED && !(record.flags & SB_CAN_FREEZE))
		return -EOPNOTSUPP;
	if (status->state != FREEZE_STATE_FROZEN || !status->user_holds)
		return 0;
	/* Which of the holds is the guardian's, and how many share it, only that knows. */
	ret = ask_fs(&record, &request, -1, &reply);
	if (!ret && !reply.error)
		status->frozen_ns = reply.status.frozen_ns;
	/* There is one that does not answer now: somebody holds. */
	if (ret == -ETIMEDOUT || ret == -EAGAIN)
		status->fd_holds = 1;
	else if (!ret && !reply.error)
		status->fd_holds = reply.status.fd_holds;
	if (status->fd_holds)
		status->user_holds--;
	return 0;
}

/*
 * What to say for a guardian that has ended: the last news is that the
 * filesystem is gone. Without that it was killed, and its holds were broken.
 */
static uint32_t last_words(int fd)
{
	struct guardian_news news;
	ssize_t n;

	/* Requests that it did not read any more are reported first, once. */
	do
		n = recv(fd, &news, sizeof(news), MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && (errno == ECONNRESET || errno == EINTR));
	while (n == sizeof(news)) {
		if (news.what == GUARDIAN_GONE)
			return FREEZEFD_HOLD_GONE;
		recv(fd, &news, sizeof(news), MSG_DONTWAIT);
		n = recv(fd, &news, sizeof(news), MSG_PEEK | MSG_DONTWAIT);
	}
	return FREEZEFD_HOLD_REVOKED;
}

static bool has_ended(int ret)
{
	return ret == -EPIPE || ret == -ECONNRESET || ret == -ENOTCONN;
}

static int guardian_status(int any_fd, struct freezefd_status *status)
{
	struct guardian_reply reply;
	int ret;

	if (!guardian_owns(any_fd))
		return status_of_target(any_fd, status);
	ret = ask(any_fd, GUARDIAN_STATUS, 0, &reply);
	if (!ret) {
		*status = reply.status;
		return reply.error;
	}
	if (!has_ended(ret))
		return ret;
	memset(status, 0, sizeof(*status));
	status->hold = last_words(any_fd);
	return 0;
}

/* A call that changes something. */
static int order(int fd, uint32_t op, uint64_t timeout_ns)
{
	struct guardian_reply reply;
	int ret = ask(fd, op, timeout_ns, &reply);

	if (has_ended(ret))
		return last_words(fd) == FREEZEFD_HOLD_GONE ? -ESTALE : -ECANCELED;
	if (ret)
		return ret;
	/* What has been told now need not be reported by poll(2) any longer. */
	while (reply.told) {
		struct guardian_news news;

		if (recv(fd, &news, sizeof(news), MSG_PEEK | MSG_DONTWAIT) != sizeof(news) ||
		    news.what != GUARDIAN_BROKEN || news.number > reply.told)
			break;
		recv(fd, &news, sizeof(news), MSG_DONTWAIT);
	}
	return reply.error;
}

static int guardian_freeze(int fd)
{
	return order(fd, GUARDIAN_FREEZE, 0);
}

static int guardian_thaw(int fd)
{
	return order(fd, GUARDIAN_THAW, 0);
}

static int guardian_set_timeout(int fd, uint64_t ns)
{
	return order(fd, GUARDIAN_TIMEOUT, ns);
}

const struct engine guardian_engine = {
	.name = "guardian",
	.probe = guardian_probe,
	.owns = guardian_owns,
	.open = guardian_open,
	.thaw_force = guardian_thaw_force,
	.status = guardian_status,
	.freeze = guardian_freeze,
	.thaw = guardian_thaw,
	.set_timeout = guardian_set_timeout,
};
