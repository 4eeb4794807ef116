#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "cutover/window.h"

#define NOW "2026-06-03T12:00:00Z" /* a Wednesday */

static int64_t at(const char *text)
{
	int64_t ms;

	assert_int_equal(clock_parse(slice(text), &ms, NULL), 0);
	return ms;
}

static const struct window *add(struct windows *windows, const char *from,
				const char *to, bool weekly, struct err *err)
{
	return windows_add(windows,
			   &(struct window){ .from_ms = at(from),
					     .to_ms = at(to),
					     .weekly = weekly,
					     .by = (char *)(uintptr_t) "anna" },
			   at(NOW), err);
}

/* Beside one window on Friday night and a weekly one on Sundays. */
static const struct {
	const char *from, *to;
	bool weekly;
	const char *error; /* NULL: it is added */
} cases[] = {
	{ "2026-06-04T22:00:00Z", "2026-06-04T23:00:00Z", false, NULL },
	{ "2026-06-05T20:00:00Z", "2026-06-05T22:00:00Z", false, NULL },
	{ "2026-06-05T20:00:00Z", "2026-06-05T22:00:01Z", false,
	  "overlaps window 1" },
	{ "2026-06-06T02:00:00+01:00", "2026-06-06T06:00:00Z", false,
	  "overlaps window 1" },
	{ "2026-06-06T02:00:00Z", "2026-06-06T06:00:00Z", false, NULL },
	{ "2026-06-21T04:30:00Z", "2026-06-21T06:00:00Z", false,
	  "overlaps window 2" },
	{ "2026-06-21T05:00:00Z", "2026-06-21T06:00:00Z", false, NULL },
	{ "2026-06-08T03:00:00Z", "2026-06-08T05:00:00Z", true, NULL },
	{ "2026-06-28T04:00:00Z", "2026-06-28T04:10:00Z", true,
	  "overlaps window 2" },
	{ "2026-05-29T23:00:00Z", "2026-05-29T23:30:00Z", true,
	  "overlaps window 1" },
	{ "2026-06-03T11:00:00Z", "2026-06-03T13:00:00Z", false, NULL },
	{ "2026-06-03T10:00:00Z", "2026-06-03T12:00:00Z", false,
	  "over already" },
	{ "2026-06-09T10:00:00Z", "2026-06-09T10:00:00Z", false,
	  "before it begins" },
	{ "2026-06-09T10:00:00Z", "2026-06-09T09:00:00Z", false,
	  "before it begins" },
	{ "2026-06-09T10:00:00Z", "2028-06-09T09:00:00Z", false, "too long" },
	{ "2026-06-09T10:00:00Z", "2026-06-19T09:00:00Z", true, "too long" },
};

static void overlapping_and_past_windows_are_clear_errors(void **state)
{
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct windows windows = { 0 };
		struct err err = ERR_INIT;
		const struct window *added;

		assert_non_null(add(&windows, "2026-06-05T22:00:00Z",
				    "2026-06-06T02:00:00Z", false, &err));
		assert_non_null(add(&windows, "2026-06-07T03:00:00Z",
				    "2026-06-07T05:00:00Z", true, &err));
		added = add(&windows, cases[i].from, cases[i].to,
			    cases[i].weekly, &err);
		if (!added != !!cases[i].error ||
		    (!added && !strstr(err.text, cases[i].error)))
			fail_msg("case %zu: %s", i, err.text);
		if (added)
			assert_int_equal(added->id, 3);
		windows_release(&windows);
	}
}

static void a_window_is_active_from_its_first_moment_to_its_last(void **state)
{
	static const struct {
		const char *now;
		unsigned id; /* 0: none */
		const char *until;
	} moments[] = {
		{ "2026-06-05T21:59:59Z", 0, NULL },
		{ "2026-06-05T22:00:00Z", 1, "2026-06-06T02:00:00Z" },
		{ "2026-06-06T01:59:59Z", 1, "2026-06-06T02:00:00Z" },
		{ "2026-06-06T02:00:00Z", 0, NULL },
		{ "2026-06-12T23:00:00Z", 0, NULL },
		{ "2026-06-07T04:00:00Z", 2, "2026-06-07T05:00:00Z" },
		{ "2026-06-07T05:00:00Z", 0, NULL },
		{ "2026-06-14T03:00:00Z", 2, "2026-06-14T05:00:00Z" },
		{ "2027-01-03T04:59:59Z", 2, "2027-01-03T05:00:00Z" },
		{ "2027-01-04T04:00:00Z", 0, NULL },
	};
	struct windows windows = { 0 };

	add(&windows, "2026-06-05T22:00:00Z", "2026-06-06T02:00:00Z", false,
	    NULL);
	add(&windows, "2026-06-07T03:00:00Z", "2026-06-07T05:00:00Z", true,
	    NULL);
	for (size_t i = 0; i < COUNT(moments); i++) {
		int64_t until = 0;
		const struct window *window =
			windows_active(&windows, at(moments[i].now), &until);

		assert_int_equal(window ? window->id : 0, moments[i].id);
		if (window)
			assert_true(until == at(moments[i].until));
	}
	windows_release(&windows);
}

static const struct zone berlin = {
	.name = (char *)(uintptr_t) "Europe/Berlin",
	.at = { { 1767222000000, 3600000 },   /* 2026-01-01T00:00+01:00 */
		{ 1774746000000, 7200000 },   /* 2026-03-29T01:00Z */
		{ 1792890000000, 3600000 } }, /* 2026-10-25T01:00Z */
	.count = 3,
};

/* Saturday night there, the whole year. */
static void a_weekly_window_keeps_the_time_of_its_zone(void **state)
{
	static const struct {
		const char *now;
		bool active;
	} moments[] = {
		{ "2026-03-21T20:59:59Z", false },
		{ "2026-03-21T21:00:00Z", true },
		{ "2026-03-22T02:59:59Z", true },
		{ "2026-03-22T03:00:00Z", false },
		/* The night of the change has an hour less. */
		{ "2026-03-28T20:59:59Z", false },
		{ "2026-03-28T21:00:00Z", true },
		{ "2026-03-29T01:59:59Z", true },
		{ "2026-03-29T02:00:00Z", false },
		{ "2026-06-06T19:59:59Z", false },
		{ "2026-06-06T20:00:00Z", true },
		{ "2026-06-07T01:59:59Z", true },
		{ "2026-06-07T02:00:00Z", false },
		/* And this one an hour more. */
		{ "2026-10-24T20:00:00Z", true },
		{ "2026-10-25T02:59:59Z", true },
		{ "2026-10-25T03:00:00Z", false },
		{ "2026-10-31T20:59:59Z", false },
		{ "2026-10-31T21:00:00Z", true },
	};
	struct windows windows = { 0 }, again = { 0 };
	struct json *kept;
	struct window window = { .from_ms = at("2026-01-03T22:00:00+01:00"),
				 .to_ms = at("2026-01-04T04:00:00+01:00"),
				 .weekly = true,
				 .zone = berlin,
				 .by = (char *)(uintptr_t) "anna" };
	int64_t until;

	kept = window_json(windows_add(&windows, &window,
				       at("2026-01-02T12:00:00Z"), NULL));
	windows_restore(&again, kept);
	for (size_t i = 0; i < COUNT(moments); i++)
		if (!!windows_active(&again, at(moments[i].now), &until) !=
		    moments[i].active)
			fail_msg("at %s", moments[i].now);
	json_free(kept);
	windows_release(&windows);
	windows_release(&again);
}

/* One by UTC that ends when the other begins, in winter. */
static void windows_that_meet_in_summer_alone_overlap(void **state)
{
	struct windows windows = { 0 };
	struct err err = ERR_INIT;
	struct window window = { .from_ms = at("2026-01-03T22:00:00+01:00"),
				 .to_ms = at("2026-01-04T04:00:00+01:00"),
				 .weekly = true,
				 .zone = berlin,
				 .by = (char *)(uintptr_t) "anna" };

	assert_non_null(windows_add(&windows, &window,
				    at("2026-01-02T12:00:00Z"), &err));
	window.zone = (struct zone){ 0 };
	window.from_ms = at("2026-01-03T20:00:00Z");
	window.to_ms = at("2026-01-03T21:00:00Z");
	assert_null(windows_add(&windows, &window, at("2026-01-02T12:00:00Z"),
				&err));
	assert_non_null(strstr(err.text, "overlaps window 1"));
	window.zone = berlin;
	assert_non_null(windows_add(&windows, &window,
				    at("2026-01-02T12:00:00Z"), &err));
	windows_release(&windows);
}

static void what_is_no_zone_is_refused(void **state)
{
	static const char *const bodies[] = {
		"{\"zone\":\"Europe/Berlin\"}",
		"{\"changes\":[{\"from\":\"2026-01-01T00:00:00Z\","
		"\"ahead_ms\":0}]}",
		"{\"zone\":\"x\",\"changes\":[{\"from\":\"soon\"}]}",
		"{\"zone\":\"x\",\"changes\":[{\"from\":"
		"\"2026-01-01T00:00:00Z\",\"ahead_ms\":1e12}]}",
		"{\"zone\":\"x\",\"changes\":[{\"from\":"
		"\"2026-01-01T00:00:00Z\"},{\"from\":"
		"\"2026-01-01T00:00:00Z\"}]}",
	};

	for (size_t i = 0; i < COUNT(bodies); i++) {
		struct err err = ERR_INIT;
		struct zone zone;
		struct json *json = json_parse(slice(bodies[i]), &err);

		assert_non_null(json);
		if (zone_get(&zone, json, &err) == 0)
			fail_msg("case %zu", i);
		json_free(json);
	}
}

static void
a_cancelled_window_is_gone_and_its_number_is_not_reused(void **state)
{
	struct windows windows = { 0 };
	struct err err = ERR_INIT;
	int64_t until;

	add(&windows, "2026-06-05T22:00:00Z", "2026-06-06T02:00:00Z", false,
	    NULL);
	assert_non_null(windows_find(&windows, 1, &err));
	windows_cancel(&windows, 1);
	assert_null(
		windows_active(&windows, at("2026-06-05T23:00:00Z"), &until));
	assert_null(windows_find(&windows, 1, &err));
	assert_non_null(strstr(err.text, "no window 1"));
	assert_int_equal(add(&windows, "2026-06-05T22:00:00Z",
			     "2026-06-06T02:00:00Z", false, NULL)
				 ->id,
			 2);
	windows_release(&windows);
}

static void the_journal_brings_windows_back(void **state)
{
	struct windows windows = { 0 }, again = { 0 };
	struct json *kept;
	int64_t until;

	kept = window_json(add(&windows, "2026-06-07T03:00:00Z",
			       "2026-06-07T05:00:00Z", true, NULL));
	windows_restore(&again, kept);
	assert_int_equal(again.count, 1);
	assert_int_equal(again.last_id, 1);
	assert_string_equal(again.at[0].by, "anna");
	assert_non_null(
		windows_active(&again, at("2026-06-14T03:00:00Z"), &until));
	json_free(kept);
	windows_release(&windows);
	windows_release(&again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overlapping_and_past_windows_are_clear_errors),
		cmocka_unit_test(
			a_window_is_active_from_its_first_moment_to_its_last),
		cmocka_unit_test(
			a_cancelled_window_is_gone_and_its_number_is_not_reused),
		cmocka_unit_test(the_journal_brings_windows_back),
		cmocka_unit_test(a_weekly_window_keeps_the_time_of_its_zone),
		cmocka_unit_test(windows_that_meet_in_summer_alone_overlap),
		cmocka_unit_test(what_is_no_zone_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
