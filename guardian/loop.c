// SPDX-License-Identifier: GPL-2.0-or-later
/* The guardian's loop: who holds, until when, and when to freeze and to thaw. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

/* The one who has just closed its descriptor may be about to make the next one. Who only asks does not prolong it. */
#define LINGER_MS 50
/* So often is looked, while something is held, for what nobody tells, and the watcher shown a sign of life. */
#define CHECK_MS 50
/* So much of the table of a process that dies is looked through each time: it may be huge. */
#define WINDOWS 4

/* What the loop waits for. */
struct source {
	int fd;
	void (*handle)(struct source *source);
	struct source *next, **link; /* connections and holds: the others of the kind */
};

/* A freeze descriptor. */
struct hold {
	struct source source; /* first: the guardian's end of the pair */
	uint32_t state;	      /* FREEZEFD_HOLD_*, but not GONE */
	bool freezing;	      /* has asked for a freeze and not got it yet */
	int waiter;	      /* who waits for that freeze, or -1 */
	uint64_t inode;	      /* of the client's end */
	uint64_t asked_ns;    /* for that freeze */
	uint64_t timeout_ns, deadline_ns;
	uint64_t news;	/* the number of the one not told yet */
	bool dies;	/* its holder, as it seemed at the last look */
	uint64_t first; /* descriptor to look at next */
};

/* Who waits for the end of a thaw. */
struct waiter {
	int socket;
	bool forced;
	struct waiter *next;
};

static struct fs *fs;
static struct common *common;
static int epoll;
static struct source *holds;
static struct waiter *waiters;
/* Of what we do to the filesystem. FREEZING, THAWING and FORCING: the thread is at it. */
static enum { THAWED, FREEZING, FROZEN, THAWING, FORCING } state;
static bool gone; /* the filesystem, while nothing of ours kept it */
static uint64_t last_news;

#define for_each_hold(it, next_)                  \
	for (struct source * next_, *at_ = holds; \
	     at_ && (next_ = at_->next, it = (struct hold *)at_, true); at_ = next_)

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* --- sources --- */

static bool watch(struct source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	return !epoll_ctl(epoll, EPOLL_CTL_ADD, source->fd, &event);
}

/* A struct of this size that begins with a source. The descriptor is closed when there is no memory for it. */
static void *new_source(struct source **list, size_t size, int fd, void (*handle)(struct source *))
{
	struct source *source = calloc(1, size);

	if (source)
		*source = (struct source){.fd = fd, .handle = handle, .next = *list, .link = list};
	if (!source || !watch(source)) {
		free(source);
		close(fd);
		return NULL;
	}
	if (*list)
		(*list)->link = &source->next;
	*list = source;
	return source;
}

/* Freed when the events of this round are done with: one may be of this source. */
static struct source *garbage;

static void drop(struct source *source)
{
	*source->link = source->next;
	if (source->next)
		source->next->link = source->link;
	if (source->fd >= 0) {
		/* The watcher's table is the same, but a copy may be on its way in a message. */
		epoll_ctl(epoll, EPOLL_CTL_DEL, source->fd, NULL);
		close(source->fd);
	}
	source->fd = -1;
	source->next = garbage;
	garbage = source;
}

static void collect_garbage(void)
{
	while (garbage) {
		struct source *source = garbage;

		garbage = source->next;
		free(source);
	}
}

/* --- answers --- */

/* False when who waited for it has gone, after a signal say. */
static bool answer_with(int socket, const struct guardian_reply *reply)
{
	bool taken;

	if (socket < 0)
		return true;
	taken = send(socket, reply, sizeof(*reply), MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
	close(socket);
	return taken;
}

static bool answer(int socket, int error)
{
	const struct guardian_reply reply = {.error = error};

	return answer_with(socket, &reply);
}

static bool has_left(int waiter)
{
	struct pollfd poll_ = {.fd = waiter};

	return waiter >= 0 && poll(&poll_, 1, 0) == 1;
}

static void send_news(struct hold *hold, uint32_t what)
{
	const struct guardian_news news = {.what = what, .number = ++last_news};

	send(hold->source.fd, &news, sizeof(news), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (what == GUARDIAN_BROKEN)
		hold->news = news.number;
}

static void await_thaw(int socket, bool forced)
{
	struct waiter *waiter = malloc(sizeof(*waiter));

	if (!waiter) {
		answer(socket, -ENOMEM);
		return;
	}
	*waiter = (struct waiter){.socket = socket, .forced = forced, .next = waiters};
	waiters = waiter;
}

static void answer_waiters(bool forced, int error)
{
	struct waiter **link = &waiters;

	while (*link) {
		struct waiter *waiter = *link;

		if (waiter->forced != forced) {
			link = &waiter->next;
			continue;
		}
		*link = waiter->next;
		answer(waiter->socket, error);
		free(waiter);
	}
}

/* --- the state --- */

static bool is_busy(void)
{
	return state != THAWED && state != FROZEN;
}

static bool is_wanted(void)
{
	struct hold *hold;

	for_each_hold (hold, next)
		if (hold->freezing || hold->state == FREEZEFD_HOLD_HELD)
			return true;
	return false;
}

static uint64_t after(uint64_t start_ns, uint64_t timeout_ns)
{
	return timeout_ns ? start_ns + timeout_ns : 0;
}

/*
 * Of a hold, or of the freeze that is to make it one: that counts from when writers are stopped,
 * or from the call when others had stopped them already.
 */
static uint64_t deadline_of(const struct hold *hold)
{
	const uint64_t stopped = common->stopped_ns;

	if (!hold->freezing)
		return hold->deadline_ns;
	if (!stopped || state == THAWED)
		return 0;
	return after(stopped > hold->asked_ns ? stopped : hold->asked_ns, hold->timeout_ns);
}

/* Milliseconds to the next deadline, or to the next look when that is earlier. */
static int time_left(void)
{
	const uint64_t now = now_ns();
	uint64_t left = CHECK_MS * 1000000ULL;
	struct hold *hold;

	for_each_hold (hold, next) {
		const uint64_t deadline = deadline_of(hold);

		if (deadline && deadline < now + left)
			left = deadline > now ? deadline - now : 0;
	}
	return (left + 999999) / 1000000;
}

static void break_hold(struct hold *hold, uint32_t state)
{
	hold->state = state;
	hold->deadline_ns = 0;
	send_news(hold, GUARDIAN_BROKEN);
}

static void revoke_all(void)
{
	struct hold *hold;

	for_each_hold (hold, next)
		if (hold->state == FREEZEFD_HOLD_HELD)
			break_hold(hold, FREEZEFD_HOLD_REVOKED);
}

static void start_work(enum work what)
{
	if (what == WORK_FREEZE)
		common->stopped_ns = 0;
	state = what == WORK_FREEZE ? FREEZING : what == WORK_FORCE ? FORCING : THAWING;
	work_begin(what);
}

/* A FITHAW that was not ours, or SysRq-j: nobody tells, so one has to look. */
static void look_for_strangers(void)
{
	struct sb_record now;
	int ret;

	if (state != FROZEN)
		return;
	ret = sb_read_id(fs->reader, fs->record.id, &now);
	/* What could not be read is looked at again; it tells nothing of the hold. */
	if (ret ? ret != -ENODEV : now.frozen == SB_FREEZE_COMPLETE && now.user_holds)
		return;
	revoke_all();
	start_work(WORK_LEAVE);
}

static void free_hold(struct hold *hold)
{
	answer(hold->waiter, -ECANCELED);
	hold->waiter = -1;
	drop(&hold->source);
}

/* Did the holder die, but is it kept from releasing its descriptor by what it froze? */
static bool is_dead(struct hold *hold)
{
	for (int i = 0; i < WINDOWS; i++) {
		switch (sb_peer(fs->reader, hold->source.fd, hold->first)) {
		case SB_PEER_CLOSED:
			return true;
		case SB_PEER_DIES:
			/* Twice: while one looked, without a lock, it may have been handed on. */
			if (hold->dies)
				return true;
			hold->dies = true;
			return false;
		case SB_PEER_LOOK_ON:
			hold->dies = false;
			hold->first += SB_WINDOW;
			break;
		default:
			hold->dies = false;
			hold->first = 0;
			return false;
		}
	}
	return false;
}

static void look_for_dead(void)
{
	struct hold *hold;

	for_each_hold (hold, next)
		if (hold->state == FREEZEFD_HOLD_HELD && is_dead(hold))
			free_hold(hold);
}

/* Nothing more can be done with it: the library reads the last news off the closed socket. */
static void leave(struct hold *hold)
{
	if (hold->freezing)
		answer(hold->waiter, -ESTALE);
	hold->waiter = -1;
	send_news(hold, GUARDIAN_GONE);
	free_hold(hold);
}

/* Who has not waited for it does not hold. */
static void grant(struct hold *hold)
{
	const uint64_t deadline = deadline_of(hold);

	hold->freezing = false;
	if (answer(hold->waiter, 0)) {
		hold->state = FREEZEFD_HOLD_HELD;
		hold->deadline_ns = deadline;
	}
	hold->waiter = -1;
}

static void freeze_failed(int error)
{
	struct hold *hold;

	/* It went away while it was to be frozen. */
	if (error == -ENODEV)
		error = -ESTALE;
	for_each_hold (hold, next) {
		if (!hold->freezing)
			continue;
		hold->freezing = false;
		answer(hold->waiter, error);
		hold->waiter = -1;
	}
}

static bool force_wanted(void)
{
	for (struct waiter *waiter = waiters; waiter; waiter = waiter->next)
		if (waiter->forced)
			return true;
	return false;
}

/* Begin what has to be done next, if nothing is being done. */
static void advance(void)
{
	struct hold *hold;

	if (is_busy())
		return;
	if (gone) {
		for_each_hold (hold, next)
			if (hold->state == FREEZEFD_HOLD_NONE)
				leave(hold);
	}
	if (force_wanted()) {
		start_work(WORK_FORCE);
	} else if (state == FROZEN) {
		for_each_hold (hold, next)
			if (hold->freezing)
				grant(hold);
		/* Who waits for a thaw no longer holds it, even if others have begun to since. */
		if (is_wanted())
			answer_waiters(false, 0);
		else
			start_work(WORK_THAW);
	} else if (is_wanted() && !gone) {
		start_work(WORK_FREEZE);
	}
}

/* A FIFREEZE that goes on after that is undone when it ends: nobody wants it then. */
static void give_up(struct hold *hold)
{
	hold->freezing = false;
	answer(hold->waiter, -ETIME);
	hold->waiter = -1;
}

static void check_deadlines(void)
{
	const uint64_t now = now_ns();
	struct hold *hold;

	for_each_hold (hold, next) {
		const uint64_t deadline = deadline_of(hold);

		if (!deadline || deadline > now)
			continue;
		if (hold->freezing)
			give_up(hold);
		else if (hold->state == FREEZEFD_HOLD_HELD)
			break_hold(hold, FREEZEFD_HOLD_EXPIRED);
	}
}

static void work_done(struct source *source)
{
	const int ret = work_result();

	switch (state) {
	case FREEZING:
		state = ret ? THAWED : FROZEN;
		/* It is too late for some: before the others are told. */
		check_deadlines();
		if (ret)
			freeze_failed(ret);
		break;
	case FORCING:
		answer_waiters(true, ret);
		answer_waiters(false, -ECANCELED);
		state = THAWED;
		break;
	default:
		answer_waiters(false, ret);
		state = THAWED;
	}
}

static void close_listener(void)
{
	if (fs->listener >= 0)
		close(fs->listener);
	fs->listener = -1;
}

static void read_inotify(void)
{
	char buffer[1024] __attribute__((aligned(8)));
	ssize_t n;

	while ((n = read(fs->inotify, buffer, sizeof(buffer))) > 0)
		for (char *at = buffer; at < buffer + n;) {
			const struct inotify_event *event = (void *)at;

			if (event->mask & (IN_UNMOUNT | IN_IGNORED))
				gone = true;
			at += sizeof(*event) + event->len;
		}
	if (!gone || fs->listener < 0)
		return;
	/* The next filesystem of this device number gets a guardian of its own. */
	close_listener();
	revoke_all();
}

/* --- requests --- */

static int broken(const struct hold *hold)
{
	return hold->state == FREEZEFD_HOLD_EXPIRED   ? -ETIME
	       : hold->state == FREEZEFD_HOLD_REVOKED ? -ECANCELED
						      : 0;
}

static void fill_hold(const struct hold *hold, struct freezefd_status *status)
{
	status->hold = hold->state;
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
	status->dev = gone ? 0 : sb_dev(fs->record.dev);
	ret = gone ? -ENODEV : sb_read_id(fs->reader, fs->record.id, &now);
	/* With ENODEV there is nothing that could be frozen. Else nobody knows. */
	if (ret)
		return ret == -ENODEV ? 0 : ret;
	sb_status(&now, status);
	if (status->fd_holds && status->user_holds)
		status->user_holds--;
	if (status->state == FREEZE_STATE_FROZEN && status->fd_holds)
		status->frozen_ns = now_ns() - common->stopped_ns;
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
		memcpy(list->type, fs->record.type, sizeof(list->type));
		memcpy(list->name, fs->record.name, sizeof(list->name));
		for_each_hold (hold, next) {
			list->hold[i].inode = hold->inode;
			list->hold[i].status = status;
			fill_hold(hold, &list->hold[i++].status);
		}
		send(socket, list, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	free(list);
	close(socket);
}

static void ask_freeze(struct hold *hold, int socket)
{
	int error = broken(hold);

	/* One who was interrupted asks again, while the freeze is still under way. */
	if (hold->freezing && has_left(hold->waiter)) {
		close(hold->waiter);
		hold->freezing = false;
	}
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
	struct guardian_reply reply = {.error = broken(hold), .told = hold->news};

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

static void ask_timeout(struct hold *hold, uint64_t timeout_ns, int socket)
{
	int error = broken(hold);

	if (!error) {
		hold->timeout_ns = timeout_ns;
		if (hold->state == FREEZEFD_HOLD_HELD)
			hold->deadline_ns = after(now_ns(), timeout_ns);
	}
	answer(socket, error);
}

static void ask_force(int socket)
{
	revoke_all();
	await_thaw(socket, true);
}

/* A packet and the descriptor that came along. 1, 0 at the end of the socket, -EAGAIN. */
static int receive(int socket, struct guardian_request *request, int *fd)
{
	union {
		struct cmsghdr align;
		char space[256];
	} control;
	struct iovec iov = {.iov_base = request, .iov_len = sizeof(*request)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*fd = -1;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= cmsg->cmsg_len; i++) {
			int got;

			memcpy(&got, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(got));
			if (*fd < 0)
				*fd = got;
			else
				close(got);
		}
	}
	if (n == 0)
		return 0;
	if (n != sizeof(*request))
		request->op = UINT32_MAX;
	return 1;
}

static void on_hold(struct source *source)
{
	struct hold *hold = (struct hold *)source;
	struct guardian_request request;
	int socket;

	switch (receive(source->fd, &request, &socket)) {
	case -EAGAIN:
		return;
	case 0:
		if (socket >= 0)
			close(socket);
		/* The last copy of the descriptor is closed. */
		free_hold(hold);
		return;
	}
	look_for_strangers();
	switch (request.op) {
	case GUARDIAN_STATUS:
		tell_status(hold, socket);
		break;
	case GUARDIAN_FREEZE:
		ask_freeze(hold, socket);
		break;
	case GUARDIAN_THAW:
		ask_thaw(hold, socket);
		break;
	case GUARDIAN_TIMEOUT:
		ask_timeout(hold, request.timeout_ns, socket);
		break;
	default:
		answer(socket, -EINVAL);
	}
}

static void ask_open(const struct guardian_request *request, int pair, int socket)
{
	struct hold *hold = NULL;

	if (gone)
		close(pair);
	else
		hold = new_source(&holds, sizeof(*hold), pair, on_hold);
	if (!hold) {
		answer(socket, gone ? -EAGAIN : -ENOMEM);
		return;
	}
	hold->timeout_ns = request->timeout_ns;
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
	struct guardian_request request;
	int fd, socket = connection->fd, got;

	got = receive(socket, &request, &fd);
	if (got == -EAGAIN)
		return;
	/* One request each: from here on the socket is for its answer. */
	epoll_ctl(epoll, EPOLL_CTL_DEL, socket, NULL);
	connection->fd = -1;
	drop(connection);
	look_for_strangers();
	if (!got) {
		close(socket);
	} else if (request.op == GUARDIAN_STATUS) {
		tell_status(NULL, socket);
	} else if (request.op == GUARDIAN_LIST) {
		tell_list(socket);
	} else if (request.op == GUARDIAN_FORCE) {
		ask_force(socket);
	} else if (request.op == GUARDIAN_OPEN && fd >= 0) {
		ask_open(&request, fd, socket);
		fd = -1;
	} else {
		answer(socket, -EINVAL);
	}
	if (fd >= 0)
		close(fd);
}

static void on_listener(struct source *source)
{
	static struct source *connections;
	int fd = accept4(fs->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		new_source(&connections, sizeof(*connections), fd, on_connection);
}

/* Alone one could not keep the promise. The watcher cannot be had back: who holds is told by the end. */
static void on_watcher(struct source *source)
{
	struct hold *hold;

	epoll_ctl(epoll, EPOLL_CTL_DEL, source->fd, NULL);
	revoke_all();
	for_each_hold (hold, next)
		free_hold(hold);
	close_listener();
}

/* What is read in every round, or only looked at then. */
static void on_inotify(struct source *source)
{
}

/* A connection that asks for nothing is no reason to stay. */
static bool is_idle(void)
{
	return !holds && state == THAWED && !waiters;
}

/* What nobody tells, and what the watcher is to know. */
static void check_now_and_then(uint64_t *last_ns)
{
	const uint64_t now = now_ns();

	common->beats++;
	if (now - *last_ns < CHECK_MS * 1000000ULL)
		return;
	*last_ns = now;
	look_for_strangers();
	look_for_dead();
	/* It may have been stopped. */
	syscall(SYS_pidfd_send_signal, fs->watcher, SIGCONT, NULL, 0);
}

void serve(struct fs *the_fs, struct common *the_common)
{
	struct source *fixed = NULL;
	uint64_t checked_ns = 0, idle_ns = 0;

	fs = the_fs;
	common = the_common;
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || !new_source(&fixed, sizeof(*fixed), fs->listener, on_listener) ||
	    !new_source(&fixed, sizeof(*fixed), fs->inotify, on_inotify) ||
	    !new_source(&fixed, sizeof(*fixed), work_start(fs, common), work_done) ||
	    !new_source(&fixed, sizeof(*fixed), fs->watcher, on_watcher))
		return;

	for (;;) {
		struct epoll_event events[64];
		int n, ms = state != THAWED ? time_left() : -1;

		if (!is_idle())
			idle_ns = 0;
		else if (!idle_ns)
			idle_ns = now_ns();
		if (idle_ns)
			ms = LINGER_MS - (int)((now_ns() - idle_ns) / 1000000);
		if (idle_ns && (ms <= 0 || fs->listener < 0))
			return;
		n = epoll_wait(epoll, events, sizeof(events) / sizeof(events[0]), ms);
		/* First: what is gone is gone for every request of this round. */
		read_inotify();
		check_deadlines();
		check_now_and_then(&checked_ns);
		for (int i = 0; i < n; i++) {
			struct source *source = events[i].data.ptr;

			/* Unless it was dropped earlier in this round. */
			if (source->fd >= 0)
				source->handle(source);
		}
		collect_garbage();
		advance();
		collect_garbage();
	}
}
