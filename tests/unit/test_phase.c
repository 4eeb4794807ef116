#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cutover/phase.h"

#define SET(name) BIT(PHASE_##name)

static const struct plan moving = { .strategy = STRATEGY_PARK };
static const struct plan standing = { .strategy = STRATEGY_STANDBY,
				      .plain = true };

/* As the manual has it: where each phase leads to, and what it means. */
static const struct {
	enum phase phase;
	const char *name;
	unsigned next; /* of a plan that moves a domain */
	unsigned next_plain;
	bool accepts;
	enum plan_system_id target;
	unsigned reached_by;
} manual[] = {
	{ PHASE_PLANNED, "planned", SET(OPENING), SET(OPENING), false,
	  SYSTEM_OLD, 0x1ff },
	{ PHASE_OPENING, "opening", SET(HOLDING) | SET(PLANNED),
	  SET(STANDING) | SET(PLANNED), true, SYSTEM_OLD,
	  0x1ff & ~SET(PLANNED) },
	{ PHASE_HOLDING, "holding", SET(RELEASING) | SET(RETURNING),
	  SET(RELEASING) | SET(RETURNING), true, SYSTEM_OLD,
	  SET(HOLDING) | SET(RELEASING) | SET(TRAILING) | SET(RETURNING) |
		  SET(RETURNED) | SET(FINISHED) },
	{ PHASE_RELEASING, "releasing", SET(TRAILING) | SET(RETURNING),
	  SET(TRAILING) | SET(RETURNING), true, SYSTEM_NEW,
	  SET(RELEASING) | SET(TRAILING) | SET(FINISHED) },
	{ PHASE_TRAILING, "trailing", SET(FINISHED) | SET(RETURNING),
	  SET(FINISHED) | SET(RETURNING), true, SYSTEM_NEW,
	  SET(TRAILING) | SET(FINISHED) },
	{ PHASE_RETURNING, "returning", SET(RETURNED), SET(RETURNED), true,
	  SYSTEM_OLD, SET(RETURNING) | SET(RETURNED) | SET(FINISHED) },
	{ PHASE_RETURNED, "returned", SET(FINISHED), SET(FINISHED), true,
	  SYSTEM_OLD, SET(RETURNED) | SET(FINISHED) },
	{ PHASE_STANDING, "standing", SET(FINISHED), SET(FINISHED), true,
	  SYSTEM_OLD, SET(STANDING) | SET(FINISHED) },
	{ PHASE_FINISHED, "finished", 0, 0, false, SYSTEM_NEW, SET(FINISHED) },
};

static void every_phase_leads_where_the_manual_says(void **state)
{
	for (size_t i = 0; i < COUNT(manual); i++) {
		for (int to = 0; to < PHASE_COUNT; to++) {
			struct err err = ERR_INIT;
			bool may =
				phase_may_enter(manual[i].phase, (enum phase)to,
						&moving, &err) == 0;
			bool plain =
				phase_may_enter(manual[i].phase, (enum phase)to,
						&standing, NULL) == 0;

			assert_int_equal(may, !!(manual[i].next & BIT(to)));
			assert_int_equal(plain,
					 !!(manual[i].next_plain & BIT(to)));
			assert_int_equal(may, !err_is_set(&err));
		}
	}
}

static void a_refusal_names_both_phases(void **state)
{
	struct err err = ERR_INIT;

	phase_may_enter(PHASE_PLANNED, PHASE_TRAILING, &moving, &err);
	assert_string_equal(err.text, "cannot go from planned to trailing");
}

static void names_go_there_and_back(void **state)
{
	enum phase phase = PHASE_PLANNED;

	for (size_t i = 0; i < COUNT(manual); i++) {
		assert_string_equal(phase_name(manual[i].phase),
				    manual[i].name);
		assert_true(phase_parse(manual[i].name, &phase));
		assert_int_equal(phase, manual[i].phase);
	}
	assert_false(phase_parse("paused", &phase));
	assert_false(phase_parse("", &phase));
	assert_false(phase_parse(NULL, &phase));
}

static void mail_is_taken_between_start_and_end_alone(void **state)
{
	for (size_t i = 0; i < COUNT(manual); i++)
		assert_int_equal(phase_accepts(manual[i].phase),
				 manual[i].accepts);
}

static void mail_goes_to_the_new_system_only_after_finish(void **state)
{
	for (size_t i = 0; i < COUNT(manual); i++) {
		assert_int_equal(phase_target(manual[i].phase, &moving),
				 manual[i].target);
		assert_int_equal(phase_target(manual[i].phase, &standing),
				 SYSTEM_OLD);
	}
}

static void a_wait_ends_with_the_phase_or_what_follows(void **state)
{
	for (size_t i = 0; i < COUNT(manual); i++)
		for (int now = 0; now < PHASE_COUNT; now++)
			assert_int_equal(phase_reached((enum phase)now,
						       manual[i].phase),
					 !!(manual[i].reached_by & BIT(now)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_phase_leads_where_the_manual_says),
		cmocka_unit_test(a_refusal_names_both_phases),
		cmocka_unit_test(names_go_there_and_back),
		cmocka_unit_test(mail_is_taken_between_start_and_end_alone),
		cmocka_unit_test(mail_goes_to_the_new_system_only_after_finish),
		cmocka_unit_test(a_wait_ends_with_the_phase_or_what_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
