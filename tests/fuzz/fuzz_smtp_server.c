/*
 * The server's dialogue with any bytes, cut in two different ways: what it
 * says, and the message it keeps, must be the same.  (STARTTLS is not offered:
 * there the pieces have a meaning.)
 */
#include "smtp/smtp_hops.h"
#include "smtp/smtp_server.h"
#include <stdlib.h>

struct fuzz {
	struct smtp_server *server;
	struct buf said, kept;
	size_t message; /* where it begins in `kept` */
	struct smtp_hops hops;
	bool later, open, in_message;
};

static void answer(struct fuzz *fuzz, int code, const char *text)
{
	if (!fuzz->later)
		smtp_server_answer(fuzz->server, code, text);
}

static void on_helo(void *ctx, struct slice name, bool extended)
{
	answer(ctx, 250, "");
}

static void on_mail(void *ctx, const struct smtp_mail *mail)
{
	struct fuzz *fuzz = ctx;

	if (fuzz->open || mail->reverse_path.len > SMTP_PATH_MAX)
		abort();
	fuzz->open = true;
	answer(fuzz, 250, "2.1.0 ok");
}

static void on_rcpt(void *ctx, const struct smtp_path *path,
		    struct slice address)
{
	struct buf key = BUF_INIT;

	smtp_mailbox_key(address, &key);
	if (key.len == 0)
		abort();
	buf_release(&key);
	answer(ctx, 250, "2.1.5 ok");
}

static void on_data_begin(void *ctx)
{
	struct fuzz *fuzz = ctx;

	fuzz->in_message = true;
	fuzz->message = fuzz->kept.len;
	smtp_hops_begin(&fuzz->hops, "mx");
	answer(fuzz, 354, "go");
}

static void on_data(void *ctx, struct slice bytes)
{
	struct fuzz *fuzz = ctx;

	if (!fuzz->in_message || bytes.len == 0)
		abort();
	buf_add(&fuzz->kept, bytes);
	smtp_hops_add(&fuzz->hops, bytes);
	if (fuzz->hops.own > fuzz->hops.received)
		abort();
}

static void on_data_end(void *ctx, const char *bad)
{
	struct fuzz *fuzz = ctx;
	const struct buf *kept = &fuzz->kept;

	fuzz->in_message = false;
	buf_addf(&fuzz->said, "hops %u %u\n", fuzz->hops.received,
		 fuzz->hops.own);
	if (bad)
		return;
	/* What is kept has whole lines and no bare byte. */
	for (size_t i = fuzz->message; i < kept->len; i++)
		if ((kept->p[i] == '\n' &&
		     (i == fuzz->message || kept->p[i - 1] != '\r')) ||
		    (kept->p[i] == '\r' &&
		     (i + 1 == kept->len || kept->p[i + 1] != '\n')))
			abort();
	answer(fuzz, 250, "2.0.0 kept");
}

static void on_reset(void *ctx)
{
	struct fuzz *fuzz = ctx;

	if (!fuzz->open)
		abort();
	fuzz->open = fuzz->in_message = false;
}

static void on_starttls(void *ctx)
{
	abort();
}

static void on_close(void *ctx)
{
	struct fuzz *fuzz = ctx;

	if (fuzz->open)
		abort();
}

static const struct smtp_server_owner owner = {
	.on_helo = on_helo,
	.on_mail = on_mail,
	.on_rcpt = on_rcpt,
	.on_data_begin = on_data_begin,
	.on_data = on_data,
	.on_data_end = on_data_end,
	.on_reset = on_reset,
	.on_starttls = on_starttls,
	.on_close = on_close,
};

static void give(struct fuzz *fuzz, struct slice in)
{
	for (;;) {
		size_t used = smtp_server_feed(fuzz->server, in);

		in = slice_from(in, used);
		if (smtp_server_waits(fuzz->server))
			smtp_server_answer(fuzz->server,
					   fuzz->in_message ? 354 : 250,
					   "2.0.0 later");
		else if (used == 0)
			break;
	}
}

static void run(struct fuzz *fuzz, struct slice in, size_t piece)
{
	static const struct smtp_server_limits limits = {
		.max_size = 2000,
		.max_recipients = 3,
		.max_messages = 5,
		.max_errors = 20,
		.utf8 = true,
	};
	struct buf *out;

	fuzz->server = smtp_server_new(&owner, fuzz, "mx", &limits, false);
	smtp_server_greet(fuzz->server);
	while (in.len > 0) {
		size_t n = in.len < piece ? in.len : piece;

		give(fuzz, slice_of(in.p, n));
		in = slice_from(in, n);
	}
	out = smtp_server_out(fuzz->server);
	buf_add(&fuzz->said, buf_slice(out));
	smtp_server_free(fuzz->server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz whole = { 0 }, pieces = { 0 }, later = { .later = true };
	struct slice in;

	if (size == 0)
		return 0;
	in = slice_of(data + 1, size - 1);
	run(&whole, in, SIZE_MAX);
	run(&pieces, in, 1 + data[0] % 16);
	run(&later, in, SIZE_MAX);
	if (!slice_equal(buf_slice(&whole.said), buf_slice(&pieces.said)) ||
	    !slice_equal(buf_slice(&whole.kept), buf_slice(&pieces.kept)) ||
	    !slice_equal(buf_slice(&whole.kept), buf_slice(&later.kept)))
		abort();
	buf_release(&whole.said);
	buf_release(&whole.kept);
	buf_release(&pieces.said);
	buf_release(&pieces.kept);
	buf_release(&later.said);
	buf_release(&later.kept);
	return 0;
}
