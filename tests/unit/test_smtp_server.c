#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtp/smtp_server.h"
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Dialogues as text: the files under tests/smtp.
 *
 *   C: a line of the client, CRLF added      C> the same without CRLF
 *   S: a line of the server, exactly, or its beginning if it ends with "..."
 *   E: what the owner heard since the last C block; may be left out
 *   ! max_size 100, ! max_errors 3, ... ! starttls, ! utf8: set up (on top)
 *   ! tls, ! shutdown TEXT, ! drain TEXT: happens before the next C block
 *   ! whole: the next C block means something else when it comes in pieces
 *   # a remark
 *
 * In C lines \r \n \0 \\ and \{70000*x} stand for what they say.  The C lines
 * up to the next S line are sent at once; each dialogue is also run with
 * every such block cut once at every place, and byte by byte, each with an
 * owner who answers at once and one who answers later.
 *
 * The owner refuses the reverse-paths refused@ (550), busy@ (451), closing@
 * (421), nodata@ (451 to DATA), spam@ (554 to the message) and the
 * forward-paths unknown@ (550) and later@ (450); small@ takes 20 bytes.
 */
struct exchange {
	bool whole, tls, has_events;
	char *farewell;
	bool drain;
	struct buf in, out, events;
};

struct dialogue {
	struct smtp_server_limits limits;
	bool starttls;
	struct exchange exchanges[64];
	size_t count;
};

struct server_test {
	struct smtp_server *server;
	bool later;
	int code; /* of the answer that waits */
	char text[80];
	char reverse_path[300];
	struct buf message, events;
};

static void event(struct server_test *test, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void event(struct server_test *test, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	buf_vaddf(&test->events, format, args);
	va_end(args);
	buf_addc(&test->events, '\n');
}

static void answer(struct server_test *test, int code, const char *text)
{
	if (!test->later) {
		smtp_server_answer(test->server, code, text);
		return;
	}
	test->code = code;
	snprintf(test->text, sizeof(test->text), "%s", text);
}

static bool from(const struct server_test *test, const char *local)
{
	return slice_starts(slice(test->reverse_path), local);
}

static void on_helo(void *ctx, struct slice name, bool extended)
{
	event(ctx, "%s %.*s", extended ? "ehlo" : "helo", (int)name.len,
	      name.p);
	if (slice_is(name, "refused.example"))
		answer(ctx, 550, "5.7.1 not you");
	else
		answer(ctx, 250, "unused");
}

static void on_mail(void *ctx, const struct smtp_mail *mail)
{
	struct server_test *test = ctx;

	snprintf(test->reverse_path, sizeof(test->reverse_path), "%.*s",
		 (int)mail->reverse_path.len, mail->reverse_path.p);
	event(test, "mail <%s> %d%s%s", test->reverse_path, (int)mail->size,
	      mail->body == SMTP_BODY_8BITMIME ? " 8bit" : "",
	      mail->utf8 ? " utf8" : "");
	if (from(test, "refused@"))
		answer(test, 550, "5.7.1 not from you");
	else if (from(test, "busy@"))
		answer(test, 451, "4.3.2 not now");
	else if (from(test, "closing@"))
		answer(test, 421, "4.3.2 closing");
	else
		answer(test, 250, "2.1.0 ok");
}

static void on_rcpt(void *ctx, const struct smtp_path *path,
		    struct slice address)
{
	event(ctx, "rcpt <%.*s>%s", (int)address.len, address.p,
	      path->postmaster ? " postmaster" : "");
	if (slice_starts(address, "small@"))
		smtp_server_max_size(((struct server_test *)ctx)->server, 20);
	if (slice_starts(address, "unknown@"))
		answer(ctx, 550, "5.1.1 who\r\n250 forged");
	else if (slice_starts(address, "later@"))
		answer(ctx, 450, "4.1.1 not yet");
	else
		answer(ctx, 250, "2.1.5 ok");
}

static void on_data_begin(void *ctx)
{
	struct server_test *test = ctx;

	buf_clear(&test->message);
	if (from(test, "nodata@"))
		answer(test, 451, "4.3.0 no room");
	else
		answer(test, 354, "go");
}

static void on_data(void *ctx, struct slice bytes)
{
	struct server_test *test = ctx;

	assert_true(bytes.len > 0);
	buf_add(&test->message, bytes);
}

static void on_data_end(void *ctx, const char *bad)
{
	struct server_test *test = ctx;
	char text[80];

	if (bad) {
		event(test, "bad %s", bad);
		return;
	}
	event(test, "message %s", buf_text(&test->message));
	snprintf(text, sizeof(text), "2.0.0 kept %zu bytes", test->message.len);
	if (from(test, "spam@"))
		answer(test, 554, "5.7.1 spam");
	else
		answer(test, 250, text);
}

static void on_reset(void *ctx)
{
	event(ctx, "reset");
}

static void on_starttls(void *ctx)
{
	event(ctx, "starttls");
}

static void on_close(void *ctx)
{
	event(ctx, "close");
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

/* Reading a dialogue. */

static void add_escaped(struct buf *out, const char *text)
{
	for (; *text; text++) {
		unsigned times;
		char c;
		int len = 0;

		if (*text != '\\') {
			buf_addc(out, *text);
			continue;
		}
		text++;
		if (sscanf(text, "{%u*%c}%n", &times, &c, &len) == 2 && len) {
			while (times--)
				buf_addc(out, c);
			text += len - 1;
		} else {
			const char *at = strchr("rn0\\", *text);

			assert_true(*text && at);
			buf_addc(out, "\r\n\0\\"[at - "rn0\\"]);
		}
	}
}

static void read_setting(struct dialogue *dialogue, struct exchange *next,
			 const char *text)
{
	struct smtp_server_limits *limits = &dialogue->limits;
	unsigned n = 0;

	if (sscanf(text, "max_size %u", &n) == 1)
		limits->max_size = n;
	else if (sscanf(text, "max_recipients %u", &n) == 1)
		limits->max_recipients = n;
	else if (sscanf(text, "max_messages %u", &n) == 1)
		limits->max_messages = n;
	else if (sscanf(text, "max_errors %u", &n) == 1)
		limits->max_errors = n;
	else if (sscanf(text, "max_junk %u", &n) == 1)
		limits->max_junk = n;
	else if (strcmp(text, "utf8") == 0)
		limits->utf8 = true;
	else if (strcmp(text, "starttls") == 0)
		dialogue->starttls = true;
	else if (strcmp(text, "whole") == 0)
		next->whole = true;
	else if (strcmp(text, "tls") == 0)
		next->tls = true;
	else if (strncmp(text, "shutdown ", 9) == 0)
		next->farewell = mem_dup(text + 9);
	else if (strncmp(text, "drain ", 6) == 0) {
		next->farewell = mem_dup(text + 6);
		next->drain = true;
	} else
		fail_msg("no such setting: %s", text);
}

static void read_dialogue(const char *path, struct dialogue *dialogue)
{
	FILE *file = fopen(path, "r");
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	bool answered = false;
	struct exchange *now = &dialogue->exchanges[0];

	assert_non_null(file);
	while ((len = getline(&line, &size, file)) > 0) {
		if (line[len - 1] == '\n')
			line[--len] = '\0';
		if (len == 0 || line[0] == '#')
			continue;
		if (answered && strchr("C!", line[0])) {
			now++;
			answered = false;
			assert_true(now < dialogue->exchanges +
						  COUNT(dialogue->exchanges));
		}
		if (line[0] == 'S') {
			buf_addf(&now->out, "%s\n", line + 3);
		} else if (line[0] == 'E') {
			buf_addf(&now->events, "%s\n", line + 3);
			now->has_events = true;
		} else if (line[0] == '!') {
			read_setting(dialogue, now, line + 2);
		} else if (line[0] == 'C') {
			add_escaped(&now->in, len > 3 ? line + 3 : "");
			if (line[1] == ':')
				buf_adds(&now->in, "\r\n");
		} else {
			fail_msg("%s: what is '%s'?", path, line);
		}
		answered = answered || line[0] == 'S' || line[0] == 'E';
	}
	dialogue->count = (size_t)(now - dialogue->exchanges) + 1;
	free(line);
	fclose(file);
}

static void free_dialogue(struct dialogue *dialogue)
{
	for (size_t i = 0; i < dialogue->count; i++) {
		struct exchange *exchange = &dialogue->exchanges[i];

		buf_release(&exchange->in);
		buf_release(&exchange->out);
		buf_release(&exchange->events);
		free(exchange->farewell);
	}
}

/* Running it. */

static void give(struct server_test *test, struct slice in)
{
	for (;;) {
		size_t used = smtp_server_feed(test->server, in);
		int code = test->code;

		in = slice_from(in, used);
		test->code = 0;
		if (smtp_server_waits(test->server)) {
			assert_int_not_equal(code, 0);
			smtp_server_answer(test->server, code, test->text);
		} else if (used == 0) {
			break;
		}
	}
}

static void give_pieces(struct server_test *test, struct slice in, size_t piece)
{
	while (in.len > 0) {
		size_t n = in.len < piece ? in.len : piece;

		give(test, slice_of(in.p, n));
		in = slice_from(in, n);
	}
}

/* Every line as it is written; "..." at its end is "and so on". */
static void check_out(const char *path, struct slice want, struct slice got)
{
	struct slice all = got;

	while (want.len > 0) {
		struct slice line = slice_split(&want, '\n');
		struct slice said = slice_split(&got, '\n');
		bool prefix = slice_ends_nocase(line, "...");
		bool fits;

		if (said.len == 0 || said.p[said.len - 1] != '\r')
			fail_msg("%s: wanted '%.*s' in '%.*s'", path,
				 (int)line.len, line.p, (int)all.len, all.p);
		said.len--;
		if (prefix)
			line.len -= 3;
		fits = said.len >= line.len &&
		       memcmp(said.p, line.p, line.len) == 0 &&
		       (prefix || said.len == line.len);
		if (!fits)
			fail_msg("%s: wanted '%.*s', got '%.*s'", path,
				 (int)line.len, line.p, (int)said.len, said.p);
	}
	if (got.len > 0)
		fail_msg("%s: nobody wanted '%.*s'", path, (int)got.len, got.p);
}

/* Events are written one to a line, so a message's CRLF is "|" there. */
static void flatten(struct buf *events)
{
	size_t to = 0;

	for (size_t i = 0; i < events->len; i++) {
		if (events->p[i] == '\r' && events->p[i + 1] == '\n')
			i++, events->p[to++] = '|';
		else
			events->p[to++] = events->p[i];
	}
	events->p[to] = '\0';
	events->len = to;
}

/* Exchange `which` is cut at `cut`; all are given in pieces of `piece`. */
static void run(const char *path, const struct dialogue *dialogue, bool later,
		size_t which, size_t cut, size_t piece)
{
	struct server_test test = { .later = later };
	struct buf *out;

	test.server = smtp_server_new(&owner, &test, "mx.example.net",
				      &dialogue->limits, dialogue->starttls);
	out = smtp_server_out(test.server);
	smtp_server_greet(test.server);
	for (size_t i = 0; i < dialogue->count; i++) {
		const struct exchange *exchange = &dialogue->exchanges[i];
		struct slice in = buf_slice(&exchange->in);
		size_t at = which == i ? cut : 0;

		buf_clear(&test.events);
		if (exchange->tls)
			smtp_server_tls_started(test.server);
		if (exchange->farewell && exchange->drain)
			smtp_server_drain(test.server, exchange->farewell);
		else if (exchange->farewell)
			smtp_server_shutdown(test.server, exchange->farewell);
		give_pieces(&test, slice_of(in.p, at), piece);
		give_pieces(&test, slice_from(in, at),
			    exchange->whole ? SIZE_MAX : piece);
		check_out(path, buf_slice(&exchange->out), buf_slice(out));
		buf_clear(out);
		if (!exchange->has_events)
			continue;
		buf_addc(&test.events, '\0');
		test.events.len--;
		flatten(&test.events);
		assert_string_equal(buf_text(&test.events),
				    buf_text(&exchange->events));
	}
	smtp_server_free(test.server);
	buf_release(&test.events);
	buf_release(&test.message);
}

#define CUTS_MAX 1500

static void run_in_every_way(const char *path, bool later)
{
	struct dialogue dialogue = { .limits = { .max_size = 1000000 } };

	read_dialogue(path, &dialogue);
	run(path, &dialogue, later, SIZE_MAX, 0, SIZE_MAX);
	run(path, &dialogue, later, SIZE_MAX, 0, 1);
	for (size_t i = 0; i < dialogue.count; i++) {
		size_t len = dialogue.exchanges[i].in.len;
		size_t step = 1 + len / CUTS_MAX;

		if (dialogue.exchanges[i].whole)
			continue;
		for (size_t cut = 1; cut < len; cut += step)
			run(path, &dialogue, later, i, cut, SIZE_MAX);
	}
	free_dialogue(&dialogue);
}

static void run_all(bool later)
{
	glob_t found;

	assert_int_equal(glob("tests/smtp/*.txt", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		run_in_every_way(found.gl_pathv[i], later);
	assert_true(found.gl_pathc >= 10);
	globfree(&found);
}

static void dialogues_go_as_written(void **state)
{
	run_all(false);
}

static void an_owner_may_answer_later(void **state)
{
	run_all(true);
}

static void nothing_is_consumed_while_an_answer_is_outstanding(void **state)
{
	struct server_test test = { .later = true };
	static const char in[] = "EHLO a\r\nMAIL FROM:<a@b>\r\nQUIT\r\n";

	test.server = smtp_server_new(&owner, &test, "x",
				      &(struct smtp_server_limits){ 0 }, false);
	assert_int_equal(smtp_server_feed(test.server, slice(in)), 0);
	smtp_server_greet(test.server);
	assert_int_equal(smtp_server_feed(test.server, slice(in)), 8);
	assert_true(smtp_server_waits(test.server));
	assert_int_equal(smtp_server_feed(test.server, slice(in + 8)), 0);
	smtp_server_answer(test.server, 250, "");
	assert_int_equal(smtp_server_feed(test.server, slice(in + 8)), 17);
	smtp_server_free(test.server);
	buf_release(&test.events);
}

/* A 421 in its place would make the sender send again what is kept. */
static void a_kept_message_is_told_before_the_farewell(void **state)
{
	struct server_test test = { .later = true };

	test.server = smtp_server_new(&owner, &test, "x",
				      &(struct smtp_server_limits){ 0 }, false);
	smtp_server_greet(test.server);
	give(&test, slice("HELO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
			  "DATA\r\n"));
	buf_clear(smtp_server_out(test.server));
	assert_true(smtp_server_in_data(test.server));
	smtp_server_feed(test.server, slice("a\r\n.\r\n"));
	assert_true(smtp_server_waits(test.server));
	smtp_server_shutdown(test.server, "4.3.2 going down");
	assert_string_equal(buf_text(smtp_server_out(test.server)), "");
	smtp_server_answer(test.server, 250, "2.0.0 kept");
	assert_string_equal(buf_text(smtp_server_out(test.server)),
			    "250 2.0.0 kept\r\n421 4.3.2 going down\r\n");
	assert_int_equal(smtp_server_feed(test.server, slice("NOOP\r\n")), 0);
	smtp_server_free(test.server);
	buf_release(&test.events);
	buf_release(&test.message);
}

/* An empty last chunk asks twice without a byte in between. */
static void a_message_in_chunks_is_told_before_the_farewell(void **state)
{
	struct server_test test = { .later = true };

	test.server = smtp_server_new(&owner, &test, "x",
				      &(struct smtp_server_limits){ 0 }, false);
	smtp_server_greet(test.server);
	give(&test, slice("EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"));
	buf_clear(smtp_server_out(test.server));
	smtp_server_feed(test.server, slice("BDAT 0 LAST\r\n"));
	smtp_server_answer(test.server, 354, "go");
	assert_true(smtp_server_waits(test.server));
	smtp_server_shutdown(test.server, "4.3.2 going down");
	assert_string_equal(buf_text(smtp_server_out(test.server)), "");
	smtp_server_answer(test.server, 250, "2.0.0 kept");
	assert_string_equal(buf_text(smtp_server_out(test.server)),
			    "250 2.0.0 kept\r\n421 4.3.2 going down\r\n");
	smtp_server_free(test.server);
	buf_release(&test.events);
	buf_release(&test.message);
}

static void a_farewell_at_the_first_chunk_comes_at_once(void **state)
{
	struct server_test test = { .later = true };

	test.server = smtp_server_new(&owner, &test, "x",
				      &(struct smtp_server_limits){ 0 }, false);
	smtp_server_greet(test.server);
	give(&test, slice("EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"));
	buf_clear(smtp_server_out(test.server));
	smtp_server_feed(test.server, slice("BDAT 2 LAST\r\n\r\n"));
	assert_true(smtp_server_waits(test.server));
	smtp_server_shutdown(test.server, "4.3.2 going down");
	smtp_server_answer(test.server, 354, "go");
	assert_string_equal(buf_text(smtp_server_out(test.server)),
			    "421 4.3.2 going down\r\n");
	smtp_server_free(test.server);
	buf_release(&test.events);
}

static void the_bytes_of_a_chunk_are_data_refused_or_not(void **state)
{
	struct server_test test = { 0 };

	test.server = smtp_server_new(&owner, &test, "x",
				      &(struct smtp_server_limits){ 0 }, false);
	smtp_server_greet(test.server);
	give(&test, slice("BDAT 3\r\nQU"));
	assert_true(smtp_server_in_data(test.server));
	give(&test, slice("I"));
	assert_false(smtp_server_in_data(test.server));
	give(&test, slice("EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
			  "BDAT 3\r\na"));
	assert_true(smtp_server_in_data(test.server));
	/* What has come of a chunk is with the owner: nothing is hoarded. */
	assert_string_equal(buf_text(&test.message), "a");
	give(&test, slice("\r\n"));
	assert_false(smtp_server_in_data(test.server));
	smtp_server_free(test.server);
	buf_release(&test.events);
	buf_release(&test.message);
}

static void a_farewell_takes_the_place_of_any_other_answer(void **state)
{
	struct server_test test = { .later = true };

	test.server = smtp_server_new(&owner, &test, "x",
				      &(struct smtp_server_limits){ 0 }, false);
	smtp_server_greet(test.server);
	give(&test, slice("HELO a\r\n"));
	buf_clear(smtp_server_out(test.server));
	smtp_server_feed(test.server, slice("MAIL FROM:<a@b>\r\n"));
	smtp_server_shutdown(test.server, "4.3.2 going down");
	smtp_server_answer(test.server, 250, "2.1.0 ok");
	assert_string_equal(buf_text(smtp_server_out(test.server)),
			    "421 4.3.2 going down\r\n");
	assert_string_equal(buf_text(&test.events),
			    "helo a\nmail <a@b> 0\nreset\nclose\n");
	smtp_server_free(test.server);
	buf_release(&test.events);
}

static void free_on_close(void *ctx)
{
	struct server_test *test = ctx;

	smtp_server_free(test->server);
	test->server = NULL;
}

static void it_may_be_freed_inside_a_callback(void **state)
{
	struct smtp_server_owner freeing = owner;
	struct server_test test = { 0 };

	freeing.on_close = free_on_close;
	test.server = smtp_server_new(&freeing, &test, "x",
				      &(struct smtp_server_limits){ 0 }, false);
	smtp_server_greet(test.server);
	smtp_server_feed(test.server, slice("QUIT\r\nNOOP\r\n"));
	assert_null(test.server);
	buf_release(&test.events);
}

static void the_protocol_is_named_as_received_names_it(void **state)
{
	struct server_test test = { 0 };

	test.server = smtp_server_new(&owner, &test, "x",
				      &(struct smtp_server_limits){ 0 }, false);
	smtp_server_greet(test.server);
	smtp_server_feed(test.server, slice("HELO a\r\n"));
	assert_string_equal(smtp_server_protocol(test.server, false, false),
			    "SMTP");
	smtp_server_feed(test.server, slice("EHLO a\r\n"));
	assert_string_equal(smtp_server_protocol(test.server, false, false),
			    "ESMTP");
	assert_string_equal(smtp_server_protocol(test.server, true, false),
			    "ESMTPS");
	assert_string_equal(smtp_server_protocol(test.server, true, true),
			    "UTF8SMTPS");
	smtp_server_free(test.server);
	buf_release(&test.events);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dialogues_go_as_written),
		cmocka_unit_test(an_owner_may_answer_later),
		cmocka_unit_test(
			nothing_is_consumed_while_an_answer_is_outstanding),
		cmocka_unit_test(a_kept_message_is_told_before_the_farewell),
		cmocka_unit_test(
			a_message_in_chunks_is_told_before_the_farewell),
		cmocka_unit_test(a_farewell_at_the_first_chunk_comes_at_once),
		cmocka_unit_test(the_bytes_of_a_chunk_are_data_refused_or_not),
		cmocka_unit_test(
			a_farewell_takes_the_place_of_any_other_answer),
		cmocka_unit_test(it_may_be_freed_inside_a_callback),
		cmocka_unit_test(the_protocol_is_named_as_received_names_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
