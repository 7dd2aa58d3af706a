// SPDX-License-Identifier: GPL-2.0-or-later
/* What lies below a filesystem on a loop device that cannot be opened. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <libmount.h>

#include "../../common/stack.h"
#include "unit.h"

/* There is no such device, so it has no node. */
#define LOOP_MINOR 1048575U

static char image[] = "/tmp/freezefd-stack-XXXXXX";
static char mountinfo[512], backing[64];
static unsigned int seen_below, seen;
static dev_t below;

FILE *__real_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode)
{
	if (strcmp(path, "/sys/dev/block/7:1048575/loop/backing_file") != 0)
		return __real_fopen64(path, mode);
	return *backing ? fmemopen(backing, strlen(backing), "r") : NULL;
}

struct libmnt_table *__wrap_mnt_new_table_from_file(const char *path);
struct libmnt_table *__wrap_mnt_new_table_from_file(const char *path)
{
	struct libmnt_table *table = mnt_new_table();
	FILE *file = fmemopen(mountinfo, strlen(mountinfo), "r");

	mnt_table_parse_stream(table, file, "mountinfo");
	fclose(file);
	return table;
}

static void visit(void *arg, bool is_device, dev_t dev)
{
	seen++;
	seen_below += !is_device && dev == below;
}

/* The depth of the loop device. */
static int walk(const char *file)
{
	struct mounts *mounts;
	int depth;

	snprintf(backing, sizeof(backing), "%s", file);
	seen_below = seen = 0;
	mounts = mounts_read();
	depth = stack_below(mounts, makedev(7, LOOP_MINOR), visit, NULL);
	mounts_free(mounts);
	return depth;
}

int main(void)
{
	const int fd = mkstemp(image);
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		perror(image);
		return 1;
	}
	below = st.st_dev;
	/* Numbers of mounts that are not those of this machine: the device numbers are looked for then. */
	snprintf(mountinfo, sizeof(mountinfo),
		 "2000000001 1 %u:%u / /tmp rw - ext4 none rw\n"
		 "2000000002 1 7:%u / /mnt rw - ext4 /dev/loop1048575 rw\n",
		 major(below), minor(below), LOOP_MINOR);
	check(walk(image) >= 1, "by the path of its file it has something below it");
	check_equal(seen_below, 1, "which is the filesystem of that file");
	check_equal(walk("/nowhere/at/all"), 0, "a path that leads nowhere");
	check_equal(seen, 1, "tells nothing: there is only the device");
	check_equal(walk(""), 0, "without a path, too");
	unlink(image);
	return summary();
}
