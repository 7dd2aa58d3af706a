// SPDX-License-Identifier: LGPL-2.1-or-later
/* Freeze descriptors on a kernel that has none: sockets to a helper that holds the filesystem. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../engine.h"
#include "client.h"

/* A guardian that ends just now, or is just begun by another, is tried again so often. */
#define ATTEMPTS 100

static int guardian_probe(int target)
{
	struct sb_record record;
	struct sb_reader reader;
	int ret = read_target(target, &record, &reader);

	/* What is wrong with this target is the call's to say. */
	return ret == -ENODEV || ret == -EBADF ? 0 : ret;
}

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
	bool silent;
	int ret;

	for (int i = 0; i < ATTEMPTS; i++) {
		ret = check_target(target, &record, &reader);
		if (ret)
			return ret;
		ret = ask_fs(&record, &request, -1, &reply);
		if (!ret)
			ret = reply.error;
		silent = ret == -ETIMEDOUT;
		if (silent)
			ret = check_target(target, &record, &reader);
		/* It waits for a freeze that is under way. */
		if (silent && !ret && record.frozen != SB_FREEZE_COMPLETE)
			ret = -EAGAIN;
		/* Who may not ask it, or gets no answer (a security policy, say), may thaw all the same. */
		if (ret == -ECONNREFUSED || ret == -EPERM || (silent && !ret)) {
			ret = thaw_strangers(target, &record, reader);
			/* A guardian can mount it. */
			if (ret == -EBUSY)
				ret = silent ? -ETIMEDOUT
					     : start_guardian(target, reader) ?: -EAGAIN;
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
	/* Which of the holds is the guardian's, and how many share it, only that knows. One that ends may not tell. */
	for (int tries = 3; tries; tries--) {
		ret = ask_fs(&record, &request, -1, &reply);
		if (ret != -EAGAIN)
			break;
	}
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
	while (reply.number) {
		struct guardian_news news;

		if (recv(fd, &news, sizeof(news), MSG_PEEK | MSG_DONTWAIT) != sizeof(news) ||
		    news.what != GUARDIAN_BROKEN || news.number > reply.number)
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
