// SPDX-License-Identifier: GPL-2.0-or-later
/* The seccomp filter of freezefd guard. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guard.h"
#include "tool.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* Those that a kernel of the machine's own architecture can run, too. */
static int add_architectures(scmp_filter_ctx filter)
{
	static const uint32_t also[][2] = {
		{SCMP_ARCH_X86_64, SCMP_ARCH_X86},  {SCMP_ARCH_X86_64, SCMP_ARCH_X32},
		{SCMP_ARCH_AARCH64, SCMP_ARCH_ARM}, {SCMP_ARCH_S390X, SCMP_ARCH_S390},
		{SCMP_ARCH_PPC64, SCMP_ARCH_PPC},
	};
	int ret = 0;

	for (size_t i = 0; !ret && i < ARRAY_SIZE(also); i++)
		if (also[i][0] == seccomp_arch_native())
			ret = seccomp_arch_add(filter, also[i][1]);
	return ret;
}

static int add_calls(scmp_filter_ctx filter)
{
	static const uint32_t calls[] = {FIFREEZE, FITHAW};
	int ret = 0;

	/* The kernel takes 32 bits; what is above them is a sign with some C libraries. */
	for (size_t i = 0; !ret && i < ARRAY_SIZE(calls); i++)
		ret = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(ioctl), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, calls[i]));
	return ret;
}

/* By hand, because libseccomp 2.5 cannot set the flags. */
static int load(const struct sock_fprog *program)
{
	/* Who has been heard waits through signals that do not kill it: Linux 5.19. */
	const unsigned long wait = SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	/* This is no sandbox: before 5.16 the kernel would slow it down like one. */
	const unsigned long flags =
		SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | wait, program);

	if (fd < 0 && errno == EINVAL)
		fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
	return fd < 0 ? -errno : (int)fd;
}

static int load_file(int file)
{
	struct sock_fprog program;
	struct stat st;
	int ret;

	if (fstat(file, &st))
		return -errno;
	program.len = (unsigned short)((size_t)st.st_size / sizeof(*program.filter));
	program.filter = array(NULL, program.len, sizeof(*program.filter));
	if (pread(file, program.filter, (size_t)st.st_size, 0) == st.st_size)
		ret = load(&program);
	else
		ret = -EIO;
	free(program.filter);
	return ret;
}

int filter_install(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int file = memfd_create("filter", MFD_CLOEXEC | MFD_NOEXEC_SEAL), ret;

	if (file < 0 && errno == EINVAL) /* before Linux 6.3 */
		file = memfd_create("filter", MFD_CLOEXEC);
	ret = file < 0 ? -errno : -ENOMEM;
	if (filter && file >= 0)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
	if (!ret)
		ret = add_architectures(filter);
	if (!ret)
		ret = add_calls(filter);
	if (!ret)
		ret = seccomp_export_bpf(filter, file);
	if (!ret)
		ret = load_file(file);
	if (file >= 0)
		close(file);
	seccomp_release(filter);
	return ret;
}
