// SPDX-License-Identifier: GPL-2.0-or-later
/* What programs of the ioctl fuzzer do beside the calls that it is about. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ioctl.h"

#define NOBODY 65534

/* --- what else is done with files --- */

void do_open(struct actor *actor)
{
	static const struct {
		const char *path;
		int flags;
	} files[] = {
		{"a", O_RDONLY},	 {"a/file", O_RDWR}, {"a/file", O_PATH},
		{"b", O_RDONLY},	 {"b/file", O_RDWR}, {"a/new", O_RDWR | O_CREAT | O_TRUNC},
		{"b/sub/dir", O_RDONLY}, {"o/x", O_RDONLY},  {"/dev/freezefd", O_RDONLY},
	};
	const uint8_t which = take(&actor->input) % (ARRAY_SIZE(files) + 3);

	if (which < ARRAY_SIZE(files))
		put(actor,
		    open(files[which].path, files[which].flags | O_CLOEXEC | O_NONBLOCK, 0600));
	else
		put(actor, open(disk[which - ARRAY_SIZE(files)], O_RDONLY | O_CLOEXEC));
}

void do_copy(struct actor *actor)
{
	const uint8_t kind = take(&actor->input);
	int from = *any_slot(actor);

	put(actor, kind & 1 ? fcntl(from, F_DUPFD_CLOEXEC, 3) : dup(from));
	if (kind > 240)
		dup2(from, *any_slot(actor));
}

void do_close(struct actor *actor)
{
	const uint8_t kind = take(&actor->input);

	close(kind < 230 ? slot[FIRST_FREE + kind % (SLOTS - FIRST_FREE)] : slot[kind % SLOTS]);
}

void do_io(struct actor *actor)
{
	const uint8_t kind = take(&actor->input);
	int fd = *any_slot(actor), other = *any_slot(actor);
	struct pollfd poll_ = {.fd = fd, .events = (short)take_number(&actor->input)};
	char buffer[64] = "x", path[64];
	void *map;

	switch (kind % 12) {
	case 0:
		read(fd, buffer, sizeof(buffer));
		break;
	case 1:
		write(fd, buffer, sizeof(buffer));
		break;
	case 2:
		map = mmap(NULL, 4096, PROT_READ, kind & 16 ? MAP_SHARED : MAP_PRIVATE, fd, 0);
		if (map != MAP_FAILED)
			munmap(map, 4096);
		break;
	case 3:
	case 4:
		poll(&poll_, 1, 0);
		break;
	case 5:
	case 6:
		snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", fd);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		while (read(fd, buffer, sizeof(buffer)) > 0)
			;
		close(fd);
		break;
	case 7:
		lseek(fd, (off_t)take_number(&actor->input), kind >> 4);
		break;
	case 8:
		fcntl(fd, kind & 16 ? F_SETFL : F_GETFL, kind & 32 ? O_NONBLOCK : 0);
		break;
	case 9:
		splice(fd, NULL, other, NULL, 32, SPLICE_F_NONBLOCK);
		break;
	case 10:
		ftruncate(fd, kind);
		break;
	default:
		fsync(fd);
	}
}

void do_send(struct actor *actor)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {.header = {.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS,
				.cmsg_len = CMSG_LEN(2 * sizeof(int))}};
	struct iovec iov = {.iov_base = "x", .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	const uint8_t kind = take(&actor->input);
	/* One may be the socket itself: a ring that only the collector of garbage ends. */
	int fds[2] = {*any_slot(actor), kind > 200 ? pair[kind & 1] : *any_slot(actor)};

	memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
	sendmsg(pair[actor->number % 2], &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void do_receive(struct actor *actor)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int fds[2];

	if (recvmsg(pair[actor->number % 2], &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0 ||
	    !CMSG_FIRSTHDR(&msg) || CMSG_FIRSTHDR(&msg)->cmsg_len != CMSG_LEN(sizeof(fds)))
		return;
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fds));
	put(actor, fds[0]);
	put(actor, fds[1]);
}

/* --- what changes the caller or the filesystem --- */

void do_rights(struct actor *actor)
{
	/* Of this thread. */
	if (take(&actor->input) & 1)
		syscall(SYS_setresuid, -1, NOBODY, -1);
	else
		syscall(SYS_setresuid, -1, 0, -1);
}

void do_sleep(struct actor *actor)
{
	const struct timespec ts = {.tv_nsec = take(&actor->input) * 10000};

	nanosleep(&ts, NULL);
}

void do_mount(struct actor *actor)
{
	const uint8_t kind = take(&actor->input);
	const int fs = kind & 1;

	if (kind & 2)
		umount2(mount_point[fs], kind & 4 ? MNT_DETACH : 0);
	else if (kind & 4)
		mount(NULL, mount_point[fs], NULL, MS_REMOUNT | (kind & 8 ? MS_RDONLY : 0), NULL);
	else
		mount_fs(fs);
}

void do_rest(struct actor *actor)
{
	const uint8_t kind = take(&actor->input);

	switch (kind % 8) {
	case 0:
		syncfs(*any_slot(actor));
		break;
	case 1:
		unshare(CLONE_FILES);
		break;
	case 2:
		unlink("a/new");
		break;
	case 3:
		if (kind > 200)
			raise(SIGKILL);
		break;
	case 4:
		/* A child that has copies for a moment. */
		if (!syscall(SYS_clone, SIGCHLD | (kind & 8 ? CLONE_FILES : 0), NULL, NULL, NULL,
			     NULL))
			_exit(0);
		break;
	case 5:
		fallocate(*any_slot(actor), 0, 0, 65536);
		break;
	default:
		sched_yield();
	}
}
