/*
 * act.h - an operator's decision about envelopes: durable first, then done
 *
 * What closes happens at once: an envelope that shall be held or become final
 * leaves its line before its record is written, and nobody else acts on it
 * meanwhile.  What opens or ends waits for the disk: a release, the end of the
 * bytes.  All functions run on the loop.
 */
#ifndef DAEMON_ACT_H
#define DAEMON_ACT_H

#include "daemon/queue.h"
#include "daemon/store.h"

struct act;

/* `done` of them are durable, and done.  err: why the others are not. */
typedef void act_done_fn(void *ctx, size_t done, const struct err *err);

/* Whether an operator may turn it into `state` now: it is in another one, no
 * attempt is under way, and nobody else acts on it. */
bool act_is_possible(const struct queue_envelope *envelope,
		     enum envelope_state state);
/*
 * Turns each into `state` (waiting: a release).  Held ones may be held again
 * for another reason.  Texts are copied; `done` runs exactly once, never before
 * this returns, unless cancelled.  `count` is at least 1.
 */
struct act *act_begin(struct store *store,
		      struct queue_envelope *const *envelopes, size_t count,
		      enum envelope_state state, const char *by,
		      const char *reason, act_done_fn *done, void *ctx);
/* The daemon ends: the records are kept, or not; the queue stays as it is. */
void act_cancel(struct act **act);

#endif
