// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a process gives up that goes on for long. Part of the helper and of the tool. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "confine.h"

/* Calls have the same numbers on several machines, so the filter has to know for which it was made. */
#if defined(__x86_64__) && defined(__LP64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define MACHINE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define MACHINE AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define MACHINE AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define MACHINE AUDIT_ARCH_S390X
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOW_HALF 0
#else
#define LOW_HALF 4
#endif

int keep_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &header, data))
		return -errno;
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].permitted &= (uint32_t)(keep >> 32 * i);
		data[i].effective &= data[i].permitted;
		/* With these the ambient ones go, too. */
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &header, data) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return 0;
}

#ifdef MACHINE

#define LOAD(what) \
	(struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))
#define RETURN(what) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, what)
#define UNLESS(value, steps) \
	(struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, steps)

#define MAX_STEPS 6

/* The instructions that let this call pass; any other goes on behind them. */
static size_t put(struct sock_filter *at, const struct allowed_call *allowed)
{
	size_t n = 0;

	at[n++] = UNLESS((uint32_t)allowed->call, allowed->mask ? 5 : 1);
	if (allowed->mask) {
		at[n] = LOAD(args);
		at[n++].k += allowed->argument * sizeof(uint64_t) + LOW_HALF;
		at[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, allowed->mask);
		at[n++] = UNLESS(allowed->value, 1);
	}
	at[n++] = RETURN(SECCOMP_RET_ALLOW);
	if (allowed->mask)
		at[n++] = LOAD(nr);
	return n;
}

int keep_calls(const struct allowed_call *allowed, size_t count)
{
	const struct sock_filter begin[] = {
		LOAD(arch),
		UNLESS(MACHINE, 3),
		LOAD(nr),
		UNLESS(SYS_clone3, 2),
		RETURN(SECCOMP_RET_ERRNO | ENOSYS),
		RETURN(SECCOMP_RET_ERRNO | EPERM),
	};
	const size_t most = sizeof(begin) / sizeof(begin[0]) + count * MAX_STEPS + 1;
	struct sock_filter *filter = calloc(most, sizeof(*filter));
	struct sock_fprog program = {.filter = filter};
	size_t n = sizeof(begin) / sizeof(begin[0]);
	int ret;

	if (!filter)
		return -ENOMEM;
	memcpy(filter, begin, sizeof(begin));
	for (size_t i = 0; i < count; i++)
		n += put(filter + n, &allowed[i]);
	filter[n++] = RETURN(SECCOMP_RET_ERRNO | EPERM);
	program.len = (unsigned short)n;
	/* Nothing here runs code of others: without SPEC_ALLOW it would be slowed down as if, before 5.16. */
	ret = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		      &program);
	if (ret)
		ret = -errno;
	free(filter);
	return ret;
}

#else

int keep_calls(const struct allowed_call *allowed, size_t count)
{
	return -ENOSYS;
}

#endif
