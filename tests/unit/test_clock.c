#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"

static void test_times_are_read_strictly(void **state)
{
	static const struct {
		const char *text;
		int64_t ms; /* -1: refused */
	} rows[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2026-12-05T22:00:00Z", 1796508000000 },
		{ "2026-12-05t22:00:00z", 1796508000000 },
		{ "2026-12-05T22:00:00.25Z", 1796508000250 },
		{ "2026-12-05T22:00:00.1239Z", 1796508000123 },
		{ "2026-12-05T23:30:00+01:30", 1796508000000 },
		{ "2026-12-05T14:00:00-08:00", 1796508000000 },
		{ "2028-02-29T00:00:00Z", 1835395200000 },
		{ "2026-02-29T00:00:00Z", -1 },
		{ "2026-13-01T00:00:00Z", -1 },
		{ "2026-12-05T24:00:00Z", -1 },
		{ "2026-12-05T22:00:60Z", -1 },
		{ "2026-12-05T22:00:00", -1 },
		{ "2026-12-05 22:00:00Z", -1 },
		{ "2026-12-05T22:00:00Z ", -1 },
		{ "2026-12-05T22:00:00.Z", -1 },
		{ "2026-12-05T22:00:00+1:00", -1 },
		{ "2026-12-05T22:00:00+24:00", -1 },
		{ "2026\r12\r05T22:00:00Z", -1 },
		{ "2026-12-05T22\x1a"
		  "00:00Z",
		  -1 },
		{ "", -1 },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct err err = ERR_INIT;
		int64_t ms = -1;
		int result = clock_parse(slice(rows[i].text), &ms, &err);

		assert_int_equal(result, rows[i].ms < 0 ? -1 : 0);
		assert_int_equal(ms, rows[i].ms);
		assert_int_equal(err_is_set(&err), result < 0);
	}
}

static void test_durations_have_a_unit(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
		{ "0s", 0 },
		{ "250ms", 250 },
		{ "60s", 60000 },
		{ "15m", 900000 },
		{ "72h", 259200000 },
		{ "30d", 2592000000 },
		{ "5", -1 },
		{ "s", -1 },
		{ "", -1 },
		{ "-5s", -1 },
		{ "5 s", -1 },
		{ "5S", -1 },
		{ "5sec", -1 },
		{ "1.5h", -1 },
		{ "10000000000s", -1 },
		{ "99999999999999999999s", -1 },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct err err = ERR_INIT;
		int64_t ms = -1;
		int result =
			clock_parse_duration(slice(rows[i].text), &ms, &err);

		assert_int_equal(result, rows[i].ms < 0 ? -1 : 0);
		assert_int_equal(ms, rows[i].ms);
	}
}

static void test_what_people_read(void **state)
{
	char text[CLOCK_TEXT];
	int64_t ms = 1796508000007;

	assert_string_equal(clock_format(ms, text), "2026-12-05T22:00:00Z");
	assert_string_equal(clock_format_ms(ms, text),
			    "2026-12-05T22:00:00.007Z");
	assert_string_equal(clock_format_mail(ms, text),
			    "Sat, 05 Dec 2026 22:00:00 +0000");
	assert_string_equal(clock_format_duration(-1, text), "0s");
	assert_string_equal(clock_format_duration(850, text), "850ms");
	assert_string_equal(clock_format_duration(59999, text), "59s");
	assert_string_equal(clock_format_duration(3725000, text), "1h 02m 05s");
	assert_string_equal(clock_format_duration(180000000, text), "2d 2h");
}

static void test_a_moment_to_wait_for(void **state)
{
	/* Within a second any of them carries over, whenever this runs. */
	for (int64_t us = 0; us <= 1000000; us += 125000) {
		int64_t before = clock_mono_ms();
		struct timespec at = clock_mono_after(us);
		int64_t ms = (int64_t)at.tv_sec * 1000 + at.tv_nsec / 1000000;

		assert_in_range(at.tv_nsec, 0, 999999999);
		assert_true(ms >= before + us / 1000);
		assert_true(ms <= clock_mono_ms() + us / 1000 + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_times_are_read_strictly),
		cmocka_unit_test(test_durations_have_a_unit),
		cmocka_unit_test(test_what_people_read),
		cmocka_unit_test(test_a_moment_to_wait_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
