#include "base/buf.h"
#include <strings.h>

bool slice_equal(struct slice a, struct slice b)
{
	return a.len == b.len && memcmp(a.p, b.p, a.len) == 0;
}

bool slice_is(struct slice a, const char *text)
{
	return slice_equal(a, slice(text));
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool slice_equal_nocase(struct slice a, struct slice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

bool slice_is_nocase(struct slice a, const char *text)
{
	return slice_equal_nocase(a, slice(text));
}

bool slice_starts(struct slice s, const char *prefix)
{
	size_t len = strlen(prefix);

	return s.len >= len && memcmp(s.p, prefix, len) == 0;
}

bool slice_starts_nocase(struct slice s, const char *prefix)
{
	size_t len = strlen(prefix);

	return s.len >= len && slice_is_nocase(slice_of(s.p, len), prefix);
}

bool slice_ends_nocase(struct slice s, const char *suffix)
{
	size_t len = strlen(suffix);

	return s.len >= len &&
	       slice_is_nocase(slice_from(s, s.len - len), suffix);
}

ptrdiff_t slice_find(struct slice s, char c)
{
	const char *at = s.len ? memchr(s.p, c, s.len) : NULL;

	return at ? at - s.p : -1;
}

ptrdiff_t slice_rfind(struct slice s, char c)
{
	const char *at = s.len ? memrchr(s.p, c, s.len) : NULL;

	return at ? at - s.p : -1;
}

bool slice_unwrap(struct slice *s, char open, char close)
{
	if (s->len < 2 || s->p[0] != open || s->p[s->len - 1] != close)
		return false;
	*s = slice_of(s->p + 1, s->len - 2);
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
	while (s.len > 0 && is_blank(s.p[0]))
		s = slice_from(s, 1);
	while (s.len > 0 && is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

struct slice slice_split(struct slice *s, char sep)
{
	ptrdiff_t at = slice_find(*s, sep);
	struct slice part = *s;

	if (at < 0) {
		*s = slice_from(*s, s->len);
		return part;
	}
	part.len = (size_t)at;
	*s = slice_from(*s, (size_t)at + 1);
	return part;
}

bool slice_u64(struct slice s, uint64_t *value)
{
	uint64_t sum = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		unsigned digit = (unsigned)(unsigned char)s.p[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(sum, 10u, &sum) ||
		    __builtin_add_overflow(sum, digit, &sum))
			return false;
	}
	*value = sum;
	return true;
}

char *slice_dup(struct slice s)
{
	char *copy = mem_alloc(s.len + 1);

	memcpy(copy, s.p, s.len);
	return copy;
}

bool slice_has_8bit(struct slice s)
{
	uint64_t all = 0;

	for (; s.len >= sizeof(all); s = slice_from(s, sizeof(all))) {
		uint64_t word;

		memcpy(&word, s.p, sizeof(word));
		all |= word;
	}
	while (s.len-- > 0)
		all |= (unsigned char)*s.p++;
	return all & 0x8080808080808080u;
}
