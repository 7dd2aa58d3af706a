// SPDX-License-Identifier: GPL-2.0-or-later
/* The system calls and the engine of world.c: what the linker calls instead (--wrap). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libmount.h>

#include "../../common/pass.h"
#include "../../common/private.h"
#include "../../tools/tool.h"
#include "world.h"

/* WRAP(type, name, arguments, how to call the real one) begins a call; in it WORLD is over. */
#define WRAP(type, name, parameters, arguments) \
	type __real_##name parameters;          \
	type __wrap_##name parameters;          \
	type __wrap_##name parameters           \
	{                                       \
		if (!world_on)                  \
			return __real_##name arguments;

static int fail(int err)
{
	errno = err;
	return -1;
}

/* --- files --- */

static bool is_null(const char *path)
{
	return !strcmp(path, "/dev/null");
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	return !world_on || is_null(path) ? __real_open64(path, flags, mode)
					  : tree_open(AT_FDCWD, path, flags);
}

int __real_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...)
{
	return world_on ? tree_open(dir, path, flags) : __real_openat64(dir, path, flags, 0600);
}

/* clang-format off */
WRAP(FILE *, fopen64, (const char *path, const char *mode), (path, mode))
	int fd = *mode == 'r' ? tree_open(AT_FDCWD, path, O_RDONLY) : fail(EACCES);

	return fd < 0 ? NULL : fdopen(fd, "r");
}

WRAP(DIR *, opendir, (const char *path), (path))
	int fd = tree_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);

	return fd < 0 ? NULL : fdopendir(fd);
}

static int stat_path(const char *path, int flags, struct stat *st)
{
	int fd = tree_open(AT_FDCWD, path, O_PATH | flags), ret = fd < 0 ? -1 : tree_stat(fd, st);

	if (fd >= 0)
		close(fd);
	return ret;
}

WRAP(int, stat64, (const char *path, struct stat *st), (path, st))
	return stat_path(path, 0, st);
}

WRAP(int, lstat64, (const char *path, struct stat *st), (path, st))
	return stat_path(path, O_NOFOLLOW, st);
}

WRAP(int, fstat64, (int fd, struct stat *st), (fd, st))
	return tree_stat(fd, st);
}

WRAP(int, statx, (int dir, const char *path, int flags, unsigned int mask, struct statx *stx), (dir, path, flags, mask, stx))
	int fd = *path ? tree_open(dir, path, O_PATH) : fcntl(dir, F_DUPFD_CLOEXEC, 0), ret;

	if (fd < 0)
		return -1;
	ret = __real_statx(fd, "", AT_EMPTY_PATH, mask, stx);
	stx->stx_mnt_id = tree_number(fd);
	close(fd);
	return ret;
}

WRAP(int, access, (const char *path, int mode), (path, mode))
	struct stat st;

	return stat_path(path, 0, &st);
}

WRAP(int, faccessat, (int dir, const char *path, int mode, int flags), (dir, path, mode, flags))
	struct stat st;

	return stat_path(path, 0, &st);
}

WRAP(ssize_t, readlink, (const char *path, char *link, size_t size), (path, link, size))
	int fd = tree_open(AT_FDCWD, path, O_PATH | O_NOFOLLOW);
	ssize_t len = fd < 0 ? -1 : readlinkat(fd, "", link, size);

	if (fd >= 0)
		close(fd);
	return len;
}

WRAP(int, glob64, (const char *pattern, int flags, int (*error)(const char *, int), glob_t *found), (pattern, flags, error, found))
	char *inside = text("%s%s", tree_path, pattern);
	int ret = __real_glob64(inside, flags, NULL, found);

	free(inside);
	for (size_t i = 0; !ret && i < found->gl_pathc; i++)
		memmove(found->gl_pathv[i], found->gl_pathv[i] + strlen(tree_path),
			strlen(found->gl_pathv[i] + strlen(tree_path)) + 1);
	return ret;
}

WRAP(struct libmnt_table *, mnt_new_table_from_file, (const char *path), (path))
	int fd = tree_open(AT_FDCWD, path, O_RDONLY);
	struct libmnt_table *table = mnt_new_table();
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

	if (!file || mnt_table_parse_stream(table, file, path)) {
		mnt_unref_table(table);
		table = NULL;
	}
	if (file)
		fclose(file);
	return table;
}

WRAP(char *, mnt_resolve_spec, (const char *path, struct libmnt_cache *cache), (path, cache))
	return strdup("/dev/sda1");
}

/* --- what is printed or written past stdout --- */

char *world_file;

WRAP(int, replace_file, (const char *path, const char *content, mode_t mode), (path, content, mode))
	free(world_file);
	world_file = copy(content);
	return 0;
}

/* hold prints without stdio; what is printed is in the stream of world_run(). */
WRAP(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
	if (fd != STDOUT_FILENO)
		return __real_write(fd, data, size);
	return (ssize_t)fwrite(data, 1, size, stdout);
}

/* --- what would change something --- */

#define REFUSED(name, parameters, arguments, err) \
	WRAP(int, name, parameters, arguments)    \
		return fail(err);                 \
	}

REFUSED(mkdir, (const char *path, mode_t mode), (path, mode), EEXIST)
REFUSED(mkostemp64, (char *path, int flags), (path, flags), EACCES)
REFUSED(unlink, (const char *path), (path), EACCES)
REFUSED(rename, (const char *from, const char *to), (from, to), EACCES)
REFUSED(bind, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size), EACCES)
REFUSED(unshare, (int flags), (flags), EPERM)
REFUSED(fsopen, (const char *type, unsigned int flags), (type, flags), EPERM)
REFUSED(clone, (int (*fn)(void *), void *stack, int flags, void *arg, ...), (fn, stack, flags, arg), EPERM)
REFUSED(execve, (const char *path, char *const *argv, char *const *env), (path, argv, env), EACCES)
REFUSED(execvp, (const char *path, char *const *argv), (path, argv), EACCES)
REFUSED(waitid, (idtype_t type, id_t id, siginfo_t *info, int options), (type, id, info, options), ECHILD)
REFUSED(pause, (void), (), EINTR)

#define IGNORED(name, parameters, arguments)   \
	WRAP(int, name, parameters, arguments) \
		return 0;                      \
	}

IGNORED(chdir, (const char *path), (path))
IGNORED(kill, (pid_t pid, int signal), (pid, signal))
IGNORED(mlockall, (int flags), (flags))
IGNORED(setsid, (void), ())
IGNORED(sigaction, (int number, const struct sigaction *new, struct sigaction *old), (number, new, old))
IGNORED(sigprocmask, (int how, const sigset_t *new, sigset_t *old), (how, new, old))
IGNORED(setrlimit64, (int what, const struct rlimit *limit), (what, limit))
IGNORED(close_range, (unsigned int from, unsigned int to, int flags), (from, to, flags))
IGNORED(dup2, (int from, int to), (from, to))
IGNORED(nanosleep, (const struct timespec *span, struct timespec *left), (span, left))
IGNORED(prctl, (int what, ...), (what))

sighandler_t __wrap_signal(int number, sighandler_t handler);
sighandler_t __real_signal(int number, sighandler_t handler);
sighandler_t __wrap_signal(int number, sighandler_t handler)
{
	return world_on ? SIG_DFL : __real_signal(number, handler);
}

void __wrap_syslog(int level, const char *fmt, ...);
void __wrap_syslog(int level, const char *fmt, ...)
{
}

int __real_ioctl(int fd, unsigned long call, ...);
int __wrap_ioctl(int fd, unsigned long call, ...);
int __wrap_ioctl(int fd, unsigned long call, ...)
{
	struct loop_info64 *info;
	struct stat st;
	va_list args;
	void *arg;

	va_start(args, call);
	arg = va_arg(args, void *);
	va_end(args);
	if (!world_on)
		return __real_ioctl(fd, call, arg);
	if (call == FITHAW)
		return tree_number(fd) % 2 ? 0 : fail(EINVAL);
	if (call != LOOP_GET_STATUS64 || __real_fstat64(fd, &st) || !(st.st_mode & S_ISVTX))
		return fail(ENOTTY);
	info = arg;
	*info = (struct loop_info64){.lo_device = (uint64_t)st.st_atim.tv_sec};
	return 0;
}

/* --- processes --- */

size_t world_threads;
static size_t nr_threads;
static struct {
	void *(*run)(void *arg);
	void *arg;
} threads[16];

bool world_threads_run(size_t which)
{
	if (!nr_threads)
		return false;
	which %= nr_threads;
	const typeof(*threads) thread = threads[which];

	threads[which] = threads[--nr_threads];
	thread.run(thread.arg);
	return true;
}
static int last_pair[2];

WRAP(int, socketpair, (int domain, int type, int protocol, int *pair), (domain, type, protocol, pair))
	if (__real_socketpair(domain, type, protocol, pair))
		return -1;
	memcpy(last_pair, pair, sizeof(last_pair));
	return 0;
}

/*
 * /freezer: a packet a line. "!" and bytes, or "KIND STATUS FROZEN FD NAME|DIRECTORY|...", where "|" ends a
 * string and FD is whether a descriptor comes along.
 */
static void send_packet(char *line, size_t len)
{
	static struct packet packet;
	unsigned int with = 0;
	int at = 0;

	if (*line == '!') {
		send(last_pair[1], line + 1, len - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		return;
	}
	if (sscanf(line, "%" SCNu32 " %" SCNd32 " %" SCNu64 " %u %n", &packet.kind, &packet.status,
		   &packet.frozen_ns, &with, &at) < 4)
		return;
	packet.status &= 255; /* of an exit */
	len -= (size_t)at;
	if (len > sizeof(packet.strings))
		len = sizeof(packet.strings);
	memcpy(packet.strings, line + at, len);
	for (size_t i = 0; i < len; i++)
		if (packet.strings[i] == '|')
			packet.strings[i] = 0;
	send_fds(last_pair[1], &packet, offsetof(struct packet, strings) + len, (int[]){STDIN_FILENO}, !!with, 0);
}

WRAP(pid_t, fork, (void), ())
	size_t size;
	char *packets = tree_read("/freezer", &size), *rest = packets, *line;

	if (!packets)
		return fail(EAGAIN);
	for (int i = 0; i < 8 && (line = strsep(&rest, "\n")); i++)
		send_packet(line, strlen(line));
	free(packets);
	return 4000000;
}

WRAP(pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options))
	if (status)
		*status = 0;
	return pid;
}

int __wrap_posix_spawnp(void);
int __wrap_posix_spawnp(void)
{
	return ENOENT;
}

WRAP(int, pthread_create, (pthread_t * thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg), (thread, attr, run, arg))
	if (nr_threads == world_threads)
		return EAGAIN;
	*thread = pthread_self();
	threads[nr_threads].run = run;
	threads[nr_threads++].arg = arg;
	return 0;
}

WRAP(int, poll, (struct pollfd * poll, nfds_t count, int ms), (poll, count, ms))
	return __real_poll(poll, count, 0);
}

/* Waiting for nothing is ended by a signal. */
WRAP(int, ppoll, (struct pollfd * poll, nfds_t count, const struct timespec *limit, const sigset_t *mask), (poll, count, limit, mask))
	int n = __real_poll(poll, count, 0);

	if (n)
		return n;
	caught_signal = SIGTERM;
	return fail(EINTR);
}

WRAP(long, syscall, (long number, long a, long b, long c, long d, long e, long f), (number, a, b, c, d, e, f))
	return number == SYS_pidfd_open ? eventfd(1, EFD_CLOEXEC) : fail(ENOSYS);
}

/* The end of its peer stays open until world_end(). */
WRAP(int, connect, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size))
	const struct sockaddr_un *address = (const void *)to;
	socklen_t len = sizeof(int);
	size_t answer_size;
	char *answer = tree_read(address->sun_path, &answer_size);
	int peer[2], type;

	if (!answer)
		return fail(ECONNREFUSED);
	must(!getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len));
	must(!__real_socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, peer));
	must(__real_dup2(peer[0], fd) == fd);
	close(peer[0]);
	send(peer[1], answer, answer_size, MSG_NOSIGNAL | MSG_DONTWAIT);
	shutdown(peer[1], SHUT_WR);
	free(answer);
	return 0;
}

/* /probe: type, label and UUID, a line each. */
WRAP(bool, probe_device, (dev_t device, struct probed *probed), (device, probed))
	size_t size;
	char *lines = tree_read("/probe", &size), *rest = lines;

	*probed = (struct probed){0};
	snprintf(probed->type, sizeof(probed->type), "%s", strsep(&rest, "\n") ?: "");
	snprintf(probed->label, sizeof(probed->label), "%s", strsep(&rest, "\n") ?: "");
	snprintf(probed->uuid, sizeof(probed->uuid), "%s", strsep(&rest, "\n") ?: "");
	free(lines);
	return true;
}

/* --- the engine --- */

/*
 * /status: "ERROR STATE HOLD FDS USERS KERNEL BDEV MAJ:MIN FROZEN TIMEOUT" a line; a file has the line that the
 * number at the end of its name says.
 */
WRAP(int, freezefd_status, (int fd, struct freezefd_status *status), (fd, status))
	size_t size;
	char *lines = tree_read("/status", &size), *rest = lines, *line = NULL;
	unsigned int maj = 0, min = 0;
	int error = -EOPNOTSUPP;

	*status = (struct freezefd_status){0};
	for (unsigned int i = tree_number(fd) % 16 + 1; i && rest; i--)
		line = strsep(&rest, "\n");
	if (!rest && line && !*line)
		line = NULL;
	if (line && sscanf(line, "%d %u %u %u %u %u %u %u:%u %" SCNu64 " %" SCNu64, &error, &status->state,
			   &status->hold, &status->fd_holds, &status->user_holds, &status->kernel_holds,
			   &status->bdev_holds, &maj, &min, &status->frozen_ns, &status->timeout_ns) > 1)
		status->dev = makedev(maj, min);
	free(lines);
	return error > 0 ? -error : error;
}

WRAP(int, private_freezefd_waiters, (int fd, struct waiters *waiters), (fd, waiters))
	*waiters = (struct waiters){.count = tree_number(fd)};
	return 0;
}

/* One that is readable is broken. */
WRAP(int, freezefd_open, (int fd, const struct freezefd_options *options), (fd, options))
	return tree_number(fd) % 8 == 7 ? -EPERM : eventfd(tree_number(fd) % 2, EFD_CLOEXEC);
}

WRAP(int, freezefd_thaw, (int fd), (fd))
	return fd % 2 ? 0 : -ETIME;
}

WRAP(int, freezefd_thaw_force, (int fd), (fd))
	return tree_number(fd) % 2 ? 0 : -EPERM;
}

WRAP(int, freezefd_thaw_group, (const int *fds, size_t count, int *results), (fds, count, results))
	static const int all[] = {0, -ETIME, -ECANCELED, -ESTALE, -EIO};

	for (size_t i = 0; i < count; i++)
		results[i] = all[i % ARRAY_SIZE(all)];
	return 0;
}

WRAP(const char *, freezefd_engine, (int fd), (fd))
	static const char *const all[] = {"native", "module", "guardian"};
	const char *wanted = getenv("FREEZEFD_ENGINE");

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (!wanted || !strcmp(all[i], wanted))
			return tree_number(fd) ? all[(i + tree_number(fd)) % ARRAY_SIZE(all)] : NULL;
	errno = EINVAL;
	return NULL;
}
/* clang-format on */
