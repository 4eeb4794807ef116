#include "daemon/store.h"
#include "spool/sealed.h"
#include <assert.h>
#include <stdlib.h>

struct stored {
	struct store *store;
	enum record_kind kind;
	struct data_key *key; /* held until it is durable, or NULL */
	store_done_fn *done;
	void *ctx;
};

static void stored_free(struct stored *s)
{
	if (s->key)
		data_key_let(s->key);
	free(s);
}

static void stored(void *ctx, const struct spool_place *place,
		   struct slice payload, const struct err *err)
{
	struct stored *s = ctx;
	struct spool_place at;

	if (!err) {
		struct scan_record record = {
			.kind = s->kind,
			.segment = place->segment,
			.offset = place->offset,
			.body = place->body,
			.payload = payload,
		};

		index_put(s->store->index, &record);
	}
	at = *place;
	at.sealed =
		s->kind == RECORD_MESSAGE && record_message_is_sealed(payload);
	if (s->done)
		s->done(s->ctx, &at, err);
	stored_free(s);
}

/* `key` may be NULL. */
static struct stored *stored_new(struct store *store, enum record_kind kind,
				 struct data_key *key, store_done_fn *done,
				 void *ctx)
{
	struct stored *s = mem_alloc(sizeof(*s));

	s->store = store;
	s->kind = kind;
	s->key = key;
	s->done = done;
	s->ctx = ctx;
	if (key)
		data_key_hold(key);
	return s;
}

static void append(struct stored *s, struct buf *payload, struct buf *body)
{
	spool_writer_append_take(s->store->spool, s->kind, payload, body,
				 stored, s);
}

static struct data_key *key_of(struct store *store, struct slice plan)
{
	struct data_key *key;
	char *name;

	if (!store->keyring)
		return NULL;
	name = slice_dup(plan);
	key = keyring_find(store->keyring, name);
	free(name);
	return key;
}

void store_message(struct store *store, const struct record_message *message,
		   struct buf *body, store_done_fn *done, void *ctx)
{
	struct data_key *key = key_of(store, message->plan);
	struct stored *s = stored_new(store, RECORD_MESSAGE, key, done, ctx);
	struct buf payload = BUF_INIT, text = BUF_INIT;
	struct record_message sealed;
	struct slice *paths = NULL;

	/* Its body is sealed, and holds the key until this is durable. */
	assert(message->sealed == (key != NULL));
	if (key) {
		int result;

		paths = mem_alloc(message->envelope_count * sizeof(*paths));
		result = sealed_message(store->keyring, key, message, &text,
					paths, &sealed, NULL);
		assert(result == 0);
		(void)result;
		message = &sealed;
	}
	record_message_encode(message, &payload);
	append(s, &payload, body);
	buf_release(&text);
	free(paths);
}

/*
 * A text that is sealed if the plan encrypts.  Should the key be gone, the
 * record is kept without it: what became of an envelope matters more.
 */
static struct slice seal_text(struct store *store, struct data_key *key,
			      enum sealed_field field, const struct id *id,
			      uint32_t envelope, struct slice plain,
			      struct buf *text)
{
	if (!key)
		return plain;
	sealed_text_add(store->keyring, key, field, id, envelope, plain, text,
			NULL);
	return buf_slice(text);
}

void store_attempt(struct store *store, const char *plan,
		   const struct record_attempt *attempt, store_done_fn *done,
		   void *ctx)
{
	struct data_key *key = key_of(store, slice(plan));
	struct stored *s = stored_new(store, RECORD_ATTEMPT, key, done, ctx);
	struct buf payload = BUF_INIT, body = BUF_INIT, text = BUF_INIT;
	struct record_attempt sealed = *attempt;

	if (!sealed.begin)
		sealed.reply = seal_text(store, key, SEALED_REPLY, &sealed.id,
					 sealed.envelope, sealed.reply, &text);
	record_attempt_encode(&sealed, &payload);
	append(s, &payload, &body);
	buf_release(&text);
}

void store_state(struct store *store, const char *plan,
		 const struct record_state *state, store_done_fn *done,
		 void *ctx)
{
	struct data_key *key = key_of(store, slice(plan));
	struct stored *s = stored_new(store, RECORD_STATE, key, done, ctx);
	struct buf payload = BUF_INIT, body = BUF_INIT, text = BUF_INIT;
	struct record_state sealed = *state;

	sealed.reason = seal_text(store, key, SEALED_REASON, &sealed.id,
				  sealed.envelope, sealed.reason, &text);
	record_state_encode(&sealed, &payload);
	append(s, &payload, &body);
	buf_release(&text);
}

void store_again(struct store *store, struct buf *payload, struct buf *body,
		 store_done_fn *done, void *ctx)
{
	append(stored_new(store, RECORD_MESSAGE, NULL, done, ctx), payload,
	       body);
}
