// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd guard: give an owner to the freezes of a program that freezes with FIFREEZE. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"
#include "tool.h"

static const char usage[] =
	"Usage: freezefd guard [OPTION...] -- AGENT [ARGUMENT...]\n"
	"Run a program that freezes with FIFREEZE and FITHAW (qemu-ga, vmtoolsd, fsfreeze).\n"
	"What it has frozen thaws when it ends, however it ends, and after a time.\n"
	"\n"
	"  -t, --timeout TIME   thaw after TIME (30s, 500ms, 5m), or 'none' (default: 5m)\n"
	"  -v, --verbose        tell how long each was frozen\n"
	"      --may-stay-frozen  in a container, freeze though its end may leave all frozen\n"
	"  -h, --help           this help\n"
	"\n"
	"Exit status: the agent's, 128+N if signal N ended it; 124 broken freeze;\n"
	"125 cannot guard; 126 cannot run the agent; 127 no such agent; 2 wrong usage.\n";

#define DEFAULT_TIMEOUT (300 * 1000000000ULL) /* ns */

/* So often is looked whether who waits for a freeze, or has frozen, has been killed. */
#define TICK 50 /* ms */

/* Ends a freeze that is under way in a thread. */
#define CANCEL SIGRTMIN

/* A filesystem that the agent has frozen, or that a call is about. The calls take turns. */
struct guarded {
	struct guarded *next;
	dev_t dev;
	int fd; /* the freeze descriptor, -1 when it is not held */
	char *name;
	unsigned int users;
	bool busy;
	const char *doomed; /* why it is to be thawed as soon as it is not busy, or NULL */
};

enum work {
	FREEZE,
	THAW,
	DROP, /* the doomed holds go */
};

/* Each has a thread: any may take long. */
struct call {
	struct call *next;
	pthread_t thread;
	enum work work;
	uint64_t id; /* of the notification */
	pid_t caller;
	int number;    /* of the caller's descriptor */
	pid_t child;   /* that freezes for it, or 0 */
	bool answered; /* or about to be: what it has made is not left to the end of the process */
};

struct message {
	struct message *next;
	char *about, *text;
};

static struct {
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t turn;
	struct guarded *holds; /* the last one made first */
	struct call *calls;
	struct message *messages, **last;
	bool dropping, broken;

	/* These do not change. */
	int listener;
	struct freezefd_options options;
	bool verbose;
} guard = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.turn = PTHREAD_COND_INITIALIZER,
	.last = &guard.messages,
	.options = {.size = sizeof(guard.options), .timeout_ns = DEFAULT_TIMEOUT},
};

/* --- messages: standard error may be on what is frozen, so who serves does not write there --- */

static void __attribute__((format(printf, 2, 3))) note(const char *about, const char *fmt, ...)
{
	struct message *message = array(NULL, 1, sizeof(*message));
	va_list args;

	*message = (struct message){.about = copy(about)};
	va_start(args, fmt);
	if (vasprintf(&message->text, fmt, args) < 0)
		abort();
	va_end(args);
	pthread_mutex_lock(&guard.lock);
	*guard.last = message;
	guard.last = &message->next;
	pthread_mutex_unlock(&guard.lock);
}

static void tell(void)
{
	struct message *message, *next;

	pthread_mutex_lock(&guard.lock);
	message = guard.messages;
	guard.messages = NULL;
	guard.last = &guard.messages;
	pthread_mutex_unlock(&guard.lock);
	for (; message; message = next) {
		next = message->next;
		complain(message->about, "%s", message->text);
		free(message->about);
		free(message->text);
		free(message);
	}
}

/* --- holds --- */

static struct guarded *find(dev_t dev)
{
	struct guarded *hold = guard.holds;

	while (hold && hold->dev != dev)
		hold = hold->next;
	return hold;
}

static void take_turn(struct guarded *hold)
{
	hold->users++;
	while (hold->busy)
		pthread_cond_wait(&guard.turn, &guard.lock);
	hold->busy = true;
}

static struct guarded *take(dev_t dev)
{
	struct guarded *hold;

	pthread_mutex_lock(&guard.lock);
	hold = find(dev);
	if (!hold) {
		hold = array(NULL, 1, sizeof(*hold));
		*hold = (struct guarded){.next = guard.holds, .dev = dev, .fd = -1};
		guard.holds = hold;
	}
	take_turn(hold);
	pthread_mutex_unlock(&guard.lock);
	return hold;
}

static void give(struct guarded *hold)
{
	struct guarded **at = &guard.holds;

	pthread_mutex_lock(&guard.lock);
	hold->busy = false;
	if (!--hold->users && hold->fd < 0) {
		while (*at != hold)
			at = &(*at)->next;
		*at = hold->next;
		free(hold->name);
		free(hold);
	}
	pthread_cond_broadcast(&guard.turn);
	pthread_mutex_unlock(&guard.lock);
}

static void set_fd(struct guarded *hold, int fd)
{
	pthread_mutex_lock(&guard.lock);
	hold->fd = fd;
	pthread_mutex_unlock(&guard.lock);
}

static const char is_torn[] = "another freeze of the agent was broken",
		  has_ended[] = "the agent has ended";

/* All that are made, and all that are being made if those are torn, too. */
static void doom_holds(const char *reason)
{
	pthread_mutex_lock(&guard.lock);
	for (struct guarded *hold = guard.holds; hold; hold = hold->next)
		if (hold->fd >= 0 || reason == is_torn)
			hold->doomed = reason;
	pthread_mutex_unlock(&guard.lock);
}

static void note_broken(const struct guarded *hold, int err)
{
	char *timeout = format_duration(guard.options.timeout_ns);

	if (err == -ETIME)
		note(hold->name,
		     "the freeze was broken by its timeout of %s; allow more with --timeout",
		     timeout);
	else if (err == -ECANCELED)
		note(hold->name,
		     "the freeze was broken by another thaw (FITHAW, 'freezefd thaw --force', SysRq-j) or the death of its guardian; do it again");
	else if (err == -ESTALE)
		note(hold->name, "the freeze was broken, its filesystem is gone");
	else
		note(hold->name, "thaw: %s", strerror(-err));
	free(timeout);
	pthread_mutex_lock(&guard.lock);
	guard.broken = true;
	pthread_mutex_unlock(&guard.lock);
}

/* 0, or why it did not last, which has been noted. All others are doomed then. */
static int drop(struct guarded *hold)
{
	struct freezefd_status status = {0};
	char *span;
	int ret;

	freezefd_status(hold->fd, &status);
	ret = freezefd_thaw(hold->fd);
	close(hold->fd);
	set_fd(hold, -1);
	if (ret) {
		note_broken(hold, ret);
		doom_holds(is_torn);
	} else if (guard.verbose) {
		span = format_duration(status.frozen_ns);
		note(hold->name, "frozen for %s", span);
		free(span);
	}
	return ret;
}

static bool is_broken(const struct guarded *hold)
{
	struct pollfd poll_hold = {.fd = hold->fd, .events = POLLIN};

	return poll(&poll_hold, 1, 0) > 0;
}

/* Asked again: what was polled may have been closed meanwhile. */
static void doom_broken(void)
{
	pthread_mutex_lock(&guard.lock);
	for (struct guarded *hold = guard.holds; hold; hold = hold->next)
		if (hold->fd >= 0 && !hold->busy && is_broken(hold))
			hold->doomed = is_torn;
	pthread_mutex_unlock(&guard.lock);
}

static bool can_drop(const struct guarded *hold)
{
	return hold->doomed && !hold->busy && hold->fd >= 0;
}

/* Whatever is being made is not waited for. */
static struct guarded *take_doomed(void)
{
	struct guarded *hold;

	pthread_mutex_lock(&guard.lock);
	for (hold = guard.holds; hold && !can_drop(hold);)
		hold = hold->next;
	if (hold)
		take_turn(hold);
	pthread_mutex_unlock(&guard.lock);
	return hold;
}

static void drop_one(struct guarded *hold)
{
	const char *reason = hold->doomed;

	if (!drop(hold))
		note(hold->name, "thawed, because %s", reason);
}

static void drop_doomed(void)
{
	struct guarded *hold;

	while ((hold = take_doomed())) {
		drop_one(hold);
		give(hold);
	}
}

/* --- calls --- */

/* The signal that cancels a freeze may interrupt these. */
static bool still_waits(const struct call *call)
{
	int ret;

	do {
		errno = 0;
		ret = seccomp_notify_id_valid(guard.listener, call->id);
	} while (ret && errno == EINTR);
	return !ret;
}

/* False when nobody waits for it any more. */
static bool answer(struct call *call, int err)
{
	struct seccomp_notif_resp *response;
	int ret;

	pthread_mutex_lock(&guard.lock);
	call->answered = true;
	pthread_mutex_unlock(&guard.lock);

	if (seccomp_notify_alloc(NULL, &response))
		abort();
	response->id = call->id;
	/* These the library has, and no FIFREEZE. */
	response->error = err == -ENOTRECOVERABLE || err == -ELIBACC || err == -ENOSYS ? -EIO : err;
	do {
		errno = 0;
		ret = seccomp_notify_respond(guard.listener, response);
	} while (ret && errno == EINTR);
	seccomp_notify_free(NULL, response);
	return !ret;
}

#define SYNC_SHORT 1000000 /* ns */

/* Rounds as those of freezefd run, so that less is written while others wait. */
static void sync_ahead(const struct call *call, int target)
{
	uint64_t took = UINT64_MAX, before, start;

	do {
		before = took;
		start = now_ns();
		syncfs(target);
		took = now_ns() - start;
	} while (took > SYNC_SHORT && took < before / 2 && still_waits(call));
}

static char *file_name(int fd)
{
	char *path = text("/proc/self/fd/%d", fd), link[512];
	ssize_t len = readlink(path, link, sizeof(link));

	free(path);
	return len < 0 ? copy("a filesystem") : text("%.*s", (int)len, link);
}

/* -ECANCELED when the child was killed. */
static int receive_result(int socket)
{
	int result, fd;
	ssize_t len;

	do
		len = receive_fd(socket, &result, sizeof(result), 0, &fd);
	while (len == -EINTR);
	if (len != sizeof(result))
		return -ECANCELED;
	if (result < 0)
		return result;
	return fd < 0 ? -EMFILE : fd;
}

/* Has no other descriptor of the guard's, whose holds would outlive it. */
static void __attribute__((noreturn)) be_child(int target, int socket, pid_t guard_process)
{
	const unsigned int low = (unsigned int)(target < socket ? target : socket),
			   high = (unsigned int)(target < socket ? socket : target);
	int result;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != guard_process)
		_exit(EXIT_FAILURE);
	if (low > 0)
		close_range(0, low - 1, 0);
	close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0U, 0);
	result = freezefd_open(target, &guard.options);
	send_fd(socket, &result, sizeof(result), result);
	/* Its copy goes last: what lies in a socket thaws in no order. */
	for (;;)
		pause();
}

static void set_child(struct call *call, pid_t child)
{
	pthread_mutex_lock(&guard.lock);
	call->child = child;
	pthread_mutex_unlock(&guard.lock);
}

/* Nothing but the death of who makes it ends a freeze of the kernel. */
static int open_in_child(struct call *call, int target)
{
	const pid_t self = getpid();
	int pair[2], fd;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	child = fork();
	if (!child)
		be_child(target, pair[1], self);
	close(pair[1]);
	if (child < 0) {
		close(pair[0]);
		return -ENOMEM;
	}
	set_child(call, child);
	fd = receive_result(pair[0]);
	close(pair[0]);
	set_child(call, 0);
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return fd;
}

static int open_freeze(struct call *call, int target)
{
	const char *engine = freezefd_engine(target);

	if (!still_waits(call))
		return -ECANCELED;
	/* A signal ends the wait for the guardian. */
	if (engine && !strcmp(engine, "guardian"))
		return freezefd_open(target, &guard.options);
	return open_in_child(call, target);
}

static void note_failure(const char *name, int err)
{
	if (err == -ETIME)
		note(name, "not frozen within its timeout, so given up; allow more with --timeout");
	else if (err != -ECANCELED && err != -EBUSY && err != -EOPNOTSUPP)
		note(name, "cannot freeze: %s", reason_of(err));
}

static int make(struct call *call, int target, struct guarded *hold)
{
	bool torn;
	int fd;

	pthread_mutex_lock(&guard.lock);
	hold->doomed = NULL;
	pthread_mutex_unlock(&guard.lock);
	free(hold->name);
	hold->name = file_name(target);
	sync_ahead(call, target);
	do
		fd = open_freeze(call, target);
	while (fd == -EINTR);
	pthread_mutex_lock(&guard.lock);
	if (fd >= 0)
		hold->fd = fd;
	torn = fd >= 0 && hold->doomed;
	pthread_mutex_unlock(&guard.lock);
	if (torn) {
		drop_one(hold);
		return -ECANCELED;
	}
	if (fd < 0)
		note_failure(hold->name, fd);
	return fd < 0 ? fd : 0;
}

static void freeze(struct call *call, int target)
{
	struct freezefd_status status;
	int ret = freezefd_status(target, &status);
	struct guarded *hold;

	if (ret) {
		note_failure("guard", ret);
		answer(call, ret);
		return;
	}
	hold = take(status.dev);
	if (hold->fd >= 0 && is_broken(hold) && drop(hold))
		drop_doomed();
	if (hold->fd >= 0) {
		answer(call, -EBUSY);
	} else {
		ret = make(call, target, hold);
		/* Killed meanwhile: nobody would thaw it. */
		if (!answer(call, ret) && !ret)
			drop(hold);
	}
	give(hold);
}

static void thaw(struct call *call, int target)
{
	struct freezefd_status status;
	struct guarded *hold;
	int ret = freezefd_status(target, &status);

	if (ret == -EOPNOTSUPP) {
		ret = -EINVAL;
	} else if (!ret) {
		ret = -EINVAL;
		hold = take(status.dev);
		if (hold->fd >= 0 && !drop(hold))
			ret = 0;
		else
			drop_doomed(); /* with one that was broken, before the agent is told */
		give(hold);
	}
	answer(call, ret);
}

/*
 * On a device node the calls mean the filesystem that the node is on, which in /dev cannot be frozen,
 * and not that on the device.
 */
static bool is_device(int target)
{
	struct statx stx = {0};

	/* No server is asked, and what is shut down gives an error: a filesystem. */
	return !statx(target, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) &&
	       S_ISBLK(stx.stx_mode);
}

/* The rights first: the last close of a file can wait for its server, whom nobody else may choose. */
static int open_target(const struct call *call)
{
	struct caller caller;
	int target;

	if (!caller_read(call->caller, &caller) || !caller.admin)
		return -EPERM;
	target = caller_file(call->caller, call->number);
	if (target == -EPERM)
		note("guard",
		     "may not look at the descriptors of process %d; CAP_SYS_PTRACE is needed",
		     call->caller);
	else if (target == -EOPNOTSUPP)
		note("guard",
		     "thread %d has descriptors of its own, which need Linux 6.9; freeze in another thread",
		     call->caller);
	if (target < 0 || !is_device(target))
		return target;
	close(target);
	return call->work == FREEZE ? -EOPNOTSUPP : -EINVAL;
}

static void serve(struct call *call)
{
	int target = open_target(call);

	/* If not, the number may have been another's by then. */
	if (still_waits(call)) {
		if (target < 0)
			answer(call, target);
		else if (call->work == FREEZE)
			freeze(call, target);
		else
			thaw(call, target);
	}
	if (target >= 0)
		close(target);
}

static void forget(struct call *call)
{
	struct call **at = &guard.calls;

	pthread_mutex_lock(&guard.lock);
	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	pthread_cond_broadcast(&guard.turn);
	pthread_mutex_unlock(&guard.lock);
	free(call);
}

static void *work(void *arg)
{
	struct call *call = arg;

	if (call->work == DROP) {
		drop_doomed();
		/* Before the messages, which may take for ever. */
		pthread_mutex_lock(&guard.lock);
		guard.dropping = false;
		pthread_mutex_unlock(&guard.lock);
	} else {
		serve(call);
	}
	tell();
	forget(call);
	return NULL;
}

static bool start(struct call *call)
{
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_mutex_lock(&guard.lock);
	err = pthread_create(&call->thread, &attr, work, call);
	if (!err) {
		call->next = guard.calls;
		guard.calls = call;
	} else if (call->work == DROP) {
		guard.dropping = false;
	}
	pthread_mutex_unlock(&guard.lock);
	pthread_attr_destroy(&attr);
	return !err;
}

static void start_drop(void)
{
	struct call *call = array(NULL, 1, sizeof(*call));
	bool already;

	pthread_mutex_lock(&guard.lock);
	already = guard.dropping;
	guard.dropping = true;
	pthread_mutex_unlock(&guard.lock);
	*call = (struct call){.work = DROP};
	if (already || !start(call))
		free(call);
}

/* --- the agent --- */

static void receive(void)
{
	struct seccomp_notif *notice;
	struct call *call;

	if (seccomp_notify_alloc(&notice, NULL))
		abort();
	/* Who called may have been killed before. */
	if (!seccomp_notify_receive(guard.listener, notice)) {
		call = array(NULL, 1, sizeof(*call));
		*call = (struct call){
			.work = (uint32_t)notice->data.args[1] == FIFREEZE ? FREEZE : THAW,
			.id = notice->id,
			.caller = (pid_t)notice->pid,
			.number = (int)notice->data.args[0],
		};
		if (!start(call)) {
			answer(call, -ENOMEM);
			free(call);
		}
	}
	seccomp_notify_free(notice, NULL);
}

/* What nobody waits for need not be frozen to the end. */
static void cancel_abandoned(bool all)
{
	pthread_mutex_lock(&guard.lock);
	for (const struct call *call = guard.calls; call; call = call->next)
		if (call->work != FREEZE || call->answered || (!all && still_waits(call)))
			continue;
		else if (call->child)
			kill(call->child, SIGKILL);
		else
			pthread_kill(call->thread, CANCEL);
	pthread_mutex_unlock(&guard.lock);
}

/*
 * The listener, then the holds. Freed by the caller. Tells also whether calls are under way, and
 * whether holds are to be dropped.
 */
static struct pollfd *what_to_poll(size_t *count, bool *working, bool *doomed)
{
	struct pollfd *list;
	size_t n = 1;

	pthread_mutex_lock(&guard.lock);
	*doomed = false;
	for (const struct guarded *hold = guard.holds; hold; hold = hold->next, n++)
		*doomed |= can_drop(hold);
	list = array(NULL, n, sizeof(*list));
	list[0] = (struct pollfd){.fd = guard.listener, .events = POLLIN};
	n = 1;
	for (const struct guarded *hold = guard.holds; !guard.dropping && hold; hold = hold->next)
		if (!hold->busy && hold->fd >= 0)
			list[n++] = (struct pollfd){.fd = hold->fd, .events = POLLIN};
	*working = guard.calls;
	pthread_mutex_unlock(&guard.lock);
	*count = n;
	return list;
}

/* Waits for what there is to do, and tells what it is. No agent is 0. Freed by the caller. */
static struct pollfd *wait_for_work(pid_t agent, bool deserted, size_t *count)
{
	bool working, doomed;
	struct pollfd *list = what_to_poll(count, &working, &doomed);

	if (deserted)
		list[0].fd = -1; /* it would always be ready */
	cancel_abandoned(false);
	/* A killed process does not get to its end if it waits for what it has frozen itself. */
	if (agent && *count > 1 && process_dies(agent)) {
		doom_holds(has_ended);
		doomed = true;
	}
	if (doomed)
		start_drop();
	wait_events(list, *count,
		    working || deserted || *count > 1 ? now_ns() + TICK * UINT64_C(1000000) : 0);
	return list;
}

/*
 * The wait status of the agent. One that ends with success and leaves processes behind is a daemon:
 * those are served until the last has ended, or a signal comes.
 */
static int watch(pid_t agent)
{
	bool ended = false, deserted = false;
	struct pollfd *list;
	int status = 0;
	size_t count;

	while (!ended || !(status || deserted || caught_signal)) {
		if (caught_signal && !caught_from_terminal)
			kill(agent, caught_signal);
		caught_signal = 0;
		list = wait_for_work(ended ? 0 : agent, deserted, &count);
		/* Before a call is received: what is frozen after its end is not the agent's. */
		if (!ended && waitpid(agent, &status, WNOHANG) == agent) {
			ended = true;
			caught_signal = 0; /* it was the agent's */
			doom_holds(has_ended);
		}
		for (size_t i = 1; i < count; i++)
			if (list[i].revents)
				doom_broken();
		if (list[0].revents & POLLIN)
			receive();
		if (list[0].revents & POLLHUP) {
			deserted = true;
			doom_holds(has_ended);
		}
		free(list);
	}
	return status ? status : caught_signal;
}

/* What is still being frozen ends with this process. */
static void drop_rest(void)
{
	bool working = true;

	cancel_abandoned(true);
	doom_holds(has_ended);
	drop_doomed();
	pthread_mutex_lock(&guard.lock);
	while (working) {
		working = false;
		for (const struct call *call = guard.calls; call; call = call->next)
			working |= call->work != FREEZE || call->answered;
		if (working)
			pthread_cond_wait(&guard.turn, &guard.lock);
	}
	pthread_mutex_unlock(&guard.lock);
	doom_holds(has_ended);
	drop_doomed();
	tell();
}

/* In the child: 0 is never returned, the number of the listener goes to the guard before the agent runs. */
static void become(char **agent, int guard_socket, const sigset_t *signals)
{
	int ret = filter_install();
	char go;

	if (write(guard_socket, &ret, sizeof(ret)) != sizeof(ret) || ret < 0 ||
	    read(guard_socket, &go, 1) != 1)
		_exit(EXIT_CANNOT_FREEZE);
	/* Nothing is frozen any more then. qemu-ga ignores SIGTERM while it believes that. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigprocmask(SIG_SETMASK, signals, NULL);
	execvp(agent[0], agent);
	ret = errno;
	if (write(guard_socket, &ret, sizeof(ret)) != sizeof(ret))
		_exit(EXIT_CANNOT_FREEZE);
	_exit(EXIT_CANNOT_EXEC);
}

static int cannot_watch(int err)
{
	if (err == -EBUSY)
		complain(
			"guard",
			"another supervisor has this process's calls already (a guard in a guard, a container's manager); run only one");
	else if (err == -EINVAL || err == -ENOSYS || err == -EOPNOTSUPP)
		complain("guard",
			 "no seccomp user notification here; a kernel from Linux 5.10 on has it");
	else
		complain("guard", "cannot watch the agent's calls: %s", strerror(-err));
	return EXIT_CANNOT_FREEZE;
}

/* 0 when the agent runs, or the exit status. */
static int start_agent(pid_t *agent, char **command, const sigset_t *signals)
{
	int pair[2], number, err = 0;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) || (child = fork()) < 0)
		return cannot_watch(-errno);
	if (!child) {
		close(pair[0]);
		become(command, pair[1], signals);
	}
	close(pair[1]);
	if (read(pair[0], &number, sizeof(number)) != sizeof(number))
		number = -ECHILD;
	guard.listener = number < 0 ? number : caller_file(child, number);
	if (guard.listener < 0) {
		close(pair[0]);
		waitpid(child, NULL, 0);
		return cannot_watch(guard.listener);
	}
	if (send(pair[0], "g", 1, MSG_NOSIGNAL) != 1 ||
	    read(pair[0], &err, sizeof(err)) != sizeof(err))
		err = 0;
	close(pair[0]);
	if (err) {
		waitpid(child, NULL, 0);
		return cannot_run(command[0], err);
	}
	*agent = child;
	return 0;
}

static void do_nothing(int signal)
{
}

static int run(char **command)
{
	const struct sigaction cancel = {.sa_handler = do_nothing};
	sigset_t before;
	pid_t agent = 0;
	int status;

	catch_signals();
	block_signals(&before);
	status = start_agent(&agent, command, &before);
	if (status)
		return status;
	signal(SIGPIPE, SIG_IGN);
	sigaction(CANCEL, &cancel, NULL);
	status = watch(agent);
	drop_rest();
	if (guard.broken)
		return EXIT_BROKEN;
	return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Complains, returns false. */
static bool can_guard(void)
{
	struct caller self;
	int file = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	const char *engine = freezefd_engine(file);

	if (!engine)
		err = -errno;
	else if (!strcmp(engine, "guardian") && in_pid_namespace() &&
		 !(guard.options.flags & FREEZEFD_MAY_STAY_FROZEN))
		err = -ENOTRECOVERABLE;
	if (file >= 0)
		close(file);
	if (!caller_read(getpid(), &self)) {
		complain("/proc", "cannot be read; mount it");
		return false;
	}
	if (!self.admin)
		err = -EPERM;
	if (err)
		complain_errno("guard", err);
	return !err;
}

int cmd_guard(int argc, char **argv)
{
	static const struct option options[] = {
		{"timeout", required_argument, NULL, 't'},
		{"verbose", no_argument, NULL, 'v'},
		{"may-stay-frozen", no_argument, NULL, OPT_MAY_STAY_FROZEN},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int opt;

	/* The agent's options are its own. */
	while ((opt = getopt_long(argc, argv, "+t:vh", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			if (!timeout_option("guard", optarg, &guard.options.timeout_ns))
				return EXIT_USAGE;
			break;
		case 'v':
			guard.verbose = true;
			break;
		case OPT_MAY_STAY_FROZEN:
			guard.options.flags = FREEZEFD_MAY_STAY_FROZEN;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			return wrong_option("guard");
		}
	}
	if (optind == argc)
		return usage_error("guard", "no agent; put it after '--'");
	return can_guard() ? run(argv + optind) : EXIT_CANNOT_FREEZE;
}
