/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the library and freeze-guardian say to each other.
 *
 * There is one guardian for a filesystem. It listens on a socket in GUARDIAN_DIR,
 * which only root may enter, by the name of the filesystem's device number. A
 * freeze descriptor is one end of a socket pair; the guardian has the other, bound
 * to an abstract address that begins with GUARDIAN_HOLD, by which any process that
 * has the descriptor can tell what it is.
 *
 * A request goes over either socket. On a freeze descriptor, which processes may
 * share, it brings a socket along for the answer; on a connection to the socket of
 * the filesystem the answer comes back on that. All messages are packets.
 */
#ifndef FREEZEFD_GUARDIAN_PROTOCOL_H
#define FREEZEFD_GUARDIAN_PROTOCOL_H

#include <stdint.h>

#include "freezefd.h"

#define GUARDIAN_DIR  "/run/freezefd"
#define GUARDIAN_NAME "%u:%u" /* in that folder: major and minor */
#define GUARDIAN_HOLD "freezefd-guardian/hold/"

/* The descriptors that the library gives to a new guardian. */
enum { GUARDIAN_BOOT, GUARDIAN_TARGET, GUARDIAN_PROG, GUARDIAN_MAP, GUARDIAN_FDS };

enum guardian_op {
	/* On the filesystem's socket, with the guardian's end of a new pair. */
	GUARDIAN_OPEN,
	GUARDIAN_FORCE,
	/* Who holds: the answer is a struct guardian_list. */
	GUARDIAN_LIST,
	/* The program and its map that read superblocks; the answer's number says whether they are of the same kind. */
	GUARDIAN_READER,
	/* On either. */
	GUARDIAN_STATUS,
	/* On a freeze descriptor. */
	GUARDIAN_FREEZE,
	GUARDIAN_THAW,
	GUARDIAN_TIMEOUT,
};

struct guardian_request {
	uint32_t op;
	uint32_t flags;
	uint64_t timeout_ns;
	uint64_t inode; /* GUARDIAN_OPEN: of the client's end, as in /proc/PID/fd */
};

struct guardian_reply {
	int32_t error; /* negative errno value; -EAGAIN: this guardian is about to end */
	uint32_t reserved;
	/* GUARDIAN_THAW: the news that this answer tells as well; GUARDIAN_READER: SB_KIND */
	uint64_t number;
	struct freezefd_status status;
};

struct guardian_list {
	char type[32], name[32]; /* of the filesystem: struct sb_record */
	struct {
		uint64_t inode;
		struct freezefd_status status;
	} hold[];
};

/* What the guardian sends on a freeze descriptor unasked, so that poll(2) reports it. */
enum { GUARDIAN_BROKEN = 1, GUARDIAN_GONE };

struct guardian_news {
	uint32_t what;
	uint32_t reserved;
	uint64_t number;
};

#endif /* FREEZEFD_GUARDIAN_PROTOCOL_H */
