/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the library has for the tool alone: not for other programs, it may change at any time. */
#ifndef FREEZEFD_PRIVATE_H
#define FREEZEFD_PRIVATE_H

/* Tasks that wait for the end of a freeze. */
struct waiters {
	unsigned int count;
	/* The processes of the first ones, each once. None in a PID namespace that is not the first. */
	unsigned int processes;
	int pid[16];
	unsigned int listed; /* how many of the tasks are theirs */
};

/*
 * Of the filesystem of an open file or on a block device, with whatever engine.
 * Needs BPF: -ENOSYS or -EPERM without. -EAGAIN when they come and go too fast to be counted.
 */
int private_freezefd_waiters(int any_fd, struct waiters *waiters);

#endif /* FREEZEFD_PRIVATE_H */
