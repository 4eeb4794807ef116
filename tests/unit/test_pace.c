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
		pace_begin(&pace, 0);
		pace_accepted(&pace, 0, 0);
	}
	assert_int_equal(flight(&pace), 20);
}

static void one_bad_moment_narrows_once(void **state)
{
	struct pace pace;

	pace_init(&pace, 8, 20);
	for (int i = 0; i < 8; i++)
		pace_begin(&pace, 5000);
	for (int i = 0; i < 8; i++)
		pace_deferred(&pace, 5000 + i, false);
	assert_int_equal(flight(&pace), 4);
	pace_begin(&pace, 6100);
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

		pace_begin(&pace, now);
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
	pace_begin(&pace, 5000);
	pace_deferred(&pace, 5000, true);
	assert_false(pace_may(&pace, 5001));
	pace_again(&pace);
	assert_true(pace_may(&pace, 5001));
	assert_int_equal(flight(&pace), 1);
}

/* A target that takes `bears` in any second and defers what is above, and
 * answers at once.  What of `seconds` is deferred, and accepted. */
static void drive(struct pace *pace, int64_t from, int seconds, int bears,
		  unsigned *accepted, unsigned *deferred)
{
	static int64_t taken[1000];
	static unsigned at;

	*accepted = *deferred = 0;
	for (int64_t now = from; now < from + 1000 * seconds; now++) {
		for (int i = 0; i < 4 && pace_may(pace, now); i++) {
			pace_begin(pace, now);
			if (taken[(at + 1000 - (unsigned)bears) % 1000] <=
			    now - 1000) {
				taken[at++ % 1000] = now;
				at %= 1000;
				pace_accepted(pace, now, 0);
				++*accepted;
			} else {
				pace_deferred(pace, now, false);
				++*deferred;
			}
		}
	}
}

static void it_learns_what_a_target_bears_in_a_second(void **state)
{
	struct pace pace;
	unsigned accepted, deferred;

	pace_init(&pace, 5, 100);
	drive(&pace, 10000, 60, 50, &accepted, &deferred);
	drive(&pace, 70000, 60, 50, &accepted, &deferred);
	if (accepted < 60 * 45 || deferred * 50 > accepted)
		fail_msg("%u accepted, %u deferred", accepted, deferred);
	/* It bears more now: not much later it gets more. */
	drive(&pace, 130000, 120, 200, &accepted, &deferred);
	drive(&pace, 250000, 60, 200, &accepted, &deferred);
	if (accepted < 60 * 150 || deferred * 50 > accepted)
		fail_msg("%u accepted, %u deferred", accepted, deferred);
}

static void only_behind_a_full_flight_the_next_is_announced(void **state)
{
	struct pace pace;

	pace_init(&pace, 2, 2);
	pace_begin(&pace, 5000);
	assert_false(pace_may_follow(&pace, 5000));
	pace_begin(&pace, 5000);
	assert_true(pace_may_follow(&pace, 5000));
	/* Narrowed, the one that ends makes no room. */
	pace_deferred(&pace, 5000, false);
	pace_begin(&pace, 5000);
	assert_false(pace_may_follow(&pace, 5000));
	/* A learned rate says when, not where. */
	pace_init(&pace, 1, 1);
	pace_begin(&pace, 5000);
	pace.rate = 50;
	assert_false(pace_may_follow(&pace, 5000));
}

/* It does `at_once` of what is in flight in `each_ms`, the others wait. */
struct worker {
	struct pace pace;
	int64_t now, each_ms;
	int at_once;
	struct {
		int64_t from, to;
	} jobs[200];
	int busy;
};

/* The flight after so many. */
static int after(struct worker *w, int count)
{
	for (; count > 0; count--) {
		while (pace_may(&w->pace, w->now) && w->busy < 200) {
			int64_t turn = w->busy < w->at_once ?
					       w->now :
					       w->jobs[w->busy - w->at_once].to;

			pace_begin(&w->pace, w->now);
			w->jobs[w->busy].from = w->now;
			w->jobs[w->busy++].to = turn + w->each_ms;
		}
		w->now = w->jobs[0].to;
		pace_accepted(&w->pace, w->now, w->now - w->jobs[0].from);
		w->busy--;
		for (int i = 0; i < w->busy; i++)
			w->jobs[i] = w->jobs[i + 1];
	}
	return flight(&w->pace);
}

static void what_waits_inside_the_target_narrows_the_flight(void **state)
{
	struct worker w = { .now = 1000, .each_ms = 200, .at_once = 5 };
	int least = 100, most = 0;

	pace_init(&w.pace, 5, 100);
	after(&w, 3000);
	for (int i = 0; i < 1000; i++) {
		int is = after(&w, 10);

		least = is < least ? is : least;
		most = is > most ? is : most;
	}
	/* 5 keep it busy; of 40 each takes 3 times as long and a second. */
	if (least < 5 || most > 60)
		fail_msg("a flight of %d to %d", least, most);
}

static void a_target_that_takes_its_time_is_not_slow(void **state)
{
	struct worker w = { .now = 1000, .each_ms = 10000, .at_once = 100 };

	pace_init(&w.pace, 5, 100);
	assert_int_equal(after(&w, 1000), 100);
	/* Suddenly it takes more; after a while that is its time. */
	w.each_ms = 60000;
	assert_true(after(&w, 200) < 100);
	assert_int_equal(after(&w, 20000), 100);
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
		cmocka_unit_test(
			only_behind_a_full_flight_the_next_is_announced),
		cmocka_unit_test(
			what_waits_inside_the_target_narrows_the_flight),
		cmocka_unit_test(a_target_that_takes_its_time_is_not_slow),
		cmocka_unit_test(it_learns_what_a_target_bears_in_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
