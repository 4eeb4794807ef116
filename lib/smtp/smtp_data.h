/*
 * smtp_data.h - a message on the wire: its end, its dots, its lines
 *
 * Receiving: only CRLF ends a line and only CRLF.CRLF ends the message; dots
 * at the start of a line are taken off.  A bare CR or LF makes the message
 * bad, and so do a line over 64 KiB and too many bytes, but it is read to its
 * true end all the same: who answered at the bare byte would take the rest of
 * the message for commands (SMTP smuggling).  Bad is also a lone dot behind
 * NULs: whoever drops those, as some do, takes the line for the end.  How the bytes are cut into
 * pieces never changes the result.
 *
 * In chunks (BDAT, RFC 3030) lines have the same rule, but no dot means
 * anything and the end is told by whoever counts the bytes.  A message that
 * lacks its last CRLF stays as it is.
 *
 * Sending: the same in reverse.
 */
#ifndef SMTP_DATA_H
#define SMTP_DATA_H

#include "base/buf.h"

/* RFC 5321 says 998; real mail has longer lines, and DKIM covers them. */
#define SMTP_DATA_LINE_MAX 65536

extern const char smtp_data_too_big[]; /* the `bad` of max_size */

struct smtp_data {
	enum {
		SMTP_DATA_LINE,
		SMTP_DATA_DOT,
		SMTP_DATA_DOT_CR,
		SMTP_DATA_NUL,	   /* nothing but NUL in the line */
		SMTP_DATA_NUL_DOT, /* and a dot */
		SMTP_DATA_TEXT,
		SMTP_DATA_CR,
		SMTP_DATA_END
	} at;
	const char *bad;   /* NULL, or the first reason to refuse it */
	uint64_t size;	   /* bytes given to the sink */
	uint64_t max_size; /* 0: any */
	size_t line;	   /* bytes of the current line so far */
	bool chunks;	   /* dots are bytes like others */
};

typedef void smtp_data_sink(void *ctx, struct slice bytes);

void smtp_data_begin(struct smtp_data *data, uint64_t max_size);
/*
 * Returns how much of `in` belongs to the message and its end; less than all
 * only at the end.  The sink gets nothing once the message is bad.
 */
size_t smtp_data_receive(struct smtp_data *data, struct slice in,
			 smtp_data_sink *sink, void *ctx);
/*
 * The same for a message in chunks: receive takes all it is given, from chunk
 * to chunk, until the last one has ended.
 */
void smtp_data_begin_chunks(struct smtp_data *data, uint64_t max_size);
/* The last chunk has ended: a CR that waits for its LF is a bare one. */
void smtp_data_end_chunks(struct smtp_data *data);
bool smtp_data_is_whole(const struct smtp_data *data);

struct smtp_data_out {
	char last[2]; /* of the message so far */
	bool begun;
};

/* Appends the bytes with dots stuffed, then the end. */
void smtp_data_stuff(struct smtp_data_out *data, struct slice bytes,
		     struct buf *out);
void smtp_data_finish(struct smtp_data_out *data, struct buf *out);

#endif
