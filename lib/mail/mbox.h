/*
 * mbox.h - messages one after another in one file, as mboxrd
 *
 * Each message is a line "From SENDER DATE", its bytes with LF lines, and an
 * empty line.  Every line of it that begins with any number of '>' and "From "
 * gets one '>' more (RFC 4155 leaves the variants open; of those, mboxrd is the
 * one that can be undone without a loss).
 *
 * Pure; a message comes in pieces of any size.
 */
#ifndef MAIL_MBOX_H
#define MAIL_MBOX_H

#include "base/buf.h"

/* Where in a message we are; starts as zeros for each message. */
struct mbox_state {
	char held[8]; /* of a line that may yet need a '>', or a CR */
	size_t held_count;
	bool in_line;	/* the line is known to need none */
	bool is_cr;	/* a CR that waits for its LF */
	bool line_open; /* the last byte was no LF */
};

/* The separator; `reverse_path` "" for <>.  No byte of it can make a second
 * line. */
void mbox_begin(const char *reverse_path, int64_t accepted_ms, struct buf *out);
/* More bytes of the message, with CRLF lines. */
void mbox_add(struct mbox_state *state, struct slice bytes, struct buf *out);
/* The rest, a last line's missing LF, and the empty line. */
void mbox_end(struct mbox_state *state, struct buf *out);

#endif
