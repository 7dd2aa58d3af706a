// SPDX-License-Identifier: GPL-2.0-or-later
/* C6: one descriptor can thaw and freeze again and again. */
#include <sys/mman.h>

#include "contract.h"

TEST(C6, "a freeze blocks writers and a thaw lets them go, every time")
{
	int fd = hold(dir);

	for (int i = 0; i < 10; i++) {
		pid_t writer = start_writer(dir);

		check_hold(fd, HELD);
		check_state(dir, FROZEN);
		wait_blocked(writer);
		check_eq(freezefd_thaw(fd), 0);
		check_hold(fd, NONE);
		check_state(dir, THAWED);
		reap(writer);
		check_eq(freezefd_freeze(fd), 0);
	}
}

TEST(C6, "a freeze on a descriptor that holds is EBUSY and adds nothing")
{
	int fd = hold(dir);

	check_eq(freezefd_freeze(fd), -EBUSY);
	check_eq(freezefd_freeze(fd), -EBUSY);
	check_eq(status_of(dir).fd_holds, 1);
	check_eq(freezefd_thaw(fd), 0);
	check_state(dir, THAWED);
}

TEST(C6, "a thaw on a descriptor that holds nothing is EINVAL")
{
	int fd = no_hold(dir);

	check_eq(freezefd_thaw(fd), -EINVAL);
	check_eq(freezefd_freeze(fd), 0);
	check_eq(freezefd_thaw(fd), 0);
	check_eq(freezefd_thaw(fd), -EINVAL);
}

TEST(C6, "a descriptor made thawed freezes nothing until it is told to")
{
	int fd = no_hold(dir);

	check_hold(fd, NONE);
	check_state(fd, THAWED);
	check_state(dir, THAWED);
	check_eq(status_of(dir).fd_holds, 0);
	check_eq(events(fd), 0);
	check_writable(dir);
	check_eq(freezefd_freeze(fd), 0);
	check_hold(fd, HELD);
	check_state(dir, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
	close(fd);
	check_state(dir, THAWED);
}

TEST(C6, "copies of a descriptor are one holder")
{
	int fd = hold(dir), copy = dup(fd);
	pid_t heir;

	check_eq(freezefd_freeze(copy), -EBUSY);
	check_eq(freezefd_thaw(copy), 0);
	check_hold(fd, NONE);
	check_eq(freezefd_thaw(fd), -EINVAL);
	IN_CHILD(heir)
		check_eq(freezefd_freeze(fd), 0);
	reap(heir);
	check_hold(copy, HELD);
	check_state(dir, FROZEN);
	check_eq(freezefd_thaw(copy), 0);
	check_state(dir, THAWED);
}

TEST(C6, "a write through a mapping waits as well")
{
	const size_t size = 1 << 16;
	int file = openat(dir, "mapped", O_CREAT | O_RDWR | O_CLOEXEC, 0600), fd;
	pid_t writer;
	char *map;

	check(file >= 0);
	check(!unlinkat(dir, "mapped", 0));
	check(!ftruncate(file, size));
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	check(map != MAP_FAILED);
	map[0] = 1;

	/* Written before and never written: both must fault, and wait, now. */
	fd = hold(dir);
	for (size_t offset = 0; offset < size; offset += size / 2) {
		IN_CHILD(writer)
			map[offset] = 2;
		wait_blocked(writer);
		check_eq(map[0], 1);
		check_eq(freezefd_thaw(fd), 0);
		reap(writer);
		check_eq(map[offset], 2);
		map[0] = 1;
		check_eq(freezefd_freeze(fd), 0);
	}
}

TEST(C6, "reading goes on while it is frozen")
{
	int file = openat(dir, "read", O_CREAT | O_RDWR | O_CLOEXEC, 0600), fd;
	pid_t reader;
	char byte;

	check(file >= 0);
	check(write(file, "x", 1) == 1);
	fd = hold(dir);
	IN_CHILD(reader) {
		check(openat(dir, "read", O_RDONLY | O_CLOEXEC) >= 0);
		check(pread(file, &byte, 1, 0) == 1 && byte == 'x');
	}
	reap(reader);
	check_eq(freezefd_thaw(fd), 0);
	check(!unlinkat(dir, "read", 0));
}
