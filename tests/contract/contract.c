// SPDX-License-Identifier: GPL-2.0-or-later
/* Runs the tests of one program: each in a child, with a time limit, cleaned up after. */
#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "contract.h"

/* Seconds. Nothing passes or fails by them but what hangs, and an emulated machine is slow. */
#define TEST_LIMIT 300 /* for a test */
#define WAIT_LIMIT 100 /* for an event within one */
#define END_LIMIT  60  /* for its processes to end and its holds to go */

/* Shared between the harness and the test. */
static struct {
	unsigned int limit;
	unsigned int cleanups;
	char cleanup[8][160];
	char reason[256];
	int words[64];
} * common;

int dir, dev;
volatile int *shared;

static const struct test *tests[64];
static unsigned int nr_tests;

void add_test(const struct test *test)
{
	if (nr_tests == ARRAY_SIZE(tests))
		abort();
	tests[nr_tests++] = test;
}

uint64_t nsec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

/* --- what a test says --- */

void note(const char *fmt, ...)
{
	char line[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	printf("# %s\n", line);
}

void fail_at(const char *file, int line, const char *fmt, ...)
{
	const char *name = strrchr(file, '/');
	int error = errno;
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (error)
		note("%s:%d: %s (errno %d: %s)", name ? name + 1 : file, line, text, error,
		     strerror(error));
	else
		note("%s:%d: %s", name ? name + 1 : file, line, text);
	_exit(EXIT_FAILURE);
}

void check_eq_at(const char *file, int line, const char *what, long long got, long long want)
{
	if (got == want)
		return;
	errno = got < 0 && got > -4096 ? -got : 0;
	fail_at(file, line, "%s is %lld, want %lld", what, got, want);
}

void nap(uint64_t start, const char *file, int line, const char *what)
{
	const struct timespec millisecond = {.tv_nsec = 1000000};

	if (nsec() - start > WAIT_LIMIT * SECOND) {
		errno = 0;
		fail_at(file, line, "not within %d s: %s", WAIT_LIMIT, what);
	}
	nanosleep(&millisecond, NULL);
}

void skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(common->reason, sizeof(common->reason), fmt, args);
	va_end(args);
	_exit(EXIT_SKIP);
}

void time_limit(unsigned int seconds)
{
	common->limit = seconds;
}

void cleanup(const char *fmt, ...)
{
	va_list args;

	check(common->cleanups < ARRAY_SIZE(common->cleanup));
	va_start(args, fmt);
	vsnprintf(common->cleanup[common->cleanups++], sizeof(common->cleanup[0]), fmt, args);
	va_end(args);
}

/* --- one test --- */

static void show_file(pid_t pid, const char *name)
{
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		note("  %s: %.*s", name, (int)strcspn(line, "\n"), line);
	if (file)
		fclose(file);
}

/* Where the processes of a group hang. */
static void show_processes(pid_t group)
{
	struct dirent *entry;
	DIR *proc = opendir("/proc");

	while (proc && (entry = readdir(proc))) {
		pid_t pid = atoi(entry->d_name);

		if (pid <= 0 || getpgid(pid) != group)
			continue;
		note("process %d, state %c", pid, process_state(pid));
		show_file(pid, "syscall");
		show_file(pid, "wchan");
		show_file(pid, "stack");
	}
	if (proc)
		closedir(proc);
}

/* Calls what for all that a test may have frozen; the number of non-zero answers. */
static int each_target(int (*what)(int fd, const char *name))
{
	const char *list = getenv("FREEZEFD_TEST_SCRATCH");
	char path[PATH_MAX] = "/dev/mapper/" DM;
	int fd, n, sum;

	sum = what(dir, "the test directory");
	do {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		sum += what(fd, path);
		close(fd);
	} while (list && sscanf(list, "%4095s%n", path, &n) == 1 && (list += n));
	return sum;
}

static int force(int fd, const char *name)
{
	return !freezefd_thaw_force(fd);
}

static int is_frozen(int fd, const char *name)
{
	struct freezefd_status status;

	return !freezefd_status(fd, &status) && status.state != FREEZE_STATE_THAWED;
}

static int say_frozen(int fd, const char *name)
{
	if (!is_frozen(fd, name))
		return 0;
	note("%s is left frozen", name);
	return 1;
}

/* In a child: a thaw may wait for a device that a test has stopped. */
static void force_all(void)
{
	fflush(stdout);
	if (fork() == 0) {
		each_target(force);
		_exit(EXIT_SUCCESS);
	}
}

static void run_cleanups(void)
{
	while (common->cleanups)
		if (system(common->cleanup[--common->cleanups]))
			note("failed: %s", common->cleanup[common->cleanups]);
}

/* Ends all that the test has started. What a freeze or a device keeps from dying is let go. */
static bool end_processes(pid_t group)
{
	const uint64_t start = nsec();
	bool forced = false;
	pid_t pid;

	for (;;) {
		kill(-group, SIGKILL);
		do
			pid = waitpid(-1, NULL, WNOHANG);
		while (pid > 0);
		if (pid < 0)
			return !forced;
		if (nsec() - start > END_LIMIT * SECOND) {
			note("processes that cannot be killed are left");
			return false;
		}
		if (!forced && nsec() - start > END_LIMIT / 2 * SECOND) {
			note("processes that cannot be killed: thawing by force");
			show_processes(group);
			run_cleanups();
			force_all();
			forced = true;
		}
		usleep(1000);
	}
}

static bool thaw_all(void)
{
	const uint64_t start = nsec();

	while (each_target(is_frozen)) {
		if (nsec() - start > END_LIMIT * SECOND) {
			each_target(say_frozen);
			force_all();
			return false;
		}
		usleep(1000);
	}
	return true;
}

/* The wait status of the test, which is killed if it takes too long. */
static int wait_for_test(pid_t pid, bool *in_time)
{
	struct pollfd pfd = {.fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	const uint64_t start = nsec();
	int status = 0;

	while (!(*in_time = poll(&pfd, 1, 100) != 0))
		if (nsec() - start > common->limit * SECOND)
			break;
	close(pfd.fd);
	if (*in_time) {
		waitpid(pid, &status, 0);
	} else {
		note("not finished after %u s", common->limit);
		show_processes(pid);
	}
	return status;
}

static void begin_test(const struct test *test)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		fail_at(__FILE__, __LINE__, "no mount namespace");
	test->run();
	_exit(EXIT_SUCCESS);
}

/* EXIT_SUCCESS, EXIT_FAILURE or EXIT_SKIP. */
static int run_test(const struct test *test)
{
	bool in_time, ended, thawed;
	int status;
	pid_t pid;

	memset(common, 0, sizeof(*common));
	common->limit = TEST_LIMIT;
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		begin_test(test);
	if (pid < 0) {
		perror("fork");
		exit(EXIT_FAILURE);
	}
	setpgid(pid, pid);
	status = wait_for_test(pid, &in_time);
	ended = end_processes(pid);
	thawed = thaw_all();
	run_cleanups();
	if (WIFSIGNALED(status))
		note("killed by signal %d", WTERMSIG(status));
	if (!in_time || !ended || !thawed || !WIFEXITED(status))
		return EXIT_FAILURE;
	return WEXITSTATUS(status);
}

/* --- the program --- */

static void usage(const char *name)
{
	printf("Usage: %s [TEXT]\n"
	       "Run the contract tests of this program whose name contains TEXT, on the\n"
	       "filesystem mounted on FREEZEFD_TEST_DIR from the block device FREEZEFD_TEST_DEV.\n"
	       "They freeze it, and overwrite the devices listed in FREEZEFD_TEST_SCRATCH with\n"
	       "filesystems of the type FREEZEFD_TEST_FSTYPE. tests/contract/run does all that in a VM.\n",
	       name);
	exit(EXIT_SUCCESS);
}

static int open_env(const char *name)
{
	const char *path = getenv(name);
	int fd;

	if (!path || !*path) {
		printf("skip all # %s is not set\n", name);
		exit(EXIT_SKIP);
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	return fd;
}

/* The filesystem that we live on is not one to freeze. */
static void check_target(void)
{
	struct stat st, own;
	const char *const ours[] = {"/", "/proc/self/exe", "/proc/self/fd/1", "/tmp"};

	if (fstat(dev, &st) || !S_ISBLK(st.st_mode)) {
		fprintf(stderr, "FREEZEFD_TEST_DEV is not a block device\n");
		exit(EXIT_FAILURE);
	}
	if (fstat(dir, &st) || !S_ISDIR(st.st_mode)) {
		fprintf(stderr, "FREEZEFD_TEST_DIR is not a directory\n");
		exit(EXIT_FAILURE);
	}
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (!stat(ours[i], &own) && own.st_dev == st.st_dev) {
			fprintf(stderr, "FREEZEFD_TEST_DIR is on the filesystem of %s\n", ours[i]);
			exit(EXIT_FAILURE);
		}
}

static const char *find_engine(void)
{
	const char *engine = freezefd_engine(dir);

	if (engine)
		return engine;
	/* Asked for one that is not there: no reason to be content with a skip. */
	if (getenv("FREEZEFD_ENGINE")) {
		fprintf(stderr, "FREEZEFD_ENGINE=%s: %m\n", getenv("FREEZEFD_ENGINE"));
		exit(EXIT_FAILURE);
	}
	printf("skip all # no engine works here\n");
	exit(EXIT_SKIP);
}

int main(int argc, char **argv)
{
	unsigned int passed = 0, failed = 0, skipped = 0;
	const char *engine;

	if (argc > 1 && argv[1][0] == '-')
		usage(argv[0]);
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	dir = open_env("FREEZEFD_TEST_DIR");
	dev = open_env("FREEZEFD_TEST_DEV");
	check_target();
	engine = find_engine();

	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (common == MAP_FAILED) {
		perror("mmap");
		return EXIT_FAILURE;
	}
	shared = common->words;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* No udevd makes the nodes of device-mapper in a small VM. */
	if (access("/run/udev/control", F_OK))
		setenv("DM_DISABLE_UDEV", "1", 1);

	for (unsigned int i = 0; i < nr_tests; i++) {
		const struct test *test = tests[i];
		const char *reason = excuse(engine, test);
		int result = EXIT_SKIP;

		if (argc > 1 && !strstr(test->what, argv[1]))
			continue;
		if (!reason) {
			result = run_test(test);
			reason = common->reason;
		}
		if (result == EXIT_SUCCESS) {
			printf("ok %s %s\n", test->clause, test->what);
			passed++;
		} else if (result == EXIT_SKIP) {
			printf("skip %s %s # %s\n", test->clause, test->what, reason);
			skipped++;
		} else {
			printf("not ok %s %s\n", test->clause, test->what);
			failed++;
		}
	}
	printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	if (failed)
		return EXIT_FAILURE;
	return passed ? EXIT_SUCCESS : EXIT_SKIP;
}
