#include "daemon/store.h"
#include <stdlib.h>

struct stored {
	struct store *store;
	enum record_kind kind;
	struct buf payload; /* the index's copy, without a body */
	store_done_fn *done;
	void *ctx;
};

static void stored(void *ctx, const struct spool_place *place,
		   const struct err *err)
{
	struct stored *s = ctx;

	if (!err) {
		struct scan_record record = {
			.kind = s->kind,
			.segment = place->segment,
			.offset = place->offset,
			.body = place->body,
			.payload = buf_slice(&s->payload),
		};

		index_put(s->store->index, &record);
	}
	if (s->done)
		s->done(s->ctx, place, err);
	buf_release(&s->payload);
	free(s);
}

static void append(struct store *store, enum record_kind kind,
		   struct buf *payload, struct buf *body, store_done_fn *done,
		   void *ctx)
{
	struct stored *s = mem_alloc(sizeof(*s));

	s->store = store;
	s->kind = kind;
	s->done = done;
	s->ctx = ctx;
	buf_add(&s->payload, buf_slice(payload));
	spool_writer_append_take(store->spool, kind, payload, body, stored, s);
}

void store_message(struct store *store, const struct record_message *message,
		   struct buf *body, store_done_fn *done, void *ctx)
{
	struct buf payload = BUF_INIT;

	record_message_encode(message, &payload);
	append(store, RECORD_MESSAGE, &payload, body, done, ctx);
}

void store_attempt(struct store *store, const struct record_attempt *attempt,
		   store_done_fn *done, void *ctx)
{
	struct buf payload = BUF_INIT, body = BUF_INIT;

	record_attempt_encode(attempt, &payload);
	append(store, RECORD_ATTEMPT, &payload, &body, done, ctx);
}

void store_state(struct store *store, const struct record_state *state,
		 store_done_fn *done, void *ctx)
{
	struct buf payload = BUF_INIT, body = BUF_INIT;

	record_state_encode(state, &payload);
	append(store, RECORD_STATE, &payload, &body, done, ctx);
}

void store_again(struct store *store, struct buf *payload, struct buf *body,
		 store_done_fn *done, void *ctx)
{
	append(store, RECORD_MESSAGE, payload, body, done, ctx);
}
