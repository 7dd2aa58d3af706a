// SPDX-License-Identifier: GPL-2.0-or-later
#include <poll.h>
#include <signal.h>

#include "tool.h"

static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};

volatile sig_atomic_t caught_signal, caught_from_terminal;

static void note(int signal, siginfo_t *info, void *context)
{
	if (signal == SIGCHLD)
		return;
	caught_from_terminal = info->si_code == SI_KERNEL;
	caught_signal = signal;
}

void catch_signals(void)
{
	struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO}, old;

	sigaction(SIGCHLD, &action, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
}

/* Wanted even if they were blocked by who started us. */
static sigset_t while_waiting;

void block_signals(sigset_t *before)
{
	sigset_t block;

	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&block, signals[i]);
	sigprocmask(SIG_BLOCK, &block, before);
	while_waiting = *before;
	sigdelset(&while_waiting, SIGCHLD);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigdelset(&while_waiting, signals[i]);
}

void wait_events_for(struct pollfd *poll, size_t count, int ms)
{
	const struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	if (ppoll(poll, count, ms < 0 ? NULL : &limit, &while_waiting) < 0)
		for (size_t i = 0; i < count; i++)
			poll[i].revents = 0;
}

void wait_events(struct pollfd *poll, size_t count)
{
	wait_events_for(poll, count, -1);
}
