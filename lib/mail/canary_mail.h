/*
 * canary_mail.h - the words of a canary
 *
 * A canary is a message of our own to a mailbox of the new system.  It says
 * to whoever finds it what it is, who sent it, and what to do.
 *
 * Pure: the caller passes the time and the names.  Only 7-bit bytes and CRLF
 * lines come out, so that any target takes it.
 */
#ifndef MAIL_CANARY_MAIL_H
#define MAIL_CANARY_MAIL_H

#include "base/buf.h"
#include <stdint.h>

struct canary_mail {
	const char *host; /* the queue's name; its postmaster sends it */
	const char *plan;
	const char *id;	    /* unique */
	const char *to;	    /* forward-path, without <> */
	const char *target; /* "host:port" that gets it */
	int64_t now_ms;
};

/*
 * postmaster@host: the reverse-path too.  A null one would be judged as a
 * notification, which filters treat apart from the mail that the queue will
 * bring; and should the target bounce the canary, somebody learns of it.
 */
void canary_mail_sender(const char *host, struct buf *out);
/* Appends the whole message, our Received field included. */
void canary_mail_write(const struct canary_mail *mail, struct buf *out);

#endif
