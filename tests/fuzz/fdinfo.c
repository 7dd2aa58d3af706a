// SPDX-License-Identifier: GPL-2.0-or-later
/* What /proc/PID/fdinfo says of a freeze descriptor. */
#include <string.h>
#include <sys/sysmacros.h>

#include "../../tools/tool.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FILE *file = size ? fmemopen((void *)data, size, "r") : NULL;
	struct holder holder = {.pid = 1};
	struct fdinfo *info = &holder.info;

	if (!file)
		return 0;
	if (fdinfo_parse(file, info)) {
		must(*info->hold && memchr(info->hold, 0, sizeof(info->hold)));
		must(info->count <= size / strlen("freezefd-fs:"));
		for (size_t i = 0; i < info->count; i++) {
			must(memchr(info->fs[i].id, 0, sizeof(info->fs[i].id)));
			must(*info->fs[i].type && *info->fs[i].state);
			must(holder_of(&holder, info->fs[i].dev, NULL));
		}
		holder_holds(&holder, makedev(8, 1), "/dev/sda1");
	} else {
		must(!*info->hold && !info->fs && !info->count);
	}
	free(info->fs);
	fclose(file);
	return 0;
}
