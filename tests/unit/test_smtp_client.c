#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtp/smtp_client.h"
#include <stdio.h>
#include <stdlib.h>

/*
 * A dialogue as text.  "S: " the server says; "C: " we must say, exactly and
 * nothing else; "E: " what the owner must have heard; "A: " what the owner
 * does: "send N" opens a transaction with N recipients, "probe N" an envelope
 * without a message, "body TEXT", "end", "reset", "quit", "tls", "lost WHY",
 * "follow N" gives the one after it, and "next N" makes the next on_done open a transaction at once; "drop"
 * makes the next on_rcpt give the transaction up; "chunk C" gives a whole chunk
 * of that byte, which the client must say as "{chunk of C}".
 */
#define LINES 48

struct client_test {
	struct smtp_client *client;
	struct buf events;
	size_t next;
	bool drop;
};

static const char *const people[] = { "r0@b.example", "r1@b.example",
				      "r2@b.example" };

static void event(struct client_test *test, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void event(struct client_test *test, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	buf_vaddf(&test->events, format, args);
	va_end(args);
	buf_addc(&test->events, '\n');
}

static struct smtp_transaction to_people(size_t count, bool probe)
{
	return (struct smtp_transaction){
		.reverse_path = "s@a.example",
		.forward_paths = people,
		.count = count,
		.size = 100,
		.body = SMTP_BODY_8BITMIME,
		.envelope_only = probe,
	};
}

static void open_transaction(struct client_test *test, size_t count, bool probe)
{
	struct smtp_transaction transaction = to_people(count, probe);

	smtp_client_transaction(test->client, &transaction);
}

static void follow(struct client_test *test, size_t count)
{
	struct smtp_transaction transaction = to_people(count, false);

	smtp_client_follow(test->client, &transaction);
}

static void on_ready(void *ctx, const struct smtp_offers *offers)
{
	event(ctx, "ready%s%s", offers->esmtp ? " esmtp" : "",
	      offers->starttls ? " starttls" : "");
}

static void on_starttls(void *ctx)
{
	event(ctx, "starttls");
}

static void on_rcpt(void *ctx, size_t index, const struct smtp_reply *reply)
{
	struct client_test *test = ctx;

	event(test, "rcpt %zu %d %s", index, reply->code, reply->enhanced);
	if (test->drop)
		smtp_client_reset(test->client);
	test->drop = false;
}

static void on_body(void *ctx)
{
	event(ctx, "body");
}

static void on_done(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct client_test *test = ctx;
	size_t next = test->next;

	event(test, "done %s %d %s", smtp_stage_name(stage), reply->code,
	      reply->text);
	test->next = 0;
	if (next)
		open_transaction(test, next, false);
}

static void on_fail(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply, const char *why)
{
	event(ctx, "fail %s %d %s", smtp_stage_name(stage), reply->code, why);
}

static const struct smtp_client_owner owner = {
	.on_ready = on_ready,
	.on_starttls = on_starttls,
	.on_rcpt = on_rcpt,
	.on_body = on_body,
	.on_done = on_done,
	.on_fail = on_fail,
};

static void give_chunk(struct client_test *test, char c)
{
	struct buf bytes = BUF_INIT;

	while (bytes.len < SMTP_CLIENT_CHUNK)
		buf_addc(&bytes, c);
	smtp_client_body(test->client, buf_slice(&bytes));
	buf_release(&bytes);
}

/* A whole chunk of one byte becomes "{chunk of C}" and CRLF. */
static void abbreviate(struct buf *out)
{
	char *p = out->p;
	char want[64];
	char *at;
	int head =
		snprintf(want, sizeof(want), "BDAT %zu\r\n", SMTP_CLIENT_CHUNK);

	while (p && (at = strstr(p, want))) {
		char *bytes = at + head;
		char c = *bytes;
		size_t rest;
		int n;

		assert_true(out->len - (size_t)(bytes - out->p) >=
			    SMTP_CLIENT_CHUNK);
		assert_int_equal(strspn(bytes, (char[]){ c, '\0' }),
				 SMTP_CLIENT_CHUNK);
		n = snprintf(bytes, SMTP_CLIENT_CHUNK, "{chunk of %c}\r\n", c);
		p = bytes + n;
		rest = out->len - (size_t)(bytes + SMTP_CLIENT_CHUNK - out->p);
		memmove(p, bytes + SMTP_CLIENT_CHUNK, rest + 1);
		out->len -= SMTP_CLIENT_CHUNK - (size_t)n;
	}
}

static void act(struct client_test *test, const char *what)
{
	struct buf text = BUF_INIT;
	size_t n = (size_t)(what[strlen(what) - 1] - '0');

	if (strncmp(what, "send ", 5) == 0)
		open_transaction(test, n, false);
	else if (strncmp(what, "probe ", 6) == 0)
		open_transaction(test, n, true);
	else if (strncmp(what, "next ", 5) == 0)
		test->next = n;
	else if (strcmp(what, "drop") == 0)
		test->drop = true;
	else if (strncmp(what, "body ", 5) == 0)
		smtp_client_body(test->client, slice(what + 5));
	else if (strncmp(what, "chunk ", 6) == 0)
		give_chunk(test, what[6]);
	else if (strcmp(what, "end") == 0)
		smtp_client_body_end(test->client);
	else if (strncmp(what, "follow ", 7) == 0)
		follow(test, (size_t)atoi(what + 7));
	else if (strcmp(what, "reset") == 0)
		smtp_client_reset(test->client);
	else if (strcmp(what, "quit") == 0)
		smtp_client_quit(test->client);
	else if (strcmp(what, "tls") == 0)
		smtp_client_tls_started(test->client);
	else if (strncmp(what, "lost ", 5) == 0)
		smtp_client_lost(test->client, what + 5);
	else
		fail_msg("no such action: %s", what);
	buf_release(&text);
}

static void say(struct client_test *test, struct slice in, size_t piece)
{
	while (in.len > 0) {
		size_t n = in.len < piece ? in.len : piece;

		smtp_client_feed(test->client, slice_of(in.p, n));
		in = slice_from(in, n);
	}
}

/* Lines of one speaker in a row are one piece. */
static void play(const char *const *lines, size_t piece)
{
	struct client_test test = { 0 };
	struct buf said = BUF_INIT, heard = BUF_INIT, told = BUF_INIT;

	test.client = smtp_client_new(&owner, &test, "mx.us.example", true);
	for (size_t i = 0; i < LINES && lines[i]; i++) {
		const char *text = lines[i] + 3;
		char who = lines[i][0];
		bool last = i + 1 == LINES || !lines[i + 1] ||
			    lines[i + 1][0] != who;

		if (who == 'A') {
			act(&test, text);
		} else if (who == 'S') {
			buf_addf(&said, "%s\r\n", text);
			if (last)
				say(&test, buf_slice(&said), piece);
		} else if (who == 'C') {
			buf_addf(&heard, "%s\r\n", text);
			if (!last)
				continue;
			abbreviate(smtp_client_out(test.client));
			assert_string_equal(
				buf_text(smtp_client_out(test.client)),
				buf_text(&heard));
			buf_clear(smtp_client_out(test.client));
		} else {
			buf_addf(&told, "%s\n", text);
			if (!last)
				continue;
			assert_string_equal(buf_text(&test.events),
					    buf_text(&told));
			buf_clear(&test.events);
		}
		if (last) {
			buf_clear(&said);
			buf_clear(&heard);
			buf_clear(&told);
		}
	}
	assert_string_equal(buf_text(&test.events), "");
	assert_string_equal(buf_text(smtp_client_out(test.client)), "");
	smtp_client_free(test.client);
	buf_release(&test.events);
	buf_release(&said);
	buf_release(&heard);
	buf_release(&told);
}

#define UP                                                    \
	"S: 220 mx.b.example ESMTP", "C: EHLO mx.us.example", \
		"S: 250-mx.b.example", "S: 250-PIPELINING",   \
		"S: 250-SIZE 1000", "S: 250 8BITMIME", "E: ready esmtp"
#define UP_CHUNKS                                                         \
	"S: 220 mx.b.example ESMTP", "C: EHLO mx.us.example",             \
		"S: 250-mx.b.example", "S: 250-PIPELINING",               \
		"S: 250-SIZE 1000", "S: 250-CHUNKING", "S: 250 8BITMIME", \
		"E: ready esmtp"
#define UP_PLAIN \
	"S: 220 x", "C: EHLO mx.us.example", "S: 250 x", "E: ready esmtp"
#define MAIL	   "C: MAIL FROM:<s@a.example> SIZE=100 BODY=8BITMIME"
#define MAIL_PLAIN "C: MAIL FROM:<s@a.example>"
#define R0	   "C: RCPT TO:<r0@b.example>"
#define R1	   "C: RCPT TO:<r1@b.example>"
#define R2	   "C: RCPT TO:<r2@b.example>"

static const struct dialogue {
	const char *name, *lines[LINES];
} dialogues[] = {
	{ "a message is delivered",
	  { UP,
	    "A: send 2",
	    MAIL,
	    R0,
	    R1,
	    "S: 250 2.1.0 ok",
	    "S: 250 2.1.5 ok",
	    "S: 250 2.1.5 ok",
	    "C: DATA",
	    "S: 354 go",
	    "E: body",
	    "A: body Subject: x\r\n\r\n.",
	    "A: body .hidden",
	    "A: end",
	    "C: Subject: x",
	    "C: ",
	    "C: ...hidden",
	    "C: .",
	    "S: 250 2.0.0 queued as 7",
	    "E: done end of data 250 queued as 7",
	    "A: quit",
	    "C: QUIT",
	    "S: 221 bye" } },
	{ "without PIPELINING commands wait for their replies",
	  { UP_PLAIN, "A: send 2", MAIL_PLAIN, "S: 250 ok", R0, "S: 250 ok", R1,
	    "S: 250 ok", "C: DATA", "S: 354 go", "E: body", "A: body a\r\n",
	    "A: end", "C: a", "C: .", "S: 250 ok",
	    "E: done end of data 250 ok" } },
	{ "each refused recipient is told, the others get the message",
	  { UP, "A: send 3", MAIL, R0, R1, R2, "S: 250 ok", "S: 550 5.1.1 who",
	    "S: 250 ok", "S: 452 4.2.2 full", "E: rcpt 0 550 5.1.1",
	    "E: rcpt 2 452 4.2.2", "C: DATA", "S: 354 go", "E: body", "A: end",
	    "C: .", "S: 250 ok", "E: done end of data 250 ok" } },
	{ "no recipient is accepted: RSET, and the next one waits for it",
	  { UP, "A: next 1", "A: send 2", MAIL, R0, R1, "S: 250 ok",
	    "S: 550 5.1.1 who", "S: 550 5.1.1 who", "E: rcpt 0 550 5.1.1",
	    "E: rcpt 1 550 5.1.1", "E: done RCPT 550 who", "C: RSET",
	    "S: 250 ok", MAIL, R0 } },
	{ "MAIL is refused: the replies to the pipelined rest are stale",
	  { UP, "A: next 1", "A: send 2", MAIL, R0, R1, "S: 451 4.7.1 later",
	    "E: done MAIL 451 later", "C: RSET", "S: 503 no", "S: 503 no",
	    "S: 250 ok", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA" } },
	{ "MAIL is refused without PIPELINING",
	  { UP_PLAIN, "A: send 2", MAIL_PLAIN, "S: 550 5.7.1 no",
	    "E: done MAIL 550 no", "C: RSET", "A: send 1", "S: 250 ok",
	    MAIL_PLAIN } },
	{ "DATA is refused",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 451 4.3.0 no", "E: done DATA 451 no", "C: RSET", "S: 250 ok",
	    "A: send 1", MAIL, R0 } },
	{ "the message is refused",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 354 go", "E: body", "A: end", "C: .", "S: 554 5.6.0 spam",
	    "E: done end of data 554 spam", "C: RSET", "S: 250 ok", "A: send 1",
	    MAIL, R0 } },
	{ "EHLO refused: HELO",
	  { "S: 220 x", "C: EHLO mx.us.example", "S: 502 what",
	    "C: HELO mx.us.example", "S: 250 x", "E: ready", "A: send 1",
	    MAIL_PLAIN } },
	{ "EHLO and HELO refused",
	  { "S: 220 x", "C: EHLO mx.us.example", "S: 550 no",
	    "C: HELO mx.us.example", "S: 550 no",
	    "E: fail EHLO 550 EHLO is refused" } },
	{ "the greeting refuses",
	  { "S: 554 no", "E: fail greeting 554 the greeting refuses us" } },
	{ "a 421 in the greeting",
	  { "S: 421 busy", "E: fail greeting 421 the greeting refuses us" } },
	{ "STARTTLS, and what was offered before it is forgotten",
	  { "S: 220 x", "C: EHLO mx.us.example", "S: 250-x",
	    "S: 250-PIPELINING", "S: 250 STARTTLS", "C: STARTTLS", "S: 220 go",
	    "E: starttls", "A: tls", "C: EHLO mx.us.example", "S: 250-x",
	    "S: 250 STARTTLS", "E: ready esmtp starttls", "A: send 2",
	    MAIL_PLAIN } },
	{ "STARTTLS is refused",
	  { "S: 220 x", "C: EHLO mx.us.example", "S: 250-x", "S: 250 STARTTLS",
	    "C: STARTTLS", "S: 454 4.7.0 not now",
	    "E: fail STARTTLS 454 STARTTLS is refused" } },
	{ "421 ends the transaction, then the session",
	  { UP, "A: send 2", MAIL, R0, R1, "S: 250 ok", "S: 250 ok",
	    "S: 421 4.7.0 slow down", "E: done RCPT 421 slow down",
	    "E: fail RCPT 421 the server closes" } },
	{ "421 behind a delivery takes nothing back",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 354 go", "E: body", "A: end", "C: .", "S: 250 2.0.0 ok",
	    "S: 421 enough", "E: done end of data 250 ok",
	    "E: fail MAIL 421 the server closes" } },
	{ "a refusal in the middle of the message",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 354 go", "E: body", "A: body a\r\n", "C: a",
	    "S: 552 5.3.4 too big", "E: done DATA 552 too big",
	    "E: fail DATA 552 a reply before the end of the message" } },
	{ "a 250 before the dot is not believed",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 354 go", "E: body", "A: body a\r\n", "C: a", "S: 250 ok",
	    "E: done DATA 0 a reply before the end of the message",
	    "E: fail DATA 0 a reply before the end of the message" } },
	{ "DATA answered with 250",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 250 ok",
	    "E: done DATA 0 DATA is answered with neither 354 "
	    "nor a refusal",
	    "E: fail DATA 0 DATA is answered with neither "
	    "354 nor a refusal" } },
	{ "garbage",
	  { UP, "A: send 1", MAIL, R0, "S: hello",
	    "E: done MAIL 0 the server does not speak SMTP",
	    "E: fail MAIL 0 the server does not speak SMTP" } },
	{ "a lost connection after the dot is told as such",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 354 go", "E: body", "A: end", "C: .", "A: lost timed out",
	    "E: done end of data 0 timed out" } },
	{ "a lost connection between transactions ends nothing",
	  { UP, "A: lost gone" } },
	{ "a probe asks and sends no message",
	  { UP, "A: probe 2", MAIL, R0, R1, "S: 250 ok", "S: 250 2.1.5 ok",
	    "S: 550 5.1.1 who", "E: rcpt 0 250 2.1.5", "E: rcpt 1 550 5.1.1",
	    "E: done RCPT 550 who", "C: RSET", "S: 250 ok", "A: quit",
	    "C: QUIT" } },
	{ "a transaction is given up",
	  { UP, "A: send 2", MAIL, R0, R1, "S: 250 ok", "A: reset", "C: RSET",
	    "A: send 1", "S: 250 ok", "S: 550 who", "S: 250 ok", MAIL, R0,
	    "S: 250 ok", "S: 250 ok", "C: DATA" } },
	{ "a transaction is given up while a reply is told",
	  { UP_PLAIN, "A: drop", "A: send 2", MAIL_PLAIN, "S: 250 ok", R0,
	    "S: 550 5.1.1 who", "E: rcpt 0 550 5.1.1", "C: RSET", "S: 250 ok",
	    "A: send 1", MAIL_PLAIN } },
	{ "a transaction is given up without PIPELINING",
	  { UP_PLAIN, "A: send 2", MAIL_PLAIN, "A: reset", "A: send 1",
	    "S: 250 ok", "C: RSET", "S: 250 ok", MAIL_PLAIN } },
	{ "RSET is refused: that is not the next transaction's refusal",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "A: reset", "C: RSET",
	    "A: send 1", "S: 250 ok", "S: 500 what",
	    "E: done MAIL 0 RSET is refused",
	    "E: fail MAIL 0 RSET is refused" } },
	{ "BDAT where CHUNKING is offered: no 354, no dot, no stuffing",
	  { UP_CHUNKS,
	    "A: send 2",
	    MAIL,
	    R0,
	    R1,
	    "S: 250 2.1.0 ok",
	    "S: 250 2.1.5 ok",
	    "S: 550 5.1.1 who",
	    "E: rcpt 1 550 5.1.1",
	    "E: body",
	    "A: body a\r\n.\r\n",
	    "A: body ..b\r\n",
	    "A: end",
	    "C: BDAT 11 LAST",
	    "C: a",
	    "C: .",
	    "C: ..b",
	    "S: 250 2.0.0 queued as 7",
	    "E: done end of data 250 queued as 7",
	    "A: send 1",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 250 ok",
	    "E: body",
	    "A: end",
	    "C: BDAT 0 LAST",
	    "S: 250 ok",
	    "E: done end of data 250 ok" } },
	{ "no chunk is sent before a recipient stands, and none for nobody",
	  { UP_CHUNKS, "A: send 2", MAIL, R0, R1, "S: 250 ok",
	    "S: 550 5.1.1 who", "E: rcpt 0 550 5.1.1", "S: 550 5.1.1 who",
	    "E: rcpt 1 550 5.1.1", "E: done RCPT 550 who", "C: RSET" } },
	{ "chunks follow each other without waiting",
	  { UP_CHUNKS,
	    "A: send 1",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 250 ok",
	    "E: body",
	    "A: chunk x",
	    "A: chunk y",
	    "C: BDAT 262144",
	    "C: {chunk of x}",
	    "A: body z\r\n",
	    "A: end",
	    "C: BDAT 262144",
	    "C: {chunk of y}",
	    "C: BDAT 3 LAST",
	    "C: z",
	    "S: 250 chunk",
	    "S: 250 chunk",
	    "S: 250 2.0.0 all of it",
	    "E: done end of data 250 all of it",
	    "A: send 1",
	    MAIL,
	    R0 } },
	{ "a chunk is refused: no more of them, and the pipeline's are stale",
	  { UP_CHUNKS,
	    "A: next 1",
	    "A: send 1",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 250 ok",
	    "E: body",
	    "A: chunk x",
	    "A: chunk y",
	    "A: chunk z",
	    "C: BDAT 262144",
	    "C: {chunk of x}",
	    "C: BDAT 262144",
	    "C: {chunk of y}",
	    "S: 552 5.3.4 too big",
	    "E: done DATA 552 too big",
	    "C: RSET",
	    "S: 503 no",
	    "S: 250 ok",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 250 ok",
	    "E: body",
	    "A: body a\r\n",
	    "A: end",
	    "C: BDAT 3 LAST",
	    "C: a",
	    "S: 250 ok",
	    "E: done end of data 250 ok" } },
	{ "a chunk is refused when the last has left: its reply is awaited",
	  { UP_CHUNKS,
	    "A: send 1",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 250 ok",
	    "E: body",
	    "A: chunk x",
	    "A: body z\r\n",
	    "A: end",
	    "C: BDAT 262144",
	    "C: {chunk of x}",
	    "C: BDAT 3 LAST",
	    "C: z",
	    "S: 452 4.3.1 full",
	    "S: 503 5.5.1 no",
	    "E: done end of data 452 full",
	    "C: RSET",
	    "S: 250 ok",
	    "A: send 1",
	    MAIL,
	    R0 } },
	{ "a message of which a chunk was refused is not believed to be kept",
	  { UP_CHUNKS, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok",
	    "E: body", "A: chunk x", "A: body z\r\n", "A: end",
	    "C: BDAT 262144", "C: {chunk of x}", "C: BDAT 3 LAST", "C: z",
	    "S: 452 4.3.1 full", "S: 250 ok",
	    "E: done end of data 0 a message is accepted of which a chunk was "
	    "refused",
	    "E: fail end of data 0 a message is accepted of which a chunk was "
	    "refused" } },
	{ "a 250 beyond the chunks that were sent is not believed",
	  { UP_CHUNKS, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok",
	    "E: body", "A: chunk x", "A: body y", "C: BDAT 262144",
	    "C: {chunk of x}", "S: 250 ok", "S: 250 ok",
	    "E: done DATA 0 a reply before the end of the message",
	    "E: fail DATA 0 a reply before the end of the message" } },
	{ "the replies to earlier chunks are not that to the message",
	  { UP_CHUNKS, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok",
	    "E: body", "A: chunk x", "A: body z\r\n", "A: end",
	    "C: BDAT 262144", "C: {chunk of x}", "C: BDAT 3 LAST", "C: z",
	    "S: 250 ok", "A: lost timed out",
	    "E: done end of data 0 timed out" } },
	{ "before the last chunk has left a lost connection lost no outcome",
	  { UP_CHUNKS, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok",
	    "E: body", "A: chunk x", "A: body z", "C: BDAT 262144",
	    "C: {chunk of x}", "A: lost timed out",
	    "E: done DATA 0 timed out" } },
	{ "421 to a chunk",
	  { UP_CHUNKS, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok",
	    "E: body", "A: chunk x", "A: body z", "C: BDAT 262144",
	    "C: {chunk of x}", "S: 421 4.3.2 closing",
	    "E: done DATA 421 closing",
	    "E: fail DATA 421 the server closes" } },
	{ "CHUNKING without PIPELINING: DATA",
	  { "S: 220 x", "C: EHLO mx.us.example", "S: 250-x", "S: 250 CHUNKING",
	    "E: ready esmtp", "A: send 1", MAIL_PLAIN, "S: 250 ok", R0,
	    "S: 250 ok", "C: DATA" } },
	{ "the next envelope follows the message, and costs no round trip",
	  { UP_CHUNKS,
	    "A: send 1",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 250 ok",
	    "E: body",
	    "A: body a\r\n",
	    "A: end",
	    "A: follow 2",
	    "C: BDAT 3 LAST",
	    "C: a",
	    MAIL,
	    R0,
	    R1,
	    "S: 250 2.0.0 kept",
	    "E: done end of data 250 kept",
	    "S: 250 ok",
	    "S: 550 5.1.1 who",
	    "S: 250 ok",
	    "E: rcpt 0 550 5.1.1",
	    "E: body",
	    "A: body b\r\n",
	    "A: end",
	    "C: BDAT 3 LAST",
	    "C: b",
	    "S: 250 ok",
	    "E: done end of data 250 ok",
	    "A: quit",
	    "C: QUIT" } },
	{ "so it does behind a dot",
	  { UP,
	    "A: send 1",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 250 ok",
	    "C: DATA",
	    "S: 354 go",
	    "E: body",
	    "A: body a\r\n",
	    "A: end",
	    "A: follow 1",
	    "C: a",
	    "C: .",
	    MAIL,
	    R0,
	    "S: 250 kept",
	    "S: 250 ok",
	    "S: 250 ok",
	    "E: done end of data 250 kept",
	    "C: DATA",
	    "S: 354 go",
	    "E: body",
	    "A: end",
	    "C: .",
	    "S: 250 ok",
	    "E: done end of data 250 ok" } },
	{ "behind a refused message it is stale, and goes again after RSET",
	  { UP,
	    "A: send 1",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 250 ok",
	    "C: DATA",
	    "S: 354 go",
	    "E: body",
	    "A: end",
	    "A: follow 1",
	    "C: .",
	    MAIL,
	    R0,
	    "S: 550 5.7.1 spam",
	    "S: 250 ok",
	    "S: 250 ok",
	    "E: done end of data 550 spam",
	    "C: RSET",
	    "S: 250 flushed",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 550 5.1.1 who",
	    "E: rcpt 0 550 5.1.1",
	    "E: done RCPT 550 who",
	    "C: RSET" } },
	{ "a MAIL that follows is refused like any other",
	  { UP,
	    "A: send 1",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 250 ok",
	    "C: DATA",
	    "S: 354 go",
	    "E: body",
	    "A: end",
	    "A: follow 1",
	    "C: .",
	    MAIL,
	    R0,
	    "S: 250 kept",
	    "S: 452 4.5.3 enough",
	    "S: 503 no",
	    "E: done end of data 250 kept",
	    "E: done MAIL 452 enough",
	    "C: RSET" } },
	{ "given up once its turn has come, its replies are stale",
	  { UP,
	    "A: send 1",
	    MAIL,
	    R0,
	    "S: 250 ok",
	    "S: 250 ok",
	    "C: DATA",
	    "S: 354 go",
	    "E: body",
	    "A: end",
	    "A: follow 1",
	    "C: .",
	    MAIL,
	    R0,
	    "S: 250 kept",
	    "E: done end of data 250 kept",
	    "A: reset",
	    "C: RSET",
	    "S: 250 ok",
	    "S: 250 ok",
	    "S: 250 flushed",
	    "A: send 2",
	    MAIL,
	    R0,
	    R1 } },
	{ "421 to the message ends it all: of what follows nothing is told",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 354 go", "E: body", "A: end", "A: follow 1", "C: .", MAIL, R0,
	    "S: 421 4.3.2 closing", "E: done end of data 421 closing",
	    "E: fail end of data 421 the server closes" } },
	{ "the connection is lost before the message is answered: the same",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 354 go", "E: body", "A: end", "A: follow 1", "C: .", MAIL, R0,
	    "A: lost reset", "E: done end of data 0 reset" } },
	{ "lost once its turn has come, it is a transaction that was lost",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 354 go", "E: body", "A: end", "A: follow 1", "C: .", MAIL, R0,
	    "S: 250 kept", "E: done end of data 250 kept", "A: lost reset",
	    "E: done MAIL 0 reset" } },
	{ "a reply that nobody asked for",
	  { UP, "S: 250 ok", "E: fail MAIL 0 a reply that nobody asked for" } },
};

static void dialogues_go_as_written(void **state)
{
	for (size_t i = 0; i < COUNT(dialogues); i++) {
		print_message("%s\n", dialogues[i].name);
		play(dialogues[i].lines, SIZE_MAX);
	}
}

static void byte_by_byte_is_the_same(void **state)
{
	for (size_t i = 0; i < COUNT(dialogues); i++)
		for (size_t piece = 1; piece < 9; piece++)
			play(dialogues[i].lines, piece);
}

/* What must come in one piece to mean what it means. */
static const struct dialogue injections[] = {
	{ "bytes behind the reply to STARTTLS",
	  { "S: 220 x", "C: EHLO mx.us.example", "S: 250-x", "S: 250 STARTTLS",
	    "C: STARTTLS", "S: 220 go", "S: 250 x",
	    "E: fail STARTTLS 0 bytes behind the reply to STARTTLS" } },
	{ "a 250 that is there with the 354",
	  { UP, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok", "C: DATA",
	    "S: 354 go", "S: 250 ok",
	    "E: done DATA 0 a reply before the end of the message",
	    "E: fail DATA 0 a reply before the end of the message" } },
	{ "a 250 that is there before the first chunk",
	  { UP_CHUNKS, "A: send 1", MAIL, R0, "S: 250 ok", "S: 250 ok",
	    "S: 250 ok", "E: done RCPT 0 a reply before the end of the message",
	    "E: fail RCPT 0 a reply before the end of the message" } },
};

static void replies_ahead_of_their_time_are_not_believed(void **state)
{
	for (size_t i = 0; i < COUNT(injections); i++)
		play(injections[i].lines, SIZE_MAX);
}

static void half_a_reply_before_the_dot_is_not_believed(void **state)
{
	struct client_test test = { 0 };

	test.client = smtp_client_new(&owner, &test, "us", false);
	smtp_client_feed(test.client, slice("220 x\r\n"));
	smtp_client_feed(test.client, slice("250 x\r\n"));
	open_transaction(&test, 1, false);
	smtp_client_feed(test.client, slice("250 x\r\n250 x\r\n"));
	smtp_client_feed(test.client, slice("354 x\r\n"));
	smtp_client_feed(test.client, slice("250 o"));
	smtp_client_body_end(test.client);
	smtp_client_feed(test.client, slice("k\r\n"));
	assert_non_null(strstr(buf_text(&test.events), "done DATA 0"));
	assert_null(strstr(buf_text(&test.events), "done end of data"));
	smtp_client_free(test.client);
	buf_release(&test.events);
}

/* DATA must end the last line (RFC 5321, section 4.1.1.4); BDAT need not. */
static void a_message_without_its_last_crlf_is_sent_as_it_is(void **state)
{
	struct client_test test = { 0 };
	struct buf *out;

	test.client = smtp_client_new(&owner, &test, "us", false);
	smtp_client_feed(test.client, slice("220 x\r\n"));
	smtp_client_feed(test.client,
			 slice("250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n"));
	open_transaction(&test, 1, false);
	smtp_client_feed(test.client, slice("250 x\r\n250 x\r\n"));
	out = smtp_client_out(test.client);
	buf_clear(out);
	smtp_client_body(test.client, slice("a\r\n.b"));
	assert_int_equal(smtp_client_stage(test.client), SMTP_STAGE_DATA);
	assert_string_equal(buf_text(out), "");
	smtp_client_body_end(test.client);
	assert_int_equal(smtp_client_stage(test.client), SMTP_STAGE_DOT);
	assert_string_equal(buf_text(out), "BDAT 5 LAST\r\na\r\n.b");
	smtp_client_free(test.client);
	buf_release(&test.events);
}

static void free_on_fail(void *ctx, enum smtp_stage stage,
			 const struct smtp_reply *reply, const char *why)
{
	struct client_test *test = ctx;

	smtp_client_free(test->client);
	test->client = NULL;
}

static void it_may_be_freed_inside_a_callback(void **state)
{
	struct smtp_client_owner freeing = owner;
	struct client_test test = { 0 };

	freeing.on_fail = free_on_fail;
	test.client = smtp_client_new(&freeing, &test, "us", false);
	smtp_client_feed(test.client, slice("554 no\r\n554 no\r\n"));
	assert_null(test.client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dialogues_go_as_written),
		cmocka_unit_test(byte_by_byte_is_the_same),
		cmocka_unit_test(replies_ahead_of_their_time_are_not_believed),
		cmocka_unit_test(half_a_reply_before_the_dot_is_not_believed),
		cmocka_unit_test(
			a_message_without_its_last_crlf_is_sent_as_it_is),
		cmocka_unit_test(it_may_be_freed_inside_a_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
