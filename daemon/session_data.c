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
struct keeping {
	struct acceptance *acceptance;
	struct session_data *data; /* NULL: the session is gone */
	struct record_message message;
	struct buf text; /* what the message's slices point to */
	struct slice *paths;
	struct sealed_body *seal; /* holds the key until all is durable */
};

struct session_data {
	struct acceptance *acceptance;
	struct id id;
	char *reverse_path;
	bool eightbit, utf8;
	char *plan;
	char **paths;
	size_t path_count;
	int64_t began_ms;
	struct buf body;
	struct spool_side *side;
	bool side_failed, lacked_space;
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
	struct keeping *keeping;
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
	buf_clear(&data->body);
	count_body(data);
	if (data->keeping)
		data->keeping->data = NULL;
	else if (data->side)
		spool_side_abort(data->side);
	for (size_t i = 0; i < data->path_count; i++)
		free(data->paths[i]);
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
		if (slice_is(address, data->paths[i]))
			return;
	if (!data->plan)
		data->plan = mem_dup(plan);
	data->paths = mem_grow(data->paths,
			       (data->path_count + 1) * sizeof(*data->paths));
	data->paths[data->path_count++] = slice_dup(address);
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

/* RFC 5321 section 4.4; `for` only where it tells nobody about others. */
static void add_trace(struct session_data *data,
		      const struct session_origin *origin)
{
	char date[CLOCK_TEXT];

	buf_addf(&data->body, "Received: from %s (%s)\r\n\tby %s with %s",
		 origin->helo, origin->peer_literal, origin->hostname,
		 origin->protocol);
	if (origin->tls[0])
		buf_addf(&data->body, "\r\n\t(%s)", origin->tls);
	buf_addf(&data->body, " id %s", data->id.text);
	if (data->path_count == 1)
		buf_addf(&data->body, "\r\n\tfor <%s>", data->paths[0]);
	buf_addf(&data->body, ";\r\n\t%s\r\n",
		 clock_format_mail(data->began_ms, date));
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

static void kept(void *ctx, const struct spool_place *place,
		 const struct err *err)
{
	struct keeping *keeping = ctx;
	struct session_data *data = keeping->data;

	if (!err)
		keeping->acceptance->accepted(keeping->acceptance->ctx,
					      &keeping->message, place);
	if (data) {
		data->keeping = NULL;
		data->side = NULL;
		data->done(data->ctx, &data->id, err);
	}
	/* Its envelopes are in the queue by now: they hold the key. */
	sealed_body_free(keeping->seal);
	buf_release(&keeping->text);
	free(keeping->paths);
	free(keeping);
}

static struct slice keep(struct keeping *keeping, const char *text)
{
	size_t at = keeping->text.len;

	buf_adds(&keeping->text, text);
	return slice_of(keeping->text.p + at, keeping->text.len - at);
}

static size_t text_size(const struct session_data *data)
{
	size_t size = strlen(data->plan) + strlen(data->reverse_path) +
		      data->head.len;

	for (size_t i = 0; i < data->path_count; i++)
		size += strlen(data->paths[i]);
	return size;
}

static void side_failed(void *ctx)
{
	struct keeping *keeping = ctx;
	struct session_data *data = keeping->data;

	if (data) {
		data->keeping = NULL;
		data->done(data->ctx, &data->id, &data->err);
	}
	free(keeping);
}

void session_data_end(struct session_data *data, session_data_fn *done,
		      void *ctx)
{
	struct keeping *keeping;
	struct record_message *message;

	data->done = done;
	data->ctx = ctx;
	if (data->side)
		to_side(data, true);
	else if (!data->side_failed && seal_body(data, true) < 0)
		give_up(data);
	keeping = mem_alloc(sizeof(*keeping));
	keeping->acceptance = data->acceptance;
	keeping->data = data;
	if (data->side_failed) {
		data->keeping = keeping;
		loop_post(data->acceptance->loop, side_failed, keeping);
		return;
	}
	/* Reserved whole: the slices below must not move. */
	buf_reserve(&keeping->text, text_size(data));
	keeping->paths = mem_alloc(data->path_count * sizeof(struct slice));
	for (size_t i = 0; i < data->path_count; i++)
		keeping->paths[i] = keep(keeping, data->paths[i]);
	message = &keeping->message;
	*message = (struct record_message){
		.id = data->id,
		.sequence = data->acceptance->sequence(data->acceptance->ctx),
		.accepted_ms = clock_wall_ms(),
		.plan = keep(keeping, data->plan),
		.reverse_path = keep(keeping, data->reverse_path),
		.helo = keep(keeping, data->helo),
		.peer = keep(keeping, data->peer),
		.protocol = keep(keeping, data->protocol),
		.tls = keep(keeping, data->tls),
		.eightbit = data->eightbit,
		.utf8 = data->utf8,
		.sealed = data->seal != NULL,
		.body_bytes = data->body_bytes,
		.envelope_count = data->path_count,
		.forward_paths = keeping->paths,
		.side_file = data->side != NULL,
	};
	digest_end(data->digest, message->sha256);
	data->keeping = keeping;
	keeping->seal = data->seal;
	data->seal = NULL;
	if (data->side)
		spool_side_end(data->side);
	store_message(data->acceptance->store, message, &data->body, kept,
		      keeping);
	data->body = (struct buf)BUF_INIT;
	count_body(data);
}
