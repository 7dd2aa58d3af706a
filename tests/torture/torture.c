// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Starts and kills who freezes and disturbs, and sees to it that all is as before after each
 * round: thawed, writable, nobody left, and now and then unmounted and clean.
 *
 * The seed and the number of the round decide what everybody does; when it happens is as the machine has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "torture.h"

#define BASE	      "/mnt"
#define MAX_PROCESSES 64

struct shared *shared;
int fs_count;
bool native, module, guardian, one_hold;

enum role { HOLDERS, ADMINISTRATOR, MAINTENANCE, WRITER };

struct process {
	pid_t pid; /* 0: it has ended */
	enum role role;
	struct fs *fs;
	int number, threads; /* of a holder: its first worker */
	uint32_t life;
};

static struct process processes[MAX_PROCESSES];
static int process_count;

/* ---- Processes ---- */

static void start(struct process *process)
{
	process->pid = fork();
	if (process->pid < 0) {
		fail(NULL, "fork: %m");
		process->pid = 0;
	}
	if (process->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	who = MAX_WORKERS + 1 + (process - processes);
	seed_with(shared->round, who, process->life);
	switch (process->role) {
	case HOLDERS:
		hold_at_random(process->number, process->threads, process->life);
		break;
	case ADMINISTRATOR:
		administrate(process->fs, process->number);
		break;
	case MAINTENANCE:
		maintain(process->fs);
		break;
	case WRITER:
		write_on(process->fs, process->number);
		break;
	}
	_exit(0);
}

static struct process *add(enum role role, struct fs *fs, int number, int threads)
{
	struct process *process = &processes[process_count++];

	*process = (struct process){.role = role, .fs = fs, .number = number, .threads = threads};
	start(process);
	return process;
}

static bool has_ended(void *arg)
{
	struct process *process = arg;
	int status;

	if (!process->pid || waitpid(process->pid, &status, WNOHANG) != process->pid)
		return !process->pid;
	process->pid = 0;
	/* A page that cannot be written: its device was taken away, or a btrfs that shrinks has no space for it. */
	if (process->role == WRITER &&
	    (process->fs->lost || (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS &&
				   !strcmp(process->fs->type, "btrfs"))))
		return true;
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		fail(process->fs, "a process died of signal %d", WTERMSIG(status));
	return true;
}

static void await_end(struct process *process)
{
	static const char *const names[] = {"holder", "administrator", "maintenance", "writer"};

	if (poll_until(has_ended, process))
		return;
	fail(process->fs, "%s %d is stuck", names[process->role], process->pid);
	print_stacks();
	exit(EXIT_FAILURE);
}

/* ---- The death of a holder, in the model ---- */

static bool is_owned(struct hold *hold, const struct process *process)
{
	for (int i = 0; i < process->threads; i++)
		if (hold->owned[process->number + i])
			return true;
	return false;
}

#define for_each_descriptor(hold)                                     \
	for (int fs_ = 0; fs_ < fs_count; fs_++)                      \
		for (struct hold *hold = shared->fs[fs_].descriptors; \
		     hold < shared->fs[fs_].descriptors + PER_FS; hold++)

static void bury(struct hold *hold, const struct process *process, const struct word *before)
{
	int gone = 0;

	for (int i = 0; i < process->threads; i++)
		gone += atomic_exchange(&hold->owned[process->number + i], 0);
	if (before)
		end(hold, atomic_fetch_sub(&hold->copies, gone) == gone ? FREE : before->phase);
	else if (gone)
		hold->fuzzy = true;
}

static void kill_holder(struct process *process)
{
	static struct word before[MAX_FS * PER_FS];
	static bool begun[MAX_FS * PER_FS];
	int i = 0;

	memset(begun, 0, sizeof(begun));
	for (int t = 0; t < process->threads; t++)
		shared->workers[process->number + t].doomed = true;
	for_each_descriptor(hold)
	{
		if (is_owned(hold, process)) {
			if (shared->workers[process->number].forked)
				hold->fuzzy = true;
			begin(hold, &before[i]);
			begun[i] = true;
		}
		i++;
	}
	trail("kill", NULL, NULL, process->number);
	kill(process->pid, SIGKILL);
	await_end(process);
	for (int t = 0; t < process->threads; t++) {
		struct worker *worker = &shared->workers[process->number + t];

		if (worker->current)
			worker->current->fuzzy = true;
		worker->current = NULL;
		worker->forked = false;
		worker->doomed = false;
	}
	i = 0;
	for_each_descriptor(hold)
	{
		bury(hold, process, begun[i] ? &before[i] : NULL);
		i++;
	}
}

/* ---- A round ---- */

static void reset_model(void)
{
	for (int f = 0; f < fs_count; f++) {
		struct fs *fs = &shared->fs[f];

		memset(&fs->breaks, 0, sizeof(struct span));
		memset(&fs->user, 0, sizeof(struct span));
		memset(&fs->mounts, 0, sizeof(struct span));
		memset(&fs->kernel, 0, sizeof(struct span));
		memset(fs->descriptors, 0, sizeof(fs->descriptors));
		memset(&fs->fifreeze, 0, sizeof(struct hold));
		memset(&fs->bdev, 0, sizeof(struct hold));
		begin(&fs->fifreeze, &(struct word){0});
		end(&fs->fifreeze, UNHELD);
		begin(&fs->bdev, &(struct word){0});
		end(&fs->bdev, UNHELD);
		fs->left = 0;
		fs->forced = 0;
		fs->turn = false;
	}
	memset(shared->workers, 0, sizeof(shared->workers));
	shared->ending = shared->stop = shared->sysrq = false;
}

static void open_inboxes(void)
{
	for (int i = 0; i < MAX_WORKERS; i++)
		if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, shared->inbox[i]))
			fail(NULL, "socketpair: %m");
}

static void close_inboxes(void)
{
	for (int i = 0; i < MAX_WORKERS; i++) {
		close(shared->inbox[i][0]);
		close(shared->inbox[i][1]);
	}
}

static void start_all(void)
{
	const int threads = below(2) ? 1 : 3, holders = 1 + below(MAX_WORKERS / threads);

	shared->calm = 1 << below(5);
	process_count = 0;
	for (int f = 0; f < fs_count; f++) {
		add(ADMINISTRATOR, &shared->fs[f], 0, 0);
		add(ADMINISTRATOR, &shared->fs[f], 1, 0);
		add(MAINTENANCE, &shared->fs[f], 0, 0);
		for (int i = 0; i < WRITERS; i++)
			add(WRITER, &shared->fs[f], i, 0);
	}
	for (int i = 0; i < holders; i++)
		add(HOLDERS, NULL, i * threads, threads);
}

static void look_from_outside(void)
{
	struct fs *fs = &shared->fs[below(fs_count)];
	int device = open(fs->device, O_RDONLY | O_CLOEXEC);

	if (device < 0)
		return;
	if (native || strcmp(fs->type, "btrfs"))
		check_status(fs, device, NULL);
	close(device);
}

static void run(void)
{
	const uint64_t stop = now() + (500 + below(3000)) * MS;

	while (now() < stop && !shared->failures) {
		struct process *victim = &processes[below(process_count)];

		doze(20000);
		look_from_outside();
		if (victim->role != HOLDERS || below(10))
			continue;
		kill_holder(victim);
		victim->life++;
		start(victim);
	}
}

static void await_role(enum role role)
{
	for (int i = 0; i < process_count; i++)
		if (processes[i].role == role)
			await_end(&processes[i]);
}

static void signal_holders(int signal)
{
	for (int i = 0; i < process_count; i++)
		if (processes[i].role == HOLDERS)
			kill(processes[i].pid, signal);
}

static bool nobody_is_left(void *arg)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static void end_all(void)
{
	const uint32_t way = below(3);

	trail(way == 0 ? "stop all" : way == 1 ? "kill all" : "end all", NULL, NULL, 0);
	shared->ending = true;
	if (way < 2)
		signal_holders(way ? SIGKILL : SIGSTOP);
	shared->stop = true;
	await_role(ADMINISTRATOR);
	for (int f = 0; f < fs_count; f++)
		undo_fifreeze(&shared->fs[f]);
	/* Nobody but the deadlines ends their holds. */
	for (int f = 0; f < fs_count && !way; f++)
		expect_thawed(&shared->fs[f], "by their deadlines while the holders are stopped");
	if (!way)
		signal_holders(SIGKILL);
	await_role(HOLDERS);
	close_inboxes();
	await_role(MAINTENANCE);
	await_role(WRITER);
	for (int f = 0; f < fs_count; f++)
		expect_thawed(&shared->fs[f], "when all holders have ended");
	if (!poll_until(nobody_is_left, NULL)) {
		fail(NULL, "processes are left");
		print_stacks();
	}
}

static void one_round(uint32_t round, bool last)
{
	shared->round = round;
	seed_with(round, MAX_WORKERS, 0);
	reset_model();
	open_inboxes();
	start_all();
	run();
	end_all();
	for (int f = 0; f < fs_count; f++) {
		struct fs *fs = &shared->fs[f];

		if (last || fs->lost || !below(4)) {
			renew_fs(fs, true);
			continue;
		}
		expect_mounted(fs);
		if (!poll_until(is_writable, fs))
			fail(fs, "cannot remount it for writing: %m");
	}
}

/* ---- Options ---- */

static void __attribute__((noreturn)) bad(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("torture: ", stderr);
	vfprintf(stderr, fmt, args);
	fputs("; run tests/torture/run --help\n", stderr);
	va_end(args);
	exit(2);
}

static void choose_kinds(const char *list)
{
	char *copy = strdup(list), *name, *rest = copy;

	wanted = 0;
	while ((name = strsep(&rest, ","))) {
		int kind = 0;

		while (kind < KINDS && strcmp(kinds[kind], name))
			kind++;
		if (kind == KINDS && *name)
			bad("no such disturbance: %s", name);
		wanted |= kind < KINDS ? 1U << kind : 0;
	}
	free(copy);
}

/* TYPE:DEVICE[:dm=NAME][:image=FILE][:null=POWER] */
static void add_fs(char *words)
{
	struct fs *fs = &shared->fs[fs_count];
	char *word;

	if (fs_count == MAX_FS)
		bad("more than %d filesystems", MAX_FS);
	fs->type = strsep(&words, ",");
	fs->device = strsep(&words, ",");
	while ((word = strsep(&words, ","))) {
		if (!strncmp(word, "dm=", 3))
			fs->dm = word + 3;
		else if (!strncmp(word, "image=", 6))
			fs->image = word + 6;
		else if (!strncmp(word, "null=", 5))
			fs->null = word + 5;
		else
			bad("not understood: %s", word);
	}
	if (!fs->device)
		bad("not TYPE,DEVICE: %s", fs->type);
	snprintf(fs->dir, sizeof(fs->dir), BASE "/%d", fs_count++);
	if (mkdir(fs->dir, 0755))
		bad("%s: %s", fs->dir, strerror(errno));
}

/* In a mount namespace of its own, on a filesystem that nobody can freeze. */
static void prepare(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("torture", BASE, "tmpfs", 0, NULL))
		bad("no mount namespace: %s", strerror(errno));
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		bad("no memory");
	setpgid(0, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

static void find_engine(void)
{
	int dir = open_target(&shared->fs[0], false);
	const char *engine = freezefd_engine(dir);

	close(dir);
	if (!engine)
		bad("no engine works here: %s", strerror(errno));
	native = !strcmp(engine, "native");
	module = !strcmp(engine, "module");
	guardian = !strcmp(engine, "guardian");
	one_hold = !native && kernel_before(6, 6);
	printf("# engine %s\n", engine);
}

static void tell(uint32_t count)
{
	printf("# %u rounds, %llu operations, %llu states compared, %llu of them must be frozen, writers compared %llu times\n",
	       count, (unsigned long long)shared->operations, (unsigned long long)shared->checks,
	       (unsigned long long)shared->certain, (unsigned long long)shared->blocked);
}

static void rounds(uint64_t seconds, uint32_t first)
{
	const uint64_t stop = now() + seconds * SEC;
	uint64_t next = 0;
	uint32_t round = first;

	do {
		one_round(round++, now() + 4 * SEC > stop);
		if (now() < next)
			continue;
		next = now() + 10 * SEC;
		tell(round - first);
	} while (now() < stop && !shared->failures);
	tell(round - first);
	print_tallies();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seconds", 1, NULL, 's'},
						{"seed", 1, NULL, 'S'},
						{"round", 1, NULL, 'r'},
						{"with", 1, NULL, 'w'},
						{NULL}};
	uint64_t seconds = 60;
	uint32_t first = 0, seed = now() & 0xffffff;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 's':
			seconds = strtoul(optarg, NULL, 0);
			break;
		case 'S':
			seed = strtoul(optarg, NULL, 0);
			break;
		case 'r':
			first = strtoul(optarg, NULL, 0);
			break;
		case 'w':
			choose_kinds(optarg);
			break;
		default:
			return 2;
		}
	}
	if (optind == argc)
		bad("no filesystem");
	prepare();
	shared->seed = seed;
	for (int i = optind; i < argc; i++)
		add_fs(argv[i]);
	printf("# --seed %u --round %u\n", seed, first);
	seed_with(first, MAX_WORKERS, 1);
	for (int i = 0; i < fs_count; i++)
		make(&shared->fs[i]);
	find_engine();
	rounds(seconds, first);
	for (int i = 0; i < fs_count; i++)
		if (!poll_until(is_unmounted, &shared->fs[i]) ||
		    !poll_until(is_free, &shared->fs[i]))
			fail(&shared->fs[i], "still in use at the end");
	return shared->failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
