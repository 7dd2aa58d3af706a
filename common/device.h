/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FREEZEFD_DEVICE_H
#define FREEZEFD_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * "sda1": what sysfs calls the block device, and filesystems in their s_id. False when there is
 * none, or when the name is longer.
 */
bool device_name(dev_t dev, char *name, size_t size);

#endif /* FREEZEFD_DEVICE_H */
