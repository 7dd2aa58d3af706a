// SPDX-License-Identifier: GPL-2.0-or-later
/* What it costs to ask whether a filesystem is frozen. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <linux/freezefd_dev.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include "bench.h"

#define CALLS 20000

static const char *kind(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		die("fstat: %s", strerror(errno));
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return "regular file";
	case S_IFDIR:
		return "directory";
	case S_IFBLK:
		return "block device";
	}
	die("neither a regular file nor a directory nor a block device");
}

/* Nanoseconds a call, which the module's device answers for another descriptor. */
static double batch(int fd, unsigned long request, const char *name)
{
	/* Big enough for the answer of either. */
	struct freezefd_dev_status status = {.fd = fd};
	void *answer = &status.status;
	uint64_t start;

	if (request == FREEZEFD_DEV_STATUS) {
		answer = &status;
		fd = module_device();
	}
	start = now_ns();

	for (int i = 0; i < CALLS; i++)
		if (ioctl(fd, request, answer))
			die("%s: %s", name, strerror(errno));
	return (double)(now_ns() - start) / CALLS;
}

static void measure(const char *path, unsigned int rounds)
{
	const bool module = module_device() >= 0;
	const unsigned long request = module ? FREEZEFD_DEV_STATUS : FS_IOC_FREEZE_STATUS;
	struct samples blocksize, status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	samples_init(&blocksize, "FIGETBSZ", rounds);
	samples_init(&status, module ? "FREEZEFD_DEV_STATUS" : "FS_IOC_FREEZE_STATUS", rounds);

	batch(fd, FIGETBSZ, blocksize.what);
	batch(fd, request, status.what);
	for (unsigned int i = 0; i < rounds; i++) {
		if (i % 2)
			blocksize.ns[i] = batch(fd, FIGETBSZ, blocksize.what);
		status.ns[i] = batch(fd, request, status.what);
		if (!(i % 2))
			blocksize.ns[i] = batch(fd, FIGETBSZ, blocksize.what);
	}

	report("status", kind(fd), &blocksize, NULL, rounds, (struct goal){});
	report("status", kind(fd), &status, &blocksize, rounds,
	       (struct goal){.ratio = module ? 1.5 : 1.1});
}

int main(int argc, char **argv)
{
	if (argc < 3)
		die("usage: %s ROUNDS PATH...", argv[0]);
	for (int i = 2; i < argc; i++)
		measure(argv[i], parse_rounds(argv[1]));
	return 0;
}
