// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a process gives up that goes on for long. Part of the helper and of the tool. */
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>
#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

#include "confine.h"

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

#ifdef HAVE_SECCOMP

int keep_calls(const struct allowed_call *allowed, size_t count)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int ret;

	if (!filter)
		return -ENOMEM;
	ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	for (size_t i = 0; i < count && !ret; i++)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, (int)allowed[i].call,
				       allowed[i].mask ? 1 : 0,
				       SCMP_CMP(allowed[i].argument, SCMP_CMP_MASKED_EQ,
						allowed[i].mask, allowed[i].value));
	/* Nothing here runs code of others: before 5.16 a filter would slow it down as if. */
	if (!ret)
		seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	ret = ret ?: seccomp_load(filter);
	seccomp_release(filter);
	return ret;
}

#else

int keep_calls(const struct allowed_call *allowed, size_t count)
{
	return -ENOSYS;
}

#endif
