// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd run: freeze, run a command, thaw. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
	"  -v, --verbose        tell how long it was frozen\n"
	"      --may-stay-frozen  in a container, freeze though its end may leave all frozen\n"
	"  -h, --help           this help\n"
	"\n"
	"Exit status: the command's, 128+N if signal N ended it; 124 broken freeze;\n"
	"125 cannot freeze; 126 cannot run the command; 127 no such command; 2 wrong usage.\n";

extern char **environ;

static int executable(const char *path)
{
	struct stat st;

	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) || stat(path, &st))
		return errno;
	return S_ISREG(st.st_mode) ? 0 : EACCES;
}

/* Can it be run, by what can be known before? 0 or an errno value, as execvp() has it. */
static int find_command(const char *name)
{
	const char *path = getenv("PATH");
	char *list, *rest, *directory, *file;
	int ret = ENOENT, err;

	if (strchr(name, '/') || !*name || !path)
		return *name && path ? executable(name) : 0;
	list = rest = copy(path);
	while (ret && (directory = strsep(&rest, ":"))) {
		file = text("%s%s%s", directory, *directory ? "/" : "", name);
		err = executable(file);
		if (!err || err == EACCES)
			ret = err;
		free(file);
	}
	free(list);
	return ret;
}

int cannot_run(const char *name, int err)
{
	if (err == ENOENT && strchr(name, '/') && !access(name, F_OK))
		complain(name, "its interpreter is missing; see its first line");
	else if (err == ENOENT)
		complain(name, "no such command; check its name and PATH");
	else
		complain(name, "%s", strerror(err));
	return err == ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_EXEC;
}

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

/*
 * Waits for the child; at the first broken freeze drops the others and says so. The command may
 * wait for what is frozen: a second signal thaws.
 */
static int watch(struct holds *holds, pid_t child, int *verdict)
{
	int status = 0, signals = 0;

	while (!waitpid(child, &status, WNOHANG)) {
		wait_events(holds->poll, holds->count);
		if (caught_signal) {
			if (!caught_from_terminal)
				kill(child, caught_signal);
			caught_signal = 0;
			signals++;
		}
		if (holds->count && (holds_broken(holds) || signals > 1)) {
			holds_thaw(holds);
			*verdict = holds_verdict(holds);
			if (signals > 1) {
				complain("run",
					 "thawed at the second signal, before the command ended");
				*verdict = EXIT_BROKEN;
			}
			holds->count = 0;
		}
	}
	return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run(struct holds *holds, char **command, bool verbose)
{
	int verdict = holds_freeze(holds, EXIT_CANNOT_FREEZE), status = EXIT_FAILURE, ret;
	sigset_t before;
	pid_t child;

	if (verdict)
		return verdict;
	block_signals(&before);
	if (caught_signal) {
		holds_thaw(holds);
		return EXIT_SIGNAL + caught_signal;
	}
	limit_restore();
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
	if (ret)
		return cannot_run(command[0], ret);
	if (verdict)
		return verdict == EXIT_BROKEN ? EXIT_BROKEN : EXIT_CANNOT_FREEZE;
	return status;
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{"timeout", required_argument, NULL, 't'},
		{"verbose", no_argument, NULL, 'v'},
		{"may-stay-frozen", no_argument, NULL, MAY_STAY_FROZEN},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	uint64_t timeout_ns = 0;
	bool verbose = false;
	struct holds holds;
	int split = 1, opt, status;
	uint32_t flags = 0;

	/* getopt would mix up the targets and the command. */
	while (split < argc && strcmp(argv[split], "--") != 0)
		split++;
	while ((opt = getopt_long(split, argv, "t:vh", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			if (!timeout_option("run", optarg, &timeout_ns))
				return EXIT_USAGE;
			break;
		case 'v':
			verbose = true;
			break;
		case MAY_STAY_FROZEN:
			flags = FREEZEFD_MAY_STAY_FROZEN;
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

	status = find_command(argv[split + 1]);
	if (status)
		return cannot_run(argv[split + 1], status);
	catch_signals();
	if (!holds_open(&holds, argv + optind, split - optind, flags, timeout_ns))
		return caught_signal ? EXIT_SIGNAL + caught_signal : EXIT_CANNOT_FREEZE;
	if (holds_block(&holds, STDOUT_FILENO, "standard output") ||
	    holds_block(&holds, STDERR_FILENO, "standard error"))
		status = EXIT_CANNOT_FREEZE;
	else
		status = run(&holds, argv + split + 1, verbose);
	holds_free(&holds);
	return status;
}
