/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a process gives up that goes on for long: capabilities, new privileges, system calls. */
#ifndef FREEZEFD_CONFINE_H
#define FREEZEFD_CONFINE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

/* A system call that stays allowed: if of its argument, from 0 on, the bits of mask are those of value. */
struct allowed_call {
	long call;
	unsigned int argument;
	uint32_t mask, value; /* mask 0: with any arguments */
};

#define ANY(name)                  \
	{                          \
		.call = SYS_##name \
	}
#define ONLY(name, arg, bits, val)                                              \
	{                                                                       \
		.call = SYS_##name, .argument = arg, .mask = bits, .value = val \
	}

#ifdef SYS_rseq
#define RSEQ ANY(rseq),
#else
#define RSEQ
#endif

/*
 * What the C library does in every process that has threads, and to end it, also by abort(3). It asks how many heaps are
 * worth their memory (sched_getaffinity). Of memory none may be executed that could be written. Needs <sys/mman.h>.
 */
#define CALLS_OF_EACH                                                                              \
	ANY(futex), ANY(set_robust_list), RSEQ ANY(rt_sigaction), ANY(rt_sigprocmask),             \
		ANY(rt_sigreturn), ANY(restart_syscall), ANY(clock_gettime), ANY(clock_nanosleep), \
		ANY(nanosleep), ANY(sched_getaffinity), ANY(brk), ONLY(mmap, 2, PROT_EXEC, 0),     \
		ONLY(mprotect, 2, PROT_EXEC, 0), ANY(munmap), ANY(mremap), ANY(madvise),           \
		ANY(getpid), ANY(gettid), ANY(tgkill), ANY(exit), ANY(exit_group)

#define CAP(name) (UINT64_C(1) << CAP_##name) /* needs <linux/capability.h> */

/* Which of the arguments of clone(2) the flags are. */
#ifdef __s390x__
#define CLONE_ARG_FLAGS 1
#else
#define CLONE_ARG_FLAGS 0
#endif

/*
 * Of its capabilities this thread keeps those whose bits are set, if it has them, and no program
 * that it executes gets more. 0 or a negative errno value.
 */
int keep_capabilities(uint64_t keep);

/*
 * This thread, and what it starts from now on, makes no other call: that fails with EPERM. Nobody is
 * killed, because the end of who holds would break the hold. clone3(2), whose arguments no filter sees,
 * fails with ENOSYS, and the C library uses clone(2). 0, or a negative errno value where the kernel
 * has no filters, or this was built without libseccomp.
 */
int keep_calls(const struct allowed_call *allowed, size_t count);

#endif /* FREEZEFD_CONFINE_H */
