// SPDX-License-Identifier: GPL-2.0-or-later
/* C16: /proc/PID/fdinfo tells who holds what. */
#include "contract.h"

/* The rest of the line "KEY:\t..." in the fdinfo of a process's descriptor. */
static const char *fdinfo(pid_t pid, int fd, const char *key)
{
	static char line[512];
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	file = fopen(path, "re");
	check(file);
	while (fgets(line, sizeof(line), file)) {
		size_t length = strlen(key);

		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, key, length) && !strncmp(line + length, ":\t", 2)) {
			fclose(file);
			return line + length + 2;
		}
	}
	fclose(file);
	errno = 0;
	fail_at(__FILE__, __LINE__, "no line %s in %s", key, path);
}

static void check_text(const char *got, const char *want)
{
	errno = 0;
	if (strcmp(got, want))
		fail_at(__FILE__, __LINE__, "fdinfo says \"%s\", want \"%s\"", got, want);
}

static void check_hold_is(int fd, const char *want)
{
	check_text(fdinfo(getpid(), fd, "freezefd-hold"), want);
}

static unsigned long long timeout_of(int fd)
{
	return strtoull(fdinfo(getpid(), fd, "freezefd-timeout-ns"), NULL, 10);
}

/* What the line freezefd-fs tells. */
static struct fs_line {
	char device[32], type[32], state[32], id[64];
	unsigned long long frozen_ns;
} fs_line(pid_t pid, int fd)
{
	struct fs_line line;

	check_eq(sscanf(fdinfo(pid, fd, "freezefd-fs"), "%31s %31s %31s %llu %63s", line.device,
			line.type, line.state, &line.frozen_ns, line.id),
		 5);
	return line;
}

/* What the mount table says of the test directory: its device number and type. */
static void mount_line(char *device, char *type)
{
	const char *path = getenv("FREEZEFD_TEST_DIR");
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char line[4096], where[4096];

	check(file);
	while (fgets(line, sizeof(line), file)) {
		const char *rest = strstr(line, " - ");

		check_eq(sscanf(line, "%*d %*d %31s %*s %4095s", device, where), 2);
		if (!strcmp(where, path)) {
			check_eq(sscanf(rest, " - %31s", type), 1);
			fclose(file);
			return;
		}
	}
	skip("%s is not a mount point", path);
}

TEST(C16, "fdinfo tells device, type, state and since when")
{
	char device[32], type[32];
	struct fs_line line;
	int fd;

	mount_line(device, type);
	fd = no_hold(dir);
	line = fs_line(getpid(), fd);
	check_text(line.device, device);
	check_text(line.type, type);
	check_text(line.state, "thawed");
	check_eq(line.frozen_ns, 0);

	check_eq(freezefd_freeze(fd), 0);
	line = fs_line(getpid(), fd);
	check_text(line.device, device);
	check_text(line.type, type);
	check_text(line.state, "frozen");
	check(line.frozen_ns > 0 && line.frozen_ns <= status_of(fd).frozen_ns);
	wait_until(fs_line(getpid(), fd).frozen_ns > line.frozen_ns);
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C16, "fdinfo tells the hold and the deadline")
{
	int fd = no_hold(dir);

	check_hold_is(fd, "none");
	check_eq(timeout_of(fd), 0);
	check_eq(freezefd_set_timeout(fd, 3600 * SECOND), 0);
	check_eq(timeout_of(fd), 3600 * SECOND);
	check_eq(freezefd_freeze(fd), 0);
	check_hold_is(fd, "held");
	check(timeout_of(fd) < 3600 * SECOND && timeout_of(fd) > 1800 * SECOND);

	check_eq(freezefd_thaw_force(dir), 0);
	check_hold_is(fd, "revoked");
	check_eq(freezefd_thaw(fd), -ECANCELED);
	check_hold_is(fd, "none");

	check_eq(freezefd_freeze(fd), 0);
	check_eq(freezefd_set_timeout(fd, 1), 0);
	wait_until(events(fd) == POLLERR);
	check_hold_is(fd, "expired");
	check_eq(freezefd_thaw(fd), -ETIME);
}

TEST(C16, "fdinfo of another process tells what it holds")
{
	pid_t holder;

	shared[0] = -1;
	IN_CHILD(holder) {
		shared[0] = hold_for(dir, 3600 * SECOND);
		for (;;)
			pause();
	}
	wait_until(shared[0] >= 0);
	check_text(fdinfo(holder, shared[0], "freezefd-hold"), "held");
	check_text(fs_line(holder, shared[0]).state, "frozen");
}

TEST(C16, "the link of the descriptor names its kind")
{
	char path[64], link[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", no_hold(dir));
	n = readlink(path, link, sizeof(link) - 1);
	check(n > 0);
	link[n] = 0;
	check_text(link, "anon_inode:[freezefd]");
}

TEST(C16, "fdinfo of what is unmounted, and of what is gone")
{
	const char *path = scratch_fs(0);
	int bdev = open_dev(scratch(0)), fd = hold(bdev);
	struct fs_line line;

	check(!umount2(path, 0));
	line = fs_line(getpid(), fd);
	check_text(line.type, fstype());
	check_text(line.state, "frozen");
	check_hold_is(fd, "held");
	check_eq(freezefd_thaw(fd), 0);
	wait_until(status_of(fd).hold == FREEZEFD_HOLD_GONE);
	check_hold_is(fd, "gone");
}

TEST(C16, "fdinfo answers while a writer keeps a freeze waiting")
{
	pid_t freezer;
	int fs = open_dir(scratch_fs(0)), fd;

	fd = no_hold(fs);
	freezer = start_stalled_freeze(fs, fd);
	check_text(fs_line(getpid(), fd).state, "freezing");
	check_hold_is(fd, "none");
	end_slow_write();
	reap(freezer);
	check_hold_is(fd, "held");
	check_eq(freezefd_thaw(fd), 0);
}
