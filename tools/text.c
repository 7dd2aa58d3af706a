// SPDX-License-Identifier: GPL-2.0-or-later
/* What is read from people and told to them. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <langinfo.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/capability.h>

#include <json-c/json.h>

#include "tool.h"

#define NSEC_PER_SEC UINT64_C(1000000000)

int status_without_memory = EXIT_FAILURE;

void out_of_memory(void)
{
	/* What is held thaws first: standard error may lie on it. */
	close_range(STDERR_FILENO + 1, ~0U, 0);
	fputs("freezefd: out of memory\n", stderr);
	exit(status_without_memory);
}

static void *need(void *memory)
{
	if (!memory)
		out_of_memory();
	return memory;
}

void *array(void *old, size_t count, size_t size)
{
	return need(reallocarray(old, count ? count : 1, size));
}

char *copy(const char *string)
{
	return need(strdup(string));
}

char *text(const char *fmt, ...)
{
	va_list args;
	char *string;
	int len;

	va_start(args, fmt);
	len = vasprintf(&string, fmt, args);
	va_end(args);
	return need(len < 0 ? NULL : string);
}

bool read_line(int dir, const char *path, char *line, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, line, size - 1);

	line[len < 0 ? 0 : len] = 0;
	line[strcspn(line, "\n")] = 0;
	if (fd >= 0)
		close(fd);
	return len >= 0;
}

int replace_file(const char *path, const char *content, mode_t mode)
{
	/* What does not end like that node_exporter does not read. */
	char *temporary = text("%s.XXXXXX", path);
	int fd = mkostemp(temporary, O_CLOEXEC), err = fd < 0 ? errno : 0;

	if (fd >= 0) {
		if (dprintf(fd, "%s", content) < 0 || fchmod(fd, mode) || fsync(fd))
			err = errno;
		if (close(fd) && !err)
			err = errno;
		if (!err && rename(temporary, path))
			err = errno;
		if (err)
			unlink(temporary);
	}
	free(temporary);
	return err;
}

/* How many bytes the character has that begins here; 0 when it is none of UTF-8. */
static size_t utf8_length(const char *string)
{
	const unsigned char *at = (const unsigned char *)string;

	if (at[0] < 0x80)
		return 1;
	if (at[0] < 0xc2 || at[0] > 0xf4 || (at[1] & 0xc0) != 0x80)
		return 0;
	if (at[0] < 0xe0)
		return 2;
	/* Written longer than need be, half of a pair of UTF-16, beyond U+10FFFF. */
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
	    (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	if ((at[2] & 0xc0) != 0x80)
		return 0;
	if (at[0] < 0xf0)
		return 3;
	return (at[3] & 0xc0) == 0x80 ? 4 : 0;
}

/* Does a terminal take it for a command? C1 controls are two bytes in UTF-8. */
static bool is_control(const char *at)
{
	if ((unsigned char)*at >= 0x80 && strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		return true;
	return iscntrl((unsigned char)*at) || (at[0] == '\xc2' && (unsigned char)at[1] < 0xa0);
}

char *escape(const char *string, bool terminal)
{
	char *result = array(NULL, 4 * strlen(string) + 1, 1), *to = result;

	while (*string) {
		size_t len = terminal && is_control(string) ? 0 : utf8_length(string);

		if (len) {
			memcpy(to, string, len);
			to += len;
			string += len;
		} else {
			to += sprintf(to, "\\x%02x", (unsigned char)*string++);
		}
	}
	*to = 0;
	return result;
}

struct json_object *json_text(const char *string)
{
	char *valid = string ? escape(string, false) : NULL;
	struct json_object *object = valid ? json_object_new_string(valid) : NULL;

	free(valid);
	return object;
}

/* A line on standard error. What a name in it may have been chosen for does not get to the terminal. */
static void __attribute__((format(printf, 2, 0)))
print_line(const char *before, const char *fmt, va_list args, const char *after)
{
	char *message, *line, *shown;

	need(vasprintf(&message, fmt, args) < 0 ? NULL : message);
	line = text("%s%s%s", before, message, after);
	shown = escape(line, true);
	fprintf(stderr, "%s\n", shown);
	free(shown);
	free(line);
	free(message);
}

void complain(const char *about, const char *fmt, ...)
{
	char *before = text("freezefd: %s: ", about);
	va_list args;

	va_start(args, fmt);
	print_line(before, fmt, args, "");
	va_end(args);
	free(before);
}

static const struct {
	int error;
	const char *text;
} reasons[] = {
	{ENOSYS, "no engine works here; see ENGINES in freezefd(1)"},
	{ELIBACC, "freezefd-load-bpf or freeze-guardian is missing; install freezefd again"},
	{EPERM, "not permitted; become root (CAP_SYS_ADMIN is needed)"},
	{EOPNOTSUPP, "this kind of filesystem cannot be frozen; name one that is on a disk"},
	{ENODEV, "no filesystem in use on this device; mount it, or name another"},
	{EBUSY, "busy with another freeze or thaw; look at 'freezefd status'"},
	{ETIME,
	 "not frozen in time, so given up: a write that has begun, or its device, does not get done; raise --within and --timeout, or see what hangs"},
	{ECANCELED,
	 "broken by another thaw before all were frozen (FITHAW, 'freezefd thaw --force', SysRq-j); do it again"},
	{ETIMEDOUT, "its guardian does not answer; try again"},
	{ENOENT, "no such file or directory; check the path"},
	{EMFILE, "too many open files; raise 'ulimit -n'"},
	{EACCES, "permission denied; become root"},
	{ENOTRECOVERABLE,
	 "the end of this PID namespace would leave it frozen; do it on the host, or take that risk with --may-stay-frozen"},
};

/* Not from capget(): AppArmor takes from its answer what it denies. */
bool has_capability(int number)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long mask = ~0ULL;
	char *line = NULL;
	size_t room = 0;

	while (file && getline(&line, &room, file) > 0)
		if (sscanf(line, "CapEff: %llx", &mask) == 1)
			break;
	free(line);
	if (file)
		fclose(file);
	return mask >> number & 1;
}

const char *reason_of(int err)
{
	if ((err == -EPERM || err == -EACCES) && has_capability(CAP_SYS_ADMIN))
		return "denied, although CAP_SYS_ADMIN is there; let the security policy (AppArmor, SELinux, seccomp) allow it, or do it on the host if this is a container";
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].error == -err)
			return reasons[i].text;
	return strerror(-err);
}

void complain_errno(const char *about, int err)
{
	const char *engine = getenv("FREEZEFD_ENGINE");

	if (err == -EINVAL && engine && !freezefd_engine(STDIN_FILENO) && errno == EINVAL)
		complain(about, "FREEZEFD_ENGINE=%s names no engine; unset it", engine);
	else if (err == -ENOSYS && engine)
		complain(about, "engine %s does not work here; see ENGINES in freezefd(1)", engine);
	else
		complain(about, "%s", reason_of(err));
}

void complain_engine(const char *about, int err)
{
	if (err == -ENOENT || err == -ENOTDIR || err == -ENOSPC || err == -EROFS)
		complain(about, "/run/freezefd cannot be written to: %s; mend that",
			 strerror(-err));
	else
		complain_errno(about, err);
}

int usage_error(const char *verb, const char *fmt, ...)
{
	char *before = text("freezefd %s: ", verb),
	     *after = text("; see 'freezefd %s --help'", verb);
	va_list args;

	va_start(args, fmt);
	print_line(before, fmt, args, after);
	va_end(args);
	free(before);
	free(after);
	return EXIT_USAGE;
}

int wrong_option(const char *verb)
{
	fprintf(stderr, "See 'freezefd %s --help'.\n", verb);
	return EXIT_USAGE;
}

int output_error(void)
{
	static int first;

	if (!first && (fflush(stdout) || ferror(stdout)))
		first = errno ? errno : EIO;
	return first;
}

static const struct unit {
	const char *name;
	uint64_t ns;
} units[] = {
	{"", NSEC_PER_SEC},	     {"ms", 1000000},	       {"us", 1000},
	{"s", NSEC_PER_SEC},	     {"m", 60 * NSEC_PER_SEC}, {"h", 3600 * NSEC_PER_SEC},
	{"d", 86400 * NSEC_PER_SEC},
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

int parse_duration(const char *string, uint64_t *ns)
{
	const char *part = "", *name;
	const struct unit *unit = NULL;
	uint64_t whole;
	char *end;

	if (!is_digit(*string))
		return -EINVAL;
	errno = 0;
	whole = strtoull(string, &end, 10);
	name = end;
	if (*name == '.') {
		part = ++name;
		while (is_digit(*name))
			name++;
		if (name == part)
			return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (!strcmp(name, units[i].name))
			unit = &units[i];
	if (!unit)
		return -EINVAL;

	if (errno || __builtin_mul_overflow(whole, unit->ns, ns))
		return -ERANGE;
	for (uint64_t step = unit->ns / 10; is_digit(*part); part++, step /= 10)
		if (__builtin_add_overflow(*ns, step * (uint64_t)(*part - '0'), ns))
			return -ERANGE;
	return *ns && *ns <= INT64_MAX ? 0 : -ERANGE;
}

bool timeout_option(const char *verb, const char *string, uint64_t *ns)
{
	if (!strcmp(string, "none")) {
		*ns = 0;
		return true;
	}
	switch (parse_duration(string, ns)) {
	case 0:
		return true;
	case -ERANGE:
		usage_error(verb, "a time of '%s' is not possible; write 'none' for no limit",
			    string);
		return false;
	default:
		usage_error(verb, "'%s' is not a time; write 30s, 1.5s, 500ms, 5m, 2h or none",
			    string);
		return false;
	}
}

char *format_duration(uint64_t ns)
{
	uint64_t s = ns / NSEC_PER_SEC, ms = ns / 1000000;

	if (ns && ns < 1000000)
		return text("%" PRIu64 "us", ns / 1000);
	if (s < 1)
		return text("%" PRIu64 "ms", ms);
	if (s < 60)
		return text("%" PRIu64 ".%" PRIu64 "s", s, ms % 1000 / 100);
	if (s < 3600)
		return text("%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	if (s < 86400)
		return text("%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	return text("%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
}

char *show_duration(uint64_t ns, bool json)
{
	return json ? text("%" PRIu64 ".%03" PRIu64, ns / NSEC_PER_SEC, ns / 1000000 % 1000)
		    : format_duration(ns);
}

char *format_since(uint64_t ns)
{
	struct timespec now;
	char stamp[64];
	size_t len;
	time_t when;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	when = now.tv_sec - (time_t)(ns / NSEC_PER_SEC);
	if (now.tv_nsec < (long)(ns % NSEC_PER_SEC))
		when--;
	localtime_r(&when, &tm);
	/* ISO 8601 wants a colon in the zone where the time has some. */
	len = strftime(stamp, sizeof(stamp), "%FT%T%z", &tm);
	return len < 2 ? copy("?") : text("%.*s:%s", (int)len - 2, stamp, stamp + len - 2);
}
