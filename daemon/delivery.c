#include "daemon/delivery.h"
#include "base/clock.h"
#include "net/stream.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	CONNECT_MS = 30000,
	/* RFC 5321 section 4.5.3.2: five minutes for greeting and commands,
	 * three for a block of data. */
	COMMAND_MS = 300000,
	BLOCK_MS = 180000,
	LATE_MS = 2000, /* an envelope that follows waits no longer */
	CHUNK = 256 * 1024,
};

/* BEGIN records under way; they outlive a job that ends before they do. */
struct begins {
	struct delivery *delivery; /* NULL: nobody waits any more */
	size_t open;
};

struct delivery {
	struct loop *loop;
	struct store *store;
	const struct delivery_owner *owner;
	void *ctx;
	struct stream *stream;
	struct smtp_client *client;
	struct tls_client *tls;
	enum plan_tls policy;
	struct tls_terms *terms;
	char *name, *server_name;
	int64_t data_reply_ms;
	struct tls_info tls_info; /* all zero in clear text */
	char tls_text[1200];	  /* of the job */

	struct queue_envelope *claims[DELIVERY_MAX_RCPT];
	bool settled[DELIVERY_MAX_RCPT];
	size_t claim_count;
	bool has_job;
	struct begins *begins; /* of this job, until all are durable */
	bool begins_failed;
	struct spool_read *read;
	uint64_t body_at;
	bool body_wanted, body_sent;
	struct queue_envelope *next[DELIVERY_MAX_RCPT];
	struct tls_terms *next_terms;
	size_t next_count; /* 0: nothing follows, or no more */
	bool next_sent;	   /* its envelope has left */
	struct loop_timer *late;

	struct loop_timer *tell; /* callbacks leave from the loop */
	bool tell_idle, tell_end, tell_lack;
	struct smtp_reply lack; /* what the target cannot take */
	bool ended;
	enum smtp_stage end_stage;
	struct smtp_reply end_reply;
	char end_why[256];
};

static void flush(struct delivery *d)
{
	struct buf *out = smtp_client_out(d->client);

	if (out->len > 0 && d->stream) {
		stream_write(d->stream, buf_slice(out));
		buf_clear(out);
	}
}

static void end(struct delivery *d, enum smtp_stage stage,
		const struct smtp_reply *reply, const char *why)
{
	if (d->ended)
		return;
	loop_timer_stop(d->late);
	d->ended = true;
	d->end_stage = stage;
	d->end_reply = reply ? *reply : (struct smtp_reply){ 0 };
	snprintf(d->end_why, sizeof(d->end_why), "%.255s", why ? why : "");
	d->tell_idle = d->tell_lack = false;
	d->tell_end = true;
	loop_timer_arm(d->tell, 0);
}

static void job_end(struct delivery *d);
static void outcome_all(struct delivery *d, enum smtp_stage stage,
			const struct smtp_reply *reply);

static void tell_lack(struct delivery *d)
{
	d->tell_lack = false;
	job_end(d);
	outcome_all(d, SMTP_STAGE_MAIL, &d->lack);
}

static void tell(void *ctx)
{
	struct delivery *d = ctx;

	if (d->tell_end) {
		d->tell_end = false;
		d->owner->on_end(d->ctx, d, d->end_stage, &d->end_reply,
				 d->end_why[0] ? d->end_why : NULL);
	} else if (d->tell_lack) {
		tell_lack(d);
		d->tell_idle = true;
		loop_timer_arm(d->tell, 0);
	} else if (d->tell_idle) {
		d->tell_idle = false;
		d->owner->on_idle(d->ctx, d);
	}
}

static void outcome(struct delivery *d, size_t index, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	if (d->settled[index])
		return;
	d->settled[index] = true;
	d->owner->on_outcome(d->ctx, d, index, stage, reply);
}

static void outcome_all(struct delivery *d, enum smtp_stage stage,
			const struct smtp_reply *reply)
{
	for (size_t i = 0; i < d->claim_count; i++)
		outcome(d, i, stage, reply);
}

static void job_end(struct delivery *d)
{
	/* The records are kept all the same; an END will follow them. */
	if (d->begins)
		d->begins->delivery = NULL;
	d->begins = NULL;
	spool_read_cancel(&d->read);
	d->has_job = false;
	d->body_wanted = d->body_sent = false;
}

static bool lacks(struct delivery *d, int code, const char *enhanced,
		  const char *what)
{
	d->lack = (struct smtp_reply){ .code = code };
	snprintf(d->lack.enhanced, sizeof(d->lack.enhanced), "%s", enhanced);
	snprintf(d->lack.text, sizeof(d->lack.text),
		 "%s (its EHLO says so; nothing was sent)", what);
	return true;
}

/*
 * A message that needs what the target does not offer is not tried: it would
 * be refused, or worse, changed on the way (RFC 6152, 6531, 1870).
 */
static bool target_lacks(struct delivery *d,
			 const struct queue_message *message)
{
	const struct smtp_offers *offers = smtp_client_offers(d->client);

	if (message->utf8 && !offers->utf8)
		return lacks(d, 553, "5.6.7",
			     "the target does not offer SMTPUTF8, which the "
			     "addresses need");
	if (message->eightbit && !offers->eightbit)
		return lacks(d, 554, "5.6.3",
			     "the target does not offer 8BITMIME, and the "
			     "message has 8-bit bytes");
	if (offers->max_size > 0 && message->body_bytes > offers->max_size)
		return lacks(d, 552, "5.3.4",
			     "the message is larger than the target's SIZE");
	return false;
}

/* The transaction of a job; `paths` is room for its recipients. */
static struct smtp_transaction
transaction_of(struct queue_envelope *const *claims, size_t count,
	       const char **paths)
{
	const struct queue_message *message = claims[0]->message;

	for (size_t i = 0; i < count; i++)
		paths[i] = claims[i]->forward_path;
	return (struct smtp_transaction){
		.reverse_path = message->reverse_path,
		.forward_paths = paths,
		.count = count,
		.size = message->body_bytes,
		.body = message->eightbit ? SMTP_BODY_8BITMIME : SMTP_BODY_7BIT,
		.utf8 = message->utf8,
	};
}

/* What waits behind the message, while its reply is on the way. */
static void follow(struct delivery *d)
{
	const char *paths[DELIVERY_MAX_RCPT];
	struct smtp_transaction transaction;
	struct tls_terms *terms = NULL;

	if (!smtp_client_offers(d->client)->pipelining ||
	    smtp_client_stage(d->client) != SMTP_STAGE_DOT)
		return;
	d->next_count = d->owner->on_more(d->ctx, d, d->next, &terms);
	if (d->next_count == 0)
		return;
	tls_terms_free(d->next_terms);
	d->next_terms = tls_terms_share(terms);
	loop_timer_arm(d->late, LATE_MS);
	/* What the target cannot take is told when its turn comes. */
	if (target_lacks(d, d->next[0]->message))
		return;
	transaction = transaction_of(d->next, d->next_count, paths);
	smtp_client_follow(d->client, &transaction);
	d->next_sent = true;
}

static void late(void *ctx)
{
	struct delivery *d = ctx;

	d->owner->on_late(d->ctx, d);
	d->next_count = 0;
}

/* The body, once the client wants it: read and sent piece by piece. */

static void body_read(struct delivery *d);

static void body_end(struct delivery *d)
{
	/* Without a durable BEGIN a crash now could hide a delivery. */
	if (!d->body_wanted || !d->body_sent || d->begins)
		return;
	d->body_wanted = false;
	if (d->begins_failed) {
		struct smtp_reply none = { .text = "the spool cannot write" };

		outcome_all(d, SMTP_STAGE_DATA, &none);
		job_end(d);
		end(d, SMTP_STAGE_DATA, &none, none.text);
		return;
	}
	smtp_client_body_end(d->client);
	follow(d);
	flush(d);
	stream_deadline(d->stream, d->data_reply_ms);
}

static void body_came(void *ctx, struct slice bytes, const struct err *err)
{
	struct delivery *d = ctx;

	d->read = NULL;
	if (err) {
		struct smtp_reply none = { 0 };

		snprintf(none.text, sizeof(none.text), "%.500s", err->text);
		outcome_all(d, SMTP_STAGE_DATA, &none);
		job_end(d);
		end(d, SMTP_STAGE_DATA, &none, err->text);
		return;
	}
	smtp_client_body(d->client, bytes);
	flush(d);
	d->body_at += bytes.len;
	if (d->body_at < d->claims[0]->message->body_bytes) {
		stream_deadline(d->stream, BLOCK_MS);
		stream_wish_drained(d->stream);
		return;
	}
	d->body_sent = true;
	body_end(d);
}

static void body_read(struct delivery *d)
{
	const struct queue_message *message = d->claims[0]->message;

	d->read = spool_read_body(d->store->reader, &message->id,
				  &message->place, message->body_bytes,
				  d->body_at, CHUNK, body_came, d);
}

static void on_body(void *ctx)
{
	struct delivery *d = ctx;

	d->body_wanted = true;
	body_read(d);
}

static void on_drained(void *ctx)
{
	struct delivery *d = ctx;

	if (d->has_job && d->body_wanted && !d->body_sent && !d->read)
		body_read(d);
}

static void begin_done(void *ctx, const struct spool_place *place,
		       const struct err *err)
{
	struct begins *begins = ctx;
	struct delivery *d = begins->delivery;

	if (d && err)
		d->begins_failed = true;
	if (--begins->open > 0)
		return;
	free(begins);
	if (!d)
		return;
	d->begins = NULL;
	body_end(d);
}

static void begin_attempts(struct delivery *d)
{
	struct begins *begins = mem_alloc(sizeof(*begins));

	begins->delivery = d;
	begins->open = d->claim_count;
	d->begins = begins;
	for (size_t i = 0; i < d->claim_count; i++) {
		struct queue_envelope *claim = d->claims[i];
		struct record_attempt attempt = {
			.id = claim->message->id,
			.envelope = claim->index,
			.begin = true,
			.number = claim->attempts + 1,
			.at_ms = clock_wall_ms(),
			.target = slice(d->name),
			.tls = slice(d->tls_text),
		};

		store_attempt(d->store, claim->mailbox->domain->plan, &attempt,
			      begin_done, begins);
	}
}

/* `sent`: its envelope has left already. */
static void job_begin(struct delivery *d, struct queue_envelope *const *claims,
		      size_t count, const struct tls_terms *terms, bool sent)
{
	const char *paths[DELIVERY_MAX_RCPT];
	struct smtp_transaction transaction;

	assert(!d->has_job && !d->ended && count <= DELIVERY_MAX_RCPT);
	d->has_job = true;
	d->claim_count = count;
	d->body_at = 0;
	d->begins_failed = false;
	if (d->tls_info.active)
		tls_terms_describe(terms, &d->tls_info, d->tls_text,
				   sizeof(d->tls_text));
	memcpy(d->claims, claims, count * sizeof(*claims));
	memset(d->settled, 0, sizeof(d->settled));
	if (!sent && target_lacks(d, claims[0]->message)) {
		d->tell_lack = true;
		loop_timer_arm(d->tell, 0);
		return;
	}
	begin_attempts(d);
	if (!sent) {
		transaction = transaction_of(claims, count, paths);
		smtp_client_transaction(d->client, &transaction);
		flush(d);
	}
	stream_deadline(d->stream, COMMAND_MS);
}

bool delivery_meets(const struct delivery *d, const struct tls_terms *terms)
{
	return tls_terms_met(terms, &d->tls_info);
}

void delivery_job(struct delivery *d, struct queue_envelope *const *claims,
		  size_t count, struct tls_terms *terms)
{
	job_begin(d, claims, count, terms, false);
}

/* In place of being idle.  False: nothing follows, or it may not. */
static bool next_begin(struct delivery *d)
{
	size_t count = d->next_count;
	bool sent = d->next_sent;
	bool wanted = count > 0 && d->owner->on_next(d->ctx, d);

	loop_timer_stop(d->late);
	d->next_count = 0;
	d->next_sent = false;
	if (wanted)
		job_begin(d, d->next, count, d->next_terms, sent);
	else if (sent)
		smtp_client_reset(d->client);
	return wanted;
}

/* What the dialogue tells us. */

static bool tls_is_needed(const struct delivery *d)
{
	return d->policy != PLAN_TLS_OPPORTUNISTIC || d->terms;
}

static void on_ready(void *ctx, const struct smtp_offers *offers)
{
	struct delivery *d = ctx;

	if (tls_is_needed(d) && !d->tls_info.active) {
		struct smtp_reply reply = { .text = "no STARTTLS offered" };

		end(d, SMTP_STAGE_STARTTLS, &reply,
		    d->terms ? "the target does not offer STARTTLS" :
			       "the target does not offer STARTTLS, which the "
			       "plan requires");
		return;
	}
	d->tell_idle = true;
	loop_timer_arm(d->tell, 0);
}

static void on_starttls(void *ctx)
{
	struct delivery *d = ctx;

	stream_starttls_client(d->stream, d->tls, d->server_name, d->terms);
	stream_deadline(d->stream, CONNECT_MS);
}

static void on_rcpt(void *ctx, size_t index, const struct smtp_reply *reply)
{
	outcome(ctx, index, SMTP_STAGE_RCPT, reply);
}

static void on_done(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct delivery *d = ctx;

	job_end(d);
	outcome_all(d, stage, reply);
	/* A session that is over begins nothing. */
	if (d->ended || reply->code == 0 || reply->code == 421 || next_begin(d))
		return;
	stream_deadline(d->stream, COMMAND_MS);
	d->tell_idle = true;
	loop_timer_arm(d->tell, 0);
}

static void on_fail(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply, const char *why)
{
	end(ctx, stage, reply, why ? why : "the session failed");
}

static const struct smtp_client_owner client_owner = {
	.on_ready = on_ready,
	.on_starttls = on_starttls,
	.on_rcpt = on_rcpt,
	.on_body = on_body,
	.on_done = on_done,
	.on_fail = on_fail,
};

/* What the connection tells us. */

static void on_open(void *ctx)
{
	struct delivery *d = ctx;

	stream_deadline(d->stream, COMMAND_MS);
}

static void on_input(void *ctx)
{
	struct delivery *d = ctx;
	struct slice in = stream_peek(d->stream);

	smtp_client_feed(d->client, in);
	stream_consume(d->stream, in.len);
	flush(d);
}

static void on_tls(void *ctx)
{
	struct delivery *d = ctx;

	stream_tls_info(d->stream, &d->tls_info);
	stream_deadline(d->stream, COMMAND_MS);
	smtp_client_tls_started(d->client);
	flush(d);
}

static void on_stream_end(void *ctx, const char *why)
{
	struct delivery *d = ctx;
	enum smtp_stage stage = smtp_client_stage(d->client);
	const char *reason = why ? why : "the target closed the connection";

	if (!d->has_job && stage == SMTP_STAGE_QUIT)
		reason = NULL;
	if (d->tell_lack)
		tell_lack(d);
	else if (d->has_job)
		smtp_client_lost(d->client, reason);
	end(d, stage, NULL, reason);
}

static const struct stream_events stream_events = {
	.on_open = on_open,
	.on_input = on_input,
	.on_drained = on_drained,
	.on_tls = on_tls,
	.on_end = on_stream_end,
};

struct delivery *delivery_new(const struct delivery_spec *spec,
			      const struct delivery_owner *owner, void *ctx)
{
	struct delivery *d = mem_alloc(sizeof(*d));

	d->loop = spec->loop;
	d->store = spec->store;
	d->owner = owner;
	d->ctx = ctx;
	d->tls = spec->tls;
	d->policy = spec->policy;
	d->terms = tls_terms_share(spec->terms);
	d->name = mem_dup(spec->name);
	d->server_name = mem_dup(spec->server_name);
	d->data_reply_ms = spec->data_reply_ms;
	d->tell = loop_timer_new(spec->loop, tell, d);
	d->late = loop_timer_new(spec->loop, late, d);
	d->client = smtp_client_new(&client_owner, d, spec->helo,
				    spec->tls != NULL);
	d->stream = stream_connect(spec->loop, &spec->address, CONNECT_MS,
				   &stream_events, d);
	return d;
}

void delivery_free(struct delivery *d)
{
	if (!d)
		return;
	if (d->begins)
		d->begins->delivery = NULL;
	spool_read_cancel(&d->read);
	stream_free(d->stream);
	smtp_client_free(d->client);
	loop_timer_free(d->tell);
	loop_timer_free(d->late);
	free(d->name);
	free(d->server_name);
	tls_terms_free(d->terms);
	tls_terms_free(d->next_terms);
	free(d);
}

struct queue_envelope *delivery_claim(const struct delivery *d, size_t index)
{
	return d->claims[index];
}

size_t delivery_open_claims(const struct delivery *d,
			    struct queue_envelope *open[DELIVERY_MAX_RCPT])
{
	size_t count = 0;

	for (size_t i = 0; d->has_job && i < d->claim_count; i++)
		if (!d->settled[i])
			open[count++] = d->claims[i];
	return count;
}

size_t delivery_next_claims(const struct delivery *d,
			    struct queue_envelope *next[DELIVERY_MAX_RCPT])
{
	memcpy(next, d->next, d->next_count * sizeof(*next));
	return d->next_count;
}

bool delivery_is_over(const struct delivery *d)
{
	return d->ended;
}

void delivery_quit(struct delivery *d)
{
	assert(!d->has_job);
	d->tell_idle = false;
	smtp_client_quit(d->client);
	flush(d);
	stream_deadline(d->stream, CONNECT_MS);
}

const char *delivery_tls(const struct delivery *d)
{
	return d->tls_text;
}

const struct tls_terms *delivery_terms(const struct delivery *d)
{
	return d->terms;
}
