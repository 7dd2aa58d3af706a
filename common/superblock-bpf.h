/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What superblock.bpf.c is asked and what it answers. The program is a raw
 * tracepoint that nobody attaches: BPF_PROG_TEST_RUN runs it in the process
 * that asks, with these words as its arguments.
 */
#ifndef FREEZEFD_SUPERBLOCK_BPF_H
#define FREEZEFD_SUPERBLOCK_BPF_H

/* To be raised whenever what is asked or answered changes: a program that one version has loaded may be used by another. */
#define SB_KIND 1

#define SB_NAME_LEN 32
#define SB_PATH_LEN 128

enum {
	SB_ARG_KEY,  /* of the answer in the map; anything that nobody else uses now */
	SB_ARG_FD,   /* of the caller; looked at when there is no id */
	SB_ARG_ID,   /* a superblock's, as an earlier answer has it, or 0 */
	SB_ARG_NAME, /* of the block device that the descriptor is, in sysfs: 4 words */
	SB_ARG_PEER = SB_ARG_NAME + 4, /* not 0: who has the other end of the socket? */
	SB_ARG_FIRST,		       /* descriptor of a process that dies to look at */
	SB_ARG_LEVEL, /* not 0: who waits for the superblock of this id? 1 to SB_LEVELS */
	SB_ARG_AFTER, /* the last waiter of an earlier answer, or 0: from the first on */
	SB_ARGS = 12  /* as many as there can be */
};

/* What the program returns; 0 when it did not run. */
enum {
	SB_FOUND = 1,
	SB_NONE, /* a block device with no filesystem on it, or no superblock of this id */
	SB_BADF,
	SB_FULL, /* the map */
	SB_PEER_OPEN,
	SB_PEER_CLOSED,
	SB_PEER_DIES,	 /* only the process has it that made it, and that dies */
	SB_PEER_LOOK_ON, /* maybe so, but it is none of SB_WINDOW descriptors from the first on */
	SB_CHANGED,	 /* the list of waiters, while it was read */
};

#define SB_SECRET_WORDS 27 /* of 32 bits: one for each round of the cipher that hides addresses */

#define SB_WINDOW  64
#define SB_LEVELS  3  /* of a freeze: writes, page faults, the filesystem's own transactions */
#define SB_WAITERS 16 /* that one answer has */

#define SB_CAN_FREEZE 1 /* the filesystem knows how to */
#define SB_MAY_FREEZE 2 /* the caller has CAP_SYS_ADMIN in its user namespace */
#define SB_READ_ONLY  4
#define SB_COUNTED    8	 /* the kernel counts holds; else user_holds is 1 when frozen */
#define SB_NESTED     16 /* the caller's children are in a PID namespace that is not the first */
/* The caller is in the mount namespace of the first process of that PID namespace. */
#define SB_INIT_MOUNTS 32

struct sb_waiting {
	unsigned long long last; /* for SB_ARG_AFTER; 0: there are no more */
	unsigned int count;
	int pid[SB_WAITERS]; /* of their processes, in the first PID namespace */
};

struct sb_record {
	unsigned long long id; /* of the superblock, for this loaded program */
	unsigned int dev;      /* s_dev, as the kernel encodes it inside: major << 20 | minor */
	unsigned int frozen;   /* s_writers.frozen: 0 not, 4 completely */
	unsigned int user_holds;
	unsigned int kernel_holds;
	unsigned int flags;
	unsigned int bdev;	/* its block device, encoded likewise; 0: it has none */
	char type[SB_NAME_LEN]; /* of the filesystem */
	char name[SB_NAME_LEN]; /* s_id: the name of its block device, where it has one */
	union {
		/*
		 * The path that btrfs knows bdev by: it takes over any other one that the
		 * device is mounted by. Longer ones are cut off. Empty for other filesystems.
		 */
		char path[SB_PATH_LEN];
		/* All that there is of an answer to SB_ARG_LEVEL. */
		struct sb_waiting waiting;
	};
};

#define SB_UNFROZEN	   0
#define SB_FREEZE_COMPLETE 4

#endif /* FREEZEFD_SUPERBLOCK_BPF_H */
