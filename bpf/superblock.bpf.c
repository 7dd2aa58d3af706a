// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reads what a kernel without freeze descriptors does not tell: whether the
 * superblock behind a descriptor is frozen, and by how many. Takes no lock:
 * every pointer is read with probe reads under RCU.
 *
 * One file, because it is one program to the verifier, and all of it reads the types
 * declared here.
 *
 * The types have the members that are used, no more; libbpf finds their
 * offsets in the BTF of the running kernel. What differs between kernels is
 * asked with bpf_core_field_exists().
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "../common/superblock-bpf.h"

#define S_IFMT	       0170000
#define S_IFBLK	       0060000
#define SB_RDONLY      1
#define CAP_SYS_ADMIN  21
#define MAX_SUPERS     64  /* of one type that are looked through */
#define MAX_NAMESPACES 8   /* the kernel nests no more than 32; who goes deeper is refused */
#define MAX_THREADS    128 /* of a process that dies; with more the hold lasts until the deadline */

#define PIDTYPE_TGID	      1
#define SIGNAL_GROUP_EXIT     4
#define SIGNAL_GROUP_COREDUMP 8 /* before 5.17; nothing since */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct file_system_type {
	const char *name;
	struct hlist_head fs_supers;
};

struct super_operations {
	void *freeze_super;
	void *freeze_fs;
};

struct super_block;

struct dentry {
	struct super_block *d_sb;
};

struct list_head {
	struct list_head *next, *prev;
};

struct wait_queue_head {
	struct list_head head;
};

struct wait_queue_entry {
	void *private;
	struct list_head entry;
};

struct percpu_rw_semaphore {
	struct wait_queue_head waiters;
};

struct sb_writers {
	int frozen;
	int freeze_kcount; /* 6.8 */
	int freeze_ucount;
	unsigned short freeze_holders; /* 6.6 */
	struct percpu_rw_semaphore rw_sem[SB_LEVELS];
};

struct uid { /* kuid_t */
	unsigned int val;
};

struct user_namespace {
	struct user_namespace *parent;
	struct uid owner;
};

struct block_device {
	unsigned int bd_dev;
	void *bd_holder;
};

struct super_block {
	unsigned int s_dev;
	struct file_system_type *s_type;
	const struct super_operations *s_op;
	unsigned long s_flags;
	struct dentry *s_root;
	struct block_device *s_bdev;
	void *s_fs_info;
	struct hlist_node s_instances;
	struct sb_writers s_writers;
	char s_id[SB_NAME_LEN];
	struct user_namespace *s_user_ns;
};

struct xfs_mount {
	struct super_block *m_super;
};

struct rcu_string { /* before 6.17 */
	char str[1];
};

struct btrfs_device {
	void *name; /* struct rcu_string, later the characters themselves */
	struct block_device *bdev;
};

struct btrfs_fs_devices {
	struct btrfs_device *latest_dev; /* 5.16 */
};

struct btrfs_fs_info {
	struct btrfs_fs_devices *fs_devices;
};

struct inode {
	unsigned short i_mode;
	struct super_block *i_sb;
};

struct bdev_inode {
	struct block_device bdev;
	struct inode vfs_inode;
};

struct address_space {
	struct inode *host;
};

struct count { /* atomic_long_t, atomic64_t */
	long counter;
};

struct file_ref {
	struct count refcnt;
};

struct file {
	struct inode *f_inode;
	struct address_space *f_mapping;
	void *private_data;
	struct count f_count;  /* before 6.13 */
	struct file_ref f_ref; /* since: negative when none is left */
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct pid {
	struct hlist_head tasks[2];
};

struct sock {
	struct socket *sk_socket;
	struct pid *sk_peer_pid;
};

struct unix_sock {
	struct sock *peer;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct atomic { /* atomic_t */
	int counter;
};

struct files_struct {
	struct atomic count;
	struct fdtable *fdt;
};

struct signal_struct {
	struct list_head thread_head;
	unsigned int flags;
};

/* kernel_cap_t: two words of 32 bits before 6.3, one of 64 since. */
struct capabilities {
	__u64 val;
};

struct cred {
	struct uid euid;
	struct capabilities cap_effective;
	struct user_namespace *user_ns;
};

struct pid_namespace {
	unsigned int level;
	struct task_struct *child_reaper;
};

struct nsproxy {
	void *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
};

struct task_struct {
	struct nsproxy *nsproxy;
	struct hlist_node pid_links[2];
	struct list_head thread_node;
	struct files_struct *files;
	struct signal_struct *signal;
	const struct cred *cred;
	int tgid;
};

#pragma clang attribute pop

/* Nobody takes away the answer to a process that was killed when it had asked: the least recent ones make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct sb_record);
} answers SEC(".maps");

/*
 * What is told of an address must not be the address, nor say how far two are apart. So it is told as a cipher has
 * it, Speck64 of Beaulieu and others (2013), whose round keys are set when the program is loaded.
 */
const volatile __u32 secret[SB_SECRET_WORDS] = {};

static __always_inline __u64 hide(__u64 address)
{
	__u32 x = address >> 32, y = address;

#pragma unroll
	for (int i = 0; i < SB_SECRET_WORDS; i++) {
		x = ((x >> 8 | x << 24) + y) ^ secret[i];
		y = (y << 3 | y >> 29) ^ x;
	}
	return (__u64)x << 32 | y;
}

static __always_inline void *find_hidden(__u64 id)
{
	__u32 x = id >> 32, y = id;

#pragma unroll
	for (int i = SB_SECRET_WORDS - 1; i >= 0; i--) {
		y ^= x;
		y = y >> 3 | y << 29;
		x = (x ^ secret[i]) - y;
		x = x << 8 | x >> 24;
	}
	return (void *)((__u64)x << 32 | y);
}

/* Does the pointer lead to a superblock? Memory of another kind does not point back. */
static __always_inline int is_super(struct super_block *sb)
{
	return sb && BPF_CORE_READ(sb, s_root, d_sb) == sb;
}

/* The file behind a descriptor of the caller. RCU keeps the table. */
static __always_inline struct file *file_of(__u64 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct file **table, *file = NULL;

	if (!fdt || fd >= BPF_CORE_READ(fdt, max_fds))
		return NULL;
	table = BPF_CORE_READ(fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), table + fd);
	return file;
}

/* The name is padded with zeroes. No branches: the verifier follows each of them in the loop below. */
static __always_inline int is_named(struct super_block *sb, const __u64 *name)
{
	__u64 id[4] = {};

	bpf_core_read_str(id, sizeof(id), &sb->s_id);
	return !((id[0] ^ name[0]) | (id[1] ^ name[1]) | (id[2] ^ name[2]) | (id[3] ^ name[3]));
}

/*
 * The holder of a block device is the superblock itself (most filesystems from
 * 6.5 on) or the type of the filesystem: all of them before that, since then
 * those that spread over several devices. Of a type's superblocks it is the one
 * that has the device, or is named after it. Before 6.6 XFS holds the devices of
 * its log and its realtime files by its own struct.
 */
static __always_inline struct super_block *super_on(struct block_device *bdev, const __u64 *name)
{
	void *holder = BPF_CORE_READ(bdev, bd_holder);
	struct file_system_type *type = holder;
	struct hlist_node *node;

	if (!holder)
		return NULL;
	if (is_super(holder))
		return holder;
	if (bpf_core_field_exists(struct xfs_mount, m_super)) {
		struct super_block *sb = BPF_CORE_READ((struct xfs_mount *)holder, m_super);

		if (is_super(sb) && BPF_CORE_READ(sb, s_fs_info) == holder)
			return sb;
	}
	node = BPF_CORE_READ(type, fs_supers.first);
	for (int i = 0; i < MAX_SUPERS && node; i++) {
		struct super_block *sb =
			(void *)node - bpf_core_field_offset(struct super_block, s_instances);

		if (BPF_CORE_READ(sb, s_type) != type)
			return NULL;
		if ((BPF_CORE_READ(sb, s_bdev) == bdev || is_named(sb, name)) && is_super(sb))
			return sb;
		node = BPF_CORE_READ(node, next);
	}
	return NULL;
}

/* What ns_capable(ns, CAP_SYS_ADMIN) would say of the caller. */
static __always_inline int may_freeze(struct user_namespace *ns)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct user_namespace *own = BPF_CORE_READ(cred, user_ns);
	unsigned int euid = BPF_CORE_READ(cred, euid.val);
	__u64 caps = 0;

	bpf_core_read(&caps, sizeof(caps), &cred->cap_effective);
	for (int i = 0; i < MAX_NAMESPACES && ns; i++) {
		struct user_namespace *parent = BPF_CORE_READ(ns, parent);

		if (ns == own)
			return caps >> CAP_SYS_ADMIN & 1;
		if (parent == own && BPF_CORE_READ(ns, owner.val) == euid)
			return 1;
		ns = parent;
	}
	return 0;
}

static __always_inline void count_holds(struct super_block *sb, struct sb_record *record)
{
	if (bpf_core_field_exists(sb->s_writers.freeze_ucount)) {
		record->user_holds = BPF_CORE_READ(sb, s_writers.freeze_ucount);
		record->kernel_holds = BPF_CORE_READ(sb, s_writers.freeze_kcount);
		record->flags |= SB_COUNTED;
	} else if (bpf_core_field_exists(sb->s_writers.freeze_holders)) {
		unsigned short holders = BPF_CORE_READ(sb, s_writers.freeze_holders);

		record->kernel_holds = holders & 1;
		record->user_holds = holders >> 1 & 1;
		record->flags |= SB_COUNTED;
	} else {
		record->user_holds = record->frozen == SB_FREEZE_COMPLETE;
	}
}

/* The device that a btrfs is named after, which may change while it is mounted. */
static __always_inline void fill_btrfs(struct super_block *sb, struct sb_record *record)
{
	struct btrfs_fs_info *info = BPF_CORE_READ(sb, s_fs_info);
	struct btrfs_device *device;
	void *path;

	if (!bpf_core_field_exists(struct btrfs_fs_devices, latest_dev))
		return;
	device = BPF_CORE_READ(info, fs_devices, latest_dev);
	record->bdev = BPF_CORE_READ(device, bdev, bd_dev);
	path = BPF_CORE_READ(device, name);
	if (bpf_core_type_exists(struct rcu_string))
		path += bpf_core_field_offset(struct rcu_string, str);
	bpf_probe_read_kernel_str(record->path, sizeof(record->path), path);
}

static __always_inline void fill(struct super_block *sb, struct sb_record *record)
{
	struct sb_writers *writers = __builtin_preserve_access_index(&sb->s_writers);
	struct task_struct *task = (void *)bpf_get_current_task();

	record->id = hide((__u64)sb);
	record->dev = BPF_CORE_READ(sb, s_dev);
	record->bdev = BPF_CORE_READ(sb, s_bdev, bd_dev);
	record->frozen = BPF_CORE_READ_BITFIELD_PROBED(writers, frozen);
	if (BPF_CORE_READ(sb, s_flags) & SB_RDONLY)
		record->flags |= SB_READ_ONLY;
	if (BPF_CORE_READ(sb, s_op, freeze_fs) || BPF_CORE_READ(sb, s_op, freeze_super))
		record->flags |= SB_CAN_FREEZE;
	if (may_freeze(BPF_CORE_READ(sb, s_user_ns)))
		record->flags |= SB_MAY_FREEZE;
	if (BPF_CORE_READ(task, nsproxy, pid_ns_for_children, level))
		record->flags |= SB_NESTED;
	if (BPF_CORE_READ(task, nsproxy, mnt_ns) ==
	    BPF_CORE_READ(task, nsproxy, pid_ns_for_children, child_reaper, nsproxy, mnt_ns))
		record->flags |= SB_INIT_MOUNTS;
	count_holds(sb, record);
	bpf_probe_read_kernel_str(record->type, sizeof(record->type),
				  BPF_CORE_READ(sb, s_type, name));
	bpf_core_read_str(record->name, sizeof(record->name), &sb->s_id);
	if (!__builtin_memcmp(record->type, "btrfs\0\0", 8))
		fill_btrfs(sb, record);
}

/* 1 or 0, without a branch: the verifier follows each of them in the loops below. */
static __always_inline __u64 is_same(const void *a, const void *b)
{
	__u64 differs = (__u64)a ^ (__u64)b;

	asm volatile("" : "+r"(differs));
	return ((differs | -differs) >> 63) ^ 1;
}

/* The table of descriptors that the whole process has, and nobody else. */
static __always_inline struct files_struct *only_table(struct signal_struct *signal)
{
	void *head = (void *)signal + bpf_core_field_offset(struct signal_struct, thread_head);
	void *node = BPF_CORE_READ(signal, thread_head.next);
	__u64 any = 0, all = -1, users = 0;
	struct files_struct *table;

	for (int i = 0; i < MAX_THREADS && node != head; i++) {
		struct task_struct *thread =
			node - bpf_core_field_offset(struct task_struct, thread_node);
		__u64 files = (__u64)BPF_CORE_READ(thread, files), none;

		/* Who has none has given it back. */
		none = is_same((void *)files, NULL);
		any |= files;
		all &= files | -none;
		users += 1 ^ none;
		node = BPF_CORE_READ((struct list_head *)node, next);
	}
	table = (void *)any;
	if (node != head || any != all || (__u64)BPF_CORE_READ(table, count.counter) != users)
		return NULL;
	return table;
}

/* Is the file at one of SB_WINDOW descriptors from the first on? */
static __always_inline int find_in_table(struct files_struct *files, __u64 first, struct file *file)
{
	struct fdtable *fdt = BPF_CORE_READ(files, fdt);
	unsigned int max = BPF_CORE_READ(fdt, max_fds);
	struct file **table = BPF_CORE_READ(fdt, fd);
	__u64 found = 0;

	for (__u64 i = 0; i < SB_WINDOW && first + i < max; i++) {
		struct file *each = NULL;

		bpf_probe_read_kernel(&each, sizeof(each), table + first + i);
		found |= is_same(each, file);
	}
	return found ? SB_PEER_DIES : first + SB_WINDOW < max ? SB_PEER_LOOK_ON : SB_PEER_OPEN;
}

/*
 * Is the one reference to the file in the table of this process, and does that
 * die, so that it never uses it again? It may be kept from closing its files by
 * what is frozen: one thread writes there, or a core is dumped there.
 */
static __always_inline int dies_with(struct pid *pid, __u64 first, struct file *file)
{
	struct hlist_node *node = BPF_CORE_READ(pid, tasks[PIDTYPE_TGID].first);
	struct task_struct *task =
		(void *)node - bpf_core_field_offset(struct task_struct, pid_links[PIDTYPE_TGID]);
	struct signal_struct *signal;
	struct files_struct *files;

	if (!node)
		return SB_PEER_OPEN;
	signal = BPF_CORE_READ(task, signal);
	if (!(BPF_CORE_READ(signal, flags) & (SIGNAL_GROUP_EXIT | SIGNAL_GROUP_COREDUMP)))
		return SB_PEER_OPEN;
	files = only_table(signal);
	return files ? find_in_table(files, first, file) : SB_PEER_OPEN;
}

/* How many references to the file there are. */
static __always_inline long references(struct file *file)
{
	if (bpf_core_field_exists(file->f_ref))
		return BPF_CORE_READ(file, f_ref.refcnt.counter) + 1;
	return BPF_CORE_READ(file, f_count.counter);
}

/*
 * Who has the descriptor at the other end of a Unix socket? When the last copy is
 * closed, the end of file comes only when the kernel has got round to releasing
 * it. In a process that dies it may be kept from that for as long as the freeze
 * lasts: by another file, deleted on what is frozen, whose release comes first.
 */
static __always_inline int peer_state(__u64 fd, __u64 first)
{
	struct file *file = file_of(fd);
	struct socket *socket;
	struct unix_sock *own;
	struct sock *peer;
	long refs;

	if (!file || !bpf_core_type_exists(struct unix_sock))
		return SB_PEER_OPEN;
	socket = BPF_CORE_READ(file, private_data);
	own = (void *)BPF_CORE_READ(socket, sk);
	peer = BPF_CORE_READ(own, peer);
	file = peer ? BPF_CORE_READ(peer, sk_socket, file) : NULL;
	if (!file)
		return SB_PEER_OPEN;
	refs = references(file);
	if (refs <= 0)
		return SB_PEER_CLOSED;
	/* The process that made the pair. */
	return refs == 1 ? dies_with(BPF_CORE_READ(peer, sk_peer_pid), first, file) : SB_PEER_OPEN;
}

static __always_inline struct list_head *list_of_waiters(struct super_block *sb, __u64 level)
{
	switch (level) {
	case 1:
		return __builtin_preserve_access_index(&sb->s_writers.rw_sem[0].waiters.head);
	case 2:
		return __builtin_preserve_access_index(&sb->s_writers.rw_sem[1].waiters.head);
	case SB_LEVELS:
		return __builtin_preserve_access_index(&sb->s_writers.rw_sem[2].waiters.head);
	default:
		return NULL;
	}
}

/*
 * The list is read without its lock. An entry lies on the stack of its task: one that was
 * taken out meanwhile points to itself, or does not point back.
 */
static __always_inline int read_waiters(struct super_block *sb, __u64 level, __u64 after,
					struct sb_waiting *waiting)
{
	struct list_head *head = list_of_waiters(sb, level), *last = head, *node;

	if (!head)
		return SB_NONE;
	if (after)
		last = find_hidden(after);
	node = BPF_CORE_READ(last, next);
	for (int i = 0; i < SB_WAITERS && node != head; i++) {
		struct wait_queue_entry *entry =
			(void *)node - bpf_core_field_offset(struct wait_queue_entry, entry);
		struct task_struct *task = BPF_CORE_READ(entry, private);

		if (!task || node == last || BPF_CORE_READ(node, prev) != last)
			return SB_CHANGED;
		waiting->pid[i] = BPF_CORE_READ(task, tgid);
		waiting->count++;
		last = node;
		node = BPF_CORE_READ(node, next);
	}
	if (BPF_CORE_READ(node, prev) != last)
		return SB_CHANGED;
	waiting->last = node == head ? 0 : hide((__u64)last);
	return SB_FOUND;
}

SEC("raw_tp")
int superblock(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 key = ctx->args[SB_ARG_KEY], fd = ctx->args[SB_ARG_FD], id = ctx->args[SB_ARG_ID];
	const __u64 name[4] = {ctx->args[SB_ARG_NAME], ctx->args[SB_ARG_NAME + 1],
			       ctx->args[SB_ARG_NAME + 2], ctx->args[SB_ARG_NAME + 3]};
	__u64 level = ctx->args[SB_ARG_LEVEL];
	struct sb_record record = {};
	struct super_block *sb;

	if (ctx->args[SB_ARG_PEER])
		return peer_state(fd, ctx->args[SB_ARG_FIRST]);
	if (id) {
		sb = find_hidden(id);
	} else {
		struct file *file = file_of(fd);
		struct inode *inode = file ? BPF_CORE_READ(file, f_inode) : NULL;

		if (!inode)
			return SB_BADF;
		if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) == S_IFBLK) {
			void *host = BPF_CORE_READ(file, f_mapping, host);

			host -= bpf_core_field_offset(struct bdev_inode, vfs_inode);
			sb = super_on(host, name);
		} else {
			sb = BPF_CORE_READ(inode, i_sb);
		}
	}
	if (!is_super(sb))
		return SB_NONE;
	if (level) {
		int found = read_waiters(sb, level, ctx->args[SB_ARG_AFTER], &record.waiting);

		if (found != SB_FOUND)
			return found;
	} else {
		fill(sb, &record);
	}
	return bpf_map_update_elem(&answers, &key, &record, BPF_ANY) ? SB_FULL : SB_FOUND;
}

char _license[] SEC("license") = "GPL";
