/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FREEZEFD_SPAWN_H
#define FREEZEFD_SPAWN_H

#include <stddef.h>

/*
 * Start a helper program of ours that is no child of the caller: it neither
 * gets a SIGCHLD nor has anything to wait for. The helper has fds as its
 * descriptors from 0 on and nothing else open, all signals blocked, no arguments
 * and no environment. Returns 0 or a negative errno value.
 */
int spawn_helper(const char *name, const int *fds, size_t count);

#endif /* FREEZEFD_SPAWN_H */
