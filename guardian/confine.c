// SPDX-License-Identifier: GPL-2.0-or-later
/* What guardian and watcher give up before anything is frozen. */
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/fs.h>

#include "../common/confine.h"
#include "process.h"

#define NAMESPACES                                                                                 \
	(CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | \
	 CLONE_NEWCGROUP)

static const struct allowed_call allowed[] = {
	/* The filesystem: freeze, thaw, sync, its unseen mount. */
	ONLY(ioctl, 1, UINT32_MAX, (uint32_t)FIFREEZE),
	ONLY(ioctl, 1, UINT32_MAX, (uint32_t)FITHAW),
	ANY(syncfs),
	ANY(fsopen),
	ANY(fsconfig),
	ANY(fsmount),
	/* Only for reading, and nothing that is not there. */
	ONLY(openat, 2, O_ACCMODE | O_CREAT | O_TRUNC | O_PATH, O_RDONLY),
	/* Its superblock. */
	ONLY(bpf, 0, UINT32_MAX, BPF_PROG_TEST_RUN),
	ONLY(bpf, 0, UINT32_MAX, BPF_MAP_LOOKUP_ELEM),
	ONLY(bpf, 0, UINT32_MAX, BPF_MAP_DELETE_ELEM),
	ANY(getrandom),
#ifdef SYS_newfstatat
	ANY(newfstatat),
#endif
	ANY(fstat),
	/* Those who hold. */
	ANY(accept4),
	ANY(recvmsg),
	ANY(sendto),
	ANY(sendmsg),
	ANY(shutdown),
	ANY(getsockopt),
	ONLY(setsockopt, 2, UINT32_MAX, SO_PASSCRED),
	ANY(getpeername),
	ANY(close),
	ANY(read),
	ANY(write),
	ANY(unlinkat),
	/* The loop, its thread, the other process. */
	ANY(epoll_create1),
	ANY(epoll_ctl),
	ANY(epoll_pwait),
	ANY(ppoll),
#ifdef SYS_epoll_wait
	ANY(epoll_wait),
	ANY(poll),
#endif
	ANY(eventfd2),
	ANY(pipe2),
	ONLY(fcntl, 1, UINT32_MAX, F_SETFL),
#ifdef SYS_fcntl64
	ONLY(fcntl64, 1, UINT32_MAX, F_SETFL),
#endif
	ONLY(clone, CLONE_ARG_FLAGS, NAMESPACES, 0),
	ANY(pidfd_open),
	ANY(pidfd_send_signal),
	ANY(kill),
	ANY(wait4),
	ANY(rt_sigtimedwait),
	ANY(mlockall),
	CALLS_OF_EACH,
};

void confine(void)
{
	/*
	 * To freeze, to mount and to run the program; to open the root directory, whoever it belongs to,
	 * without changing its time of access; and to have all memory locked.
	 */
	keep_capabilities(CAP(SYS_ADMIN) | CAP(DAC_READ_SEARCH) | CAP(FOWNER) | CAP(IPC_LOCK));
	/* Best effort, like all that the client may have been denied. */
	keep_calls(allowed, sizeof(allowed) / sizeof(allowed[0]));
}
