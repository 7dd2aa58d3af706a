// SPDX-License-Identifier: GPL-2.0-or-later
/* Times as people write and read them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/tool.h"
#include "unit.h"

#define S INT64_C(1000000000)

static void parses(const char *text, int64_t wanted)
{
	uint64_t ns = 0;
	int ret = parse_duration(text, &ns);

	check_equal(ret ? ret : (int64_t)ns, wanted, text);
}

static void prints(uint64_t ns, const char *wanted)
{
	char *got = format_duration(ns);

	if (!check(!strcmp(got, wanted), wanted))
		printf("#   got %s\n", got);
	free(got);
}

int main(void)
{
	parses("5", 5 * S);
	parses("5s", 5 * S);
	parses("1.5s", 3 * S / 2);
	parses("1.5", 3 * S / 2);
	parses("0.000000001", 1);
	parses("500ms", S / 2);
	parses("0.5ms", S / 2000);
	parses("250us", S / 4000);
	parses("5m", 300 * S);
	parses("2h", 7200 * S);
	parses("1.5d", 129600 * S);
	parses("007s", 7 * S);
	parses("1.000000000999s", S);
	parses("9223372036.854775807s", INT64_MAX);
	parses("9223372036s", 9223372036 * S);

	parses("", -EINVAL);
	parses(" 5s", -EINVAL);
	parses("5 s", -EINVAL);
	parses("5S", -EINVAL);
	parses("-5s", -EINVAL);
	parses("+5s", -EINVAL);
	parses(".5s", -EINVAL);
	parses("5.s", -EINVAL);
	parses("5..5s", -EINVAL);
	parses("s", -EINVAL);
	parses("0x10", -EINVAL);
	parses("1e3", -EINVAL);
	parses("5sec", -EINVAL);
	parses("inf", -EINVAL);
	parses("nan", -EINVAL);

	parses("0", -ERANGE);
	parses("0.0s", -ERANGE);
	parses("0.0000000001s", -ERANGE);
	parses("9223372036.854775808s", -ERANGE);
	parses("9223372037s", -ERANGE);
	parses("106752d", -ERANGE);
	parses("18446744073709551616", -ERANGE);
	parses("99999999999999999999999999h", -ERANGE);

	prints(0, "0ms");
	prints(999999, "999us");
	prints(1000000, "1ms");
	prints(999999999, "999ms");
	prints(1500000000, "1.5s");
	prints(59999999999, "59.9s");
	prints(60 * S, "1m00s");
	prints(3599 * S, "59m59s");
	prints(3660 * S, "1h01m");
	prints(90000 * S, "1d01h");
	prints(UINT64_MAX, "213503d23h");
	return summary();
}
