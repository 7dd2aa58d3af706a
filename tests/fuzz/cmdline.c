// SPDX-License-Identifier: GPL-2.0-or-later
/* Any command line: an argument a line, on a machine that stays the same. */
#include <string.h>

#include "../../tools/tool.h"
#include "fuzz.h"

static const char machine[] =
	"@ /proc/self/mountinfo\n"
	"21 1 8:1 / /m21 rw - ext4 /dev/sda1 rw\n"
	"22 1 8:2 / /m22 rw - xfs /dev/sda2 rw,logdev=/dev/sda3\n"
	"23 1 0:33 / /m23 rw - overlay overlay rw,upperdir=/m21,workdir=/m21\n"
	"@ /proc/partitions\nmajor minor  #blocks  name\n\n   8        1     1024 sda1\n   8        2     1024 sda2\n"
	"@ /proc/7/comm\nbackup\n"
	"@ /proc/7/fd/5 -> anon_inode:[freezefd]\n"
	"@ /proc/7/fdinfo/5\nfreezefd-hold:\theld\nfreezefd-timeout-ns:\t5000000000\n"
	"freezefd-fs:\t8:1 ext4 frozen 123456789 sda1\n"
	"@ /sys/dev/block/8:1 -> ../../block/sda1\n"
	"@ /sys/dev/block/8:2 -> ../../block/sda2\n"
	"@ /sys/block/sda1/dev\n8:1\n"
	"@ /dev/sda1 = 8:1\n"
	"@ /dev/sda2 = 8:2\n"
	"@ /m21/file\nx\n"
	"@ /m22/file\nx\n"
	"@ /run/freezefd/12-0000abcd.sock\nfreezefd: /m21: the freeze was broken\n|\n"
	"@ /bin/true\nx\n"
	"@ /status\n0 0 0 0 0 0 0 8:1 0 0\n0 2 0 1 0 0 0 8:1 123456 0\n0 2 0 0 1 0 1 8:2 99999 0\n"
	"@ /freezer\n0 0 0 0 a writer\n1 0 5 1 /m21|/m21|/dev/sda1|ext4|uuid|guardian|\n2 0 0 0\n";

#define MAX_ARGS 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *all = strndup((const char *)data, size), *rest = all,
	     *argv[MAX_ARGS + 1] = {"freezefd"};
	struct printed printed;
	int argc = 1;

	while (rest && argc < MAX_ARGS)
		argv[argc++] = strsep(&rest, "\n");
	if (rest)
		argv[argc - 1][strlen(argv[argc - 1])] = 0;
	world_begin(machine, sizeof(machine) - 1);
	printed = world_run(argc, argv);
	world_end();
	must(printed.status >= 0 && printed.status <= 255);
	must(printed.status || printed.out_size || printed.err_size || argc > 1);
	/* Who is refused is told so. */
	must(printed.status != EXIT_USAGE || printed.err_size || printed.out_size);
	free(printed.out);
	free(printed.err);
	free(all);
	return 0;
}
