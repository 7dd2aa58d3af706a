// SPDX-License-Identifier: GPL-2.0-or-later
/* Start of the guardian and the watcher: everything that could block or fail is done before anything is frozen. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/ioprio.h>

#include "process.h"

/* The guardian is given up after so many seconds without a sign of life. */
#define SILENCE_S 5
/* How many we want to have at least. */
#define DESCRIPTORS 65536

void block_signals(void)
{
	const uint64_t all = ~0ULL;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0) {
		/* A container, another kind of machine: it goes without. */
	}
	close(fd);
}

/* Every caller that waits for an answer costs one. So raise the limit, if it is low and that is allowed. */
static void more_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	if (limit.rlim_max < DESCRIPTORS &&
	    !setrlimit(RLIMIT_NOFILE, &(struct rlimit){DESCRIPTORS, DESCRIPTORS}))
		limit.rlim_max = DESCRIPTORS;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Best effort, each of them: not every machine allows it, and one must hold there too. */
static void stand_apart(void)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	const struct sched_param none = {0};
	cpu_set_t all;

	prctl(PR_SET_NAME, "freeze-guardian");
	/* The end of the client's service is the end of the client, not ours. */
	write_file("/sys/fs/cgroup/cgroup.procs", "0");
	write_file("/sys/fs/cgroup/unified/cgroup.procs", "0");
	write_file("/sys/fs/cgroup/systemd/cgroup.procs", "0");
	write_file("/sys/fs/cgroup/pids/cgroup.procs", "0");
	write_file("/sys/fs/cgroup/freezer/cgroup.procs", "0");
	write_file("/proc/self/oom_score_adj", "-1000");
	/* Others wait for the thaw, whatever the client was limited to: no queue behind those who compute. */
	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
	sched_setscheduler(0, SCHED_OTHER, &none);
	setpriority(PRIO_PROCESS, 0, -20);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 0));
	setrlimit(RLIMIT_CPU, &unlimited);
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	/* A search for memory must not write, or drop inodes of what is frozen. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	more_descriptors();
}

/* The descriptors that we were given, out of the way of standard input, output and error. */
static int settle(int fds[GUARDIAN_FDS])
{
	int null;

	for (int i = 0; i < GUARDIAN_FDS; i++) {
		int fd = fcntl(i, F_DUPFD_CLOEXEC, 16);

		if (fd < 0)
			return -errno;
		fds[i] = fd;
	}
	for (int i = 0; i < GUARDIAN_FDS; i++)
		close(i);
	null = open("/dev/null", O_RDWR);
	if (null != 0 || dup(null) != 1 || dup(null) != 2)
		return -EMFILE;
	umask(077);
	return chdir("/") ? -errno : 0;
}

/*
 * Our name in the folder of sockets is taken by a lock, which ends with us. What one that was
 * killed has left there is cleared away.
 */
static int listen_for(struct fs *fs)
{
	const dev_t dev = sb_dev(fs->record.dev);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat locked, named;
	char lock[40];

	snprintf(address.sun_path, sizeof(address.sun_path), GUARDIAN_NAME, major(dev), minor(dev));
	snprintf(lock, sizeof(lock), GUARDIAN_NAME ".lock", major(dev), minor(dev));
	if (mkdir(GUARDIAN_DIR, 0700) && errno != EEXIST)
		return -errno;
	fs->directory = open(GUARDIAN_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs->directory < 0 || fchdir(fs->directory))
		return -errno;
	fs->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fs->lock < 0)
		return -errno;
	/* Another one was faster, or has just left. */
	if (flock(fs->lock, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	if (fstat(fs->lock, &locked) || stat(lock, &named) || locked.st_ino != named.st_ino)
		return -EAGAIN;
	unlink(address.sun_path);
	fs->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fs->listener < 0 || bind(fs->listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(fs->listener, SOMAXCONN))
		return -errno;
	return chdir("/") ? -errno : 0;
}

void leave_directory(const struct fs *fs, struct common *common)
{
	const dev_t dev = sb_dev(fs->record.dev);
	char name[40];

	if (atomic_exchange(&common->nameless, true))
		return;
	snprintf(name, sizeof(name), GUARDIAN_NAME, major(dev), minor(dev));
	unlinkat(fs->directory, name, 0);
	strcat(name, ".lock");
	unlinkat(fs->directory, name, 0);
}

/*
 * To the root of the mount namespace: the root of a chroot need not be a mount point, and only
 * a mount point can be left. The way up does not end at a root that one is not under.
 */
static int leave_chroot(void)
{
	char up[PATH_MAX];

	for (size_t at = 0; at + sizeof("../") <= sizeof(up); at += strlen("../"))
		strcpy(up + at, "../");
	return chdir("/") || chroot("dev") || chdir(up) || chroot(".") ? -errno : 0;
}

/* A filesystem that is mounted nowhere, with nothing in it but the node of the block device. */
static int make_root(const struct fs *fs)
{
	int context = fsopen("tmpfs", FSOPEN_CLOEXEC), root;
	char path[SB_PATH_LEN + 1];

	if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "size", "64k", 0) ||
	    fsconfig(context, FSCONFIG_SET_STRING, "mode", "700", 0) ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -errno;
	root = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID);
	if (root < 0 || close(context) || fchdir(root))
		return -errno;
	snprintf(path, sizeof(path), ".%s", fs->bdev);
	for (char *at = strchr(path + 2, '/'); at; at = strchr(at + 1, '/')) {
		*at = 0;
		if (mkdir(path, 0700) && errno != EEXIST)
			return -errno;
		*at = '/';
	}
	return mknod(path, S_IFBLK | 0600, sb_dev(fs->record.bdev)) ? -errno : root;
}

/*
 * A mount namespace lasts as long as somebody is in it, with all its mounts, and the client's
 * may be meant to end. So we leave it for one of our own with nothing in it, unless it is
 * init's: a new one begins as a copy of all mounts, which many guardians would wait for.
 */
static int leave_namespace(const struct fs *fs)
{
	int root, ret;

	if (fs->record.flags & SB_INIT_MOUNTS) {
		root = make_root(fs);
		return root < 0 ? root : chroot(".") ? -errno : 0;
	}
	ret = unshare(CLONE_NEWNS) ? -errno : leave_chroot();
	root = ret ? ret : make_root(fs);
	if (root < 0)
		return root;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    move_mount(root, "", AT_FDCWD, "/dev", MOVE_MOUNT_F_EMPTY_PATH) || fchdir(root) ||
	    /* The old root comes to lie on top of the new one, and is taken off. */
	    syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		return -errno;
	return 0;
}

/*
 * The kernel gives a user no more than 128 instances of inotify, and root needs them for other
 * things. They are counted for the effective user: each guardian is one of its own for a moment.
 */
static int new_inotify(const struct fs *fs)
{
	const uid_t apart = 0x70000000 | fs->record.dev;
	int fd;

	syscall(SYS_setresuid, -1, apart, -1);
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	syscall(SYS_setresuid, -1, 0, -1);
	return fd;
}

/* An inotify watch goes with the filesystem and keeps neither that nor a mount of it. */
static int watch_end(struct fs *fs)
{
	int root = sb_open_root(fs->reader, fs->bdev, &fs->record), ret = 0;

	if (root < 0)
		return root;
	fs->inotify = new_inotify(fs);
	if (fs->inotify < 0 || fchdir(root) ||
	    inotify_add_watch(fs->inotify, ".", IN_DELETE_SELF | IN_ONLYDIR) < 0)
		ret = -errno;
	if (chdir("/"))
		ret = -errno;
	close(root);
	return ret;
}

static int prepare(struct fs *fs, const int fds[GUARDIAN_FDS])
{
	int ret;

	fs->reader = (struct sb_reader){fds[GUARDIAN_PROG], fds[GUARDIAN_MAP]};
	ret = sb_read(fs->reader, fds[GUARDIAN_TARGET], &fs->record);
	if (ret)
		return ret;
	/* A path that is cut off would become the name of the btrfs. */
	if (!fs->record.bdev || strlen(fs->record.path) == SB_PATH_LEN - 1)
		return -EOPNOTSUPP;
	fs->bdev = *fs->record.path ? fs->record.path : "/bdev";
	ret = listen_for(fs);
	/* While the client's target keeps the filesystem from going away, if it does. */
	if (!ret)
		ret = leave_namespace(fs);
	if (!ret)
		ret = watch_end(fs);
	close(fds[GUARDIAN_TARGET]);
	return ret;
}

/*
 * The parent of the guardian: that is how it hears when somebody stops it. One
 * that shows no life while it holds is given up: whoever may connect may send it
 * a file that was deleted on what is frozen, in whose release it waits for the
 * thaw that is its own to do.
 */
static void watch_over(pid_t guardian, const struct fs *fs, struct common *common)
{
	const struct timespec second = {.tv_sec = 1};
	unsigned int beats = 0, silent = 0;
	sigset_t child;
	bool ended = false;
	int status, root, ret;
	pid_t pid;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (;;) {
		pid = waitpid(guardian, &status, WUNTRACED | WNOHANG);
		if (pid) {
			/* With ECHILD there is none. */
			ended = pid < 0 || !WIFSTOPPED(status);
			if (ended)
				break;
			kill(guardian, SIGCONT);
			continue;
		}
		if (sigtimedwait(&child, NULL, &second) >= 0)
			continue;
		silent = common->root >= 0 && common->beats == beats ? silent + 1 : 0;
		beats = common->beats;
		if (silent == SILENCE_S) {
			kill(guardian, SIGKILL);
			break;
		}
	}
	root = common->root;
	/* A FIFREEZE of it that is under way ends before it does. A filesystem may refuse, and is tried again. */
	while (root >= 0 && (ret = sb_thaw(fs->reader, root, fs->record.id)) &&
	       !(ended && ret == -EINVAL)) {
		if (!ended && waitpid(guardian, &status, WNOHANG))
			ended = true;
		else
			nanosleep(&second, NULL);
	}
	leave_directory(fs, common);
	/* The last one who has the sockets: their holders see the end of them. */
}

int main(void)
{
	int fds[GUARDIAN_FDS] = {0, 1, 2, 3}, ret;
	struct guardian_reply reply = {0};
	struct common *common;
	struct fs fs = {.lock = -1, .listener = -1};
	pid_t pid = -1;

	block_signals();
	/* Whoever started us may ignore it, and then waitpid() does not report the guardian. */
	signal(SIGCHLD, SIG_DFL);
	stand_apart();
	ret = settle(fds);
	if (!ret)
		ret = prepare(&fs, fds);
	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	fs.watcher = syscall(SYS_pidfd_open, getpid(), 0);
	if (!ret && (common == MAP_FAILED || fs.watcher < 0))
		ret = -errno;
	if (!ret) {
		common->root = -1;
		confine();
		/* One table of descriptors for both: what one of them holds the other one holds. */
		pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
		if (pid < 0)
			ret = -errno;
	}
	if (!ret)
		/* The text may be on the very filesystem that is frozen: nothing may be left to read. */
		mlockall(MCL_CURRENT | MCL_FUTURE);
	if (pid > 0) {
		watch_over(pid, &fs, common);
		return 0;
	}
	if (ret && fs.listener >= 0 && common != MAP_FAILED)
		leave_directory(&fs, common);
	reply.error = ret;
	send(fds[GUARDIAN_BOOT], &reply, sizeof(reply), MSG_NOSIGNAL);
	if (ret)
		return 1;
	close(fds[GUARDIAN_BOOT]);
	serve(&fs, common);
	leave_directory(&fs, common);
	/* It may have been stopped. */
	syscall(SYS_pidfd_send_signal, fs.watcher, SIGKILL, NULL, 0);
	return 0;
}
