// SPDX-License-Identifier: GPL-2.0-or-later
/* What is left to a process that has given up the rest. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>

#include "../../common/confine.h"
#include "unit.h"

static const struct allowed_call allowed[] = {
	{.call = SYS_getpid},
	{.call = SYS_lseek, .argument = 2, .mask = UINT32_MAX, .value = SEEK_SET},
	{.call = SYS_lseek, .argument = 2, .mask = UINT32_MAX, .value = SEEK_END},
	{.call = SYS_mprotect, .argument = 2, .mask = PROT_EXEC, .value = 0},
	{.call = SYS_exit_group},
};

/* In a child that may only do so: the error of a call, 0: none. */
static int error_of(long call, long a, long b, long c)
{
	int status;
	pid_t child = fork();

	if (!child) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    keep_calls(allowed, sizeof(allowed) / sizeof(allowed[0])))
			_exit(255);
		_exit(syscall(call, a, b, c) < 0 ? errno : 0);
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static int right_of(uint64_t keep)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	int status;
	pid_t child = fork();

	if (!child) {
		if (keep_capabilities(keep) || syscall(SYS_capget, &header, data))
			_exit(255);
		_exit((data[0].permitted & ~(uint32_t)keep) ||
		      (data[1].permitted & ~(uint32_t)(keep >> 32)) || data[0].inheritable ||
		      prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1);
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

int main(void)
{
	check_equal(right_of(0), 0, "no capability is kept");
	check_equal(right_of(1ULL << CAP_SYS_ADMIN | 1ULL << CAP_BPF), 0,
		    "two are kept at the most");
	if (error_of(SYS_getpid, 0, 0, 0) == 255) {
		puts("# no filters of system calls here");
		return summary();
	}
	check_equal(error_of(SYS_getpid, 0, 0, 0), 0, "an allowed call is made");
	check_equal(error_of(SYS_getppid, 0, 0, 0), EPERM, "another one is not");
	check_equal(error_of(SYS_lseek, -1, 0, SEEK_SET), EBADF,
		    "one of several arguments is allowed");
	check_equal(error_of(SYS_lseek, -1, 0, SEEK_END), EBADF, "and the other one");
	check_equal(error_of(SYS_lseek, -1, 0, SEEK_CUR), EPERM, "a third one is not");
	/* The kernel takes 32 bits of it. */
	check_equal(error_of(SYS_mprotect, 0, 0, PROT_READ), 0, "bits that are not looked at");
	check_equal(error_of(SYS_mprotect, 0, 0, PROT_READ | PROT_EXEC), EPERM,
		    "a bit that must be 0");
	check_equal(error_of(SYS_clone3, 0, 0, 0), ENOSYS, "clone3 is as on an old kernel");
	check_equal(error_of(SYS_execve, 0, 0, 0), EPERM, "no program is executed");
	return summary();
}
