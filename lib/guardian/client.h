/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the guardian engine's parts know of each other. */
#ifndef FREEZEFD_GUARDIAN_CLIENT_H
#define FREEZEFD_GUARDIAN_CLIENT_H

#include "../../common/guardian-protocol.h"
#include "../../common/superblock.h"

/* --- reader.c --- */

/* The superblock of a target, and the reader that read it. */
int read_target(int target, struct sb_record *record, struct sb_reader *reader);

/* --- talk.c --- */

/* The moment so many milliseconds from now, for limit_wait(). */
uint64_t end_after(unsigned int ms);
/* What is received from the socket next is not waited for beyond that. False when it is past. */
bool limit_wait(int socket, uint64_t end_ns);

/* On a freeze descriptor; the answer comes to this caller alone. */
int ask(int fd, uint32_t op, uint64_t timeout_ns, struct guardian_reply *reply);
/*
 * The same of the guardian of a filesystem; fd is sent along unless it is -1. It is closed as soon as it is sent, or
 * cannot be: a child that another thread forks meanwhile would inherit it, and keep it for a guardian that has ended.
 */
int ask_fs(const struct sb_record *record, const struct guardian_request *request, int fd,
	   struct guardian_reply *reply);
/* A connection to the guardian of the filesystem of this device number; -ECONNREFUSED when there is none. */
int connect_guardian(dev_t dev);
int start_guardian(int target, struct sb_reader reader);

#endif /* FREEZEFD_GUARDIAN_CLIENT_H */
