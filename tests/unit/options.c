// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the library refuses by itself. The target is /proc, which no engine can
 * freeze: what is not refused fails all the same, on any kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <freezefd.h>

#include "unit.h"

static int target;

struct larger {
	struct freezefd_options options;
	char later[16];
};

#define OPTIONS(...) \
	(&(struct freezefd_options){.size = sizeof(struct freezefd_options), __VA_ARGS__})

#define SIZED(n) (&(struct freezefd_options){.size = (n)})

static void refused(const struct freezefd_options *options, int err, const char *what)
{
	check_equal(freezefd_open(target, options), err, what);
}

static void accepted(const struct freezefd_options *options, const char *what)
{
	int ret = freezefd_open(target, options);

	if (!check(ret == -ENOSYS || ret == -EOPNOTSUPP || ret == -EPERM, what))
		printf("#   got %d\n", ret);
}

static void options(void)
{
	struct larger larger = {.options.size = sizeof(larger)};

	accepted(NULL, "no options");
	accepted(OPTIONS(), "empty options");
	accepted(OPTIONS(.flags = FREEZEFD_THAWED | FREEZEFD_MAY_STAY_FROZEN),
		 "the flags that there are");
	accepted(OPTIONS(.timeout_ns = INT64_MAX), "the longest timeout");
	accepted(OPTIONS(.engine = "native"), "an engine");
	accepted(&larger.options, "a larger struct, the rest zero");

	refused(SIZED(0), -EINVAL, "a struct without size");
	refused(SIZED(sizeof(struct freezefd_options) - 1), -EINVAL, "a small struct");
	refused(OPTIONS(.flags = 4), -EINVAL, "an unknown flag");
	refused(OPTIONS(.flags = FREEZEFD_THAWED | 0x80000000), -EINVAL, "a high unknown flag");
	refused(OPTIONS(.reserved = 1), -EINVAL, "a reserved field");
	refused(OPTIONS(.timeout_ns = INT64_MAX + UINT64_C(1)), -EINVAL,
		"a timeout that is too long");
	refused(OPTIONS(.timeout_ns = UINT64_MAX), -EINVAL, "the largest number");
	refused(OPTIONS(.engine = "no such engine"), -EINVAL, "an unknown engine");
	refused(OPTIONS(.engine = ""), -EINVAL, "an engine without a name");
	larger.later[15] = 1;
	refused(&larger.options, -E2BIG, "a larger struct with something unknown");
	refused(SIZED(SIZE_MAX), -E2BIG, "a size that was never set");
}

static void descriptors(void)
{
	int path = open("/proc", O_PATH | O_CLOEXEC);
	struct freezefd_status status;

	check_equal(freezefd_open(-1, NULL), -EBADF, "open: no descriptor");
	check_equal(freezefd_open(path, NULL), -EBADF, "open: O_PATH");
	check_equal(freezefd_open(-1, OPTIONS(.flags = 4)), -EBADF,
		    "open: no descriptor, bad options");
	check_equal(freezefd_status(-1, &status), -EBADF, "status: no descriptor");
	check_equal(freezefd_status(path, &status), -EBADF, "status: O_PATH");
	check_equal(freezefd_thaw_force(-1), -EBADF, "thaw_force: no descriptor");
	check_equal(freezefd_thaw_force(path), -EBADF, "thaw_force: O_PATH");
	check_equal(freezefd_freeze(-1), -EBADF, "freeze: no descriptor");
	check_equal(freezefd_thaw(-1), -EBADF, "thaw: no descriptor");
	check_equal(freezefd_set_timeout(-1, 0), -EBADF, "set_timeout: no descriptor");
	check_equal(freezefd_freeze(target), -EINVAL, "freeze: not a freeze descriptor");
	check_equal(freezefd_thaw(target), -EINVAL, "thaw: not a freeze descriptor");
	check_equal(freezefd_set_timeout(target, 0), -EINVAL,
		    "set_timeout: not a freeze descriptor");
	errno = 0;
	check(!freezefd_engine(-1) && errno == EBADF, "engine: no descriptor");
	close(path);
}

static void environment(void)
{
	const char *best = freezefd_engine(target), *named;
	struct freezefd_status status;

	setenv("FREEZEFD_ENGINE", "", 1);
	check(freezefd_engine(target) == best, "an empty FREEZEFD_ENGINE is none");
	setenv("FREEZEFD_ENGINE", "no such engine", 1);
	refused(NULL, -EINVAL, "FREEZEFD_ENGINE unknown: open");
	check_equal(freezefd_status(target, &status), -EINVAL, "FREEZEFD_ENGINE unknown: status");
	check_equal(freezefd_thaw_force(target), -EINVAL, "FREEZEFD_ENGINE unknown: thaw_force");
	errno = 0;
	check(!freezefd_engine(target) && errno == EINVAL, "FREEZEFD_ENGINE unknown: engine");
	accepted(OPTIONS(.engine = "native"), "an option stands above FREEZEFD_ENGINE");
	setenv("FREEZEFD_ENGINE", "native", 1);
	errno = 0;
	named = freezefd_engine(target);
	check(named ? !strcmp(named, "native") : errno == ENOSYS, "FREEZEFD_ENGINE is heeded");
	unsetenv("FREEZEFD_ENGINE");
}

/* None of these may be taken for a freeze descriptor. */
static void others(void)
{
	struct {
		const char *name;
		int fd;
	} other[] = {
		{"an event counter", eventfd(0, EFD_CLOEXEC)},
		{"an epoll instance", epoll_create1(EPOLL_CLOEXEC)},
		{"a timer", timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC)},
		{"an inotify instance", inotify_init1(IN_CLOEXEC)},
		{"a socket", socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)},
		{"a memory file", memfd_create("options", MFD_CLOEXEC)},
		{"a character device", open("/dev/null", O_RDWR | O_CLOEXEC)},
	};

	for (size_t i = 0; i < sizeof(other) / sizeof(*other); i++) {
		check_equal(freezefd_thaw(other[i].fd), -EINVAL, other[i].name);
		close(other[i].fd);
	}
}

int main(void)
{
	unsetenv("FREEZEFD_ENGINE");
	target = open("/proc", O_RDONLY | O_CLOEXEC);
	if (target < 0) {
		perror("options: /proc");
		return 1;
	}
	options();
	descriptors();
	environment();
	others();
	close(target);
	return summary();
}
