// SPDX-License-Identifier: GPL-2.0-or-later
/* C3: what is on the device of a frozen filesystem is whole. */
#include <linux/loop.h>

#include "contract.h"

#define FILES 8
#define SIZE  (1 << 20)

static unsigned char content[SIZE];

/* No byte of a file equals the same byte of the next. */
static void make_content(unsigned int file)
{
	uint32_t x = 2463534242U + file;

	for (size_t i = 0; i < sizeof(content); i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		content[i] = x + file;
	}
}

/* Data, names and holes, none of it synced. */
static void make_files(int fs)
{
	check(!mkdirat(fs, "d", 0755));
	for (unsigned int i = 0; i < FILES; i++) {
		char name[32];
		int fd;

		make_content(i);
		snprintf(name, sizeof(name), "d/new-%u", i);
		fd = openat(fs, name, O_CREAT | O_WRONLY, 0644);
		check(fd >= 0);
		check(write(fd, content, SIZE) == SIZE);
		check(pwrite(fd, content, SIZE, 8 * SIZE) == SIZE);
		close(fd);
		if (i % 2) {
			char final[32];

			snprintf(final, sizeof(final), "d/%u", i);
			check(!renameat(fs, name, fs, final));
		} else {
			check(!unlinkat(fs, name, 0));
		}
	}
}

static bool has_files(const char *path)
{
	unsigned char *buffer = malloc(SIZE);
	bool same = true;

	for (unsigned int i = 1; i < FILES && same; i += 2) {
		char name[128];
		int fd;

		make_content(i);
		snprintf(name, sizeof(name), "%s/d/%u", path, i);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		same = fd >= 0 && read(fd, buffer, SIZE) == SIZE &&
		       !memcmp(buffer, content, SIZE) &&
		       pread(fd, buffer, SIZE, 8 * SIZE) == SIZE && !memcmp(buffer, content, SIZE);
		if (fd >= 0)
			close(fd);
		snprintf(name, sizeof(name), "%s/d/new-%u", path, i - 1);
		same = same && access(name, F_OK);
	}
	free(buffer);
	return same;
}

/* "$1" is the copy. Nothing is repaired and no journal replayed before the verdict. */
static const struct {
	const char *type;
	const char *verdict;
	const char *mount;
} tools[] = {
	{"ext4", "e2fsck -fn $1 >/dev/null 2>&1 && ! dumpe2fs -h $1 2>&1 | grep -q needs_recovery",
	 "noload"},
	/*
	 * The last thing that a freeze of XFS does is to log the superblock,
	 * counters and all, so that the next mount looks for unlinked inodes.
	 */
	{"xfs",
	 "! xfs_logprint -t $1 2>/dev/null | grep '#regs:' | grep -qv 'blkno:0x0 ' && "
	 "! xfs_repair -n $1 2>&1 | grep -vE '^(Phase| +- |No modify|ALERT: The filesystem has "
	 "valuable|ignored because the -n|which may be resolved|sb_(fdblocks|icount|ifree) )' | grep .",
	 "norecovery,nouuid"},
	{"btrfs", "btrfs check --readonly $1 >/dev/null 2>&1", "rescue=nologreplay"},
	{"f2fs", "fsck.f2fs --dry-run $1 >/dev/null 2>&1", "norecovery"},
};

/* The device, past every cache. */
static void copy(const char *from, const char *to)
{
	sh("dd if=%s of=%s bs=1M iflag=direct oflag=direct status=none", from, to);
}

/* Without any recovery: is the copy a filesystem that has all the files? */
static bool is_whole(const char *device)
{
	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		const char *path;
		bool whole;

		if (strcmp(tools[i].type, fstype()))
			continue;
		if (try_sh("set -- %s; %s", device, tools[i].verdict)) {
			note("the copy does not pass: %s", tools[i].verdict);
			return false;
		}
		path = mount_fs(device, "copy", MS_RDONLY, tools[i].mount);
		whole = has_files(path);
		if (!whole)
			note("the copy lacks files or their data");
		check(!umount2(path, 0));
		return whole;
	}
	skip("no checker known for %s", fstype());
}

/* The copy must be the only one of its name when it is mounted. */
static void discard(const char *path, const char *device)
{
	check(!umount2(path, 0));
	sh("wipefs -qa %s", device);
	if (!strcmp(fstype(), "btrfs"))
		sh("btrfs device scan --forget");
}

TEST(C3, "a copy of the frozen device needs no recovery and has all data")
{
	const char *path;
	int fs, fd;

	scratch(1);
	path = scratch_fs(0);
	fs = open_dir(path);
	make_files(fs);
	fd = hold(fs);
	copy(scratch(0), scratch(1));
	check_eq(freezefd_thaw(fd), 0);
	close(fd);
	close(fs);
	discard(path, scratch(0));
	check(is_whole(scratch(1)));
}

TEST(C3, "a copy of a device frozen again has what was written since")
{
	const char *path;
	int fs, fd;

	scratch(1);
	path = scratch_fs(0);
	fs = open_dir(path);
	fd = hold(fs);
	check_eq(freezefd_thaw(fd), 0);
	make_files(fs);
	check_eq(freezefd_freeze(fd), 0);
	copy(scratch(0), scratch(1));
	check_eq(freezefd_thaw(fd), 0);
	close(fd);
	close(fs);
	discard(path, scratch(0));
	check(is_whole(scratch(1)));
}

TEST(C3, "control: a copy of a device in use fails the same check")
{
	const char *path;
	int fs;

	scratch(1);
	path = scratch_fs(0);
	fs = open_dir(path);
	make_files(fs);
	copy(scratch(0), scratch(1));
	close(fs);
	discard(path, scratch(0));
	check(!is_whole(scratch(1)));
}

/* By way of device-mapper: of a disk that goes away the kernel would first write out the filesystem on it. */
static void lose_power(const char *when, bool thaw)
{
	const char *disk = null_disk(64), *device = dm_over(disk), *path;
	int fs, fd, synced;

	path = new_fs(device, when);
	fs = open_dir(path);
	make_files(fs);
	fd = hold(fs);
	if (thaw) {
		check_eq(freezefd_thaw(fd), 0);
		synced = openat(fs, "d/synced", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		check(synced >= 0 && !fsync(synced) && !close(synced));
	}
	null_power(false);
	close(fd);
	wait_state(fs, THAWED);
	close(fs);
	check(!umount2(path, 0));
	if (!strcmp(fstype(), "btrfs"))
		sh("btrfs device scan --forget");
	null_power(true);
	path = mount_fs(disk, when, 0, NULL);
	check(has_files(path));
	if (thaw)
		check(!try_sh("test -e %s/d/synced", path));
	check(!umount2(path, 0));
}

TEST(C3, "a loss of power during a freeze loses nothing")
{
	lose_power("frozen", false);
}

TEST(C3, "a loss of power after the thaw loses nothing that was synced since")
{
	lose_power("thawed", true);
}

/* A loop device over a file, for as long as the result is open. */
static int loop_over(int file)
{
	const struct loop_config config = {.fd = file, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int control = open_dev("/dev/loop-control"), loop, number;
	char path[32];

	/* Another process may take the same one: try again, at most for the time limit of a test. */
	do {
		number = ioctl(control, LOOP_CTL_GET_FREE);
		check(number >= 0);
		snprintf(path, sizeof(path), "/dev/loop%d", number);
		loop = open(path, O_RDWR | O_CLOEXEC);
		check(loop >= 0);
	} while (ioctl(loop, LOOP_CONFIGURE, &config) && errno == EBUSY && !close(loop));
	close(control);
	return loop;
}

TEST(C3, "a discard of a loop device over a file waits for the thaw of the file's filesystem")
{
	uint64_t range[] = {0, SIZE};
	int fs, file, loop, fd;
	struct stat st;
	pid_t pid;

	if (!is_native(dir))
		skip("the kernel's loop driver punches holes into files that are frozen");
	fs = open_dir(scratch_fs(0));
	file = openat(fs, "image", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	check(file >= 0);
	make_content(0);
	check(write(file, content, SIZE) == SIZE && !fsync(file));
	loop = loop_over(file);
	fd = hold(fs);
	IN_CHILD(pid)
		check(!ioctl(loop, BLKDISCARD, range));
	wait_blocked(pid);
	check(!fstat(file, &st));
	check(st.st_blocks >= SIZE / 512);
	check_eq(freezefd_thaw(fd), 0);
	reap(pid);
	check(!fstat(file, &st));
	check_eq(st.st_blocks, 0);
	close(loop);
}

static void delete_for_ever(int fs, const char *name)
{
	const off_t apart = 4 << 20;

	for (;;) {
		int fd = openat(fs, name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

		/* Where each of them is stands in a block of its own. */
		for (off_t i = 0; i < 16; i++)
			check(pwrite(fd, "x", 1, i * apart) == 1);
		check(!unlinkat(fs, name, 0));
		close(fd);
		__atomic_add_fetch(shared, 1, __ATOMIC_RELAXED);
	}
}

TEST(C3, "a freeze succeeds while deleted files are being closed")
{
	pid_t pids[4];
	int fs, fd, deleted;

	fs = open_dir(scratch_fs(0));
	fd = no_hold(fs);
	for (int i = 0; i < 4; i++)
		IN_CHILD(pids[i])
			delete_for_ever(fs, (char[]){(char)('a' + i), 0});
	for (unsigned int i = 0; i < rounds(100); i++) {
		deleted = *shared;
		wait_until(*shared > deleted);
		check_eq(freezefd_freeze(fd), 0);
		check_eq(freezefd_thaw(fd), 0);
	}
	for (int i = 0; i < 4; i++) {
		kill(pids[i], SIGKILL);
		end_of(pids[i]);
	}
}
