// SPDX-License-Identifier: LGPL-2.1-or-later
/* The guardian engine's reader of superblocks: loaded by a helper, kept for the process. */
#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../../common/private.h"
#include "client.h"
#include "spawn.h"

/*
 * Loaded once in a process and inherited by its children: both descriptors plus
 * one in one word, 0 before that. It is a cache: two threads that load at once
 * do no harm, and one whose descriptors were closed behind our back is dropped.
 */
static _Atomic uint64_t cached_reader;

/* So long a guardian is waited for that may have one: about as long as to load it takes. */
#define BORROW_MS 100

static struct sb_reader reader_of(uint64_t word)
{
	return (struct sb_reader){.prog = (int)(word >> 32) - 1, .map = (int)(uint32_t)word - 1};
}

static void close_both(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

/* An answer of this size until then, or whenever if that is 0, with two descriptors or none: fds[0] is -1 then. */
static int receive(int socket, void *data, size_t size, int fds[2], uint64_t end_ns)
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
	size_t count = 0;
	ssize_t n;
	int ret;

	fds[0] = -1;
	do {
		if (end_ns && !limit_wait(socket, end_ns))
			return -ETIMEDOUT;
		n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
	}
	ret = msg.msg_flags & MSG_CTRUNC ? -EMFILE : n == (ssize_t)size && count != 1 ? 0 : -ENOSYS;
	while (ret && count)
		close(fds[--count]);
	return ret;
}

/* Of a guardian that holds something here. One that is stopped does not answer: the others are not asked then. */
static int borrow(int fds[2])
{
	const struct guardian_request request = {.op = GUARDIAN_READER};
	DIR *directory = opendir(GUARDIAN_DIR);
	struct guardian_reply reply;
	int socket = -1, ret = -ENOENT;
	struct dirent *entry;
	unsigned int maj, min;
	char rest;

	while (socket < 0 && directory && (entry = readdir(directory)))
		if (sscanf(entry->d_name, GUARDIAN_NAME "%c", &maj, &min, &rest) == 2)
			socket = connect_guardian(makedev(maj, min));
	if (directory)
		closedir(directory);
	if (socket < 0)
		return ret;
	if (send(socket, &request, sizeof(request), MSG_NOSIGNAL) == sizeof(request))
		ret = receive(socket, &reply, sizeof(reply), fds, end_after(BORROW_MS));
	close(socket);
	if (ret || fds[0] < 0)
		return -ENOENT;
	if (reply.number == SB_KIND)
		return 0;
	close_both(fds);
	return -ENOENT;
}

static int load(int fds[2])
{
	int pair[2], ret, error = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	ret = spawn_helper("freezefd-load-bpf", &pair[1], 1);
	close(pair[1]);
	if (!ret)
		ret = receive(pair[0], &error, sizeof(error), fds, 0);
	close(pair[0]);
	if (ret || (!error && fds[0] >= 0))
		return ret;
	if (fds[0] >= 0)
		close_both(fds);
	return error > 0 ? -error : -ENOSYS;
}

/* Loaded anew if that is wanted, else borrowed if that can be. */
static int get_reader(uint64_t *word, bool *anew)
{
	uint64_t none = 0;
	int fds[2], ret;

	*anew = *anew || borrow(fds);
	ret = *anew ? load(fds) : 0;
	if (ret)
		return ret;
	*word = (uint64_t)(fds[0] + 1) << 32 | (uint32_t)(fds[1] + 1);
	if (!atomic_compare_exchange_strong(&cached_reader, &none, *word)) {
		close_both(fds);
		*word = none;
	}
	return 0;
}

/*
 * A program does not know a filesystem whose module was loaded later. Where nothing tells the
 * path of a btrfs, one more would not either: that is tried once.
 */
static bool is_stale(int ret, const struct sb_record *record)
{
	static _Atomic bool tried;

	return ret == -ENOSYS || (!ret && !strcmp(record->type, "btrfs") && !*record->path &&
				  !atomic_exchange(&tried, true));
}

int read_target(int target, struct sb_record *record, struct sb_reader *reader)
{
	uint64_t word = atomic_load(&cached_reader);
	bool loaded = false;
	int ret = 0;

	for (;;) {
		if (!word)
			ret = get_reader(&word, &loaded);
		if (ret)
			return ret;
		*reader = reader_of(word);
		ret = sb_read(*reader, target, record);
		if (loaded || !is_stale(ret, record))
			return ret;
		atomic_compare_exchange_strong(&cached_reader, &word, 0);
		word = 0;
		loaded = true;
	}
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
