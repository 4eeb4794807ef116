#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "cutover/probe.h"
#include "cutover/survey.h"
#include "net/stream.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * A server that follows a script: an answer per command, by its first word (or
 * by the whole beginning).  An answer of NULL closes the connection.  What the
 * client said is kept.
 */
struct line {
	const char *command; /* "" is the connection itself */
	const char *answer;
	bool starttls;
};

struct server {
	struct loop *loop;
	const struct line *script;
	struct addr addr;
	int fd;
	struct loop_watch *watch;
	struct stream *stream;
	struct tls_server *tls;
	struct buf said;
	unsigned sessions;
	bool gone;
};

static void close_stream(struct server *server)
{
	stream_free(server->stream);
	server->stream = NULL;
}

/* Returns whether to go on. */
static bool answer(struct server *server, const char *command)
{
	for (const struct line *line = server->script; line->command; line++) {
		if (strncmp(line->command, command,
			    *line->command ? strlen(line->command) : 1) != 0)
			continue;
		if (!line->answer) {
			close_stream(server);
			return false;
		}
		stream_write(server->stream, slice(line->answer));
		if (line->starttls) {
			stream_starttls_server(server->stream, server->tls);
			return false;
		}
		return true;
	}
	stream_write(server->stream, slice("500 5.5.1 not in the script\r\n"));
	return true;
}

static void on_input(void *ctx)
{
	struct server *server = ctx;

	while (server->stream) {
		struct slice in = stream_peek(server->stream);
		ptrdiff_t end = slice_find(in, '\n');
		char line[512];

		if (end < 1)
			return;
		snprintf(line, sizeof(line), "%.*s", (int)end - 1, in.p);
		stream_consume(server->stream, (size_t)end + 1);
		buf_addf(&server->said, "%s|", line);
		if (!answer(server, line))
			return;
	}
}

static void on_tls(void *ctx)
{
	struct server *server = ctx;

	buf_adds(&server->said, "(tls)|");
}

static void on_end(void *ctx, const char *why)
{
	close_stream(ctx);
}

static const struct stream_events server_events = {
	.on_input = on_input,
	.on_tls = on_tls,
	.on_end = on_end,
};

static void on_accept(void *ctx, int fd, int what)
{
	struct server *server = ctx;
	int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (client < 0)
		return;
	server->sessions++;
	close_stream(server);
	server->stream =
		stream_accept(server->loop, client, &server_events, server);
	answer(server, "");
}

static void server_start(struct server *server, struct loop *loop,
			 const struct line *script)
{
	struct addr any;

	*server = (struct server){ .loop = loop, .script = script };
	assert_int_equal(addr_parse(slice("127.0.0.1:0"), 0, &any, NULL), 0);
	server->fd = addr_listen(&any, 8, NULL);
	assert_true(server->fd >= 0);
	assert_int_equal(addr_of_socket(server->fd, &server->addr, NULL), 0);
	server->watch =
		loop_watch_new(loop, server->fd, LOOP_READ, on_accept, server);
	server->tls = tls_server_new_selfsigned("mx.example", NULL);
	assert_non_null(server->tls);
}

static void server_stop(struct server *server)
{
	loop_watch_free(server->watch);
	close_stream(server);
	close(server->fd);
	tls_server_free(server->tls);
	buf_release(&server->said);
}

#define HELLO                                         \
	{                                             \
		"", "220 mx.example ready\r\n", false \
	}
#define EHLO                                                   \
	{                                                      \
		"EHLO",                                        \
			"250-mx.example\r\n250-PIPELINING\r\n" \
			"250 SIZE 1000\r\n",                   \
			false                                  \
	}
#define PLAIN_EHLO                                  \
	{                                           \
		"EHLO", "250 mx.example\r\n", false \
	}
#define MAIL                                      \
	{                                         \
		"MAIL", "250 2.1.0 ok\r\n", false \
	}
#define YES                                                 \
	{                                                   \
		"RCPT TO:<anna@", "250 2.1.5 ok\r\n", false \
	}
#define NO                                                        \
	{                                                         \
		"RCPT TO:<nobody-", "550 5.1.1 nobody\r\n", false \
	}
#define RSET                                \
	{                                   \
		"RSET", "250 ok\r\n", false \
	}
#define QUIT                                 \
	{                                    \
		"QUIT", "221 bye\r\n", false \
	}
#define END                       \
	{                         \
		NULL, NULL, false \
	}

static const struct line good[] = {
	HELLO, EHLO, MAIL, YES, NO, RSET, QUIT, END
};
static const struct line plain[] = { HELLO, PLAIN_EHLO, MAIL, YES,
				     NO,    RSET,	QUIT, END };
static const struct line refuses[] = {
	HELLO, EHLO,
	MAIL,  { "RCPT", "550 5.4.1 Recipient address rejected\r\n", false },
	RSET,  QUIT,
	END
};
static const struct line greets_no[] = { { "", "554 5.7.1 go away\r\n", false },
					 END };
static const struct line mail_no[] = {
	HELLO, EHLO, { "MAIL", "451 4.3.2 not now\r\n", false },
	RSET,  QUIT, { "RCPT", "503 5.5.1 no\r\n", false },
	END
};
static const struct line closes[] = {
	HELLO, EHLO, MAIL, { "RCPT", "421 4.3.2 shutting down\r\n", false }, END
};
static const struct line hangs_up[] = { HELLO, { "EHLO", NULL, false }, END };
static const struct line garbage[] = {
	{ "", "this is no mail server\r\n", false }, END
};
static const struct line leaves[] = { HELLO, EHLO, MAIL,
				      YES,   NO,   { "RSET", NULL, false },
				      END };
static const struct line silent[] = { { "", "", false }, END };

struct run {
	struct loop *loop;
	struct server server;
	unsigned done;
	struct probe_result result;
};

static void linger_over(void *ctx)
{
	loop_stop(ctx);
}

static void came(void *ctx, const struct probe_result *result)
{
	struct run *run = ctx;

	run->done++;
	run->result = *result;
	/* What the client still says (QUIT) shall arrive. */
	loop_post(run->loop, linger_over, run->loop);
}

static void until(struct run *run, const char *word)
{
	int64_t deadline = clock_mono_ms() + 60000;

	loop_run(run->loop);
	while (word && !strstr(buf_text(&run->server.said), word) &&
	       clock_mono_ms() < deadline) {
		loop_post(run->loop, linger_over, run->loop);
		loop_run(run->loop);
	}
}

static void probe_with(struct run *run, const struct line *script,
		       struct tls_client *tls, struct tls_terms *terms,
		       int64_t timeout_ms, const char *last_word)
{
	static const char *const recipients[] = { "anna@acme.example" };
	struct probe_spec spec = {
		.host = "127.0.0.1",
		.helo = "hold.example",
		.recipients = recipients,
		.recipient_count = 1,
		.random_domain = "acme.example",
		.tls = tls,
		.terms = terms,
		.timeout_ms = timeout_ms,
	};

	*run = (struct run){ .loop = loop_new(NULL) };
	server_start(&run->server, run->loop, script);
	spec.port = addr_port(&run->server.addr);
	assert_non_null(probe_start(run->loop, &spec, came, run));
	assert_int_equal(run->done, 0);
	until(run, last_word);
	assert_int_equal(run->done, 1);
}

/* A stream that was left with QUIT goes when its peer has closed. */
static void run_end(struct run *run)
{
	int64_t deadline = clock_mono_ms() + 3000;
	unsigned turns = 0;

	close_stream(&run->server);
	while (turns++ < 100 && clock_mono_ms() < deadline) {
		loop_post(run->loop, linger_over, run->loop);
		loop_run(run->loop);
	}
	server_stop(&run->server);
}

static const struct {
	const struct line *script;
	bool healthy;
	enum smtp_stage stage;
	int greeting, first, second; /* replies; 0: none */
	const char *error;
} dialogues[] = {
	{ good, true, SMTP_STAGE_RCPT, 220, 250, 550, "" },
	{ plain, true, SMTP_STAGE_RCPT, 220, 250, 550, "" },
	{ refuses, true, SMTP_STAGE_RCPT, 220, 550, 550, "" },
	{ leaves, true, SMTP_STAGE_RCPT, 220, 250, 550, "" },
	{ greets_no, false, SMTP_STAGE_GREETING, 554, 0, 0,
	  "greeting was answered 554" },
	{ mail_no, false, SMTP_STAGE_MAIL, 220, 0, 0,
	  "MAIL was answered 451 4.3.2 not now" },
	{ closes, false, SMTP_STAGE_RCPT, 220, 421, 0,
	  "RCPT was answered 421 4.3.2 shutting down" },
	{ hangs_up, false, SMTP_STAGE_EHLO, 220, 0, 0, "EHLO: " },
	{ garbage, false, SMTP_STAGE_GREETING, 0, 0, 0, "greeting: " },
};

static void a_probe_tells_what_the_server_answered(void **state)
{
	for (size_t i = 0; i < COUNT(dialogues); i++) {
		struct run run;
		const struct probe_result *result = &run.result;

		probe_with(&run, dialogues[i].script, NULL, NULL, 5000, NULL);
		if (result->healthy != dialogues[i].healthy ||
		    result->stage != dialogues[i].stage ||
		    !strstr(result->error, dialogues[i].error))
			fail_msg("dialogue %zu: %s, %s", i,
				 smtp_stage_name(result->stage), result->error);
		assert_true(result->connected);
		assert_int_equal(result->greeting.code, dialogues[i].greeting);
		assert_int_equal(result->rcpt_count, 2);
		assert_int_equal(result->rcpt[0].reply.code,
				 dialogues[i].first);
		assert_int_equal(result->rcpt[1].reply.code,
				 dialogues[i].second);
		assert_true(result->rcpt[1].random);
		assert_true(result->at_ms > 0);
		run_end(&run);
		loop_free(run.loop);
	}
}

static void a_probe_sends_no_mail_and_says_goodbye(void **state)
{
	struct run run;
	const char *said;

	probe_with(&run, good, NULL, NULL, 5000, "QUIT");
	said = buf_text(&run.server.said);
	assert_ptr_equal(strstr(said, "EHLO hold.example|MAIL FROM:<>|"
				      "RCPT TO:<anna@acme.example>|"
				      "RCPT TO:<nobody-"),
			 said);
	assert_non_null(strstr(said, "|RSET|QUIT|"));
	assert_null(strstr(said, "DATA"));
	run_end(&run);
	loop_free(run.loop);
}

static void a_random_address_is_another_one_each_time(void **state)
{
	struct run first, second;

	probe_with(&first, good, NULL, NULL, 5000, NULL);
	probe_with(&second, good, NULL, NULL, 5000, NULL);
	assert_string_not_equal(first.result.rcpt[1].address,
				second.result.rcpt[1].address);
	run_end(&first);
	run_end(&second);
	loop_free(first.loop);
	loop_free(second.loop);
}

static const struct line with_tls[] = {
	HELLO,
	{ "EHLO", "250-mx.example\r\n250 STARTTLS\r\n", false },
	{ "STARTTLS", "220 go\r\n", true },
	MAIL,
	YES,
	NO,
	RSET,
	QUIT,
	END
};

static void starttls_is_used_and_its_verdict_kept(void **state)
{
	struct tls_client *tls =
		tls_client_new(TLS_PROBING, NULL, NULL, NULL, NULL);
	struct run run;
	struct json *json;

	assert_non_null(tls);
	probe_with(&run, with_tls, tls, NULL, 5000, "QUIT");
	assert_true(run.result.healthy);
	assert_true(run.result.tls.active);
	assert_false(run.result.tls.trusted);
	assert_true(run.result.tls.verdict[0] != '\0');
	/* What TLSA and CAA are held against. */
	assert_int_equal(run.result.chain.count, 1);
	assert_true(run.result.chain.self_signed);
	assert_string_equal(run.result.chain.issuer, "mx.example");
	assert_non_null(strstr(buf_text(&run.server.said),
			       "|STARTTLS|(tls)|EHLO hold.example|MAIL"));
	json = probe_json(&run.result);
	assert_false(json_get_bool(json_get(json, "tls"), "trusted"));
	assert_true(json_get_number(json_get(json_at(json_get(json, "rcpt"), 1),
					     "reply"),
				    "code", 0) == 550);
	json_free(json);
	run_end(&run);
	loop_free(run.loop);
	tls_client_free(tls);
}

/* A system that cannot prove what is demanded is asked all the same. */
static void terms_are_judged_and_end_no_probe(void **state)
{
	static const char digest[32];
	struct tls_client *tls =
		tls_client_new(TLS_PROBING, NULL, NULL, NULL, NULL);

	for (int with_tlsa = 0; with_tlsa < 2; with_tlsa++) {
		struct tls_terms *terms = tls_terms_new("x");
		struct run run;

		terms->verified = !with_tlsa;
		if (with_tlsa) {
			terms->base = mem_dup("mx.example");
			tls_terms_add(terms, TLSA_DANE_EE, 1, 1,
				      slice_of(digest, sizeof(digest)));
		}
		probe_with(&run, with_tls, tls, terms, 5000, "QUIT");
		assert_true(run.result.healthy);
		assert_int_equal(run.result.rcpt[1].reply.code, 550);
		assert_false(tls_terms_met(terms, &run.result.tls));
		assert_string_equal(run.result.tls.sni,
				    with_tlsa ? "mx.example" : "");
		assert_int_equal(strstr(run.result.tls.verdict, "TLSA") != NULL,
				 with_tlsa);
		run_end(&run);
		loop_free(run.loop);
		tls_terms_free(terms);
	}
	tls_client_free(tls);
}

static void a_silent_server_ends_with_the_deadline(void **state)
{
	struct run run;

	probe_with(&run, silent, NULL, NULL, 50, NULL);
	assert_false(run.result.healthy);
	assert_true(run.result.connected);
	assert_int_equal(run.result.stage, SMTP_STAGE_GREETING);
	assert_string_equal(run.result.error, "greeting: timed out");
	run_end(&run);
	loop_free(run.loop);
}

static void a_closed_port_is_an_error_not_a_refusal(void **state)
{
	struct run run = { .loop = loop_new(NULL) };
	struct probe_spec spec = { .host = "127.0.0.1",
				   .helo = "hold.example",
				   .random_domain = "acme.example",
				   .timeout_ms = 5000 };

	server_start(&run.server, run.loop, good);
	spec.port = addr_port(&run.server.addr);
	server_stop(&run.server);
	probe_start(run.loop, &spec, came, &run);
	until(&run, NULL);
	assert_int_equal(run.done, 1);
	assert_false(run.result.connected);
	assert_int_equal(run.result.stage, SMTP_STAGE_CONNECT);
	assert_int_equal(run.result.rcpt[0].reply.code, 0);
	loop_free(run.loop);
}

static void a_name_without_a_resolver_is_not_probed(void **state)
{
	struct run run = { .loop = loop_new(NULL) };
	struct probe_spec spec = { .host = "mx.example",
				   .port = 25,
				   .helo = "hold.example",
				   .timeout_ms = 5000 };

	probe_start(run.loop, &spec, came, &run);
	until(&run, NULL);
	assert_int_equal(run.done, 1);
	assert_non_null(strstr(run.result.error, "no resolver"));
	loop_free(run.loop);
}

static void a_cancelled_probe_is_never_told(void **state)
{
	struct run run = { .loop = loop_new(NULL) };
	struct probe_spec spec = { .host = "127.0.0.1",
				   .helo = "hold.example",
				   .timeout_ms = 5000 };
	struct probe *probe;

	server_start(&run.server, run.loop, good);
	spec.port = addr_port(&run.server.addr);
	probe = probe_start(run.loop, &spec, came, &run);
	/* Once before it began, once while it is under way. */
	probe_cancel(probe);
	probe = probe_start(run.loop, &spec, came, &run);
	loop_post(run.loop, linger_over, run.loop);
	loop_run(run.loop);
	probe_cancel(probe);
	loop_post(run.loop, linger_over, run.loop);
	loop_run(run.loop);
	assert_int_equal(run.done, 0);
	probe_cancel(NULL);
	run_end(&run);
	loop_free(run.loop);
}

/* A survey of both systems and of the queue, without DNS. */

static void surveyed(void *ctx)
{
	struct run *run = ctx;

	run->done++;
	loop_stop(run->loop);
}

static char *plan_for(const struct server *old, const struct server *new,
		      const struct server *queue)
{
	return mem_printf(
		"{\"tideover\":1,\"name\":\"t\","
		"\"strategy\":\"park\",\"rehearsal\":true,"
		"\"domains\":[{\"name\":\"acme.example\"}],"
		"\"old\":{\"provider\":\"custom\",\"mx\":[\"old.example\"],"
		"\"deliver_to\":\"127.0.0.1:%d\"},"
		"\"new\":{\"provider\":\"custom\",\"mx\":[\"new.example\"],"
		"\"deliver_to\":\"127.0.0.1:%d\"},"
		"\"queue_mx\":{\"host\":\"hold.example\",\"priority\":10,"
		"\"listen\":[\"127.0.0.1:%d\",\"127.0.0.1:1\"]},"
		"\"dns\":{\"resolvers\":[\"127.0.0.1:1\"],\"ttl\":2},"
		"\"recipients\":{\"policy\":\"any\"},"
		"\"probe\":{\"recipients\":[\"anna@acme.example\"]}}",
		addr_port(&old->addr), addr_port(&new->addr),
		addr_port(&queue->addr));
}

static void survey_once(struct run *run, struct facts *facts)
{
	struct err err = ERR_INIT;

	run->done = 0;
	if (!survey_start(run->loop, facts,
			  SURVEY_OLD | SURVEY_NEW | SURVEY_QUEUE, surveyed, run,
			  &err))
		fail_msg("%s", err.text);
	assert_int_equal(run->done, 0);
	loop_run(run->loop);
	assert_int_equal(run->done, 1);
}

/* Each of the ways that relays have fallen for, and all refused. */
static void asked_for_relays(const struct probe_result *probe)
{
	static const char *const ways[] = {
		"relay-probe@example.com",
		"relay-probe%example.com@acme.example",
		"\"relay-probe@example.com\"@acme.example",
		"@acme.example:relay-probe@example.com",
		"example.com!relay-probe@acme.example",
		"relay-probe@[192.0.2.1]",
	};

	assert_int_equal(probe->rcpt_count, COUNT(ways));
	for (size_t i = 0; i < COUNT(ways); i++) {
		assert_string_equal(probe->rcpt[i].address, ways[i]);
		assert_int_equal(probe->rcpt[i].reply.code, 550);
	}
}

static void a_survey_counts_good_probes_until_a_bad_one(void **state)
{
	struct run run = { .loop = loop_new(NULL) };
	struct server new, queue;
	struct err err = ERR_INIT;
	struct plan *plan;
	struct facts *facts;
	struct json *json;
	char *text;

	server_start(&run.server, run.loop, good);
	server_start(&new, run.loop, refuses);
	server_start(&queue, run.loop, refuses);
	text = plan_for(&run.server, &new, &queue);
	plan = plan_parse(slice(text), NULL, &err);
	if (!plan)
		fail_msg("%s", err.text);
	facts = facts_new(plan);
	survey_once(&run, facts);
	survey_once(&run, facts);
	assert_true(facts->domains[0].systems[SYSTEM_OLD].probed);
	assert_int_equal(facts->domains[0].systems[SYSTEM_OLD].good_count, 2);
	assert_true(facts->domains[0].systems[SYSTEM_OLD].good_since_ms > 0);
	assert_int_equal(facts->domains[0].systems[SYSTEM_NEW].good_count, 0);
	assert_true(facts->domains[0].systems[SYSTEM_NEW].probe.healthy);
	assert_true(facts->listeners[0].probed);
	asked_for_relays(&facts->listeners[0].probe);
	/* Nobody listens at the other, and that is known. */
	assert_true(facts->listeners[1].probed);
	assert_false(facts->listeners[1].probe.connected);
	json = facts_json(facts);
	assert_int_equal(json_count(json_get(json, "domains")), 1);
	json_free(json);
	/* The old system goes: the row is broken. */
	run.server.script = greets_no;
	survey_once(&run, facts);
	assert_int_equal(facts->domains[0].systems[SYSTEM_OLD].good_count, 0);
	facts_free(facts);
	plan_free(plan);
	free(text);
	close_stream(&new);
	close_stream(&queue);
	run_end(&run);
	server_stop(&new);
	server_stop(&queue);
	loop_free(run.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_probe_tells_what_the_server_answered),
		cmocka_unit_test(a_probe_sends_no_mail_and_says_goodbye),
		cmocka_unit_test(a_random_address_is_another_one_each_time),
		cmocka_unit_test(starttls_is_used_and_its_verdict_kept),
		cmocka_unit_test(terms_are_judged_and_end_no_probe),
		cmocka_unit_test(a_silent_server_ends_with_the_deadline),
		cmocka_unit_test(a_closed_port_is_an_error_not_a_refusal),
		cmocka_unit_test(a_name_without_a_resolver_is_not_probed),
		cmocka_unit_test(a_cancelled_probe_is_never_told),
		cmocka_unit_test(a_survey_counts_good_probes_until_a_bad_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
