// SPDX-License-Identifier: LGPL-2.1-or-later
/* The guardian engine's reader of superblocks: loaded by a helper, kept for the process. */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
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

static struct sb_reader reader_of(uint64_t word)
{
	return (struct sb_reader){.prog = (int)(word >> 32) - 1, .map = (int)(uint32_t)word - 1};
}

/* What the helper says: an errno value, or 0 and the two. Those of any other answer are closed. */
static int receive_fds(int socket, int fds[2])
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	int error, ret;
	struct iovec iov = {.iov_base = &error, .iov_len = sizeof(error)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg;
	size_t count = 0;
	ssize_t n;

	do
		n = recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
	}
	if (msg.msg_flags & MSG_CTRUNC)
		ret = -EMFILE;
	else if (n == sizeof(error) && error > 0)
		ret = -error;
	else
		ret = n == sizeof(error) && !error && count == 2 ? 0 : -ENOSYS;
	while (ret && count)
		close(fds[--count]);
	return ret;
}

static int load(uint64_t *word)
{
	int pair[2], fds[2], ret;
	uint64_t none = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	ret = spawn_helper("freezefd-load-bpf", &pair[1], 1);
	close(pair[1]);
	if (!ret)
		ret = receive_fds(pair[0], fds);
	close(pair[0]);
	if (ret)
		return ret;
	*word = (uint64_t)(fds[0] + 1) << 32 | (uint32_t)(fds[1] + 1);
	if (!atomic_compare_exchange_strong(&cached_reader, &none, *word)) {
		close(fds[0]);
		close(fds[1]);
		*word = none;
	}
	return 0;
}

int read_target(int target, struct sb_record *record, struct sb_reader *reader)
{
	/* Where nothing tells the path one more load would not either, each time. */
	static _Atomic bool loaded_again;
	uint64_t word = atomic_load(&cached_reader);
	int ret;

	if (word) {
		*reader = reader_of(word);
		ret = sb_read(*reader, target, record);
		/* It does not know a filesystem whose module was loaded later. */
		if (ret != -ENOSYS && (ret || strcmp(record->type, "btrfs") || *record->path ||
				       atomic_exchange(&loaded_again, true)))
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
