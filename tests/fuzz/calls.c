// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The calls that the guard gets from the kernel for its agent, of threads of which /proc says anything. The input
 * is a world (world.c); its file /calls says what comes when.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../../tools/guard.h"
#include "../../tools/tool.h"
#include "world.h"

static struct input input;
static int unanswered;

int __wrap_seccomp_notify_receive(int fd, struct seccomp_notif *notice);
int __wrap_seccomp_notify_respond(int fd, struct seccomp_notif_resp *response);
int __wrap_seccomp_notify_id_valid(int fd, uint64_t id);
int __wrap_pidfd_open(pid_t pid, unsigned int flags);
int __wrap_pidfd_getfd(int pidfd, int fd, unsigned int flags);
int __wrap_pthread_kill(pthread_t thread, int number);

int __wrap_seccomp_notify_receive(int fd, struct seccomp_notif *notice)
{
	const uint8_t kind = take(&input);

	if (kind > 240)
		return -ENOENT;
	notice->id = kind;
	notice->pid = kind > 220 ? (uint32_t)take_number(&input) : 7 + (kind & 1);
	notice->data.args[0] = kind > 200 ? take_number(&input) : kind >> 2 & 3;
	notice->data.args[1] = (kind & 2 ? FIFREEZE : FITHAW) | take_number(&input) << 32;
	unanswered++;
	return 0;
}

int __wrap_seccomp_notify_respond(int fd, struct seccomp_notif_resp *response)
{
	must(response->error <= 0 && response->error > -4096);
	/* The kernel's ioctl has no such errors. */
	must(response->error != -ENOTRECOVERABLE && response->error != -ELIBACC &&
	     response->error != -ENOSYS);
	unanswered--;
	return take(&input) > 200 ? -ENOENT : 0;
}

int __wrap_seccomp_notify_id_valid(int fd, uint64_t id)
{
	return take(&input) > 230 ? -ENOENT : 0;
}

int __wrap_pidfd_open(pid_t pid, unsigned int flags)
{
	const uint8_t kind = take(&input);

	errno = kind & 1 ? EINVAL : ESRCH;
	return kind > 200 ? -1 : dup(STDIN_FILENO);
}

int __wrap_pidfd_getfd(int pidfd, int fd, unsigned int flags)
{
	static const char *const paths[] = {"/m5", "/m2", "/dev/sda1", "/m1"};
	const uint8_t kind = take(&input);

	errno = kind & 1 ? EPERM : EBADF;
	return kind > 220 ? -1 : tree_open(AT_FDCWD, paths[fd & 3], kind > 200 ? O_PATH : O_RDONLY);
}

int __wrap_pthread_kill(pthread_t thread, int number)
{
	return 0;
}

static void step(void)
{
	const uint8_t kind = take(&input);

	switch (kind % 12) {
	case 0:
	case 1:
	case 2:
	case 3:
		receive_call();
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		world_threads_run(kind >> 4);
		break;
	case 8:
		cancel_abandoned(kind & 16);
		break;
	case 9:
		doom_broken();
		start_drop();
		break;
	case 10:
		process_dies(7 + (kind >> 4 & 1));
		break;
	default:
		guard_tell();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *err;
	static size_t err_size;
	FILE *before = stderr;
	char *calls;
	size_t len;

	world_begin(data, size);
	calls = tree_read("/calls", &len);
	if (!calls) {
		world_end();
		return 0;
	}
	world_threads = 8;
	guard = (struct guard){.lock = PTHREAD_MUTEX_INITIALIZER,
			       .turn = PTHREAD_COND_INITIALIZER,
			       .listener = -1};
	guard.last = &guard.messages;
	guard.options.size = sizeof(guard.options);
	guard.verbose = true;
	input = (struct input){(uint8_t *)calls, (uint8_t *)calls + len};
	unanswered = 0;
	stderr = open_memstream(&err, &err_size);
	for (int i = 0; i < 64 && input.at < input.end; i++)
		step();
	while (world_threads_run(0))
		;
	/* Each has been answered, but for those that nobody waited for any more. */
	must(!guard.calls && unanswered >= 0);
	drop_rest();
	must(!guard.calls && !guard.messages);
	for (struct guarded *hold = guard.holds; hold; hold = hold->next)
		must(hold->fd < 0 && !hold->busy && !hold->users);
	fclose(stderr);
	stderr = before;
	if (getenv("FUZZ_SHOW"))
		fputs(err, stderr);
	must(is_plain(err, err_size));
	free(err);
	free(calls);
	world_end();
	return 0;
}
