#include "lab/lab_sender.h"
#include "base/digest.h"
#include "dns/dns_mx.h"
#include "net/stream.h"
#include "smtp/smtp_client.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	RETRY_MS = 300,
	CONNECT_MS = 3000,
	SESSION_MS = 20000
};

/* One sending host: one message at a time. */
struct one {
	struct lab_sender *all;
	struct dns_resolver *resolver;
	unsigned index;
	unsigned turn;	   /* which mailbox is next */
	uint64_t *numbers; /* per mailbox: the next number */
	bool busy, has_message, failed;
	/* The message under way. */
	char address[300], sha256[DIGEST_TEXT];
	uint64_t number;
	struct buf body;
	struct dns_mx_set mx;
	size_t mx_at;
	struct stream *stream;
	struct smtp_client *client;
	struct loop_timer *timer; /* next message, or the next try */
	struct loop_timer *drop;  /* lets go of the connection */
};

struct lab_sender {
	struct loop *loop;
	struct lab_sender_spec spec;
	struct one *ones;
	struct lab_sent *sent;
	size_t sent_count;
	uint64_t bounced, retried, made;
	bool stopped;
};

static void next_try(struct one *one);

static void note(struct one *one, const char *host)
{
	struct lab_sender *all = one->all;
	struct lab_sent *sent;

	all->sent =
		mem_grow(all->sent, (all->sent_count + 1) * sizeof(*all->sent));
	sent = &all->sent[all->sent_count++];
	sent->mailbox = mem_dup(one->address);
	sent->number = one->number;
	sent->host = mem_dup(host);
	sent->sha256 = mem_dup(one->sha256);
	if (!host)
		all->bounced++;
	one->has_message = false;
}

static void hang_up(struct one *one)
{
	loop_timer_arm(one->drop, 0);
}

static void dropped(void *ctx)
{
	struct one *one = ctx;
	int64_t wait = one->has_message ? RETRY_MS : one->all->spec.every_ms;

	stream_free(one->stream);
	smtp_client_free(one->client);
	one->stream = NULL;
	one->client = NULL;
	if (one->has_message && one->failed && ++one->mx_at < one->mx.count) {
		next_try(one); /* the next MX, at once */
		return;
	}
	if (one->has_message)
		one->all->retried++;
	one->busy = false;
	loop_timer_arm(one->timer, wait);
}

static void flush(struct one *one)
{
	struct buf *out = smtp_client_out(one->client);

	stream_write(one->stream, buf_slice(out));
	buf_clear(out);
}

static void on_ready(void *ctx, const struct smtp_offers *offers)
{
	struct one *one = ctx;
	const char *path = one->address;

	smtp_client_transaction(
		one->client, &(struct smtp_transaction){
				     .reverse_path = "someone@sender.example",
				     .forward_paths = &path,
				     .count = 1,
				     .size = one->body.len,
				     .body = SMTP_BODY_8BITMIME,
			     });
}

static void on_starttls(void *ctx)
{
}

static void settle(struct one *one, const struct smtp_reply *reply)
{
	if (reply->code >= 500)
		note(one, NULL);
	else if (reply->code < 200 || reply->code >= 300)
		one->failed = reply->code == 0 || reply->code == 421;
}

static void on_rcpt(void *ctx, size_t index, const struct smtp_reply *reply)
{
	settle(ctx, reply);
}

static void on_body(void *ctx)
{
	struct one *one = ctx;

	smtp_client_body(one->client, buf_slice(&one->body));
	smtp_client_body_end(one->client);
}

static void on_done(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct one *one = ctx;

	if (one->has_message && stage == SMTP_STAGE_DOT &&
	    reply->code / 100 == 2)
		note(one, one->mx.at[one->mx_at].host);
	else if (one->has_message && stage != SMTP_STAGE_RCPT)
		settle(one, reply);
	smtp_client_quit(one->client);
	flush(one);
	hang_up(one);
}

static void on_fail(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply, const char *why)
{
	struct one *one = ctx;

	one->failed = true;
	hang_up(one);
}

static const struct smtp_client_owner owner = {
	.on_ready = on_ready,
	.on_starttls = on_starttls,
	.on_rcpt = on_rcpt,
	.on_body = on_body,
	.on_done = on_done,
	.on_fail = on_fail,
};

static void on_input(void *ctx)
{
	struct one *one = ctx;
	struct slice in = stream_peek(one->stream);

	smtp_client_feed(one->client, in);
	stream_consume(one->stream, in.len);
	flush(one);
}

static void on_open(void *ctx)
{
	struct one *one = ctx;

	stream_deadline(one->stream, SESSION_MS);
}

static void on_end(void *ctx, const char *why)
{
	struct one *one = ctx;

	if (one->has_message)
		one->failed = true;
	hang_up(one);
}

static const struct stream_events events = {
	.on_open = on_open,
	.on_input = on_input,
	.on_end = on_end,
};

static const char *route(const struct lab_sender *all, const char *host)
{
	for (size_t i = 0; i < all->spec.route_count; i++)
		if (strcmp(all->spec.routes[i].host, host) == 0)
			return all->spec.routes[i].address;
	return NULL;
}

static void next_try(struct one *one)
{
	const char *to = route(one->all, one->mx.at[one->mx_at].host);
	struct addr addr;

	one->failed = false;
	if (!to || addr_parse(slice(to), 25, &addr, NULL) < 0) {
		one->failed = true;
		hang_up(one);
		return;
	}
	one->client = smtp_client_new(&owner, one, "sender.example", false);
	one->stream =
		stream_connect(one->all->loop, &addr, CONNECT_MS, &events, one);
}

static void got_mx(void *ctx, const struct dns_answer *answer, const char *why)
{
	struct one *one = ctx;

	one->mx.count = 0;
	one->mx_at = 0;
	for (size_t i = 0;
	     answer && i < answer->answer_count && one->mx.count < DNS_MX_MAX;
	     i++) {
		const struct dns_record *record = &answer->answers[i];
		struct dns_mx *mx;
		size_t at = one->mx.count;

		if (record->type != DNS_MX)
			continue;
		while (at > 0 &&
		       one->mx.at[at - 1].preference > record->preference) {
			one->mx.at[at] = one->mx.at[at - 1];
			at--;
		}
		mx = &one->mx.at[at];
		mx->preference = record->preference;
		snprintf(mx->host, sizeof(mx->host), "%s", record->target);
		one->mx.count++;
	}
	if (one->mx.count == 0) {
		one->failed = true;
		hang_up(one);
		return;
	}
	next_try(one);
}

static void make_message(struct one *one)
{
	struct lab_sender *all = one->all;
	unsigned box = one->turn++ % all->spec.mailboxes;
	unsigned char digest[DIGEST_LEN];

	one->number = one->numbers[box]++;
	snprintf(one->address, sizeof(one->address), "%s%u-%u@%s",
		 LAB_SENDER_LOCAL, one->index, box, all->spec.domain);
	buf_clear(&one->body);
	buf_addf(&one->body, "%s%llu\r\n", LAB_SENDER_FIELD,
		 (unsigned long long)one->number);
	buf_add(&one->body,
		all->spec.messages[all->made++ % all->spec.message_count]);
	digest_sha256(buf_slice(&one->body), digest);
	digest_text(digest, one->sha256);
	one->has_message = true;
}

static void turn(void *ctx)
{
	struct one *one = ctx;

	if (one->busy)
		return;
	if (!one->has_message) {
		if (one->all->stopped)
			return;
		make_message(one);
	}
	one->busy = true;
	dns_resolver_ask(one->resolver, one->all->spec.domain, DNS_MX, true,
			 got_mx, one);
}

struct lab_sender *lab_sender_new(struct loop *loop,
				  const struct lab_sender_spec *spec,
				  struct err *err)
{
	struct lab_sender *all = mem_alloc(sizeof(*all));

	all->loop = loop;
	all->spec = *spec;
	all->ones = mem_alloc(spec->resolver_count * sizeof(*all->ones));
	for (size_t i = 0; i < spec->resolver_count; i++) {
		struct one *one = &all->ones[i];

		one->all = all;
		one->index = (unsigned)i;
		one->numbers = mem_alloc(spec->mailboxes * sizeof(uint64_t));
		for (unsigned box = 0; box < spec->mailboxes; box++)
			one->numbers[box] = 1;
		one->timer = loop_timer_new(loop, turn, one);
		one->drop = loop_timer_new(loop, dropped, one);
		one->resolver = dns_resolver_new(loop, spec->resolvers[i], err);
		if (!one->resolver) {
			lab_sender_free(all);
			return NULL;
		}
		loop_timer_arm(one->timer, (int64_t)i * 7);
	}
	return all;
}

void lab_sender_free(struct lab_sender *all)
{
	if (!all)
		return;
	for (size_t i = 0; i < all->spec.resolver_count; i++) {
		struct one *one = &all->ones[i];

		if (one->resolver)
			dns_resolver_free(one->resolver);
		stream_free(one->stream);
		smtp_client_free(one->client);
		loop_timer_free(one->timer);
		loop_timer_free(one->drop);
		buf_release(&one->body);
		free(one->numbers);
	}
	for (size_t i = 0; i < all->sent_count; i++) {
		free(all->sent[i].mailbox);
		free(all->sent[i].host);
		free(all->sent[i].sha256);
	}
	free(all->sent);
	free(all->ones);
	free(all);
}

void lab_sender_stop(struct lab_sender *all)
{
	all->stopped = true;
}

bool lab_sender_is_idle(const struct lab_sender *all)
{
	for (size_t i = 0; i < all->spec.resolver_count; i++)
		if (all->ones[i].busy || all->ones[i].has_message)
			return false;
	return all->stopped;
}

const struct lab_sent *lab_sender_sent(const struct lab_sender *all,
				       size_t *count)
{
	*count = all->sent_count;
	return all->sent;
}

uint64_t lab_sender_bounced(const struct lab_sender *all)
{
	return all->bounced;
}

uint64_t lab_sender_retried(const struct lab_sender *all)
{
	return all->retried;
}
