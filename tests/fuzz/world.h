/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Of world.c and its calls alone. */
#ifndef WORLD_H
#define WORLD_H

#include <sys/stat.h>

#include "fuzz.h"

/* False: calls go to the system, as libFuzzer's own do. */
extern bool world_on;

/* A file of the tree, -1 with errno set. Nothing outside of the tree can be reached. */
int tree_open(int dir, const char *path, int flags);
/* A file that the test itself wants to read, NULL when there is none. Freed by the caller. */
char *tree_read(const char *path, size_t *size);
/* As fstat(2), but for devices. */
int tree_stat(int fd, struct stat *st);
/* The number that ends the name of an open file, 0 without one. */
unsigned int tree_number(int fd);
/* Where the tree lies. */
extern char tree_path[64];

#endif /* WORLD_H */
