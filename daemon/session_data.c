#include "daemon/session_data.h"
#include "base/clock.h"
#include "spool/sealed.h"
#include <stdlib.h>

enum {
	SIDE_PIECE = 64 * 1024,
	/* Of all messages that come in; then each goes to its file earlier. */
	BODIES_MAX = 64 * 1024 * 1024
};

/*
 * A record under way outlives its session: what is durable joins the queue
 * even when nobody is left to hear the 250.
 */
struct session_data {
	struct acceptance *acceptance;
	struct id id;
	char *reverse_path;
	bool eightbit, utf8;
	char *plan;
	struct slice *paths; /* of ours */
	size_t path_count;
	int64_t began_ms;
	struct buf body;
	struct spool_side *side;
	bool side_failed, lacked_space;
	bool expected; /* the spool's next batch may wait for it */
	struct err err;
	uint64_t body_bytes; /* that left `body` */
	size_t counted;	     /* of `body`, in acceptance->body_bytes */
	/* Of a plan that encrypts: held from the first byte on, so that the
	 * key cannot go, and nothing is kept without it. */
	struct data_key *key;
	struct sealed_body *seal;
	struct digest *digest;
	struct buf head; /* helo, peer, protocol, tls by NUL */
	const char *helo, *peer, *protocol, *tls;
	struct smtp_hops hops;
	session_data_fn *done;
	void *ctx;
	bool storing; /* `message` is under way: it points into all of this */
	bool orphan;  /* nobody is left: goes with its end */
	struct record_message message;
};

struct session_data *session_data_new(struct acceptance *acceptance,
				      struct slice reverse_path, bool utf8)
{
	struct session_data *data = mem_alloc(sizeof(*data));

	data->acceptance = acceptance;
	data->reverse_path = slice_dup(reverse_path);
	data->utf8 = utf8;
	return data;
}

static void expect(struct session_data *data, bool yes)
{
	if (data->expected != yes)
		spool_writer_expect(data->acceptance->store->spool, yes);
	data->expected = yes;
}

/* What `body` holds counts against the memory of all. */
static void count_body(struct session_data *data)
{
	data->acceptance->body_bytes += data->body.len - data->counted;
	data->counted = data->body.len;
}

void session_data_free(struct session_data *data)
{
	if (!data)
		return;
	expect(data, false);
	buf_clear(&data->body);
	count_body(data);
	if (data->storing) {
		data->orphan = true;
		return;
	}
	if (data->side)
		spool_side_abort(data->side);
	if (data->plan)
		data->acceptance->leave(data->acceptance->ctx, data->plan);
	for (size_t i = 0; i < data->path_count; i++)
		free((char *)(uintptr_t)data->paths[i].p);
	free(data->paths);
	free(data->reverse_path);
	free(data->plan);
	buf_release(&data->body);
	buf_release(&data->head);
	sealed_body_free(data->seal);
	if (data->key)
		data_key_let(data->key);
	digest_free(data->digest);
	free(data);
}

void session_data_recipient(struct session_data *data, const char *plan,
			    struct slice address)
{
	/* The same recipient twice is one envelope. */
	for (size_t i = 0; i < data->path_count; i++)
		if (slice_equal(address, data->paths[i]))
			return;
	if (!data->plan) {
		data->plan = mem_dup(plan);
		data->acceptance->enter(data->acceptance->ctx, plan);
	}
	data->paths = mem_grow(data->paths,
			       (data->path_count + 1) * sizeof(*data->paths));
	data->paths[data->path_count++] =
		slice_of(slice_dup(address), address.len);
}

size_t session_data_recipients(const struct session_data *data)
{
	return data->path_count;
}

const char *session_data_plan(const struct session_data *data)
{
	return data->plan;
}

bool session_data_lacked_space(const struct session_data *data)
{
	return data->lacked_space;
}

const struct id *session_data_id(const struct session_data *data)
{
	return &data->id;
}

/* The peer's word in a field that others parse: it neither opens a comment nor
 * ends the clause. */
static void add_helo(struct session_data *data, const char *helo)
{
	for (; *helo; helo++)
		buf_addc(&data->body,
			 strchr("<>()\\\",;@", *helo) ? '?' : *helo);
}

/* RFC 5321 section 4.4; `for` only where it tells nobody about others. */
static void add_trace(struct session_data *data,
		      const struct session_origin *origin)
{
	bool one = data->path_count == 1;
	char date[CLOCK_TEXT];
	const char *const pieces[] = {
		" (",
		origin->peer_literal,
		")\r\n\tby ",
		origin->hostname,
		" with ",
		origin->protocol,
		origin->tls[0] ? "\r\n\t(" : "",
		origin->tls,
		origin->tls[0] ? ") id " : " id ",
		data->id.text,
		one ? "\r\n\tfor <" : "",
		one ? data->paths[0].p : "",
		one ? ">;\r\n\t" : ";\r\n\t",
		clock_format_mail(data->began_ms, date),
		"\r\n",
	};

	buf_adds(&data->body, "Received: from ");
	add_helo(data, origin->helo);
	for (size_t i = 0; i < COUNT(pieces); i++)
		buf_adds(&data->body, pieces[i]);
}

/* Returns the offset: the buffer may still move. */
static size_t keep_text(struct session_data *data, const char *text)
{
	size_t at = data->head.len;

	buf_add(&data->head, slice_of(text, strlen(text) + 1));
	return at;
}

void session_data_begin(struct session_data *data,
			const struct session_origin *origin)
{
	size_t helo, peer, protocol, tls;

	data->began_ms = clock_wall_ms();
	data->id = id_new(data->began_ms);
	helo = keep_text(data, origin->helo);
	peer = keep_text(data, origin->peer);
	protocol = keep_text(data, origin->protocol);
	tls = keep_text(data, origin->tls);
	data->helo = data->head.p + helo;
	data->peer = data->head.p + peer;
	data->protocol = data->head.p + protocol;
	data->tls = data->head.p + tls;
	data->digest = digest_new();
	if (data->acceptance->store->keyring)
		data->key = keyring_find(data->acceptance->store->keyring,
					 data->plan);
	if (data->key)
		data_key_hold(data->key);
	expect(data, true);
	smtp_hops_begin(&data->hops, origin->hostname);
	buf_reserve(&data->body, 8192);
	add_trace(data, origin);
}

/* The rest is read and dropped; nothing was promised. */
static void give_up(struct session_data *data)
{
	if (data->side)
		spool_side_abort(data->side);
	data->side = NULL;
	data->side_failed = true;
}

/* What is in `body`, as it will stand in the spool. */
static int seal_body(struct session_data *data, bool last)
{
	struct keyring *keyring = data->acceptance->store->keyring;
	struct buf sealed = BUF_INIT;

	data->body_bytes += data->body.len;
	if (!data->key)
		return 0;
	if (!data->seal)
		data->seal = sealed_body_new(keyring, data->key, &data->id,
					     &data->err);
	if (!data->seal ||
	    sealed_body_add(data->seal, buf_slice(&data->body), &sealed,
			    &data->err) < 0 ||
	    (last && sealed_body_end(data->seal, &sealed, &data->err) < 0)) {
		buf_release(&sealed);
		return -1;
	}
	buf_release(&data->body);
	data->body = sealed;
	return 0;
}

static void to_side(struct session_data *data, bool last)
{
	expect(data, false); /* a large one takes its time */
	if (!data->side && !data->side_failed) {
		data->side = spool_side_new(data->acceptance->store->spool,
					    &data->id, &data->err);
		data->side_failed = !data->side;
	}
	if (data->side && !data->side_failed &&
	    !data->acceptance->room(data->acceptance->ctx, data->body.len)) {
		err_set(&data->err, "not enough space");
		data->lacked_space = true;
		give_up(data);
	}
	if (data->side && !data->side_failed && seal_body(data, last) < 0)
		give_up(data);
	if (data->side_failed) {
		buf_clear(&data->body);
		return;
	}
	spool_side_write_take(data->side, &data->body);
	data->body = (struct buf)BUF_INIT;
}

void session_data_bytes(struct session_data *data, struct slice bytes)
{
	smtp_hops_add(&data->hops, bytes);
	digest_add(data->digest, bytes);
	if (!data->eightbit)
		data->eightbit = slice_has_8bit(bytes);
	buf_add(&data->body, bytes);
	if (data->body.len > RECORD_BODY_INLINE || data->side_failed ||
	    (data->body.len >= SIDE_PIECE &&
	     (data->side || data->acceptance->body_bytes > BODIES_MAX)))
		to_side(data, false);
	count_body(data);
}

bool session_data_is_full(const struct session_data *data)
{
	return data->side && spool_side_is_full(data->side);
}

void session_data_on_room(struct session_data *data, loop_fn *room, void *ctx)
{
	spool_side_on_room(data->side, room, ctx);
}

const struct smtp_hops *session_data_hops(const struct session_data *data)
{
	return &data->hops;
}

/* The end of what is under way, whoever still hears it. */
static void tell(struct session_data *data, const struct err *err)
{
	if (!data->orphan)
		data->done(data->ctx, &data->id, err);
	data->storing = false;
	if (data->orphan)
		session_data_free(data);
}

static void kept(void *ctx, const struct spool_place *place,
		 const struct err *err)
{
	struct session_data *data = ctx;

	data->side = NULL;
	/* From here on its envelopes in the queue hold the key. */
	if (!err)
		data->acceptance->accepted(data->acceptance->ctx,
					   &data->message, place);
	tell(data, err);
}

static void side_failed(void *ctx)
{
	struct session_data *data = ctx;

	tell(data, &data->err);
}

void session_data_end(struct session_data *data, session_data_fn *done,
		      void *ctx)
{
	struct record_message *message = &data->message;

	data->done = done;
	data->ctx = ctx;
	expect(data, false);
	if (data->side)
		to_side(data, true);
	else if (!data->side_failed && seal_body(data, true) < 0)
		give_up(data);
	data->storing = true;
	if (data->side_failed) {
		loop_post(data->acceptance->loop, side_failed, data);
		return;
	}
	*message = (struct record_message){
		.id = data->id,
		.sequence = data->acceptance->sequence(data->acceptance->ctx),
		.accepted_ms = clock_wall_ms(),
		.plan = slice(data->plan),
		.reverse_path = slice(data->reverse_path),
		.helo = slice(data->helo),
		.peer = slice(data->peer),
		.protocol = slice(data->protocol),
		.tls = slice(data->tls),
		.eightbit = data->eightbit,
		.utf8 = data->utf8,
		.sealed = data->seal != NULL,
		.body_bytes = data->body_bytes,
		.envelope_count = data->path_count,
		.forward_paths = data->paths,
		.side_file = data->side != NULL,
	};
	digest_end(data->digest, message->sha256);
	if (data->side)
		spool_side_end(data->side);
	store_message(data->acceptance->store, message, &data->body, kept,
		      data);
	data->body = (struct buf)BUF_INIT;
	count_body(data);
}
