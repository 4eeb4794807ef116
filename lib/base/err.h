/*
 * err.h - what went wrong, in one sentence
 *
 * Whoever knows the facts writes the sentence; callers add context on the way
 * up; it is logged once, where somebody decides what to do.  Lower case, names
 * the culprit, no full stop.  Setting returns -1 so that `return err_set(...)`
 * reads well.  A NULL err is allowed everywhere and swallows the text.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

struct err {
	char text[1024];
};

/* clang-format off */
#define ERR_INIT { "" }
/* clang-format on */

int err_set(struct err *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* As err_set, and adds ": " and what errno says. */
int err_errno(struct err *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Puts "context: " before the text. */
int err_prefix(struct err *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
bool err_is_set(const struct err *err);
void err_clear(struct err *err);

#endif
