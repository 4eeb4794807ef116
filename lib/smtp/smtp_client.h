/*
 * smtp_client.h - the client's half of an SMTP session, as bytes
 *
 * Pure: feed it what the server sent, send what is in `out`.  EHLO (HELO if
 * refused), STARTTLS on wish, PIPELINING of one transaction's envelope when
 * offered, one transaction after the other, RSET between failed ones, QUIT.
 * Over a message's end only what the owner gives to smtp_client_follow().
 *
 *   new -> feed... -> on_ready -> transaction -> on_body (all RCPT answered,
 *   354 came: give the body) -> ... -> on_done -> next transaction or quit
 *
 * Where CHUNKING (RFC 3030) and PIPELINING are offered the message goes with
 * BDAT: in chunks of SMTP_CLIENT_CHUNK, the last of them with LAST, without
 * waiting for the replies to the ones before, and without stuffing a dot or
 * adding a byte.  The first BDAT waits until every RCPT is answered: a chunk
 * for nobody would have to be swallowed (RFC 3030, section 2).  CHUNKING alone
 * would cost a round trip for each chunk, so such a server gets DATA.
 */
#ifndef SMTP_CLIENT_H
#define SMTP_CLIENT_H

#include "smtp/smtp_reply.h"
#include "smtp/smtp_server.h"

struct smtp_client;

#define SMTP_CLIENT_CHUNK ((size_t)256 * 1024)

enum smtp_stage {
	SMTP_STAGE_CONNECT,
	SMTP_STAGE_GREETING,
	SMTP_STAGE_EHLO,
	SMTP_STAGE_STARTTLS,
	SMTP_STAGE_MAIL,
	SMTP_STAGE_RCPT,
	SMTP_STAGE_DATA,
	SMTP_STAGE_DOT,
	SMTP_STAGE_QUIT
};
const char *smtp_stage_name(enum smtp_stage stage);

struct smtp_offers { /* what EHLO said */
	bool esmtp, pipelining, size, eightbit, starttls, chunking, utf8;
	uint64_t max_size; /* 0: none told */
};

struct smtp_transaction {
	const char *reverse_path; /* "" for <> */
	const char *const *forward_paths;
	size_t count;
	uint64_t size; /* bytes, for SIZE= */
	enum smtp_body body;
	bool utf8; /* only where offered: look before */
	/* A probe: on_rcpt for every reply, then RSET instead of DATA and
	 * on_done with stage RCPT and the last reply. */
	bool envelope_only;
};

struct smtp_client_owner {
	/* Session is up (after EHLO, and again EHLO after TLS). */
	void (*on_ready)(void *ctx, const struct smtp_offers *offers);
	/* 220 to STARTTLS came: start TLS, then smtp_client_tls_started(). */
	void (*on_starttls)(void *ctx);
	/* The final word on one recipient before DATA (a refusal; a 421 ends
	 * the session instead and is told by on_done). */
	void (*on_rcpt)(void *ctx, size_t index,
			const struct smtp_reply *reply);
	/* At least one recipient stands and the server waits for the message
	 * (354 came, or BDAT needs none): call smtp_client_body() any number of
	 * times, then _body_end(). */
	void (*on_body)(void *ctx);
	/*
	 * The transaction is over.  `stage` tells what `reply` answers: MAIL
	 * or DATA (refused, or a chunk before the last was: holds for all
	 * recipients not refused before), RCPT (none was accepted; see on_rcpt),
	 * or DOT (the outcome for those that were accepted).  Code 0: no valid
	 * reply came.
	 */
	void (*on_done)(void *ctx, enum smtp_stage stage,
			const struct smtp_reply *reply);
	/* The session cannot go on (greeting or EHLO refused, 421, garbage,
	 * STARTTLS refused): no further callback.  An open transaction has
	 * had its on_done before, with the stage it was in. */
	void (*on_fail)(void *ctx, enum smtp_stage stage,
			const struct smtp_reply *reply, const char *why);
};

struct smtp_client *smtp_client_new(const struct smtp_client_owner *owner,
				    void *ctx, const char *helo,
				    bool want_starttls);
/* NULL is fine; inside a callback it takes effect when that has returned. */
void smtp_client_free(struct smtp_client *client);
/* Always consumes everything. */
void smtp_client_feed(struct smtp_client *client, struct slice in);
struct buf *smtp_client_out(struct smtp_client *client);
void smtp_client_tls_started(struct smtp_client *client);
const struct smtp_offers *smtp_client_offers(const struct smtp_client *client);
/* Strings are copied.  Only when ready (also from within on_ready and on_done)
 * and no transaction is open or follows. */
void smtp_client_transaction(struct smtp_client *client,
			     const struct smtp_transaction *transaction);
/* Message bytes with CRLF lines; dots are stuffed here.  With BDAT up to one
 * chunk of them is held back: it may be the last. */
void smtp_client_body(struct smtp_client *client, struct slice bytes);
/* The final dot (with a CRLF before it if the message lacks its last one), or
 * the chunk that was held back, as the last. */
void smtp_client_body_end(struct smtp_client *client);
/*
 * Behind the end of the message, without waiting for its reply, the envelope of
 * the next one (RFC 2920 section 3.1): a far server then costs one round trip a
 * message.  Only right after smtp_client_body_end(), once, where PIPELINING is
 * offered.  That on_done makes it the open transaction: it must not be given
 * again.  If it reports a refusal, RSET goes first and the envelope once more.
 * If the session ends there, nothing was begun of it and nothing is told.
 */
void smtp_client_follow(struct smtp_client *client,
			const struct smtp_transaction *transaction);
/* Gives up an open transaction before DATA: RSET; on_done does not come. */
void smtp_client_reset(struct smtp_client *client);
void smtp_client_quit(struct smtp_client *client);
/* Where we are: what a lost connection would mean.  Between transactions
 * MAIL; from the first byte of the body to the dot DATA, or to BDAT LAST. */
enum smtp_stage smtp_client_stage(const struct smtp_client *client);
/* The connection is gone: ends an open transaction through on_done with a
 * reply of code 0 and text `why`; no on_fail. */
void smtp_client_lost(struct smtp_client *client, const char *why);

#endif
