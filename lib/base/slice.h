/*
 * slice.h - bytes that belong to somebody else
 *
 * A slice borrows; whoever wants to keep the bytes copies them.  Slices are
 * passed by value, need no release and may hold any bytes, NUL included.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n)	 (1u << (n))

struct slice {
	const char *p;
	size_t len;
};

/* The bytes of a C string, without its NUL; NULL gives the empty slice. */
static inline struct slice slice(const char *text)
{
	return (struct slice){ text ? text : "", text ? strlen(text) : 0 };
}

static inline struct slice slice_of(const void *p, size_t len)
{
	return (struct slice){ p, len };
}

/* From `from` to the end; `from` may not be past the end. */
static inline struct slice slice_from(struct slice s, size_t from)
{
	return (struct slice){ s.p + from, s.len - from };
}

bool slice_equal(struct slice a, struct slice b);
bool slice_is(struct slice a, const char *text);
/* ASCII case is ignored, as SMTP verbs and DNS names want it. */
bool slice_is_nocase(struct slice a, const char *text);
bool slice_equal_nocase(struct slice a, struct slice b);
bool slice_starts(struct slice s, const char *prefix);
bool slice_starts_nocase(struct slice s, const char *prefix);
bool slice_ends_nocase(struct slice s, const char *suffix);
/* Index of the first byte `c`, or -1. */
ptrdiff_t slice_find(struct slice s, char c);
/* Index of the last byte `c`, or -1. */
ptrdiff_t slice_rfind(struct slice s, char c);
/* Any byte above 127. */
bool slice_has_8bit(struct slice s);
/* Removes the two bytes around *s if both are there. */
bool slice_unwrap(struct slice *s, char open, char close);
/* Without blanks and tabs at both ends. */
struct slice slice_trim(struct slice s);
/* Takes the part before the next `sep` off *s (all of it if there is none). */
struct slice slice_split(struct slice *s, char sep);
/* Decimal digits only, no sign, no blank, fits in uint64_t; else false. */
bool slice_u64(struct slice s, uint64_t *value);
/* A NUL-terminated heap copy. */
char *slice_dup(struct slice s);

#endif
