/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Superblocks, as a kernel without freeze descriptors lets them be read and reached. */
#ifndef FREEZEFD_SUPERBLOCK_H
#define FREEZEFD_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/sysmacros.h>
#include <sys/types.h>

#include "freezefd.h"
#include "private.h"
#include "superblock-bpf.h"

/* The program of bpf/superblock.bpf.c and the map of its answers, loaded. */
struct sb_reader {
	int prog;
	int map;
};

/*
 * All return 0 or a negative errno value: -ENODEV when there is no superblock,
 * -EBADF, -ENOSYS when the reader is none.
 */

/* Of the filesystem that the file is on, or of the one on the block device that it is. */
int sb_read(struct sb_reader reader, int fd, struct sb_record *record);

/* What a record tells of a status; the rest stays as it is. */
void sb_status(const struct sb_record *record, struct freezefd_status *status);

/* Of one that is known. */
int sb_read_id(struct sb_reader reader, uint64_t id, struct sb_record *record);

/*
 * How many tasks wait for the end of its freeze, and the processes of the first ones, as many
 * as there are in pid, each once. -EAGAIN when they come and go too fast to be counted.
 */
int sb_waiters(struct sb_reader reader, uint64_t id, struct waiters *waiters);

/*
 * Who has the descriptor at the other end of a Unix socket: SB_PEER_*, or an
 * error. In the table of a process that dies SB_WINDOW are looked at, from the
 * first on.
 */
int sb_peer(struct sb_reader reader, int socket, uint64_t first);

/*
 * Its root directory, open for reading, by way of a mount that nobody sees and
 * that ends with the descriptor. bdev is the path of its block device: for a btrfs
 * the one of the record, or that would become its name. The superblock must be there: what is not mounted is not to be
 * mounted by this.
 */
int sb_open_root(struct sb_reader reader, const char *bdev, const struct sb_record *record);

/*
 * Drops one hold by FITHAW. -EINVAL when there was none, -EIO or another error when the
 * filesystem refuses to thaw and the hold stays.
 */
int sb_thaw(struct sb_reader reader, int root, uint64_t id);

/*
 * Calls FITHAW until none of its holds is left. -EINVAL when there was none that
 * FITHAW can drop.
 */
int sb_thaw_all(struct sb_reader reader, int root, uint64_t id);

/* A device number that the kernel has encoded for itself. */
static inline dev_t sb_dev(unsigned int dev)
{
	return makedev(dev >> 20, dev & 0xfffff);
}

#endif /* FREEZEFD_SUPERBLOCK_H */
