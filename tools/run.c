// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd run: freeze, run a command, thaw. */
#include <errno.h>
#include <getopt.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

static const char usage[] =
	"Usage: freezefd run [OPTION...] TARGET... -- COMMAND [ARGUMENT...]\n"
	"Freeze filesystems, run a command, thaw. Fails if a freeze was broken before\n"
	"the command ended, whatever the command returned.\n"
	"\n"
	"TARGET is a file or directory on the filesystem, its block device, or UUID=...\n"
	"The command must not write to what is frozen: it would wait for itself.\n"
	"\n"
	"  -t, --timeout TIME   thaw after TIME (30s, 500ms, 5m), and fail\n"
	"  -v, --verbose        tell how long it was frozen\n" ENGINE_HELP
	"  -h, --help           this help\n"
	"\n"
	"Exit status: the command's, 128+N if signal N ended it; 124 broken freeze;\n"
	"125 cannot freeze; 126 cannot run the command; 127 no such command; 2 wrong usage.\n";

extern char **environ;

static int spawn(pid_t *child, char **command, const sigset_t *signals)
{
	posix_spawnattr_t attr;
	int ret;

	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, signals);
	ret = posix_spawnp(child, command[0], NULL, &attr, command, environ);
	posix_spawnattr_destroy(&attr);
	return ret;
}

/* Waits for the child; at the first broken freeze drops the others and says so. */
static int watch(struct holds *holds, pid_t child, int *verdict)
{
	int status = 0;

	while (!waitpid(child, &status, WNOHANG)) {
		wait_events(holds->poll, holds->count);
		if (caught_signal && !caught_from_terminal)
			kill(child, caught_signal);
		caught_signal = 0;
		if (holds_broken(holds)) {
			holds_thaw(holds);
			*verdict = holds_verdict(holds);
			holds->count = 0;
		}
	}
	return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run(struct holds *holds, char **command, bool verbose)
{
	int status = EXIT_FAILURE, verdict = EXIT_SUCCESS, ret;
	sigset_t before;
	pid_t child;

	if (!holds_freeze(holds))
		return caught_signal ? EXIT_SIGNAL + caught_signal : EXIT_CANNOT_FREEZE;
	block_signals(&before);
	if (caught_signal) {
		holds_thaw(holds);
		return EXIT_SIGNAL + caught_signal;
	}
	ret = spawn(&child, command, &before);
	if (!ret)
		status = watch(holds, child, &verdict);
	holds_thaw(holds);

	if (!verdict)
		verdict = holds_verdict(holds);
	if (verbose) {
		char *span = format_duration(holds->lasted_ns);

		fprintf(stderr, "freezefd: frozen for %s\n", span);
		free(span);
	}
	if (ret) {
		if (ret == ENOENT && strchr(command[0], '/') && !access(command[0], F_OK))
			complain(command[0], "its interpreter is missing; see its first line");
		else if (ret == ENOENT)
			complain(command[0], "no such command; check its name and PATH");
		else
			complain(command[0], "%s", strerror(ret));
		return ret == ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_EXEC;
	}
	if (verdict)
		return verdict == EXIT_BROKEN ? EXIT_BROKEN : EXIT_CANNOT_FREEZE;
	return status;
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{"timeout", required_argument, NULL, 't'},
		{"verbose", no_argument, NULL, 'v'},
		ENGINE_LONG_OPTION,
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	uint64_t timeout_ns = 0;
	bool verbose = false;
	struct holds holds;
	int split = 1, opt, status;

	/* getopt would mix up the targets and the command. */
	while (split < argc && strcmp(argv[split], "--") != 0)
		split++;
	while ((opt = getopt_long(split, argv, ENGINE_OPTION "t:vh", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			if (!timeout_option("run", optarg, &timeout_ns))
				return EXIT_USAGE;
			break;
		case 'v':
			verbose = true;
			break;
		case 'e':
			if (!engine_option("run", optarg))
				return EXIT_USAGE;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			return wrong_option("run");
		}
	}
	if (split >= argc - 1)
		return usage_error("run", "no command; put it after '--'");
	if (optind == split)
		return usage_error("run", "no target");

	catch_signals();
	if (!holds_open(&holds, argv + optind, split - optind, timeout_ns))
		return EXIT_CANNOT_FREEZE;
	engine_restore();
	status = run(&holds, argv + split + 1, verbose);
	holds_free(&holds);
	return status;
}
