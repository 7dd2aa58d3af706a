// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd guard: the calls of its agent that it answers, each in a thread. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/pass.h"
#include "guard.h"
#include "tool.h"

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
		out_of_memory();
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
	send_fds(socket, &result, sizeof(result), &result, result >= 0, 0);
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
		guard_note(name,
			   "not frozen within its timeout, so given up; allow more with --timeout");
	else if (err != -ECANCELED && err != -EBUSY && err != -EOPNOTSUPP)
		guard_note(name, "cannot freeze: %s", reason_of(err));
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
		guarded_drop_one(hold);
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
	hold = guarded_take(status.dev);
	if (hold->fd >= 0 && guarded_is_broken(hold) && guarded_drop(hold))
		drop_doomed();
	if (hold->fd >= 0) {
		answer(call, -EBUSY);
	} else {
		ret = make(call, target, hold);
		/* Killed meanwhile: nobody would thaw it. */
		if (!answer(call, ret) && !ret)
			guarded_drop(hold);
	}
	guarded_give(hold);
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
		hold = guarded_take(status.dev);
		/* Another may have been broken a moment ago. */
		doom_broken();
		if (hold->fd >= 0 && guarded_is_doomed(hold))
			guarded_drop_one(hold);
		else if (hold->fd >= 0 && !guarded_drop(hold))
			ret = 0;
		if (ret)
			drop_doomed(); /* with one that was broken, before the agent is told */
		guarded_give(hold);
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
		guard_note(
			"guard",
			"may not look at the descriptors of process %d; CAP_SYS_PTRACE is needed",
			call->caller);
	else if (target == -EOPNOTSUPP)
		guard_note(
			"guard",
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
	guard_tell();
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

void start_drop(void)
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

void receive_call(void)
{
	struct seccomp_notif *notice;
	struct call *call;

	if (seccomp_notify_alloc(&notice, NULL))
		out_of_memory();
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

void cancel_abandoned(bool all)
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

void drop_rest(void)
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
	guard_tell();
}
