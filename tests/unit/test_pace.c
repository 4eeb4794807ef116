#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/pace.h"

static int flight(const struct pace *pace)
{
	return (int)pace->flight;
}

static void a_flight_grows_to_its_most_while_the_target_accepts(void **state)
{
	struct pace pace;

	pace_init(&pace, 5, 20);
	for (int i = 0; i < 100; i++) {
		assert_true(pace_may(&pace, 0));
		pace_begin(&pace);
		pace_accepted(&pace);
	}
	assert_int_equal(flight(&pace), 20);
}

static void one_bad_moment_narrows_once(void **state)
{
	struct pace pace;

	pace_init(&pace, 8, 20);
	for (int i = 0; i < 8; i++)
		pace_begin(&pace);
	for (int i = 0; i < 8; i++)
		pace_deferred(&pace, 5000 + i, false);
	assert_int_equal(flight(&pace), 4);
	pace_begin(&pace);
	pace_deferred(&pace, 6100, false);
	assert_int_equal(flight(&pace), 2);
}

static void told_to_go_away_it_waits_longer_each_time(void **state)
{
	struct pace pace;
	int64_t now = 5000, before = 0;

	pace_init(&pace, 8, 20);
	for (int i = 0; i < 5; i++) {
		int64_t wait;

		pace_begin(&pace);
		pace_deferred(&pace, now, true);
		assert_int_equal(flight(&pace), 1);
		assert_false(pace_may(&pace, now));
		wait = pace_wake_ms(&pace) - now;
		assert_true(wait >= before && wait <= 60000);
		before = wait;
		now += wait;
		assert_true(pace_may(&pace, now));
	}
	assert_int_equal(before, 60000);
}

static void an_opened_way_ends_the_wait_and_keeps_the_flight(void **state)
{
	struct pace pace;

	pace_init(&pace, 8, 20);
	pace_begin(&pace);
	pace_deferred(&pace, 5000, true);
	assert_false(pace_may(&pace, 5001));
	pace_again(&pace);
	assert_true(pace_may(&pace, 5001));
	assert_int_equal(flight(&pace), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_flight_grows_to_its_most_while_the_target_accepts),
		cmocka_unit_test(one_bad_moment_narrows_once),
		cmocka_unit_test(told_to_go_away_it_waits_longer_each_time),
		cmocka_unit_test(
			an_opened_way_ends_the_wait_and_keeps_the_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
