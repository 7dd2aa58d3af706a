// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd guard: give an owner to the freezes of a program that freezes with FIFREEZE. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
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

/* So often is looked whether who waits for a freeze, or has frozen, has been killed. */
#define TICK 50 /* ms */
/* That long a filter may take to be made. */
#define FILTER_MS 10000

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
		*doomed |= guarded_can_drop(hold);
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
			receive_call();
		if (list[0].revents & POLLHUP) {
			deserted = true;
			doom_holds(has_ended);
		}
		free(list);
	}
	return status ? status : caught_signal;
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
	struct pollfd answer = {.events = POLLIN};
	int pair[2], number, err = 0;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) || (child = fork()) < 0)
		return cannot_watch(-errno);
	if (!child) {
		close(pair[0]);
		become(command, pair[1], signals);
	}
	close(pair[1]);
	answer.fd = pair[0];
	/* libseccomp 2.5.4 never ends in seccomp_export_bpf() when it finds no memory there. */
	if (!poll(&answer, 1, FILTER_MS))
		kill(child, SIGKILL);
	if (read(pair[0], &number, sizeof(number)) != sizeof(number))
		number = -ENOMEM;
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
	/* Not before: the agent may be a set-user-ID program. */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
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
