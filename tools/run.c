// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd run: freeze, run a command, thaw. */
#include <dirent.h>
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
	"       freezefd run [OPTION...] --all -- COMMAND [ARGUMENT...]\n"
	"Freeze filesystems, run a command, thaw. Fails if a freeze was broken before\n"
	"the command ended, whatever the command returned.\n"
	"\n"
	"TARGET is a file or directory on the filesystem, its block device, or UUID=...\n"
	"The command must not write to what is frozen: it would wait for itself.\n"
	"\n" REQUEST_HELP "      --report FILE    write what became of it to FILE, as JSON\n"
	"  -v, --verbose        tell how long it was frozen\n"
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

/* The program that it is, freed by the caller, NULL when that is not known; 0 or an errno value as execvp() has it. */
static int find_command(const char *name, char **program)
{
	const char *path = getenv("PATH");
	char *list, *rest, *directory, *file;
	int ret = ENOENT, err;

	*program = NULL;
	if (*name && !path)
		return 0;
	if (strchr(name, '/') || !*name) {
		*program = copy(name);
		return *name ? executable(name) : ENOENT;
	}
	list = rest = copy(path);
	while (ret && (directory = strsep(&rest, ":"))) {
		file = text("%s%s%s", directory, *directory ? "/" : "", name);
		err = executable(file);
		if (!err || err == EACCES)
			ret = err;
		if (!err)
			*program = file;
		else
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
		wait_events(holds->poll, holds->frozen ? holds->count : 0, 0);
		if (caught_signal) {
			if (!caught_from_terminal)
				kill(child, caught_signal);
			caught_signal = 0;
			signals++;
		}
		if (holds->frozen && (holds_broken(holds) || signals > 1)) {
			holds_thaw(holds);
			*verdict = holds_verdict(holds);
			if (signals > 1) {
				complain("run",
					 "thawed at the second signal, before the command ended");
				*verdict = EXIT_BROKEN;
				holds->early = true;
			}
		}
	}
	return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run(const struct request *request, char **command, bool verbose)
{
	int verdict, status = EXIT_FAILURE, ret = 0;
	struct holds holds;
	sigset_t before;
	pid_t child;

	block_signals(&before);
	verdict = holds_freeze(&holds, request, EXIT_CANNOT_FREEZE);
	if (verdict)
		goto out;
	limit_restore();
	ret = spawn(&child, command, &before);
	/* The thaw of many needs descriptors, too. */
	limit_raise();
	if (!ret)
		status = watch(&holds, child, &verdict);
	holds_thaw(&holds);
	if (!verdict)
		verdict = holds_verdict(&holds);
	if (verbose) {
		char *span = format_duration(holds_lasted(&holds));

		fprintf(stderr, "freezefd: frozen for %s\n", span);
		free(span);
	}
	if (ret)
		verdict = cannot_run(command[0], ret);
	else if (verdict && verdict != EXIT_BROKEN)
		verdict = EXIT_CANNOT_FREEZE;
out:
	status = verdict ? verdict : status;
	if (request->report)
		status = report_write(request->report, &holds, status);
	holds_free(&holds);
	return status;
}

/* Where the command may write without naming it, and what it is. */
static void add_places(struct request *request, const char *program)
{
	static const char *const streams[] = {"standard input", "standard output",
					      "standard error"};
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;
	int fd, flags;

	while (fds && (entry = readdir(fds))) {
		char link[PATH_MAX] = "", *path;

		fd = atoi(entry->d_name);
		flags = *entry->d_name == '.' ? -1 : fcntl(fd, F_GETFL);
		if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || flags & O_PATH)
			continue;
		path = text("/proc/self/fd/%d", fd);
		if (fd <= STDERR_FILENO || readlink(path, link, sizeof(link) - 1) < 0)
			request_place(request, path, fd <= STDERR_FILENO ? streams[fd] : path);
		else
			request_place(request, path, link);
		free(path);
	}
	if (fds)
		closedir(fds);
	request_place(request, ".", "the working directory");
	if (program)
		request_place(request, program, program);
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{"report", required_argument, NULL, OPT_REPORT},
		{"verbose", no_argument, NULL, 'v'},
		REQUEST_LONG_OPTIONS,
		{0},
	};
	struct request request;
	int split = 1, opt, status;
	bool verbose = false;
	char *program;

	request_init(&request, "run");
	/* getopt would mix up the targets and the command. */
	while (split < argc && strcmp(argv[split], "--") != 0)
		split++;
	while ((opt = getopt_long(split, argv, REQUEST_OPTIONS "vh", options, NULL)) != -1) {
		switch (opt) {
		case 'v':
			verbose = true;
			break;
		case OPT_REPORT:
			request.report = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			if (!request_option(&request, opt, optarg))
				return EXIT_USAGE;
		}
	}
	if (split >= argc - 1)
		return usage_error("run", "no command; put it after '--'");
	status = request_targets(&request, argv + optind, split - optind);
	if (status)
		return status;

	status = find_command(argv[split + 1], &program);
	if (status) {
		free(program);
		return cannot_run(argv[split + 1], status);
	}
	if (request.report && !report_possible(request.report)) {
		free(program);
		return EXIT_CANNOT_FREEZE;
	}
	catch_signals();
	add_places(&request, program);
	free(program);
	status = run(&request, argv + split + 1, verbose);
	request_free(&request);
	return status;
}
