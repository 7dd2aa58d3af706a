// SPDX-License-Identifier: GPL-2.0-or-later
/* What run and hold are asked for: their common options and targets. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define DEFAULT_TIMEOUT_NS UINT64_C(300000000000)
#define DEFAULT_WITHIN_NS  UINT64_C(60000000000)

void request_init(struct request *request, const char *verb)
{
	*request = (struct request){
		.verb = verb,
		.timeout_ns = DEFAULT_TIMEOUT_NS,
		.within_ns = DEFAULT_WITHIN_NS,
	};
}

static bool exclude(struct request *request, char *name)
{
	request->excluded =
		array(request->excluded, request->nr_excluded + 1, sizeof(*request->excluded));
	request->excluded[request->nr_excluded++] = name;
	return true;
}

bool request_option(struct request *request, int opt, char *value)
{
	switch (opt) {
	case 't':
		return timeout_option(request->verb, value, &request->timeout_ns);
	case 'w':
		return timeout_option(request->verb, value, &request->within_ns);
	case 'a':
		return request->all = true;
	case 'x':
		return exclude(request, value);
	case OPT_SKIP_UNFREEZABLE:
		return request->skip_unfreezable = true;
	case OPT_MOUNTPOINT:
		return request->mountpoint = true;
	case OPT_FORCE:
		return request->force = true;
	case OPT_MAY_STAY_FROZEN:
		return request->flags |= FREEZEFD_MAY_STAY_FROZEN;
	default:
		return !wrong_option(request->verb);
	}
}

int request_targets(struct request *request, char **names, int count)
{
	if (!count && !request->all)
		return usage_error(request->verb, "no target");
	if (count && request->all)
		return usage_error(request->verb, "either --all or '%s'", *names);
	request->names = names;
	request->count = (size_t)count;
	return 0;
}

void request_place(struct request *request, const char *path, const char *name)
{
	request->place = array(request->place, request->nr_places + 1, sizeof(*request->place));
	request->place[request->nr_places++] = (struct place){copy(path), copy(name)};
}

void request_free(struct request *request)
{
	for (size_t i = 0; i < request->nr_places; i++) {
		free(request->place[i].path);
		free(request->place[i].name);
	}
	free(request->place);
	free(request->excluded);
}
