#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "cutover/canary.h"
#include "cutover/journal.h"
#include "mail/canary_mail.h"

#define NOW_MS	  1796511600000
#define MINUTE_MS ((int64_t)60000)
#define HOUR_MS	  (60 * MINUTE_MS)

static struct plan *plan_to(const char *name, const char *deliver_to)
{
	struct err err = ERR_INIT;
	char *text = mem_printf(
		"{\"tideover\":1,\"name\":\"%s\",\"strategy\":\"park\","
		"\"domains\":[{\"name\":\"acme.example\"},"
		"{\"name\":\"acme.example.net\",\"new\":"
		"{\"deliver_to\":\"other.example.org:2525\"}}],"
		"\"old\":{\"provider\":\"workspace\","
		"\"mx\":[\"old.example.net\"],"
		"\"deliver_to\":\"old.example.net:25\"},"
		"\"new\":{\"provider\":\"m365\",\"mx\":[\"new.example.org\"],"
		"\"deliver_to\":\"%s\"},"
		"\"queue_mx\":{\"host\":\"hold.example.com\"},"
		"\"canary\":{\"initial\":[\"pilot@tenant.example\"],"
		"\"recipients\":[\"b@ACME.example.net\",\"a@acme.example\"]}}",
		name, deliver_to);
	struct plan *plan = plan_parse(slice(text), NULL, &err);

	if (!plan)
		fail_msg("%s", err.text);
	free(text);
	return plan;
}

static void send(struct canaries *canaries, size_t at, int64_t at_ms)
{
	struct id id = id_new(at_ms);
	struct json *data = canary_sent_json(&canaries->at[at], &id, "anna");

	canaries_take(canaries, "canary", data, at_ms);
	json_free(data);
}

static void take_answer(struct canaries *canaries, size_t at,
			enum smtp_stage stage, int code, const char *enhanced,
			bool lacks_tls, int64_t at_ms)
{
	struct smtp_reply reply = { .code = code };
	struct json *data;

	snprintf(reply.enhanced, sizeof(reply.enhanced), "%s", enhanced);
	data = canary_reply_json(&canaries->at[at],
				 &(struct canary_answer){
					 .stage = stage,
					 .reply = &reply,
					 .lacks_tls = lacks_tls,
					 .peer = "192.0.2.1:25",
					 .tls = "",
				 });
	canaries_take(canaries, "canary-reply", data, at_ms);
	json_free(data);
}

static void answer(struct canaries *canaries, size_t at, int code,
		   const char *enhanced, int64_t at_ms)
{
	take_answer(canaries, at, SMTP_STAGE_DOT, code, enhanced, false, at_ms);
}

static void each_goes_where_its_mail_will_go(void **state)
{
	struct plan *plan = plan_to("p", "tenant.example.org");
	struct canaries canaries;

	canaries_init(&canaries, plan);
	assert_int_equal(canaries.count, 3);
	assert_true(canaries.at[0].initial);
	assert_string_equal(canaries.at[0].target, "tenant.example.org:25");
	assert_ptr_equal(canaries.at[1].domain, &plan->domains[1]);
	assert_string_equal(canaries.at[1].target, "other.example.org:2525");
	assert_string_equal(canaries.at[2].target, "tenant.example.org:25");
	canaries_release(&canaries);
	plan_free(plan);
}

static const struct {
	enum smtp_stage stage;
	int code;
	const char *enhanced;
	bool lacks_tls;
	enum canary_state want;
} answers[] = {
	{ SMTP_STAGE_DOT, 250, "2.0.0", false, CANARY_ACCEPTED },
	{ SMTP_STAGE_DOT, 550, "5.4.1", false, CANARY_REFUSED },
	{ SMTP_STAGE_DOT, 550, "5.7.51", false, CANARY_REFUSED },
	{ SMTP_STAGE_DOT, 451, "4.7.500", false, CANARY_DEFERRED },
	/* Over a limit for an hour is no refusal. */
	{ SMTP_STAGE_DOT, 550, "5.2.122", false, CANARY_DEFERRED },
	{ SMTP_STAGE_DOT, 0, "", false, CANARY_DEFERRED },
	/* Nor is a name that is not found, or a handshake that is cut. */
	{ SMTP_STAGE_CONNECT, 0, "", false, CANARY_DEFERRED },
	{ SMTP_STAGE_STARTTLS, 0, "", false, CANARY_DEFERRED },
	{ SMTP_STAGE_STARTTLS, 454, "4.7.0", false, CANARY_DEFERRED },
	/* The wrong certificate will be wrong in a minute, too. */
	{ SMTP_STAGE_STARTTLS, 0, "", true, CANARY_REFUSED },
};

static void an_answer_means_what_it_means_to_a_replay(void **state)
{
	struct plan *plan = plan_to("p", "tenant.example.org");

	for (size_t i = 0; i < COUNT(answers); i++) {
		struct canaries canaries;

		canaries_init(&canaries, plan);
		send(&canaries, 2, NOW_MS);
		assert_int_equal(canaries.at[2].state, CANARY_UNDER_WAY);
		take_answer(&canaries, 2, answers[i].stage, answers[i].code,
			    answers[i].enhanced, answers[i].lacks_tls,
			    NOW_MS + 1000);
		if (canaries.at[2].state != answers[i].want)
			fail_msg("%d %s", answers[i].code, answers[i].enhanced);
		assert_int_equal(canaries.at[0].state, CANARY_NONE);
		assert_int_equal(canary_stands(&canaries.at[2], plan,
					       NOW_MS + MINUTE_MS),
				 answers[i].want == CANARY_ACCEPTED);
		canaries_release(&canaries);
	}
	plan_free(plan);
}

static void a_mailbox_gets_one_a_minute(void **state)
{
	struct plan *plan = plan_to("p", "tenant.example.org");
	struct canaries canaries;
	const struct canary *one;

	canaries_init(&canaries, plan);
	one = &canaries.at[0];
	assert_true(canary_may_go(one, plan, NOW_MS));
	send(&canaries, 0, NOW_MS);
	/* Not while it is under way, however long that is. */
	assert_false(canary_may_go(one, plan, NOW_MS + HOUR_MS));
	answer(&canaries, 0, 550, "5.1.1", NOW_MS + 50000);
	assert_false(canary_may_go(one, plan, NOW_MS + 59999));
	assert_true(canary_may_go(one, plan, NOW_MS + MINUTE_MS));
	/* The clock was set back by a day. */
	assert_true(canary_may_go(one, plan, NOW_MS - 24 * HOUR_MS));
	assert_true(canary_may_go(&canaries.at[1], plan, NOW_MS));
	canaries_release(&canaries);
	plan_free(plan);
}

static void an_accepted_one_stands_for_a_day_and_until_a_refusal(void **state)
{
	struct plan *plan = plan_to("p", "tenant.example.org");
	struct canaries canaries;
	const struct canary *one;

	canaries_init(&canaries, plan);
	one = &canaries.at[0];
	send(&canaries, 0, NOW_MS);
	answer(&canaries, 0, 250, "", NOW_MS);
	assert_int_equal(one->since_ms, 0);
	assert_true(canary_stands(one, plan, NOW_MS + 24 * HOUR_MS - 1));
	assert_false(canary_stands(one, plan, NOW_MS + 24 * HOUR_MS));
	assert_false(canary_stands(one, plan, NOW_MS - 1));
	send(&canaries, 0, NOW_MS + HOUR_MS);
	assert_true(canary_stands(one, plan, NOW_MS + HOUR_MS));
	answer(&canaries, 0, 451, "4.3.0", NOW_MS + HOUR_MS);
	assert_true(canary_stands(one, plan, NOW_MS + HOUR_MS));
	assert_int_equal(one->since_ms, NOW_MS + HOUR_MS);
	send(&canaries, 0, NOW_MS + 2 * HOUR_MS);
	answer(&canaries, 0, 550, "5.1.1", NOW_MS + 2 * HOUR_MS);
	assert_false(canary_stands(one, plan, NOW_MS + 2 * HOUR_MS));
	assert_int_equal(one->since_ms, NOW_MS + HOUR_MS);
	canaries_release(&canaries);
	plan_free(plan);
}

/* What the journal has of one plan, for another. */
static void take_of(struct canaries *from, struct canaries *to)
{
	canaries_take(to, "canary", from->at[0].sent, NOW_MS);
	canaries_take(to, "canary-reply", from->at[0].reply, NOW_MS);
}

static void a_result_counts_for_its_plan_and_target_alone(void **state)
{
	struct plan *plans[] = {
		plan_to("p", "tenant.example.org"),
		plan_to("p", "tenant.example.org:26"),
		plan_to("q", "tenant.example.org"),
		plan_to("p", "tenant.example.org"),
		plan_to("p", "tenant.example.org"),
	};
	struct canaries first, others;

	plans[3]->rehearsal = true;
	canaries_init(&first, plans[0]);
	send(&first, 0, NOW_MS);
	answer(&first, 0, 250, "", NOW_MS);
	for (size_t i = 1; i < COUNT(plans); i++) {
		canaries_init(&others, plans[i]);
		take_of(&first, &others);
		assert_int_equal(others.at[0].state,
				 i == 4 ? CANARY_ACCEPTED : CANARY_NONE);
		canaries_release(&others);
		plan_free(plans[i]);
	}
	canaries_release(&first);
	plan_free(plans[0]);
}

/* The journal of an encrypted plan has no address; it counts all the same. */
static int take_line(void *ctx, const struct json *line)
{
	canaries_take(ctx, json_get_text(line, "event"), json_get(line, "data"),
		      NOW_MS);
	return 0;
}

static void a_restart_finds_them_in_a_journal_without_addresses(void **state)
{
	char path[] = "/tmp/test_canary-XXXXXX", head[65];
	struct plan *plan = plan_to("p", "tenant.example.org");
	struct canaries before, after;
	struct buf text = BUF_INIT;
	struct journal *journal;
	uint64_t count;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	journal = journal_open(path, NULL);
	assert_non_null(journal);
	journal_hide_addresses(journal);
	canaries_init(&before, plan);
	for (size_t i = 0; i < before.count; i++) {
		send(&before, i, NOW_MS);
		journal_add(journal, "canary", json_copy(before.at[i].sent),
			    NULL);
	}
	answer(&before, 0, 250, "", NOW_MS);
	journal_add(journal, "canary-reply", json_copy(before.at[0].reply),
		    NULL);
	journal_close(journal);
	assert_int_equal(file_read(path, 1 << 20, &text, NULL), 0);
	assert_null(strstr(buf_text(&text), "pilot@"));
	canaries_init(&after, plan);
	assert_int_equal(
		journal_read(path, take_line, &after, head, &count, NULL), 0);
	canaries_settle(&after);
	assert_int_equal(after.at[0].state, CANARY_ACCEPTED);
	/* Nobody waits for the others' answers any more. */
	assert_int_equal(after.at[1].state, CANARY_DEFERRED);
	assert_non_null(strstr(json_get_text(after.at[1].reply, "text"),
			       "tideoverd ended"));
	unlink(path);
	buf_release(&text);
	canaries_release(&before);
	canaries_release(&after);
	plan_free(plan);
}

/* The words. */

static void it_says_what_it_is_in_seven_bits(void **state)
{
	static const char *const to[] = { "pilot@acme.example",
					  "p\xc3\xaflot@acme.example" };

	for (size_t i = 0; i < COUNT(to); i++) {
		struct buf out = BUF_INIT;
		struct slice rest;

		canary_mail_write(
			&(struct canary_mail){ .host = "hold.example.net",
					       .plan = "move",
					       .id = "the-id",
					       .to = to[i],
					       .target = "mx.new.example:25",
					       .now_ms = NOW_MS },
			&out);
		rest = buf_slice(&out);
		assert_false(slice_has_8bit(rest));
		assert_true(slice_starts(
			rest, "Received: by hold.example.net (tideover) id "
			      "the-id"));
		assert_non_null(
			strstr(buf_text(&out),
			       "\r\nFrom: Mail queue of the migration "
			       "<postmaster@hold.example.net>\r\nTo: "));
		assert_int_equal(strstr(buf_text(&out),
					"\r\nTo: <pilot@acme.example>\r\n"
					"Subject: tideover canary the-id of "
					"plan move\r\n"
					"Message-ID: <the-id@hold.example.net>"
					"\r\nAuto-Submitted: auto-generated"
					"\r\n") != NULL,
				 i == 0);
		/* Every line ends with CRLF, and is short. */
		while (rest.len > 0) {
			struct slice line = slice_split(&rest, '\n');

			assert_true(line.len > 0 && line.len < 200 &&
				    line.p[line.len - 1] == '\r');
		}
		buf_release(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_goes_where_its_mail_will_go),
		cmocka_unit_test(an_answer_means_what_it_means_to_a_replay),
		cmocka_unit_test(a_mailbox_gets_one_a_minute),
		cmocka_unit_test(
			an_accepted_one_stands_for_a_day_and_until_a_refusal),
		cmocka_unit_test(a_result_counts_for_its_plan_and_target_alone),
		cmocka_unit_test(
			a_restart_finds_them_in_a_journal_without_addresses),
		cmocka_unit_test(it_says_what_it_is_in_seven_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
