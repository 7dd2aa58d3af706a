// SPDX-License-Identifier: GPL-2.0-or-later
/* Fault injection into calls and devices, see Documentation/fault-injection/fault-injection.rst in the kernel. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "torture.h"

/* The file is that of a thread. So it is open for one call only: a child that inherits it would write to its parent's. */
static _Thread_local int fail_nth = -1;
_Thread_local bool faulted;

/* The kernel counts the places where the call could fail, and lets the one with this number fail. */
void inject_fault(struct fs *fs, bool writes)
{
	char nth[16];

	faulted = false;
	if (!want(MEMORY) || below(writes ? 200 : 16))
		return;
	/* What a filesystem makes of it in the middle of its own work is not known. */
	if (writes)
		fs->lost = true;
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	snprintf(nth, sizeof(nth), "%u", 1 + below(1 << below(9)));
	if (pwrite(fail_nth, nth, strlen(nth), 0) < 0)
		fail(NULL, "fail-nth: %m");
}

/* The fault may come only here, in the read or the write of this file. Then the call had none. */
void end_fault(void)
{
	char left[16] = "";
	ssize_t n;

	if (fail_nth < 0)
		return;
	n = pread(fail_nth, left, sizeof(left) - 1, 0);
	faulted = n > 0 && atoi(left) == 0;
	if (pwrite(fail_nth, "0", 1, 0) < 0 && pwrite(fail_nth, "0", 1, 0) < 0)
		fail(NULL, "fail-nth: %m");
	close(fail_nth);
	fail_nth = -1;
	if (faulted)
		trail("fault", NULL, NULL, 0);
}

static void set_errors(struct fs *fs, const char *on)
{
	struct stat node = {0};
	char path[64];
	int file;

	stat(fs->device, &node);
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/make-it-fail", major(node.st_rdev),
		 minor(node.st_rdev));
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0 || write(file, on, 1) != 1)
		fail(fs, "%s: %m", path);
	close(file);
	trail(*on == '1' ? "I/O fails" : "I/O works", fs, NULL, 0);
}

/* A part of what is read and written meanwhile fails: tests/torture/run says how much. */
void spoil(struct fs *fs)
{
	fs->lost = true;
	set_errors(fs, "1");
	doze(300000);
	set_errors(fs, "0");
}
