/*
 * dsn.h - tell a sender that an operator gave their message up
 *
 * Writes a delivery status notification (RFC 3464) as a whole message:
 * multipart/report (RFC 6522) of a text for people, message/delivery-status
 * from the evidence, and the header of the message it is about.  The body of
 * that message never goes back: whoever is named as its sender may not have
 * written it.
 *
 * Pure: the caller passes the time and the names.  Only 7-bit bytes and CRLF
 * lines come out, no line longer than RFC 5322 section 2.1.1 allows, so that
 * any relay takes it.  What a remote server said is quoted without its control
 * characters and cannot add a field.
 */
#ifndef MAIL_DSN_H
#define MAIL_DSN_H

#include "base/buf.h"

struct dsn_recipient {
	const char *forward_path; /* without <> */
	/* The last attempt; code 0: no reply was ever had. */
	int code;
	const char *enhanced; /* "5.1.1", or NULL */
	const char *reply;    /* its text, or NULL */
	const char *stage;    /* what it answered: "rcpt", or NULL */
	const char *target;   /* "host:port" that was asked, or NULL */
	int64_t attempt_ms;   /* 0: never tried */
};

struct dsn {
	const char *host;	  /* the reporting MTA: the queue's name */
	const char *from;	  /* header From: an address, no <> */
	const char *reverse_path; /* whom it goes to; never empty */
	const char *id;		  /* of the message that is given up */
	const char *own_id;	  /* of the notification: unique */
	int64_t arrival_ms, now_ms;
	struct slice header; /* of the message, CRLF lines; see dsn_header() */
	const struct dsn_recipient *recipients;
	size_t count;
};

#define DSN_HEADER_MAX (64 * 1024)

/* The header of a message: its bytes up to the empty line (which is not part
 * of it), or, where that lies further off, the last whole line in the bytes. */
struct slice dsn_header(struct slice message);

/*
 * RFC 3463 status of a recipient who is given up: what the last reply said if
 * that was a refusal of class 4 or 5; else "5.0.0" after a 5xx, "4.0.0" after
 * another reply, "4.4.7" (delivery time expired) without one.
 */
#define DSN_STATUS 16
const char *dsn_status(const struct dsn_recipient *recipient,
		       char status[DSN_STATUS]);

/* Appends the whole message. */
void dsn_write(const struct dsn *dsn, struct buf *out);

#endif
