/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Freeze descriptors that the kernel has made: its own or the module's, which answer the same calls. */
#ifndef FREEZEFD_NATIVE_CALLS_H
#define FREEZEFD_NATIVE_CALLS_H

#include <stdbool.h>
#include <stdint.h>

/* What ioctl(2) returns, or a negative errno value. */
int kernel_call(int fd, unsigned long request, void *arg);

bool is_kernel_descriptor(int fd);
int native_freeze(int fd);
int native_thaw(int fd);
int native_set_timeout(int fd, uint64_t ns);

#endif /* FREEZEFD_NATIVE_CALLS_H */
