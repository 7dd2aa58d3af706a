// SPDX-License-Identifier: GPL-2.0-or-later
#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

uint8_t take(struct input *input)
{
	return input->at < input->end ? *input->at++ : 0;
}

uint64_t take_number(struct input *input)
{
	static const uint64_t edges[] = {
		0, 1, 2, INT32_MAX, UINT32_MAX, UINT32_MAX + UINT64_C(1), INT64_MAX, UINT64_MAX,
	};
	const uint8_t kind = take(input);
	uint64_t number = 0;

	if (kind & 0x80)
		return edges[kind % 8] - (kind >> 3 & 3);
	take_bytes(input, &number, kind % 8 + 1);
	return number;
}

size_t take_bytes(struct input *input, void *to, size_t size)
{
	const size_t left = (size_t)(input->end - input->at);

	if (size > left)
		size = left;
	memcpy(to, input->at, size);
	input->at += size;
	return size;
}

char *take_string(struct input *input)
{
	const size_t len = strnlen((const char *)input->at, (size_t)(input->end - input->at));
	char *string = strndup((const char *)input->at, len);

	must(string);
	input->at += len;
	take(input);
	return string;
}

int count_descriptors(void)
{
	DIR *all = opendir("/proc/self/fd");
	struct dirent *entry;
	char link[64];
	int count = 0;

	must(all);
	while ((entry = readdir(all)))
		if (readlinkat(dirfd(all), entry->d_name, link, sizeof(link)) > 0)
			count += !strncmp(link, "socket:", 7) || !strncmp(link, "anon_inode:", 11);
	closedir(all);
	return count;
}
