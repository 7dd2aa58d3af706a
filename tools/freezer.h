/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the process that freezes has to do. */
#ifndef FREEZEFD_FREEZER_H
#define FREEZEFD_FREEZER_H

#include "tool.h"

struct work {
	const struct request *request;
	int socket;
	struct target *target;
	_Atomic size_t opened; /* targets that may be looked at */
	char **uuid;	       /* of each, for a report */
	const char *_Atomic opening;
};

/* freezer-targets.c; each complains */

/* False: do not go on. */
bool freezer_open_targets(struct work *work);
/* Does somewhere that is written to meanwhile lie on a target: a log, swap? */
bool freezer_would_wait(const struct work *work);

#endif /* FREEZEFD_FREEZER_H */
