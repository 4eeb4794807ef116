/*
 * The client against a server that says anything: every transaction ends
 * exactly once, nothing comes after on_fail, and no delivery is believed
 * before the dot has been sent.
 */
#include "smtp/smtp_client.h"
#include <stdlib.h>

struct fuzz {
	struct smtp_client *client;
	bool open, failed, dot, reset;
	bool slowly, in_body; /* the end of a body waits for a piece of input */
	bool follows;	      /* the next envelope is behind the message */
	unsigned transactions;
};

static const char *const people[] = { "a@b.example", "c@d.example" };

static struct smtp_transaction next_transaction(struct fuzz *fuzz)
{
	return (struct smtp_transaction){
		.reverse_path = "",
		.forward_paths = people,
		.count = COUNT(people),
		.size = 9,
		.envelope_only = ++fuzz->transactions % 4 == 3,
	};
}

static void open_transaction(struct fuzz *fuzz)
{
	struct smtp_transaction transaction;

	if (fuzz->transactions >= 8) {
		smtp_client_quit(fuzz->client);
		return;
	}
	fuzz->open = true;
	fuzz->dot = false;
	transaction = next_transaction(fuzz);
	smtp_client_transaction(fuzz->client, &transaction);
}

static void follow(struct fuzz *fuzz)
{
	struct smtp_transaction transaction;

	/* The end of the body may have ended the session. */
	if (fuzz->failed || fuzz->transactions >= 8 ||
	    !smtp_client_offers(fuzz->client)->pipelining)
		return;
	fuzz->follows = true;
	transaction = next_transaction(fuzz);
	smtp_client_follow(fuzz->client, &transaction);
}

static void on_ready(void *ctx, const struct smtp_offers *offers)
{
	open_transaction(ctx);
}

static void on_starttls(void *ctx)
{
	struct fuzz *fuzz = ctx;

	if (fuzz->failed)
		abort();
}

static void on_rcpt(void *ctx, size_t index, const struct smtp_reply *reply)
{
	struct fuzz *fuzz = ctx;

	if (!fuzz->open || fuzz->failed || index >= COUNT(people))
		abort();
	if (fuzz->reset && fuzz->transactions % 2 == 0) {
		fuzz->open = false;
		smtp_client_reset(fuzz->client);
		open_transaction(fuzz);
	}
}

/* More than a chunk: the first BDAT is not the last. */
static char block[SMTP_CLIENT_CHUNK];

static void end_body(struct fuzz *fuzz)
{
	fuzz->in_body = false;
	fuzz->dot = true;
	smtp_client_body_end(fuzz->client);
	follow(fuzz);
}

static void on_body(void *ctx)
{
	struct fuzz *fuzz = ctx;

	if (!fuzz->open)
		abort();
	if (fuzz->slowly)
		smtp_client_body(fuzz->client, slice_of(block, sizeof(block)));
	smtp_client_body(fuzz->client, slice(".dot\r\n."));
	fuzz->in_body = true;
	if (!fuzz->slowly)
		end_body(fuzz);
}

static void on_done(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct fuzz *fuzz = ctx;

	if (!fuzz->open || fuzz->failed ||
	    (stage == SMTP_STAGE_DOT && !fuzz->dot) ||
	    memchr(reply->text, 0, sizeof(reply->text)) == NULL)
		abort();
	fuzz->open = fuzz->in_body = false;
	if (fuzz->follows && smtp_client_stage(fuzz->client) != stage) {
		fuzz->follows = fuzz->dot = false;
		fuzz->open = true;
		return;
	}
	if (fuzz->client && smtp_client_stage(fuzz->client) != stage &&
	    reply->code != 421 && reply->code != 0)
		open_transaction(fuzz);
}

static void on_fail(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply, const char *why)
{
	struct fuzz *fuzz = ctx;

	if (fuzz->open || fuzz->failed || !why[0])
		abort();
	fuzz->failed = true;
}

static const struct smtp_client_owner owner = {
	.on_ready = on_ready,
	.on_starttls = on_starttls,
	.on_rcpt = on_rcpt,
	.on_body = on_body,
	.on_done = on_done,
	.on_fail = on_fail,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = { 0 };
	struct slice in;
	size_t piece;

	if (size == 0)
		return 0;
	in = slice_of(data + 1, size - 1);
	piece = data[0] & 1 ? 1 + (data[0] >> 4) : SIZE_MAX;
	fuzz.reset = data[0] & 2;
	fuzz.slowly = data[0] & 8;
	fuzz.client = smtp_client_new(&owner, &fuzz, "us", data[0] & 4);
	while (in.len > 0 && !fuzz.failed) {
		size_t n = in.len < piece ? in.len : piece;

		smtp_client_feed(fuzz.client, slice_of(in.p, n));
		if (fuzz.in_body && !fuzz.failed)
			end_body(&fuzz);
		buf_clear(smtp_client_out(fuzz.client));
		in = slice_from(in, n);
	}
	smtp_client_lost(fuzz.client, "end of input");
	if (fuzz.open)
		abort();
	smtp_client_free(fuzz.client);
	return 0;
}
