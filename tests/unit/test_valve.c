#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/pace.h"
#include "daemon/rate.h"
#include "daemon/valve.h"

#define PARK	STRATEGY_PARK
#define STANDBY STRATEGY_STANDBY

/*
 * The truth table: phase, strategy, plain, healthy target, stages of the ramp
 * left -> state.  In each row health and ramp are as often both as they matter.
 */
static const struct {
	enum phase phase;
	enum plan_strategy strategy;
	bool plain, healthy, ramp;
	enum valve_state want;
} table[] = {
	{ PHASE_PLANNED, PARK, false, true, false, VALVE_CLOSED },
	{ PHASE_PLANNED, STANDBY, true, true, false, VALVE_CLOSED },
	{ PHASE_OPENING, PARK, false, true, false, VALVE_CLOSED },
	{ PHASE_OPENING, STANDBY, true, true, false, VALVE_CLOSED },
	/* Parked mail waits, however well the systems are. */
	{ PHASE_HOLDING, PARK, false, true, false, VALVE_CLOSED },
	{ PHASE_HOLDING, PARK, false, false, false, VALVE_CLOSED },
	/* Standby mail goes on to the old system while that is well. */
	{ PHASE_HOLDING, STANDBY, false, true, false, VALVE_OPEN },
	{ PHASE_HOLDING, STANDBY, false, false, false, VALVE_CLOSED },
	{ PHASE_RELEASING, PARK, false, true, true, VALVE_RAMP },
	{ PHASE_RELEASING, PARK, false, false, true, VALVE_RAMP },
	{ PHASE_RELEASING, PARK, false, true, false, VALVE_OPEN },
	{ PHASE_RELEASING, STANDBY, false, true, true, VALVE_RAMP },
	{ PHASE_RELEASING, STANDBY, false, false, true, VALVE_CLOSED },
	{ PHASE_RELEASING, STANDBY, false, true, false, VALVE_OPEN },
	{ PHASE_RETURNING, PARK, false, true, true, VALVE_RAMP },
	{ PHASE_RETURNING, PARK, false, true, false, VALVE_OPEN },
	{ PHASE_RETURNING, STANDBY, false, false, false, VALVE_CLOSED },
	{ PHASE_TRAILING, PARK, false, true, false, VALVE_OPEN },
	{ PHASE_TRAILING, PARK, false, false, false, VALVE_OPEN },
	{ PHASE_TRAILING, STANDBY, false, true, false, VALVE_OPEN },
	{ PHASE_TRAILING, STANDBY, false, false, false, VALVE_CLOSED },
	{ PHASE_RETURNED, PARK, false, true, false, VALVE_OPEN },
	{ PHASE_RETURNED, STANDBY, false, false, false, VALVE_CLOSED },
	{ PHASE_STANDING, STANDBY, true, true, false, VALVE_OPEN },
	{ PHASE_STANDING, STANDBY, true, false, false, VALVE_CLOSED },
	{ PHASE_FINISHED, PARK, false, true, false, VALVE_CLOSED },
	{ PHASE_FINISHED, STANDBY, true, true, false, VALVE_CLOSED },
};

static struct valve_facts facts_of(size_t row)
{
	return (struct valve_facts){
		.phase = table[row].phase,
		.strategy = table[row].strategy,
		.plain = table[row].plain,
		.healthy = table[row].healthy,
		.ramp_left = table[row].ramp,
		.health = "no banner",
	};
}

static void the_valve_stands_as_the_table_says(void **state)
{
	for (size_t i = 0; i < COUNT(table); i++) {
		struct valve_facts facts = facts_of(i);
		struct valve valve;

		valve_decide(&facts, &valve);
		if (valve.state != table[i].want)
			print_error("row %zu: %s (%s)\n", i,
				    valve_state_name(valve.state),
				    valve.reason);
		assert_int_equal(valve.state, table[i].want);
		assert_true(valve.reason[0] != '\0');
	}
}

static void what_closes_wins_in_every_row(void **state)
{
	for (size_t i = 0; i < COUNT(table); i++) {
		struct valve_facts facts = facts_of(i);
		struct valve valve;

		facts.breaker = "five mailboxes refused";
		valve_decide(&facts, &valve);
		assert_int_equal(valve.state, VALVE_CLOSED);
		assert_non_null(strstr(valve.reason, "five mailboxes"));
		facts.paused = "tenant is being repaired";
		valve_decide(&facts, &valve);
		assert_int_equal(valve.state, VALVE_CLOSED);
		assert_non_null(strstr(valve.reason, "tenant is being"));
		facts.broken = "Input/output error";
		valve_decide(&facts, &valve);
		assert_int_equal(valve.state, VALVE_CLOSED);
		assert_non_null(strstr(valve.reason, "Input/output"));
	}
}

/* A window holds standby mail however well the primary looks; parked mail has
 * its phases. */
static void a_window_closes_every_standby_valve(void **state)
{
	for (size_t i = 0; i < COUNT(table); i++) {
		struct valve_facts facts = facts_of(i);
		struct valve valve;

		facts.window = "until 02:00";
		valve_decide(&facts, &valve);
		assert_int_equal(valve.state, table[i].strategy == STANDBY ?
						      VALVE_CLOSED :
						      table[i].want);
		if (table[i].strategy == STANDBY && table[i].healthy &&
		    table[i].want != VALVE_CLOSED)
			assert_non_null(strstr(valve.reason, "until 02:00"));
	}
}

static void a_flight_widens_while_the_target_accepts(void **state)
{
	struct pace pace;

	pace_init(&pace, 1, 20);
	for (int round = 0; round < 200; round++) {
		int begun = 0;

		while (pace_may(&pace, 1000)) {
			pace_begin(&pace, 1000);
			begun++;
		}
		assert_true(begun >= 1 && begun <= 20);
		while (begun-- > 0)
			pace_accepted(&pace, 1000, 0);
	}
	assert_true(pace.flight >= 19.9 && pace.flight <= 20);
}

static void a_deferral_narrows_at_once_and_never_below_one(void **state)
{
	struct pace pace;
	int64_t now = 1000;

	pace_init(&pace, 16, 20);
	pace_begin(&pace, 1000);
	pace_deferred(&pace, now, false);
	assert_true(pace.flight <= 8);
	/* Many deferrals of one moment are one piece of news. */
	for (int i = 0; i < 5; i++) {
		pace_begin(&pace, 1000);
		pace_deferred(&pace, now, false);
	}
	assert_true(pace.flight >= 4);
	for (int i = 0; i < 50; i++) {
		now += 100000;
		pace_begin(&pace, now);
		pace_deferred(&pace, now, true);
	}
	assert_true(pace.flight >= 1);
	assert_int_equal(pace.in_flight, 0);
	/* It goes on some day: the time is known. */
	assert_true(pace_may(&pace, pace_wake_ms(&pace)) ||
		    pace_may(&pace, now));
}

static void a_rate_is_of_the_last_minute(void **state)
{
	struct rate rate = { 0 };

	for (int64_t second = 0; second < 120; second++)
		rate_add(&rate, 2, 1000000 + second * 1000);
	assert_in_range((int64_t)rate_per_minute(&rate, 1000000 + 119000), 116,
			124);
	assert_int_equal((int)rate_per_minute(&rate, 1000000 + 500000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_valve_stands_as_the_table_says),
		cmocka_unit_test(what_closes_wins_in_every_row),
		cmocka_unit_test(a_window_closes_every_standby_valve),
		cmocka_unit_test(a_flight_widens_while_the_target_accepts),
		cmocka_unit_test(
			a_deferral_narrows_at_once_and_never_below_one),
		cmocka_unit_test(a_rate_is_of_the_last_minute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
