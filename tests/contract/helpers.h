/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two processes behind a hold of the guardian engine, for the tests that are about them. */
#ifndef CONTRACT_HELPERS_H
#define CONTRACT_HELPERS_H

#include "contract.h"

/* To the guardian of the filesystem under test; a negative errno value when there is none. */
int connect_to_guardian(void);
void wait_no_guardian(void);
void get_pair(pid_t *guardian, pid_t *watcher);
/* Both, so that neither continues the other. */
void stop_pair(pid_t guardian, pid_t watcher);
void continue_pair(pid_t guardian, pid_t watcher);

#endif /* CONTRACT_HELPERS_H */
