#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "plan/plan.h"
#include <glob.h>
#include <stdlib.h>

/* The example of the manual, every block of it. */
static const char manual[] =
	"{\n"
	"  \"$schema\": \"./plan.schema.json\",\n"
	"  \"tideover\": 1,\n"
	"  \"name\": \"acme-to-m365\",\n"
	"  \"strategy\": \"park\",\n"
	"  \"domains\": [{ \"name\": \"acme.example\" }],\n"
	"  \"old\": { \"provider\": \"workspace\", \"mx\": [\"smtp.google.com\"],\n"
	"    \"deliver_to\": \"smtp.google.com:25\" },\n"
	"  \"new\": { \"provider\": \"m365\",\n"
	"    \"mx\": [\"acme-example.mail.protection.outlook.com\"],\n"
	"    \"deliver_to\": \"acmenew.mail.protection.outlook.com:25\" },\n"
	"  \"queue_mx\": { \"host\": \"hold.example.net\", \"priority\": 20,\n"
	"    \"listen\": [\"0.0.0.0:25\", \"[::]:25\"],\n"
	"    \"tls\": { \"certificate_file\": \"hold.pem\",\n"
	"      \"key_file\": \"hold.key\" } },\n"
	"  \"schedule\": { \"opens\": \"2026-12-05T22:00:00Z\",\n"
	"    \"closes\": \"2026-12-06T10:00:00Z\" },\n"
	"  \"dns\": { \"resolvers\": [\"system\", \"1.1.1.1\", \"8.8.8.8\",\n"
	"    \"9.9.9.9\"], \"ttl\": 300, \"old_ttl\": 86400 },\n"
	"  \"expected\": { \"messages_per_day\": 40000, \"mean_bytes\": 75000 },\n"
	"  \"recipients\": { \"policy\": \"listed\", \"file\": \"recipients.csv\",\n"
	"    \"unknown\": \"defer\" },\n"
	"  \"filter\": { \"dnsbl\": [{ \"zone\": \"zen.spamhaus.org\",\n"
	"    \"score\": 6 }], \"rspamd\": { \"url\":\n"
	"    \"http://127.0.0.1:11333\" } },\n"
	"  \"replay\": { \"tls\": \"required\",\n"
	"    \"client_certificate_file\": \"hold.pem\",\n"
	"    \"ramp\": [1, \"1%\", \"10%\"] },\n"
	"  \"retention\": \"30d\",\n"
	"  \"probe\": { \"recipients\": [\"postmaster@acme.example\"] },\n"
	"  \"timing\": { \"trail\": \"72h\" },\n"
	"  \"notify\": [{ \"webhook\": \"https://hooks.example.net/x\",\n"
	"    \"events\": [\"phase\", \"alert\"] }]\n"
	"}\n";

/* A plan on few lines; the middle is the test's. */
#define PLAIN(more)                                                        \
	"{ \"tideover\": 1, \"name\": \"p\", \"strategy\": \"standby\",\n" \
	"\"primary\": { \"provider\": \"custom\","                         \
	" \"mx\": [\"MX.Example.org.\"] },\n"                              \
	"\"queue_mx\": { \"host\": \"q.example.net\" },\n" more " }\n"
#define DOMAIN "\"domains\": [{ \"name\": \"Example.ORG\" }]"

static struct plan *parse(const char *text)
{
	struct err err = ERR_INIT;
	struct plan *plan = plan_parse(slice(text), "/etc/p/p.json", &err);

	if (!plan)
		print_error("%s\n", err.text);
	assert_non_null(plan);
	return plan;
}

static void collect(void *ctx, const char *sentence)
{
	buf_addf(ctx, "%s\n", sentence);
}

static void the_manuals_example_is_a_plan(void **state)
{
	struct plan *plan = parse(manual);
	const struct plan_domain *domain;

	assert_string_equal(plan->name, "acme-to-m365");
	assert_int_equal(plan->strategy, STRATEGY_PARK);
	assert_false(plan->plain);
	assert_false(plan->rehearsal);
	assert_false(plan->encrypt);
	assert_int_equal(plan->domain_count, 1);
	domain = plan_domain(plan, slice("ACME.example"));
	assert_non_null(domain);
	assert_null(plan_domain(plan, slice("acme.example.net")));
	assert_string_equal(domain->systems[SYSTEM_OLD].provider->name,
			    "workspace");
	assert_string_equal(domain->systems[SYSTEM_NEW].deliver_host,
			    "acmenew.mail.protection.outlook.com");
	assert_int_equal(domain->systems[SYSTEM_NEW].deliver_port, 25);
	assert_string_equal(plan->queue_mx.certificate_file, "/etc/p/hold.pem");
	assert_string_equal(plan->recipients.file, "/etc/p/recipients.csv");
	assert_true(plan->recipients.listed);
	assert_int_equal(plan->opens_ms, 1796508000000);
	assert_int_equal(plan->dns.resolvers.count, 4);
	assert_int_equal(plan->dns.old_ttl, 86400);
	assert_int_equal(plan->replay.tls, PLAN_TLS_REQUIRED);
	assert_int_equal(plan->replay.ramp_count, 3);
	assert_true(plan->replay.ramp[0] == 1 && plan->replay.ramp[1] == 0.01 &&
		    plan->replay.ramp[2] == 0.1);
	assert_int_equal(plan->retention_ms, 30LL * 86400 * 1000);
	assert_int_equal(strlen(plan->hash), 64);
	plan_free(plan);
}

static void evidence_lies_beside_the_plan(void **state)
{
	struct plan *plan = parse(PLAIN(DOMAIN ",\n\"evidence\": [\"a.json\", "
					       "\"/b.json\"]"));

	assert_int_equal(plan->evidence.count, 2);
	assert_string_equal(plan->evidence.at[0], "/etc/p/a.json");
	assert_string_equal(plan->evidence.at[1], "/b.json");
	plan_free(plan);
}

static void what_is_not_said_has_its_default(void **state)
{
	struct plan *plan = parse(PLAIN(DOMAIN));
	const struct plan_system *primary = &plan->domains[0].systems[0];

	assert_true(plan->plain);
	assert_string_equal(plan->domains[0].name, "example.org");
	assert_string_equal(primary->mx.at[0], "mx.example.org");
	assert_null(primary->deliver_host);
	assert_int_equal(primary->max_bytes, 50 << 20);
	assert_null(primary->own);
	assert_int_equal(plan->queue_mx.listen.count, 2);
	assert_string_equal(plan->dns.resolvers.at[0], "system");
	assert_int_equal(plan->dns.authorities.count, 0);
	assert_int_equal(plan->dns.old_ttl, -1);
	assert_false(plan->recipients.listed);
	assert_int_equal(plan->replay.max_flight, 20);
	assert_int_equal(plan->timing.recover_after, 60000);
	assert_int_equal(plan->timing.data_reply, 600000);
	assert_int_equal(plan->timing.trail, 72LL * 3600 * 1000);
	assert_int_equal(plan->timing.canary_valid, 24LL * 3600 * 1000);
	assert_int_equal(plan->timing.canary_wait, 15LL * 60 * 1000);
	assert_int_equal(plan->canary.initial.count, 0);
	assert_int_equal(plan->keep_copies_ms, 72LL * 3600 * 1000);
	assert_null(plan->bounce.host);
	plan_free(plan);
}

static void copies_and_the_relay_are_as_the_plan_says(void **state)
{
	struct plan *plan =
		parse(PLAIN(DOMAIN ", \"keep_copies\": \"0s\", \"bounce\": {"
				   " \"deliver_to\": \"relay.example.net:587\","
				   " \"from\": \"postmaster@example.net\","
				   " \"tls\": \"verified\" }"));

	assert_int_equal(plan->keep_copies_ms, 0);
	assert_string_equal(plan->bounce.host, "relay.example.net");
	assert_int_equal(plan->bounce.port, 587);
	assert_string_equal(plan->bounce.from, "postmaster@example.net");
	assert_int_equal(plan->bounce.tls, PLAN_TLS_VERIFIED);
	plan_free(plan);
	plan = parse(PLAIN(DOMAIN ", \"keep_copies\": \"finished\""));
	assert_int_equal(plan->keep_copies_ms, PLAN_KEEP_FINISHED);
	plan_free(plan);
}

static void a_domain_overrides_what_it_says_and_no_more(void **state)
{
	struct plan *plan = parse(
		"{ \"tideover\": 1, \"name\": \"p\", \"strategy\": \"standby\","
		"\"old\": { \"provider\": \"m365\", \"mx\": [\"a.example\"],"
		" \"deliver_to\": \"a.example\", \"mailbox_per_hour\": 7,"
		" \"dkim_selectors\": [\"s\"] },"
		"\"new\": { \"provider\": \"custom\", \"mx\": [\"b.example\"]},"
		"\"queue_mx\": { \"host\": \"q.example.net\" },"
		"\"domains\": [{ \"name\": \"one.example\" },"
		" { \"name\": \"two.example\","
		"   \"old\": { \"max_bytes\": 70000 } },"
		" { \"name\": \"three.example\","
		"   \"old\": { \"provider\": \"workspace\","
		"            \"mx\": [\"c.example\"] } }] }");
	const struct plan_system *one = &plan->domains[0].systems[0];
	const struct plan_system *two = &plan->domains[1].systems[0];
	const struct plan_system *three = &plan->domains[2].systems[0];

	assert_int_equal(one->provider->mailbox.number, 7);
	assert_int_equal(one->max_bytes, 36 << 20);
	assert_string_equal(one->provider->dkim_selectors[0], "s");
	assert_null(one->provider->dkim_selectors[1]);
	assert_string_equal(one->provider->spf_include,
			    "spf.protection.outlook.com");
	assert_int_equal(two->provider->mailbox.number, 7);
	assert_int_equal(two->max_bytes, 70000);
	assert_string_equal(two->mx.at[0], "a.example");
	/* Another provider: facts about the first one do not carry over. */
	assert_ptr_equal(three->provider, provider_find("workspace"));
	assert_string_equal(three->mx.at[0], "c.example");
	assert_string_equal(three->deliver_host, "a.example");
	assert_null(plan->domains[2].systems[1].deliver_host);
	plan_free(plan);
}

/* What plans/bad does not show; one sentence each. */
static const struct {
	const char *text, *want;
} rejected[] = {
	{ "", NULL },
	{ "[]", "line 1: must be an object, not an array" },
	{ PLAIN(DOMAIN ", \"primery\": 1"), "line 4: primery: unknown key" },
	{ PLAIN(DOMAIN ", \"a b\": 1"), "line 4: a?b: unknown key" },
	{ PLAIN(DOMAIN ", \"$comment\": 1"),
	  "line 4: $comment: must be a string, not a number" },
	{ PLAIN(DOMAIN ", \"api_key\": \"x\""),
	  "line 4: api_key: a secret may not stand in a plan; keep it in a "
	  "file or the environment" },
	{ PLAIN("\"domains\": [{}]"), "line 4: domains[0].name: is missing" },
	{ PLAIN("\"domains\": [{ \"name\": \"org\" }]"),
	  "line 4: domains[0].name: the name has no dot: write it in full" },
	{ PLAIN("\"domains\": [{ \"name\": \"a..example\" }]"),
	  "line 4: domains[0].name: not a host name (letters, digits and inner "
	  "hyphens between dots)" },
	{ PLAIN("\"domains\": [{ \"name\": \"a.example..\" }]"),
	  "line 4: domains[0].name: the name has an empty label" },
	{ PLAIN("\"domains\": [{ \"name\": \"example.org\",\n"
		"\"old\": { \"mx\": [\"a.example.org\"] } }]"),
	  "line 5: domains[0].old: the plan has no 'old'" },
	{ PLAIN(DOMAIN ", \"retention\": \"3651d\""),
	  "line 4: retention: must be at most 3650d" },
	{ PLAIN(DOMAIN ", \"retention\": \"59m\""),
	  "line 4: retention: must be at least 1h" },
	{ PLAIN(DOMAIN ", \"dns\": { \"ttl\": 1.5 }"),
	  "line 4: dns.ttl: must be a whole number" },
	{ PLAIN(DOMAIN ", \"dns\": { \"resolvers\": [\"[9.9.9.9]\"] }"),
	  "line 4: dns.resolvers[0]: brackets are for IPv6 addresses alone" },
	{ PLAIN(DOMAIN ", \"dns\": { \"resolvers\": [\"9.9.9\"] }"),
	  "line 4: dns.resolvers[0]: not an IP address" },
	{ PLAIN(DOMAIN ", \"dns\": { \"resolvers\": [\"9.9.9.9:\"] }"),
	  "line 4: dns.resolvers[0]: '' is not a port" },
	{ PLAIN(DOMAIN ", \"replay\": { \"client_key_file\": \"k\" }"),
	  "line 4: replay.client_key_file: needs client_certificate_file "
	  "beside it" },
	{ PLAIN(DOMAIN ", \"replay\": { \"tls\": \"req\\nuired\" }"),
	  "line 4: replay.tls: holds a control character" },
	{ PLAIN(DOMAIN ", \"expected\": { \"mean_bytes\": 1e300 }"),
	  "line 4: expected.mean_bytes: must be a number from 1 to "
	  "1099511627776" },
	{ PLAIN(DOMAIN ", \"recipients\": { \"policy\": \"any\","
		       " \"file\": \"r\" }"),
	  "line 4: recipients.file: is for policy listed" },
};

static void what_is_no_plan_is_refused_with_line_and_path(void **state)
{
	for (size_t i = 0; i < COUNT(rejected); i++) {
		struct err err = ERR_INIT;
		struct plan *plan =
			plan_parse(slice(rejected[i].text), NULL, &err);

		assert_null(plan);
		if (rejected[i].want)
			assert_string_equal(err.text, rejected[i].want);
		else
			assert_true(err_is_set(&err));
	}
}

static void one_name_in_two_spellings_is_one_name(void **state)
{
	struct err err = ERR_INIT;

	assert_null(plan_parse(
		slice("{ \"tideover\": 1, \"name\": \"p\", \"strategy\": \"standby\","
		      "\"domains\": [{ \"name\": \"a.example\" }],"
		      "\"queue_mx\": { \"host\": \"q.example.net\" },"
		      "\"primary\": { \"provider\": \"custom\","
		      " \"mx\": [\"mx.a.example\", \"MX.a.example.\"] } }"),
		NULL, &err));
	assert_string_equal(err.text, "line 1: primary.mx[1]: stands here "
				      "twice");
}

static void a_message_names_the_plan(void **state)
{
	struct err err = ERR_INIT;

	assert_null(plan_parse(slice("[]"), "acme.json", &err));
	assert_string_equal(err.text, "plan 'acme.json': line 1: must be an "
				      "object, not an array");
	err_clear(&err);
	assert_null(plan_load("plans/no-such.json", &err));
	assert_memory_equal(err.text, "plan 'plans/no-such.json': ", 27);
}

static void a_plan_of_a_megabyte_is_refused(void **state)
{
	char *text = mem_alloc(PLAN_MAX_BYTES + 2);
	struct err err = ERR_INIT;

	memset(text, ' ', PLAN_MAX_BYTES + 1);
	assert_null(plan_parse(slice(text), NULL, &err));
	assert_string_equal(err.text, "is larger than 1048576 bytes");
	free(text);
}

/* ---- files ---- */

static void each_file(const char *pattern, size_t at_least,
		      void (*each)(const char *path))
{
	glob_t found;
	size_t count = 0;

	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		if (strstr(found.gl_pathv[i], ".schema.json"))
			continue;
		each(found.gl_pathv[i]);
		count++;
	}
	globfree(&found);
	assert_true(count >= at_least);
}

static void is_accepted(const char *path)
{
	struct err err = ERR_INIT;
	struct plan *plan = plan_load(path, &err);

	assert_string_equal(err.text, "");
	assert_non_null(plan);
	/* What an example names is there. */
	assert_true(!plan->recipients.file ||
		    file_exists(plan->recipients.file));
	assert_true(!plan->queue_mx.certificate_file ||
		    file_exists(plan->queue_mx.certificate_file));
	plan_free(plan);
}

static void every_example_is_a_plan(void **state)
{
	each_file("plans/*.json", 3, is_accepted);
}

static void is_refused_as_expected(const char *path)
{
	struct buf text = BUF_INIT, want = BUF_INIT, got = BUF_INIT;
	struct buf beside = BUF_INIT;
	struct err err = ERR_INIT;

	buf_addf(&beside, "%.*s.error", (int)(strlen(path) - strlen(".json")),
		 path);
	assert_int_equal(file_read(path, PLAN_MAX_BYTES, &text, &err), 0);
	assert_int_equal(
		file_read(buf_text(&beside), PLAN_MAX_BYTES, &want, &err), 0);
	assert_true(plan_errors(buf_slice(&text), path, collect, &got) > 0);
	if (!slice_equal(buf_slice(&got), buf_slice(&want)))
		print_error("%s\n", path);
	assert_string_equal(buf_text(&got), buf_text(&want));
	buf_release(&text);
	buf_release(&want);
	buf_release(&got);
	buf_release(&beside);
}

static void every_bad_plan_gives_exactly_the_errors_beside_it(void **state)
{
	each_file("plans/bad/*.json", 20, is_refused_as_expected);
}

/* ---- rehearsal ---- */

static const char *const resolvers[] = { "127.0.0.1:5302", "[::1]:5303" };
static const struct plan_rehearsal world = {
	.listen = "127.0.0.1:2525",
	.authority = "127.0.0.1:5301",
	.resolvers = resolvers,
	.resolver_count = COUNT(resolvers),
	.deliver_to = { "127.0.0.1:2601", "127.0.0.1:2602" },
	.certificate_file = "/tmp/r/c.pem",
	.key_file = "/tmp/r/k.pem",
};

static void rehearses(const char *path)
{
	struct plan *plan = plan_load(path, NULL), *twin;
	char *text = plan_rehearsal_text(plan, &world);
	struct err err = ERR_INIT;

	twin = plan_parse(slice(text), "/tmp/r/plan.json", &err);
	assert_string_equal(err.text, "");
	assert_true(twin->rehearsal);
	assert_string_equal(twin->name, plan->name);
	assert_int_equal(twin->strategy, plan->strategy);
	assert_int_equal(twin->plain, plan->plain);
	assert_int_equal(twin->domain_count, plan->domain_count);
	for (size_t i = 0; i < plan->domain_count; i++)
		for (int id = 0; id < (plan->plain ? 1 : 2); id++) {
			const struct plan_system *a, *b;

			a = &plan->domains[i].systems[id];
			b = &twin->domains[i].systems[id];
			assert_string_equal(a->provider->name,
					    b->provider->name);
			assert_int_equal(a->mx.count, b->mx.count);
			for (size_t k = 0; k < a->mx.count; k++)
				assert_string_equal(a->mx.at[k], b->mx.at[k]);
			assert_int_equal(a->max_bytes, b->max_bytes);
			assert_string_equal(b->deliver_host, "127.0.0.1");
			assert_int_equal(b->deliver_port, 2601 + id);
		}
	assert_int_equal(twin->replay.ramp_count, plan->replay.ramp_count);
	for (size_t i = 0; i < plan->replay.ramp_count; i++)
		assert_true(twin->replay.ramp[i] == plan->replay.ramp[i]);
	assert_int_not_equal(twin->replay.tls, PLAN_TLS_VERIFIED);
	assert_string_equal(twin->dns.authorities.at[0], "127.0.0.1:5301");
	assert_int_equal(twin->dns.resolvers.count, 2);
	assert_int_equal(twin->dns.ttl, 2);
	assert_int_equal(twin->timing.watch_every, 300);
	assert_int_equal(twin->timing.retry_max, 2000);
	assert_int_equal(twin->canary.initial.count,
			 plan->canary.initial.count);
	assert_int_equal(twin->canary.recipients.count,
			 plan->canary.recipients.count);
	for (size_t i = 0; i < plan->canary.recipients.count; i++)
		assert_string_equal(twin->canary.recipients.at[i],
				    plan->canary.recipients.at[i]);
	free(text);
	plan_free(twin);
	plan_free(plan);
}

static void every_example_can_be_rehearsed_on_loopback(void **state)
{
	each_file("plans/*.json", 3, rehearses);
}

/* ---- differences ---- */

static const struct {
	const char *before, *after, *want;
} changes[] = {
	{ PLAIN(DOMAIN), PLAIN("   " DOMAIN), "" },
	{ PLAIN(DOMAIN), PLAIN("\"$comment\": \"x\", " DOMAIN), "" },
	{ PLAIN(DOMAIN ", \"dns\": { \"ttl\": 300 }"),
	  PLAIN("\"dns\": { \"ttl\": 60 }, " DOMAIN),
	  "dns.ttl: 300 became 60\n" },
	{ PLAIN(DOMAIN ", \"retention\": \"30d\""),
	  PLAIN(DOMAIN ", \"retention\": \"14d\""),
	  "retention: '30d' became '14d'\n" },
	{ PLAIN(DOMAIN), PLAIN(DOMAIN ", \"timing\": { \"trail\": \"1h\" }"),
	  "timing: {\"trail\":\"1h\"} is new\n" },
	{ PLAIN(DOMAIN ", \"retention\": \"30d\""), PLAIN(DOMAIN),
	  "retention: '30d' is gone\n" },
	{ PLAIN(DOMAIN ", \"replay\": { \"ramp\": [1, \"5%\"] }"),
	  PLAIN(DOMAIN ", \"replay\": { \"ramp\": [2] }"),
	  "replay.ramp[0]: 1 became 2\nreplay.ramp[1]: '5%' is gone\n" },
	{ PLAIN("\"domains\": [{ \"name\": \"b.example\" }]"),
	  PLAIN("\"domains\": [{ \"name\": \"a.example\" },"
		" { \"name\": \"b.example\" }]"),
	  "domains[a.example]: {\"name\":\"a.example\"} is new\n" },
};

static void what_has_no_effect_is_said(void **state)
{
	struct plan *plan =
		parse(PLAIN("\"domains\": [{ \"name\": \"a.example\" }],"
			    "\"filter\": { \"rspamd\":"
			    " { \"url\": \"http://127.0.0.1:1\" } },"
			    "\"notify\": []"));

	/* An empty list asks for nothing. */
	assert_int_equal(plan->idle_count, 1);
	assert_non_null(strstr(plan->idle[0], "filter: "));
	plan_free(plan);
}

static void a_diff_names_what_changed_and_ignores_layout(void **state)
{
	for (size_t i = 0; i < COUNT(changes); i++) {
		struct plan *before = parse(changes[i].before);
		struct plan *after = parse(changes[i].after);
		struct buf out = BUF_INIT;

		plan_diff(before, after, &out);
		assert_string_equal(buf_text(&out), changes[i].want);
		buf_release(&out);
		plan_free(before);
		plan_free(after);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_manuals_example_is_a_plan),
		cmocka_unit_test(evidence_lies_beside_the_plan),
		cmocka_unit_test(what_is_not_said_has_its_default),
		cmocka_unit_test(copies_and_the_relay_are_as_the_plan_says),
		cmocka_unit_test(a_domain_overrides_what_it_says_and_no_more),
		cmocka_unit_test(what_is_no_plan_is_refused_with_line_and_path),
		cmocka_unit_test(one_name_in_two_spellings_is_one_name),
		cmocka_unit_test(a_message_names_the_plan),
		cmocka_unit_test(a_plan_of_a_megabyte_is_refused),
		cmocka_unit_test(every_example_is_a_plan),
		cmocka_unit_test(
			every_bad_plan_gives_exactly_the_errors_beside_it),
		cmocka_unit_test(every_example_can_be_rehearsed_on_loopback),
		cmocka_unit_test(what_has_no_effect_is_said),
		cmocka_unit_test(a_diff_names_what_changed_and_ignores_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
