/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FREEZEFD_GUARD_H
#define FREEZEFD_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Makes the caller, and what it starts, wait in FIFREEZE and FITHAW for an answer that who has the
 * returned descriptor gives. -EBUSY: somebody else has one already.
 */
int filter_install(void);

struct caller {
	pid_t process;
	bool admin; /* CAP_SYS_ADMIN in effect, in our user namespace */
};

/* Of a thread; false when there is none any more. */
bool caller_read(pid_t thread, struct caller *caller);
/*
 * A copy of its descriptor, or a negative errno value: -EBADF as ioctl(2) has it, -EOPNOTSUPP for a
 * thread that does not share those of its process, before Linux 6.9.
 */
int caller_file(pid_t thread, int fd);
/* It has been killed or exits, but something keeps it: what it has frozen, say. */
bool process_dies(pid_t process);

#endif /* FREEZEFD_GUARD_H */
