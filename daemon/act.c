#include "daemon/act.h"
#include "base/clock.h"
#include <stdlib.h>

struct act {
	struct queue_envelope **envelopes;
	size_t count, open; /* records that are not durable yet */
	enum envelope_state state;
	act_done_fn *done;
	void *ctx;
	bool cancelled;
	struct err err;
};

bool act_is_possible(const struct queue_envelope *envelope,
		     enum envelope_state state)
{
	if (envelope->claimed || envelope->acting)
		return false; /* on its way: its outcome decides */
	return state == ENVELOPE_WAITING ? envelope->held :
	       state == ENVELOPE_HELD	 ? !envelope->held :
					   true;
}

static void apply(struct queue_envelope *envelope, enum envelope_state state)
{
	envelope->acting = false;
	if (state == ENVELOPE_WAITING)
		queue_release(envelope, 0);
	else if (envelope_state_is_final(state))
		queue_final(envelope, state);
}

static void act_end(struct act *act)
{
	bool failed = err_is_set(&act->err);

	for (size_t i = 0; i < act->count && !act->cancelled; i++) {
		if (failed)
			act->envelopes[i]->acting = false;
		else
			apply(act->envelopes[i], act->state);
	}
	if (!act->cancelled)
		act->done(act->ctx, failed ? &act->err : NULL);
	free(act->envelopes);
	free(act);
}

static void stored(void *ctx, const struct spool_place *place,
		   const struct err *err)
{
	struct act *act = ctx;

	if (err)
		act->err = *err;
	if (--act->open == 0)
		act_end(act);
}

struct act *act_begin(struct store *store,
		      struct queue_envelope *const *envelopes, size_t count,
		      enum envelope_state state, const char *by,
		      const char *reason, act_done_fn *done, void *ctx)
{
	struct act *act = mem_alloc(sizeof(*act));
	int64_t now = clock_wall_ms();

	act->envelopes = mem_alloc(count * sizeof(struct queue_envelope *));
	memcpy(act->envelopes, envelopes,
	       count * sizeof(struct queue_envelope *));
	act->count = act->open = count;
	act->state = state;
	act->done = done;
	act->ctx = ctx;
	for (size_t i = 0; i < count; i++) {
		struct queue_envelope *envelope = envelopes[i];
		struct record_state record = {
			.id = envelope->message->id,
			.envelope = envelope->index,
			.state = state,
			.mailbox = state == ENVELOPE_HELD &&
				   envelope->mailbox_held,
			.at_ms = now,
			.by = slice(by),
			.reason = slice(reason),
		};

		envelope->acting = true;
		if (state != ENVELOPE_WAITING && !envelope->held)
			queue_hold(envelope, false);
		store_state(store, envelope->mailbox->domain->plan, &record,
			    stored, act);
	}
	return act;
}

void act_cancel(struct act **act)
{
	if (*act)
		(*act)->cancelled = true;
	*act = NULL;
}
