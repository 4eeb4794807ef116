#include "base/buf.h"
#include <stdio.h>
#include <malloc.h>
#include <stdlib.h>

/* The spool makes a sudden end safe; going on without memory is not. */
static void __attribute__((noreturn)) no_memory(void)
{
	static const char text[] = "out of memory\n";

	fwrite(text, 1, sizeof(text) - 1, stderr);
	abort();
}

void *mem_alloc(size_t bytes)
{
	void *p = calloc(1, bytes ? bytes : 1);

	if (!p)
		no_memory();
	return p;
}

void *mem_grow(void *p, size_t bytes)
{
	p = realloc(p, bytes ? bytes : 1);
	if (!p)
		no_memory();
	return p;
}

void mem_trim(void)
{
	malloc_trim(0);
}

char *mem_dup(const char *text)
{
	return text ? slice_dup(slice(text)) : NULL;
}

void mem_replace(char **text, const char *to)
{
	char *copy = mem_dup(to);

	free(*text);
	*text = copy;
}

char *mem_printf(const char *format, ...)
{
	struct buf buf = BUF_INIT;
	va_list args;

	va_start(args, format);
	buf_vaddf(&buf, format, args);
	va_end(args);
	return buf_take(&buf);
}

void buf_release(struct buf *buf)
{
	free(buf->p);
	*buf = (struct buf)BUF_INIT;
}

void buf_clear(struct buf *buf)
{
	buf->len = 0;
	if (buf->p)
		buf->p[0] = '\0';
}

void buf_reserve(struct buf *buf, size_t more)
{
	size_t need, cap;

	if (__builtin_add_overflow(buf->len, more, &need) ||
	    __builtin_add_overflow(need, 1, &need))
		no_memory();
	if (need <= buf->cap)
		return;
	cap = buf->cap ? buf->cap : 64;
	while (cap < need)
		if (__builtin_mul_overflow(cap, 2, &cap))
			no_memory();
	buf->p = mem_grow(buf->p, cap);
	buf->cap = cap;
}

void buf_add(struct buf *buf, struct slice bytes)
{
	buf_reserve(buf, bytes.len);
	if (bytes.len)
		memcpy(buf->p + buf->len, bytes.p, bytes.len);
	buf->len += bytes.len;
	buf->p[buf->len] = '\0';
}

void buf_adds(struct buf *buf, const char *text)
{
	buf_add(buf, slice(text));
}

void buf_addc(struct buf *buf, char c)
{
	buf_add(buf, slice_of(&c, 1));
}

void buf_vaddf(struct buf *buf, const char *format, va_list args)
{
	va_list again;
	size_t room;
	int len;

	/* Most texts fit at once; one that does not is written again. */
	buf_reserve(buf, 64);
	room = buf->cap - buf->len;
	va_copy(again, args);
	len = vsnprintf(buf->p + buf->len, room, format, again);
	va_end(again);
	if (len < 0) {
		buf->p[buf->len] = '\0';
		return;
	}
	if ((size_t)len >= room) {
		buf_reserve(buf, (size_t)len);
		vsnprintf(buf->p + buf->len, (size_t)len + 1, format, args);
	}
	buf->len += (size_t)len;
}

void buf_addf(struct buf *buf, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	buf_vaddf(buf, format, args);
	va_end(args);
}

void buf_consume(struct buf *buf, size_t n)
{
	if (n == 0)
		return;
	buf->len -= n;
	memmove(buf->p, buf->p + n, buf->len + 1);
}

struct slice buf_slice(const struct buf *buf)
{
	return slice_of(buf->p ? buf->p : "", buf->len);
}

const char *buf_text(const struct buf *buf)
{
	return buf->p ? buf->p : "";
}

char *buf_take(struct buf *buf)
{
	char *p;

	buf_reserve(buf, 0);
	buf->p[buf->len] = '\0';
	p = buf->p;
	*buf = (struct buf)BUF_INIT;
	return p;
}
