// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For LD_PRELOAD: the allocation with the number NOMEM, from 1 on, finds no memory, nor does any later one when NOMEM
 * begins with -. Without that the number of all is written to the file NOMEM_COUNT.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static _Atomic long count;
static long wanted, all_from;
static int begun;

static void __attribute__((constructor)) begin(void)
{
	const char *number = getenv("NOMEM");

	wanted = number ? strtol(number, NULL, 10) : 0;
	if (wanted < 0)
		all_from = -wanted;
	/* Not of a program that it runs. */
	begun = !strcmp(program_invocation_short_name, "freezefd");
}

static void __attribute__((destructor)) end(void)
{
	const char *path = begun ? getenv("NOMEM_COUNT") : NULL;
	FILE *file = path ? fopen(path, "we") : NULL;

	if (!file)
		return;
	fprintf(file, "%ld\n", (long)count);
	fclose(file);
}

static int fails(void)
{
	long number;

	if (!begun)
		return 0;
	number = ++count;
	if (number != wanted && (!all_from || number < all_from))
		return 0;
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
	return fails() ? NULL : __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
	return fails() ? NULL : __libc_realloc(old, size);
}
