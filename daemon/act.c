#include "daemon/act.h"
#include "base/clock.h"
#include <stdlib.h>

/* The record of one envelope. */
struct one {
	struct act *act;
	struct queue_envelope *envelope;
};

struct act {
	size_t open; /* records that are under way */
	size_t done;
	enum envelope_state state;
	act_done_fn *told;
	void *ctx;
	bool cancelled;
	struct err err;
	struct one all[];
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
	if (!act->cancelled)
		act->told(act->ctx, act->done,
			  err_is_set(&act->err) ? &act->err : NULL);
	free(act);
}

/* Records of one act may share no batch: one is kept, another is not. */
static void stored(void *ctx, const struct spool_place *place,
		   const struct err *err)
{
	struct one *one = ctx;
	struct act *act = one->act;

	if (err)
		act->err = *err;
	if (!err && !act->cancelled) {
		apply(one->envelope, act->state);
		act->done++;
	} else if (!act->cancelled) {
		one->envelope->acting = false;
	}
	if (--act->open == 0)
		act_end(act);
}

struct act *act_begin(struct store *store,
		      struct queue_envelope *const *envelopes, size_t count,
		      enum envelope_state state, const char *by,
		      const char *reason, act_done_fn *done, void *ctx)
{
	struct act *act = mem_alloc(sizeof(*act) + count * sizeof(*act->all));
	int64_t now = clock_wall_ms();

	act->open = count;
	act->state = state;
	act->told = done;
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

		act->all[i] = (struct one){ act, envelope };
		envelope->acting = true;
		if (state != ENVELOPE_WAITING && !envelope->held)
			queue_hold(envelope, false);
		store_state(store, envelope->mailbox->domain->plan, &record,
			    stored, &act->all[i]);
	}
	return act;
}

void act_cancel(struct act **act)
{
	if (*act)
		(*act)->cancelled = true;
	*act = NULL;
}
