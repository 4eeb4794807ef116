#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "dns/dns_propagation.h"

#include <stdio.h>

#define HOURS(n)   ((int64_t)(n)*3600000)
#define SECONDS(n) ((int64_t)(n)*1000)
#define MARGIN	   SECONDS(60)
#define OBSERVE	   HOURS(48)
#define START	   HOURS(500000)

static const char *const old_mx[] = { "mx1.old.example", "mx2.old.example" };
static const char *const new_mx[] = { "mx.new.example" };
/* The second system shares a host with the first. */
static const char *const shared_mx[] = { "mx2.old.example", "mx.new.example" };

static const struct dns_wanted move = {
	old_mx, COUNT(old_mx), new_mx, COUNT(new_mx), "hold.example.net",
};
static const struct dns_wanted same = {
	old_mx, COUNT(old_mx), old_mx, COUNT(old_mx), "hold.example.net",
};
static const struct dns_wanted overlap = {
	old_mx, COUNT(old_mx), shared_mx, COUNT(shared_mx), "hold.example.net",
};
/* A plain standby plan: one system. */
static const struct dns_wanted single = {
	old_mx, COUNT(old_mx), NULL, 0, "hold.example.net",
};

/* "10 a, 20 b"; "" is no MX, "0 ." the null MX. */
static struct dns_mx_set set_of(const char *text, uint32_t ttl)
{
	struct dns_mx_set set = { .ttl = ttl };
	struct slice rest = slice(text);

	while (rest.len > 0) {
		struct slice one = slice_trim(slice_split(&rest, ','));
		struct dns_mx *mx = &set.at[set.count++];
		uint64_t preference = 0;

		assert_true(slice_u64(slice_split(&one, ' '), &preference));
		mx->preference = (unsigned)preference;
		assert_true(dns_name_normal(one, mx->host));
	}
	return set;
}

#define OLD_TEXT "10 mx1.old.example, 20 mx2.old.example"

static const struct {
	const struct dns_wanted *wanted;
	const char *set;
	unsigned prefer, is;
	enum dns_view view;
	bool has_old;
} sets[] = {
	{ &move, OLD_TEXT, 0, IS_OLD, VIEW_OLD, true },
	{ &move, "5 mx2.old.example, 5 mx1.old.example", 0, IS_OLD, VIEW_OLD,
	  true },
	{ &move, "20 hold.example.net", 0, IS_PARKED, VIEW_PARKED, false },
	{ &move, "0 mx.new.example", 0, IS_NEW, VIEW_NEW, false },
	{ &move, "10 mx1.old.example", 0, 0, VIEW_MIXED, true },
	{ &move, "10 mx1.old.example, 20 hold.example.net", 0, 0, VIEW_MIXED,
	  true },
	{ &move, "10 mx.new.example, 20 hold.example.net", 0, 0, VIEW_MIXED,
	  false },
	{ &move, "10 hold.example.net, 20 mx.else.example", 0, 0, VIEW_OTHER,
	  false },
	{ &move, "", 0, 0, VIEW_OTHER, false },
	{ &move, "0 .", 0, 0, VIEW_OTHER, false },
	/* Old and new name the same host: the phase says which it is. */
	{ &same, OLD_TEXT, IS_OLD, IS_OLD | IS_NEW, VIEW_OLD, false },
	{ &same, OLD_TEXT, IS_NEW, IS_OLD | IS_NEW, VIEW_NEW, false },
	{ &same, OLD_TEXT, IS_PARKED, IS_OLD | IS_NEW, VIEW_OLD, false },
	{ &overlap, "10 mx2.old.example, 20 mx.new.example", IS_OLD, IS_NEW,
	  VIEW_NEW, false },
	{ &overlap, OLD_TEXT, IS_NEW, IS_OLD, VIEW_OLD, true },
	{ &single, OLD_TEXT, IS_NEW, IS_OLD, VIEW_OLD, true },
	{ &single, "", 0, 0, VIEW_OTHER, false },
	/* As it is to be: the primary whole, and the queue behind it. */
	{ &single, OLD_TEXT ", 30 hold.example.net", IS_OLD, 0, VIEW_STANDBY,
	  true },
	{ &single, OLD_TEXT ", 20 hold.example.net", 0, 0, VIEW_MIXED, true },
	{ &single, "5 hold.example.net, " OLD_TEXT, 0, 0, VIEW_MIXED, true },
	{ &single, "10 mx1.old.example, 30 hold.example.net", 0, 0, VIEW_MIXED,
	  true },
	{ &single, OLD_TEXT ", 30 mx.else.example", 0, 0, VIEW_OTHER, true },
	{ &single, "20 hold.example.net", 0, IS_PARKED, VIEW_PARKED, false },
	{ &move, OLD_TEXT ", 30 hold.example.net", 0, 0, VIEW_MIXED, true },
};

static void a_set_is_what_its_hosts_are(void **state)
{
	for (size_t i = 0; i < COUNT(sets); i++) {
		struct dns_mx_set set = set_of(sets[i].set, 300);
		enum dns_view view =
			dns_view_of(&set, sets[i].wanted, sets[i].prefer);

		if (dns_set_is(&set, sets[i].wanted) != sets[i].is)
			fail_msg("row %zu: %s", i, sets[i].set);
		if (view != sets[i].view)
			fail_msg("row %zu: %s is %s", i, sets[i].set,
				 dns_view_name(view));
		assert_int_equal(dns_set_has_old(&set, sets[i].wanted),
				 sets[i].has_old);
	}
}

/*
 * A horizon's life, step by step.  `wall_s` and `boot_s` count from the start;
 * each step may observe a set somewhere, then says what must be left.
 */
enum where {
	NOWHERE,
	AUTHORITY,
	RESOLVER,
	BROKEN
};

struct step {
	int64_t wall_s, boot_s;
	const char *boot;
	enum where where;
	const char *set;
	uint32_t ttl;
	int64_t left_s;
	bool known;
};

#define QUEUE "20 hold.example.net"
#define NEW   "0 mx.new.example"

static const struct {
	const char *promise;
	const struct dns_wanted *wanted;
	int64_t old_ttl_s;
	struct step steps[8];
	size_t count;
} lives[] = {
	{ "opens one TTL and the margin after the old set was gone",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 10, 10, "a", AUTHORITY, QUEUE, 300, 360, true },
		  { 369, 369, "a", AUTHORITY, QUEUE, 300, 1, true },
		  { 370, 370, "a", NOWHERE, "", 0, 0, true },
	  },
	  4 },
	{ "where nobody looked for hours it may have gone just now",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 9000, 9000, "a", BROKEN, "", 0, 0, true },
		  { 9100, 9100, "a", AUTHORITY, QUEUE, 300, 360, true },
		  { 9200, 9200, "a", AUTHORITY, QUEUE, 300, 260, true },
	  },
	  4 },
	{ "the old set seen again starts it anew",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 10, 10, "a", AUTHORITY, QUEUE, 300, 360, true },
		  { 355, 355, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 500, 500, "a", AUTHORITY, QUEUE, 300, 360, true },
	  },
	  4 },
	{ "the largest TTL on record counts, not the lowered one",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 86400, 86460, true },
		  { 1000, 1000, "a", AUTHORITY, OLD_TEXT, 300, 86460, true },
	  },
	  2 },
	{ "the plan's old TTL counts though it was never seen",
	  &move,
	  86400,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 86460, true },
	  },
	  1 },
	{ "a resolver counts down and does not start it anew",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 250, 250, "a", RESOLVER, OLD_TEXT, 49, 110, true },
		  { 299, 299, "a", RESOLVER, OLD_TEXT, 0, 61, true },
	  },
	  3 },
	{ "a resolver that stretches its TTL is waited for",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  /* TTLs are rounded: a second more. */
		  { 300, 300, "a", RESOLVER, OLD_TEXT, 3600, 3661, true },
		  { 3000, 3000, "a", RESOLVER, OLD_TEXT, 900, 961, true },
		  { 3961, 3961, "a", NOWHERE, "", 0, 0, true },
	  },
	  4 },
	{ "one that fetches the old set late is waited for",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 350, 350, "a", RESOLVER, OLD_TEXT, 200, 261, true },
	  },
	  2 },
	{ "a part of the old set counts as old",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 200, 200, "a", AUTHORITY,
		    "10 mx2.old.example, 20 hold.example.net", 300, 360, true },
	  },
	  2 },
	{ "a host that the plan does not know may be the old one's other name",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, "1 aspmx.else.example", 3600, 3660,
		    true },
		  { 5000, 5000, "a", AUTHORITY,
		    "10 hold.example.net, 20 mx.else.example", 300, 3660,
		    true },
		  { 5010, 5010, "a", AUTHORITY, QUEUE, 300, 3660, true },
		  { 5020, 5020, "a", RESOLVER, "1 aspmx.else.example", 3600,
		    3661, true },
	  },
	  4 },
	{ "a null MX sends nobody anywhere",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 200, 200, "a", AUTHORITY, "0 .", 300, 360, true },
		  { 210, 210, "a", AUTHORITY, "", 300, 350, true },
	  },
	  3 },
	{ "the new set is not the old one where they share a host",
	  &overlap,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 200, 200, "a", AUTHORITY,
		    "10 mx2.old.example, 20 mx.new.example", 300, 360, true },
		  { 300, 300, "a", AUTHORITY,
		    "10 mx2.old.example, 20 mx.new.example", 300, 260, true },
	  },
	  3 },
	{ "same host in both: it is old until parked",
	  &same,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 100, 100, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 200, 200, "a", AUTHORITY, QUEUE, 300, 360, true },
		  { 300, 300, "a", AUTHORITY, QUEUE, 300, 260, true },
	  },
	  4 },
	{ "a clock stepped forward opens nothing early",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 10, 10, "a", AUTHORITY, QUEUE, 300, 360, true },
		  { 90000, 60, "a", AUTHORITY, QUEUE, 300, 310, true },
		  { 90310, 370, "a", NOWHERE, "", 0, 0, true },
	  },
	  4 },
	{ "a clock stepped back only makes it later",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { -5000, 60, "a", AUTHORITY, QUEUE, 300, 360, true },
		  { -4000, 1060, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { -3700, 1360, "a", NOWHERE, "", 0, 60, true },
	  },
	  4 },
	{ "over a reboot the wall clock counts",
	  &move,
	  300,
	  {
		  { 0, 90000, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 20, 90020, "a", AUTHORITY, QUEUE, 300, 360, true },
		  { 200, 10, "b", AUTHORITY, QUEUE, 300, 180, true },
		  { 380, 190, "b", NOWHERE, "", 0, 0, true },
	  },
	  4 },
	{ "no old TTL: unknown until observed for long enough",
	  &move,
	  -1,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, false },
		  { 3600, 3600, "a", AUTHORITY, QUEUE, 300, 360, false },
		  { 172799, 172799, "a", NOWHERE, "", 0, 0, false },
		  { 172800, 172800, "a", NOWHERE, "", 0, 0, true },
	  },
	  4 },
	{ "nothing observed: all is left, and without old TTL unknown",
	  &move,
	  -1,
	  {
		  { 0, 0, "a", NOWHERE, "", 0, 60, false },
		  { 500000, 500000, "a", BROKEN, "", 0, 60, false },
	  },
	  2 },
	{ "old never seen: it may have gone when we began to look",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, QUEUE, 300, 360, true },
		  { 100, 100, "a", AUTHORITY, QUEUE, 300, 260, true },
		  /* ... and a stepped clock opens nothing early here either. */
		  { 9000, 101, "a", NOWHERE, "", 0, 259, true },
	  },
	  3 },
	{ "a vantage with an error proves nothing",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 200, 200, "a", BROKEN, OLD_TEXT, 86400, 160, true },
	  },
	  2 },
	{ "TTL of the new sets is nobody's horizon",
	  &move,
	  300,
	  {
		  { 0, 0, "a", AUTHORITY, OLD_TEXT, 300, 360, true },
		  { 10, 10, "a", AUTHORITY, NEW, 86400, 360, true },
	  },
	  2 },
};

static void take_step(struct dns_horizon *horizon,
		      const struct dns_wanted *wanted, const struct step *step,
		      const struct dns_now *now)
{
	struct dns_vantage vantage = {
		.authority = step->where == AUTHORITY,
		.mx = set_of(step->set, step->ttl),
		.came_ms = now->boot_ms,
	};
	struct dns_domain domain = { .vantages = &vantage, .vantage_count = 1 };

	if (step->where == NOWHERE)
		return;
	if (step->where == BROKEN)
		snprintf(vantage.error, sizeof(vantage.error), "timeout");
	dns_horizon_observe(horizon, &domain, wanted, now);
}

/* Every step also goes through what is kept over a restart. */
static void restart(struct dns_horizon *horizon)
{
	struct json *json = dns_horizon_json(horizon);
	struct buf text = BUF_INIT;
	struct json *again;

	json_print(json, &text);
	again = json_parse(buf_slice(&text), NULL);
	assert_non_null(again);
	memset(horizon, 0xff, sizeof(*horizon));
	dns_horizon_from_json(horizon, again);
	json_free(again);
	json_free(json);
	buf_release(&text);
}

static void horizon_keeps_its_rules(void **state)
{
	for (size_t i = 0; i < COUNT(lives); i++) {
		struct dns_horizon horizon = { 0 };

		for (size_t s = 0; s < lives[i].count; s++) {
			const struct step *step = &lives[i].steps[s];
			struct dns_now now = {
				.wall_ms = START + SECONDS(step->wall_s),
				.boot_ms = HOURS(5) + SECONDS(step->boot_s),
			};
			bool known;
			int64_t left;

			snprintf(now.boot_id, sizeof(now.boot_id), "%s",
				 step->boot);
			take_step(&horizon, lives[i].wanted, step, &now);
			restart(&horizon);
			left = dns_horizon_left(&horizon, lives[i].old_ttl_s,
						MARGIN, OBSERVE, &now, &known);
			if (left != SECONDS(step->left_s) ||
			    known != step->known)
				fail_msg("%s: step %zu: %lld ms left, %s",
					 lives[i].promise, s, (long long)left,
					 known ? "known" : "unknown");
		}
	}
}

/* Milliseconds that an answer was under way before and after the cache gave it,
 * and that others of the survey took after it came. */
static const struct {
	int64_t before, after, others;
} delays[] = {
	{ 0, 0, 0 },	  { 400, 0, 0 },    { 0, 700, 0 },
	{ 0, 30, 29000 }, { 900, 300, 50 }, { 3000, 1400, 4500 },
};

/*
 * A cache counts down in whole seconds, and we hear of it later.  Whatever
 * fraction of one we ask at, and however long that takes, it is the same entry:
 * what was attested of the time since it was seen stands.
 */
static void one_entry_of_a_cache_is_seen_once(void **state)
{
	for (int64_t cached_ms = 0; cached_ms < 1000; cached_ms += 37) {
		struct dns_horizon horizon = { .max_ttl = 300 };
		int64_t seen_ms = 0;

		for (int64_t i = 0, at_ms = 0; at_ms < 9000; at_ms += 130) {
			int64_t passed_ms = cached_ms + at_ms;
			size_t d = (size_t)i++ % COUNT(delays);
			struct dns_vantage vantage = {
				.mx = set_of(OLD_TEXT, 300),
				.came_ms =
					HOURS(5) + passed_ms + delays[d].after,
				.took_ms = delays[d].before + delays[d].after,
			};
			struct dns_domain domain = { .vantages = &vantage,
						     .vantage_count = 1 };
			struct dns_now now = {
				.wall_ms = START + passed_ms + delays[d].after +
					   delays[d].others,
				.boot_ms = vantage.came_ms + delays[d].others,
				.boot_id = "a",
			};

			vantage.mx.ttl -= (uint32_t)(passed_ms / 1000);
			dns_horizon_observe(&horizon, &domain, &move, &now);
			restart(&horizon);
			if (!seen_ms)
				seen_ms = horizon.old_seen_ms;
			assert_int_equal(horizon.old_seen_ms, seen_ms);
			assert_true(seen_ms >= START + cached_ms);
			assert_true(seen_ms < START + cached_ms + 2000);
		}
	}
}

static int64_t left_at(struct dns_horizon *horizon, const char *address,
		       const char *set, uint32_t ns_ttl, int64_t at_s)
{
	struct dns_vantage vantage = {
		.authority = true,
		.mx = set_of(set, 300),
	};
	struct dns_domain domain = {
		.vantages = &vantage,
		.vantage_count = 1,
		.delegation.ttl = ns_ttl,
	};
	struct dns_now now = {
		.wall_ms = START + SECONDS(at_s),
		.boot_ms = HOURS(5) + SECONDS(at_s),
		.boot_id = "a",
	};
	bool known;

	snprintf(vantage.address, sizeof(vantage.address), "%s", address);
	dns_horizon_observe(horizon, &domain, &move, &now);
	restart(horizon);
	return dns_horizon_left(horizon, 300, MARGIN, OBSERVE, &now, &known);
}

/* Caches ask it for as long as they know the NS records that name it. */
static void a_server_that_was_left_is_asked_still(void **state)
{
	struct dns_horizon horizon = { 0 };

	left_at(&horizon, "192.0.2.1:53", OLD_TEXT, 3600, 0);
	assert_int_equal(left_at(&horizon, "192.0.2.2:53", QUEUE, 60, 100),
			 SECONDS(3600 + 360));
	assert_int_equal(left_at(&horizon, "192.0.2.2:53", QUEUE, 60, 3100),
			 SECONDS(600 + 360));
	assert_int_equal(left_at(&horizon, "192.0.2.2:53", QUEUE, 60, 4060), 0);
}

/* Its name was not found for once. */
static void a_server_that_comes_back_was_not_left(void **state)
{
	struct dns_horizon horizon = { 0 };

	left_at(&horizon, "192.0.2.1:53", OLD_TEXT, 3600, 0);
	assert_int_equal(left_at(&horizon, "192.0.2.2:53", OLD_TEXT, 3600, 10),
			 SECONDS(3600 + 360));
	assert_int_equal(left_at(&horizon, "192.0.2.1:53", QUEUE, 3600, 20),
			 SECONDS(3600 + 360)); /* now the other is gone */
	assert_int_equal(left_at(&horizon, "192.0.2.2:53", QUEUE, 3600, 30),
			 SECONDS(350));
}

static void broken_memory_of_a_horizon_is_an_empty_one(void **state)
{
	static const char text[] = "{\"max_ttl\":-5,\"first_ms\":1e300,"
				   "\"old_seen_ms\":\"x\",\"boot_id\":7}";
	struct json *json = json_parse(slice(text), NULL);
	struct dns_horizon horizon;

	assert_non_null(json);
	dns_horizon_from_json(&horizon, json);
	assert_int_equal(horizon.max_ttl, 0);
	assert_int_equal(horizon.first_ms, 0);
	assert_int_equal(horizon.old_seen_ms, 0);
	assert_string_equal(horizon.boot_id, "");
	json_free(json);
}

/* What the authorities show at a time, and what is left then.  -1: silence;
 * -2: of the second alone. */
static const struct {
	const char *promise;
	int64_t old_ttl_s;
	struct {
		int64_t wall_s, boot_s;
		int ttl; /* of the second authority; the first has 300 */
		int64_t left_s;
		bool known;
	} steps[4];
	size_t count;
} rows[] = {
	{ "the row begins when no authority is higher",
	  -1,
	  { { 0, 0, 3600, 3660, false },
	    { 100, 100, 300, 3660, true },
	    { 3700, 3700, 300, 60, true },
	    { 3760, 3760, 300, 0, true } },
	  4 },
	{ "a higher one ends it",
	  3600,
	  { { 0, 0, 300, 3660, true },
	    { 3000, 3000, 7200, 7260, false },
	    { 4000, 4000, 300, 7260, true } },
	  3 },
	{ "silence changes nothing",
	  3600,
	  { { 0, 0, 300, 3660, true }, { 3660, 3660, -1, 0, true } },
	  2 },
	{ "one that was higher and is silent may be so still",
	  -1,
	  { { 0, 0, 3600, 3660, false },
	    { 100, 100, -2, 3660, false },
	    { 4000, 4000, 300, 3660, true } },
	  3 },
	{ "a clock that is set ahead opens nothing",
	  3600,
	  { { 0, 0, 300, 3660, true }, { 9000, 60, 300, 3600, true } },
	  2 },
	{ "without any TTL to wait for it takes the observation",
	  -1,
	  { { 0, 0, 300, 60, false }, { 48 * 3600, 48 * 3600, 300, 0, true } },
	  2 },
};

static void the_low_ttl_is_served_for_as_long_as_the_high_one(void **state)
{
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct dns_horizon horizon = { 0 };

		for (size_t s = 0; s < rows[i].count; s++) {
			struct dns_vantage at[2] = {
				{ .authority = true, .name = "ns1" },
				{ .authority = true, .name = "ns2" },
			};
			struct dns_domain domain = { .vantages = at,
						     .vantage_count = 2 };
			int ttl = rows[i].steps[s].ttl;
			struct dns_now now = {
				.wall_ms = START +
					   SECONDS(rows[i].steps[s].wall_s),
				.boot_ms = HOURS(5) +
					   SECONDS(rows[i].steps[s].boot_s),
				.boot_id = "a boot",
			};
			bool known;
			int64_t left;

			at[0].mx = set_of(OLD_TEXT, 300);
			at[1].mx = set_of(OLD_TEXT, (uint32_t)ttl);
			if (ttl < 0)
				for (size_t v = ttl == -2; v < 2; v++)
					snprintf(at[v].error,
						 sizeof(at[v].error),
						 "timeout");
			dns_ttl_observe(&horizon, &domain, 300, &now);
			restart(&horizon);
			left = dns_ttl_left(&horizon, rows[i].old_ttl_s, MARGIN,
					    OBSERVE, &now, &known);
			if (left != SECONDS(rows[i].steps[s].left_s) ||
			    known != rows[i].steps[s].known)
				fail_msg("%s: step %zu: %lld ms left, %s",
					 rows[i].promise, s, (long long)left,
					 known ? "known" : "unknown");
		}
	}
}

static void another_record_fills_in_only_what_is_not_there(void **state)
{
	struct dns_horizon own = { 0 };
	const struct dns_horizon from = { .high_ttl = 7200,
					  .low_since_ms = START,
					  .first_ms = START };

	dns_ttl_adopt(&own, &from);
	assert_int_equal(own.low_since_ms, START);
	assert_int_equal(own.high_ttl, 7200);
	assert_int_equal(own.first_ms, 0);
	own.low_since_ms = START + 5;
	dns_ttl_adopt(&own, &from);
	assert_int_equal(own.low_since_ms, START + 5);
}

static void now_knows_its_boot(void **state)
{
	struct dns_now now;

	dns_now(&now);
	assert_true(now.wall_ms > 0);
	assert_true(now.boot_ms > 0);
	assert_int_equal(strlen(now.boot_id), 36);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_set_is_what_its_hosts_are),
		cmocka_unit_test(horizon_keeps_its_rules),
		cmocka_unit_test(a_server_that_was_left_is_asked_still),
		cmocka_unit_test(a_server_that_comes_back_was_not_left),
		cmocka_unit_test(one_entry_of_a_cache_is_seen_once),
		cmocka_unit_test(broken_memory_of_a_horizon_is_an_empty_one),
		cmocka_unit_test(
			the_low_ttl_is_served_for_as_long_as_the_high_one),
		cmocka_unit_test(
			another_record_fills_in_only_what_is_not_there),
		cmocka_unit_test(now_knows_its_boot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
