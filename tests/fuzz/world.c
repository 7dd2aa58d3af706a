// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A machine that the input describes, in a folder in memory. The tool's calls are turned to it by the
 * linker: world-calls.c. The input is text; a line that begins with "@ " begins a file:
 *
 *	@ PATH			what follows is its content
 *	@ PATH -> TARGET	a symbolic link
 *	@ PATH = 8:1 [0:33]	a block device, and which filesystem has the file behind this loop device
 *
 * The number at the end of a name is that of the mount it lies on. /status has a line for each filesystem
 * that the engine knows, /freezer what the process that freezes sends, and /probe what is on a device: world-calls.c has
 * the formats.
 * The file of a socket is what its peer answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <getopt.h>
#include <linux/openat2.h>

#include "../../tools/tool.h"
#include "world.h"

#define MAX_FILES 100

bool world_on;
char tree_path[64];
static int root = -1, first_fd;

long __real_syscall(long number, ...);
int __real_fstat64(int fd, struct stat *st);
ssize_t __real_readlink(const char *path, char *link, size_t size);

int tree_open(int dir, const char *path, int flags)
{
	const struct open_how how = {
		.flags = (uint64_t)(flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW)) | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	if (!(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY) {
		errno = EACCES;
		return -1;
	}
	return (int)__real_syscall(SYS_openat2, *path == '/' || dir == AT_FDCWD ? root : dir, path,
				   &how, sizeof(how));
}

char *tree_read(const char *path, size_t *size)
{
	int fd = tree_open(AT_FDCWD, path, O_RDONLY);
	struct stat st;
	char *content;

	if (fd < 0 || __real_fstat64(fd, &st) || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	content = calloc(1, (size_t)st.st_size + 1);
	must(content && read(fd, content, (size_t)st.st_size) == st.st_size);
	close(fd);
	*size = (size_t)st.st_size;
	return content;
}

/* What is a device here is a file with this bit; the times are its numbers. */
int tree_stat(int fd, struct stat *st)
{
	if (__real_fstat64(fd, st))
		return -1;
	if (S_ISREG(st->st_mode) && st->st_mode & S_ISVTX) {
		st->st_mode = S_IFBLK | 0600;
		st->st_rdev = (dev_t)st->st_mtim.tv_sec;
	}
	return 0;
}

unsigned int tree_number(int fd)
{
	char path[64], link[512];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = __real_readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		return 0;
	link[len] = 0;
	while (len && link[len - 1] >= '0' && link[len - 1] <= '9')
		len--;
	return (unsigned int)strtoul(link + len, NULL, 10);
}

/* The folder that a file of this name lies in, made if need be; path becomes its last part. */
static int make_folders(char **path)
{
	int at = fcntl(root, F_DUPFD_CLOEXEC, 0), next;
	char *name, *slash;

	for (;;) {
		name = *path + strspn(*path, "/");
		slash = strchr(name, '/');
		*path = name;
		if (!slash || at < 0)
			return at;
		*slash = 0;
		mkdirat(at, name, 0700);
		next = !strcmp(name, "..") ? -1 : openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		close(at);
		at = next;
		*path = slash + 1;
	}
}

/* "8:1 0:33" */
static void make_device(int folder, const char *name, const char *numbers)
{
	unsigned int maj = 0, min = 0, behind_maj = 0, behind_min = 0;
	struct timespec times[2] = {0};
	int fd;

	sscanf(numbers, "%u:%u %u:%u", &maj, &min, &behind_maj, &behind_min);
	times[0].tv_sec = (time_t)(makedev(behind_maj, behind_min) & UINT32_MAX);
	times[1].tv_sec = (time_t)(makedev(maj, min) & UINT32_MAX);
	fd = openat(folder, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	fchmod(fd, S_ISVTX | 0600);
	futimens(fd, times);
	close(fd);
}

/* line is that behind "@ ". */
static void make_file(char *line, const char *content, size_t size)
{
	char *link = strstr(line, " -> "), *device = strstr(line, " = "), *end = link ?: device;
	int folder, fd;

	if (end)
		*end = 0;
	folder = make_folders(&line);
	if (folder < 0 || !*line || !strcmp(line, "..")) {
		/* There is something else already. */
	} else if (link) {
		symlinkat(link + 4, folder, line);
	} else if (device) {
		make_device(folder, line, device + 3);
	} else {
		fd = openat(folder, line, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC,
			    0600);
		if (fd >= 0) {
			must(write(fd, content, size) == (ssize_t)size);
			close(fd);
		}
	}
	close(folder);
}

static void make_tree(const char *at, const char *end)
{
	for (int i = 0; i < MAX_FILES && end - at > 2; i++) {
		const char *line = at + 2, *content = memchr(line, '\n', (size_t)(end - line)),
			   *next;
		char *name;

		if (!content)
			break;
		name = strndup(line, (size_t)(content - line));
		next = memmem(content, (size_t)(end - content), "\n@ ", 3);
		content++;
		at = next ? next + 1 : end;
		make_file(name, content, (size_t)(at - content));
		free(name);
	}
}

static int erase_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

static void erase(void)
{
	nftw(tree_path, erase_one, 16, FTW_DEPTH | FTW_PHYS);
}

void world_begin(const void *data, size_t size)
{
	static bool begun;
	const char *text = data, *first;

	if (!begun) {
		const char *tmp = getenv("TMPDIR");

		snprintf(tree_path, sizeof(tree_path), "%.40s/tree-%d", tmp ? tmp : "/dev/shm",
			 getpid());
		atexit(erase);
		begun = true;
	}
	erase();
	must(!mkdir(tree_path, 0700));
	first_fd = dup(STDIN_FILENO);
	close(first_fd);
	root = open(tree_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(root >= 0);
	first = size >= 2 && !memcmp(text, "@ ", 2) ? text : memmem(text, size, "\n@ ", 3);
	if (first)
		make_tree(*first == '\n' ? first + 1 : first, text + size);
	world_on = true;
}

void world_end(void)
{
	world_on = false;
	mounts_forget();
	/* As at the end of a process. */
	close_range((unsigned int)first_fd, ~0U, 0);
	root = -1;
}

/* --- the tool --- */

int freezefd_main(int argc, char **argv);

static jmp_buf leave;
static int left_with;

void __real_exit(int status) __attribute__((noreturn));
void __real__exit(int status) __attribute__((noreturn));

void __attribute__((noreturn)) __wrap_exit(int status)
{
	if (!world_on)
		__real_exit(status);
	left_with = status;
	longjmp(leave, 1);
}

void __attribute__((noreturn)) __wrap__exit(int status)
{
	if (!world_on)
		__real__exit(status);
	__wrap_exit(status);
}

struct printed world_run(int argc, char **argv)
{
	struct printed printed = {0};
	FILE *out = stdout, *err = stderr;

	stdout = open_memstream(&printed.out, &printed.out_size);
	stderr = open_memstream(&printed.err, &printed.err_size);
	must(stdout && stderr);
	optind = 0;
	caught_signal = 0;
	if (!setjmp(leave))
		left_with = freezefd_main(argc, argv);
	printed.status = left_with;
	fclose(stdout);
	fclose(stderr);
	stdout = out;
	stderr = err;
	if (getenv("FUZZ_SHOW"))
		fprintf(stderr, "%s%sexit status %d\n", printed.out, printed.err, printed.status);
	return printed;
}
