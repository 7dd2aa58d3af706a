// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs a command of which one system call fails: the N-th of a kind, in whatever process of it. A
 * seccomp filter sends all calls of the kind here, and here they are counted. So the
 * helpers of the library, which are other programs, are included.
 */
#include <errno.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
	"Usage: nth RESULT KIND ERROR N COMMAND [ARGUMENT...]\n"
	"Run COMMAND; its N-th system call of a KIND, or of a comma-separated list of names, fails with\n"
	"ERROR, a number. With N- all from the N-th on fail. 0: none. Instead of an ERROR, KILL or STOP: then\n"
	"the process gets that signal before the call; the number of one that is stopped is written to RESULT.stopped.\n"
	"When the command has ended its status is written to the file RESULT, and how many such calls\n"
	"there have been. Goes on until its last child has ended.\n"
	"Calls count from the first fcntl() on of a program called freezefd: not those of ld.so.\n";

static const struct kind {
	const char *name, *calls;
} kinds[] = {
	{"memory", "mmap,brk,mremap,mprotect,mlockall"},
	{"files",
	 "open,openat,dup,dup2,socket,socketpair,accept4,epoll_create1,eventfd2,timerfd_create,"
	 "memfd_create,pidfd_open,inotify_init1,fsopen,fsmount"},
	{"processes", "clone,clone3,fork,vfork"},
	{"exec", "execve"},
	{"sockets",
	 "socket,socketpair,connect,bind,listen,accept4,sendmsg,sendto,getsockopt,setsockopt"},
	{"receive", "recvmsg,recvfrom"},
	{"mount",
	 "fsopen,fsconfig,fsmount,open_tree,move_mount,mount,umount2,pivot_root,chroot,unshare,setns,"
	 "mkdir,mkdirat,mknod,mknodat,chdir,fchdir"},
	{"look",
	 "newfstatat,statx,fstat,readlink,readlinkat,getdents64,access,faccessat,faccessat2"},
	{"bpf", "bpf"},
	{"ioctl", "ioctl"},
	{"sync", "syncfs,fsync"},
	{"limits",
	 "prlimit64,setrlimit,sched_setaffinity,sched_setscheduler,setpriority,ioprio_set,prctl,setresuid,"
	 "capset,seccomp"},
	{"wait", "epoll_ctl,epoll_wait,epoll_pwait,poll,ppoll,wait4,waitid"},
	/* Where to be killed or stopped: before whatever others see. */
	{"steps",
	 "socketpair,clone,clone3,fork,vfork,execve,sendmsg,recvmsg,sendto,recvfrom,ioctl,fsopen,fsconfig,"
	 "fsmount,openat,mount,pivot_root,unshare,setns,connect,bind,listen,accept4,syncfs,unlink,unlinkat,"
	 "mlockall,pidfd_open,flock,kill,pidfd_send_signal,eventfd2,epoll_create1,prctl,write"},
	{"names", "unlink,unlinkat,rename,mkdir,flock,umask"},
};

static const struct timespec ms = {.tv_nsec = 1000000};

/* Both see it: a call to tell might be one that is counted. -1: not there yet; -2: the other one has it. */
static volatile int *listener;

static int allow(scmp_filter_ctx filter, const char *calls)
{
	char *list = strdup(calls), *rest = list, *name;
	int ret = list ? 0 : -ENOMEM;

	while (!ret && (name = strsep(&rest, ","))) {
		int number = seccomp_syscall_resolve_name(name);

		/* Not every machine has the old ones. */
		if (number >= 0)
			ret = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, number, 0);
	}
	free(list);
	return ret;
}

static void __attribute__((noreturn)) die(const char *what, int err)
{
	fprintf(stderr, "nth: %s: %s\n", what, strerror(err));
	exit(99);
}

static void become(const char *calls, char **command)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int ret = filter ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0) : -ENOMEM;

	if (!ret)
		ret = allow(filter, calls);
	if (!ret && !strstr(calls, "fcntl"))
		ret = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(fcntl), 1,
				       SCMP_A1(SCMP_CMP_EQ, 1 /* F_GETFD */));
	if (!ret)
		ret = seccomp_load(filter);
	if (ret)
		die("filter", -ret);
	/* The command closes it. */
	*listener = seccomp_notify_fd(filter);
	while (*listener >= 0)
		nanosleep(&ms, NULL);
	execvp(command[0], command);
	die(command[0], errno);
}

/* Is it of the program under test, behind its dynamic linker, or of a helper? Not of a command that it runs. */
static int is_ours(const struct seccomp_notif *notice)
{
	static int begun;
	char path[32], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%u/comm", notice->pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (!fgets(name, sizeof(name), file))
		*name = 0;
	fclose(file);
	begun = begun || (notice->data.nr == SCMP_SYS(fcntl) && !strcmp(name, "freezefd\n"));
	return begun && notice->data.nr != SCMP_SYS(fcntl) &&
	       !strncmp(name, "freeze", strlen("freeze"));
}

static unsigned int count;
static const char *failed = "-";

static const char *result;

/* Nobody sees half of it. */
static void __attribute__((format(printf, 2, 3)))
write_file(const char *suffix, const char *fmt, ...)
{
	char *path, *temporary;
	va_list args;
	FILE *file;

	if (asprintf(&path, "%s%s", result, suffix) < 0 || asprintf(&temporary, "%s.new", path) < 0)
		die(result, ENOMEM);
	file = fopen(temporary, "we");
	if (!file)
		die(temporary, errno);
	va_start(args, fmt);
	vfprintf(file, fmt, args);
	va_end(args);
	if (fclose(file) || rename(temporary, path))
		die(path, errno);
	free(temporary);
	free(path);
}

static void fault(pid_t process, const char *error, struct seccomp_notif_resp *response)
{
	if (!strcmp(error, "KILL")) {
		kill(process, SIGKILL);
	} else if (!strcmp(error, "STOP")) {
		kill(process, SIGSTOP);
		write_file(".stopped", "%d\n", process);
	} else {
		response->flags = 0;
		response->error = -atoi(error);
	}
}

static void serve(int fd, const char *error, unsigned int n, int all)
{
	struct seccomp_notif *notice;
	struct seccomp_notif_resp *response;
	int number;

	if (seccomp_notify_alloc(&notice, &response))
		die("notification", ENOMEM);
	if (!seccomp_notify_receive(fd, notice)) {
		number = notice->data.nr;
		*response = (struct seccomp_notif_resp){.id = notice->id,
							.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
		if (is_ours(notice)) {
			count++;
			if (n && (count == n || (all && count > n))) {
				fault(notice->pid, error, response);
				failed = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
			}
		}
		seccomp_notify_respond(fd, response);
	}
	seccomp_notify_free(notice, response);
}

int main(int argc, char **argv)
{
	const char *calls;
	char *rest;
	unsigned int n;
	int fd, pidfd, status, ended = 0;
	pid_t child;

	if (argc < 6) {
		fputs(usage, stderr);
		return 2;
	}
	result = argv[1];
	calls = argv[2];
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].name, argv[2]))
			calls = kinds[i].calls;
	n = (unsigned int)strtoul(argv[4], &rest, 10);
	listener = mmap(NULL, sizeof(*listener), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (listener == MAP_FAILED)
		die("memory", errno);
	*listener = -1;
	child = fork();
	if (!child)
		become(calls, argv + 5);
	pidfd = pidfd_open(child, 0);
	while (*listener < 0 && waitpid(child, &status, WNOHANG) == 0)
		nanosleep(&ms, NULL);
	fd = *listener < 0 ? -1 : pidfd_getfd(pidfd, *listener, 0);
	if (fd < 0)
		die("listener", errno);
	*listener = -2;
	for (;;) {
		struct pollfd poll_[] = {{.fd = fd, .events = POLLIN},
					 {.fd = ended ? -1 : pidfd, .events = POLLIN}};

		if (poll(poll_, 2, -1) < 0)
			continue;
		if (poll_[0].revents & POLLIN)
			serve(fd, argv[3], n, *rest == '-');
		else if (poll_[1].revents && waitpid(child, &status, 0) == child) {
			ended = 1;
			write_file("", "%d %u %s\n",
				   WIFSIGNALED(status) ? 128 + WTERMSIG(status)
						       : WEXITSTATUS(status),
				   count, failed);
		} else if (poll_[0].revents & POLLHUP && ended)
			return 0;
	}
}
