// SPDX-License-Identifier: GPL-2.0-or-later
/* What the kernel says of a freeze descriptor, and what is made of it. */
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "../../tools/tool.h"
#include "unit.h"

#define USUAL "pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1062\n"

static bool parse(const char *string, struct fdinfo *info)
{
	FILE *file = fmemopen((void *)string, strlen(string), "r");
	bool ok = fdinfo_parse(file, info);

	fclose(file);
	return ok;
}

static void held(void)
{
	struct holder holder = {.pid = 1};
	struct fdinfo *info = &holder.info;

	check(parse(USUAL "freezefd-hold:\theld\nfreezefd-timeout-ns:\t1234\n"
			  "freezefd-fs:\t8:1 ext4 frozen 123456 sda1\n",
		    info),
	      "one filesystem");
	check(!strcmp(info->hold, "held"), "its hold");
	check_equal((int64_t)info->timeout_ns, 1234, "its timeout");
	check_equal((int64_t)info->count, 1, "its one line");
	check(info->fs[0].dev == makedev(8, 1), "its device");
	check(!strcmp(info->fs[0].type, "ext4"), "its type");
	check(!strcmp(info->fs[0].state, "frozen"), "its state");
	check_equal((int64_t)info->fs[0].frozen_ns, 123456, "since when");
	check(!strcmp(info->fs[0].id, "sda1"), "its name");

	check(holder_holds(&holder, makedev(8, 1), 0), "holds its filesystem");
	check(!holder_holds(&holder, makedev(8, 2), 0), "holds no other one");
	strcpy(info->hold, "expired");
	check(!holder_holds(&holder, makedev(8, 1), 0), "a broken hold holds nothing");
	free(info->fs);
}

static void several(void)
{
	struct fdinfo info;

	check(parse(USUAL "freezefd-hold:\tnone\nfreezefd-timeout-ns:\t0\n"
			  "freezefd-fs:\t259:1048575 xfs thawed 0 a b\n"
			  "freezefd-later:\tx\n"
			  "freezefd-fs:\t0:44 btrfs freezing 18446744073709551615 dm-0\n",
		    &info),
	      "two filesystems and a line of a later kernel");
	check_equal((int64_t)info.count, 2, "both are seen");
	check(info.fs[0].dev == makedev(259, 1048575), "a large device number");
	check(!strcmp(info.fs[0].id, "a b"), "a name with a space");
	check(!strcmp(info.fs[1].type, "btrfs"), "the second one's type");
	check(info.fs[1].frozen_ns == UINT64_MAX, "the longest time");
	free(info.fs);
}

static void odd(void)
{
	struct fdinfo info;

	check(!parse(USUAL, &info), "another descriptor");
	check(!parse("\n", &info), "an empty line");
	check(parse("freezefd-hold:\tgone\n", &info), "a filesystem that is gone");
	check(!info.count, "which has no line");
	free(info.fs);
	check(parse("freezefd-hold:\tnone\nfreezefd-fs:\t8:1 ext4\nfreezefd-fs:\n", &info),
	      "lines that are cut off");
	check(!info.count, "which count for nothing");
	free(info.fs);
	check(!parse("freezefd-fs:\t8:1 ext4 frozen 1 sda1\n", &info), "a line without a hold");
}

int main(void)
{
	held();
	several();
	odd();
	return summary();
}
