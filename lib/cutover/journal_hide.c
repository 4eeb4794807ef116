#include "cutover/journal_hide.h"
#include "base/hide.h"
#include <stdlib.h>

static struct json *hide_text(const char *text)
{
	size_t len = strlen(text);
	bool *hidden = mem_alloc(len + 1);
	struct buf out = BUF_INIT;
	struct json *value;

	for (size_t at = 0; at < len; at++)
		if (text[at] == '@')
			for (size_t i = hide_local_begins(text, at); i < at;
			     i++)
				hidden[i] = true;
	for (size_t i = 0; i < len; i++) {
		if (!hidden[i])
			buf_addc(&out, text[i]);
		else if (i == 0 || !hidden[i - 1])
			buf_adds(&out, "(hidden)");
	}
	value = json_new_text(buf_text(&out));
	buf_release(&out);
	free(hidden);
	return value;
}

struct json *journal_hide(const struct json *value)
{
	bool is_object = json_type(value) == JSON_OBJECT;
	struct json *copy;

	if (json_type(value) == JSON_STRING)
		return hide_text(json_text(value));
	if (!is_object && json_type(value) != JSON_ARRAY)
		return json_copy(value);
	copy = is_object ? json_object() : json_array();
	for (const struct json *one = json_first(value); one;
	     one = json_next(one)) {
		if (!is_object)
			json_add(copy, journal_hide(one));
		else if (strcmp(json_key(one), "by") == 0)
			json_put(copy, json_key(one), json_copy(one));
		else
			json_put(copy, json_key(one), journal_hide(one));
	}
	return copy;
}
