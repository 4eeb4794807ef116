/*
 * smtp_server.h - the server's half of an SMTP session, as bytes
 *
 * Pure: feed it what the peer sent, take what to answer from `out`.  It knows
 * the commands, their order, the limits of RFC 5321 4.5.3.1 and the line rule
 * (only CRLF ends a line, only CRLF.CRLF ends DATA; a bare CR or LF in DATA is
 * refused once the message has ended).  BDAT (RFC 3030) has the same line rule,
 * judged at the end of each chunk, and no dots; a message whose last chunk does
 * not end with CRLF is kept as it came.  A chunk that is refused is read to its
 * end and forgotten, so that what follows is a command again; only where nobody
 * can tell that end, or it is absurdly far, does the session end.  What mail is welcome, and where it is
 * kept, is asked of the owner, who may answer later: until then the dialogue
 * stands still and consumes nothing.
 *
 * A message line may have 64 KiB: RFC 5321 allows 998 bytes, but real mail has
 * longer ones and a signature covers them as they are.
 */
#ifndef SMTP_SERVER_H
#define SMTP_SERVER_H

#include "smtp/smtp_path.h"

struct smtp_server;

enum smtp_body {
	SMTP_BODY_7BIT,
	SMTP_BODY_8BITMIME
};

struct smtp_mail {
	struct slice reverse_path; /* address, "" for <> */
	uint64_t size;		   /* declared SIZE, 0 if none */
	enum smtp_body body;
	bool utf8; /* SMTPUTF8 was asked for */
};

/*
 * Each call is a question; the owner answers it exactly once, within the call
 * or later, with smtp_server_answer() (on_data_begin too; on_data has none).
 * A message in chunks is told like any other: on_data_begin at the first one
 * (354 to go on, which the peer does not see), on_data_end after the last.
 * Slices are borrowed for the call.
 */
struct smtp_server_owner {
	void (*on_helo)(void *ctx, struct slice name, bool extended);
	void (*on_mail)(void *ctx, const struct smtp_mail *mail);
	void (*on_rcpt)(void *ctx, const struct smtp_path *path,
			struct slice address);
	/* At least one recipient was accepted; 354 to go on. */
	void (*on_data_begin)(void *ctx);
	/* Bytes of the message, dots unstuffed, CRLF lines, in large runs.
	 * Once the message turned out bad none come any more. */
	void (*on_data)(void *ctx, struct slice bytes);
	/*
	 * The message is whole.  `bad` is NULL, or why its bytes must be
	 * refused ("bare LF", "line too long", "too big"); the dialogue then
	 * answers by itself and this needs no answer.
	 */
	void (*on_data_end)(void *ctx, const char *bad);
	/* RSET, a new HELO, a failed or finished transaction: forget it.
	 * Once for each on_mail, and before on_close. */
	void (*on_reset)(void *ctx);
	/* 220 is in `out`; start TLS when it has left. */
	void (*on_starttls)(void *ctx);
	/* Close after `out` has left (QUIT, too many errors, 421). */
	void (*on_close)(void *ctx);
};

struct smtp_server_limits {	 /* 0: no limit */
	uint64_t max_size;	 /* announced by SIZE */
	unsigned max_recipients; /* per transaction, then 452 4.5.3 */
	unsigned max_messages;	 /* per session, then 421 */
	unsigned max_errors;	 /* 5xx since the last kept message,
					 * then 421 */
	unsigned max_junk;	 /* commands that move nothing (NOOP, VRFY,
					 * RSET, a greeting again, MAIL that
					 * gets 4yz, RCPT over the limit,
					 * a chunk that is empty or skipped)
					 * since the last kept message, then
					 * 421 */
	bool utf8;		 /* announce and take SMTPUTF8 */
};

/* Which limit ended a session. */
enum smtp_server_limit {
	SMTP_LIMIT_NONE,
	SMTP_LIMIT_MESSAGES,
	SMTP_LIMIT_ERRORS,
	SMTP_LIMIT_JUNK
};

struct smtp_server *smtp_server_new(const struct smtp_server_owner *owner,
				    void *ctx, const char *hostname,
				    const struct smtp_server_limits *limits,
				    bool offer_starttls);
/* NULL is fine; inside a callback it takes effect when that has returned. */
void smtp_server_free(struct smtp_server *server);

/* The 220 greeting (or another one: code, text). */
void smtp_server_greet(struct smtp_server *server);
/*
 * Consumes what it can of `in` and returns how much; stops at an open
 * question, at STARTTLS and after the end.  Feed the rest again later.
 */
size_t smtp_server_feed(struct smtp_server *server, struct slice in);
/*
 * `text` without code: "2.1.5 recipient ok"; code 250, 354, 4xx or 5xx.  A 250
 * to HELO or EHLO has our name and extensions in place of `text`; 421 closes.
 */
void smtp_server_answer(struct smtp_server *server, int code, const char *text);
/* The message of this transaction may have no more than this, which is not 0. */
void smtp_server_max_size(struct smtp_server *server, uint64_t max_size);
/* True while an owner's answer is outstanding. */
bool smtp_server_waits(const struct smtp_server *server);
/* RCPT beyond max_recipients, so far. */
unsigned smtp_server_refused_recipients(const struct smtp_server *server);
/* Command lines that came whole: the deadline of the next starts anew. */
uint64_t smtp_server_lines(const struct smtp_server *server);
/* True while message bytes are expected (for the deadline of that state), those
 * of a refused chunk included. */
bool smtp_server_in_data(const struct smtp_server *server);
/* TLS is up: forget everything, offer no STARTTLS (RFC 3207 4.2). */
void smtp_server_tls_started(struct smtp_server *server);
/*
 * 421 `text` ("4.4.2 too slow") and close: at once, mid-message too (chunks
 * that were answered 250 are no message yet); while an answer is outstanding
 * in place of that answer, but after the one that tells whether a message was
 * kept.
 */
void smtp_server_shutdown(struct smtp_server *server, const char *text);
/* The same once no transaction is open: one whose MAIL was accepted goes on to
 * its end. */
void smtp_server_drain(struct smtp_server *server, const char *text);
/* Replies to send; the owner consumes. */
struct buf *smtp_server_out(struct smtp_server *server);
enum smtp_server_limit smtp_server_limit(const struct smtp_server *server);
/* For Received: "ESMTP", "ESMTPS", "SMTP", "UTF8SMTPS" ... (RFC 3848, 6531) */
const char *smtp_server_protocol(const struct smtp_server *server, bool tls,
				 bool utf8);

#endif
