// SPDX-License-Identifier: GPL-2.0-or-later
/* Start of the guardian and the watcher: everything that could block or fail is done before anything is frozen. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
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
#include <unistd.h>

#include <linux/fs.h>

#include "guardian.h"

/* The guardian is given up after so many seconds without a sign of life. */
#define SILENCE_S 5

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

/* Best effort, each of them: not every machine allows it, and one must hold there too. */
static void stand_apart(void)
{
	struct rlimit files;

	prctl(PR_SET_NAME, "freeze-guardian");
	/* The end of the client's service is the end of the client, not ours. */
	write_file("/sys/fs/cgroup/cgroup.procs", "0");
	write_file("/sys/fs/cgroup/unified/cgroup.procs", "0");
	write_file("/sys/fs/cgroup/systemd/cgroup.procs", "0");
	write_file("/sys/fs/cgroup/pids/cgroup.procs", "0");
	write_file("/sys/fs/cgroup/freezer/cgroup.procs", "0");
	write_file("/proc/self/oom_score_adj", "-1000");
	/* Others wait for the thaw: no queue behind those who compute. */
	setpriority(PRIO_PROCESS, 0, -20);
	/* Nor may to find memory mean to write, or to drop inodes of what is frozen. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* The descriptors that we were given, out of the way of standard input, output and error. */
static int settle(int fds[GUARDIAN_FDS])
{
	int null;

	for (int i = 0; i < GUARDIAN_FDS; i++) {
		fds[i] = fcntl(i, F_DUPFD_CLOEXEC, 16);
		if (fds[i] < 0)
			return -errno;
	}
	for (int i = 0; i < GUARDIAN_FDS; i++)
		close(i);
	null = open("/dev/null", O_RDWR);
	if (null != 0 || dup(null) != 1 || dup(null) != 2)
		return -EMFILE;
	return chdir("/") ? -errno : 0;
}

/* The one that is mounted: the target may be another of the filesystem's devices. */
static int find_bdev(int target, const struct sb_record *record, dev_t *dev)
{
	struct stat st;
	int ret = sb_find_bdev(record, dev);

	if (!ret)
		return 0;
	if (fstat(target, &st) || !S_ISBLK(st.st_mode))
		return ret;
	*dev = st.st_rdev;
	return 0;
}

/*
 * A mount namespace lasts as long as somebody is in it, with all its mounts, and
 * the client's may be meant to end. So we have one of our own, with nothing in
 * it but the node of the block device.
 */
static int leave_namespace(dev_t dev)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("freeze-guardian", "/dev", "tmpfs", MS_NOEXEC | MS_NOSUID, "size=64k,mode=700") ||
	    chdir("/dev") || mknod("." BDEV, S_IFBLK | 0600, dev) ||
	    /* The old root comes to lie on top of the new one, and is taken off. */
	    syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		return -errno;
	return 0;
}

/* An inotify watch goes with the filesystem and keeps neither that nor a mount of it. */
static int watch_end(struct fs *fs)
{
	int root = sb_open_root(fs->reader, BDEV, &fs->record), ret = 0;

	if (root < 0)
		return root;
	fs->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fs->inotify < 0 || fchdir(root) ||
	    inotify_add_watch(fs->inotify, ".", IN_DELETE_SELF | IN_ONLYDIR) < 0)
		ret = -errno;
	if (chdir("/"))
		ret = -errno;
	close(root);
	return ret;
}

static int listen_for(struct fs *fs)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int on = 1;
	int n;

	n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, GUARDIAN_FS "%u:%u",
		     sb_major(&fs->record), sb_minor(&fs->record));
	fs->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fs->listener < 0 || setsockopt(fs->listener, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)))
		return -errno;
	if (bind(fs->listener, (struct sockaddr *)&address,
		 offsetof(struct sockaddr_un, sun_path) + 1 + n))
		/* Another one was faster. */
		return errno == EADDRINUSE ? -EAGAIN : -errno;
	return listen(fs->listener, SOMAXCONN) ? -errno : 0;
}

static int prepare(struct fs *fs, const int fds[GUARDIAN_FDS])
{
	dev_t dev;
	int ret;

	fs->reader = (struct sb_reader){fds[GUARDIAN_PROG], fds[GUARDIAN_MAP]};
	ret = sb_read(fs->reader, fds[GUARDIAN_TARGET], &fs->record);
	if (ret)
		return ret;
	ret = find_bdev(fds[GUARDIAN_TARGET], &fs->record, &dev);
	/* While the client's target keeps the filesystem from going away, if it does. */
	if (!ret)
		ret = leave_namespace(dev);
	if (!ret)
		ret = watch_end(fs);
	if (!ret)
		ret = listen_for(fs);
	close(fds[GUARDIAN_TARGET]);
	return ret;
}

/*
 * The parent of the guardian: that is how it hears when somebody stops it. One
 * that shows no life while it holds is given up: whoever may connect may send it
 * a file that was deleted on what is frozen, in whose release it waits for the
 * thaw that is its own to do.
 */
static void watch_over(pid_t guardian, struct common *common)
{
	const struct timespec second = {.tv_sec = 1};
	unsigned int beats = 0, silent = 0;
	sigset_t child;
	int status, root;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (;;) {
		if (waitpid(guardian, &status, WUNTRACED | WNOHANG) == guardian) {
			if (!WIFSTOPPED(status))
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
	if (root >= 0)
		ioctl(root, FITHAW, 0);
	/* The last one who has the sockets: their holders see the end of them. */
}

int main(void)
{
	int fds[GUARDIAN_FDS], ret;
	struct guardian_reply reply = {0};
	struct common *common;
	struct fs fs = {0};
	pid_t pid;

	block_signals();
	ret = settle(fds);
	if (ret)
		return 1;
	stand_apart();
	ret = prepare(&fs, fds);
	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	fs.watcher = syscall(SYS_pidfd_open, getpid(), 0);
	if (!ret && (common == MAP_FAILED || fs.watcher < 0))
		ret = -errno;
	if (ret)
		goto out;
	common->root = -1;

	/* One table of descriptors for both: what one of them holds the other one holds. */
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid < 0) {
		ret = -errno;
		goto out;
	}
	/* The text may be on the very filesystem that is frozen: nothing may be left to read. */
	mlockall(MCL_CURRENT | MCL_FUTURE);
	if (pid > 0) {
		watch_over(pid, common);
		return 0;
	}
	send(fds[GUARDIAN_BOOT], &reply, sizeof(reply), MSG_NOSIGNAL);
	close(fds[GUARDIAN_BOOT]);
	serve(&fs, common);
	/* It may have been stopped. */
	syscall(SYS_pidfd_send_signal, fs.watcher, SIGKILL, NULL, 0);
	return 0;
out:
	reply.error = ret;
	send(fds[GUARDIAN_BOOT], &reply, sizeof(reply), MSG_NOSIGNAL);
	return 1;
}
