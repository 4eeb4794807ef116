#include "cutover/probe.h"
#include "base/clock.h"
#include "base/id.h"
#include "net/stream.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	ADDRESSES_MAX = 4,
	QUIT_MS = 2000,
	CONNECT_MS = 10000
};

struct probe {
	struct loop *loop;
	probe_fn *done;
	void *ctx;
	char *host, *helo, *tls_name;
	int port;
	struct tls_client *tls;
	struct dns_desk *desk; /* for names */
	struct dns_desk_host *finding;
	struct addr addresses[ADDRESSES_MAX];
	size_t address_count, address_next;
	struct stream *stream;
	struct smtp_client *client;
	struct buf greeting; /* until its reply is whole */
	bool greeted;
	size_t answered; /* recipients */
	bool asked;	 /* the session may be left with QUIT */
	bool resetting;	 /* all answered; RSET is under way */

	struct loop_timer *step; /* begins, and later tells the end */
	struct loop_timer *deadline;
	bool ended;
	int64_t started_mono_ms;
	struct probe_result result;
};

static void probe_free(struct probe *probe)
{
	dns_desk_host_cancel(&probe->finding);
	stream_free(probe->stream);
	smtp_client_free(probe->client);
	loop_timer_free(probe->step);
	loop_timer_free(probe->deadline);
	buf_release(&probe->greeting);
	free(probe->host);
	free(probe->helo);
	free(probe->tls_name);
	free(probe);
}

/* The first end counts; it is told from the loop. */
static void end(struct probe *probe, enum smtp_stage stage, const char *error)
{
	struct probe_result *result = &probe->result;

	if (probe->ended)
		return;
	probe->ended = true;
	result->stage = stage;
	result->healthy = error == NULL;
	snprintf(result->error, sizeof(result->error), "%.255s",
		 error ? error : "");
	loop_timer_arm(probe->step, 0);
}

static void end_reply(struct probe *probe, enum smtp_stage stage,
		      const struct smtp_reply *reply, const char *why)
{
	char text[SMTP_REPLY_TEXT + 64];

	/* Whatever comes after the last answer changes none of them. */
	if (probe->resetting) {
		end(probe, SMTP_STAGE_RCPT, NULL);
		return;
	}
	if (!probe->ended)
		probe->result.ended = *reply;
	if (reply->code > 0)
		snprintf(text, sizeof(text), "%s was answered %d%s%s %s",
			 smtp_stage_name(stage), reply->code,
			 reply->enhanced[0] ? " " : "", reply->enhanced,
			 reply->text);
	else
		snprintf(text, sizeof(text), "%s: %s", smtp_stage_name(stage),
			 why ? why : reply->text);
	end(probe, stage, text);
}

/* The dialogue. */

static void flush(struct probe *probe)
{
	struct buf *out = smtp_client_out(probe->client);

	if (out->len > 0 && probe->stream) {
		stream_write(probe->stream, buf_slice(out));
		buf_clear(out);
	}
}

static void say_goodbye(struct probe *probe)
{
	smtp_client_quit(probe->client);
	flush(probe);
	stream_finish(probe->stream, QUIT_MS);
	probe->stream = NULL;
}

static void on_ready(void *ctx, const struct smtp_offers *offers)
{
	struct probe *probe = ctx;
	struct probe_result *result = &probe->result;
	const char *paths[PROBE_RCPT_MAX];

	result->offers = *offers;
	for (size_t i = 0; i < result->rcpt_count; i++)
		paths[i] = result->rcpt[i].address;
	if (result->rcpt_count == 0) {
		probe->asked = true;
		end(probe, SMTP_STAGE_EHLO, NULL);
		return;
	}
	smtp_client_transaction(probe->client,
				&(struct smtp_transaction){
					.reverse_path = "",
					.forward_paths = paths,
					.count = result->rcpt_count,
					.envelope_only = true,
				});
}

static void on_starttls(void *ctx)
{
	struct probe *probe = ctx;

	flush(probe);
	stream_starttls_client(probe->stream, probe->tls,
			       probe->tls_name ? probe->tls_name : probe->host,
			       NULL);
}

static void on_rcpt(void *ctx, size_t index, const struct smtp_reply *reply)
{
	struct probe *probe = ctx;

	probe->result.rcpt[index].reply = *reply;
	probe->answered = index + 1;
}

/* No probe ever sends a body. */
static void on_body(void *ctx)
{
	end(ctx, SMTP_STAGE_DATA, "the server wants data that was not offered");
}

static void on_done(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct probe *probe = ctx;
	struct probe_result *result = &probe->result;

	probe->asked = true;
	if (stage == SMTP_STAGE_RCPT && probe->answered == result->rcpt_count) {
		probe->resetting = true;
		return;
	}
	/* A 421 closes the session in place of an answer. */
	if (stage == SMTP_STAGE_RCPT && probe->answered < result->rcpt_count)
		result->rcpt[probe->answered].reply = *reply;
	end_reply(probe, stage, reply, NULL);
}

static void on_fail(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply, const char *why)
{
	end_reply(ctx, stage, reply, why);
}

static const struct smtp_client_owner client_owner = {
	.on_ready = on_ready,
	.on_starttls = on_starttls,
	.on_rcpt = on_rcpt,
	.on_body = on_body,
	.on_done = on_done,
	.on_fail = on_fail,
};

/* The client keeps the greeting to itself; it is evidence. */
static void keep_greeting(struct probe *probe, struct slice in)
{
	ptrdiff_t len;

	if (probe->greeted)
		return;
	buf_add(&probe->greeting, in);
	len = smtp_reply_parse(buf_slice(&probe->greeting),
			       &probe->result.greeting, NULL, NULL, NULL);
	if (len == 0)
		return;
	probe->greeted = true;
	buf_release(&probe->greeting);
}

static void on_open(void *ctx)
{
	struct probe *probe = ctx;

	probe->result.connected = true;
}

static void on_input(void *ctx)
{
	struct probe *probe = ctx;
	struct slice in = stream_peek(probe->stream);
	bool resetting = probe->resetting;

	keep_greeting(probe, in);
	smtp_client_feed(probe->client, in);
	stream_consume(probe->stream, in.len);
	flush(probe);
	if (resetting)
		end(probe, SMTP_STAGE_RCPT, NULL);
}

static void on_tls(void *ctx)
{
	struct probe *probe = ctx;

	stream_tls_info(probe->stream, &probe->result.tls);
	stream_tls_chain(probe->stream, &probe->result.chain);
	smtp_client_tls_started(probe->client);
	flush(probe);
}

static void connect_next(struct probe *probe);

static void on_end(void *ctx, const char *why)
{
	struct probe *probe = ctx;
	enum smtp_stage stage = SMTP_STAGE_CONNECT;
	char text[192]; /* `why` goes with the stream */

	snprintf(text, sizeof(text), "%s",
		 why ? why : "the server closed the connection");
	if (!probe->result.connected)
		probe->result.refused =
			strcmp(text, strerror(ECONNREFUSED)) == 0;
	stream_free(probe->stream);
	probe->stream = NULL;
	if (!probe->result.connected && !probe->ended &&
	    probe->address_next < probe->address_count) {
		connect_next(probe);
		return;
	}
	if (probe->result.connected) {
		stage = smtp_client_stage(probe->client);
		smtp_client_lost(probe->client, text);
	}
	end_reply(probe, stage, &(struct smtp_reply){ 0 }, text);
}

static const struct stream_events stream_events = {
	.on_open = on_open,
	.on_input = on_input,
	.on_tls = on_tls,
	.on_end = on_end,
};

static void connect_next(struct probe *probe)
{
	const struct addr *to = &probe->addresses[probe->address_next++];

	addr_format(to, probe->result.address);
	probe->stream = stream_connect(probe->loop, to, CONNECT_MS,
				       &stream_events, probe);
}

/* The steps before and after. */

static void resolved(void *ctx, const struct addr *addrs, size_t count,
		     const char *why)
{
	struct probe *probe = ctx;

	probe->finding = NULL;
	if (probe->ended)
		return;
	if (count == 0) {
		char text[192];

		snprintf(text, sizeof(text), "no address for %s: %s",
			 probe->host, why ? why : "none exists");
		end(probe, SMTP_STAGE_CONNECT, text);
		return;
	}
	for (size_t i = 0; i < count && i < ADDRESSES_MAX; i++)
		probe->addresses[probe->address_count++] = addrs[i];
	connect_next(probe);
}

static void begin(struct probe *probe)
{
	if (addr_from_ip(slice(probe->host), probe->port, probe->addresses,
			 NULL) == 0) {
		probe->address_count = 1;
		connect_next(probe);
		return;
	}
	if (!probe->desk) {
		end(probe, SMTP_STAGE_CONNECT,
		    "no resolver to ask for its "
		    "address");
		return;
	}
	probe->finding = dns_desk_host(probe->desk, probe->loop, probe->host,
				       probe->port, resolved, probe);
}

static void tell(struct probe *probe)
{
	probe->result.at_ms = clock_wall_ms();
	probe->result.took_ms = clock_mono_ms() - probe->started_mono_ms;
	if (probe->stream && probe->asked)
		say_goodbye(probe);
	probe->done(probe->ctx, &probe->result);
	probe_free(probe);
}

static void step(void *ctx)
{
	struct probe *probe = ctx;

	if (probe->ended)
		tell(probe);
	else
		begin(probe);
}

static void on_deadline(void *ctx)
{
	struct probe *probe = ctx;
	enum smtp_stage stage = probe->result.connected ?
					smtp_client_stage(probe->client) :
					SMTP_STAGE_CONNECT;

	end_reply(probe, stage, &(struct smtp_reply){ 0 }, "timed out");
}

static void add_recipient(struct probe_result *result, const char *address,
			  bool made_up)
{
	struct probe_rcpt *rcpt = &result->rcpt[result->rcpt_count];

	if (result->rcpt_count == PROBE_RCPT_MAX ||
	    strlen(address) >= sizeof(rcpt->address))
		return;
	snprintf(rcpt->address, sizeof(rcpt->address), "%s", address);
	rcpt->random = made_up;
	result->rcpt_count++;
}

/* Nobody has it, and nobody can guess it and create it. */
static void add_random(struct probe_result *result, const char *domain)
{
	unsigned char bytes[8];
	char address[256];

	random_bytes(bytes, sizeof(bytes));
	snprintf(address, sizeof(address),
		 "nobody-%02x%02x%02x%02x%02x%02x%02x%02x@%s", bytes[0],
		 bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6],
		 bytes[7], domain);
	add_recipient(result, address, true);
}

struct probe *probe_start(struct loop *loop, const struct probe_spec *spec,
			  probe_fn *done, void *ctx)
{
	struct probe *probe = mem_alloc(sizeof(*probe));
	size_t most = PROBE_RCPT_MAX - (spec->random_domain ? 1 : 0);

	probe->loop = loop;
	probe->done = done;
	probe->ctx = ctx;
	probe->host = mem_dup(spec->host);
	probe->port = spec->port;
	probe->helo = mem_dup(spec->helo);
	probe->tls = spec->tls;
	probe->tls_name = mem_dup(spec->tls_name);
	probe->desk = spec->desk;
	probe->started_mono_ms = clock_mono_ms();
	snprintf(probe->result.target, sizeof(probe->result.target), "%s:%d",
		 spec->host, spec->port);
	for (size_t i = 0; i < spec->recipient_count && i < most; i++)
		add_recipient(&probe->result, spec->recipients[i], false);
	if (spec->random_domain)
		add_random(&probe->result, spec->random_domain);
	probe->client = smtp_client_new(&client_owner, probe, spec->helo,
					spec->tls != NULL);
	probe->step = loop_timer_new(loop, step, probe);
	probe->deadline = loop_timer_new(loop, on_deadline, probe);
	loop_timer_arm(probe->step, 0);
	loop_timer_arm(probe->deadline, spec->timeout_ms);
	return probe;
}

void probe_cancel(struct probe *probe)
{
	if (probe)
		probe_free(probe);
}

/* Evidence. */

static struct json *reply_json(const struct smtp_reply *reply)
{
	struct json *json;

	if (reply->code == 0)
		return NULL;
	json = json_object();
	json_put_number(json, "code", reply->code);
	json_put_text(json, "enhanced",
		      reply->enhanced[0] ? reply->enhanced : NULL);
	json_put_text(json, "text", reply->text);
	return json;
}

struct json *probe_tls_json(const struct tls_info *tls,
			    const struct tls_chain *chain)
{
	char digest[DIGEST_TEXT];
	struct json *json;

	if (!tls->active)
		return NULL;
	json = json_object();
	json_put_text(json, "version", tls->version);
	json_put_text(json, "cipher", tls->cipher);
	json_put_bool(json, "trusted", tls->trusted);
	json_put_text(json, "verdict", tls->verdict);
	json_put_text(json, "subject", tls->subject);
	json_put_time(json, "not_after", tls->not_after_ms);
	json_put_text(json, "issuer", chain->issuer[0] ? chain->issuer : NULL);
	/* As a TLSA record 3 1 1 has it. */
	if (chain->count > 0)
		json_put_text(json, "key_sha256",
			      digest_text(chain->at[0].key.sha256, digest));
	return json;
}

static struct json *rcpt_json(const struct probe_rcpt *rcpt)
{
	struct json *json = json_object();

	json_put_text(json, "asked", rcpt->address);
	json_put_bool(json, "random", rcpt->random);
	json_put(json, "reply", reply_json(&rcpt->reply));
	return json;
}

struct json *probe_json(const struct probe_result *result)
{
	struct json *json = json_object(), *rcpt = json_array();

	json_put_text(json, "target", result->target);
	json_put_text(json, "address",
		      result->address[0] ? result->address : NULL);
	json_put_bool(json, "connected", result->connected);
	json_put_bool(json, "refused", result->refused);
	json_put_bool(json, "healthy", result->healthy);
	json_put_text(json, "error", result->error[0] ? result->error : NULL);
	json_put_text(json, "stage", smtp_stage_name(result->stage));
	json_put(json, "greeting", reply_json(&result->greeting));
	json_put_bool(json, "starttls",
		      result->offers.starttls || result->tls.active);
	json_put_number(json, "max_size", (double)result->offers.max_size);
	json_put(json, "tls", probe_tls_json(&result->tls, &result->chain));
	for (size_t i = 0; i < result->rcpt_count; i++)
		json_add(rcpt, rcpt_json(&result->rcpt[i]));
	json_put(json, "rcpt", rcpt);
	json_put_time(json, "at", result->at_ms);
	json_put_number(json, "took_ms", (double)result->took_ms);
	return json;
}
