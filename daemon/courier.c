#include "daemon/courier.h"
#include "net/stream.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	CONNECT_MS = 30000,
	/* RFC 5321 section 4.5.3.2, as in delivery.c. */
	COMMAND_MS = 300000,
	BLOCK_MS = 180000,
	CHUNK = 256 * 1024,
	FINISH_MS = 5000,
	MAX_ADDRS = 8
};

struct token {
	struct courier *courier; /* NULL: it is gone */
};

struct courier {
	struct courier_spec spec;
	char *host, *helo;
	struct addr addrs[MAX_ADDRS];
	size_t addr_count, addr_next;
	struct token *token; /* a resolve under way */
	struct stream *stream;
	struct smtp_client *client;
	bool ready, unreachable, lacks_tls, domain_alone;
	struct tls_terms *terms;  /* of the parcel, or NULL */
	struct tls_info tls_info; /* all zero in clear text */
	struct trust_waiter waiter;
	char tls_text[1200], peer[ADDR_TEXT];
	/* The parcel, from carry to done. */
	struct courier_parcel parcel;
	courier_done_fn *done;
	void *ctx;
	bool carrying; /* no outcome yet */
	bool in_transaction, body_wanted;
	struct smtp_reply refusal; /* of the recipient */
	struct spool_read *read;
	uint64_t body_at;
	/* What the loop does next, outside every callback. */
	struct loop_timer *turn;
	bool drop, again, tell;
	enum smtp_stage stage;
	struct smtp_reply reply;
};

static void flush(struct courier *c)
{
	struct buf *out = smtp_client_out(c->client);

	if (out->len > 0 && c->stream) {
		stream_write(c->stream, buf_slice(out));
		buf_clear(out);
	}
}

static void session_free(struct courier *c)
{
	stream_free(c->stream);
	c->stream = NULL;
	smtp_client_free(c->client);
	c->client = NULL;
	c->tls_info = (struct tls_info){ 0 };
	c->ready = c->drop = false;
}

/* The outcome of the parcel; told from the loop. */
static void outcome(struct courier *c, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	if (!c->carrying)
		return;
	c->carrying = c->in_transaction = c->body_wanted = false;
	spool_read_cancel(&c->read);
	c->stage = stage;
	c->reply = *reply;
	c->tell = true;
	loop_timer_arm(c->turn, 0);
}

static void outcome_none(struct courier *c, enum smtp_stage stage,
			 const char *why)
{
	struct smtp_reply none = { 0 };

	snprintf(none.text, sizeof(none.text), "%.500s", why);
	outcome(c, stage, &none);
}

/* The session is of no more use. */
static void lost(struct courier *c, enum smtp_stage stage,
		 const struct smtp_reply *reply, const char *why)
{
	char demanded[500];

	c->drop = true;
	loop_timer_arm(c->turn, 0);
	if (stage == SMTP_STAGE_STARTTLS && c->terms && why) {
		snprintf(demanded, sizeof(demanded), "%s; demanded by %s", why,
			 c->terms->why);
		why = demanded;
		trust_forget(c->spec.trust);
	}
	if (c->carrying && !c->ready && c->addr_next < c->addr_count) {
		c->again = true;
		return;
	}
	c->unreachable = !c->ready;
	c->domain_alone = c->unreachable && stage == SMTP_STAGE_STARTTLS &&
			  c->terms && c->terms->verified;
	c->ready = false;
	if (reply && reply->code)
		outcome(c, stage, reply);
	else
		outcome_none(c, stage, why ? why : "the session failed");
}

/* The transaction. */

static bool lacks(struct courier *c, int code, const char *enhanced,
		  const char *what)
{
	struct smtp_reply reply = { .code = code };

	snprintf(reply.enhanced, sizeof(reply.enhanced), "%s", enhanced);
	snprintf(reply.text, sizeof(reply.text),
		 "%s (its EHLO says so; nothing was sent)", what);
	outcome(c, SMTP_STAGE_MAIL, &reply);
	return true;
}

/* RFC 6531, 6152 and 1870: what is not offered is not tried. */
static bool host_lacks(struct courier *c)
{
	const struct smtp_offers *offers = smtp_client_offers(c->client);

	if (c->parcel.utf8 && !offers->utf8)
		return lacks(c, 553, "5.6.7",
			     "the host does not offer SMTPUTF8, which the "
			     "addresses need");
	if (c->parcel.eightbit && !offers->eightbit)
		return lacks(c, 554, "5.6.3",
			     "the host does not offer 8BITMIME, and the "
			     "message has 8-bit bytes");
	if (offers->max_size > 0 && c->parcel.bytes > offers->max_size)
		return lacks(c, 552, "5.3.4",
			     "the message is larger than the host's SIZE");
	return false;
}

static void begin(struct courier *c)
{
	const char *const paths[] = { c->parcel.forward_path };

	if (host_lacks(c))
		return;
	c->in_transaction = true;
	c->body_at = 0;
	c->refusal = (struct smtp_reply){ 0 };
	smtp_client_transaction(c->client,
				&(struct smtp_transaction){
					.reverse_path = c->parcel.reverse_path,
					.forward_paths = paths,
					.count = 1,
					.size = c->parcel.bytes,
					.body = c->parcel.eightbit ?
							SMTP_BODY_8BITMIME :
							SMTP_BODY_7BIT,
					.utf8 = c->parcel.utf8,
				});
	flush(c);
	stream_deadline(c->stream, COMMAND_MS);
}

static void body_end(struct courier *c)
{
	c->body_wanted = false;
	smtp_client_body_end(c->client);
	flush(c);
	stream_deadline(c->stream, c->spec.data_reply_ms);
}

static void body_came(void *ctx, struct slice bytes, const struct err *err)
{
	struct courier *c = ctx;

	c->read = NULL;
	if (err) {
		/* Half a message must not end with a dot. */
		lost(c, SMTP_STAGE_DATA, NULL, err->text);
		return;
	}
	smtp_client_body(c->client, bytes);
	flush(c);
	c->body_at += bytes.len;
	if (c->body_at >= c->parcel.bytes) {
		body_end(c);
		return;
	}
	stream_deadline(c->stream, BLOCK_MS);
	stream_wish_drained(c->stream);
}

static void body_read(struct courier *c)
{
	c->read = spool_read_body(c->spec.reader, &c->parcel.id,
				  &c->parcel.place, c->parcel.bytes, c->body_at,
				  CHUNK, body_came, c);
}

static void on_body(void *ctx)
{
	struct courier *c = ctx;

	if (!c->parcel.text) {
		c->body_wanted = true;
		body_read(c);
		return;
	}
	smtp_client_body(c->client,
			 slice_of(c->parcel.text, (size_t)c->parcel.bytes));
	body_end(c);
}

static void on_rcpt(void *ctx, size_t index, const struct smtp_reply *reply)
{
	struct courier *c = ctx;

	c->refusal = *reply;
}

static void on_done(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct courier *c = ctx;

	if (c->refusal.code)
		outcome(c, SMTP_STAGE_RCPT, &c->refusal);
	else
		outcome(c, stage, reply);
	if (c->stream)
		stream_deadline(c->stream, COMMAND_MS);
}

/* The session. */

static void on_ready(void *ctx, const struct smtp_offers *offers)
{
	struct courier *c = ctx;

	if ((c->spec.policy != PLAN_TLS_OPPORTUNISTIC || c->terms) &&
	    !c->tls_info.active) {
		c->lacks_tls = true;
		lost(c, SMTP_STAGE_STARTTLS, NULL,
		     c->terms ? "the host does not offer STARTTLS" :
				"the host does not offer STARTTLS, which the "
				"plan requires");
		return;
	}
	c->ready = true;
	if (c->carrying)
		begin(c);
}

static void on_starttls(void *ctx)
{
	struct courier *c = ctx;

	stream_starttls_client(c->stream, c->spec.tls, c->host, c->terms);
	stream_deadline(c->stream, CONNECT_MS);
}

static void on_fail(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply, const char *why)
{
	lost(ctx, stage, reply, why);
}

static const struct smtp_client_owner client_owner = {
	.on_ready = on_ready,
	.on_starttls = on_starttls,
	.on_rcpt = on_rcpt,
	.on_body = on_body,
	.on_done = on_done,
	.on_fail = on_fail,
};

static void on_open(void *ctx)
{
	struct courier *c = ctx;

	stream_deadline(c->stream, COMMAND_MS);
}

static void on_input(void *ctx)
{
	struct courier *c = ctx;
	struct slice in = stream_peek(c->stream);

	smtp_client_feed(c->client, in);
	stream_consume(c->stream, in.len);
	flush(c);
}

static void on_drained(void *ctx)
{
	struct courier *c = ctx;

	/* It may be what was left of the parcel before that has drained. */
	if (c->body_wanted && !c->read && !c->drop)
		body_read(c);
}

static void describe(struct courier *c)
{
	if (c->tls_info.active)
		tls_terms_describe(c->terms, &c->tls_info, c->tls_text,
				   sizeof(c->tls_text));
}

static void on_tls(void *ctx)
{
	struct courier *c = ctx;

	stream_tls_info(c->stream, &c->tls_info);
	describe(c);
	stream_deadline(c->stream, COMMAND_MS);
	smtp_client_tls_started(c->client);
	flush(c);
}

static void on_stream_end(void *ctx, const char *why)
{
	struct courier *c = ctx;
	enum smtp_stage stage = smtp_client_stage(c->client);
	const char *reason = why ? why : "the host closed the connection";

	c->lacks_tls = stream_tls_refused(c->stream);
	if (c->in_transaction)
		smtp_client_lost(c->client, reason);
	lost(c, stage, NULL, reason);
}

static const struct stream_events stream_events = {
	.on_open = on_open,
	.on_input = on_input,
	.on_drained = on_drained,
	.on_tls = on_tls,
	.on_end = on_stream_end,
};

static struct trust_answer look_at_terms(struct courier *c)
{
	struct trust_answer answer = { .state = TRUST_KNOWN };

	if (c->spec.trust)
		answer = trust_look(c->spec.trust, c->parcel.domain);
	if (answer.state == TRUST_KNOWN) {
		tls_terms_free(c->terms);
		c->terms = tls_terms_share(answer.terms);
	}
	return answer;
}

/* What the session must prove; false: it does not begin now. */
static bool find_terms(struct courier *c)
{
	struct trust_answer answer = look_at_terms(c);

	if (answer.state == TRUST_ASKING) {
		trust_wait(c->spec.trust, &c->waiter);
	} else if (answer.state != TRUST_KNOWN) {
		c->unreachable = true;
		c->lacks_tls = answer.state == TRUST_REFUSED;
		c->domain_alone = answer.of_domain;
		outcome_none(c,
			     c->lacks_tls ? SMTP_STAGE_STARTTLS :
					    SMTP_STAGE_CONNECT,
			     answer.why);
	}
	return answer.state == TRUST_KNOWN;
}

static void connect_next(struct courier *c)
{
	const struct addr *to = &c->addrs[c->addr_next];

	c->lacks_tls = false;
	if (!find_terms(c))
		return;
	c->addr_next++;
	c->tls_text[0] = '\0';
	addr_format(to, c->peer);
	c->client =
		smtp_client_new(&client_owner, c, c->helo, c->spec.tls != NULL);
	c->stream =
		stream_connect(c->spec.loop, to, CONNECT_MS, &stream_events, c);
}

static void terms_came(void *ctx)
{
	connect_next(ctx);
}

static void resolved(void *ctx, const struct addr *addrs, size_t count,
		     const char *why)
{
	struct token *token = ctx;
	struct courier *c = token->courier;

	free(token);
	if (!c)
		return;
	c->token = NULL;
	c->addr_count = count < MAX_ADDRS ? count : MAX_ADDRS;
	for (size_t i = 0; i < c->addr_count; i++)
		c->addrs[i] = addrs[i];
	if (c->addr_count > 0) {
		connect_next(c);
		return;
	}
	c->unreachable = true;
	outcome_none(c, SMTP_STAGE_CONNECT, why ? why : "no address");
}

static void find_host(struct courier *c)
{
	c->addr_next = 0;
	if (addr_from_ip(slice(c->host), c->spec.port, &c->addrs[0], NULL) ==
	    0) {
		c->addr_count = 1;
		connect_next(c);
		return;
	}
	if (!c->spec.resolver) {
		c->unreachable = true;
		outcome_none(c, SMTP_STAGE_CONNECT, "no resolver for its name");
		return;
	}
	c->token = mem_alloc(sizeof(*c->token));
	c->token->courier = c;
	dns_resolve_host(c->spec.resolver, c->host, c->spec.port, resolved,
			 c->token);
}

static void turn(void *ctx)
{
	struct courier *c = ctx;

	if (c->drop)
		session_free(c);
	if (c->again) {
		c->again = false;
		connect_next(c);
	}
	if (c->tell) {
		/* What runs now may free the courier. */
		struct smtp_reply reply = c->reply;

		c->tell = false;
		c->done(c->ctx, c->stage, &reply);
	}
}

struct courier *courier_new(const struct courier_spec *spec)
{
	struct courier *c = mem_alloc(sizeof(*c));

	c->spec = *spec;
	c->host = mem_dup(spec->host);
	c->helo = mem_dup(spec->helo);
	c->turn = loop_timer_new(spec->loop, turn, c);
	list_init(&c->waiter.link);
	c->waiter.fn = terms_came;
	c->waiter.ctx = c;
	return c;
}

static void leave(struct courier *c)
{
	if (c->ready && !c->drop && c->stream) {
		smtp_client_quit(c->client);
		flush(c);
		stream_finish(c->stream, FINISH_MS);
		c->stream = NULL;
	}
	session_free(c);
}

void courier_free(struct courier *c)
{
	if (!c)
		return;
	spool_read_cancel(&c->read);
	if (c->carrying)
		session_free(c);
	leave(c);
	tls_terms_free(c->terms);
	list_remove(&c->waiter.link);
	if (c->token)
		c->token->courier = NULL;
	loop_timer_free(c->turn);
	free(c->host);
	free(c->helo);
	free(c);
}

void courier_carry(struct courier *c, const struct courier_parcel *parcel,
		   courier_done_fn *done, void *ctx)
{
	assert(!c->carrying && !c->tell);
	c->parcel = *parcel;
	c->done = done;
	c->ctx = ctx;
	c->carrying = true;
	c->unreachable = c->lacks_tls = c->domain_alone = false;
	if (c->drop)
		session_free(c);
	if (c->ready && look_at_terms(c).state == TRUST_KNOWN &&
	    tls_terms_met(c->terms, &c->tls_info)) {
		describe(c);
		begin(c);
		return;
	}
	leave(c);
	find_host(c);
}

const char *courier_tls(const struct courier *c)
{
	return c->tls_text;
}

const char *courier_peer(const struct courier *c)
{
	return c->peer;
}

void courier_give_up(struct courier *c, const char *why)
{
	enum smtp_stage stage =
		c->client ? smtp_client_stage(c->client) : SMTP_STAGE_CONNECT;

	list_remove(&c->waiter.link);
	if (c->token)
		c->token->courier = NULL;
	c->token = NULL;
	c->unreachable = !c->ready;
	c->ready = c->again = false;
	c->drop = true;
	outcome_none(c, stage, why);
}

bool courier_is_unreachable(const struct courier *c)
{
	return c->unreachable;
}

bool courier_lacks_tls(const struct courier *c)
{
	return c->lacks_tls;
}

bool courier_fails_domain_alone(const struct courier *c)
{
	return c->domain_alone;
}
