/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FREEZEFD_TOOL_H
#define FREEZEFD_TOOL_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/un.h>

#include <freezefd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Exit codes, beside EXIT_SUCCESS and EXIT_FAILURE. freezefd-run(1) has the whole list. */
#define EXIT_USAGE	   2
#define EXIT_BROKEN	   124
#define EXIT_CANNOT_FREEZE 125
#define EXIT_CANNOT_EXEC   126
#define EXIT_NO_COMMAND	   127
#define EXIT_SIGNAL	   128

/* An option without a letter. */
#define MAY_STAY_FROZEN 256

int cmd_guard(int argc, char **argv);
int cmd_hold(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_release(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_thaw(int argc, char **argv);

/* text.c: what is read from and told to people */

/*
 * What is not UTF-8 as \xHH; for a terminal, also what it would not show as a character.
 * Freed by the caller.
 */
char *escape(const char *string, bool terminal);

/* "freezefd: ABOUT: REASON; CURE" on standard error. */
void complain(const char *about, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, for a negative errno value of the library or of opening a target. */
void complain_errno(const char *about, int err);
/* The same, of making a freeze descriptor. */
void complain_engine(const char *about, int err);
/* For a wrong command line: points at the verb's --help. Returns EXIT_USAGE. */
int usage_error(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* For one that getopt has complained about. */
int wrong_option(const char *verb);
/*
 * Flushes standard output. 0, or why not all of it has been written. main() complains then, when
 * nothing is frozen any more.
 */
int output_error(void);
/* Prints while something is frozen and signals are blocked. 0 or an errno value: a signal is EINTR. */
int print_now(const char *string);

/* 1.5s, 500ms, 5m, 2h, 1d; seconds when there is no unit. 0, or -EINVAL, -ERANGE. */
int parse_duration(const char *text, uint64_t *ns);
/* parse_duration() for an option: complains, returns false. */
bool timeout_option(const char *verb, const char *text, uint64_t *ns);
/* The same the other way round, shortened. Freed by the caller. */
char *format_duration(uint64_t ns);
/* For a cell of a table: short for people, seconds for JSON. Freed by the caller. */
char *show_duration(uint64_t ns, bool json);
/* The moment this long ago, ISO 8601. Freed by the caller. */
char *format_since(uint64_t ns);

/* asprintf() and strdup() that do not return without memory. */
char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *copy(const char *text);
void *array(void *old, size_t count, size_t size);

/* mounts.c: which superblock is it? */

struct mount {
	dev_t dev; /* the superblock's s_dev, as in /proc/self/mountinfo */
	int order; /* of the first mount of this superblock that is still there */
	const char *dir, *source, *fstype;
};

/* The mount of a superblock, of an open file; false when there is none. */
bool mount_of_dev(dev_t dev, struct mount *mount);
bool mount_of_file(int fd, struct mount *mount);
/* The same, but for an overlay that of the filesystem to which it writes. */
bool mount_written_by(int fd, struct mount *mount);
/* The number of the superblock on an open block device; that of the device when it is not known. */
dev_t dev_of_device(int fd, dev_t device);
/* "/dev/sda1", NULL when there is no such device. Freed by the caller. */
char *device_path(dev_t device);
/* How many loop devices there are between this filesystem and a real disk. */
int loop_depth(const struct mount *mount);

/* target.c */

struct target {
	const char *name; /* as the user gave it */
	int fd;
	dev_t device;	    /* of a block device, else 0 */
	bool mounted;	    /* else only mount.dev is set, as far as one can tell */
	struct mount mount; /* of the filesystem */
};

/* Opens a path, a block device, UUID=... and the like. Complains, returns false. */
bool target_open(struct target *target, const char *name);
/* The directory where it is mounted, or a negative errno value. */
int mount_open(const struct mount *mount);
/* The same for a target, or the file that it is. */
int target_file(const struct target *target);
void target_close(struct target *target);

/* holders.c: who holds what, as /proc tells it */

struct fdinfo_fs {
	dev_t dev;
	char type[32], state[16], id[64];
	uint64_t frozen_ns;
};

/* What /proc/PID/fdinfo/FD says of a freeze descriptor. */
struct fdinfo {
	uint64_t inode; /* of one that is a socket to a guardian */
	char hold[16];
	uint64_t timeout_ns;
	size_t count;
	struct fdinfo_fs *fs;
};

/* False when it is not one of a freeze descriptor. */
bool fdinfo_parse(FILE *file, struct fdinfo *info);

struct holder {
	pid_t pid;
	int fd;
	char *command;
	char *name; /* of a detached hold, else NULL */
	struct fdinfo info;
};

struct holders {
	size_t count;
	struct holder *holder;
	size_t unreadable; /* processes that could not be looked into */
	bool unknown;	   /* there is no /proc, of which has been complained */
};

void holders_read(struct holders *holders);
void holders_free(struct holders *holders);
/* Does this descriptor hold the filesystem of a superblock or of a block device frozen? */
bool holder_holds(const struct holder *holder, dev_t dev, dev_t device);

/* holds.c: a set of freeze descriptors */

struct holds {
	size_t count, frozen;
	struct target *target; /* in the order in which they are frozen */
	struct pollfd *poll;   /* their freeze descriptors, then one that is the caller's */
	int *result;	       /* of the thaw of each */
	uint64_t timeout_ns;
	uint64_t begun_ns, lasted_ns; /* from before the first freeze to after the last thaw */
};

/* Makes a freeze descriptor for each filesystem and freezes nothing. False after a complaint or a signal. */
bool holds_open(struct holds *holds, char **names, int count, uint32_t flags, uint64_t timeout_ns);
/* Is this file on one of the filesystems? Writing to it would wait for ever. */
bool holds_contain(const struct holds *holds, int fd);
/* holds_contain() with a complaint about what is called name. */
bool holds_block(const struct holds *holds, int fd, const char *name);
/*
 * Freezes all or none. 0, or the exit status: of a signal, EXIT_BROKEN when one is broken already,
 * cannot after another complaint.
 */
int holds_freeze(struct holds *holds, int cannot);
bool holds_broken(const struct holds *holds);
/* What the caller of the tool may have open, for a command that is run. */
void limit_restore(void);
/* Ends all of them, complains of none: a message may go to where it cannot be written yet. */
void holds_thaw(struct holds *holds);
/* Complains about those that did not last; then EXIT_BROKEN or EXIT_FAILURE. */
int holds_verdict(const struct holds *holds);
void holds_free(struct holds *holds);

/* signals.c */

/* TERM, INT, HUP or QUIT has come since catch_signals(). */
extern volatile sig_atomic_t caught_signal;
/* It was typed on the terminal: every process of the group has got it. */
extern volatile sig_atomic_t caught_from_terminal;

/* Those that were not ignored before; what they interrupt is not restarted. */
void catch_signals(void);
/* From here on, signals come in while wait_events() waits and at no other time. */
void block_signals(sigset_t *before);
/* poll() for ever; signals and ended children interrupt it. */
void wait_events(struct pollfd *poll, size_t count);
/* For so many milliseconds at the most; -1: for ever. */
void wait_events_for(struct pollfd *poll, size_t count, int ms);

/* run.c: complains of what execvp(3) said, returns the exit status. */
int cannot_run(const char *name, int err);

/* hold.c, for release.c: detached holds */

/* The socket of a detached hold; NULL after a complaint. Freed by the caller. */
char *hold_socket(const char *name);
/* 0, or -ENAMETOOLONG. */
int hold_address(const char *path, struct sockaddr_un *address);

/* table.c */

struct column {
	const char *name, *help;
	bool number; /* aligned right, not quoted in JSON */
	bool hidden; /* not shown unless asked for or in JSON */
};

struct table_options {
	bool json, noheadings;
	const char *columns;
};

#define TABLE_OPTIONS "Jno:"
#define TABLE_LONG_OPTIONS                                                        \
	{"json", no_argument, NULL, 'J'}, {"noheadings", no_argument, NULL, 'n'}, \
	{                                                                         \
		"output", required_argument, NULL, 'o'                            \
	}
#define TABLE_HELP                                   \
	"  -J, --json           print JSON\n"        \
	"  -n, --noheadings     print no headings\n" \
	"  -o, --output LIST    columns to print; +LIST adds to the usual ones\n"

struct table;

/* NULL when a column is unknown, after a complaint. */
struct table *table_new(const char *name, const struct column *columns, size_t count,
			const struct table_options *options);
/* One string a column, which the table frees; NULL: empty. */
void table_row(struct table *table, char **cells);
void table_write(struct table *table, FILE *out);
/* To standard output; as output_error(). */
int table_print(struct table *table);
/* The end of --help. */
void table_columns_help(const struct column *columns, size_t count);
/* Takes one of TABLE_OPTIONS; false for others. */
bool table_option(int opt, char *value, struct table_options *options);

#endif /* FREEZEFD_TOOL_H */
