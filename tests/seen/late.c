// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * late SECONDS...: a hold with a timeout of 200 ms that lasts for so long, and so on. Nothing is
 * frozen: what is told is what is asked.
 */
#include <stdlib.h>
#include <time.h>

#include "../../tools/tool.h"

int main(int argc, char **argv)
{
	struct hold targets[] = {{.name = "/one"}, {.name = "/t\nree"}};
	struct holds holds = {.count = 2, .hold = targets, .timeout_ns = 200000000};

	for (int i = 1; i < argc; i++) {
		const double seconds = atof(argv[i]);
		const struct timespec ts = {(time_t)seconds,
					    (long)((seconds - (time_t)seconds) * 1e9)};

		journal_frozen(&holds);
		nanosleep(&ts, NULL);
		journal_thawed();
	}
	return 0;
}
