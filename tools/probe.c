// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is on a block device, by libblkid. A child reads it: of a device that is suspended or
 * broken a reading may never end, and nothing else is to wait for that.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <blkid.h>

#include "tool.h"

/* Milliseconds for one device. */
#define PATIENCE 500

static void look_up(blkid_probe probe, const char *name, char *value, size_t size)
{
	const char *found;

	if (!blkid_probe_lookup_value(probe, name, &found, NULL))
		snprintf(value, size, "%s", found);
}

static void probe_path(const char *path, struct probed *probed)
{
	blkid_probe probe = blkid_new_probe_from_filename(path);

	if (!probe)
		return;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL |
							 BLKID_SUBLKS_UUID);
	if (!blkid_do_safeprobe(probe)) {
		look_up(probe, "TYPE", probed->type, sizeof(probed->type));
		look_up(probe, "LABEL", probed->label, sizeof(probed->label));
		look_up(probe, "UUID", probed->uuid, sizeof(probed->uuid));
	}
	blkid_free_probe(probe);
}

/* Until there is nobody who asks. Who waits for the end of our output is not to wait for this. */
static void __attribute__((noreturn)) serve(int socket)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dev_t device;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	dup2(socket, STDERR_FILENO + 1);
	close_range(STDERR_FILENO + 2, ~0U, 0);
	socket = STDERR_FILENO + 1;
	while (recv(socket, &device, sizeof(device), 0) == sizeof(device)) {
		struct probed probed = {0};
		char *path = stack_device_path(device);

		if (path)
			probe_path(path, &probed);
		free(path);
		send(socket, &probed, sizeof(probed), MSG_NOSIGNAL);
	}
	_exit(EXIT_SUCCESS);
}

static int start(void)
{
	int pair[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -1;
	child = fork();
	if (!child)
		serve(pair[1]);
	close(pair[1]);
	if (child > 0)
		return pair[0];
	close(pair[0]);
	return -1;
}

bool probe_device(dev_t device, struct probed *probed)
{
	static int child = -1;
	struct pollfd answer = {.events = POLLIN};

	*probed = (struct probed){0};
	if (child < 0)
		child = start();
	answer.fd = child;
	if (child >= 0 && send(child, &device, sizeof(device), MSG_NOSIGNAL) == sizeof(device) &&
	    poll(&answer, 1, PATIENCE) == 1 &&
	    recv(child, probed, sizeof(*probed), 0) == sizeof(*probed))
		return true;
	/* It is left to itself, and ends when the device answers. */
	if (child >= 0)
		close(child);
	child = -1;
	return false;
}
