// SPDX-License-Identifier: GPL-2.0-or-later
/* Whether what was printed is what it should be, by other code than the project's. */
#include <ctype.h>
#include <string.h>

#include <json-c/json.h>

#include "fuzz.h"

/* The code point that begins there and how long it is; 0: none. */
static size_t decode(const unsigned char *at, size_t left, uint32_t *point)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const size_t len = *at < 0x80	    ? 1
			   : *at >> 5 == 6  ? 2
			   : *at >> 4 == 14 ? 3
			   : *at >> 3 == 30 ? 4
					    : 0;

	if (!len || len > left)
		return 0;
	*point = len == 1 ? *at : *at & (0xff >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if (at[i] >> 6 != 2)
			return 0;
		*point = *point << 6 | (at[i] & 0x3f);
	}
	return *point < least[len] || *point > 0x10ffff || *point >> 11 == 0xd800 >> 11 ? 0 : len;
}

static bool each_point(const char *text, size_t size, bool plain)
{
	uint32_t point;
	size_t len;

	for (size_t at = 0; at < size; at += len) {
		len = decode((const unsigned char *)text + at, size - at, &point);
		if (!len ||
		    (plain && (point < ' ' || (point >= 0x7f && point < 0xa0)) && point != '\n'))
			return false;
	}
	return true;
}

bool is_utf8(const char *text, size_t size)
{
	return each_point(text, size, false);
}

bool is_plain(const char *text, size_t size)
{
	return each_point(text, size, true);
}

bool is_json(const char *text, size_t size)
{
	struct json_tokener *tokener = json_tokener_new();
	bool ok = is_utf8(text, size);

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	while (ok && size) {
		struct json_object *object = json_tokener_parse_ex(tokener, text, (int)size);
		const size_t used = json_tokener_get_parse_end(tokener);

		ok = json_tokener_get_error(tokener) == json_tokener_success && used;
		json_object_put(object);
		text += used;
		size -= used;
		while (size && isspace((unsigned char)*text)) {
			text++;
			size--;
		}
	}
	json_tokener_free(tokener);
	return ok;
}

static const char *skip_name(const char *at)
{
	while (isalnum((unsigned char)*at) || *at == '_')
		at++;
	return at;
}

/* {name="value",...}: where it ends, or NULL. */
static const char *skip_labels(const char *at)
{
	do {
		at = skip_name(at + 1);
		if (*at++ != '=' || *at++ != '"')
			return NULL;
		for (; *at && *at != '"'; at++)
			if (*at == '\\' && !strchr("\\\"n", *++at))
				return NULL;
		if (*at++ != '"')
			return NULL;
	} while (*at == ',');
	return *at == '}' ? at + 1 : NULL;
}

static bool is_metric(const char *line)
{
	const char *at = skip_name(line);
	char *end;

	if (!strncmp(line, "# TYPE ", 7) || !strncmp(line, "# UNIT ", 7) ||
	    !strncmp(line, "# HELP ", 7))
		return true;
	if (at == line || *at != '{')
		return false;
	at = skip_labels(at);
	if (!at || *at != ' ' || !isdigit((unsigned char)at[1]))
		return false;
	strtod(at, &end);
	return !*end;
}

bool is_openmetrics(const char *text, size_t size)
{
	char *copy = strndup(text, size), *rest = copy, *line;
	bool ok = is_utf8(text, size) && strlen(copy) == size, ended = false;

	while (ok && (line = strsep(&rest, "\n")) && rest) {
		ok = !ended && (is_metric(line) || !strcmp(line, "# EOF"));
		ended = !strcmp(line, "# EOF");
	}
	ok = ok && ended && !*line;
	free(copy);
	return ok;
}
