#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "lab/lab_script.h"
#include <stdio.h>
#include <stdlib.h>

static struct lab_script *parsed(const char *text)
{
	struct err err = ERR_INIT;
	struct lab_script *script = lab_script_parse(slice(text), &err);

	if (!script)
		fail_msg("%s", err.text);
	return script;
}

static const struct {
	const char *script, *want;
} rejected[] = {
	{ "\nrctp -> 250 ok", "line 2: 'rctp' is no stage" },
	{ "rcpt every x -> cut", "line 1: 'x' is no number" },
	{ "rcpt every 0 -> cut", "line 1: every 0 is never" },
	{ "rcpt sometimes -> cut", "line 1: 'sometimes' is no condition" },
	{ "rcpt box1@*", "line 1: '->' is missing" },
	{ "rcpt -> explode", "line 1: 'explode' is nothing that can happen" },
	{ "rcpt -> 99 no", "line 1: '99 no' is nothing that can happen" },
	{ "rcpt -> keep cut", "line 1: only a dot can keep" },
	{ "rcpt rate 30 -> cut", NULL },
	{ "banner -> delay soon", NULL },
	{ "like nobody", "line 1: there is no preset 'nobody'" },
};

static void a_script_that_makes_no_sense_is_refused(void **state)
{
	for (size_t i = 0; i < COUNT(rejected); i++) {
		struct err err = ERR_INIT;

		assert_null(lab_script_parse(slice(rejected[i].script), &err));
		if (rejected[i].want)
			assert_string_equal(err.text, rejected[i].want);
		else
			assert_true(slice_starts(slice(err.text), "line 1: "));
	}
}

/* Each step: at this time this is asked, and that comes. */
struct step {
	int64_t at_ms;
	enum lab_stage stage;
	const char *address, *reverse;
	uint64_t bytes;
	int code; /* 0: as usual, -1: cut, -2: silence */
};

static int code_of(const struct lab_act *act)
{
	return act->reaction == LAB_CUT	    ? -1 :
	       act->reaction == LAB_SILENCE ? -2 :
					      act->code;
}

static void play(const char *text, const struct step *steps, size_t count)
{
	struct lab_script *script = parsed(text);
	struct lab_counts session = { 0 };

	for (size_t i = 0; i < count; i++) {
		const struct step *step = &steps[i];
		struct lab_act act;

		lab_script_ask(script,
			       &(struct lab_asked){
				       .stage = step->stage,
				       .address = step->address,
				       .reverse_path = step->reverse,
				       .bytes = step->bytes,
				       .session = &session,
				       .now_ms = step->at_ms,
			       },
			       &act);
		if (code_of(&act) != step->code)
			fail_msg("%s: step %zu: %d, not %d", text, i,
				 code_of(&act), step->code);
	}
	lab_script_free(script);
}

#define RCPT(at, address, code)                     \
	{                                           \
		at, LAB_RCPT, address, "s", 0, code \
	}
#define PLAY(text, ...)                                             \
	do {                                                        \
		static const struct step steps[] = { __VA_ARGS__ }; \
		play(text, steps, COUNT(steps));                    \
	} while (0)

static void conditions_count_what_they_say(void **state)
{
	PLAY("rcpt box1@* every 3 -> 432 4.3.2 busy", RCPT(0, "box1@a", 0),
	     RCPT(0, "box2@a", 0), RCPT(0, "BOX1@a", 0), RCPT(0, "box1@b", 432),
	     RCPT(0, "box1@b", 0));
	PLAY("rcpt mailbox first 1 -> 450 no", RCPT(0, "a@x", 450),
	     RCPT(0, "b@x", 450), RCPT(0, "A@x", 0), RCPT(0, "b@x", 0));
	PLAY("rcpt after 2 -> cut", RCPT(0, "a@x", 0), RCPT(0, "b@x", 0),
	     RCPT(0, "c@x", -1), RCPT(0, "c@x", -1));
	PLAY("rcpt mailbox rate 2/1s -> 450 fast", RCPT(0, "a@x", 0),
	     RCPT(500, "a@x", 0), RCPT(900, "a@x", 450), RCPT(900, "b@x", 0),
	     /* What was refused did not count. */
	     RCPT(1000, "a@x", 0), RCPT(1499, "a@x", 450),
	     RCPT(1500, "a@x", 0));
	PLAY("rcpt greylist 1s -> 450 later", RCPT(0, "a@x", 450),
	     RCPT(999, "a@x", 450), RCPT(1000, "a@x", 0),
	     RCPT(1000, "b@x", 450));
	PLAY("rcpt pair rate 1/1m -> 550 5.2.121 pair", RCPT(0, "a@x", 0),
	     { 0, LAB_RCPT, "a@x", "t", 0, 0 }, RCPT(0, "a@x", 550));
	PLAY("mail larger 100 -> 552 big\ndot larger 50 -> silence",
	     { 0, LAB_MAIL, "s", "", 101, 552 },
	     { 0, LAB_MAIL, "s", "", 100, 0 },
	     { 0, LAB_DOT, "a@x", "s", 51, -2 },
	     { 0, LAB_DOT, "a@x", "s", 50, 0 });
	PLAY("rcpt a@* -> 250 yes\nrcpt -> 550 no", RCPT(0, "a@x", 250),
	     RCPT(0, "b@x", 550));
}

static void what_a_session_counts_begins_anew_with_the_next(void **state)
{
	struct lab_script *script =
		parsed("mail session after 1 -> 421 4.3.2 enough");
	struct lab_counts sessions[2] = { 0 };
	static const int want[] = { 0, 0, 421, 421 };

	for (int i = 0; i < 4; i++) {
		struct lab_act act;

		lab_script_ask(script,
			       &(struct lab_asked){ .stage = LAB_MAIL,
						    .address = "",
						    .reverse_path = "",
						    .session =
							    &sessions[i % 2] },
			       &act);
		assert_int_equal(act.code, want[i]);
	}
	lab_script_free(script);
}

static void delays_add_up_and_the_rules_below_still_answer(void **state)
{
	struct lab_script *script =
		parsed("any -> slowly 1s\nbanner -> delay 500ms\n"
		       "any -> delay 250ms\nbanner -> 554 5.3.2 a\\nb\n");
	struct lab_act act;
	struct lab_counts session = { 0 };

	lab_script_ask(script,
		       &(struct lab_asked){ .stage = LAB_BANNER,
					    .address = "",
					    .reverse_path = "",
					    .session = &session },
		       &act);
	assert_int_equal(act.delay_ms, 750);
	assert_int_equal(act.byte_ms, 1000);
	assert_int_equal(act.code, 554);
	assert_string_equal(act.text, "5.3.2 a\nb");
	lab_script_free(script);
}

static void what_is_counted_apart_is_bounded(void **state)
{
	struct lab_script *script = parsed("rcpt mailbox first 1 -> 450 no");
	struct lab_counts session = { 0 };
	char address[32];

	for (int i = 0; i < LAB_SCRIPT_COUNTED + 10; i++) {
		struct lab_act act;

		snprintf(address, sizeof(address), "box%d@x", i);
		lab_script_ask(script,
			       &(struct lab_asked){ .stage = LAB_RCPT,
						    .address = address,
						    .reverse_path = "",
						    .session = &session },
			       &act);
		assert_int_equal(act.code, i < LAB_SCRIPT_COUNTED ? 450 : 0);
	}
	lab_script_free(script);
}

static void an_address_exists_as_the_script_says(void **state)
{
	struct lab_script *script = parsed("have box*@acme.example\n");
	struct lab_script *none = parsed("# nothing is said\n");

	assert_true(lab_script_has(script, "Box7@ACME.example", false));
	assert_false(lab_script_has(script, "lab-1@acme.example", true));
	assert_true(lab_script_has(none, "lab-1@acme.example", true));
	assert_false(lab_script_has(none, "x@acme.example", false));
	lab_script_free(script);
	lab_script_free(none);
}

static void every_preset_is_a_script(void **state)
{
	const char *name;

	for (size_t i = 0; (name = lab_script_preset_name(i)); i++)
		lab_script_free(parsed(lab_script_preset(name)));
	/* Microsoft: 3,600 an hour per mailbox, a third from one sender. */
	struct lab_script *script = parsed("like m365");
	struct lab_counts session = { 0 };
	int refused[2] = { 0 };

	for (int i = 0; i < 4000; i++) {
		char from[16];
		struct lab_act act;

		snprintf(from, sizeof(from), "s%d", i % 4);
		lab_script_ask(script,
			       &(struct lab_asked){
				       .stage = LAB_RCPT,
				       .address = i < 1200 ? "a@x" : "b@x",
				       .reverse_path = i < 1200 ? "one" : from,
				       .session = &session,
				       .now_ms = i,
			       },
			       &act);
		if (act.code == 550)
			refused[i >= 1200]++;
	}
	assert_int_equal(refused[0], 1200 - 1188);
	assert_int_equal(refused[1], 0);
	lab_script_free(script);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_script_that_makes_no_sense_is_refused),
		cmocka_unit_test(conditions_count_what_they_say),
		cmocka_unit_test(
			what_a_session_counts_begins_anew_with_the_next),
		cmocka_unit_test(
			delays_add_up_and_the_rules_below_still_answer),
		cmocka_unit_test(what_is_counted_apart_is_bounded),
		cmocka_unit_test(an_address_exists_as_the_script_says),
		cmocka_unit_test(every_preset_is_a_script),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
