#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cutover/horizon_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct plan *plan_with(const char *old, const char *queue,
			      bool rehearsal)
{
	struct err err = ERR_INIT;
	char *text = mem_printf(
		"{\"tideover\":1,\"name\":\"t\",\"strategy\":\"standby\","
		"\"domains\":[{\"name\":\"acme.example\"}],"
		"\"primary\":{\"provider\":\"custom\",\"mx\":[\"%s\"]},"
		"\"queue_mx\":{\"host\":\"%s\"}}",
		old, queue);
	struct plan *plan = plan_parse(slice(text), NULL, &err);

	if (!plan)
		fail_msg("%s", err.text);
	plan->rehearsal = rehearsal;
	free(text);
	return plan;
}

static const struct {
	const char *promise, *old, *queue;
	bool rehearsal, kept;
} loads[] = {
	{ "the same plan goes on", "mx.example", "hold.example", false, true },
	{ "a rehearsal proves nothing", "mx.example", "hold.example", true,
	  false },
	{ "another old set was never looked for", "mx2.example", "hold.example",
	  false, false },
	{ "nor beside another queue", "mx.example", "hold2.example", false,
	  false },
};

static void a_record_is_of_the_plan_that_it_was_kept_for(void **state)
{
	for (size_t i = 0; i < COUNT(loads); i++) {
		char path[] = "/tmp/tideover-horizon-XXXXXX";
		struct err err = ERR_INIT;
		struct plan *plan =
			plan_with("mx.example", "hold.example", false);
		struct facts *facts = facts_new(plan);

		close(mkstemp(path));
		facts->domains[0].horizon.old_seen_ms = 5;
		facts->domains[0].horizon.low_since_ms = 6;
		if (horizon_file_save(path, facts, &err) < 0)
			fail_msg("%s", err.text);
		facts_free(facts);
		plan_free(plan);
		plan = plan_with(loads[i].old, loads[i].queue,
				 loads[i].rehearsal);
		facts = facts_new(plan);
		horizon_file_load(path, facts, horizon_take_all);
		if ((facts->domains[0].horizon.old_seen_ms == 5) !=
			    loads[i].kept ||
		    (facts->domains[0].horizon.low_since_ms == 6) !=
			    loads[i].kept)
			fail_msg("%s", loads[i].promise);
		facts_free(facts);
		plan_free(plan);
		unlink(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_of_the_plan_that_it_was_kept_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
