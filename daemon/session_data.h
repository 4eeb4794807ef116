/*
 * session_data.h - one message on its way from a session into the spool
 *
 * Collects the envelope and the bytes, puts our trace field on top, and hands
 * all of it to the store in one record.  A body over RECORD_BODY_INLINE goes
 * to a side file piece by piece; memory stays bounded whatever the peer sends.
 */
#ifndef DAEMON_SESSION_DATA_H
#define DAEMON_SESSION_DATA_H

#include "daemon/acceptance.h"
#include "smtp/smtp_hops.h"

struct session_data;

struct session_origin {	      /* what the session knows of its peer */
	const char *hostname; /* ours */
	const char *helo;
	const char *peer;	  /* "192.0.2.1:4711" */
	const char *peer_literal; /* "[192.0.2.1]" */
	const char *protocol;	  /* "ESMTPS" */
	const char *tls;	  /* "TLSv1.3 TLS_AES_256_GCM_SHA384" or "" */
};

/* `err` NULL: kept.  Exactly once after session_data_end(), never before it
 * returns. */
typedef void session_data_fn(void *ctx, const struct id *id,
			     const struct err *err);

struct session_data *session_data_new(struct acceptance *acceptance,
				      struct slice reverse_path, bool utf8);
/* At any time; a record under way may be kept all the same (its message then
 * joins the queue, a duplicate is cheaper than a loss). */
void session_data_free(struct session_data *data); /* NULL is fine */

/* The plan is that of the first recipient. */
void session_data_recipient(struct session_data *data, const char *plan,
			    struct slice address);
size_t session_data_recipients(const struct session_data *data);
const char *session_data_plan(const struct session_data *data);

/* 354 will be said: our trace field is written now.  The hostname is borrowed
 * until the message is freed. */
void session_data_begin(struct session_data *data,
			const struct session_origin *origin);
void session_data_bytes(struct session_data *data, struct slice bytes);
/* More than this waits for the disk: pause the peer until `room`. */
bool session_data_is_full(const struct session_data *data);
void session_data_on_room(struct session_data *data, loop_fn *room, void *ctx);
/* What the header told so far of the way the message came. */
const struct smtp_hops *session_data_hops(const struct session_data *data);
void session_data_end(struct session_data *data, session_data_fn *done,
		      void *ctx);
/* Why it was not kept: 452. */
bool session_data_lacked_space(const struct session_data *data);
const struct id *session_data_id(const struct session_data *data);

#endif
