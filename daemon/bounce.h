/*
 * bounce.h - give envelopes up, and tell their senders
 *
 * Only an operator asks for it.  Message by message, in this order, so that no
 * sender is left without a word and no word is sent twice without a trace:
 *
 *   held, durable: it says whose bounce is under way
 *   -> the plan's relay answered 250 to the notification (mail/dsn.h)
 *   -> bounced, durable, with the relay's reply; journalled
 *
 * Anything but a 250 leaves the envelope held with that reply.  A crash in
 * between leaves it held with the first reason: the sender may know already.
 * Never to a null reverse-path: the caller refuses those.
 */
#ifndef DAEMON_BOUNCE_H
#define DAEMON_BOUNCE_H

#include "daemon/backlog.h"
#include "daemon/cutover.h"

struct bounce;

struct bounce_spec {
	struct store *store;
	struct queue *queue;
	struct backlog *backlog;
	struct cutover *cutover; /* outlives it */
	const char *relay;	 /* "host:port"; NULL: the plan's */
	const char *by, *reason;
};

/* Whether there is a way out: -1 with err that says what to do. */
int bounce_check(const struct bounce_spec *spec, struct err *err);

/* `failed`: [{"id","envelope","error"}], borrowed. */
typedef void bounce_done_fn(void *ctx, size_t bounced,
			    const struct json *failed);

/*
 * `rows` are envelopes as index_list() gives them, in its order; copied.
 * `done` runs once, from the loop, never before this returns.  NULL with err
 * if there is no relay, or TLS cannot be set up.
 */
struct bounce *bounce_begin(const struct bounce_spec *spec,
			    const struct json *rows, bounce_done_fn *done,
			    void *ctx, struct err *err);
/* The daemon ends; `done` does not run.  NULL is fine. */
void bounce_cancel(struct bounce *bounce);

#endif
