// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the library makes of the answers of a guardian, and of the helper that loads the reader of superblocks: any
 * packet, with or without descriptors, or none.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../common/guardian-protocol.h"
#include "../../common/superblock.h"
#include "../../lib/guardian/spawn.h"
#include "fuzz.h"

static struct input input;
/* The guardian's ends: of a freeze descriptor, of a connection. */
static int hold_peer = -1, connection_peer = -1;
/* Descriptors: the reader that is kept, and one that a btrfs without a path was read with. */
static int may_stay = 4;

/* --- the guardian's side --- */

static int any_error(void)
{
	static const int errors[] = {0,	     0,		 0,	  -EAGAIN, -EBUSY,
				     -ETIME, -ECANCELED, -ESTALE, -EINVAL, -EACCES};
	const uint8_t kind = take(&input);

	return kind > 240 ? (int)take_number(&input) : errors[kind % 10];
}

static void send_with(int to, const void *packet, size_t size, int count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(4 * sizeof(int))];
	} control = {.header = {CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec iov = {.iov_base = (void *)packet, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[4];

	for (int i = 0; i < count; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	if (count) {
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
	}
	sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	for (int i = 0; i < count; i++)
		close(fds[i]);
}

static void send_news(void)
{
	const struct guardian_news news = {.what = take(&input) % 4, .number = take(&input) % 4};

	if (hold_peer >= 0)
		send_with(hold_peer, &news, take(&input) > 240 ? 3 : sizeof(news), 0);
}

static void reply(int to)
{
	struct guardian_reply packet = {.error = any_error(), .number = take(&input) % 4};
	const uint8_t kind = take(&input);

	take_bytes(&input, &packet.status, sizeof(packet.status));
	if (kind < 220)
		send_with(to, &packet, kind > 200 ? take(&input) % sizeof(packet) : sizeof(packet),
			  kind % 16 == 1);
}

/* A request has been sent to a socket of ours: it is answered before who sent it waits for that. */
static void answer_request(bool on_hold)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct guardian_request request;
	struct iovec iov = {.iov_base = &request, .iov_len = sizeof(request)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int fd = -1;

	if (recvmsg(on_hold ? hold_peer : connection_peer, &msg, MSG_DONTWAIT) != sizeof(request))
		return;
	if (CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	reply(on_hold ? fd : connection_peer);
	if (fd >= 0)
		close(fd);
	if (take(&input) > 230)
		send_news();
	if (!on_hold) {
		close(connection_peer);
		connection_peer = -1;
	}
}

/* --- what the library calls --- */

static bool on;
/* All is well: what is static in the library comes to be the same for each input. */
static bool well;
static bool is_device; /* the target */

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t ret = __real_sendmsg(fd, msg, flags);

	if (on) {
		on = false;
		answer_request(connection_peer < 0);
		on = true;
	}
	return ret;
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t size)
{
	const uint8_t kind = take(&input);
	int pair[2];

	if (kind & 1) {
		errno = kind & 2 ? ECONNREFUSED : kind & 4 ? ENOENT : kind & 8 ? EAGAIN : EACCES;
		return -1;
	}
	must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	must(dup2(pair[0], fd) == fd);
	close(pair[0]);
	connection_peer = pair[1];
	return 0;
}

/* Whether a guardian that has not answered goes on. */
int __wrap_poll(struct pollfd *poll_, nfds_t count, int ms);
int __wrap_poll(struct pollfd *poll_, nfds_t count, int ms)
{
	return take(&input) & 1;
}

int __wrap_nanosleep(const struct timespec *span, struct timespec *left);
int __wrap_nanosleep(const struct timespec *span, struct timespec *left)
{
	return 0;
}

int __wrap_spawn_helper(const char *name, const int *fds, size_t count);
int __wrap_spawn_helper(const char *name, const int *fds, size_t count)
{
	const uint8_t kind = well ? 0 : take(&input);
	const int error = well ? 0 : -any_error();

	if (kind > 240)
		return -ELIBACC;
	on = false;
	if (strcmp(name, "freeze-guardian") != 0)
		send_with(fds[0], &error, kind > 220 ? kind % 5 : sizeof(error),
			  kind > 200 ? kind % 5 : 2);
	else
		reply(fds[0]);
	on = true;
	return 0;
}

int __wrap_sb_read(struct sb_reader reader, int fd, struct sb_record *record);
int __wrap_sb_read(struct sb_reader reader, int fd, struct sb_record *record)
{
	static const int errors[] = {0, 0, 0, 0, 0, 0, -ENODEV, -ENOSYS, -EBADF};
	const uint8_t kind = well ? 0 : take(&input);

	*record = (struct sb_record){
		.id = 1 + (kind > 250), .dev = 8 << 20 | 1, .type = "ext4", .name = "sda1"};
	record->flags =
		(SB_CAN_FREEZE | SB_MAY_FREEZE) ^ (!well && take(&input) > 200 ? take(&input) : 0);
	record->frozen = kind & 16 ? SB_FREEZE_COMPLETE : 0;
	record->user_holds = kind >> 6;
	if (kind & 32)
		strcpy(record->type, "btrfs");
	/* It is taken for one whose descriptors were closed by others. */
	may_stay += errors[kind % 9] == -ENOSYS ? 2 : 0;
	return errors[kind % 9];
}

int __wrap_sb_thaw_all(struct sb_reader reader, int root, uint64_t id);
int __wrap_sb_thaw_all(struct sb_reader reader, int root, uint64_t id)
{
	return take(&input) & 1 ? -EINVAL : 0;
}

/* Of a device: where it is mounted is looked up. */
int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st)
{
	int ret = __real_fstat64(fd, st);

	if (on && is_device)
		st->st_mode = S_IFBLK | 0600;
	return ret;
}

FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode)
{
	static char mountinfo[256];
	int len;

	if (!on)
		return __real_fopen64(path, mode);
	len = snprintf(mountinfo, sizeof(mountinfo), "21 1 8:1 / ");
	len += (int)take_bytes(&input, mountinfo + len, take(&input) % 200);
	return fmemopen(mountinfo, (size_t)len, "r");
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	return on ? eventfd(0, EFD_CLOEXEC) : __real_open64(path, flags, 0600);
}

/* --- calls --- */

static int make_hold(void)
{
	static const char name[] = "\0" GUARDIAN_HOLD "fuzz";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int pair[2];

	must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	memcpy(address.sun_path, name, sizeof(name) - 1);
	/* Whose name has been taken is no freeze descriptor, which is well, too. */
	snprintf(address.sun_path + sizeof(name) - 1, sizeof(address.sun_path) - sizeof(name), "%d",
		 getpid());
	bind(pair[1], (struct sockaddr *)&address, sizeof(address));
	hold_peer = pair[1];
	return pair[0];
}

static void call(int hold, int target)
{
	const struct freezefd_options options = {.size = sizeof(options), .engine = "guardian"};
	struct freezefd_status status;
	int fd;

	switch (take(&input) % 12) {
	case 0:
		must(freezefd_status(hold, &status) <= 0);
		break;
	case 1:
		must(freezefd_freeze(hold) <= 0);
		break;
	case 2:
	case 3:
		must(freezefd_thaw(hold) <= 0);
		break;
	case 4:
		must(freezefd_set_timeout(hold, take_number(&input)) <= 0);
		break;
	case 5:
		must(freezefd_status(target, &status) <= 0);
		break;
	case 6:
	case 7:
		fd = freezefd_open(target, &options);
		must(fd != STDIN_FILENO && fd != STDOUT_FILENO && fd != STDERR_FILENO);
		if (fd > 0)
			must(!close(fd));
		break;
	case 8:
		must(freezefd_thaw_force(target) <= 0);
		break;
	case 9:
		send_news();
		break;
	case 10:
		freezefd_engine(target);
		break;
	default:
		is_device = take(&input) & 1;
		if (take(&input) < 64 && hold_peer >= 0) {
			close(hold_peer);
			hold_peer = -1;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int target, at_first;
	int hold;

	setenv("FREEZEFD_ENGINE", "guardian", 1);
	if (!target) {
		target = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		at_first = count_descriptors();
	}
	input = (struct input){data, data + size};
	hold = make_hold();
	is_device = false;
	on = well = true;
	freezefd_engine(target);
	well = false;
	for (int i = 0; i < 16 && input.at < input.end; i++)
		call(hold, target);
	on = false;
	close(hold);
	if (hold_peer >= 0)
		close(hold_peer);
	hold_peer = -1;
	must(count_descriptors() <= at_first + may_stay);
	return 0;
}
