/*
 * buf.h - bytes that we own and that grow
 *
 * BUF_INIT is a valid empty buffer; releasing one twice is fine.  Running out
 * of memory ends the process (the spool makes that safe), so nothing here
 * fails; whatever a peer sends is bounded by the caller before it is stored.
 * A NUL always follows the last byte once anything was added.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"
#include <stdarg.h>

struct buf {
	char *p;
	size_t len;
	size_t cap;
};

/* clang-format off */
#define BUF_INIT { 0 }
/* clang-format on */

void buf_release(struct buf *buf);
/* Empties, keeps the memory. */
void buf_clear(struct buf *buf);
void buf_reserve(struct buf *buf, size_t more);
void buf_add(struct buf *buf, struct slice bytes);
void buf_adds(struct buf *buf, const char *text);
void buf_addc(struct buf *buf, char c);
void buf_addf(struct buf *buf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void buf_vaddf(struct buf *buf, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));
/* Drops the first `n` bytes. */
void buf_consume(struct buf *buf, size_t n);
/* Borrowed until the buffer changes. */
struct slice buf_slice(const struct buf *buf);
/* As a C string ("" when empty), borrowed until the buffer changes. */
const char *buf_text(const struct buf *buf);
/* Hands the bytes (NUL-terminated) to the caller, who frees them. */
char *buf_take(struct buf *buf);

/* Allocation that ends the process instead of failing. */
void *mem_alloc(size_t bytes);	       /* zeroed */
void *mem_grow(void *p, size_t bytes); /* as realloc */
/* What was freed goes back to the system: a moment's work. */
void mem_trim(void);
char *mem_dup(const char *text); /* NULL stays NULL */
/* Frees what *text was; it is a copy of `to` then, or NULL. */
void mem_replace(char **text, const char *to);
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
