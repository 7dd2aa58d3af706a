// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static const struct verb {
	const char *name, *help;
	int (*run)(int argc, char **argv);
	int cannot; /* its exit status when it fails itself; 0: EXIT_FAILURE */
} verbs[] = {
	{"status", "what is frozen, since when, by whom", cmd_status},
	{"run", "freeze, run a command, thaw", cmd_run, EXIT_CANNOT_FREEZE},
	{"hold", "freeze until the end of input or a signal, or in the background", cmd_hold},
	{"release", "end a hold that is in the background", cmd_release},
	{"thaw", "end somebody else's freeze", cmd_thaw},
	{"list", "which processes hold what", cmd_list},
	{"monitor", "freezes and thaws as they happen, or metrics", cmd_monitor},
	{"doctor", "which engines work here, and what would make others work", cmd_doctor},
#ifdef WITH_GUARD
	{"guard", "run an agent that freezes with FIFREEZE; what it froze thaws with its end",
	 cmd_guard, EXIT_CANNOT_FREEZE},
#endif
};

static void print_help(FILE *out)
{
	fputs("Usage: freezefd VERB [OPTION...] [ARGUMENT...]\n"
	      "Freeze filesystems for exactly as long as somebody holds them.\n"
	      "\n",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(out, "  %-8s %s\n", verbs[i].name, verbs[i].help);
	fputs("\n"
	      "  -h, --help       this help; after a verb, that of the verb\n"
	      "  -V, --version    the version\n"
	      "\n"
	      "See freezefd(1).\n",
	      out);
}

/*
 * A target must not get the number of a standard stream that is closed. What is printed
 * to a closed one is lost, which is an error as it would be otherwise.
 */
static void fill_stdio(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR);
}

static int call(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	char *called;
	int status;

	if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
		print_help(stdout);
		return EXIT_SUCCESS;
	}
	if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
		puts("freezefd " VERSION);
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(name, verbs[i].name) != 0)
			continue;
		if (verbs[i].cannot)
			status_without_memory = verbs[i].cannot;
		called = text("freezefd %s", name); /* for getopt's messages */
		argv[1] = called;
		status = verbs[i].run(argc - 1, argv + 1);
		free(called);
		return status;
	}
	if (*name)
		complain(name, "no such verb; see 'freezefd --help'");
	else
		print_help(stderr);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	int status;

	fill_stdio();
	setlocale(LC_CTYPE, ""); /* which characters a table can show */
	status = call(argc, argv);
	if (output_error()) {
		complain("standard output", "%s", strerror(output_error()));
		if (!status)
			status = EXIT_FAILURE;
	}
	return status;
}
