// SPDX-License-Identifier: LGPL-2.1-or-later
/* Starts a helper without the caller noticing. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn.h"

#define STACK_SIZE 65536
#define MAX_FDS	   8

struct helper {
	char path[PATH_MAX];
	const int *fds;
	size_t count;
	char *stack; /* the upper half is the first child's, the lower one the second's */
	int error;
};

static int find(struct helper *helper, const char *name)
{
	const char *dir = secure_getenv("FREEZEFD_LIBEXEC");

	if (snprintf(helper->path, sizeof(helper->path), "%s/%s", dir && *dir ? dir : HELPER_DIR,
		     name) >= (int)sizeof(helper->path))
		return -ENAMETOOLONG;
	return access(helper->path, X_OK) ? -errno : 0;
}

/* The second child, on memory that is the caller's: nothing here may change it but the error. */
static int execute(void *arg)
{
	struct helper *helper = arg;
	static char *const nothing[] = {NULL};
	char *const argv[] = {helper->path, NULL};
	int high[MAX_FDS];

	/* Out of the way of each other first. */
	for (size_t i = 0; i < helper->count; i++) {
		high[i] = fcntl(helper->fds[i], F_DUPFD_CLOEXEC, (int)helper->count);
		if (high[i] < 0)
			goto fail;
	}
	for (size_t i = 0; i < helper->count; i++)
		if (dup2(high[i], i) < 0)
			goto fail;
	syscall(SYS_close_range, (unsigned int)helper->count, ~0U, 0U);
	setsid();
	execve(helper->path, argv, nothing);
fail:
	helper->error = -errno;
	_exit(127);
}

/* The first child: its end makes the second one init's. */
static int start(void *arg)
{
	struct helper *helper = arg;

	if (clone(execute, helper->stack + STACK_SIZE / 2, CLONE_VM | CLONE_VFORK, helper) < 0)
		helper->error = -errno;
	_exit(0);
}

int spawn_helper(const char *name, const int *fds, size_t count)
{
	struct helper helper = {.fds = fds, .count = count};
	sigset_t all, before;
	int status, cancel;
	pid_t pid;

	if (count > MAX_FDS)
		return -EINVAL;
	helper.error = find(&helper, name);
	if (helper.error)
		/* The kernel has no other use for this one. */
		return helper.error == -ENOENT ? -ELIBACC : helper.error;
	helper.stack = malloc(STACK_SIZE);
	if (!helper.stack)
		return -ENOMEM;
	/* A handler of the caller's must not run in a child that shares its memory. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	/* Without a signal at its end, and so only for who waits for it by __WCLONE. */
	pid = clone(start, helper.stack + STACK_SIZE, CLONE_VM | CLONE_VFORK, &helper);
	if (pid < 0)
		helper.error = -errno;
	while (pid > 0 && waitpid(pid, &status, __WCLONE) < 0 && errno == EINTR)
		;
	pthread_setcancelstate(cancel, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	free(helper.stack);
	return helper.error;
}
