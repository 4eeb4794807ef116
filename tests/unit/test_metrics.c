/* Figures for Prometheus: tests/e2e/test_metrics.py has them from a daemon. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/metrics.h"
#include <stdlib.h>

static char *print(const char *node_text, const char *plans_text)
{
	struct json *node = json_parse(slice(node_text), NULL);
	struct json *plans = json_parse(slice(plans_text), NULL);
	struct buf out = BUF_INIT;

	assert_non_null(node);
	assert_non_null(plans);
	metrics_print(node, plans, &out);
	json_free(node);
	json_free(plans);
	return buf_take(&out);
}

static void what_is_not_known_has_no_sample(void **state)
{
	char *page = print("{\"ready\":true,\"space\":{\"hours_left\":null},"
			   "\"started\":\"2026-11-26T00:00:01.500Z\"}",
			   "[]");

	assert_non_null(strstr(page, "\ntideover_ready 1\n"));
	assert_non_null(
		strstr(page, "\ntideover_start_time_seconds 1795651201.5\n"));
	assert_null(strstr(page, "\ntideover_space_hours "));
	assert_null(strstr(page, "\ntideover_sessions "));
	assert_non_null(strstr(page, "# TYPE tideover_space_hours gauge\n"));
	free(page);
}

/* A label's value may be anything: \, " and line ends are escaped. */
static void labels_are_escaped(void **state)
{
	char *page =
		print("{}",
		      "[{\"plan\":\"a\\\"b\\\\c\\nd\",\"phase\":\"standing\","
		      "\"strategy\":\"standby\",\"alerts\":[\"x\",\"y\"],"
		      "\"queue\":{\"oldest_age_ms\":1500}}]");

	assert_non_null(strstr(
		page, "\ntideover_alerts{plan=\"a\\\"b\\\\c\\nd\"} 2\n"));
	assert_non_null(strstr(page, "\ntideover_queue_oldest_seconds{"
				     "plan=\"a\\\"b\\\\c\\nd\"} 1.5\n"));
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_known_has_no_sample),
		cmocka_unit_test(labels_are_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
