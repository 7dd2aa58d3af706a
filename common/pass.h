/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptors that go along with a packet to another process. */
#ifndef PASS_H
#define PASS_H

#include <stddef.h>
#include <sys/types.h>

#define MAX_PASSED 2

/* With data go the first count of fds, at most MAX_PASSED. 0, or the negative errno value of sendmsg(2), never -EINTR. */
int send_fds(int socket, const void *data, size_t size, const int *fds, size_t count, int flags);

/* Its size, or a negative errno value; *fd is -1 when none came along. flags: of recvmsg(2). */
ssize_t receive_fd(int socket, void *packet, size_t size, int flags, int *fd);

#endif /* PASS_H */
