/*
 * bench_load - messages from many sessions at once, and how long each took
 *
 * usage: bench_load ADDRESS DOMAIN SESSIONS MESSAGES BYTES MAILBOXES [REUSE]
 *
 * A connection carries REUSE messages (default: all of its session's).
 * A mailbox belongs to one session, which numbers its messages, so that the
 * sink can tell what is lost, twice or out of order.  Loopback only.  Prints
 * one JSON line: messages, failed, seconds, per_second, p50_ms, p99_ms (final
 * dot to 250).
 */
#include "base/clock.h"
#include "base/json.h"
#include "lab/lab_sender.h"
#include "net/stream.h"
#include "smtp/smtp_client.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	CONNECT_MS = 10000,
	REPLY_MS = 60000
};

struct load {
	struct loop *loop;
	struct addr to;
	const char *domain;
	unsigned sessions, mailboxes, open;
	uint64_t bytes, reuse;
	struct buf filler;
	int64_t *took_us;
	size_t done, failed;
};

struct session {
	struct load *load;
	struct stream *stream;
	struct smtp_client *client;
	struct loop_timer *over;
	unsigned index;
	uint64_t left, sent;
	bool again; /* with a new connection */
	int64_t dot_us;
	char address[300];
};

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void flush(struct session *s)
{
	struct buf *out = smtp_client_out(s->client);

	stream_write(s->stream, buf_slice(out));
	buf_clear(out);
}

static const struct smtp_client_owner owner;
static const struct stream_events events;

static void connect_again(struct session *s)
{
	struct load *load = s->load;

	s->client = smtp_client_new(&owner, s, "load.example", false);
	s->stream =
		stream_connect(load->loop, &load->to, CONNECT_MS, &events, s);
}

static void over(void *ctx)
{
	struct session *s = ctx;
	struct load *load = s->load;

	if (s->again) {
		s->again = false;
		stream_finish(s->stream, CONNECT_MS);
		smtp_client_free(s->client);
		connect_again(s);
		return;
	}
	load->failed += s->left;
	stream_free(s->stream);
	smtp_client_free(s->client);
	loop_timer_free(s->over);
	free(s);
	if (--load->open == 0)
		loop_stop(load->loop);
}

static void next(struct session *s)
{
	const struct load *load = s->load;
	const char *path = s->address;
	uint64_t own = load->mailboxes / load->sessions;

	if (s->left == 0) {
		loop_timer_arm(s->over, 0);
		return;
	}
	snprintf(
		s->address, sizeof(s->address), LAB_SENDER_LOCAL "%llu@%s",
		(unsigned long long)(s->index + s->sent % own * load->sessions),
		load->domain);
	smtp_client_transaction(s->client,
				&(struct smtp_transaction){
					.reverse_path = "load@b.example",
					.forward_paths = &path,
					.count = 1,
					.size = load->bytes,
					.body = SMTP_BODY_7BIT,
				});
}

static void on_ready(void *ctx, const struct smtp_offers *offers)
{
	next(ctx);
}

static void on_rcpt(void *ctx, size_t index, const struct smtp_reply *reply)
{
}

static void on_body(void *ctx)
{
	struct session *s = ctx;
	const struct load *load = s->load;
	uint64_t own = load->mailboxes / load->sessions;
	char *head = mem_printf(LAB_SENDER_FIELD "%llu\r\nFrom: "
						 "load@b.example\r\n\r\n",
				(unsigned long long)(s->sent / own));

	smtp_client_body(s->client, slice(head));
	smtp_client_body(s->client, slice_of(load->filler.p + strlen(head),
					     load->bytes - strlen(head)));
	smtp_client_body_end(s->client);
	s->dot_us = now_us();
	free(head);
}

static void on_done(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct session *s = ctx;
	struct load *load = s->load;

	if (stage != SMTP_STAGE_DOT || reply->code != 250) {
		fprintf(stderr, "%s: %d %s\n", smtp_stage_name(stage),
			reply->code, reply->text);
		loop_timer_arm(s->over, 0);
		return;
	}
	load->took_us[load->done++] = now_us() - s->dot_us;
	s->sent++;
	s->left--;
	if (s->left > 0 && load->reuse && s->sent % load->reuse == 0) {
		s->again = true;
		loop_timer_arm(s->over, 0);
	} else {
		next(s);
	}
}

static void on_fail(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply, const char *why)
{
	struct session *s = ctx;

	fprintf(stderr, "%s: %d %s\n", smtp_stage_name(stage), reply->code,
		reply->text);
	loop_timer_arm(s->over, 0);
}

static const struct smtp_client_owner owner = {
	.on_ready = on_ready,
	.on_rcpt = on_rcpt,
	.on_body = on_body,
	.on_done = on_done,
	.on_fail = on_fail,
};

static void on_input(void *ctx)
{
	struct session *s = ctx;
	struct slice in = stream_peek(s->stream);

	smtp_client_feed(s->client, in);
	stream_consume(s->stream, in.len);
	flush(s);
	stream_deadline(s->stream, REPLY_MS);
}

static void on_end(void *ctx, const char *why)
{
	struct session *s = ctx;

	if (s->again)
		return;
	fprintf(stderr, "connection: %s\n", why ? why : "closed");
	loop_timer_arm(s->over, 0);
}

static const struct stream_events events = {
	.on_input = on_input,
	.on_end = on_end,
};

static void begin(struct load *load, unsigned index, uint64_t messages)
{
	struct session *s = mem_alloc(sizeof(*s));

	s->load = load;
	s->index = index;
	s->left =
		messages / load->sessions + (index < messages % load->sessions);
	s->over = loop_timer_new(load->loop, over, s);
	connect_again(s);
	load->open++;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static double percentile_ms(const struct load *load, double share)
{
	if (load->done == 0)
		return 0;
	return (double)load
		       ->took_us[(size_t)(share * (double)(load->done - 1))] /
	       1000;
}

static void print(struct load *load, double seconds)
{
	struct json *json = json_object();
	struct buf text = BUF_INIT;

	qsort(load->took_us, load->done, sizeof(*load->took_us), by_value);
	json_put_number(json, "messages", (double)load->done);
	json_put_number(json, "failed", (double)load->failed);
	json_put_number(json, "seconds", seconds);
	json_put_number(json, "per_second", (double)load->done / seconds);
	json_put_number(json, "p50_ms", percentile_ms(load, 0.5));
	json_put_number(json, "p99_ms", percentile_ms(load, 0.99));
	json_print(json, &text);
	printf("%s\n", buf_text(&text));
	buf_release(&text);
	json_free(json);
}

static void fill(struct load *load)
{
	while (load->filler.len < load->bytes)
		buf_adds(&load->filler,
			 "The tide carries what the shore let go, and brings "
			 "it back.\r\n");
	/* A message ends with its last line. */
	memcpy(load->filler.p + load->bytes - 2, "\r\n", 2);
}

int main(int argc, char **argv)
{
	struct load load = { 0 };
	struct err err = ERR_INIT;
	uint64_t messages;
	int64_t from;

	if (argc != 7 && argc != 8) {
		fputs("usage: bench_load ADDRESS DOMAIN SESSIONS MESSAGES "
		      "BYTES MAILBOXES [REUSE]\n",
		      stderr);
		return 2;
	}
	load.domain = argv[2];
	load.sessions = (unsigned)atoi(argv[3]);
	messages = (uint64_t)atoll(argv[4]);
	load.bytes = (uint64_t)atoll(argv[5]);
	load.mailboxes = (unsigned)atoi(argv[6]);
	load.reuse = argc == 8 ? (uint64_t)atoll(argv[7]) : 0;
	load.loop = loop_new(&err);
	if (!load.loop || addr_parse(slice(argv[1]), 25, &load.to, &err) < 0 ||
	    !addr_is_loopback(&load.to) || load.sessions == 0 ||
	    load.mailboxes < load.sessions || load.bytes < 200) {
		fprintf(stderr, "bench_load: bad arguments %s\n", err.text);
		return 2;
	}
	fill(&load);
	load.took_us = mem_alloc(messages * sizeof(*load.took_us) + 1);
	from = now_us();
	for (unsigned i = 0; i < load.sessions; i++)
		begin(&load, i, messages);
	loop_run(load.loop);
	print(&load, (double)(now_us() - from) / 1e6);
	loop_free(load.loop);
	buf_release(&load.filler);
	free(load.took_us);
	return load.failed ? 1 : 0;
}
