#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cutover/check.h"
#include <stdlib.h>

#define NOW_MS	1780000000000 /* 2026-05-28T20:26:40Z */
#define HOUR_MS ((int64_t)3600 * 1000)

/* The old TTL is a day. */
static const char plan_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"park\","
	"\"domains\":[{\"name\":\"acme.example\"}],"
	"\"old\":{\"provider\":\"m365\",\"mx\":[\"mx.old.example\"],"
	"\"deliver_to\":\"acmeold.mail.protection.outlook.com:25\"},"
	"\"new\":{\"provider\":\"m365\",\"mx\":[\"mx.new.example\"],"
	"\"deliver_to\":\"acmenew.mail.protection.outlook.com:25\"},"
	"\"queue_mx\":{\"host\":\"hold.example.net\",\"priority\":20,"
	"\"listen\":[\"192.0.2.9:25\"]},"
	"\"dns\":{\"resolvers\":[\"192.0.2.1\"],\"ttl\":300,"
	"\"old_ttl\":86400},\"recipients\":{\"policy\":\"any\"}}";

#define HEAD  "RecipientAddress,Status,FromIP,Received\n"
#define ANNA  "anna@acme.example,Delivered,203.0.113.7,2026-05-"
#define INNER "anna@acme.example,Delivered,,2026-05-"
#define OTHER "x@acmeold.onmicrosoft.com,Delivered,203.0.113.7,2026-05-"
#define NOISE OTHER "28T20:20:00Z\n"

static const struct {
	const char *promise;
	const char *files[2];
	enum verdict want;
	const char *says;
} traces[] = {
	{ "nothing from outside for a day",
	  { HEAD ANNA "27T20:00:00Z\n" NOISE },
	  VERDICT_PASS,
	  NULL },
	{ "its own people write to each other",
	  { HEAD ANNA "27T20:00:00Z\n" INNER "28T20:20:00Z\n" },
	  VERDICT_PASS,
	  NULL },
	{ "a sender has an old answer yet",
	  { HEAD ANNA "27T20:00:00Z\n" ANNA "28T11:00:00Z\n" NOISE },
	  VERDICT_WARN,
	  "1 messages from outside" },
	{ "one that was refused has come all the same",
	  { HEAD ANNA
	    "27T20:00:00Z\n"
	    "anna@acme.example,Failed,203.0.113.7,2026-05-28T11:00:00Z\n" NOISE },
	  VERDICT_WARN,
	  "2026-05-28 11:00 UTC" },
	{ "who brought it is not among the columns: it may be anybody",
	  { "RecipientAddress,Received\n"
	    "anna@acme.example,2026-05-27T20:00:00Z\n"
	    "anna@acme.example,2026-05-28T20:10:00Z\n" },
	  VERDICT_WARN,
	  "1 messages" },
	{ "Google says which way it went",
	  { "Start date,Direction,Recipient address\n"
	    "2026/05/27 20:00:00 UTC,Received,anna@acme.example\n"
	    "2026/05/28 20:10:00 UTC,Mixed,anna@acme.example\n"
	    "2026/05/28 20:10:00 UTC,Sent,x@other.example\n" },
	  VERDICT_PASS,
	  NULL },
	{ "Google, from outside",
	  { "Start date,Direction,Recipient address\n"
	    "2026/05/27 20:00:00 UTC,Received,anna@acme.example\n"
	    "2026/05/28 20:10:00 UTC,Received,anna@acme.example\n" },
	  VERDICT_WARN,
	  "1 messages" },
	{ "it ends hours ago",
	  { HEAD ANNA "27T20:00:00Z\n" OTHER "28T17:00:00Z\n" },
	  VERDICT_UNKNOWN,
	  "to now" },
	{ "it begins this morning",
	  { HEAD INNER "28T04:00:00Z\n" NOISE },
	  VERDICT_UNKNOWN,
	  "from one TTL ago" },
	{ "its last half hour is not known yet, and the day before had one",
	  { HEAD ANNA "27T18:00:00Z\n" ANNA "27T20:10:00Z\n" OTHER
		      "28T20:00:00Z\n" },
	  VERDICT_WARN,
	  "1 messages from outside" },
	{ "it begins this morning, and somebody still sends",
	  { HEAD ANNA "28T04:00:00Z\n" ANNA "28T19:00:00Z\n" NOISE },
	  VERDICT_WARN,
	  "2 messages from outside" },
	{ "two files, and nobody knows what was between them",
	  { HEAD ANNA "20T20:00:00Z\n" ANNA "26T20:00:00Z\n",
	    HEAD OTHER "28T20:00:00Z\n" NOISE },
	  VERDICT_UNKNOWN,
	  "no trace of the old system reaches" },
	{ "two files, of which one has all of it",
	  { HEAD ANNA "20T20:00:00Z\n", HEAD OTHER "27T20:00:00Z\n" NOISE },
	  VERDICT_PASS,
	  NULL },
	{ "it is of another tenant",
	  { HEAD OTHER "27T20:00:00Z\n" NOISE },
	  VERDICT_UNKNOWN,
	  "no mail for it at all" },
	{ "it is of tomorrow",
	  { HEAD ANNA "27T20:00:00Z\n" OTHER "29T20:00:00Z\n" },
	  VERDICT_UNKNOWN,
	  "to now" },
	{ "a time in a zone that is not UTC",
	  { HEAD ANNA
	    "27T20:00:00Z\n" NOISE
	    "anna@acme.example,Delivered,203.0.113.7,2026/05/28 12:00:00 PST\n" },
	  VERDICT_UNKNOWN,
	  "no time that can be read" },
	{ "nobody exported anything", { NULL }, VERDICT_UNKNOWN, "--attest" },
};

static struct facts *facts_with(struct plan *plan, const char *const files[2])
{
	struct facts *facts = facts_new(plan);
	struct err err = ERR_INIT;

	facts->now.wall_ms = NOW_MS;
	for (size_t i = 0; i < 2 && files[i]; i++)
		if (trace_read(&facts->tenant.trace, slice(files[i]), NOW_MS,
			       &err) < 0)
			fail_msg("%s", err.text);
	return facts;
}

static void a_trace_shows_who_still_sends_to_the_old_system(void **state)
{
	struct plan *plan = plan_parse(slice(plan_text), "t.json", NULL);

	assert_non_null(plan);
	for (size_t i = 0; i < COUNT(traces); i++) {
		struct facts *facts = facts_with(plan, traces[i].files);
		struct findings found;

		check_gate(facts, GATE_DETACH, "straggler-rate", NULL, 0,
			   &found);
		if (found.at[0].verdict != traces[i].want ||
		    (traces[i].says &&
		     !strstr(found.at[0].summary, traces[i].says) &&
		     !strstr(found.at[0].remedy, traces[i].says)))
			fail_msg("%s: %s: %s / %s", traces[i].promise,
				 verdict_name(found.at[0].verdict),
				 found.at[0].summary, found.at[0].remedy);
		findings_release(&found);
		facts_free(facts);
	}
	plan_free(plan);
}

/* What was read is no news of the time after. */
static void an_attestation_lapses_when_the_old_set_is_seen_again(void **state)
{
	const char *const stale[2] = { HEAD OTHER "28T17:00:00Z\n", NULL };
	const char *const none[2] = { NULL };
	const char *const *const files[] = { none, stale };
	struct plan *plan = plan_parse(slice(plan_text), "t.json", NULL);

	for (size_t i = 0; i < COUNT(files); i++) {
		struct facts *facts = facts_with(plan, files[i]);
		char before[DIGEST_TEXT], after[DIGEST_TEXT];
		struct findings found;

		check_gate(facts, GATE_DETACH, "straggler-rate", NULL, 0,
			   &found);
		finding_fingerprint(&found.at[0], before);
		findings_release(&found);
		facts->domains[0].horizon.old_seen_ms = NOW_MS - HOUR_MS;
		check_gate(facts, GATE_DETACH, "straggler-rate", NULL, 0,
			   &found);
		finding_fingerprint(&found.at[0], after);
		findings_release(&found);
		assert_string_not_equal(before, after);
		facts_free(facts);
	}
	plan_free(plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_trace_shows_who_still_sends_to_the_old_system),
		cmocka_unit_test(
			an_attestation_lapses_when_the_old_set_is_seen_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
