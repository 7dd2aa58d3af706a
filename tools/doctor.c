// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * freezefd doctor: which engines work here, and what would make the others work. Whether one
 * does the library says; the reasons are looked up here, and only for one that does not.
 * One file, because the reasons of all engines come from the same few questions to the system.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../common/guardian-protocol.h"
#include "tool.h"

enum { ENGINE, WORKS, USED, REASON, CURE, COLUMNS };

static const struct column columns[] = {
	[ENGINE] = {"ENGINE", "native, module or guardian"},
	[WORKS] = {"WORKS", "yes or no: whether it can freeze here"},
	[USED] = {"USED", "yes for the one that is used, unless a program names another"},
	[REASON] = {"REASON", "why it does not work, or what is missing though it does"},
	[CURE] = {"CURE", "what would help"},
};

static const char usage[] =
	"Usage: freezefd doctor [OPTION...]\n"
	"Tell which engines work here, which is used, and what would make the others work.\n"
	"\n" TABLE_HELP "  -h, --help           this help\n"
	"\n"
	"Exit status: 0 the engine that is used works; 1 none does; 2 wrong usage.\n";

/* include/linux/proc_ns.h: the number of the first PID namespace */
#define FIRST_PID_NS 0xeffffffcU

struct verdict {
	bool works;
	char *reason, *cure;
};

static void __attribute__((format(printf, 3, 4)))
because(struct verdict *verdict, const char *cure, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&verdict->reason, fmt, args) < 0)
		out_of_memory();
	va_end(args);
	verdict->cure = copy(cure);
}

/* ---- What is asked of the system */

static bool is_there(const char *path)
{
	return !access(path, F_OK);
}

/* "integrity" or "confidentiality"; NULL when there is no lockdown. Freed by the caller. */
static char *lockdown(void)
{
	char line[128], *begin, *end;

	read_line(AT_FDCWD, "/sys/kernel/security/lockdown", line, sizeof(line));
	begin = strchr(line, '[');
	end = begin ? strchr(begin, ']') : NULL;
	if (!end)
		return NULL;
	*end = 0;
	return strcmp(begin + 1, "none") != 0 ? copy(begin + 1) : NULL;
}

static bool secure_boot(void)
{
	glob_t paths;
	unsigned char value[5] = {0};
	FILE *file = NULL;

	if (!glob("/sys/firmware/efi/efivars/SecureBoot-*", 0, NULL, &paths)) {
		file = fopen(paths.gl_pathv[0], "re");
		globfree(&paths);
	}
	if (file) {
		if (fread(value, sizeof(value), 1, file) != 1) /* four bytes of attributes first */
			value[4] = 0;
		fclose(file);
	}
	return value[4];
}

/* Running one: 601 for 6.1. */
static int kernel_version(const struct utsname *uts)
{
	unsigned int major = 0, minor = 0;

	sscanf(uts->release, "%u.%u", &major, &minor);
	return (int)(major * 100 + minor);
}

/* 0, or why the library does not find that it works. */
static int probe(const char *name, int fd)
{
	char *before = getenv("FREEZEFD_ENGINE");
	int err;

	before = before ? copy(before) : NULL;
	setenv("FREEZEFD_ENGINE", name, 1);
	err = freezefd_engine(fd) ? 0 : errno;
	if (before)
		setenv("FREEZEFD_ENGINE", before, 1);
	else
		unsetenv("FREEZEFD_ENGINE");
	free(before);
	return err;
}

/* ---- native */

static void why_not_native(struct verdict *verdict, const struct utsname *uts, int err)
{
	(void)err;
	because(verdict, "boot a kernel with the patches of freezefd, or use another engine",
		"the kernel %s does not make freeze descriptors itself", uts->release);
}

/* ---- module */

/* Relative to /lib/modules/RELEASE, as depmod(8) has written it down; NULL: not installed. */
static char *module_file(const struct utsname *uts)
{
	char *path = text("/lib/modules/%s/modules.dep", uts->release), *line = NULL;
	FILE *file = fopen(path, "re");
	char *found = NULL, *colon;
	size_t room = 0;

	free(path);
	while (file && !found && getline(&line, &room, file) > 0) {
		colon = strchr(line, ':');
		if (!colon)
			continue;
		*colon = 0;
		if (strstr(line, "/freezefd.ko") || !strncmp(line, "freezefd.ko", 11))
			found = copy(line);
	}
	free(line);
	if (file)
		fclose(file);
	return found;
}

/* One that is compressed does not show it: taken for signed. */
static bool is_signed(const struct utsname *uts, const char *module)
{
	static const char mark[] = "~Module signature appended~\n";
	char *path = text("/lib/modules/%s/%s", uts->release, module), end[sizeof(mark)] = "";
	FILE *file = fopen(path, "re");
	const size_t length = sizeof(mark) - 1, name = strlen(module);
	bool found = true;

	if (file && name > 3 && !strcmp(module + name - 3, ".ko"))
		found = !fseek(file, -(long)length, SEEK_END) && fread(end, length, 1, file) == 1 &&
			!strcmp(end, mark);
	if (file)
		fclose(file);
	free(path);
	return found;
}

static void why_not_loaded(struct verdict *verdict, const struct utsname *uts, const char *module)
{
	char *mode = lockdown(), enforced[8];
	const char *by;

	read_line(AT_FDCWD, "/sys/module/module/parameters/sig_enforce", enforced,
		  sizeof(enforced));
	by = mode		? "lockdown is on"
	     : secure_boot()	? "Secure Boot is on"
	     : *enforced == 'Y' ? "module.sig_enforce is set"
				: NULL;
	if (by && !is_signed(uts, module))
		because(verdict, "sign it with a key that is enrolled: see freezefd-module(7)",
			"%s is not signed, and the kernel takes only signed modules: %s", module,
			by);
	else if (by)
		because(verdict,
			"modprobe freezefd; if the key is rejected, mokutil --import /var/lib/dkms/mok.pub",
			"installed but not loaded; the kernel takes only modules with a trusted key: %s",
			by);
	else
		because(verdict, "modprobe freezefd", "installed but not loaded");
	free(mode);
}

static bool has_source(void)
{
	glob_t paths;
	bool any = !glob("/usr/src/freezefd-*", 0, NULL, &paths);

	if (any)
		globfree(&paths);
	return any;
}

static bool is_program(const char *name)
{
	char *all = copy(getenv("PATH") ?: ""), *save = NULL;
	bool found = false;

	for (char *at = strtok_r(all, ":", &save); at && !found; at = strtok_r(NULL, ":", &save)) {
		char *path = text("%s/%s", at, name);

		found = !access(path, X_OK);
		free(path);
	}
	free(all);
	return found;
}

/* The compiler of the kernel, as its headers have it; "gcc" when they do not say. Freed by the caller. */
static char *compiler(const struct utsname *uts)
{
	char *path = text("/lib/modules/%s/build/include/config/auto.conf", uts->release);
	FILE *file = fopen(path, "re");
	char *line = NULL, *name = NULL;
	size_t room = 0;

	free(path);
	/* CONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0-14) 12.2.0"; newer kernels leave out the quotes. */
	while (file && !name && getline(&line, &room, file) > 0)
		if (sscanf(line, "CONFIG_CC_VERSION_TEXT=%m[^ \n]", &name) != 1)
			name = NULL;
	free(line);
	if (file)
		fclose(file);
	if (name && *name == '"')
		memmove(name, name + 1, strlen(name));
	return name ?: copy("gcc");
}

static void why_not_built(struct verdict *verdict, const struct utsname *uts)
{
	char *headers = text("/lib/modules/%s/build", uts->release), *cc = compiler(uts);
	char *cure = text("install linux-headers-%s, then: dkms autoinstall", uts->release);

	if (!is_there(headers))
		because(verdict, cure, "not built for the kernel %s: its headers are missing",
			uts->release);
	else if (!is_program("make"))
		because(verdict, "install make, then: dkms autoinstall",
			"not built for the kernel %s: make is missing", uts->release);
	else if (!is_program(cc))
		because(verdict, "install that compiler, then: dkms autoinstall",
			"not built for the kernel %s: its compiler %s is missing", uts->release,
			cc);
	else
		because(verdict, "dkms autoinstall; /var/lib/dkms/freezefd has its logs",
			"not built for the kernel %s", uts->release);
	free(headers);
	free(cure);
	free(cc);
}

static void why_not_installed(struct verdict *verdict, const struct utsname *uts)
{
	const int version = kernel_version(uts);

	if (version < 601)
		because(verdict, "boot a newer kernel, or use the engine guardian",
			"the kernel %s is older than 6.1", uts->release);
	else if (version > 703)
		because(verdict, "install a newer freezefd, or use the engine guardian",
			"the kernel %s is newer than 7.3, for which it was written", uts->release);
	else if (has_source())
		why_not_built(verdict, uts);
	else
		because(verdict, "install it by DKMS: see freezefd-module(7)",
			"not installed for the kernel %s", uts->release);
}

static void why_not_module(struct verdict *verdict, const struct utsname *uts, int err)
{
	int device = open("/dev/freezefd", O_RDONLY | O_CLOEXEC), reason = device < 0 ? errno : 0;
	char disabled[8], *module = module_file(uts);

	(void)err;
	read_line(AT_FDCWD, "/proc/sys/kernel/modules_disabled", disabled, sizeof(disabled));
	if (device >= 0)
		because(verdict, "install the module and the library of one version",
			"/dev/freezefd does not know the calls of this library");
	else if (is_there("/sys/module/freezefd"))
		because(verdict,
			reason == EACCES
				? "let its mode (0666), or the security policy, allow it"
				: "give the container the device, or mount devtmpfs on /dev",
			"loaded, but /dev/freezefd cannot be opened: %s", strerror(reason));
	else if (!is_there("/proc/modules"))
		because(verdict, "use another engine, or another kernel",
			"the kernel %s takes no modules", uts->release);
	else if (*disabled == '1')
		because(verdict, "echo freezefd >/etc/modules-load.d/freezefd.conf, and reboot",
			"loading of modules has been switched off until the next boot");
	else if (module)
		why_not_loaded(verdict, uts, module);
	else
		why_not_installed(verdict, uts);
	if (device >= 0)
		close(device);
	free(module);
}

/* ---- guardian */

static const char *helper_directory(void)
{
	const char *directory = secure_getenv("FREEZEFD_LIBEXEC");

	return directory && *directory ? directory : HELPER_DIR;
}

/* The name of one that cannot be run; NULL: both can. */
static const char *missing_helper(void)
{
	static const char *const names[] = {"freezefd-load-bpf", "freeze-guardian"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char *path = text("%s/%s", helper_directory(), names[i]);
		bool missing = access(path, X_OK);

		free(path);
		if (missing)
			return names[i];
	}
	return NULL;
}

static void tell_helper(struct verdict *verdict, const char *helper)
{
	because(verdict,
		getenv("FREEZEFD_LIBEXEC") ? "correct FREEZEFD_LIBEXEC, or unset it"
					   : "install freezefd again",
		"%s/%s cannot be run: it is missing", helper_directory(), helper);
}

static void why_no_bpf(struct verdict *verdict, const struct utsname *uts)
{
	char *mode = lockdown(), *cure;

	if (!has_capability(CAP_SYS_ADMIN) &&
	    !(has_capability(CAP_BPF) && has_capability(CAP_PERFMON))) {
		because(verdict, "become root", "no CAP_SYS_ADMIN");
	} else if (mode && !strcmp(mode, "confidentiality")) {
		because(verdict, "boot without lockdown=confidentiality",
			"lockdown keeps BPF from reading the kernel");
	} else {
		cure = text("%s/freezefd-load-bpf tells why; in a container, do it on the host",
			    helper_directory());
		because(verdict, cure, "the kernel %s does not load the program", uts->release);
		free(cure);
	}
	free(mode);
}

static void why_not_guardian(struct verdict *verdict, const struct utsname *uts, int err)
{
	const char *helper = missing_helper();

	if (err == EINVAL)
		because(verdict, "build it with clang and libbpf",
			"freezefd was built without this engine");
	else if (kernel_version(uts) < 510)
		because(verdict, "boot a newer kernel", "the kernel %s is older than 5.10",
			uts->release);
	else if (helper)
		tell_helper(verdict, helper);
	else if (!is_there("/sys/kernel"))
		because(verdict, "mount -t sysfs sysfs /sys", "/sys is not mounted");
	else if (!is_there("/sys/kernel/btf/vmlinux"))
		because(verdict, "boot a kernel that was built with CONFIG_DEBUG_INFO_BTF",
			"no BTF: there is no /sys/kernel/btf/vmlinux");
	else
		why_no_bpf(verdict, uts);
}

bool in_pid_namespace(void)
{
	struct stat st;

	return !stat("/proc/self/ns/pid", &st) && st.st_ino != FIRST_PID_NS;
}

/* It answers; but can it hold? */
static void check_guardian(struct verdict *verdict)
{
	const char *helper = missing_helper(),
		   *directory = is_there(GUARDIAN_DIR) ? GUARDIAN_DIR : "/run";

	if (helper)
		tell_helper(verdict, helper);
	else if (in_pid_namespace())
		because(verdict, "freeze on the host, or take that risk with --may-stay-frozen",
			"the end of this PID namespace would leave a filesystem frozen");
	else if (has_capability(CAP_SYS_ADMIN) && access(directory, W_OK | X_OK))
		because(verdict, "mount a tmpfs on /run", "%s cannot be written to: %s", directory,
			strerror(errno));
	else
		return;
	verdict->works = false;
}

/* ---- All of them */

static const struct engine {
	const char *name;
	void (*why_not)(struct verdict *verdict, const struct utsname *uts, int err);
	void (*check)(struct verdict *verdict);
} engines[] = {
	{"native", why_not_native, NULL},
	{"module", why_not_module, NULL},
	{"guardian", why_not_guardian, check_guardian},
};

static struct verdict examine(const struct engine *engine, int fd)
{
	const char *named = getenv("FREEZEFD_ENGINE");
	struct verdict verdict = {0};
	struct utsname uts = {0};
	int err = probe(engine->name, fd);

	uname(&uts);
	verdict.works = !err;
	if (err)
		engine->why_not(&verdict, &uts, err);
	else if (engine->check)
		engine->check(&verdict);
	if (!verdict.works || verdict.reason)
		return verdict;
	if (!has_capability(CAP_SYS_ADMIN))
		because(&verdict, "become root", "without CAP_SYS_ADMIN it only tells");
	else if (named && *named && strcmp(named, engine->name) != 0)
		because(&verdict, "unset FREEZEFD_ENGINE", "FREEZEFD_ENGINE names another");
	return verdict;
}

/* Is there one that would be used, and does it work? */
static bool examine_all(struct table *table)
{
	const char *used, *named = getenv("FREEZEFD_ENGINE");
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = false;

	used = freezefd_engine(fd);
	if (!used && errno == EINVAL)
		complain("FREEZEFD_ENGINE", "'%s' names no engine; unset it", named);
	for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
		struct verdict verdict = examine(&engines[i], fd);
		const bool is_used = named && *named ? !strcmp(named, engines[i].name)
						     : used && !strcmp(used, engines[i].name);
		char *cells[COLUMNS] = {
			[ENGINE] = copy(engines[i].name),
			[WORKS] = copy(verdict.works ? "yes" : "no"),
			[USED] = copy(is_used ? "yes" : "no"),
			[REASON] = verdict.reason,
			[CURE] = verdict.cure,
		};

		ok |= is_used && verdict.works;
		table_row(table, cells);
	}
	if (fd >= 0)
		close(fd);
	return ok;
}

int cmd_doctor(int argc, char **argv)
{
	struct table_options options = {0};
	struct table *table;
	int status = table_command("doctor", usage, columns, COLUMNS, argc, argv, &options);
	bool ok;

	if (status >= 0)
		return status;
	table = table_new("doctor", columns, COLUMNS, &options);
	if (!table)
		return EXIT_USAGE;
	ok = examine_all(table);
	return table_print(table) || !ok ? EXIT_FAILURE : EXIT_SUCCESS;
}
