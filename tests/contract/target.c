// SPDX-License-Identifier: GPL-2.0-or-later
/* What tests do again and again: holds, and processes that write. */
#include <sys/prctl.h>

#include "contract.h"

/* --- holds --- */

struct freezefd_status status_of(int fd)
{
	struct freezefd_status status;

	memset(&status, 0xff, sizeof(status));
	check_eq(freezefd_status(fd, &status), 0);
	/* Only what is gone has none. */
	check(status.dev || status.hold > FREEZEFD_HOLD_HELD);
	return status;
}

int try_hold(int target, uint32_t flags, uint64_t timeout_ns)
{
	const struct freezefd_options options = {
		.size = sizeof(options), .flags = flags, .timeout_ns = timeout_ns};

	return freezefd_open(target, &options);
}

static int open_hold(int target, uint32_t flags)
{
	int fd = try_hold(target, flags, 0);

	if (fd < 0)
		check_eq(fd, 0);
	return fd;
}

int hold(int target)
{
	return open_hold(target, 0);
}

/* The deadline is set once it is frozen: the freeze itself, which it would limit as well, may be slow. */
int hold_for(int target, uint64_t timeout_ns)
{
	int fd = hold(target);

	check_eq(freezefd_set_timeout(fd, timeout_ns), 0);
	return fd;
}

int no_hold(int target)
{
	return open_hold(target, FREEZEFD_THAWED);
}

static bool is_kept_by(int fd, const char *name)
{
	const char *engine = freezefd_engine(fd);

	return engine && !strcmp(engine, name);
}

bool is_native(int fd)
{
	return is_kept_by(fd, "native");
}

bool is_guardian(int fd)
{
	return is_kept_by(fd, "guardian");
}

bool is_module(int fd)
{
	return is_kept_by(fd, "module");
}

short events(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN | POLLOUT | POLLPRI};

	check(poll(&pfd, 1, 0) >= 0);
	/* The guardian's is a socket: what is broken can only be told by a message to read. */
	if (is_guardian(fd)) {
		const short told = pfd.revents & POLLHUP ? 0 : POLLERR;

		return (pfd.revents & ~(POLLIN | POLLOUT)) | (pfd.revents & POLLIN ? told : 0);
	}
	return pfd.revents;
}

/* --- processes --- */

pid_t start_child(void)
{
	pid_t parent = getpid(), pid = fork();

	check(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EXIT_FAILURE);
	}
	return pid;
}

int end_of(pid_t pid)
{
	int status;

	wait_until(waitpid(pid, &status, WNOHANG) == pid);
	return status;
}

void reap(pid_t pid)
{
	int status = end_of(pid);

	/* A child may skip in the name of its test. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP)
		_exit(EXIT_SKIP);
	check_eq(status, 0);
}

unsigned int from_env(const char *name, unsigned int otherwise)
{
	const char *value = getenv(name);

	return value ? strtoul(value, NULL, 0) : otherwise;
}

unsigned int rounds(unsigned int usual)
{
	return from_env("FREEZEFD_TEST_ROUNDS", usual);
}

uint64_t a_while(void)
{
	const uint64_t start = nsec();
	uint64_t took;
	pid_t pid;

	IN_CHILD(pid)
		check_eq(freezefd_thaw(hold(dir)), 0);
	reap(pid);
	took = nsec() - start;
	return took * 10 > SECOND ? took * 10 : SECOND;
}

char process_state(pid_t pid)
{
	char path[64], line[512] = "";
	const char *p;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 'X';
	p = fgets(line, sizeof(line), file);
	fclose(file);
	p = p ? strrchr(line, ')') : NULL;
	return p && p[1] ? p[2] : 'X';
}

/* A short wait for I/O is D too: only a lasting one counts. */
bool seen_asleep(pid_t pid, char how, unsigned int *in_row)
{
	char state = process_state(pid);

	if (strchr("ZX", state))
		fail_at(__FILE__, __LINE__, "process %d was to block and has ended", pid);
	*in_row = state == how ? *in_row + 1 : 0;
	return *in_row == 25;
}

void wait_blocked(pid_t pid)
{
	unsigned int in_row = 0;

	wait_until(seen_asleep(pid, 'D', &in_row));
}

void wait_in_freeze(pid_t pid)
{
	unsigned int in_row = 0;

	wait_until(seen_asleep(pid, is_guardian(dir) ? 'S' : 'D', &in_row));
}

pid_t start_writer(int dirfd)
{
	pid_t pid;

	IN_CHILD(pid) {
		char name[32];
		int fd;

		/* No heir of the freeze descriptors: it would keep what it waits for. */
		check(dup2(dirfd, STDIN_FILENO) == STDIN_FILENO);
		check(!close_range(STDERR_FILENO + 1, ~0U, 0));
		snprintf(name, sizeof(name), "writer-%d", getpid());
		check((fd = openat(STDIN_FILENO, name, O_CREAT | O_TRUNC | O_WRONLY, 0600)) >= 0);
		check(write(fd, name, sizeof(name)) == sizeof(name));
		check(!unlinkat(STDIN_FILENO, name, 0));
	}
	return pid;
}

void check_writable(int dirfd)
{
	reap(start_writer(dirfd));
}

int send_fd(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(socket, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int receive_fd(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg)
		return -ENOMSG;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}
