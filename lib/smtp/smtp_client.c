#include "smtp/smtp_client.h"

#include "smtp/smtp_data.h"
#include "smtp/smtp_ehlo.h"
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Whose reply is awaited; in READY, TLS, BODY and DEAD none is. */
enum state {
	GREETING,
	EHLO,
	HELO,
	STARTTLS,
	TLS,
	READY,
	MAIL,
	RCPT,
	DATA,
	BODY,
	DOT,
	RSET,
	QUIT,
	DEAD
};

static const enum smtp_stage stages[] = {
	[GREETING] = SMTP_STAGE_GREETING, [EHLO] = SMTP_STAGE_EHLO,
	[HELO] = SMTP_STAGE_EHLO,	  [STARTTLS] = SMTP_STAGE_STARTTLS,
	[TLS] = SMTP_STAGE_STARTTLS,	  [READY] = SMTP_STAGE_MAIL,
	[MAIL] = SMTP_STAGE_MAIL,	  [RCPT] = SMTP_STAGE_RCPT,
	[DATA] = SMTP_STAGE_DATA,	  [BODY] = SMTP_STAGE_DATA,
	[DOT] = SMTP_STAGE_DOT,		  [RSET] = SMTP_STAGE_MAIL,
	[QUIT] = SMTP_STAGE_QUIT,
};

struct envelope {
	char *mail; /* the command */
	char **rcpts;
	size_t count; /* 0: none */
	bool only;    /* without a message */
};

struct smtp_client {
	const struct smtp_client_owner *owner;
	void *ctx;
	char *helo;
	bool want_starttls, in_tls;

	enum state state;
	enum smtp_stage end_stage; /* where it died */
	struct smtp_ehlo ehlo;
	struct buf in, out;

	bool open; /* on_done is owed */
	struct envelope envelope;
	size_t next, accepted;	/* `next` is the one to be answered */
	size_t owed;		/* replies to what was sent of it */
	struct envelope follow; /* sent behind the message's end */
	struct smtp_data_out data;

	bool chunking;			 /* this message goes with BDAT */
	struct buf chunk;		 /* what is held back of it */
	size_t chunks_owed;		 /* replies to chunks before the last */
	struct smtp_reply chunk_refusal; /* code 0: none so far */

	size_t stale; /* replies owed to what was given up */
	bool rset_sent;

	unsigned busy; /* calls under way */
	bool doomed;   /* freed when the last one returns */
};

const char *smtp_stage_name(enum smtp_stage stage)
{
	static const char *const names[] = {
		[SMTP_STAGE_CONNECT] = "connect",
		[SMTP_STAGE_GREETING] = "greeting",
		[SMTP_STAGE_EHLO] = "EHLO",
		[SMTP_STAGE_STARTTLS] = "STARTTLS",
		[SMTP_STAGE_MAIL] = "MAIL",
		[SMTP_STAGE_RCPT] = "RCPT",
		[SMTP_STAGE_DATA] = "DATA",
		[SMTP_STAGE_DOT] = "end of data",
		[SMTP_STAGE_QUIT] = "QUIT",
	};

	return names[stage];
}

struct smtp_client *smtp_client_new(const struct smtp_client_owner *owner,
				    void *ctx, const char *helo,
				    bool want_starttls)
{
	struct smtp_client *client = mem_alloc(sizeof(*client));

	client->owner = owner;
	client->ctx = ctx;
	client->helo = mem_dup(helo);
	client->want_starttls = want_starttls;
	return client;
}

static void envelope_release(struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->count; i++)
		free(envelope->rcpts[i]);
	free(envelope->rcpts);
	free(envelope->mail);
	*envelope = (struct envelope){ 0 };
}

static void drop_transaction(struct smtp_client *client)
{
	envelope_release(&client->envelope);
	client->next = client->accepted = client->owed = 0;
	client->open = client->chunking = false;
	buf_release(&client->chunk);
	client->chunks_owed = 0;
	client->chunk_refusal = (struct smtp_reply){ 0 };
}

void smtp_client_free(struct smtp_client *client)
{
	if (!client)
		return;
	if (client->busy > 0) {
		client->doomed = true;
		client->state = DEAD;
		return;
	}
	drop_transaction(client);
	envelope_release(&client->follow);
	free(client->helo);
	buf_release(&client->in);
	buf_release(&client->out);
	free(client);
}

static void enter(struct smtp_client *client)
{
	client->busy++;
}

static void leave(struct smtp_client *client)
{
	if (--client->busy == 0 && client->doomed)
		smtp_client_free(client);
}

enum smtp_stage smtp_client_stage(const struct smtp_client *client)
{
	return client->state == DEAD ? client->end_stage :
				       stages[client->state];
}

/* Its replies come next; behind a refusal they are stale, and what is under way
 * is sent again after the RSET. */
static void begin_follow(struct smtp_client *client)
{
	client->envelope = client->follow;
	client->follow = (struct envelope){ 0 };
	client->open = true;
	if (client->state == READY) {
		client->state = MAIL;
		client->owed = 1 + client->envelope.count;
	}
}

static void die(struct smtp_client *client)
{
	if (client->state == DEAD)
		return;
	client->end_stage = smtp_client_stage(client);
	client->state = DEAD;
	buf_clear(&client->in);
}

/* The transaction is over: with what is forgotten before, a new one may
 * begin inside the callback, or has begun. */
static void finish(struct smtp_client *client, enum smtp_stage stage,
		   const struct smtp_reply *reply)
{
	if (!client->open)
		return;
	drop_transaction(client);
	if (client->follow.count > 0 && client->state != DEAD)
		begin_follow(client);
	if (!client->doomed)
		client->owner->on_done(client->ctx, stage, reply);
}

static void fail(struct smtp_client *client, const struct smtp_reply *reply,
		 const char *why)
{
	enum smtp_stage stage = smtp_client_stage(client);

	if (client->state == DEAD)
		return;
	die(client);
	finish(client, stage, reply);
	if (!client->doomed)
		client->owner->on_fail(client->ctx, stage, reply, why);
}

/* What came is no reply to anything: it must not count as one. */
static void fail_garbage(struct smtp_client *client, const char *why)
{
	struct smtp_reply none = { 0 };

	snprintf(none.text, sizeof(none.text), "%s", why);
	fail(client, &none, none.text);
}

static void send_command(struct smtp_client *client, const char *command)
{
	buf_adds(&client->out, command);
	client->owed++;
}

static void send_envelope(struct smtp_client *client)
{
	client->state = MAIL;
	send_command(client, client->envelope.mail);
	if (!client->ehlo.offers.pipelining)
		return;
	for (size_t i = 0; i < client->envelope.count; i++)
		send_command(client, client->envelope.rcpts[i]);
}

static void become_ready(struct smtp_client *client)
{
	client->state = READY;
	/* A transaction that was given to us while RSET was under way. */
	if (client->open)
		send_envelope(client);
}

/* RSET, once the replies to what is given up have come or may be mixed. */
static void begin_rset(struct smtp_client *client, size_t stale)
{
	client->state = RSET;
	client->stale = stale;
	client->rset_sent = stale == 0 || client->ehlo.offers.pipelining;
	if (client->rset_sent)
		buf_adds(&client->out, "RSET\r\n");
}

static void send_helo(struct smtp_client *client, enum state state)
{
	buf_addf(&client->out, "%s %s\r\n", state == EHLO ? "EHLO" : "HELO",
		 client->helo);
	client->state = state;
}

/* The replies. */

static void take_greeting(struct smtp_client *client,
			  const struct smtp_reply *reply)
{
	if (reply->code != 220)
		fail(client, reply, "the greeting refuses us");
	else
		send_helo(client, EHLO);
}

static void take_ehlo(struct smtp_client *client,
		      const struct smtp_reply *reply)
{
	const struct smtp_offers *offers = &client->ehlo.offers;

	if (reply->code / 100 == 5 && client->state == EHLO) {
		client->ehlo = (struct smtp_ehlo){ 0 };
		send_helo(client, HELO);
		return;
	}
	if (reply->code != 250) {
		fail(client, reply, "EHLO is refused");
		return;
	}
	if (client->state == HELO)
		client->ehlo = (struct smtp_ehlo){ 0 };
	if (client->want_starttls && !client->in_tls && offers->starttls) {
		buf_adds(&client->out, "STARTTLS\r\n");
		client->state = STARTTLS;
		return;
	}
	client->state = READY;
	client->owner->on_ready(client->ctx, offers);
}

static void take_starttls(struct smtp_client *client,
			  const struct smtp_reply *reply)
{
	if (reply->code != 220) {
		fail(client, reply, "STARTTLS is refused");
	} else if (client->in.len > 0) {
		/* Injected before TLS, it would be believed inside. */
		fail_garbage(client, "bytes behind the reply to STARTTLS");
	} else {
		client->state = TLS;
		client->owner->on_starttls(client->ctx);
	}
}

static void take_mail(struct smtp_client *client,
		      const struct smtp_reply *reply)
{
	client->owed--;
	if (reply->code / 100 == 2) {
		client->state = RCPT;
		if (!client->ehlo.offers.pipelining)
			send_command(client, client->envelope.rcpts[0]);
		return;
	}
	begin_rset(client, client->owed);
	finish(client, SMTP_STAGE_MAIL, reply);
}

/* What is here before the end has left is no reply to it. */
static const char early[] = "a reply before the end of the message";

static void begin_message(struct smtp_client *client)
{
	const struct smtp_offers *offers = &client->ehlo.offers;

	client->chunking = offers->chunking && offers->pipelining;
	if (!client->chunking) {
		buf_adds(&client->out, "DATA\r\n");
		client->state = DATA;
	} else if (client->in.len > 0) {
		fail_garbage(client, early);
	} else {
		client->state = BODY;
		client->owner->on_body(client->ctx);
	}
}

static void end_envelope(struct smtp_client *client,
			 const struct smtp_reply *last)
{
	if (client->accepted > 0 && !client->envelope.only) {
		begin_message(client);
		return;
	}
	begin_rset(client, 0);
	finish(client, SMTP_STAGE_RCPT, last);
}

static void take_rcpt(struct smtp_client *client,
		      const struct smtp_reply *reply)
{
	bool yes = reply->code / 100 == 2;
	size_t index = client->next++;

	client->owed--;
	client->accepted += yes;
	if (!yes || client->envelope.only) {
		client->owner->on_rcpt(client->ctx, index, reply);
		/* It may have been given up meanwhile. */
		if (client->state != RCPT)
			return;
	}
	if (client->next == client->envelope.count)
		end_envelope(client, reply);
	else if (!client->ehlo.offers.pipelining)
		send_command(client, client->envelope.rcpts[client->next]);
}

static void take_data(struct smtp_client *client,
		      const struct smtp_reply *reply)
{
	if (reply->code == 354 && client->in.len > 0) {
		fail_garbage(client, early);
	} else if (reply->code == 354) {
		client->state = BODY;
		client->data = (struct smtp_data_out){ 0 };
		client->owner->on_body(client->ctx);
	} else if (reply->code < 400) {
		fail_garbage(client, "DATA is answered with neither 354 nor "
				     "a refusal");
	} else {
		begin_rset(client, 0);
		finish(client, SMTP_STAGE_DATA, reply);
	}
}

/* A refusal in the middle of the message is one; an early 250 is a lie. */
static void take_early(struct smtp_client *client,
		       const struct smtp_reply *reply)
{
	if (reply->code >= 400)
		fail(client, reply, early);
	else
		fail_garbage(client, early);
}

/*
 * To a chunk before the last.  Refused, the message is over; while the last one
 * has not left, that ends it at once and what else is in the pipeline is stale.
 * Afterwards only the reply to the last one tells what the server has kept.
 */
static void take_chunk(struct smtp_client *client,
		       const struct smtp_reply *reply)
{
	size_t stale = --client->chunks_owed;

	if (reply->code / 100 == 2)
		return;
	if (reply->code / 100 == 3) {
		fail_garbage(client, "a chunk is answered with 3xx");
	} else if (client->state == BODY) {
		begin_rset(client, stale);
		finish(client, SMTP_STAGE_DATA, reply);
	} else if (client->chunk_refusal.code == 0) {
		client->chunk_refusal = *reply;
	}
}

static void take_dot(struct smtp_client *client, const struct smtp_reply *last)
{
	struct smtp_reply refusal = client->chunk_refusal;
	const struct smtp_reply *reply = refusal.code ? &refusal : last;

	if (last->code / 100 == 3) {
		fail_garbage(client, "the message is answered with 3xx");
		return;
	}
	if (refusal.code && last->code / 100 == 2) {
		/* What it has kept is not what we sent. */
		fail_garbage(client, "a message is accepted of which a chunk "
				     "was refused");
		return;
	}
	if (reply->code / 100 == 2)
		client->state = READY;
	else
		begin_rset(client, client->follow.count > 0 ?
					   1 + client->follow.count :
					   0);
	finish(client, SMTP_STAGE_DOT, reply);
}

static void take_rset(struct smtp_client *client,
		      const struct smtp_reply *reply)
{
	if (client->stale > 0) {
		client->stale--;
		if (client->stale == 0 && !client->rset_sent)
			begin_rset(client, 0);
	} else if (reply->code / 100 != 2) {
		/* It says nothing of the transaction that waits for it. */
		fail_garbage(client, "RSET is refused");
	} else {
		become_ready(client);
	}
}

static void take(struct smtp_client *client, const struct smtp_reply *reply)
{
	/* "Closing": no matter what it answers (RFC 5321, section 3.8). */
	if (reply->code == 421 && client->state != QUIT) {
		fail(client, reply,
		     client->state == GREETING ? "the greeting refuses us" :
						 "the server closes");
		return;
	}
	switch (client->state) {
	case GREETING:
		take_greeting(client, reply);
		break;
	case EHLO:
	case HELO:
		take_ehlo(client, reply);
		break;
	case STARTTLS:
		take_starttls(client, reply);
		break;
	case MAIL:
		take_mail(client, reply);
		break;
	case RCPT:
		take_rcpt(client, reply);
		break;
	case DATA:
		take_data(client, reply);
		break;
	case BODY:
		if (client->chunks_owed > 0)
			take_chunk(client, reply);
		else
			take_early(client, reply);
		break;
	case DOT:
		if (client->chunks_owed > 0)
			take_chunk(client, reply);
		else
			take_dot(client, reply);
		break;
	case RSET:
		take_rset(client, reply);
		break;
	case TLS:
	case READY:
		fail_garbage(client, "a reply that nobody asked for");
		break;
	case QUIT:
	case DEAD:
		break;
	}
}

void smtp_client_feed(struct smtp_client *client, struct slice in)
{
	struct smtp_reply reply;
	struct err err = ERR_INIT;

	if (client->state == DEAD)
		return;
	enter(client);
	buf_add(&client->in, in);
	while (client->state != DEAD && client->in.len > 0) {
		void (*each)(void *, struct slice) = NULL;
		ptrdiff_t len;

		if (client->state == EHLO) {
			smtp_ehlo_begin(&client->ehlo);
			each = smtp_ehlo_line;
		}
		len = smtp_reply_parse(buf_slice(&client->in), &reply, each,
				       &client->ehlo, &err);
		if (len < 0)
			fail_garbage(client, err.text);
		if (len <= 0)
			break;
		buf_consume(&client->in, (size_t)len);
		take(client, &reply);
	}
	leave(client);
}

/* What the owner wants. */

struct buf *smtp_client_out(struct smtp_client *client)
{
	return &client->out;
}

const struct smtp_offers *smtp_client_offers(const struct smtp_client *client)
{
	return &client->ehlo.offers;
}

void smtp_client_tls_started(struct smtp_client *client)
{
	if (client->state == DEAD)
		return;
	assert(client->state == TLS);
	client->in_tls = true;
	client->ehlo = (struct smtp_ehlo){ 0 };
	send_helo(client, EHLO);
}

/* A path was parsed before it was kept; a CR in it would be a command. */
static void check_path(const char *path)
{
	assert(!strpbrk(path, "\r\n"));
}

static char *mail_command(const struct smtp_transaction *transaction,
			  const struct smtp_offers *offers)
{
	struct buf line = BUF_INIT;

	check_path(transaction->reverse_path);
	buf_addf(&line, "MAIL FROM:<%s>", transaction->reverse_path);
	if (offers->size && transaction->size > 0)
		buf_addf(&line, " SIZE=%" PRIu64, transaction->size);
	if (offers->eightbit && transaction->body == SMTP_BODY_8BITMIME)
		buf_adds(&line, " BODY=8BITMIME");
	if (offers->utf8 && transaction->utf8)
		buf_adds(&line, " SMTPUTF8");
	buf_adds(&line, "\r\n");
	return buf_take(&line);
}

static void make_envelope(struct smtp_client *client,
			  const struct smtp_transaction *transaction,
			  struct envelope *envelope)
{
	envelope->only = transaction->envelope_only;
	envelope->mail = mail_command(transaction, &client->ehlo.offers);
	envelope->count = transaction->count;
	envelope->rcpts = mem_alloc(envelope->count * sizeof(char *));
	for (size_t i = 0; i < envelope->count; i++) {
		check_path(transaction->forward_paths[i]);
		envelope->rcpts[i] = mem_printf("RCPT TO:<%s>\r\n",
						transaction->forward_paths[i]);
	}
}

void smtp_client_transaction(struct smtp_client *client,
			     const struct smtp_transaction *transaction)
{
	assert(!client->open && transaction->count > 0);
	if (client->state == DEAD)
		return;
	assert(client->state == READY || client->state == RSET);
	client->open = true;
	make_envelope(client, transaction, &client->envelope);
	if (client->state == READY)
		send_envelope(client);
}

void smtp_client_follow(struct smtp_client *client,
			const struct smtp_transaction *transaction)
{
	if (client->state == DEAD)
		return;
	assert(client->state == DOT && client->ehlo.offers.pipelining);
	assert(client->follow.count == 0 && transaction->count > 0);
	make_envelope(client, transaction, &client->follow);
	buf_adds(&client->out, client->follow.mail);
	for (size_t i = 0; i < client->follow.count; i++)
		buf_adds(&client->out, client->follow.rcpts[i]);
}

static void send_chunk(struct smtp_client *client, bool last)
{
	buf_addf(&client->out, "BDAT %zu%s\r\n", client->chunk.len,
		 last ? " LAST" : "");
	buf_add(&client->out, buf_slice(&client->chunk));
	buf_clear(&client->chunk);
	client->chunks_owed += !last;
}

static void add_to_chunk(struct smtp_client *client, struct slice bytes)
{
	while (bytes.len > 0) {
		size_t room = SMTP_CLIENT_CHUNK - client->chunk.len;
		size_t n = bytes.len < room ? bytes.len : room;

		if (n == 0) {
			send_chunk(client, false);
			continue;
		}
		buf_add(&client->chunk, slice_of(bytes.p, n));
		bytes = slice_from(bytes, n);
	}
}

void smtp_client_body(struct smtp_client *client, struct slice bytes)
{
	if (client->state == DEAD)
		return;
	assert(client->state == BODY);
	if (client->chunking)
		add_to_chunk(client, bytes);
	else
		smtp_data_stuff(&client->data, bytes, &client->out);
}

void smtp_client_body_end(struct smtp_client *client)
{
	if (client->state == DEAD)
		return;
	assert(client->state == BODY);
	if (client->in.len > 0 && client->chunks_owed == 0) {
		enter(client);
		fail_garbage(client, early);
		leave(client);
		return;
	}
	if (client->chunking)
		send_chunk(client, true);
	else
		smtp_data_finish(&client->data, &client->out);
	client->state = DOT;
}

void smtp_client_reset(struct smtp_client *client)
{
	size_t owed;

	if (client->state == DEAD || !client->open)
		return;
	assert(client->state == MAIL || client->state == RCPT ||
	       client->state == RSET);
	if (client->state == RSET) {
		drop_transaction(client);
		return;
	}
	owed = client->owed;
	drop_transaction(client);
	begin_rset(client, owed);
}

void smtp_client_quit(struct smtp_client *client)
{
	if (client->state == DEAD || client->state == QUIT)
		return;
	drop_transaction(client);
	buf_adds(&client->out, "QUIT\r\n");
	client->state = QUIT;
}

void smtp_client_lost(struct smtp_client *client, const char *why)
{
	enum smtp_stage stage = smtp_client_stage(client);
	struct smtp_reply none = { 0 };

	snprintf(none.text, sizeof(none.text), "%s", why);
	enter(client);
	die(client);
	finish(client, stage, &none);
	leave(client);
}
