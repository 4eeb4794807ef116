#include "cli/report_redact.h"
#include "base/digest.h"
#include "base/encode.h"
#include <stdlib.h>

enum {
	KEPT_BYTES = 6
};

/* RFC 5321 atext and the dot, and UTF-8 as RFC 6531 allows it. */
static bool is_local(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || (c & 0x80) ||
	       (c && strchr("!#$%&'*+-/=?^_`{|}~.", c));
}

static bool is_domain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || (c & 0x80) || c == '-' || c == '.' ||
	       c == '[' || c == ']' || c == ':';
}

/* Where the local part before the '@' at `at` begins; `at` if there is none. */
static size_t local_begins(struct slice text, size_t at)
{
	size_t begin = at;

	if (at > 0 && text.p[at - 1] == '"') {
		for (begin = at - 1; begin > 0; begin--)
			if (text.p[begin - 1] == '"' &&
			    (begin < 2 || text.p[begin - 2] != '\\'))
				return begin - 1;
		return at;
	}
	while (begin > 0 && is_local(text.p[begin - 1]))
		begin--;
	return begin;
}

static void digest_lower(struct digest *digest, struct slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.p[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		digest_add(digest, slice_of(&c, 1));
	}
}

static void add_hash(const char *salt, struct slice local, struct slice domain,
		     struct buf *out)
{
	struct digest *digest = digest_new();
	unsigned char hash[DIGEST_LEN];

	digest_add(digest, slice(salt));
	digest_lower(digest, local);
	digest_add(digest, slice("@"));
	digest_lower(digest, domain);
	digest_end(digest, hash);
	digest_free(digest);
	buf_adds(out, "x-");
	encode_hex(slice_of(hash, KEPT_BYTES), out);
}

void report_redact_text(const char *salt, struct slice text, struct buf *out)
{
	size_t done = 0;

	for (size_t at = 0; at < text.len; at++) {
		size_t begin, end = at + 1;

		if (text.p[at] != '@')
			continue;
		while (end < text.len && is_domain(text.p[end]))
			end++;
		begin = local_begins(text, at);
		if (begin < done)
			begin = done;
		if (begin == at || end == at + 1)
			continue;
		buf_add(out, slice_of(text.p + done, begin - done));
		add_hash(salt, slice_of(text.p + begin, at - begin),
			 slice_of(text.p + at + 1, end - at - 1), out);
		done = at;
	}
	buf_add(out, slice_from(text, done));
}

static struct json *redact_string(const char *salt, const char *text)
{
	struct buf out = BUF_INIT;
	struct json *value;

	report_redact_text(salt, slice(text), &out);
	value = json_new_text(buf_text(&out));
	buf_release(&out);
	return value;
}

struct json *report_redact_json(const char *salt, const struct json *value)
{
	struct json *copy;

	switch (json_type(value)) {
	case JSON_STRING:
		return redact_string(salt, json_text(value));
	case JSON_ARRAY:
		copy = json_array();
		for (const struct json *it = json_first(value); it;
		     it = json_next(it))
			json_add(copy, report_redact_json(salt, it));
		return copy;
	case JSON_OBJECT:
		copy = json_object();
		for (const struct json *it = json_first(value); it;
		     it = json_next(it))
			json_put(copy, json_key(it),
				 report_redact_json(salt, it));
		return copy;
	default:
		return json_copy(value);
	}
}
