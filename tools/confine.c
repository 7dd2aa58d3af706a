// SPDX-License-Identifier: GPL-2.0-or-later
/* What a detached hold and a monitor give up: they go on for long, and need little. */
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../common/confine.h"
#include "tool.h"

static const struct allowed_call hold_calls[] = {
	/* To wait for who releases it, and to tell him. */
	ANY(ppoll),
	ANY(accept4),
	ANY(unlinkat),
	ANY(dup3),
	ANY(read),
	ANY(write),
	ANY(writev),
	ANY(close),
	/* To thaw, with the descriptors of each engine. */
	ANY(ioctl),
	ANY(fcntl),
	ANY(getpeername),
	ANY(socketpair),
	ANY(sendmsg),
	ANY(recvmsg),
	ANY(recvfrom),
	ANY(setsockopt),
	ANY(shutdown),
	/* What lies on what. */
	ONLY(openat, 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY),
	ANY(getdents64),
	ANY(readlinkat),
	ANY(statx),
	ANY(fstat),
	ANY(lseek),
#ifdef SYS_newfstatat
	ANY(newfstatat),
#endif
	ANY(faccessat),
	/* The journal. */
	ANY(timerfd_create),
	ANY(timerfd_settime),
	ONLY(socket, 0, UINT32_MAX, 1 /* AF_UNIX */),
	ANY(connect),
	ANY(sendto),
	ONLY(clone, CLONE_ARG_FLAGS, CLONE_THREAD, CLONE_THREAD),
	CALLS_OF_EACH,
/* As the C library of this machine calls some of them. */
#ifdef SYS_open
	ONLY(open, 1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY),
	ANY(poll),
	ANY(dup2),
	ANY(unlink),
	ANY(readlink),
	ANY(access),
	ANY(stat),
#endif
};

void confine_hold(void)
{
	/* Who has the descriptor needs no right to thaw. All memory stays locked. */
	keep_capabilities(CAP(IPC_LOCK));
	keep_calls(hold_calls, ARRAY_SIZE(hold_calls));
}

/* Those that freezefd-metrics.service has, too. */
void confine_monitor(void)
{
	keep_capabilities(CAP(SYS_ADMIN) | CAP(BPF) | CAP(PERFMON) | CAP(SYS_PTRACE) |
			  CAP(DAC_READ_SEARCH) | CAP(DAC_OVERRIDE) | CAP(SYS_RESOURCE));
}
