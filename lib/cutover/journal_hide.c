#include "cutover/journal_hide.h"

/* Where the local part begins that ends at `at`; RFC 5321, section 4.1.2: an
 * atom with dots, or a quoted string. */
static size_t local_begins(struct slice text, size_t at)
{
	if (at > 1 && text.p[at - 1] == '"') {
		size_t begin = at - 1;

		while (begin > 0 && text.p[begin - 1] != '"')
			begin--;
		if (begin > 0)
			return begin - 1;
	}
	while (at > 0 && !strchr(" \t\r\n<>()[],;:\"\\", text.p[at - 1]))
		at--;
	return at;
}

static struct json *hide_text(const char *text)
{
	struct slice rest = slice(text);
	struct buf out = BUF_INIT;
	struct json *hidden;
	ptrdiff_t at;

	while ((at = slice_find(rest, '@')) >= 0) {
		size_t begin = local_begins(rest, (size_t)at);

		buf_add(&out, slice_of(rest.p, begin));
		if (begin < (size_t)at)
			buf_adds(&out, "(hidden)");
		buf_addc(&out, '@');
		rest = slice_from(rest, (size_t)at + 1);
	}
	buf_add(&out, rest);
	hidden = json_new_text(buf_text(&out));
	buf_release(&out);
	return hidden;
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
