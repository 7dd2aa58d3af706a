// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An agent that does what it is told on its command line, and prints what came of it: agent STEP...
 *
 *   open PATH      the file that the steps after it are about; path PATH opens it with O_PATH
 *   close          closes it, and goes on with its number
 *   freeze, thaw   the calls; prints the name of the error or 0
 *   loop           thaws until that fails, prints how often it did not
 *   high, x32, i386 STEP   makes the call with more than 32 bits, or as another architecture does
 *   fork, thread, daemon   does the rest in a child, in a thread, in a child that is not waited for
 *   hang FILE      begins a write to it that is never done
 *   left           does the rest in a thread, and ends the first one
 *   drop, userns   gives up CAP_SYS_ADMIN, enters a user namespace
 *   ignore         goes on after SIGTERM
 *   stop           stops itself; wait FILE waits until the file is there; touch FILE makes it
 *   mark WORD      prints it; exit N ends
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int file = -1;
static const char *way = "";

static void run(char **step);

static void fail(const char *what)
{
	fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
	exit(99);
}

/* 0 or an errno value. */
static int call(unsigned long request)
{
	long ret = -1;

	if (!strcmp(way, "high"))
		ret = syscall(SYS_ioctl, (long)file, (long)(0xffffffff00000000 | request), 0L);
#ifdef __x86_64__
	else if (!strcmp(way, "x32"))
		ret = syscall(0x40000000 | 514, (long)file, request, 0L);
	else if (!strcmp(way, "i386")) {
		asm volatile("int $0x80"
			     : "=a"(ret)
			     : "a"(54), "b"(file), "c"(request), "d"(0)
			     : "memory", "r8", "r9", "r10", "r11");
		errno = (int)-ret;
	}
#endif
	else
		ret = ioctl(file, request, 0);
	return ret < 0 ? errno : 0;
}

/* What the machine runs on is never frozen, whatever is mounted or not. */
static void refuse_system(void)
{
	static const char *const paths[] = {"/", "/tmp", "/proc/self/exe"};
	struct stat st, system;

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (fstat(file, &st) || stat(paths[i], &system) || st.st_dev != system.st_dev)
			continue;
		fprintf(stderr, "agent: on the filesystem of %s, which must not be frozen\n",
			paths[i]);
		exit(99);
	}
}

static void report(const char *name, int err)
{
	printf("%s %s\n", name, err ? strerrorname_np(err) : "0");
	fflush(stdout);
}

static void *in_thread(void *step)
{
	run(step);
	return NULL;
}

static void drop_capability(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		fail("capget");
	data[0].effective &= ~(1U << CAP_SYS_ADMIN);
	if (syscall(SYS_capset, &header, data))
		fail("capset");
}

static void divide(const char *how, char **rest)
{
	pid_t child, parent = getpid();
	pthread_t thread;
	int status;

	if (!strcmp(how, "left")) {
		if (pthread_create(&thread, NULL, in_thread, rest))
			fail(how);
		pthread_exit(NULL);
	}
	if (!strcmp(how, "thread")) {
		if (pthread_create(&thread, NULL, in_thread, rest) || pthread_join(thread, NULL))
			fail(how);
		exit(0);
	}
	child = fork();
	if (child < 0)
		fail(how);
	if (!child) {
		/* Its parent has ended by then. */
		while (!strcmp(how, "daemon") && getppid() == parent)
			usleep(1000);
		return;
	}
	if (!strcmp(how, "fork"))
		waitpid(child, &status, 0);
	exit(0);
}

static void await(const char *path)
{
	while (access(path, F_OK))
		usleep(10000);
}

static void *write_page(void *page)
{
	if (write(file, page, 1) != 1)
		fail("write");
	return NULL;
}

/* A write whose page never comes. */
static void hang(const char *path)
{
	const size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct pollfd fault = {.events = POLLIN};
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.range = {(uintptr_t)page, size},
					.mode = UFFDIO_REGISTER_MODE_MISSING};
	pthread_t writer;

	file = open(path, O_CREAT | O_WRONLY, 0644);
	fault.fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (file < 0 || fault.fd < 0 || page == MAP_FAILED || ioctl(fault.fd, UFFDIO_API, &api) ||
	    ioctl(fault.fd, UFFDIO_REGISTER, &range) ||
	    pthread_create(&writer, NULL, write_page, page) || poll(&fault, 1, -1) != 1)
		fail("hang");
}

/* With a word after it. */
static int argument_step(const char *step, const char *word)
{
	if (!strcmp(step, "open"))
		file = open(word, O_RDONLY | O_NONBLOCK);
	else if (!strcmp(step, "path"))
		file = open(word, O_PATH);
	else if (!strcmp(step, "wait"))
		await(word);
	else if (!strcmp(step, "touch"))
		close(open(word, O_CREAT | O_WRONLY, 0644));
	else if (!strcmp(step, "hang"))
		hang(word);
	else if (!strcmp(step, "mark"))
		printf("%s\n", word);
	else if (!strcmp(step, "exit"))
		exit(atoi(word));
	else
		return 0;
	if (file < 0 && (!strcmp(step, "open") || !strcmp(step, "path")))
		fail(word);
	fflush(stdout);
	return 1;
}

static void plain_step(const char *step)
{
	int count = 0;

	if (!strcmp(step, "freeze")) {
		refuse_system();
		report(step, call(FIFREEZE));
	} else if (!strcmp(step, "thaw"))
		report(step, call(FITHAW));
	else if (!strcmp(step, "loop")) {
		while (!call(FITHAW))
			count++;
		printf("loop %d\n", count);
		fflush(stdout);
	} else if (!strcmp(step, "close"))
		close(file);
	else if (!strcmp(step, "drop"))
		drop_capability();
	else if (!strcmp(step, "userns")) {
		if (unshare(CLONE_NEWUSER))
			fail(step);
	} else if (!strcmp(step, "ignore"))
		signal(SIGTERM, SIG_IGN);
	else if (!strcmp(step, "stop"))
		raise(SIGSTOP);
	else {
		fprintf(stderr, "agent: no such step: %s\n", step);
		exit(99);
	}
}

static void run(char **step)
{
	for (; *step; step++) {
		if (!strcmp(*step, "high") || !strcmp(*step, "x32") || !strcmp(*step, "i386"))
			way = *step;
		else if (!strcmp(*step, "fork") || !strcmp(*step, "thread") ||
			 !strcmp(*step, "left") || !strcmp(*step, "daemon"))
			divide(*step, step + 1);
		else if (step[1] && argument_step(*step, step[1]))
			step++;
		else
			plain_step(*step);
	}
}

int main(int argc, char **argv)
{
	(void)argc;
	run(argv + 1);
	return 0;
}
