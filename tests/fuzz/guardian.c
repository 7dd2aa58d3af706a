// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guardian's loop, holds and requests, with clients that send anything at any time. The input says what happens
 * next whenever the loop waits: a client connects, sends a packet with or without descriptors, closes; a freeze or thaw
 * ends; time passes; the filesystem goes away; the watcher dies. In the end all clients are gone, and nothing may be left:
 * no freeze, no hold, nobody who waits for an answer, no descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../guardian/loop.h"
#include "fuzz.h"

#define PEERS 12
#define ENDS  64

static struct input input;
static uint64_t clock_ns;
static struct common common;
static struct fs fs;
static int work_fd, inotify_write, listener, ends;

/* Of what the guardian must answer or close: our ends. */
static int peer[PEERS], nr_asked, asked[ENDS];

/* What the filesystem is. */
static struct sb_record record;
static int read_error, peer_state;
static enum { IDLE, WORKING } work_state;
static enum work work;
static int work_error;

/* --- work.c, as it would be seen from the loop --- */

int work_start(const struct fs *the_fs, struct common *the_common)
{
	return work_fd;
}

void work_begin(enum work what)
{
	must(work_state == IDLE);
	must(what == WORK_FORCE || (what == WORK_FREEZE) == (common.root < 0));
	work_state = WORKING;
	work = what;
}

int work_result(void)
{
	uint64_t count;

	must(read(work_fd, &count, sizeof(count)) == sizeof(count) && work_state == WORKING);
	work_state = IDLE;
	return work_error;
}

static void finish_work(int error)
{
	const uint64_t one = 1;

	if (work_state != WORKING)
		return;
	work_error = error;
	if (work == WORK_FREEZE && !error) {
		common.root = 1;
		record.frozen = SB_FREEZE_COMPLETE;
		record.user_holds = 1;
	} else {
		common.root = -1;
		record.frozen = record.user_holds = 0;
	}
	must(write(work_fd, &one, sizeof(one)) == sizeof(one));
}

/* --- main.c --- */

void leave_directory(const struct fs *the_fs, struct common *the_common)
{
}

/* --- release.c, without its thread --- */

int release_start(void)
{
	return 0;
}

void release(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* --- common/superblock.c --- */

int sb_read_id(struct sb_reader reader, uint64_t id, struct sb_record *now)
{
	*now = record;
	return read_error;
}

int sb_peer(struct sb_reader reader, int socket, uint64_t first)
{
	return peer_state;
}

void sb_status(const struct sb_record *now, struct freezefd_status *status)
{
	status->state = now->frozen ? FREEZE_STATE_FROZEN : FREEZE_STATE_THAWED;
	status->user_holds = now->user_holds;
	status->kernel_holds = now->kernel_holds;
}

/* --- what happens --- */

static int *any_peer(void)
{
	return &peer[take(&input) % PEERS];
}

static void set_peer(int *at, int fd)
{
	if (*at >= 0)
		close(*at);
	*at = fd;
}

/* Our end of a pair; the other one is to be sent. */
static int new_end(int *other)
{
	int pair[2];

	must(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
	*other = pair[1];
	return pair[0];
}

/* Ours, or -1: the listener may be closed by now. */
static int connect_client(void)
{
	struct sockaddr_un address;
	socklen_t len = sizeof(address);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	must(fd >= 0);
	if (fs.listener >= 0 && !getsockname(fs.listener, (struct sockaddr *)&address, &len) &&
	    !connect(fd, (struct sockaddr *)&address, len))
		return fd;
	close(fd);
	return -1;
}

/* Of what is to be answered. */
static void expect(int fd)
{
	if (nr_asked < ENDS)
		asked[nr_asked++] = fd;
	else
		close(fd);
}

/* As the library does it: its end of the pair is the freeze descriptor. */
static void open_hold(void)
{
	struct guardian_request request = {
		.op = GUARDIAN_OPEN, .flags = take(&input) & 1, .inode = take(&input)};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec iov = {.iov_base = &request, .iov_len = sizeof(request)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int fd = connect_client(), *at = any_peer(), other;

	request.timeout_ns = take_number(&input);
	if (fd < 0)
		return;
	set_peer(at, new_end(&other));
	memcpy(CMSG_DATA(&control.header), &other, sizeof(other));
	(void)!sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(other);
	expect(fd);
}

/* A packet, mostly as it should be. */
static void send_packet(void)
{
	struct guardian_request request = {0};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(4 * sizeof(int))];
	} control = {0};
	const uint8_t kind = take(&input), count = kind & 8 ? kind >> 4 & 3 : 1;
	const int to = *any_peer();
	struct iovec iov = {.iov_base = &request,
			    .iov_len = kind >= 200 ? take(&input) % 40 : sizeof(request)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[4], ours = -1;

	request.op = kind % 8 ? take(&input) % 9 : (uint32_t)take_number(&input);
	request.flags = take(&input) & 1;
	request.timeout_ns = take_number(&input);
	request.inode = take(&input);
	if (iov.iov_len > sizeof(request))
		iov.iov_len = sizeof(request);
	for (int i = 0; i < count; i++) {
		if (!i)
			ours = new_end(&fds[i]);
		else
			fds[i] = eventfd(0, EFD_CLOEXEC);
	}
	if (count) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.header =
			(struct cmsghdr){CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	}
	if (to >= 0)
		(void)!sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	/* It is a freeze descriptor, or the way of an answer. */
	if (ours >= 0 && request.op == GUARDIAN_OPEN)
		set_peer(any_peer(), ours);
	else if (ours >= 0)
		expect(ours);
}

static bool is_reply(const struct guardian_reply *reply, ssize_t size)
{
	return size == sizeof(*reply) && reply->error <= 0 && reply->error > -4096 &&
	       reply->status.state <= FREEZE_STATE_FROZEN &&
	       reply->status.hold <= FREEZEFD_HOLD_GONE;
}

static void read_answer(int fd)
{
	union {
		struct guardian_reply reply;
		struct guardian_list list;
		struct guardian_news news;
		char space[8192];
	} answer;
	ssize_t size = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT);

	must(size <= 0 || is_reply(&answer.reply, size) || size == sizeof(answer.news) ||
	     (size - sizeof(answer.list)) % sizeof(answer.list.hold[0]) == 0);
}

static void end_filesystem(void)
{
	const struct inotify_event event = {.mask = take(&input) & 1 ? IN_UNMOUNT : IN_IGNORED};

	/* Only what nothing of ours keeps goes away. */
	if (common.root >= 0 || work_state == WORKING)
		return;
	must(write(inotify_write, &event, sizeof(event)) == sizeof(event));
	read_error = -ENODEV;
}

static void step(void)
{
	static const int errors[] = {0, 0, 0, -EBUSY, -ETIME, -ENODEV, -EIO, -EINVAL};
	const uint64_t one = 1;
	const uint8_t kind = take(&input);

	switch (kind % 16) {
	case 0:
		set_peer(any_peer(), connect_client());
		break;
	case 1:
	case 2:
		open_hold();
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		send_packet();
		break;
	case 7:
		set_peer(any_peer(), -1);
		break;
	case 8:
	case 9:
		finish_work(errors[(kind >> 4) % 8]);
		break;
	case 10:
		clock_ns += take_number(&input) >> 24;
		break;
	case 11:
		if (work_state == WORKING && work == WORK_FREEZE)
			common.stopped_ns = clock_ns;
		break;
	case 12:
		/* Somebody else freezes, thaws, or it cannot be asked. */
		record.frozen = kind & 16 ? SB_FREEZE_COMPLETE : 0;
		record.user_holds = kind >> 5 & 3;
		read_error = guardian.gone || read_error == -ENODEV ? -ENODEV
			     : kind & 128			    ? -EBUSY
								    : 0;
		break;
	case 13:
		peer_state = SB_PEER_OPEN + (kind >> 4) % 4;
		break;
	case 14:
		if (kind >= 240)
			end_filesystem();
		else if (kind >= 224)
			must(write(fs.watcher, &one, sizeof(one)) == sizeof(one));
		break;
	default:
		if (*any_peer() >= 0)
			read_answer(*any_peer());
	}
}

/* The input is used up: everybody leaves. */
static void end_all(void)
{
	for (int i = 0; i < PEERS; i++)
		set_peer(&peer[i], -1);
	finish_work(0);
	peer_state = SB_PEER_OPEN;
	must(++ends < 2000);
}

/* --- what the loop calls --- */

int __real_epoll_wait(int fd, struct epoll_event *events, int max, int ms);
int __real_epoll_ctl(int fd, int op, int at, struct epoll_event *event);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int ms);
int __wrap_epoll_ctl(int fd, int op, int at, struct epoll_event *event);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...)
{
	return 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	clock_ns += 1000;
	ts->tv_sec = (time_t)(clock_ns / 1000000000);
	ts->tv_nsec = (long)(clock_ns % 1000000000);
	return 0;
}

/* What the loop has: the first four are its own, the others are connections and holds. */
static struct source *source[4096];
static int nr_sources, epoll = -1;

int __wrap_epoll_ctl(int fd, int op, int at, struct epoll_event *event)
{
	epoll = fd;
	if (op == EPOLL_CTL_ADD) {
		must(nr_sources < 4096);
		source[nr_sources++] = event->data.ptr;
	}
	for (int i = 4; op == EPOLL_CTL_DEL && i < nr_sources; i++)
		if (source[i] && source[i]->fd == at)
			source[i] = NULL;
	return __real_epoll_ctl(fd, op, at, event);
}

int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int ms)
{
	int n = 0;

	do {
		if (input.at < input.end)
			step();
		else
			end_all();
		n = __real_epoll_wait(fd, events, max, 0);
		if (!n && ms >= 0)
			clock_ns += (uint64_t)ms * 1000000;
	} while (!n && ms < 0);
	return n;
}

/* What the end of the process would free. */
static void clean_up(void)
{
	for (int i = 0; i < nr_sources; i++) {
		if (i < 4)
			free(source[i]);
		else if (source[i])
			drop(source[i]);
	}
	close(epoll);
	close(work_fd);
	close(fs.watcher);
	close(fs.inotify);
	close(inotify_write);
	if (fs.listener >= 0)
		close(fs.listener);
	if (fs.lock >= 0)
		close(fs.lock);
	/* Each has got an answer, or sees that nobody will give one. */
	for (int i = 0; i < nr_asked; i++) {
		read_answer(asked[i]);
		errno = 0;
		must(recv(asked[i], &(char){0}, 1, MSG_DONTWAIT | MSG_PEEK) >= 0 ||
		     errno == ECONNRESET);
		close(asked[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int before = count_descriptors();
	int pipe_fd[2];

	input = (struct input){data, data + size};
	clock_ns = 1000000000;
	nr_asked = nr_sources = ends = 0;
	memset(peer, 0xff, sizeof(peer));
	common = (struct common){.root = -1};
	record = (struct sb_record){.id = 1, .dev = 8 << 20 | 1, .type = "ext4", .name = "sda1"};
	read_error = 0;
	peer_state = SB_PEER_OPEN;
	work_state = IDLE;
	must(!pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK));
	work_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(!bind(listener, (const struct sockaddr *)&address, sizeof(address.sun_family)) &&
	     !listen(listener, 8));
	inotify_write = pipe_fd[1];
	fs = (struct fs){.record = record,
			 .inotify = pipe_fd[0],
			 .listener = listener,
			 .lock = eventfd(0, EFD_CLOEXEC),
			 .watcher = eventfd(0, EFD_CLOEXEC)};
	guardian = (struct guardian){0};
	serve(&fs, &common);
	must(guardian.state == THAWED && !guardian.holds && common.root < 0 && work_state == IDLE);
	for (int i = 0; i < PEERS; i++)
		set_peer(&peer[i], -1);
	clean_up();
	must(count_descriptors() == before);
	return 0;
}
