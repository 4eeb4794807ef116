/*
 * delivery.h - one connection to a target, one message after another
 *
 * Connects, does EHLO and STARTTLS as the policy says, then carries jobs: a
 * message and those of its recipients whose turn it is.  Order of a job:
 *
 *   BEGIN of every attempt is durable  ->  the final dot may leave
 *   the reply came                     ->  outcome, one per recipient
 *
 * so that after a crash we know which outcomes are uncertain.  The outcome is
 * told once per recipient, then done once; never before the call that caused
 * it returns.
 *
 * To a target that offers PIPELINING the envelope of the next job may follow
 * the message at once (smtp_client_follow).  That job begins, with its BEGIN
 * records, when the one before has its outcome, and not at all if the session
 * ends before.
 */
#ifndef DAEMON_DELIVERY_H
#define DAEMON_DELIVERY_H

#include "daemon/queue.h"
#include "daemon/store.h"
#include "net/addr.h"
#include "net/tls_terms.h"
#include "plan/plan.h"
#include "smtp/smtp_client.h"

struct delivery;

struct delivery_owner {
	/* Connected and greeted (first time), or idle again: wants a job. */
	void (*on_idle)(void *ctx, struct delivery *delivery);
	/* Outcome of one recipient: `index` into the job's claims. */
	void (*on_outcome)(void *ctx, struct delivery *delivery, size_t index,
			   enum smtp_stage stage,
			   const struct smtp_reply *reply);
	/* The end of a message leaves: what may follow it, into `claims`, and
	 * what is demanded for it, into `terms`; returns how many, 0: nothing. */
	size_t (*on_more)(void *ctx, struct delivery *delivery,
			  struct queue_envelope **claims,
			  struct tls_terms **terms);
	/* What followed would begin now, in place of on_idle.  False: it may
	 * not; delivery_next_claims() still has it, for the last time. */
	bool (*on_next)(void *ctx, struct delivery *delivery);
	/* The reply to the message takes its time: what follows need not wait
	 * for it.  delivery_next_claims() has it for the last time. */
	void (*on_late)(void *ctx, struct delivery *delivery);
	/* The connection is over; an open job has had its outcomes.  `why` is
	 * NULL after a quiet QUIT.  The owner frees the delivery. */
	void (*on_end)(void *ctx, struct delivery *delivery,
		       enum smtp_stage stage, const struct smtp_reply *reply,
		       const char *why);
};

struct delivery_spec {
	struct loop *loop;
	struct store *store;
	struct addr address;
	const char *name;	 /* "host:port", for records */
	const char *server_name; /* for SNI and the certificate */
	const char *helo;
	struct tls_client *tls;
	enum plan_tls policy;
	struct tls_terms
		*terms;	       /* of the session, beside the policy; or NULL */
	int64_t data_reply_ms; /* wait after the final dot */
};

struct delivery *delivery_new(const struct delivery_spec *spec,
			      const struct delivery_owner *owner, void *ctx);
/* Ends at once; no callback runs any more.  The claims of an open job, and of
 * one that follows, are the caller's to settle. */
void delivery_free(struct delivery *delivery);

#define DELIVERY_MAX_RCPT 100

/* The session, once ready, has what these demand; they may be NULL. */
bool delivery_meets(const struct delivery *delivery,
		    const struct tls_terms *terms);
/* Only when idle, and on terms that are met.  The claims stay the caller's, and
 * alive until the end. */
void delivery_job(struct delivery *delivery,
		  struct queue_envelope *const *claims, size_t count,
		  struct tls_terms *terms);
struct queue_envelope *delivery_claim(const struct delivery *delivery,
				      size_t index);
/* The claims that have no outcome yet, into `open`; returns how many. */
size_t delivery_open_claims(const struct delivery *delivery,
			    struct queue_envelope *open[DELIVERY_MAX_RCPT]);
/* The same of what follows and did not begin. */
size_t delivery_next_claims(const struct delivery *delivery,
			    struct queue_envelope *next[DELIVERY_MAX_RCPT]);
/* Nothing may begin on it any more: on_end is on its way. */
bool delivery_is_over(const struct delivery *delivery);
/* Says QUIT and ends by itself; only when idle. */
void delivery_quit(struct delivery *delivery);
/* Of the last job, as tls_terms_describe() has it, or "" in clear text. */
const char *delivery_tls(const struct delivery *delivery);
/* Of the session, or NULL; borrowed. */
const struct tls_terms *delivery_terms(const struct delivery *delivery);

#endif
