/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An engine is one way to keep the contract of freezefd.h. Each is one file
 * and one entry in the table of freezefd.c; nothing else knows which there are.
 */
#ifndef FREEZEFD_ENGINE_H
#define FREEZEFD_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "freezefd.h"

/*
 * Descriptors and errno values as in freezefd.h. Callers have checked that the
 * descriptor is open and not O_PATH, and the bounds of flags and timeouts.
 */
struct engine {
	const char *name;

	/* 0 where the engine can serve target, -ENOSYS where it cannot. No side effects. */
	int (*probe)(int target);

	/* Is fd a freeze descriptor of this engine? */
	bool (*owns)(int fd);

	/* On any file of a filesystem, or a block device. */
	int (*open)(int target, uint32_t flags, uint64_t timeout_ns);
	int (*thaw_force)(int target);

	/* On those, and on freeze descriptors that the engine owns. */
	int (*status)(int any_fd, struct freezefd_status *status);

	/* On freeze descriptors that the engine owns. */
	int (*freeze)(int fd);
	int (*thaw)(int fd);
	int (*set_timeout)(int fd, uint64_t ns);
};

/* freezefd.c: 0, -EINVAL or -E2BIG. */
int check_options(const struct freezefd_options *options);

extern const struct engine native_engine;
extern const struct engine module_engine;
extern const struct engine guardian_engine;

#endif /* FREEZEFD_ENGINE_H */
