/*
 * smtp_line.h - command lines out of a stream
 *
 * Only CRLF ends a line.  A line that comes in one piece is not copied; of one
 * that comes in several at most SMTP_COMMAND_EXTENDED_MAX bytes are kept.
 */
#ifndef SMTP_LINE_H
#define SMTP_LINE_H

#include "base/buf.h"

struct smtp_line {
	struct buf kept; /* of a line that is not whole */
	size_t len;	 /* of it, even where we stopped to keep it */
	bool cr;	 /* its last byte was CR */
	bool whole;	 /* it was given out and is still borrowed */
};

void smtp_line_release(struct smtp_line *line);
/* Forgets a line that is not whole. */
void smtp_line_reset(struct smtp_line *line);
/*
 * Takes bytes up to the first CRLF, or all of them, and returns how many.
 * When the line is whole *whole is it without the CRLF (empty if it was too
 * long to keep), borrowed until the next call, and *length counts all its
 * bytes with the CRLF; otherwise whole->p is NULL.
 */
size_t smtp_line_take(struct smtp_line *line, struct slice in,
		      struct slice *whole, size_t *length);

#endif
