// SPDX-License-Identifier: LGPL-2.1-or-later
/* What every engine has in common: checks of the arguments, choice of the engine. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../common/private.h"
#include "engine.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* sizeof of the first published struct freezefd_options: it never changes. */
#define OPTIONS_SIZE_VER0 (offsetof(struct freezefd_options, engine) + sizeof(const char *))
/* No struct will grow beyond this: a size above it was never initialised. */
#define OPTIONS_SIZE_MAX 4096

/* Best first. */
static const struct engine *const engines[] = {
	&native_engine,
	&module_engine,
#ifdef WITH_GUARDIAN
	&guardian_engine,
#endif
};

static int check_fd(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	return (flags & O_PATH) ? -EBADF : 0;
}

int check_options(const struct freezefd_options *options)
{
	const unsigned char *byte = (const unsigned char *)options;

	if (options->size < OPTIONS_SIZE_VER0)
		return -EINVAL;
	if (options->size > OPTIONS_SIZE_MAX)
		return -E2BIG;
	for (size_t i = sizeof(*options); i < options->size; i++)
		if (byte[i])
			return -E2BIG;
	if (options->flags & ~(FREEZEFD_THAWED | FREEZEFD_MAY_STAY_FROZEN) || options->reserved)
		return -EINVAL;
	return options->timeout_ns > INT64_MAX ? -EINVAL : 0;
}

static const struct engine *owner(int fd)
{
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++)
		if (engines[i]->owns(fd))
			return engines[i];
	return NULL;
}

/* The engine for a target: the named one, else FREEZEFD_ENGINE, else the best that works. */
static int choose(int target, const char *name, const struct engine **engine)
{
	int err = -ENOSYS;
	bool known = false;

	if (!name) {
		name = secure_getenv("FREEZEFD_ENGINE");
		if (name && !*name)
			name = NULL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
		int ret;

		if (name && strcmp(name, engines[i]->name) != 0)
			continue;
		known = true;
		ret = engines[i]->probe(target);
		if (!ret) {
			*engine = engines[i];
			return 0;
		}
		if (ret != -ENOSYS)
			err = ret;
	}
	return known ? err : -EINVAL;
}

int freezefd_open(int target, const struct freezefd_options *options)
{
	static const struct freezefd_options none;
	const struct engine *engine;
	int ret;

	ret = check_fd(target);
	if (!ret && options)
		ret = check_options(options);
	if (ret)
		return ret;
	if (!options)
		options = &none;
	if (owner(target))
		return -EOPNOTSUPP;
	ret = choose(target, options->engine, &engine);
	if (ret)
		return ret;
	return engine->open(target, options->flags, options->timeout_ns);
}

int freezefd_thaw_force(int target)
{
	const struct engine *engine;
	int ret;

	ret = check_fd(target);
	if (ret)
		return ret;
	if (owner(target))
		return -EOPNOTSUPP;
	ret = choose(target, NULL, &engine);
	return ret ? ret : engine->thaw_force(target);
}

/* The engine that made fd, or the one to ask about a file that is no freeze descriptor. */
static int answers_for(int any_fd, const struct engine **engine)
{
	int ret = check_fd(any_fd);

	if (ret)
		return ret;
	*engine = owner(any_fd);
	return *engine ? 0 : choose(any_fd, NULL, engine);
}

int freezefd_status(int any_fd, struct freezefd_status *status)
{
	const struct engine *engine;
	int ret = answers_for(any_fd, &engine);

	return ret ? ret : engine->status(any_fd, status);
}

const char *freezefd_engine(int any_fd)
{
	const struct engine *engine;
	int ret = answers_for(any_fd, &engine);

	if (ret) {
		errno = -ret;
		return NULL;
	}
	return engine->name;
}

static int made_by(int fd, const struct engine **engine)
{
	int ret = check_fd(fd);

	if (ret)
		return ret;
	*engine = owner(fd);
	return *engine ? 0 : -EINVAL;
}

int freezefd_freeze(int fd)
{
	const struct engine *engine;
	int ret = made_by(fd, &engine);

	return ret ? ret : engine->freeze(fd);
}

int freezefd_thaw(int fd)
{
	const struct engine *engine;
	int ret = made_by(fd, &engine);

	return ret ? ret : engine->thaw(fd);
}

int freezefd_set_timeout(int fd, uint64_t ns)
{
	const struct engine *engine;
	int ret = made_by(fd, &engine);

	if (!ret && ns > INT64_MAX)
		ret = -EINVAL;
	return ret ? ret : engine->set_timeout(fd, ns);
}

#ifndef WITH_GUARDIAN
int private_freezefd_waiters(int any_fd, struct waiters *waiters)
{
	(void)any_fd;
	(void)waiters;
	return -ENOSYS;
}
#endif
