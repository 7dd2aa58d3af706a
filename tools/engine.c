// SPDX-License-Identifier: GPL-2.0-or-later
/* The engine that was asked for by an option. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tool.h"

/* The library takes it from there, in every call. */
#define VARIABLE "FREEZEFD_ENGINE"

static bool replaced;
static char *before;

bool engine_option(const char *verb, const char *name)
{
	const char *value = getenv(VARIABLE);

	if (!replaced && value)
		before = copy(value);
	replaced = true;
	/* Whether it works is told for each target; whether there is such a one is told here. */
	if (*name && !setenv(VARIABLE, name, 1) &&
	    (freezefd_engine(STDIN_FILENO) || errno != EINVAL))
		return true;
	usage_error(verb, "'%s' is no engine; there are native and guardian", name);
	return false;
}

void engine_restore(void)
{
	if (replaced && before)
		setenv(VARIABLE, before, 1);
	else if (replaced)
		unsetenv(VARIABLE);
}
