// SPDX-License-Identifier: GPL-2.0-or-later
/* mountinfo and sysfs: what lies on what. */
#include <string.h>
#include <sys/sysmacros.h>

#include "../../common/stack.h"
#include "fuzz.h"

static size_t visits;

static void visit(void *arg, bool is_device, dev_t dev)
{
	must(arg == &visits);
	visits++;
}

static void look(const struct mounts *mounts, const struct mount *mount)
{
	struct mount other;

	must(mount->dir && mount->fstype);
	/* The first of that superblock. */
	must(mounts_of_dev(mounts, mount->dev, &other) && other.dev == mount->dev);
	if (mounts_upper(mounts, mount->dev, &other))
		must(!strcmp(mount->fstype, "overlay") || other.dev);
	must(stack_below(mounts, mount->dev, visit, &visits) >= 0);
	must(stack_below(mounts, mount->dev, NULL, NULL) <= 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mounts *mounts;
	struct mount mount;

	world_begin(data, size);
	mounts = mounts_read();
	for (size_t i = 0; mounts && mounts_at(mounts, i, &mount) && i < 16; i++)
		look(mounts, &mount);
	for (unsigned int maj = 7; mounts && maj < 10; maj++) {
		free(stack_device_path(makedev(maj, 1)));
		must(stack_below_device(mounts, makedev(maj, 1), visit, &visits) >= 0);
	}
	mounts_free(mounts);
	world_end();
	return 0;
}
