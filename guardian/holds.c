// SPDX-License-Identifier: GPL-2.0-or-later
/* The guardian's loop: who holds, until when, and when to freeze and to thaw. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "guardian.h"

#define MAX_CONNECTIONS 64
/* The one who has just closed its descriptor may be about to make the next one. */
#define LINGER_MS 50
/* So often is looked, while something is held, for what nobody tells, and the watcher shown a sign of life. */
#define CHECK_MS 50
/* So much of the table of a process that dies is looked through each time: it may be huge. */
#define WINDOWS 4

enum kind { LISTENER, INOTIFY, TIMER, WORKER, WATCHER, CONNECTION, HOLD };

/* What the loop waits for. */
struct source {
	enum kind kind;
	int fd;
	struct source *next, **link; /* connections and holds: the others of the kind */
};

/* A freeze descriptor. */
struct hold {
	struct source source; /* first: the guardian's end of the pair */
	uint32_t state;	      /* FREEZEFD_HOLD_*, but not GONE */
	bool freezing;	      /* has asked for a freeze and not got it yet */
	int waiter;	      /* who waits for that freeze, or -1 */
	bool opening;	      /* it is the one who makes the descriptor */
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
static int epoll, timer;
static struct source *connections, *holds;
static unsigned int nr_connections;
static struct waiter *waiters;
static bool frozen, busy, gone, force_wanted;
static bool lost; /* frozen, as far as we did it, but a stranger has thawed it */
static enum work doing;
static uint64_t begun_ns, last_news;

#define for_each_hold(it, next_)                  \
	for (struct source * next_, *at_ = holds; \
	     at_ && (next_ = at_->next, it = (struct hold *)at_, true); at_ = next_)

static uint64_t now_ns(void)
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

static void enlist(struct source **list, struct source *source)
{
	source->next = *list;
	source->link = list;
	if (*list)
		(*list)->link = &source->next;
	*list = source;
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

static void answer_with(int socket, struct guardian_reply *reply)
{
	if (socket < 0)
		return;
	/* Who does not take it has gone. */
	send(socket, reply, sizeof(*reply), MSG_NOSIGNAL | MSG_DONTWAIT);
	close(socket);
}

static void answer(int socket, int error)
{
	struct guardian_reply reply = {.error = error};

	answer_with(socket, &reply);
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

static bool is_wanted(void)
{
	struct hold *hold;

	for_each_hold (hold, next)
		if (hold->freezing || hold->state == FREEZEFD_HOLD_HELD)
			return true;
	return false;
}

static void set_timer(void)
{
	struct itimerspec when = {0};
	uint64_t first = 0;
	struct hold *hold;

	for_each_hold (hold, next)
		if (hold->state == FREEZEFD_HOLD_HELD && hold->deadline_ns &&
		    (!first || hold->deadline_ns < first))
			first = hold->deadline_ns;
	when.it_value.tv_sec = first / 1000000000;
	when.it_value.tv_nsec = first % 1000000000;
	timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void arm(struct hold *hold)
{
	hold->deadline_ns = hold->timeout_ns ? now_ns() + hold->timeout_ns : 0;
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

/* A FITHAW that was not ours, or SysRq-j: nobody tells, so one has to look. */
static void look_for_strangers(void)
{
	struct sb_record now;
	int ret;

	if (!frozen || busy || lost)
		return;
	ret = sb_read_id(fs->reader, fs->record.id, &now);
	/* What could not be read is looked at again; it tells nothing of the hold. */
	if (ret ? ret != -ENODEV : now.frozen == SB_FREEZE_COMPLETE && now.user_holds)
		return;
	lost = true;
	revoke_all();
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

static void is_held(struct hold *hold)
{
	hold->freezing = false;
	hold->opening = false;
	hold->state = FREEZEFD_HOLD_HELD;
	arm(hold);
	answer(hold->waiter, 0);
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
		if (hold->opening)
			free_hold(hold);
	}
}

static void start_work(enum work what)
{
	busy = true;
	doing = what;
	work_begin(what);
}

/* Begin what has to be done next, if nothing is being done. */
static void advance(void)
{
	struct hold *hold;

	if (gone) {
		for_each_hold (hold, next)
			if (hold->state == FREEZEFD_HOLD_NONE && (!busy || !hold->freezing))
				leave(hold);
	}
	if (busy) {
		set_timer();
		return;
	}
	if (force_wanted) {
		force_wanted = false;
		start_work(WORK_FORCE);
	} else if (lost) {
		start_work(WORK_LEAVE);
	} else if (frozen && !is_wanted()) {
		start_work(WORK_THAW);
	} else if (frozen) {
		for_each_hold (hold, next)
			if (hold->freezing)
				is_held(hold);
	} else if (is_wanted() && !gone) {
		start_work(WORK_FREEZE);
	}
	set_timer();
}

static void work_done(void)
{
	int ret = work_result();

	busy = lost = false;
	switch (doing) {
	case WORK_FREEZE:
		frozen = !ret;
		begun_ns = now_ns();
		if (ret)
			freeze_failed(ret);
		break;
	case WORK_THAW:
	case WORK_LEAVE:
		frozen = false;
		answer_waiters(false, ret);
		break;
	case WORK_FORCE:
		frozen = false;
		answer_waiters(true, ret);
		answer_waiters(false, -ECANCELED);
		break;
	}
}

static void check_deadlines(void)
{
	uint64_t now = now_ns(), expired;
	struct hold *hold;

	if (read(timer, &expired, sizeof(expired)) < 0)
		return;
	for_each_hold (hold, next)
		if (hold->state == FREEZEFD_HOLD_HELD && hold->deadline_ns &&
		    hold->deadline_ns <= now)
			break_hold(hold, FREEZEFD_HOLD_EXPIRED);
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
	close(fs->listener);
	fs->listener = -1;
	revoke_all();
}

/* --- requests --- */

static int broken(const struct hold *hold)
{
	return hold->state == FREEZEFD_HOLD_EXPIRED   ? -ETIME
	       : hold->state == FREEZEFD_HOLD_REVOKED ? -ECANCELED
						      : 0;
}

static void tell_status(const struct hold *hold, int socket)
{
	struct guardian_reply reply = {.begun_ns = begun_ns};
	struct freezefd_status *status = &reply.status;
	struct sb_record now;
	struct hold *each;
	int ret;

	if (hold) {
		status->hold = hold->state;
		status->timeout_ns = hold->timeout_ns;
		if (hold->state == FREEZEFD_HOLD_HELD)
			status->timeout_ns = hold->deadline_ns ? hold->deadline_ns - now_ns() : 0;
		if ((int64_t)status->timeout_ns < 0)
			status->timeout_ns = 1; /* about to fire */
	}
	for_each_hold (each, next)
		status->fd_holds += each->state == FREEZEFD_HOLD_HELD;
	ret = gone ? -ENODEV : sb_read_id(fs->reader, fs->record.id, &now);
	if (!ret) {
		status->state = now.frozen == SB_UNFROZEN	   ? FREEZE_STATE_THAWED
				: now.frozen == SB_FREEZE_COMPLETE ? FREEZE_STATE_FROZEN
								   : FREEZE_STATE_FREEZING;
		status->kernel_holds = now.kernel_holds;
		status->user_holds = now.user_holds;
		if (status->fd_holds && status->user_holds)
			status->user_holds--;
		if (status->state == FREEZE_STATE_FROZEN && status->fd_holds)
			status->frozen_ns = now_ns() - begun_ns;
	} else if (ret != -ENODEV) {
		/* With ENODEV there is nothing that could be frozen. Else nobody knows. */
		reply.error = ret;
	}
	answer_with(socket, &reply);
}

static void ask_freeze(struct hold *hold, int socket)
{
	int error = broken(hold);

	if (error || hold->freezing || hold->state == FREEZEFD_HOLD_HELD) {
		answer(socket, error ? error : -EBUSY);
		return;
	}
	hold->freezing = true;
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
			arm(hold);
	}
	answer(socket, error);
}

static void ask_force(int socket)
{
	revoke_all();
	force_wanted = true;
	await_thaw(socket, true);
}

static void ask_open(const struct guardian_request *request, int pair, int socket)
{
	struct hold *hold;

	if (gone) {
		close(pair);
		answer(socket, -EAGAIN);
		return;
	}
	hold = calloc(1, sizeof(*hold));
	if (hold) {
		hold->source.kind = HOLD;
		hold->source.fd = pair;
		hold->timeout_ns = request->timeout_ns;
		hold->waiter = -1;
	}
	if (!hold || !watch(&hold->source)) {
		free(hold);
		close(pair);
		answer(socket, -ENOMEM);
		return;
	}
	enlist(&holds, &hold->source);
	if (request->flags & FREEZEFD_THAWED) {
		answer(socket, 0);
		return;
	}
	hold->opening = true;
	ask_freeze(hold, socket);
}

/*
 * A packet with what came along. 1, 0 at the end of the socket, -EAGAIN. Whether
 * the sender may have CAP_SYS_ADMIN is told by the credentials: see the library.
 */
static int receive(int socket, struct guardian_request *request, int *fd, bool *proven)
{
	char control[256];
	struct iovec iov = {.iov_base = request, .iov_len = sizeof(*request)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*fd = -1;
	*proven = false;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET)
			continue;
		if (cmsg->cmsg_type == SCM_CREDENTIALS) {
			const struct ucred *creds = (void *)CMSG_DATA(cmsg);

			*proven = creds->pid == GUARDIAN_PROOF_PID;
		}
		for (size_t i = 0; cmsg->cmsg_type == SCM_RIGHTS &&
				   CMSG_LEN((i + 1) * sizeof(int)) <= cmsg->cmsg_len;
		     i++) {
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

static void on_hold(struct hold *hold)
{
	struct guardian_request request;
	bool proven;
	int socket;

	switch (receive(hold->source.fd, &request, &socket, &proven)) {
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

static void on_connection(struct source *connection)
{
	struct guardian_request request;
	int fd, socket = connection->fd, got;
	bool proven;

	got = receive(socket, &request, &fd, &proven);
	if (got == -EAGAIN)
		return;
	/* One request each: from here on the socket is for its answer. */
	epoll_ctl(epoll, EPOLL_CTL_DEL, socket, NULL);
	connection->fd = -1;
	drop(connection);
	nr_connections--;
	if (!got) {
		close(socket);
	} else if (request.op == GUARDIAN_STATUS) {
		look_for_strangers();
		tell_status(NULL, socket);
	} else if (!proven) {
		answer(socket, -EPERM);
	} else if (request.op == GUARDIAN_FORCE) {
		look_for_strangers();
		ask_force(socket);
	} else if (request.op == GUARDIAN_OPEN && fd >= 0) {
		look_for_strangers();
		ask_open(&request, fd, socket);
		fd = -1;
	} else {
		answer(socket, -EINVAL);
	}
	if (fd >= 0)
		close(fd);
}

/* The oldest one: anybody may connect, and who does must not keep others away by asking nothing. */
static void drop_connection(void)
{
	struct source *oldest = connections;

	while (oldest->next)
		oldest = oldest->next;
	drop(oldest);
	nr_connections--;
}

static void on_listener(void)
{
	int fd = accept4(fs->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct source *connection;

	if (fd < 0)
		return;
	if (nr_connections == MAX_CONNECTIONS)
		drop_connection();
	connection = calloc(1, sizeof(*connection));
	if (connection) {
		connection->kind = CONNECTION;
		connection->fd = fd;
	}
	if (!connection || !watch(connection)) {
		free(connection);
		close(fd);
		return;
	}
	enlist(&connections, connection);
	nr_connections++;
}

static void handle(struct source *source)
{
	if (source->kind != LISTENER && source->fd < 0)
		return; /* dropped earlier in this round */
	switch (source->kind) {
	case LISTENER:
		if (fs->listener >= 0)
			on_listener();
		break;
	case INOTIFY:
		break; /* read in every round */
	case TIMER:
		check_deadlines();
		break;
	case WORKER:
		work_done();
		break;
	case WATCHER:
		/* Alone one could not keep the promise. The watcher cannot be had back: who holds is told by the end. */
		revoke_all();
		break;
	case CONNECTION:
		on_connection(source);
		break;
	case HOLD:
		on_hold((struct hold *)source);
		break;
	}
}

/* A connection that asks for nothing is no reason to stay. */
static bool is_idle(void)
{
	return !holds && !busy && !frozen && !waiters;
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
	struct source listener = {LISTENER}, inotify = {INOTIFY}, timers = {TIMER},
		      worker = {WORKER}, watcher = {WATCHER};
	uint64_t checked_ns = 0;
	bool alone = false;

	fs = the_fs;
	common = the_common;
	epoll = epoll_create1(EPOLL_CLOEXEC);
	timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	listener.fd = fs->listener;
	inotify.fd = fs->inotify;
	timers.fd = timer;
	worker.fd = work_start(fs, common);
	watcher.fd = fs->watcher;
	if (epoll < 0 || timer < 0 || worker.fd < 0 || !watch(&listener) || !watch(&inotify) ||
	    !watch(&timers) || !watch(&worker) || !watch(&watcher))
		return;

	for (;;) {
		struct epoll_event events[64];
		const bool idle = is_idle();
		int n;

		if (idle && (alone || fs->listener < 0))
			return;
		n = epoll_wait(epoll, events, sizeof(events) / sizeof(events[0]),
			       idle		? LINGER_MS
			       : frozen || busy ? CHECK_MS
						: -1);
		if (idle && n == 0)
			return;
		/* First: what is gone is gone for every request of this round. */
		read_inotify();
		check_now_and_then(&checked_ns);
		for (int i = 0; i < n; i++) {
			struct source *source = events[i].data.ptr;

			handle(source);
			if (source->kind == WATCHER && !alone) {
				struct hold *hold;

				alone = true;
				epoll_ctl(epoll, EPOLL_CTL_DEL, watcher.fd, NULL);
				for_each_hold (hold, next)
					free_hold(hold);
				if (fs->listener >= 0)
					close(fs->listener);
				fs->listener = -1;
			}
		}
		collect_garbage();
		advance();
		collect_garbage();
	}
}
