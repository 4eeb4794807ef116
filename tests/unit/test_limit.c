#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/limit.h"
#include <stdio.h>

enum {
	MINUTE = 60 * 1000,
	HOUR = 60 * MINUTE,
};
#define NOW 1700000000000

static struct limit *made(unsigned mailbox, int64_t mailbox_ms, unsigned pair,
			  int64_t pair_ms)
{
	return limit_new((struct provider_rate){ mailbox, mailbox_ms },
			 (struct provider_rate){ pair, pair_ms });
}

/* Sends as fast as it may for so long; the most within any span. */
static unsigned most_within(struct limit *limit, int64_t span_ms,
			    int64_t for_ms, int64_t step_ms)
{
	static int64_t sent[20000];
	size_t count = 0, first = 0;
	unsigned most = 0;

	for (int64_t now = NOW; now < NOW + for_ms;) {
		int64_t until = limit_until_ms(limit, "a@x", "s", now, NULL);

		if (until) {
			assert_true(until > now);
			now = until;
			continue;
		}
		limit_count(limit, "a@x", "s", now, now);
		assert_true(count < COUNT(sent));
		sent[count++] = now;
		while (sent[first] <= now - span_ms)
			first++;
		if (count - first > most)
			most = (unsigned)(count - first);
		now += step_ms;
	}
	return most;
}

static void no_span_has_more_than_the_number(void **state)
{
	static const struct {
		unsigned number;
		int64_t span, step;
	} cases[] = {
		{ 30, MINUTE, 1 }, { 30, MINUTE, 700 }, { 30, MINUTE, 1999 },
		{ 1, MINUTE, 1 },  { 3000, HOUR, 100 }, { 7, 1000, 13 },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct limit *limit =
			made(cases[i].number, cases[i].span, 0, 0);

		assert_int_equal(most_within(limit, cases[i].span,
					     5 * cases[i].span, cases[i].step),
				 cases[i].number);
		limit_free(limit);
	}
}

static void a_pair_has_a_limit_of_its_own(void **state)
{
	struct limit *limit = made(5, HOUR, 2, MINUTE);
	enum limit_kind kind;

	limit_count(limit, "a@x", "one", NOW, NOW);
	limit_count(limit, "a@x", "One", NOW + 10, NOW + 10);
	assert_int_equal(limit_until_ms(limit, "a@x", "one", NOW + 20, &kind),
			 NOW + MINUTE);
	assert_int_equal(kind, LIMIT_PAIR);
	assert_int_equal(limit_until_ms(limit, "a@x", "two", NOW + 20, &kind),
			 0);
	assert_int_equal(kind, LIMIT_NONE);
	assert_int_equal(limit_until_ms(limit, "b@x", "one", NOW + 20, NULL),
			 0);
	for (int i = 0; i < 3; i++)
		limit_count(limit, "a@x", "two", NOW + 20, NOW + 20);
	/* Both are exhausted now: the one that lasts longer is named. */
	assert_int_equal(limit_until_ms(limit, "a@x", "two", NOW + 30, &kind),
			 NOW + HOUR);
	assert_int_equal(kind, LIMIT_MAILBOX);
	limit_free(limit);
}

static void what_the_past_tells_counts_in_any_order(void **state)
{
	struct limit *limit = made(3, MINUTE, 0, 0);

	limit_count(limit, "a@x", "s", NOW - 10, NOW);
	limit_count(limit, "a@x", "s", NOW - 30, NOW);
	limit_count(limit, "a@x", "s", NOW - 20, NOW);
	limit_count(limit, "a@x", "s", NOW - MINUTE, NOW); /* over already */
	assert_int_equal(limit_until_ms(limit, "a@x", "s", NOW, NULL),
			 NOW - 30 + MINUTE);
	limit_free(limit);
}

static void a_clock_that_is_set_back_stops_nobody_for_long(void **state)
{
	struct limit *limit = made(1, MINUTE, 0, 0);

	limit_count(limit, "a@x", "s", NOW, NOW);
	assert_int_equal(limit_until_ms(limit, "a@x", "s", NOW - HOUR, NULL),
			 0);
	limit_free(limit);
}

static void what_got_nothing_for_a_span_is_forgotten(void **state)
{
	struct limit *limit = made(30, MINUTE, 10, MINUTE);
	char mailbox[32];

	for (int i = 0; i < 100000; i++) {
		snprintf(mailbox, sizeof(mailbox), "box%d@x", i);
		limit_count(limit, mailbox, "s", NOW + i * 10, NOW + i * 10);
	}
	/* 6,000 a minute; swept once a minute. */
	assert_true(limit_mailboxes(limit) <= 12001);
	limit_free(limit);
}

static void without_a_limit_nothing_is_kept(void **state)
{
	struct limit *limit = made(0, 0, 0, 0);

	assert_false(limit_is_set(limit));
	limit_count(limit, "a@x", "s", NOW, NOW);
	assert_int_equal(limit_mailboxes(limit), 0);
	assert_int_equal(limit_until_ms(limit, "a@x", "s", NOW, NULL), 0);
	limit_free(limit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_span_has_more_than_the_number),
		cmocka_unit_test(a_pair_has_a_limit_of_its_own),
		cmocka_unit_test(what_the_past_tells_counts_in_any_order),
		cmocka_unit_test(
			a_clock_that_is_set_back_stops_nobody_for_long),
		cmocka_unit_test(what_got_nothing_for_a_span_is_forgotten),
		cmocka_unit_test(without_a_limit_nothing_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
