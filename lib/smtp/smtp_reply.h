/*
 * smtp_reply.h - one reply of a server, several lines made one
 */
#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H

#include "base/buf.h"
#include "base/err.h"

#define SMTP_REPLY_TEXT 512
#define SMTP_REPLY_CODE 24

struct smtp_reply {
	int code;		    /* 250; 0: none came */
	char enhanced[12];	    /* "5.1.1", or "" (RFC 3463) */
	char text[SMTP_REPLY_TEXT]; /* lines joined by " / ", printable */
};

/*
 * Takes one whole reply off the front of `in`: returns its length, 0 if it is
 * not complete yet, -1 (err) if it is no SMTP reply or larger than 64 KiB.
 * `each` (may be NULL) sees the text of every line (EHLO keywords).
 */
ptrdiff_t smtp_reply_parse(struct slice in, struct smtp_reply *reply,
			   void (*each)(void *ctx, struct slice line),
			   void *ctx, struct err *err);

/* "451 4.7.500", or "451" alone. */
void smtp_reply_code(const struct smtp_reply *reply,
		     char text[SMTP_REPLY_CODE]);

#endif
