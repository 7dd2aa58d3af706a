// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * freezefd-load-bpf: loads the program that reads superblocks and hands it to
 * the library that asked, on the socket that is its standard input. Apart from
 * the library, so that programs which use that get neither libbpf nor what it
 * has to say. Run from a terminal it tells why the program cannot be loaded.
 */
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <linux/capability.h>

#include "../common/confine.h"
#include "../common/pass.h"
#include "../common/superblock-bpf.h"

extern const unsigned char _binary_bpf_superblock_bpf_start[], _binary_bpf_superblock_bpf_end[];

/* The errno value and, when it is 0, the program and its map. */
static int hand_over(int socket, int error, const int *fds)
{
	return send_fds(socket, &error, sizeof(error), fds, error ? 0 : 2, 0);
}

/* The id of a superblock must not be its address: see superblock.bpf.c. */
static int set_secret(struct bpf_object *bpf)
{
	struct bpf_map *rodata = bpf_object__find_map_by_name(bpf, ".rodata");
	uint32_t secret[SB_SECRET_WORDS];

	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return -errno;
	if (!rodata || bpf_map__value_size(rodata) != sizeof(secret))
		return -EINVAL;
	return bpf_map__set_initial_value(rodata, secret, sizeof(secret));
}

/*
 * libbpf makes two copies of the kernel's BTF, some megabytes each, and half of the
 * time goes into the page faults of that. Let all come from one heap of huge pages.
 */
static void prepare_heap(void)
{
	const uintptr_t huge = 2 << 20;
	uintptr_t begin, end;
	void *volatile some; /* or the compiler leaves it out */

	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 32 << 20);
	begin = (uintptr_t)sbrk(0);
	some = malloc(1 << 20);
	free(some);
	end = (uintptr_t)sbrk(0);
	begin = (begin + huge - 1) & -huge;
	if (begin < end)
		madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

static int load(int fds[2])
{
	struct bpf_object *bpf;
	int ret;

	/* Asked before libbpf asks, whose answer would be the same for several reasons. */
	if (access("/sys/kernel/btf/vmlinux", R_OK)) {
		fprintf(stderr,
			"freezefd-load-bpf: the kernel has no BTF: no /sys/kernel/btf/vmlinux\n");
		return -ENOSYS;
	}
	prepare_heap();
	bpf = bpf_object__open_mem(_binary_bpf_superblock_bpf_start,
				   (uintptr_t)_binary_bpf_superblock_bpf_end -
					   (uintptr_t)_binary_bpf_superblock_bpf_start,
				   NULL);
	if (!bpf)
		return -errno;
	ret = set_secret(bpf);
	if (!ret)
		ret = bpf_object__load(bpf);
	if (ret)
		return ret;
	fds[0] = bpf_program__fd(bpf_object__find_program_by_name(bpf, "superblock"));
	fds[1] = bpf_object__find_map_fd_by_name(bpf, "answers");
	return fds[0] < 0 ? fds[0] : fds[1] < 0 ? fds[1] : 0;
}

static int silent(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return 0;
}

int main(void)
{
	int type, fds[2], ret;
	socklen_t len = sizeof(type);

	/* To load it, to find the types of modules, to lock memory before Linux 5.11. */
	keep_capabilities(CAP(BPF) | CAP(PERFMON) | CAP(SYS_ADMIN) | CAP(SYS_RESOURCE));
	if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &len) == 0) {
		libbpf_set_print(silent);
		ret = load(fds);
		/* Whatever else it was: nothing can be read here. */
		if (ret && ret != -EPERM && ret != -ENOMEM)
			ret = -ENOSYS;
		return hand_over(STDIN_FILENO, -ret, fds) ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	ret = load(fds);
	if (ret)
		fprintf(stderr, "freezefd-load-bpf: %s%s\n", strerror(-ret),
			ret == -EPERM
				? ": needs CAP_BPF and CAP_PERFMON, and no lockdown of the kernel"
				: "");
	else
		puts("freezefd-load-bpf: the kernel lets superblocks be read");
	return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}
