#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "cutover/watch.h"
#include "tests/unit/zone.h"
#include <stdio.h>

#define NOW_MS 1780000000000

static const char park_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"park\","
	"\"domains\":[{\"name\":\"acme.example\"}],"
	"\"old\":{\"provider\":\"workspace\",\"mx\":[\"old.example\"],"
	"\"deliver_to\":\"old.example.net:25\"},"
	"\"new\":{\"provider\":\"m365\",\"mx\":[\"new.example\"],"
	"\"deliver_to\":\"tenant.example.org:25\"},"
	"\"queue_mx\":{\"host\":\"hold.example\"},"
	"\"expected\":{\"messages_per_day\":24000,\"mean_bytes\":100000},"
	"\"dns\":{\"old_ttl\":3600}}";
static const char plain_text[] =
	"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"standby\","
	"\"domains\":[{\"name\":\"acme.example\"}],"
	"\"primary\":{\"provider\":\"custom\",\"mx\":[\"mx.example\"]},"
	"\"queue_mx\":{\"host\":\"hold.example\"}}";

static const struct supervisor good_unit = {
	.kind = SUPERVISOR_SYSTEMD,
	.unit = "tideoverd.service",
	.restart = "always",
	.enabled = "/etc/systemd/system/multi-user.target.wants/"
		   "tideoverd.service",
};

struct world {
	struct plan *plan;
	struct facts *facts;
	struct watch watch;
	struct buf turns; /* "parked pass>fail!|" with ! for an alert */
};

static void world_make(struct world *w, const char *text, enum phase phase)
{
	struct err err = ERR_INIT;

	*w = (struct world){ .plan = plan_parse(slice(text), NULL, &err) };
	if (!w->plan)
		fail_msg("%s", err.text);
	w->facts = facts_new(w->plan);
	w->facts->phase = phase;
	w->facts->now.wall_ms = NOW_MS;
	w->facts->ledger_known = w->facts->ledger_balances = true;
	w->facts->journal_intact = true;
	w->facts->supervisor = good_unit;
	w->facts->space_known = true;
	w->facts->space = (struct file_space){ .free_bytes = 1000000000000,
					       .total_bytes = 1000000000000 };
}

static void world_release(struct world *w)
{
	watch_release(&w->watch);
	facts_free(w->facts);
	plan_free(w->plan);
	buf_release(&w->turns);
}

static void turned(void *ctx, const struct watch_row *row, const char *from)
{
	struct world *w = ctx;

	buf_addf(&w->turns, "%s %s>%s%s|", row->check->id, from ? from : "",
		 verdict_name(row->verdict), row->alert ? "!" : "");
}

/* Looks, and says what turned. */
static const char *look(struct world *w)
{
	buf_clear(&w->turns);
	w->facts->now.wall_ms += 30000;
	watch_look(&w->watch, w->facts, turned, w);
	return buf_text(&w->turns);
}

static const struct watch_row *row(const struct world *w, const char *id)
{
	for (size_t i = 0; i < w->watch.count; i++)
		if (strcmp(w->watch.rows[i].check->id, id) == 0)
			return &w->watch.rows[i];
	return NULL;
}

static void publish(struct world *w, const char *host)
{
	struct facts_domain *domain = &w->facts->domains[0];

	if (!domain->dns.vantages) {
		domain->surveyed = true;
		domain->dns.vantage_count = 4;
		domain->dns.vantages =
			mem_alloc(4 * sizeof(*domain->dns.vantages));
	}
	for (size_t i = 0; i < 4; i++) {
		struct dns_vantage *at = &domain->dns.vantages[i];

		at->authority = at->aa = at->has_serial = i == 0;
		snprintf(at->address, sizeof(at->address), "192.0.2.%zu", i);
		at->mx.count = 1;
		at->mx.ttl = 60;
		snprintf(at->mx.at[0].host, DNS_NAME, "%s", host);
	}
}

static void what_holds_from_the_start_alerts_at_once(void **state)
{
	struct world w;

	world_make(&w, park_text, PHASE_HOLDING);
	w.facts->supervisor.kind = SUPERVISOR_NONE;
	assert_string_equal(look(&w), "daemon-supervised >fail!|");
	assert_true(row(&w, "daemon-supervised")->alert);
	assert_string_equal(look(&w), "");
	w.facts->supervisor = good_unit;
	assert_string_equal(look(&w), "daemon-supervised fail>pass|");
	assert_false(row(&w, "daemon-supervised")->alert);
	assert_int_equal(row(&w, "daemon-supervised")->since_ms,
			 w.facts->now.wall_ms);
	world_release(&w);
}

static void what_arrives_alerts_once_it_was_good(void **state)
{
	struct world w;

	world_make(&w, park_text, PHASE_HOLDING);
	publish(&w, "old.example");
	look(&w);
	assert_int_equal(row(&w, "parked")->verdict, VERDICT_FAIL);
	assert_false(row(&w, "parked")->alert);
	publish(&w, "hold.example");
	assert_non_null(strstr(look(&w), "parked fail>pass|"));
	publish(&w, "old.example");
	assert_non_null(strstr(look(&w), "parked pass>fail!|"));
	assert_true(row(&w, "parked")->alert);
	assert_non_null(strstr(row(&w, "parked")->remedy, "hold.example"));
	world_release(&w);
}

static void what_was_good_and_cannot_be_asked_alerts(void **state)
{
	struct world w;

	world_make(&w, park_text, PHASE_HOLDING);
	publish(&w, "hold.example");
	look(&w);
	assert_int_equal(row(&w, "dns-authority")->verdict, VERDICT_PASS);
	w.facts->domains[0].surveyed = false;
	assert_non_null(strstr(look(&w), "dns-authority pass>unknown!|"));
	/* Nobody ever knew: no turn, no alert. */
	assert_int_equal(row(&w, "no-open-relay")->verdict, VERDICT_UNKNOWN);
	assert_false(row(&w, "no-open-relay")->alert);
	world_release(&w);
}

/* What somebody saw of the queue from outside; NULL: nobody looked lately. */
static void seen_outside(struct world *w, const char *greeting)
{
	char *text = mem_printf(
		"{\"queue_seen\":[{\"from\":\"198.51.100.7\","
		"\"to\":\"192.0.2.9\",\"at\":\"2026-05-28T20:00:00Z\","
		"\"greeting\":\"%s\",\"recipients\":"
		"[\"a@acme.example 250 2.1.5 Ok\"]}]}",
		greeting ? greeting : "");

	tenant_release(&w->facts->tenant);
	if (greeting &&
	    tenant_read(&w->facts->tenant, slice(text), NOW_MS, NULL) < 0)
		fail();
	free(text);
}

static void what_a_file_shows_alerts_and_its_age_does_not(void **state)
{
	struct world w;

	world_make(&w, park_text, PHASE_HOLDING);
	w.facts->records = records_new();
	zone_lines(w.facts->records, "hold.example A 192.0.2.9\n");
	seen_outside(&w, NULL);
	look(&w);
	assert_int_equal(row(&w, "queue-reachable")->verdict, VERDICT_UNKNOWN);
	seen_outside(&w, "220 hold.example ESMTP");
	assert_non_null(strstr(look(&w), "queue-reachable unknown>pass|"));
	seen_outside(&w, NULL);
	assert_non_null(strstr(look(&w), "queue-reachable pass>unknown|"));
	seen_outside(&w, "timeout");
	assert_non_null(strstr(look(&w), "queue-reachable unknown>fail!|"));
	world_release(&w);
}

static void a_phase_begins_anew(void **state)
{
	struct world w;

	world_make(&w, park_text, PHASE_HOLDING);
	publish(&w, "hold.example");
	look(&w);
	assert_true(row(&w, "parked")->was_good);
	/* The release is under way and the MX changes, as it should. */
	w.facts->phase = PHASE_RELEASING;
	publish(&w, "new.example");
	assert_null(strstr(look(&w), "!"));
	assert_null(row(&w, "parked"));
	world_release(&w);
}

static void rows_are_watched_where_they_mean_something(void **state)
{
	static const struct {
		const char *id;
		bool holding, trailing, standing, planned;
	} rows[] = {
		{ "queue-cert", true, true, true, false },
		{ "no-open-relay", true, true, true, false },
		{ "parked", true, false, false, false },
		{ "ramp", false, true, false, false },
		{ "stragglers-end", false, true, false, false },
		{ "standby-health", true, false, true, false },
		{ "straggler-rate", true, false, false, false },
		{ "queue-reachable", true, true, true, false },
		/* Not of the watched rows. */
		{ "held-empty", false, false, false, false },
	};
	struct world park, plain;

	world_make(&park, park_text, PHASE_HOLDING);
	world_make(&plain, plain_text, PHASE_STANDING);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct check *check = check_find(rows[i].id);

		assert_int_equal(watch_wants(check, park.plan, PHASE_HOLDING),
				 rows[i].holding);
		assert_int_equal(watch_wants(check, park.plan, PHASE_TRAILING),
				 rows[i].trailing);
		assert_int_equal(watch_wants(check, plain.plan, PHASE_STANDING),
				 rows[i].standing);
		assert_int_equal(watch_wants(check, park.plan, PHASE_PLANNED),
				 rows[i].planned);
	}
	look(&plain);
	for (size_t i = 0; i < plain.watch.count; i++)
		assert_true(plain.watch.rows[i].check->plain);
	world_release(&park);
	world_release(&plain);
}

/* A row that turned is told in two words: what the journal keeps of it. */
static struct json *turn(const char *check, const char *from, const char *to,
			 bool alert)
{
	struct json *data = json_object();

	json_put_text(data, "check", check);
	json_put_text(data, "from", from);
	json_put_text(data, "to", to);
	json_put_bool(data, "alert", alert);
	json_put_text(data, "summary", "as it was");
	return data;
}

static void a_restart_knows_what_had_arrived(void **state)
{
	struct world w;
	struct json *events[] = {
		turn("parked", "fail", "pass", false),
		turn("no-such-check", "fail", "pass", false),
		turn("dns-authority", "pass", "sideways", true),
		turn("held-empty", "pass", "fail", true),
	};

	world_make(&w, park_text, PHASE_HOLDING);
	watch_restore_phase(&w.watch, PHASE_HOLDING);
	for (size_t i = 0; i < COUNT(events); i++) {
		watch_restore_turn(&w.watch, events[i], NOW_MS);
		json_free(events[i]);
	}
	assert_int_equal(w.watch.count, 1);
	assert_int_equal(row(&w, "parked")->since_ms, NOW_MS);
	publish(&w, "old.example");
	assert_non_null(strstr(look(&w), "parked pass>fail!|"));
	/* The next phase knows nothing of it. */
	watch_restore_phase(&w.watch, PHASE_RELEASING);
	assert_int_equal(w.watch.count, 0);
	world_release(&w);
}

static void looks_are_a_fifth_early_or_late(void **state)
{
	assert_int_equal(watch_next_ms(1000, 30000, 0), 25000);
	assert_int_equal(watch_next_ms(1000, 30000, 255), 37000);
	for (int chance = 1; chance < 256; chance++)
		assert_true(
			watch_next_ms(0, 30000, (unsigned char)chance) >
			watch_next_ms(0, 30000, (unsigned char)(chance - 1)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_holds_from_the_start_alerts_at_once),
		cmocka_unit_test(what_arrives_alerts_once_it_was_good),
		cmocka_unit_test(what_was_good_and_cannot_be_asked_alerts),
		cmocka_unit_test(what_a_file_shows_alerts_and_its_age_does_not),
		cmocka_unit_test(a_phase_begins_anew),
		cmocka_unit_test(rows_are_watched_where_they_mean_something),
		cmocka_unit_test(a_restart_knows_what_had_arrived),
		cmocka_unit_test(looks_are_a_fifth_early_or_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
