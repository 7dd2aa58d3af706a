/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each test is one line; main() ends with return summary(). */
#ifndef UNIT_H
#define UNIT_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

static int passed, failed;

static inline bool check(bool ok, const char *what)
{
	printf("%s %d - %s\n", ok ? "ok" : "not ok", ++*(ok ? &passed : &failed), what);
	return ok;
}

/* Tells what it got, when that is not what it wanted. */
static inline void check_equal(int64_t got, int64_t wanted, const char *what)
{
	if (!check(got == wanted, what))
		printf("#   got %" PRId64 ", wanted %" PRId64 "\n", got, wanted);
}

static inline int summary(void)
{
	printf("%d passed, %d failed, 0 skipped\n", passed, failed);
	return failed != 0;
}

#endif /* UNIT_H */
