// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd hold: keep filesystems frozen until told otherwise. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

static const char usage[] =
	"Usage: freezefd hold [OPTION...] TARGET...\n"
	"       freezefd hold [OPTION...] --all\n"
	"Freeze filesystems, print 'frozen', and hold them until the end of standard input\n"
	"or a signal (INT, TERM, HUP, QUIT).\n"
	"\n"
	"TARGET is a file or directory on the filesystem, its block device, or UUID=...\n"
	"\n" REQUEST_HELP
	"  -d, --detach         hold in the background; print a name for 'freezefd release'\n"
	"  -J, --json           print JSON\n"
	"  -h, --help           this help\n"
	"\n"
	"Exit status: 0 held to the end; 124 broken; 1 cannot freeze; 128+N signal N came\n"
	"before all was frozen; 2 wrong usage.\n";

/* What is read here is thrown away. */
static bool input_ended(struct pollfd *input)
{
	char buffer[512];
	ssize_t len = read(input->fd, buffer, sizeof(buffer));

	/* Not ours to read, in the background of a terminal: a signal will come. */
	if (len < 0 && errno != EAGAIN && errno != EINTR)
		input->fd = -1;
	return !len;
}

static char *announcement(const struct holds *holds, const char *name, bool json)
{
	static const struct column columns[] = {{.name = "TARGET"}, {.name = "NAME"}};
	const struct table_options options = {.json = true};
	struct table *table;
	char *string;
	size_t size;
	FILE *out;

	if (!json)
		return text("%s\n", name ? name : "frozen");
	table = table_new("hold", columns, ARRAY_SIZE(columns), &options);
	for (size_t i = 0; i < holds->count; i++) {
		char *cells[] = {copy(holds->hold[i].name), name ? copy(name) : NULL};

		table_row(table, cells);
	}
	out = open_memstream(&string, &size);
	if (!out)
		out_of_memory();
	table_write(table, out);
	fclose(out);
	return string;
}

/*
 * 0, EINTR when a signal came, or the errno of a write. Who reads may not do so for long, and what
 * is held is watched meanwhile: when one breaks, all thaw.
 */
static int print_now(struct holds *holds, const char *string)
{
	struct pollfd *out = &holds->poll[holds->count];
	size_t left = strlen(string);
	ssize_t done;

	*out = (struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT};
	/* Of a pipe that has room, this much. */
	while (left) {
		wait_events(holds->poll, holds->count + 1, 0);
		if (caught_signal)
			return EINTR;
		if (holds_broken(holds))
			holds_thaw(holds);
		if (!out->revents)
			continue;
		done = write(STDOUT_FILENO, string, left < PIPE_BUF ? left : PIPE_BUF);
		if (done < 0 && errno != EAGAIN)
			return errno;
		if (done > 0) {
			string += done;
			left -= (size_t)done;
		}
	}
	return 0;
}

/* The exit status when it could not be printed, of which is told when nothing is frozen any more. */
static int unheard(int err)
{
	if (err == EINTR)
		return EXIT_SIGNAL + caught_signal;
	complain("standard output", "%s", strerror(err));
	return EXIT_FAILURE;
}

static int hold(const struct request *request, bool json)
{
	struct holds holds;
	struct pollfd *input;
	sigset_t before;
	char *string;
	int status, err;

	block_signals(&before);
	status = holds_freeze(&holds, request, EXIT_FAILURE);
	if (status)
		goto out;
	string = announcement(&holds, NULL, json);
	err = print_now(&holds, string);
	free(string);
	if (err) {
		holds_thaw(&holds);
		status = unheard(err);
		goto out;
	}
	signal(SIGTTIN, SIG_IGN); /* reading must not stop us */
	input = &holds.poll[holds.count];
	*input = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	while (!caught_signal && holds.frozen) {
		wait_events(holds.poll, holds.count + 1, 0);
		if (holds_broken(&holds) || (input->revents && input_ended(input)))
			break;
	}
	holds_thaw(&holds);
	status = holds_verdict(&holds);
out:
	holds_free(&holds);
	return status;
}

/*
 * Detached holds. A process holds the descriptors and listens on a socket; who
 * connects ends the hold and reads what became of it: messages, then one byte,
 * the exit status.
 */

static char *runtime_directory(void)
{
	const char *base = geteuid() ? getenv("XDG_RUNTIME_DIR") : "/run";
	char *path;

	if (!base) {
		complain("XDG_RUNTIME_DIR", "not set; log in as the user, or be root");
		return NULL;
	}
	path = text("%s/freezefd", base);
	if (!mkdir(path, 0700) || errno == EEXIST)
		return path;
	complain(path, "%s", strerror(errno));
	free(path);
	return NULL;
}

char *hold_socket(const char *name)
{
	char *directory = runtime_directory(), *path = NULL;

	if (directory) {
		path = text("%s/%s.sock", directory, name);
		free(directory);
	}
	return path;
}

int hold_address(const char *path, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memcpy(address->sun_path, path, strlen(path));
	return 0;
}

/* The random part keeps a name from meaning another hold later. */
static char *new_name(void)
{
	uint32_t salt = 0;

	if (getrandom(&salt, sizeof(salt), 0) != sizeof(salt))
		salt = 0;
	return text("%d-%08x", getpid(), salt);
}

static int listen_on(const char *path)
{
	struct sockaddr_un address;
	int ret = hold_address(path, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (!ret && fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address)) &&
	    !listen(fd, SOMAXCONN))
		return fd;
	complain(path, "%s", strerror(ret ? -ret : errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static void answer(struct holds *holds, int client)
{
	/* The client's, from here on. */
	dup2(client, STDERR_FILENO);
	close(client);
	signal(SIGPIPE, SIG_IGN);
	holds_thaw(holds);
	putc(holds_verdict(holds), stderr);
}

/* A hold that broke stays to be told. One that a signal ended leaves its socket, for the same. */
static int serve(struct holds *holds, int listener, const char *path)
{
	struct pollfd *request = &holds->poll[holds->count];
	int client;

	*request = (struct pollfd){.fd = listener, .events = POLLIN};
	while (!caught_signal) {
		wait_events(holds->poll, holds->count + 1, 0);
		if (holds_broken(holds))
			holds_thaw(holds);
		if (!request->revents)
			continue;
		client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (client < 0)
			continue;
		unlink(path);
		/* Others may have asked at the same time. */
		do
			answer(holds, client);
		while ((client = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
		break;
	}
	return EXIT_SUCCESS;
}

static void leave_stdio(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
}

/*
 * Has the starter printed the name? It may be stopped, or be held off by who reads it. If the hold
 * breaks before, the name may be out already: then release tells of it, as it does later.
 */
static bool await_go(struct holds *holds, int starter)
{
	struct pollfd *answer = &holds->poll[holds->count];
	char go;

	*answer = (struct pollfd){.fd = starter, .events = POLLIN};
	while (!answer->revents && !caught_signal) {
		wait_events(holds->poll, holds->count + 1, 0);
		if (holds_broken(holds))
			holds_thaw(holds);
	}
	/* When a signal has come: it may say so now, but not later. */
	shutdown(starter, SHUT_RD);
	return recv(starter, &go, 1, MSG_DONTWAIT) == 1;
}

static int detached(const struct request *request, bool json, int starter)
{
	char *name = new_name(), *path = hold_socket(name), *string;
	int listener, status = EXIT_FAILURE, err;
	struct holds holds = {0};
	bool told;

	setsid();
	listener = path ? listen_on(path) : -1;
	if (listener < 0)
		goto out;
	if (chdir("/"))
		complain("/", "%s", strerror(errno));
	else
		status = holds_freeze(&holds, request, EXIT_FAILURE);
	if (status) {
		unlink(path);
		goto out;
	}
	/* Nobody may have a hold of which nobody knows the name. */
	string = announcement(&holds, name, json);
	err = send(starter, string, strlen(string), MSG_NOSIGNAL) < 0 ? errno : 0;
	told = !err && await_go(&holds, starter);
	free(string);
	if (!told) {
		holds_thaw(&holds);
		unlink(path);
		/* Without the one who began it there is nobody to tell. */
		if (err && err != EPIPE)
			complain("detach", "%s", strerror(err));
		status = EXIT_FAILURE;
		goto out;
	}
	close(starter);
	leave_stdio();
	confine_hold();
	if (holds.frozen)
		journal_frozen(&holds); /* again: by a thread that is confined, too */
	status = serve(&holds, listener, path);
out:
	if (caught_signal)
		status = EXIT_SIGNAL + caught_signal;
	holds_free(&holds);
	free(name);
	free(path);
	return status;
}

/* What it has to print, freed by the caller; NULL when it ended or a signal came. */
static char *read_announcement(int socket, pid_t child)
{
	struct pollfd answer = {.fd = socket, .events = POLLIN};
	siginfo_t ended = {0};
	ssize_t len = -1;
	char *string;

	while (!answer.revents) {
		wait_events(&answer, 1, 0);
		if (caught_signal) {
			kill(child, caught_signal);
			return NULL;
		}
		/* A process of its own that is stuck in a freeze keeps the other end open. */
		if (!answer.revents &&
		    !waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT) &&
		    ended.si_pid)
			return NULL;
	}
	len = recv(socket, NULL, 0, MSG_PEEK | MSG_TRUNC);
	if (len < 0)
		complain("detach", "%s", strerror(errno));
	if (len <= 0)
		return NULL;
	string = array(NULL, (size_t)len + 1, 1);
	len = recv(socket, string, (size_t)len, 0);
	string[len < 0 ? 0 : len] = 0;
	return string;
}

static int detach(const struct request *request, bool json)
{
	struct pollfd out;
	struct holds none = {.poll = &out};
	int pair[2], status = 0, err;
	sigset_t before;
	char *string;
	pid_t child;

	block_signals(&before);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) || (child = fork()) < 0) {
		complain("detach", "%s", strerror(errno));
		return EXIT_FAILURE;
	}
	if (!child) {
		close(pair[0]);
		exit(detached(request, json, pair[1]));
	}
	close(pair[1]);
	string = read_announcement(pair[0], child);
	if (!string && caught_signal)
		return EXIT_SIGNAL + caught_signal;
	if (!string) {
		/* It may have frozen all, and wait for the word to go on. */
		close(pair[0]);
		waitpid(child, &status, 0);
		/* Else it has said why. */
		if (WIFSIGNALED(status))
			complain("detach",
				 "its process was killed before all was frozen; do it again");
		return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status)
								: EXIT_FAILURE;
	}
	err = print_now(&none, string);
	free(string);
	if (err) {
		status = unheard(err);
	} else if (send(pair[0], "g", 1, MSG_NOSIGNAL) != 1) {
		complain("detach", "its process was ended, which thaws all; do it again");
		status = EXIT_FAILURE;
	}
	close(pair[0]);
	return status;
}

/* A detached hold also needs the directory of its socket, from its first moment to its last. */
static bool add_places(struct request *request, bool detaching)
{
	char *path;

	request_place(request, "/proc/self/fd/1", "standard output");
	request_place(request, "/proc/self/fd/2", "standard error");
	if (!detaching)
		return true;
	path = runtime_directory();
	if (!path)
		return false;
	request_place(request, path, path);
	free(path);
	return true;
}

int cmd_hold(int argc, char **argv)
{
	static const struct option options[] = {
		{"detach", no_argument, NULL, 'd'},
		{"json", no_argument, NULL, 'J'},
		REQUEST_LONG_OPTIONS,
		{0},
	};
	bool json = false, detaching = false;
	struct request request;
	int opt, status;

	request_init(&request, "hold");
	while ((opt = getopt_long(argc, argv, REQUEST_OPTIONS "dJh", options, NULL)) != -1) {
		switch (opt) {
		case 'd':
			detaching = true;
			break;
		case 'J':
			json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			if (!request_option(&request, opt, optarg))
				return EXIT_USAGE;
		}
	}
	status = request_targets(&request, argv + optind, argc - optind);
	if (status)
		return status;

	/* What the caller has open, a pipe that somebody reads to its end, is not for the background. */
	if (detaching)
		close_range(STDERR_FILENO + 1, ~0U, 0);
	catch_signals();
	if (!add_places(&request, detaching))
		status = EXIT_FAILURE;
	else
		status = detaching ? detach(&request, json) : hold(&request, json);
	request_free(&request);
	return status;
}
