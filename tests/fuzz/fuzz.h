/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzz targets share. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What must hold for every input; libFuzzer keeps the input that made it fail. */
#define must(condition)                                                                    \
	do {                                                                               \
		if (!(condition)) {                                                        \
			dprintf(2, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			__builtin_trap();                                                  \
		}                                                                          \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- input.c: the input as numbers and bytes; 0 and nothing when it is used up --- */

struct input {
	const uint8_t *at, *end;
};

uint8_t take(struct input *input);
uint64_t take_number(struct input *input); /* of 1 to 8 bytes, or one on the edge of a type */
/* Up to so many bytes; how many. */
size_t take_bytes(struct input *input, void *to, size_t size);
/* Up to the next byte 0. Freed by the caller. */
char *take_string(struct input *input);

/* Sockets and the like that this process has open: libFuzzer has pipes and files. */
int count_descriptors(void);

/* --- output.c: what programs may print --- */

bool is_utf8(const char *text, size_t size);
/* No character that a terminal takes for a command, but the end of a line. */
bool is_plain(const char *text, size_t size);
/* JSON documents, one or one a line. */
bool is_json(const char *text, size_t size);
bool is_openmetrics(const char *text, size_t size);

/* --- world.c: a machine that the input describes, in place of this one --- */

/* Text. world.c says what it may be. */
void world_begin(const void *data, size_t size);
void world_end(void);

/* What the tool has printed. */
struct printed {
	int status;
	char *out, *err; /* freed by the caller, who uses the sizes: there may be zeros */
	size_t out_size, err_size;
};

/* Runs the tool in that world. argv[argc] is NULL; the strings may be changed. */
struct printed world_run(int argc, char **argv);

/* The file that the tool wrote last, or NULL. Freed by the caller. */
extern char *world_file;

/* So many threads can wait until they are let run, to their end. By default none can be made. */
extern size_t world_threads;
/* Runs one of them; false when there is none. */
bool world_threads_run(size_t which);

#endif /* FUZZ_H */
