// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every call of the library on every kind of file, with wrong arguments, without
 * rights and without free descriptors: calls DIRECTORY DEVICE SPARE-DEVICE.
 * After each the filesystem is thawed and no descriptor more is open.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include <freezefd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static int directory, passed, failed;

static int call_open(int fd)
{
	return freezefd_open(fd, NULL);
}

static int call_open_thawed(int fd)
{
	const struct freezefd_options options = {.size = sizeof(options), .flags = FREEZEFD_THAWED};

	return freezefd_open(fd, &options);
}

static int call_status(int fd)
{
	struct freezefd_status status;

	return freezefd_status(fd, &status);
}

static int call_set_timeout(int fd)
{
	return freezefd_set_timeout(fd, 1000000000);
}

static int call_engine(int fd)
{
	return freezefd_engine(fd) ? 0 : -errno;
}

enum { OPEN, OPEN_THAWED, FORCE, STATUS, FREEZE, THAW, TIMEOUT, ENGINE, CALLS };

static const struct {
	const char *name;
	int (*call)(int fd);
} calls[CALLS] = {
	[OPEN] = {"freezefd_open", call_open},
	[OPEN_THAWED] = {"freezefd_open of FREEZEFD_THAWED", call_open_thawed},
	[FORCE] = {"freezefd_thaw_force", freezefd_thaw_force},
	[STATUS] = {"freezefd_status", call_status},
	[FREEZE] = {"freezefd_freeze", freezefd_freeze},
	[THAW] = {"freezefd_thaw", freezefd_thaw},
	[TIMEOUT] = {"freezefd_set_timeout", call_set_timeout},
	[ENGINE] = {"freezefd_engine", call_engine},
};

static int open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static const char *state(void)
{
	static const char *const names[] = {"thawed", "freezing", "frozen"};
	struct freezefd_status status;

	if (freezefd_status(directory, &status) || status.state >= ARRAY_SIZE(names))
		return "unknown";
	return names[status.state];
}

static void result(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void result(bool ok, const char *fmt, ...)
{
	va_list args;

	*(ok ? &passed : &failed) += 1;
	printf("%s %d - ", ok ? "ok" : "not ok", passed + failed);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

static void check(const char *what, const char *call, int got, int want, int before)
{
	bool same = open_descriptors() == before, thawed = !strcmp(state(), "thawed");

	result(got == want && same && thawed, "%s on %s: %s", call, what,
	       want ? strerror(-want) : "0");
	if (got != want)
		printf("#   returned %d (%s)\n", got, got < 0 ? strerror(-got) : "");
	if (!same)
		printf("#   leaves a descriptor open\n");
	if (!thawed)
		printf("#   the filesystem is %s\n", state());
}

static void check_calls(const char *what, int fd, const int want[CALLS])
{
	for (int i = 0; i < CALLS; i++) {
		int before = open_descriptors();

		check(what, calls[i].name, calls[i].call(fd), want[i], before);
	}
}

static int opened(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	return fd;
}

static void wrong_files(const char *path, const char *spare)
{
	static const int bad[CALLS] = {-EBADF, -EBADF, -EBADF, -EBADF,
				       -EBADF, -EBADF, -EBADF, -EBADF};
	static const int cannot_freeze[CALLS] = {-EOPNOTSUPP, -EOPNOTSUPP, -EINVAL, -EOPNOTSUPP,
						 -EINVAL,     -EINVAL,	   -EINVAL, 0};
	static const int no_filesystem[CALLS] = {-ENODEV, -ENODEV, -ENODEV, -ENODEV,
						 -EINVAL, -EINVAL, -EINVAL, 0};
	int closed, pipes[2], sockets[2];

	/* A number that nothing else gets. */
	closed = fcntl(0, F_DUPFD, 100);
	close(closed);
	if (pipe2(pipes, O_CLOEXEC) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets))
		exit(EXIT_FAILURE);
	check_calls("-1", -1, bad);
	check_calls("INT_MAX", INT_MAX, bad);
	check_calls("a closed descriptor", closed, bad);
	check_calls("an O_PATH descriptor", opened(path, O_PATH), bad);
	check_calls("an O_PATH descriptor of a block device", opened(spare, O_PATH), bad);
	check_calls("a pipe", pipes[0], cannot_freeze);
	check_calls("a socket", sockets[0], cannot_freeze);
	check_calls("an eventfd", eventfd(0, EFD_CLOEXEC), cannot_freeze);
	check_calls("/dev/null", opened("/dev/null", O_RDWR), cannot_freeze);
	check_calls("/proc/self/maps", opened("/proc/self/maps", O_RDONLY), cannot_freeze);
	check_calls("/sys", opened("/sys", O_RDONLY), cannot_freeze);
	check_calls("a block device without a filesystem", opened(spare, O_RDONLY), no_filesystem);
}

static void wrong_options(const char *what, int target)
{
	struct {
		struct freezefd_options options;
		char more[64];
	} larger = {.options.size = sizeof(larger), .more[63] = 1};
	const struct {
		const char *name;
		struct freezefd_options options;
		int want;
	} cases[] = {
		{"no size", {.size = 0}, -EINVAL},
		{"a size too small", {.size = sizeof(struct freezefd_options) - 1}, -EINVAL},
		{"a size of garbage", {.size = SIZE_MAX}, -E2BIG},
		{"an unknown flag", {.size = sizeof(cases[0].options), .flags = 4}, -EINVAL},
		{"all flags", {.size = sizeof(cases[0].options), .flags = UINT32_MAX}, -EINVAL},
		{"reserved set", {.size = sizeof(cases[0].options), .reserved = 1}, -EINVAL},
		{"too long a timeout",
		 {.size = sizeof(cases[0].options), .timeout_ns = UINT64_C(1) << 63},
		 -EINVAL},
		{"an unknown engine", {.size = sizeof(cases[0].options), .engine = "x"}, -EINVAL},
		{"an engine of no name", {.size = sizeof(cases[0].options), .engine = ""}, -EINVAL},
	};
	char call[128];
	int before;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		before = open_descriptors();
		snprintf(call, sizeof(call), "freezefd_open with %s", cases[i].name);
		check(what, call, freezefd_open(target, &cases[i].options), cases[i].want, before);
	}
	before = open_descriptors();
	check(what, "freezefd_open with options of the future",
	      freezefd_open(target, &larger.options), -E2BIG, before);
}

static void wrong_order(void)
{
	int fd = call_open_thawed(directory), before = open_descriptors();
	const char *what = "a freeze descriptor";

	for (int i = OPEN; i <= FORCE; i++)
		check(what, calls[i].name, calls[i].call(fd), -EOPNOTSUPP, before);
	check(what, "a thaw of nothing", freezefd_thaw(fd), -EINVAL, before);
	check(what, "too long a timeout", freezefd_set_timeout(fd, UINT64_MAX), -EINVAL, before);
	result(!freezefd_freeze(fd) && freezefd_freeze(fd) == -EBUSY && !strcmp(state(), "frozen"),
	       "a second freeze on %s: Device or resource busy, the first stays", what);
	check(what, "a thaw", freezefd_thaw(fd), 0, before);
	check(what, "a second thaw", freezefd_thaw(fd), -EINVAL, before);
	close(fd);
}

static void no_descriptors(int device)
{
	struct rlimit all, none;
	int before = open_descriptors(), next = dup(0);

	close(next);
	getrlimit(RLIMIT_NOFILE, &all);
	none = all;
	none.rlim_cur = (rlim_t)next;
	for (int i = 0; i < 2; i++) {
		int target = i ? device : directory, ret;

		setrlimit(RLIMIT_NOFILE, &none);
		ret = freezefd_open(target, NULL);
		setrlimit(RLIMIT_NOFILE, &all);
		check(i ? "the device" : "the directory", "freezefd_open without free descriptors",
		      ret, -EMFILE, before);
	}
}

static void no_rights(int device)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}}, all[2];
	static const int want[] = {
		[OPEN] = -EPERM, [OPEN_THAWED] = -EPERM, [FORCE] = -EPERM, [STATUS] = 0};
	int fd = call_open_thawed(directory), before = open_descriptors();

	if (syscall(SYS_capget, &header, all)) {
		perror("capget");
		exit(EXIT_FAILURE);
	}
	none[0].permitted = all[0].permitted;
	none[1].permitted = all[1].permitted;
	syscall(SYS_capset, &header, none);
	for (int i = 0; i <= STATUS; i++) {
		check("the directory, without rights", calls[i].name, calls[i].call(directory),
		      want[i], before);
		check("the device, without rights", calls[i].name, calls[i].call(device), want[i],
		      before);
	}
	/* Who has the descriptor may use it. */
	check("a freeze descriptor, without rights", "freezefd_freeze and _thaw",
	      freezefd_freeze(fd) ?: freezefd_thaw(fd), 0, before);
	syscall(SYS_capset, &header, all);
	close(fd);
}

static void no_engine(void)
{
	int before = open_descriptors(), ret;

	setenv("FREEZEFD_ENGINE", "x", 1);
	ret = call_open(directory);
	unsetenv("FREEZEFD_ENGINE");
	check("the directory, FREEZEFD_ENGINE=x", "freezefd_open", ret, -EINVAL, before);
	setenv("FREEZEFD_ENGINE", "", 1);
	result(!call_status(directory), "an empty FREEZEFD_ENGINE is none");
	unsetenv("FREEZEFD_ENGINE");
}

int main(int argc, char **argv)
{
	int device;

	if (argc != 4) {
		fputs("Usage: calls DIRECTORY DEVICE SPARE-DEVICE\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	directory = opened(argv[1], O_RDONLY);
	device = opened(argv[2], O_RDONLY);
	wrong_files(argv[1], argv[3]);
	wrong_options("the directory", directory);
	wrong_options("the device", device);
	wrong_order();
	no_descriptors(device);
	no_rights(device);
	no_engine();
	printf("%d passed, %d failed, 0 skipped\n", passed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
