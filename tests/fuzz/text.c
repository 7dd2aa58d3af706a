// SPDX-License-Identifier: GPL-2.0-or-later
/* Times, and text that somebody chose for what it does to a terminal. */
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <string.h>

#include "../../tools/tool.h"
#include "fuzz.h"

static void times(const char *string)
{
	uint64_t ns = 0, again = 0;
	int ret = parse_duration(string, &ns);
	char *shown;

	must(!ret || ret == -EINVAL || ret == -ERANGE);
	shown = format_duration(ns);
	must(*shown && strlen(shown) < 32);
	free(shown);
	shown = format_since(ns);
	must(*shown);
	free(shown);
	if (ret)
		return;
	must(ns && ns <= INT64_MAX);
	/* What is printed for programs can be read again, but for what is below a millisecond. */
	shown = show_duration(ns, true);
	ret = parse_duration(shown, &again);
	must(ns < 1000000 ? ret == -ERANGE : !ret && again == ns / 1000000 * 1000000);
	free(shown);
}

static void escaped(const char *string)
{
	char *shown = escape(string, false);

	must(is_utf8(shown, strlen(shown)));
	must(!is_utf8(string, strlen(string)) || !strcmp(shown, string));
	free(shown);
	shown = escape(string, true);
	must(is_plain(shown, strlen(shown)) && !strchr(shown, '\n'));
	free(shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *string = strndup((const char *)data, size);

	setlocale(LC_CTYPE, "C.UTF-8");
	times(string);
	escaped(string);
	setlocale(LC_CTYPE, "C");
	escaped(string);
	free(string);
	return 0;
}
