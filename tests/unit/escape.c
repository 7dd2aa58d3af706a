// SPDX-License-Identifier: GPL-2.0-or-later
/* Names that are no text, and text that is no name for a terminal. */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/tool.h"
#include "unit.h"

static void escapes(const char *string, bool terminal, const char *wanted)
{
	char *got = escape(string, terminal);

	/* What is wanted may be what confuses a terminal. */
	if (!check(!strcmp(got, wanted), terminal ? wanted : "with controls as they are"))
		printf("#   got %s, wanted %s\n", got, wanted);
	free(got);
}

int main(void)
{
	check(setlocale(LC_CTYPE, "C.UTF-8"), "the locale C.UTF-8");
	for (int terminal = 0; terminal < 2; terminal++) {
		escapes("", terminal, "");
		escapes("/mnt/a b\"\\'", terminal, "/mnt/a b\"\\'");
		escapes("\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", terminal,
			"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80");
		escapes("a\xff\xfe"
			"b",
			terminal, "a\\xff\\xfeb");
		/* Cut off, too long, half of a pair, out of range, and what should follow alone. */
		escapes("\xe2\x82", terminal, "\\xe2\\x82");
		escapes("\xe2\x82"
			"A",
			terminal, "\\xe2\\x82A");
		escapes("\xc0\xaf", terminal, "\\xc0\\xaf");
		escapes("\xed\xa0\x80", terminal, "\\xed\\xa0\\x80");
		escapes("\xf5\x80\x80\x80", terminal, "\\xf5\\x80\\x80\\x80");
		escapes("\xf4\x90\x80\x80", terminal, "\\xf4\\x90\\x80\\x80");
		escapes("\xf4\x8f\xbf\xbf", terminal, "\xf4\x8f\xbf\xbf");
		escapes("A\x80", terminal, "A\\x80");
		escapes("\xc3\xa4\x80", terminal, "\xc3\xa4\\x80");
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

	/* A terminal of 8 bits would take one of these for a control. */
	setlocale(LC_CTYPE, "C");
	escapes("\xc4\x9b", true, "\\xc4\\x9b");
	escapes("\xc4\x9b", false, "\xc4\x9b");
	return summary();
}
