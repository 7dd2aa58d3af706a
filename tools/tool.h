/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FREEZEFD_TOOL_H
#define FREEZEFD_TOOL_H

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/un.h>

#include <freezefd.h>

#include "../common/stack.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Exit codes, beside EXIT_SUCCESS and EXIT_FAILURE. freezefd-run(1) has the whole list. */
#define EXIT_USAGE	   2
#define EXIT_BROKEN	   124
#define EXIT_CANNOT_FREEZE 125
#define EXIT_CANNOT_EXEC   126
#define EXIT_NO_COMMAND	   127
#define EXIT_SIGNAL	   128

int cmd_doctor(int argc, char **argv);
int cmd_guard(int argc, char **argv);
int cmd_hold(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_monitor(int argc, char **argv);
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

/* A string of json-c, what is not UTF-8 in it as \xHH; null for NULL. */
struct json_object *json_text(const char *string);
/* "freezefd: ABOUT: REASON; CURE" on standard error. */
void complain(const char *about, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, for a negative errno value of the library or of opening a target. */
void complain_errno(const char *about, int err);
/* Only "REASON; CURE". */
const char *reason_of(int err);
/* In effect, of this process. */
bool has_capability(int number);
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

/* 1.5s, 500ms, 5m, 2h, 1d; seconds when there is no unit. 0, or -EINVAL, -ERANGE. */
int parse_duration(const char *text, uint64_t *ns);
/* parse_duration() for an option, with "none" for 0: complains, returns false. */
bool timeout_option(const char *verb, const char *text, uint64_t *ns);
/* The same the other way round, shortened. Freed by the caller. */
char *format_duration(uint64_t ns);
/* For a cell of a table: short for people, seconds for JSON. Freed by the caller. */
char *show_duration(uint64_t ns, bool json);
/* The moment this long ago, ISO 8601. Freed by the caller. */
char *format_since(uint64_t ns);

/* Of a verb whose own failures have another one than EXIT_FAILURE. */
extern int status_without_memory;
/* Thaws, complains, exits with that. */
void out_of_memory(void) __attribute__((noreturn));
/* asprintf() and strdup() that do not return without memory. */
char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *copy(const char *text);
void *array(void *old, size_t count, size_t size);
/*
 * Nobody sees half of the new content: it is complete on the disk before it gets the name. 0 or an
 * errno value.
 */
int replace_file(const char *path, const char *content, mode_t mode);
/* The first line of a file under a directory; "" and false when it cannot be read. */
bool read_line(int dir, const char *path, char *line, size_t size);

/* mounts.c: common/stack.h, of what was mounted when this program first looked */

const struct mounts *the_mounts(void);
/* It is read anew: the strings of every struct mount are gone. */
void mounts_forget(void);
bool mount_of_dev(dev_t dev, struct mount *mount);
bool mount_of_file(int fd, struct mount *mount);
/* The number of the superblock on an open block device; that of the device when it is not known. */
dev_t dev_of_device(int fd, dev_t device);
bool is_among(const dev_t *list, size_t count, dev_t dev);

/* names.c: as in /proc/PID/fdinfo; never NULL */

const char *state_name(uint32_t state);
const char *hold_name(uint32_t hold);

/* probe.c: what is on a block device */

struct probed {
	char type[32], label[512], uuid[128]; /* empty: it has none */
};

/* False when the device does not answer within half a second. */
bool probe_device(dev_t device, struct probed *probed);

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
/* The directory where it is mounted, or the file that it is; a negative errno value. */
int target_file(const struct target *target);
/* Its block device; of a filesystem on several the one it was mounted by; 0: none. */
dev_t target_device(const struct target *target);
/* Is it on the same filesystem or device as one of the list? Everything is among none. */
bool target_among(const struct target *list, size_t count, const struct target *target);
void target_close(struct target *target);

/* devices.c */

typedef void filesystem_fn(void *arg, const struct target *target,
			   const struct freezefd_status *status);

/* A block device, or where it is mounted when it may not be opened; -1 with errno set. */
int device_open(dev_t device);
/*
 * The filesystems in use on block devices, once each, mounted here or not. False after a
 * complaint, unless quiet: not all could be asked.
 */
bool each_filesystem(filesystem_fn *tell, void *arg, bool quiet);

/* metrics.c, for monitor.c */

/*
 * OpenMetrics of the filesystems of the targets, of all when there are none; to standard output
 * when there is no file. The exit status.
 */
int write_metrics(const struct target *only, size_t count, const char *file);

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

/* Of /proc/PID/comm; "?" when the process is gone. Freed by the caller. */
char *command_of(pid_t pid);
void holders_read(struct holders *holders);
/* Could all processes be looked into? False after a complaint. */
bool holders_complete(const struct holders *holders);
void holders_free(struct holders *holders);
/* Is this descriptor one for the filesystem of a superblock, or of a block device ("/dev/sda1")? */
bool holder_of(const struct holder *holder, dev_t dev, const char *device);
/* Does this descriptor hold the filesystem of a superblock, or of a block device ("/dev/sda1"), frozen? */
bool holder_holds(const struct holder *holder, dev_t dev, const char *device);

/* request.c: what run and hold are asked for */

/* Somewhere that will be written to, or is needed, while all is frozen. */
struct place {
	char *path;
	char *name; /* as a message calls it */
};

struct request {
	const char *verb;
	char **names, **excluded;
	size_t count, nr_excluded, nr_places;
	bool all, skip_unfreezable, mountpoint, force;
	uint32_t flags; /* of the library */
	uint64_t timeout_ns, within_ns;
	const char *report; /* the file for it, or NULL */
	struct place *place;
};

#define REQUEST_OPTIONS "t:w:ax:"
enum { OPT_MAY_STAY_FROZEN = 256, OPT_SKIP_UNFREEZABLE, OPT_MOUNTPOINT, OPT_FORCE, OPT_REPORT };
#define REQUEST_LONG_OPTIONS                                                                 \
	{"timeout", required_argument, NULL, 't'}, {"within", required_argument, NULL, 'w'}, \
		{"all", no_argument, NULL, 'a'}, {"exclude", required_argument, NULL, 'x'},  \
		{"skip-unfreezable", no_argument, NULL, OPT_SKIP_UNFREEZABLE},               \
		{"mountpoint", no_argument, NULL, OPT_MOUNTPOINT},                           \
		{"force", no_argument, NULL, OPT_FORCE},                                     \
		{"may-stay-frozen", no_argument, NULL, OPT_MAY_STAY_FROZEN},                 \
	{                                                                                    \
		"help", no_argument, NULL, 'h'                                               \
	}
#define REQUEST_HELP                                                                               \
	"  -t, --timeout TIME   thaw after TIME (30s, 500ms, 5m), and fail; default: 5m, 'none'\n" \
	"  -w, --within TIME    give up what is not frozen within TIME; default: 1m, or 'none'\n"  \
	"  -a, --all            every local filesystem that can be frozen\n"                       \
	"  -x, --exclude TARGET  not this one; may be repeated\n"                                  \
	"      --skip-unfreezable  pass over what cannot be frozen, with a note\n"                 \
	"      --mountpoint     TARGET must be a mount point, now\n"                               \
	"      --force          freeze although the output, or what is run, is on it\n"            \
	"      --may-stay-frozen  in a container, freeze though its end may leave all frozen\n"

void request_init(struct request *request, const char *verb);
/* Takes one of the options above; false after a complaint, or for others. */
bool request_option(struct request *request, int opt, char *value);
/* The targets, behind the options. 0 or an exit status. */
int request_targets(struct request *request, char **names, int count);
/* path will be written to while all is frozen, or is needed for that. name is copied. */
void request_place(struct request *request, const char *path, const char *name);
void request_free(struct request *request);

/* hold-set.c: a set of freeze descriptors */

struct hold {
	char *name; /* as the user gave it, or where it is mounted */
	/* Where it is mounted, its device, its type, its UUID: "" when not known. */
	char *dir, *source, *fstype, *uuid;
	char *engine;
	uint64_t frozen_ns, thawed_ns; /* CLOCK_BOOTTIME; frozen_ns: the first writer was stopped */
	int result;		       /* of the thaw */
};

struct holds {
	size_t count;
	struct hold *hold;
	struct pollfd *poll; /* their freeze descriptors, then one that is the caller's */
	uint64_t timeout_ns;
	uint64_t begun_ns; /* the first writer was stopped */
	bool frozen;
	bool early; /* thawed before the command ended, because the caller wished it */
};

/*
 * Freezes all or none. Signals must be blocked. 0, or the exit status: of a signal, EXIT_BROKEN
 * when one is broken already, cannot after another complaint.
 */
int holds_freeze(struct holds *holds, const struct request *request, int cannot);
bool holds_broken(const struct holds *holds);
/* What the caller of the tool may have open, for a command that is run. */
void limit_raise(void);
void limit_restore(void);
/* Ends all of them, complains of none: a message may go to where it cannot be written yet. */
void holds_thaw(struct holds *holds);
/* Complains about those that did not last; then EXIT_BROKEN or EXIT_FAILURE. */
int holds_verdict(const struct holds *holds);
/* From the first writer that was stopped until the last thaw. */
uint64_t holds_lasted(const struct holds *holds);
void holds_free(struct holds *holds);
uint64_t now_ns(void); /* CLOCK_BOOTTIME */

/* freezer.c: the process that freezes, which may wait where nobody can interrupt it */

/* What it sends: what it waits for; each hold with its descriptor; the end. */
#define PACKET_STRINGS 6
enum packet_kind { PACKET_NOTE, PACKET_HOLD, PACKET_DONE };

struct packet {
	uint32_t kind;
	int32_t status;	    /* of PACKET_DONE: 0 or an exit status, of which has been complained */
	uint64_t frozen_ns; /* as in struct hold */
	/* Of a note the text; of a hold PACKET_STRINGS of struct hold, each with its end. */
	char strings[PACKET_STRINGS * PATH_MAX];
};

/* Freezes, sends it all, exits. */
_Noreturn void freeze_all(const struct request *request, int socket, int cannot);

/* blocked.c: what a freeze waits for. Both may wait themselves. Freed by the caller. */

/* A frozen filesystem or a suspended device on which this one lies; NULL when there is none. */
char *blocked_below(const struct target *target);
/* Anything that keeps one of them from being frozen, and which; NULL when nothing is known. */
char *blocked_by(const struct target *target, size_t count, const struct target **which);

/* report.c */

/* Before the freeze: false after a complaint. */
bool report_possible(const char *path);
/*
 * A JSON file about holds that have ended, and the exit status of the whole. Returns that, or
 * EXIT_CANNOT_FREEZE after a complaint when all went well but for this file.
 */
int report_write(const char *path, const struct holds *holds, int status);

/* journal.c, for hold-set.c */

/* Half of the timeout from now, if there is one, the journal is warned, unless it thaws before. */
void journal_frozen(const struct holds *holds);
void journal_thawed(void);

/* signals.c */

/* TERM, INT, HUP or QUIT has come since catch_signals(). */
extern volatile sig_atomic_t caught_signal;
/* It was typed on the terminal: every process of the group has got it. */
extern volatile sig_atomic_t caught_from_terminal;

/* Those that were not ignored before; what they interrupt is not restarted. */
void catch_signals(void);
/* From here on, signals come in while wait_events() waits and at no other time. */
void block_signals(sigset_t *before);
/* poll() until that time of CLOCK_BOOTTIME, 0: for ever; signals and ended children interrupt it. */
void wait_events(struct pollfd *poll, size_t count, uint64_t until_ns);

/* doctor.c: one whose end would end the helpers of the engine guardian, too. */
bool in_pid_namespace(void);

/* run.c: complains of what execvp(3) said, returns the exit status. */
int cannot_run(const char *name, int err);

/* hold.c, for release.c: detached holds */

/* The socket of a detached hold; NULL after a complaint. Freed by the caller. */
char *hold_socket(const char *name);
/* 0, or -ENAMETOOLONG. */
int hold_address(const char *path, struct sockaddr_un *address);

/* confine.c: what a process of the tool gives up for the rest of its life, as far as the kernel lets it */

void confine_hold(void);
void confine_monitor(void);

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
/* Is the column one of those that are printed? */
bool table_shows(const struct table *table, size_t column);
/* One string a column, which the table frees; NULL: empty. */
void table_row(struct table *table, char **cells);
void table_write(struct table *table, FILE *out);
/* To standard output; as output_error(). */
int table_print(struct table *table);
/* The end of --help. */
void table_columns_help(const struct column *columns, size_t count);
/*
 * The command line of a verb that has these options and no arguments: -1 to go on, or the exit
 * status after the help or a complaint.
 */
int table_command(const char *verb, const char *usage, const struct column *columns, size_t count,
		  int argc, char **argv, struct table_options *options);
/* Takes one of TABLE_OPTIONS; false for others. */
bool table_option(int opt, char *value, struct table_options *options);

#endif /* FREEZEFD_TOOL_H */
