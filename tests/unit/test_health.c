#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/health.h"

enum {
	RECOVER = 60000
};

/* One failure is enough, and only so long a row of good news makes up for it. */
static void good_news_must_last(void **state)
{
	static const struct {
		int64_t at_ms;
		const char *error;
		bool changes, recovered;
		const char *text;
	} news[] = {
		{ 1000, NULL, true, false, "mx:25 healthy for 0ms of 1m 00s" },
		{ 61000, NULL, false, true,
		  "mx:25 healthy for 1m 00s of 1m 00s" },
		{ 62000, "no", true, false, "mx:25: no" },
		{ 63000, "never", false, false, "mx:25: never" },
		{ 64000, NULL, true, false,
		  "mx:25 healthy for 0ms of 1m 00s; before: never" },
		{ 123999, NULL, false, false,
		  "mx:25 healthy for 59s of 1m 00s; before: never" },
		{ 124000, NULL, false, true,
		  "mx:25 healthy for 1m 00s of 1m 00s; before: never" },
	};
	struct health health = { 0 };
	char text[200];

	health_describe(&health, "mx:25", RECOVER, 0, text, sizeof(text));
	assert_string_equal(text, "mx:25 was not probed yet");
	assert_false(health_recovered(&health, RECOVER, INT64_MAX));
	for (size_t i = 0; i < COUNT(news); i++) {
		int64_t now = news[i].at_ms;

		assert_int_equal(health_seen(&health, news[i].error, 7, now),
				 news[i].changes);
		assert_int_equal(health_recovered(&health, RECOVER, now),
				 news[i].recovered);
		health_describe(&health, "mx:25", RECOVER, now, text,
				sizeof(text));
		assert_string_equal(text, news[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_news_must_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
