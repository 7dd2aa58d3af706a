// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fuzzes the kernel's calls, those of the series and of /dev/freezefd: ioctl --help. To be run in a VM, by
 * tests/fuzz/ioctl-run. An input is a program of calls (ioctl-calls.c). After each, no process is left and nothing is
 * held; now and then the filesystems are unmounted and their devices must be free. What a call returns the contract
 * must name. The kernel's log is for who runs the VM to judge.
 *
 * Inputs are random, without feedback: to change those in which a call returned something new after another one's result
 * reached no more of such pairs than new ones did.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/freezefd.h>
#include <linux/freezefd_dev.h>
#include <linux/fs.h>

#include "ioctl.h"

#define PATIENCE_MS 300 /* for a program; then it is killed, and what it waits for is thawed */
#define LIMIT_MS    30000
#define CYCLE	    16 /* programs between two unmounts */

const char *const mount_point[NR_FS] = {"a", "b"};
static const char *const fs_type[NR_FS] = {"ext4", "xfs"};
const char *disk[NR_FS + 1];
struct shared *shared;

static int device = -1; /* /dev/freezefd */
static int disk_fd[NR_FS];

static struct program {
	uint8_t bytes[MAX_PROGRAM];
	size_t size;
} current;
static size_t nr_programs, nr_rescued, nr_cycles;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void nap(void)
{
	const struct timespec ts = {.tv_nsec = 2000000};

	nanosleep(&ts, NULL);
}

static void die(const char *what)
{
	fprintf(stderr, "ioctl: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* --- random numbers: xorshift64* --- */

static uint64_t state;

static uint64_t random_number(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * UINT64_C(2685821657736338717);
}

static size_t below(size_t limit)
{
	return random_number() % limit;
}

static void new_program(struct program *program)
{
	program->size = 8 + below(MAX_PROGRAM - 8);
	for (size_t i = 0; i < program->size; i++)
		program->bytes[i] = (uint8_t)random_number();
}

/* --- the filesystems --- */

void mount_fs(int fs)
{
	mount(disk[fs], mount_point[fs], fs_type[fs], 0, fs == FS_B ? "nouuid" : NULL);
}

static int status_of(int fs, struct freeze_status *status)
{
	struct freezefd_dev_status arg = {.fd = disk_fd[fs]};
	int ret;

	if (device < 0)
		return ioctl(disk_fd[fs], FS_IOC_FREEZE_STATUS, status) ? -errno : 0;
	ret = ioctl(device, FREEZEFD_DEV_STATUS, &arg) ? -errno : 0;
	*status = arg.status;
	return ret;
}

static int force(int fs)
{
	struct freezefd_dev_target arg = {.fd = disk_fd[fs]};

	if (device < 0)
		return ioctl(disk_fd[fs], FS_IOC_THAW_FORCE, 0) ? -errno : 0;
	return ioctl(device, FREEZEFD_DEV_THAW_FORCE, &arg) ? -errno : 0;
}

/* While a thaw writes it has no hold any more. */
static bool may_go_on(const struct freeze_status *status)
{
	return status->fd_holds || status->state == FREEZE_STATE_FREEZING ||
	       (status->state == FREEZE_STATE_FROZEN && !status->user_holds &&
		!status->kernel_holds);
}

/* All descriptors are closed: only FIFREEZE may hold. */
static void check_thawed(int fs)
{
	const uint64_t end = now_ms() + LIMIT_MS;
	struct freeze_status status;
	int ret;

	while (!(ret = status_of(fs, &status)) && may_go_on(&status)) {
		if (now_ms() > end) {
			fail("%s: %u holds of descriptors that nobody has, state %u", disk[fs],
			     status.fd_holds, status.state);
			return;
		}
		nap();
	}
	if (ret && ret != -ENODEV)
		fail("%s: status returns %s", disk[fs], strerror(-ret));
	if (ret || status.state == FREEZE_STATE_THAWED)
		return;
	ret = force(fs);
	if (ret && ret != -ENODEV)
		fail("%s: a forced thaw of %u holds returns %s", disk[fs], status.user_holds,
		     strerror(-ret));
	/* One that was unmounted while frozen is gone by now. */
	if (!status_of(fs, &status) && status.state != FREEZE_STATE_THAWED)
		fail("%s: still state %u after a forced thaw", disk[fs], status.state);
}

static bool is_mounted(int fs)
{
	char path[32];

	snprintf(path, sizeof(path), "%s/file", mount_point[fs]);
	return !access(path, W_OK);
}

/* A mount that was detached, or several on each other. */
static void unmount_all(int fs)
{
	const uint64_t end = now_ms() + LIMIT_MS;
	int fd;

	while (!umount2(mount_point[fs], 0) || errno == EBUSY)
		if (now_ms() > end) {
			fail("%s: cannot be unmounted: %s", mount_point[fs], strerror(errno));
			return;
		}
	while ((fd = open(disk[fs], O_RDONLY | O_EXCL | O_CLOEXEC)) < 0) {
		if (now_ms() > end) {
			fail("%s: still in use after it was unmounted: %s", disk[fs],
			     strerror(errno));
			return;
		}
		nap();
	}
	close(fd);
}

static void make_files(int fs)
{
	char path[32];

	snprintf(path, sizeof(path), "%s/sub", mount_point[fs]);
	mkdir(path, 0755);
	strcat(path, "/dir");
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/file", mount_point[fs]);
	close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666));
	if (!is_mounted(fs))
		fail("%s: cannot be mounted again", mount_point[fs]);
}

static void check_filesystems(void)
{
	const bool cycle = ++nr_programs % CYCLE == 0;

	for (int fs = 0; fs < NR_FS && !shared->failed; fs++) {
		check_thawed(fs);
		if (shared->failed || (!cycle && is_mounted(fs)))
			continue;
		unmount_all(fs);
		mount_fs(fs);
		make_files(fs);
	}
	nr_cycles += cycle;
}

/* --- one program --- */

/* Its end thaws. If it waits for what it has frozen itself, that has to be thawed first. */
static void end_program(pid_t pid)
{
	const uint64_t end = now_ms() + LIMIT_MS;

	nr_rescued++;
	kill(pid, SIGKILL);
	while (!waitpid(pid, NULL, WNOHANG)) {
		for (int fs = 0; fs < NR_FS; fs++)
			force(fs);
		if (now_ms() > end) {
			fail("a process does not end when it is killed and all is thawed");
			return;
		}
		nap();
	}
}

static void try_program(void)
{
	int pidfd = -1;
	struct pollfd poll_ = {.events = POLLIN};
	/* All of its processes end with it. */
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_PIDFD | SIGCHLD, NULL, &pidfd,
				   NULL, NULL);

	if (pid < 0)
		die("clone");
	if (!pid)
		run_program(current.bytes, current.size);
	poll_.fd = pidfd;
	if (poll(&poll_, 1, PATIENCE_MS) == 1)
		waitpid(pid, NULL, 0);
	else
		end_program(pid);
	close(pidfd);
	if (!shared->failed)
		check_filesystems();
}

static void set_up(void)
{
	char *disks = getenv("VM_DISKS"), *all = disks ? strdup(disks) : NULL;

	for (int i = 0; i <= NR_FS; i++) {
		disk[i] = all ? strsep(&all, " ") : NULL;
		if (!disk[i])
			die("VM_DISKS names too few disks");
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	device = open("/dev/freezefd", O_RDWR | O_CLOEXEC);
	for (int fs = 0; fs < NR_FS; fs++) {
		mkdir(mount_point[fs], 0755);
		mount_fs(fs);
		make_files(fs);
		disk_fd[fs] = open(disk[fs], O_RDONLY | O_CLOEXEC);
	}
	if (shared->failed) {
		fprintf(stderr, "ioctl: %s\n", shared->reason);
		exit(2);
	}
	mkdir("l", 0755);
	mkdir("u", 0755);
	mkdir("w", 0755);
	mkdir("o", 0755);
	mount("overlay", "o", "overlay", 0, "lowerdir=l,upperdir=u,workdir=w");
	close(open("o/x", O_RDWR | O_CREAT | O_CLOEXEC, 0666));
	close(open("t", O_RDWR | O_CREAT | O_CLOEXEC, 0666));
}

static void print_counts(void)
{
	static const char *const names[NR_CALLS] = {"STATUS",	    "FREEZEFD",	      "THAW_FORCE",
						    "FREEZE",	    "THAW",	      "TIMEOUT",
						    "FIFREEZE",	    "FITHAW",	      "DEV_STATUS",
						    "DEV_FREEZEFD", "DEV_THAW_FORCE", "other"};

	for (int i = 0; i < NR_CALLS; i++) {
		printf("# %-14s", names[i]);
		for (int err = 0; err < MAX_ERRNO; err++)
			if (shared->returned[i][err])
				printf(" %s %lu", err ? strerrorname_np(err) : "ok",
				       shared->returned[i][err]);
		printf("\n");
	}
}

static void print_program(void)
{
	printf("# to see it again: tests/fuzz/ioctl-run --replay ");
	for (size_t i = 0; i < current.size; i++)
		printf("%02x", current.bytes[i]);
	printf("\n");
}

static void read_program(const char *hex)
{
	for (current.size = 0;
	     current.size < MAX_PROGRAM && sscanf(hex, "%2hhx", &current.bytes[current.size]) == 1;
	     hex += 2)
		if (++current.size, !hex[1])
			break;
}

static const char usage[] =
	"Usage: ioctl [OPTION]...\n"
	"Fuzz the kernel's calls in this VM, on the disks that $VM_DISKS names: ext4, XFS, and one without.\n\n"
	"  --seed N       of the random numbers (default: the time)\n"
	"  --seconds N    for so long (default: 60)\n"
	"  --programs N   so many at the most\n"
	"  --replay HEX   only this program, 100 times\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},
		{"seconds", required_argument, NULL, 't'},
		{"programs", required_argument, NULL, 'n'},
		{"replay", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *replay = NULL;
	uint64_t seed = (uint64_t)time(NULL), seconds = 60, begin, told;
	size_t programs = SIZE_MAX;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			seconds = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			programs = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			replay = optarg;
			programs = 100;
			break;
		default:
			fputs(usage, opt == 'h' ? stdout : stderr);
			return opt == 'h' ? 0 : 2;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	set_up();
	printf("# seed %lu%s\n", seed, device >= 0 ? ", /dev/freezefd" : "");
	state = seed * 2 + 1;
	begin = told = now_ms();
	while (!shared->failed && nr_programs < programs && now_ms() - begin < seconds * 1000) {
		if (replay)
			read_program(replay);
		else
			new_program(&current);
		try_program();
		if (now_ms() - told > 10000) {
			told = now_ms();
			printf("# %lu s: %zu programs\n", (told - begin) / 1000, nr_programs);
		}
	}
	print_counts();
	printf("# %zu programs in %lu ms, %zu killed, %zu unmounts\n", nr_programs,
	       now_ms() - begin, nr_rescued, nr_cycles);
	if (shared->failed) {
		printf("# %s\n", shared->reason);
		print_program();
	}
	return shared->failed != 0;
}
