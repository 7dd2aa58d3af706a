// SPDX-License-Identifier: GPL-2.0-or-later
/* freezefd hold: keep filesystems frozen until told otherwise. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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
	"Freeze filesystems, print 'frozen', and hold them until the end of standard input\n"
	"or a signal (INT, TERM, HUP, QUIT).\n"
	"\n"
	"TARGET is a file or directory on the filesystem, its block device, or UUID=...\n"
	"\n"
	"  -t, --timeout TIME   thaw after TIME (30s, 500ms, 5m), and fail\n"
	"  -d, --detach         hold in the background; print a name for 'freezefd release'\n"
	"  -J, --json           print JSON\n"
	"      --may-stay-frozen  in a container, hold though its end may leave all frozen\n"
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
		char *cells[] = {copy(holds->target[i].name), name ? copy(name) : NULL};

		table_row(table, cells);
	}
	out = open_memstream(&string, &size);
	if (!out)
		abort();
	table_write(table, out);
	fclose(out);
	return string;
}

/* The exit status when it could not be printed, of which is told when nothing is frozen any more. */
static int unheard(int err)
{
	if (err == EINTR)
		return EXIT_SIGNAL + caught_signal;
	complain("standard output", "%s", strerror(err));
	return EXIT_FAILURE;
}

static int hold(struct holds *holds, bool json)
{
	struct pollfd *input = &holds->poll[holds->count];
	char *string = announcement(holds, NULL, json);
	int status = holds_freeze(holds, EXIT_FAILURE), err;
	sigset_t before;

	block_signals(&before);
	err = status ? 0 : print_now(string);
	free(string);
	if (status || err) {
		holds_thaw(holds);
		return status ? status : unheard(err);
	}
	signal(SIGTTIN, SIG_IGN); /* reading must not stop us */
	*input = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	while (!caught_signal) {
		wait_events(holds->poll, holds->count + 1);
		if (holds_broken(holds) || (input->revents && input_ended(input)))
			break;
	}
	holds_thaw(holds);
	return holds_verdict(holds);
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
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!ret && fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address)) &&
	    !listen(fd, 1))
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
		wait_events(holds->poll, holds->count + 1);
		if (holds_broken(holds))
			holds_thaw(holds);
		if (!request->revents)
			continue;
		client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (client < 0)
			continue;
		unlink(path);
		answer(holds, client);
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

static int detached(struct holds *holds, int starter)
{
	char *name = new_name(), *path = hold_socket(name), go;
	int listener, status = EXIT_FAILURE;
	sigset_t before;

	setsid();
	listener = path ? listen_on(path) : -1;
	if (listener < 0)
		goto out;
	if (!chdir("/"))
		status = holds_freeze(holds, EXIT_FAILURE);
	if (status) {
		unlink(path);
		goto out;
	}
	status = EXIT_FAILURE;
	block_signals(&before);
	/* Nobody may have a hold of which nobody knows the name. */
	if (caught_signal || send(starter, name, strlen(name), MSG_NOSIGNAL) < 0 ||
	    recv(starter, &go, 1, 0) != 1) {
		holds_thaw(holds);
		unlink(path);
		goto out;
	}
	close(starter);
	leave_stdio();
	status = serve(holds, listener, path);
out:
	if (caught_signal)
		status = EXIT_SIGNAL + caught_signal;
	free(name);
	free(path);
	return status;
}

static int detach(struct holds *holds, bool json)
{
	struct pollfd answer = {.events = POLLIN};
	int pair[2], status = 0, err;
	char name[64], *string;
	sigset_t before;
	ssize_t len = -1;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) || (child = fork()) < 0) {
		complain("detach", "%s", strerror(errno));
		return EXIT_FAILURE;
	}
	if (!child) {
		close(pair[0]);
		status = detached(holds, pair[1]);
		holds_free(holds);
		exit(status);
	}
	close(pair[1]);
	holds_thaw(holds); /* only closes: the child has them */
	block_signals(&before);
	answer.fd = pair[0];
	while (len < 0 && !caught_signal) {
		wait_events(&answer, 1);
		if (answer.revents)
			len = recv(pair[0], name, sizeof(name) - 1, 0);
	}
	if (caught_signal)
		return EXIT_SIGNAL + caught_signal;
	if (!len) {
		waitpid(child, &status, 0);
		return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status)
								: EXIT_FAILURE;
	}
	name[len] = 0;
	string = announcement(holds, name, json);
	err = print_now(string);
	free(string);
	if (!err && send(pair[0], "g", 1, MSG_NOSIGNAL) != 1)
		err = EPIPE;
	close(pair[0]);
	return err ? unheard(err) : EXIT_SUCCESS;
}

static bool would_wait_for_itself(const struct holds *holds, bool detaching)
{
	bool bad = false;
	char *path;
	int fd;

	if (holds_block(holds, STDOUT_FILENO, "standard output"))
		return true;
	if (!detaching)
		return false;
	path = runtime_directory();
	if (!path)
		return true;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || holds_contain(holds, fd)) {
		complain(path, "on a filesystem that is to be frozen; hold it without --detach");
		bad = true;
	}
	if (fd >= 0)
		close(fd);
	free(path);
	return bad;
}

int cmd_hold(int argc, char **argv)
{
	static const struct option options[] = {
		{"timeout", required_argument, NULL, 't'},
		{"detach", no_argument, NULL, 'd'},
		{"may-stay-frozen", no_argument, NULL, MAY_STAY_FROZEN},
		{"json", no_argument, NULL, 'J'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool json = false, detaching = false;
	uint32_t flags = 0;
	uint64_t timeout_ns = 0;
	struct holds holds;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "t:dJh", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			if (!timeout_option("hold", optarg, &timeout_ns))
				return EXIT_USAGE;
			break;
		case 'd':
			detaching = true;
			break;
		case MAY_STAY_FROZEN:
			flags = FREEZEFD_MAY_STAY_FROZEN;
			break;
		case 'J':
			json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			return wrong_option("hold");
		}
	}
	if (optind == argc)
		return usage_error("hold", "no target");

	/* What the caller has open, a pipe that somebody reads to its end, is not for the background. */
	if (detaching)
		close_range(STDERR_FILENO + 1, ~0U, 0);
	catch_signals();
	if (!holds_open(&holds, argv + optind, argc - optind, flags, timeout_ns))
		return caught_signal ? EXIT_SIGNAL + caught_signal : EXIT_FAILURE;
	if (would_wait_for_itself(&holds, detaching))
		status = EXIT_FAILURE;
	else
		status = detaching ? detach(&holds, json) : hold(&holds, json);
	holds_free(&holds);
	return status;
}
