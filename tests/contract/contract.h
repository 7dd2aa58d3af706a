/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The harness of the contract suite.
 *
 * Every test runs in a child process with a time limit and a mount namespace of
 * its own, so that whatever becomes of it the next one starts clean. A test
 * that leaves the filesystem frozen has failed.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/fs.h>

#include "freezefd.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define EXIT_SKIP     77
#define SECOND	      1000000000ULL /* of the library's nanoseconds */

/* --- a test --- */

struct test {
	const char *clause;
	const char *what;
	void (*run)(void);
};

void add_test(const struct test *test);

/* Why this engine cannot pass the test, or NULL. */
const char *excuse(const char *engine, const struct test *test);

#define PASTE_(a, b) a##b
#define PASTE(a, b)  PASTE_(a, b)

/* TEST(C5, "what must hold") { ... } runs in the order of the file. */
#define TEST(clause, what) TEST_(clause, what, PASTE(test_, __LINE__))
#define TEST_(clause, what, name)                                                   \
	static void name(void);                                                     \
	__attribute__((constructor)) static void PASTE(add_, name)(void)            \
	{                                                                           \
		static const struct test PASTE(the_, name) = {#clause, what, name}; \
		add_test(&PASTE(the_, name));                                       \
	}                                                                           \
	static void name(void)

/* --- what a test may say --- */

#define check(cond)                                                     \
	do {                                                            \
		errno = 0;                                              \
		if (!(cond))                                            \
			fail_at(__FILE__, __LINE__, "%s fails", #cond); \
	} while (0)

#define check_eq(got, want) \
	check_eq_at(__FILE__, __LINE__, #got, (long long)(got), (long long)(want))

#define check_state(fd, want) check_eq(status_of(fd).state, FREEZE_STATE_##want)
#define check_hold(fd, want)  check_eq(status_of(fd).hold, FREEZEFD_HOLD_##want)

/* Waits for an event that must come; the limit is only there so that a failure ends. */
#define wait_until(cond)                                        \
	do {                                                    \
		const uint64_t start_ = nsec();                 \
		while (!(cond))                                 \
			nap(start_, __FILE__, __LINE__, #cond); \
	} while (0)

#define wait_state(fd, want) wait_until(status_of(fd).state == FREEZE_STATE_##want)

void fail_at(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));
void check_eq_at(const char *file, int line, const char *what, long long got, long long want);
void nap(uint64_t start, const char *file, int line, const char *what);
void skip(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Seconds that this test may take, if the usual ones are too few. */
void time_limit(unsigned int seconds);

/* A shell command that is run when the test has ended, however it ended; the last one first. */
void cleanup(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- the target --- */

/* Open for reading: FREEZEFD_TEST_DIR and FREEZEFD_TEST_DEV. */
extern int dir, dev;

struct freezefd_status status_of(int fd);

/* A freeze descriptor that holds target, and one that does not yet. */
int hold(int target);
int hold_for(int target, uint64_t timeout_ns);
int no_hold(int target);

/* freezefd_open() with these options, whatever it returns. */
int try_hold(int target, uint32_t flags, uint64_t timeout_ns);

/* What poll(2) reports of fd right now. */
short events(int fd);

/* --- processes and time --- */

uint64_t nsec(void);

/* Long enough for a few steps of a test, on this machine as busy as it is; a second at least. */
uint64_t a_while(void);

/* A number that the environment may set. */
unsigned int from_env(const char *name, unsigned int otherwise);

/* How often to try what goes wrong now and then: FREEZEFD_TEST_ROUNDS, or as often as usual. */
unsigned int rounds(unsigned int usual);

/* Memory that the test and its children share. */
extern volatile int *shared;

/* IN_CHILD(pid) { ... } runs the block in a child, which exits with 0 at its end. */
#define IN_CHILD(pid)                     \
	if (((pid) = start_child()) == 0) \
		for (;; _exit(0))

pid_t start_child(void);

/* Waits for the end of a child and returns its wait status. */
int end_of(pid_t pid);

/* Waits for the end of a child, which must succeed. */
void reap(pid_t pid);

/* The letter that /proc/PID/stat has for the state of a process. */
char process_state(pid_t pid);

/* Has a child, that must not end, been in this state so often in a row that it stays? *in_row begins as 0. */
bool seen_asleep(pid_t pid, char how, unsigned int *in_row);

/* Waits until a child sleeps where no signal reaches it. */
void wait_blocked(pid_t pid);

/* Is fd, or a hold on what it is open on, kept by this engine? */
bool is_native(int fd);
bool is_module(int fd);
bool is_guardian(int fd);

/* Waits until a child sleeps in its freeze, or until its guardian is in it. */
void wait_in_freeze(pid_t pid);

/* A child that creates and writes a file in a directory. */
pid_t start_writer(int dirfd);

/* Does the filesystem take a write? */
void check_writable(int dirfd);

int send_fd(int socket, int fd);
int receive_fd(int socket);

/* --- what needs more than a mounted filesystem: a test without it is skipped --- */

/* A block device to do with as one likes: the i-th of FREEZEFD_TEST_SCRATCH. */
const char *scratch(unsigned int i);

/* The type of the filesystem under test: FREEZEFD_TEST_FSTYPE. */
const char *fstype(void);

void need_program(const char *name);

/* The log of the kernel, to be read from here on; then, whether what comes next in it has this text. */
int open_log(void);
bool log_says(int log, const char *text);

/* For what all of the machine feels: skips the test where FREEZEFD_TEST_SHARED says that others use it. */
void need_machine(void);

/* Runs a shell command; sh() fails the test if it fails. */
int try_sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void make_fs(const char *device);

/* Mounts device on a directory of the given name that only this test sees; returns its path. */
const char *mount_fs(const char *device, const char *name, unsigned long flags, const char *data);

/* A new filesystem, mounted as mount_fs() does; returns the path of its directory. */
const char *new_fs(const char *device, const char *name);
/* The same on a scratch device. */
const char *scratch_fs(unsigned int i);

int open_dir(const char *path);
int open_dev(const char *path);
int try_open_excl(const char *path);

/* A disk in memory; returns its path. What is in its cache, of that size or 0, it loses with the power. */
const char *null_disk(unsigned int cache_mib);
void null_power(bool on);

/* A device-mapper device over all of another one; returns its path. Its name is DM. */
#define DM "freezefd-test"
const char *dm_over(const char *device);
/* How often it is open. */
int dm_opens(void);

/* Takes four sections off the end of the f2fs on a device. */
int shrink_f2fs(int fs, const char *device);

/*
 * A child that has the kernel hold a new f2fs until dm_let_go(), on a device-mapper device over scratch(0).
 * Both are opened.
 */
pid_t start_kernel_hold(int *fs, int *bdev);

/* Directory of a new filesystem on such a device, over a scratch device. */
int slow_fs(void);

/* All I/O of DM waits, and so does whoever waits for the I/O, until it is let go. */
void dm_stall(void);
void dm_let_go(void);
/* Has the device, which is over scratch(0), be another target of device-mapper from now on, such as "error". */
void dm_become(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Something that a sync has to write out, each time. */
void make_dirty(int dirfd);

/* A write to the filesystem that is under way until it is ended: a freeze waits for it. */
void start_slow_write(int fs);
void end_slow_write(void);
/* With a slow write: a child's freeze of fs through fd waits for it, and has begun. */
pid_t start_stalled_freeze(int fs, int fd);

/*
 * Directory of a new filesystem on the device that dm_over() made, which dmsetup suspend freezes: the block layer of older
 * kernels finds no btrfs on a device.
 */
int dm_freezable_fs(const char *device);

/* dmsetup suspend of what a freeze descriptor holds: where the kernel counts no holds that is refused. */
void dm_suspend_within_hold(int fs);

#endif /* CONTRACT_H */
