// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The calls of the ioctl fuzzer. A program is bytes: first what kind of actors there are, then for each call
 * its number and arguments. The actors share a table of files, or have copies and send each other some.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/freezefd.h>
#include <linux/freezefd_dev.h>
#include <linux/fs.h>

#include "ioctl.h"

int slot[SLOTS], pair[2];
static int device = -1; /* /dev/freezefd */
/* A page, and after it one that is not there. */
static uint8_t *page;
static bool alone;

/* --- judging --- */

#define ANY_FILE  EBADF, ENOTTY, EINTR
#define ANY_ERROR -1

static const int allowed[NR_CALLS][20] = {
	[CALL_STATUS] = {ANY_FILE, EINVAL, EFAULT, EOPNOTSUPP, ENODEV},
	[CALL_FREEZEFD] = {ANY_FILE, EPERM, EFAULT, EINVAL, E2BIG, EOPNOTSUPP, ENODEV, EBUSY, ETIME,
			   EMFILE, ENOMEM},
	[CALL_THAW_FORCE] = {ANY_FILE, EPERM, EINVAL, EOPNOTSUPP, ENODEV, EBUSY},
	[CALL_FREEZE] = {ANY_FILE, EINVAL, EBUSY, ETIME, ECANCELED, ESTALE},
	[CALL_THAW] = {ANY_FILE, EINVAL, ETIME, ECANCELED, ESTALE},
	[CALL_TIMEOUT] = {ANY_FILE, EFAULT, EINVAL, EPERM, ETIME, ECANCELED, ESTALE},
	[CALL_FIFREEZE] = {ANY_FILE, EPERM, EBUSY, EOPNOTSUPP},
	[CALL_FITHAW] = {ANY_FILE, EPERM, EINVAL, EOPNOTSUPP},
	[CALL_DEV_STATUS] = {ANY_FILE, EINVAL, EFAULT, EOPNOTSUPP, ENODEV},
	[CALL_DEV_FREEZEFD] = {ANY_FILE, EPERM, EFAULT, EINVAL, E2BIG, EOPNOTSUPP, ENODEV, EBUSY,
			       ETIME, EMFILE, ENOMEM},
	[CALL_DEV_THAW_FORCE] = {ANY_FILE, EPERM, EFAULT, EINVAL, EOPNOTSUPP, ENODEV, EBUSY},
	[CALL_OTHER] = {ANY_ERROR},
};

static int judge(enum call call, long ret, unsigned long cmd)
{
	const int err = ret < 0 ? errno : 0;

	shared->returned[call][err < MAX_ERRNO ? err : 0]++;
	if (!err || *allowed[call] == ANY_ERROR)
		return err;
	for (size_t i = 0; i < ARRAY_SIZE(allowed[call]); i++)
		if (allowed[call][i] == err)
			return err;
	fail("call %d (%#lx) returned %s", call, cmd, strerror(err));
	return err;
}

/* --- arguments --- */

int *any_slot(struct actor *actor)
{
	const uint8_t kind = take(&actor->input);

	return &slot[kind < 96	  ? kind % FIRST_FREE
		     : kind < 240 ? FIRST_FREE + kind % (SLOTS - FIRST_FREE)
				  : kind % SLOTS];
}

/* Mostly a file that can be frozen. */
static int *target_slot(struct actor *actor)
{
	return actor->input.at < actor->input.end && *actor->input.at < 160
		       ? &slot[take(&actor->input) % 6]
		       : any_slot(actor);
}

/* Mostly one of the last freeze descriptors. */
static int *made_slot(struct actor *actor)
{
	return actor->input.at < actor->input.end && *actor->input.at < 200
		       ? &slot[actor->made[take(&actor->input) % 2]]
		       : any_slot(actor);
}

void put(struct actor *actor, int fd)
{
	const int number = FIRST_FREE + take(&actor->input) % (SLOTS - FIRST_FREE),
		  old = slot[number];

	if (fd < 0)
		return;
	slot[number] = fd;
	close(old);
}

static void put_made(struct actor *actor, int fd)
{
	if (fd < 0)
		return;
	actor->made[1] = actor->made[0];
	actor->made[0] = FIRST_FREE + (actor->input.at < actor->input.end ? *actor->input.at : 0) %
					      (SLOTS - FIRST_FREE);
	put(actor, fd);
}

/* Mostly short, so that what waits for the thaw goes on. */
static uint64_t span(struct actor *actor)
{
	const uint8_t kind = take(&actor->input);

	return kind < 200   ? (kind % 16 + 1) * UINT64_C(500000)
	       : kind < 230 ? 0
			    : take_number(&actor->input);
}

/* A copy of what is to be the argument, mostly where it can be reached. */
static void *argument(struct actor *actor, const void *what, size_t size, size_t claimed)
{
	const uint8_t kind = take(&actor->input);
	const size_t room = 4096, used = claimed < room ? claimed : room;
	uint8_t *at = page + actor->number * 2 * room;
	size_t offset = 0;

	memset(at, kind == 1 ? 0xff : 0, room);
	if (kind == 2)
		return NULL;
	if (kind == 3)
		return (void *)(uintptr_t)take_number(&actor->input);
	/* At the end of the page, or over it: one byte more is a fault. */
	if (kind & 1)
		offset = room - used + (kind > 250 ? used / 2 + 1 : 0);
	if (offset > room)
		offset = room;
	if (size > room - offset)
		size = room - offset;
	memcpy(at + offset, what, size < used ? size : used);
	return at + offset;
}

static size_t any_size(struct actor *actor, size_t right)
{
	const uint8_t kind = take(&actor->input);

	if (kind < 160)
		return right;
	if (kind < 200)
		return right + kind % 16 - 8;
	return take_number(&actor->input) & _IOC_SIZEMASK;
}

static unsigned long sized(unsigned long call, size_t size)
{
	return (call & ~IOCSIZE_MASK) | (size & _IOC_SIZEMASK) << IOCSIZE_SHIFT;
}

static struct freezefd_args any_args(struct actor *actor)
{
	struct freezefd_args args = {.timeout_ns = span(actor)};
	const uint8_t kind = take(&actor->input);

	args.flags = kind < 180 ? kind % 4 == 0 : (uint32_t)take_number(&actor->input);
	args.reserved = kind > 240 ? (uint32_t)take_number(&actor->input) : 0;
	return args;
}

/* --- the calls that this is about --- */

static void check_status(const struct freeze_status *status, size_t size)
{
	if (size < sizeof(*status))
		return;
	if (status->state > FREEZE_STATE_FROZEN || status->hold > FREEZEFD_HOLD_GONE ||
	    status->reserved || status->bdev_holds > status->user_holds)
		fail("the status is none: state %u, hold %u, reserved %u", status->state,
		     status->hold, status->reserved);
}

static void do_status(struct actor *actor)
{
	static const struct freeze_status junk = {.state = 77, .reserved = 78};
	const size_t size = any_size(actor, sizeof(junk));
	const unsigned long cmd = sized(FS_IOC_FREEZE_STATUS, size);
	void *at = argument(actor, &junk, sizeof(junk), size);

	if (!judge(CALL_STATUS, ioctl(*any_slot(actor), cmd, at), cmd) && alone)
		check_status(at, size);
}

static void do_freezefd(struct actor *actor)
{
	const struct freezefd_args args = any_args(actor);
	const size_t size = any_size(actor, sizeof(args));
	const unsigned long cmd = sized(FS_IOC_FREEZEFD, size);
	void *at = argument(actor, &args, sizeof(args), size);
	const int fd = ioctl(*target_slot(actor), cmd, at);

	judge(CALL_FREEZEFD, fd, cmd);
	put_made(actor, fd);
}

static void do_thaw_force(struct actor *actor)
{
	judge(CALL_THAW_FORCE, ioctl(*target_slot(actor), FS_IOC_THAW_FORCE, 0), FS_IOC_THAW_FORCE);
}

static void do_freeze(struct actor *actor)
{
	judge(CALL_FREEZE, ioctl(*made_slot(actor), FREEZEFD_IOC_FREEZE, 0), FREEZEFD_IOC_FREEZE);
}

static void do_thaw(struct actor *actor)
{
	judge(CALL_THAW, ioctl(*made_slot(actor), FREEZEFD_IOC_THAW, 0), FREEZEFD_IOC_THAW);
}

static void do_timeout(struct actor *actor)
{
	const uint64_t ns = span(actor);
	void *at = argument(actor, &ns, sizeof(ns), sizeof(ns));

	judge(CALL_TIMEOUT, ioctl(*made_slot(actor), FREEZEFD_IOC_TIMEOUT, at),
	      FREEZEFD_IOC_TIMEOUT);
}

static void do_fifreeze(struct actor *actor)
{
	judge(CALL_FIFREEZE, ioctl(*target_slot(actor), FIFREEZE, 0), FIFREEZE);
}

static void do_fithaw(struct actor *actor)
{
	judge(CALL_FITHAW, ioctl(*target_slot(actor), FITHAW, 0), FITHAW);
}

/* Any number near ours, in any direction, of any size. */
static void do_other(struct actor *actor)
{
	const uint8_t bits = take(&actor->input);
	const unsigned long cmd = _IOC(bits & 3, 0x15, 0x40 + (bits >> 2) % 12,
				       take_number(&actor->input) & _IOC_SIZEMASK);
	const int fd = bits > 240 && device >= 0 ? device : *any_slot(actor);
	const long ret = ioctl(fd, cmd, argument(actor, &cmd, sizeof(cmd), _IOC_SIZE(cmd)));

	judge(CALL_OTHER, ret, cmd);
	/* It may be a call that makes one. */
	if (ret > 2)
		put(actor, (int)ret);
}

static void do_device(struct actor *actor)
{
	const uint8_t kind = take(&actor->input);
	union {
		struct freezefd_dev_status status;
		struct freezefd_dev_args args;
		struct freezefd_dev_target target;
	} arg = {0};
	static const struct {
		enum call call;
		unsigned long cmd;
		size_t size;
	} calls[] = {
		{CALL_DEV_STATUS, FREEZEFD_DEV_STATUS, sizeof(arg.status)},
		{CALL_DEV_FREEZEFD, FREEZEFD_DEV_FREEZEFD, sizeof(arg.args)},
		{CALL_DEV_THAW_FORCE, FREEZEFD_DEV_THAW_FORCE, sizeof(arg.target)},
	};
	const size_t which = kind % ARRAY_SIZE(calls), size = any_size(actor, calls[which].size);
	const unsigned long cmd = sized(calls[which].cmd, size);
	int ret;

	if (device < 0)
		return;
	arg.target.fd = kind > 250 ? (int)take_number(&actor->input) : *target_slot(actor);
	arg.target.reserved = kind > 240 ? take(&actor->input) : 0;
	if (which == 1)
		arg.args.args = any_args(actor);
	ret = ioctl(device, cmd, argument(actor, &arg, calls[which].size, size));
	judge(calls[which].call, ret, cmd);
	if (which == 1)
		put_made(actor, ret);
}

/* --- running them --- */

static void (*const calls[])(struct actor *actor) = {
	do_status,  do_freezefd, do_freezefd, do_freezefd, do_thaw_force, do_freeze,
	do_freeze,  do_thaw,	 do_thaw,     do_timeout,  do_timeout,	  do_fifreeze,
	do_fithaw,  do_other,	 do_device,   do_device,   do_device,	  do_open,
	do_copy,    do_close,	 do_close,    do_io,	   do_io,	  do_send,
	do_receive, do_rights,	 do_sleep,    do_mount,	   do_rest,
};

static void *act(void *arg)
{
	struct actor *actor = arg;

	while (actor->input.at < actor->input.end && !shared->failed)
		calls[take(&actor->input) % ARRAY_SIZE(calls)](actor);
	return NULL;
}

/* One of each kind. */
static void open_slots(void)
{
	static const struct {
		const char *path;
		int flags;
	} files[] = {
		{"a", O_RDONLY},       {"a/file", O_RDWR},
		{"a/file", O_PATH},    {"b", O_RDONLY},
		{"b/file", O_RDWR},    {"b/sub/dir", O_RDONLY},
		{"o/x", O_RDONLY},     {"/proc/self/status", O_RDONLY},
		{"/dev/null", O_RDWR}, {".", O_RDONLY},
		{"t", O_RDWR},	       {"/sys", O_RDONLY},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(files); i++)
		slot[i] = open(files[i].path, files[i].flags | O_CLOEXEC | O_NONBLOCK);
	for (int fs = 0; fs <= NR_FS; fs++)
		slot[i++] = open(disk[fs], O_RDONLY | O_CLOEXEC);
	pipe2(&slot[i], O_CLOEXEC | O_NONBLOCK);
	i += 2;
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, &slot[i]);
	i += 2;
	while (i < SLOTS)
		slot[i++] = -1;
	device = open("/dev/freezefd", O_RDWR | O_CLOEXEC);
	socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

void run_program(const uint8_t *program, size_t size)
{
	struct actor actor[ACTORS];
	const uint8_t kind = size ? *program % 3 : 0;
	pthread_t thread;

	page = mmap(NULL, ACTORS * 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	for (int i = 0; i < ACTORS; i++) {
		const uint8_t *middle = program + size / 2;

		munmap(page + i * 8192 + 4096, 4096);
		actor[i] = (struct actor){.number = i};
		actor[i].input = !kind ? (struct input){program + !!size, program + size}
				 : i   ? (struct input){middle, program + size}
				       : (struct input){program + 1, middle};
	}
	alone = !kind;
	open_slots();
	if (kind == 1 && size > 2 && !pthread_create(&thread, NULL, act, &actor[1])) {
		act(&actor[0]);
		pthread_join(thread, NULL);
	} else if (kind == 2 && size > 2 && !fork()) {
		act(&actor[1]);
	} else {
		act(&actor[0]);
		while (wait(NULL) > 0)
			;
	}
	_exit(0);
}
