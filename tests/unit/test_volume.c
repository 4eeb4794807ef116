#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/volume.h"

#define HOUR_MS (INT64_C(3600) * 1000)
/* A machine that was up for some days, and no whole hours. */
#define BEGUN_MS (100 * HOUR_MS + 1800 * 1000)

static void about(double is, double want)
{
	assert_true(is > want * 0.99 && is < want * 1.01);
}

static void a_young_one_counts_since_its_beginning(void **state)
{
	struct volume volume;

	volume_begin(&volume, BEGUN_MS);
	assert_true(volume_per_hour(&volume, BEGUN_MS) == 0);
	volume_add(&volume, 1000, BEGUN_MS + HOUR_MS / 2);
	about(volume_per_hour(&volume, BEGUN_MS + HOUR_MS / 2), 2000);
	about(volume_per_hour(&volume, BEGUN_MS + 2 * HOUR_MS), 500);
}

/* A start that is a second old knows no rate yet. */
static void a_first_message_is_no_flood(void **state)
{
	struct volume volume;

	volume_begin(&volume, BEGUN_MS);
	volume_add(&volume, 1000, BEGUN_MS + 1);
	about(volume_per_hour(&volume, BEGUN_MS + 1), 60000);
}

static void what_came_before_yesterday_is_forgotten(void **state)
{
	struct volume volume;
	int64_t now = BEGUN_MS;

	volume_begin(&volume, now);
	for (int hour = 0; hour < 1000; hour++, now += HOUR_MS)
		volume_add(&volume, 1000000, now);
	about(volume_per_hour(&volume, now - HOUR_MS), 1000000 * 24 / 23.5);
	for (int hour = 0; hour < 24; hour++, now += HOUR_MS)
		volume_add(&volume, 1000, now);
	about(volume_per_hour(&volume, now - HOUR_MS), 1000 * 24 / 23.5);
	assert_true(volume_per_hour(&volume, now + 1000 * HOUR_MS) == 0);
}

/* The hours of the clock and ours begin at different minutes. */
static void a_restart_remembers_the_day(void **state)
{
	struct volume volume;

	volume_begin(&volume, BEGUN_MS);
	for (int hour = 0; hour < 30; hour++)
		volume_remember(&volume, 5000, hour * HOUR_MS + HOUR_MS / 3,
				BEGUN_MS);
	volume_known(&volume, 30 * HOUR_MS, BEGUN_MS);
	about(volume_per_hour(&volume, BEGUN_MS), 5000 * 24 / 23.5);
	/* And goes on. */
	volume_add(&volume, 235000, BEGUN_MS + 1);
	about(volume_per_hour(&volume, BEGUN_MS + 1), 5000 * 24 / 23.5 + 10000);
}

static void a_machine_that_is_just_up_remembers_as_well(void **state)
{
	struct volume volume;

	volume_begin(&volume, 20000);
	volume_remember(&volume, 6000, 2 * HOUR_MS, 20000);
	volume_remember(&volume, 1000, -HOUR_MS, 20000); /* the clock stepped */
	volume_known(&volume, 2 * HOUR_MS, 20000);
	about(volume_per_hour(&volume, 20000), 3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_young_one_counts_since_its_beginning),
		cmocka_unit_test(a_first_message_is_no_flood),
		cmocka_unit_test(what_came_before_yesterday_is_forgotten),
		cmocka_unit_test(a_restart_remembers_the_day),
		cmocka_unit_test(a_machine_that_is_just_up_remembers_as_well),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
