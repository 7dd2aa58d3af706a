// SPDX-License-Identifier: GPL-2.0-or-later
/* Names that are no text, and text that is no name for a terminal. */
#include <stdlib.h>
#include <string.h>

#include "../../tools/tool.h"
#include "unit.h"

static void escapes(const char *string, bool controls, const char *wanted)
{
	char *got = escape(string, controls);

	/* What is wanted may be what confuses a terminal. */
	if (!check(!strcmp(got, wanted), controls ? wanted : "with controls as they are"))
		printf("#   got %s, wanted %s\n", got, wanted);
	free(got);
}

int main(void)
{
	for (int controls = 0; controls < 2; controls++) {
		escapes("", controls, "");
		escapes("/mnt/a b\"\\'", controls, "/mnt/a b\"\\'");
		escapes("\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", controls,
			"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80");
		escapes("a\xff\xfe"
			"b",
			controls, "a\\xff\\xfeb");
		/* Cut off, too long, half of a pair, out of range, and what should follow alone. */
		escapes("\xe2\x82", controls, "\\xe2\\x82");
		escapes("\xe2\x82"
			"A",
			controls, "\\xe2\\x82A");
		escapes("\xc0\xaf", controls, "\\xc0\\xaf");
		escapes("\xed\xa0\x80", controls, "\\xed\\xa0\\x80");
		escapes("\xf5\x80\x80\x80", controls, "\\xf5\\x80\\x80\\x80");
		escapes("\xf4\x90\x80\x80", controls, "\\xf4\\x90\\x80\\x80");
		escapes("\xf4\x8f\xbf\xbf", controls, "\xf4\x8f\xbf\xbf");
		escapes("A\x80", controls, "A\\x80");
		escapes("\xc3\xa4\x80", controls, "\xc3\xa4\\x80");
	}
	escapes("a\t\n\x1b[31m\x7f", false, "a\t\n\x1b[31m\x7f");
	escapes("a\t\n\x1b[31m\x7f", true, "a\\x09\\x0a\\x1b[31m\\x7f");
	/* The introducer of control sequences, as one character. */
	escapes("\xc2\x9b"
		"31m",
		false,
		"\xc2\x9b"
		"31m");
	escapes("\xc2\x9b"
		"31m",
		true, "\\xc2\\x9b31m");
	escapes("\xc2\xa0", true, "\xc2\xa0");
	return summary();
}
