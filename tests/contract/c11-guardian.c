// SPDX-License-Identifier: GPL-2.0-or-later
/* What who was handed a freeze descriptor may do to a guardian, and what a guardian itself could do. */
#include <dirent.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/un.h>

#include "../../common/guardian-protocol.h"
#include "../../common/superblock.h"
#include "helpers.h"

/* As many as can go along with one message. */
#define MANY 253

/* A request with so many copies of a file. */
static void send_copies(int socket, uint32_t op, int file, size_t count)
{
	const struct guardian_request request = {.op = op};
	union {
		struct cmsghdr cmsg;
		char space[CMSG_SPACE(MANY * sizeof(int))];
	} control = {.cmsg = {.cmsg_len = CMSG_LEN(count * sizeof(int)),
			      .cmsg_level = SOL_SOCKET,
			      .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {.iov_base = (void *)&request, .iov_len = sizeof(request)};
	const struct msghdr msg = {.msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = &control,
				   .msg_controllen = CMSG_SPACE(count * sizeof(int))};

	for (size_t i = 0; i < count; i++)
		memcpy(CMSG_DATA(&control.cmsg) + i * sizeof(int), &file, sizeof(int));
	check(sendmsg(socket, &msg, MSG_NOSIGNAL) == sizeof(request));
}

static int deleted_file(const char *name)
{
	int file = openat(dir, name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	check(file >= 0 && write(file, "x", 1) == 1 && !unlinkat(dir, name, 0));
	return file;
}

static bool lost(int fd)
{
	return events(fd) & POLLHUP;
}

/*
 * Whoever closes such a file last waits for the thaw. The guardian has the last copy of all that is sent here: in a message, in
 * one that is too many, in what lies unread in the socket that is to be answered.
 */
TEST(C15,
     "files deleted on what is frozen, sent by one who has a descriptor, keep no other hold from its end")
{
	int first, second, third, file[4], pair[2];
	pid_t guardian, watcher, now, then;

	for (size_t i = 0; i < ARRAY_SIZE(file); i++)
		file[i] = deleted_file((char[]){'a' + (char)i, 0});
	first = hold(dir);
	second = no_hold(dir);
	third = no_hold(dir);
	check(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	get_pair(&guardian, &watcher);
	stop_pair(guardian, watcher);
	send_copies(pair[0], 0, file[0], 1);
	send_copies(third, GUARDIAN_STATUS, pair[1], 1);
	send_copies(second, GUARDIAN_STATUS, file[1], 1);
	send_copies(second, GUARDIAN_STATUS, file[2], MANY);
	check_eq(send_fd(second, file[3]), 0);
	for (size_t i = 0; i < ARRAY_SIZE(file); i++)
		close(file[i]);
	close(pair[0]);
	close(pair[1]);
	continue_pair(guardian, watcher);
	/* Only who did so has lost its own. */
	wait_until(lost(second));
	check_hold(first, HELD);
	check_hold(third, NONE);
	check_state(dir, FROZEN);
	check_eq(freezefd_freeze(second), -ECANCELED);
	check_eq(freezefd_freeze(third), 0);
	check_eq(freezefd_thaw(third), 0);
	check_eq(freezefd_thaw(first), 0);
	get_pair(&now, &then);
	check_eq(now, guardian);
	check_state(dir, THAWED);
	check_writable(dir);
}

/* A request, with the file in a message that lies unread in the socket for the answer. */
static void send_unread(int fd, int file)
{
	int pair[2];

	check(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	send_copies(pair[0], 0, file, 1);
	send_copies(fd, GUARDIAN_STATUS, pair[1], 1);
	close(pair[0]);
	close(pair[1]);
}

/* The thread that closes such sockets waits in the first; its queue has room for 16,384. */
TEST(C15, "two such files with thousands of requests between them break no other hold")
{
	int first, second, file[2];
	struct freezefd_status status;
	pid_t guardian, watcher, now;
	struct rlimit limit;

	time_limit(900);
	for (size_t i = 0; i < ARRAY_SIZE(file); i++)
		file[i] = deleted_file((char[]){'a' + (char)i, 0});
	first = hold(dir);
	second = no_hold(dir);
	get_pair(&guardian, &watcher);
	check(!prlimit(guardian, RLIMIT_NOFILE, NULL, &limit));
	if (limit.rlim_cur < 18000)
		skip("the guardian may not have so many descriptors here");
	for (size_t i = 0; i < ARRAY_SIZE(file); i++) {
		/* So that it is the guardian who has the last copy, and not we. */
		stop_pair(guardian, watcher);
		send_unread(second, file[i]);
		close(file[i]);
		continue_pair(guardian, watcher);
		for (int n = 0; n < 16500 && !i; n++)
			check_eq(freezefd_status(second, &status), 0);
	}
	/* A guardian that waits would not answer. */
	check_hold(second, NONE);
	check_hold(first, HELD);
	check_state(dir, FROZEN);
	check_eq(freezefd_thaw(first), 0);
	get_pair(&now, &watcher);
	check_eq(now, guardian);
	check_state(dir, THAWED);
	check_writable(dir);
}

TEST(C11,
     "the guardian answers to sockets that the library makes, and speaks to nobody else for its holder")
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0freezefd-test-service"};
	int service = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), fd, client, accepted,
	    pair[2];
	char byte;

	check(!bind(service, (struct sockaddr *)&address, sizeof(address)) && !listen(service, 1));
	client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	check(!connect(client, (struct sockaddr *)&address, sizeof(address)));
	accepted = accept(service, NULL, NULL);
	check(accepted >= 0);
	fd = no_hold(dir);
	send_copies(fd, GUARDIAN_STATUS, client, 1);
	wait_until(lost(fd));
	check(recv(accepted, &byte, 1, MSG_DONTWAIT) < 0);
	check_eq(errno, EAGAIN);

	fd = no_hold(dir);
	check(!socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair));
	send_copies(fd, GUARDIAN_STATUS, pair[1], 1);
	wait_until(lost(fd));
	check(recv(pair[0], &byte, 1, MSG_DONTWAIT) < 0);
	check_eq(errno, EAGAIN);
}

TEST(C11, "who floods the guardian with requests keeps nobody from its own")
{
	int fd = hold(dir), noisy = no_hold(dir);
	pid_t flood;

	shared[0] = 0;
	IN_CHILD(flood)
		for (;;) {
			/* Without a socket for the answer nothing makes it wait, but for the queue. */
			const struct guardian_request request = {.op = GUARDIAN_FREEZE};

			if (send(noisy, &request, sizeof(request), MSG_NOSIGNAL) > 0)
				shared[0]++;
		}
	wait_until(shared[0] > 1000);
	for (int i = 0; i < 20; i++) {
		check_hold(fd, HELD);
		check_eq(freezefd_thaw(fd), 0);
		check_eq(freezefd_freeze(fd), 0);
	}
	kill(flood, SIGKILL);
	end_of(flood);
	close(noisy);
	check_eq(freezefd_thaw(fd), 0);
	wait_state(dir, THAWED);
}

TEST(C11,
     "a guardian without descriptors for another connection waits, and goes on when it has some")
{
	struct rlimit before;
	int fd = hold(dir), waiting, other;
	pid_t guardian, watcher;
	unsigned int in_row = 0;

	get_pair(&guardian, &watcher);
	check(!prlimit(guardian, RLIMIT_NOFILE, NULL, &before));
	check(!prlimit(guardian, RLIMIT_NOFILE, &(struct rlimit){0, before.rlim_max}, NULL));
	waiting = connect_to_guardian();
	check(waiting >= 0);
	wait_until(seen_asleep(guardian, 'S', &in_row));
	check(!prlimit(guardian, RLIMIT_NOFILE, &before, NULL));
	other = hold(dir);
	check_hold(other, HELD);
	check_eq(freezefd_thaw(other), 0);
	check_hold(fd, HELD);
	check_eq(freezefd_thaw(fd), 0);
}

/* Nobody could be told what became of it. */
TEST(C11, "what is asked of a guardian without descriptors is not done, and says so")
{
	struct rlimit before;
	int fd = hold(dir), idle = no_hold(dir);
	struct freezefd_status status;
	pid_t guardian, watcher;

	get_pair(&guardian, &watcher);
	check(!prlimit(guardian, RLIMIT_NOFILE, NULL, &before));
	check(!prlimit(guardian, RLIMIT_NOFILE, &(struct rlimit){0, before.rlim_max}, NULL));
	check_eq(freezefd_freeze(idle), -ENFILE);
	check_eq(freezefd_thaw(fd), -ENFILE);
	check_eq(freezefd_set_timeout(fd, SECOND), -ENFILE);
	check_eq(freezefd_status(fd, &status), -ENFILE);
	check(!prlimit(guardian, RLIMIT_NOFILE, &before, NULL));
	check_hold(idle, NONE);
	check_hold(fd, HELD);
	check_eq(status_of(fd).timeout_ns, 0);
	check_eq(freezefd_thaw(fd), 0);
	check_state(dir, THAWED);
}

TEST(C11, "a guardian has 65,536 descriptors, however few who began it had")
{
	const struct rlimit few = {64, 64}, many = {64, 65536};
	struct rlimit limit;
	pid_t guardian, watcher;
	int fd;

	check(!setrlimit(RLIMIT_NOFILE, &few));
	if (setrlimit(RLIMIT_NOFILE, &many))
		skip("no CAP_SYS_RESOURCE here");
	check(!setrlimit(RLIMIT_NOFILE, &few));
	fd = hold(dir);
	get_pair(&guardian, &watcher);
	check(!prlimit(guardian, RLIMIT_NOFILE, NULL, &limit));
	check_eq(limit.rlim_cur, many.rlim_max);
	check_eq(freezefd_thaw(fd), 0);
}

static uint64_t field(pid_t pid, const char *name)
{
	unsigned long long value = ~0ULL;
	char path[32], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	check(file);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			value = strtoull(line + strlen(name) + 1, NULL, *name == 'C' ? 16 : 10);
	fclose(file);
	return value;
}

TEST(C11, "the helpers keep the capabilities that they need, and make no call that they do not")
{
	const uint64_t needed = 1ULL << CAP_SYS_ADMIN | 1ULL << CAP_DAC_READ_SEARCH |
				1ULL << CAP_FOWNER | 1ULL << CAP_IPC_LOCK;
	int fd = hold(dir);
	pid_t pair[2];

	get_pair(&pair[0], &pair[1]);
	for (int i = 0; i < 2; i++) {
		check_eq(field(pair[i], "CapPrm") & ~needed, 0);
		check_eq(field(pair[i], "CapEff") & ~needed, 0);
		check_eq(field(pair[i], "CapInh"), 0);
		check_eq(field(pair[i], "CapAmb"), 0);
		check_eq(field(pair[i], "NoNewPrivs"), 1);
		/* SECCOMP_MODE_FILTER, where the kernel has filters. */
		if (field(getpid(), "Seccomp") != ~0ULL)
			check_eq(field(pair[i], "Seccomp"), 2);
	}
	check_eq(freezefd_thaw(fd), 0);
}

TEST(C11, "a filesystem whose root is another's, and nobody else's to read, can be held")
{
	int fd;

	cleanup("chown 0:0 '%s'; chmod 755 '%s'", getenv("FREEZEFD_TEST_DIR"),
		getenv("FREEZEFD_TEST_DIR"));
	check(!fchown(dir, 65534, 65534) && !fchmod(dir, 0));
	fd = hold(dir);
	check_state(dir, FROZEN);
	check_eq(freezefd_thaw(fd), 0);
	check_eq(freezefd_freeze(fd), 0);
	check_eq(freezefd_thaw(fd), 0);
}

/* The program and the map that the library has loaded for this process. */
static struct sb_reader loaded_reader(void)
{
	struct sb_reader reader = {-1, -1};
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;
	char link[64];
	ssize_t len;

	check(fds);
	while ((entry = readdir(fds))) {
		len = readlinkat(dirfd(fds), entry->d_name, link, sizeof(link) - 1);
		link[len < 0 ? 0 : len] = 0;
		if (strstr(link, "bpf-prog"))
			reader.prog = atoi(entry->d_name);
		else if (strstr(link, "bpf-map"))
			reader.map = atoi(entry->d_name);
	}
	closedir(fds);
	check(reader.prog >= 0 && reader.map >= 0);
	return reader;
}

/* The upper 16 bits of all addresses are the same: so must be those of no two numbers that hide one. */
TEST(C11, "the numbers of superblocks tell nothing of where they lie in memory, nor how far apart")
{
	static const char *const others[] = {"/proc", "/sys", "/dev", "/"};
	struct sb_record first, other;
	struct sb_reader reader;
	unsigned int alike = 0;

	check_state(dir, THAWED);
	reader = loaded_reader();
	check_eq(sb_read(reader, dir, &first), 0);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		check_eq(sb_read(reader, open_dir(others[i]), &other), 0);
		check(other.id != first.id);
		alike += (other.id ^ first.id) >> 48 == 0;
	}
	check_eq(alike, 0);
	/* It still leads there. */
	check_eq(sb_read_id(reader, first.id, &other), 0);
	check_eq(other.id, first.id);
	check_eq(sb_read_id(reader, first.id ^ 1, &other), -ENODEV);
}

static void on_alarm(int sig)
{
}

TEST(C1, "status gives up a guardian that is stopped, however often signals come")
{
	const struct itimerval often = {{0, 20000}, {0, 20000}};
	const struct sigaction action = {.sa_handler = on_alarm};
	struct freezefd_status status;
	int fd = hold(dir);
	pid_t guardian, watcher, asking;

	get_pair(&guardian, &watcher);
	stop_pair(guardian, watcher);
	IN_CHILD(asking) {
		check(!sigaction(SIGALRM, &action, NULL));
		check(!setitimer(ITIMER_REAL, &often, NULL));
		check_eq(freezefd_status(fd, &status), -ETIMEDOUT);
	}
	reap(asking);
	continue_pair(guardian, watcher);
	check_eq(freezefd_thaw(fd), 0);
	check_state(dir, THAWED);
}

/* Answers each request in another wrong way. */
static void answer_wrong(int socket)
{
	struct guardian_reply reply;
	int to;

	for (unsigned int i = 0;; i++) {
		to = receive_fd(socket);
		if (to < 0)
			return;
		memset(&reply, i % 5 == 4 ? 0xff : 0, sizeof(reply));
		reply.error = (int[]){EIO, INT32_MIN, -4096, 0, -1}[i % 5];
		reply.number = ~0ULL;
		if (i % 6)
			send(to, &reply, i % 4 ? sizeof(reply) : 3, MSG_NOSIGNAL);
		close(to);
	}
}

TEST(C12, "what only looks like a freeze descriptor, whose maker answers as he likes, gives errors")
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct freezefd_status status;
	int pair[2];
	pid_t peer;

	memcpy(address.sun_path + 1, GUARDIAN_HOLD "x", sizeof(GUARDIAN_HOLD));
	check(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	check(!bind(pair[1], (struct sockaddr *)&address, sizeof(address)));
	check(is_guardian(pair[0]));
	IN_CHILD(peer) {
		close(pair[0]);
		answer_wrong(pair[1]);
	}
	close(pair[1]);
	for (int i = 0; i < 15; i++) {
		int ret[] = {freezefd_thaw(pair[0]), freezefd_freeze(pair[0]),
			     freezefd_set_timeout(pair[0], SECOND),
			     freezefd_status(pair[0], &status)};

		for (size_t j = 0; j < ARRAY_SIZE(ret); j++)
			check(ret[j] <= 0 && ret[j] > -4096);
	}
	kill(peer, SIGKILL);
	end_of(peer);
	check(freezefd_thaw(pair[0]) < 0);
}
