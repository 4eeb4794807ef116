#include "base/clock.h"
#include "base/file.h"
#include "cli/output.h"
#include "cutover/check.h"
#include "cutover/horizon_file.h"
#include "cutover/survey.h"
#include "cutover/timeline.h"
#include "plan/recipients.h"
#include <stdio.h>
#include <stdlib.h>

/* Every error of the plan, not only the first. */
struct errors {
	const char *path;
	struct json *all;
	bool json;
};

static void each_error(void *ctx, const char *sentence)
{
	struct errors *errors = ctx;

	json_add_text(errors->all, sentence);
	if (!errors->json)
		fprintf(stderr, "%s: %s\n", errors->path, sentence);
}

static int invalid(struct command_call *call, const char *path,
		   struct slice text)
{
	struct errors errors = { path, json_array(), call->json };
	size_t count = plan_errors(text, path, each_error, &errors);

	if (call->json && count > 0) {
		struct json *document = json_object();

		json_put(document, "errors", errors.all);
		output_json(document);
		json_free(document);
	} else {
		json_free(errors.all);
	}
	return count > 0 ? -1 : 0;
}

static void stop(void *ctx)
{
	loop_stop(ctx);
}

/* What DNS showed before is on record beside the daemon's state. */
static char *record_path(const struct command_call *call,
			 const struct plan *plan, const char *suffix)
{
	return mem_printf("%s/observed/%s.%s", call->state_dir, plan->name,
			  suffix);
}

static void load_horizons(const struct command_call *call, struct facts *facts)
{
	char *path = record_path(call, facts->plan, "horizon.json");

	horizon_file_load(path, facts, horizon_take_all);
	free(path);
}

static int save_horizons(const struct command_call *call,
			 const struct facts *facts, struct err *err)
{
	char *dir = mem_printf("%s/observed", call->state_dir);
	char *path = record_path(call, facts->plan, "horizon.json");
	int result = file_make_dirs(dir, 0700, err);

	if (result == 0)
		result = horizon_file_save(path, facts, err);
	free(dir);
	free(path);
	return result;
}

static void append_observation(const struct command_call *call,
			       const struct facts *facts)
{
	char *path = record_path(call, facts->plan, "ndjson");
	struct json *line = facts_json(facts);
	struct buf text = BUF_INIT;
	FILE *file = fopen(path, "a");

	json_put_time(line, "at", clock_wall_ms());
	json_print(line, &text);
	if (file) {
		fprintf(file, "%s\n", buf_text(&text));
		fclose(file);
	}
	json_free(line);
	buf_release(&text);
	free(path);
}

/*
 * No daemon has read the plan's files yet.  A list that cannot be read is a
 * finding, not the end: the rest is worth knowing.
 */
static void read_files(struct facts *facts, struct recipients *recipients)
{
	const struct plan *plan = facts->plan;
	struct err err = ERR_INIT;

	facts_read_evidence(facts);
	facts_read_certificate(facts);
	if (!plan->recipients.listed)
		return;
	if (recipients_load(recipients, plan->recipients.file, &err) == 0) {
		facts->listed = &recipients->known;
		facts->listed_at_ms = recipients->changed_ms;
	}
	snprintf(facts->listed_why, sizeof(facts->listed_why), "%.255s",
		 err.text);
}

static int ask(struct command_call *call, struct facts *facts,
	       struct loop *loop, struct err *err)
{
	struct survey *survey;

	facts->space_known =
		file_space(file_exists(call->state_dir) ? call->state_dir : "/",
			   &facts->space, NULL) == 0;
	dns_now(&facts->now);
	survey = survey_start(loop, facts,
			      SURVEY_DNS | SURVEY_RECORDS | SURVEY_OLD |
				      (facts->plan->plain ? 0 : SURVEY_NEW),
			      stop, loop, err);
	if (!survey)
		return -1;
	loop_run(loop);
	return 0;
}

static void print_lines(const struct json *list, const char *mark)
{
	for (const struct json *line = json_first(list); line;
	     line = json_next(line))
		printf("       %s%s\n", mark, json_text(line));
}

static void print_timeline(const struct json *timeline)
{
	puts("\ntimeline");
	for (const struct json *step = json_first(timeline); step;
	     step = json_next(step)) {
		const char *earliest = json_get_text(step, "earliest");
		const char *after = json_get_text(step, "after");
		const char *confirm = json_get_text(step, "confirm");
		char *back = mem_printf("way back: %s",
					json_get_text(step, "way_back"));
		char *who = mem_printf("%s; %s%s", json_get_text(step, "who"),
				       earliest ? "not before " : "",
				       earliest ? earliest :
				       after	? after :
						  "any time");

		printf("  %2.0f. %s%s\n", json_get_number(step, "step", 0),
		       ink(INK_BOLD, json_get_text(step, "title")),
		       json_get_bool(step, "no_return") ?
			       ink(INK_BAD, "  POINT OF NO RETURN") :
			       "");
		output_wrapped(who, 6);
		if (earliest && after && *after)
			output_wrapped(after, 6);
		print_lines(json_get(step, "records"), "");
		print_lines(json_get(step, "commands"), "$ ");
		if (confirm)
			printf("      confirmed by: %s\n", confirm);
		output_wrapped(back, 6);
		free(back);
		free(who);
	}
}

static int judge(struct command_call *call, struct facts *facts)
{
	struct findings findings;
	struct json *document = json_object(), *idle = json_array();
	struct json *gate, *timeline;
	int status;

	check_gate(facts, GATE_PLAN, NULL, NULL, 0, &findings);
	gate = findings_json(&findings);
	timeline = timeline_json(facts);
	for (size_t i = 0; i < facts->plan->idle_count; i++)
		json_add_text(idle, facts->plan->idle[i]);
	json_put(document, "warnings", idle);
	if (call->json) {
		json_put_text(document, "plan", facts->plan->name);
		json_put_text(document, "hash", facts->plan->hash);
		json_put(document, "gate", gate);
		json_put(document, "timeline", timeline);
		json_put(document, "facts", facts_json(facts));
		output_json(document);
	} else {
		printf("plan %s is valid\n", facts->plan->name);
		output_gate(gate, SHOWN_ALL);
		print_timeline(timeline);
		json_free(gate);
		json_free(timeline);
	}
	json_free(document);
	status = findings.open || !call->value[OPT_STRICT] ? EXIT_DONE :
							     EXIT_BLOCKED;
	findings_release(&findings);
	return status;
}

int cmd_plan(struct command_call *call)
{
	const char *path = call->arguments[0];
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	struct plan *plan = NULL;
	struct facts *facts = NULL;
	struct loop *loop = NULL;
	struct recipients recipients = { .known = MAP_INIT };
	int status = EXIT_USAGE;

	if (file_read(path, PLAN_MAX_BYTES, &text, &err) < 0) {
		output_error(call, status, "%s", err.text);
		goto out;
	}
	if (invalid(call, path, buf_slice(&text)) < 0)
		goto out;
	plan = plan_parse(buf_slice(&text), path, &err);
	if (!plan) {
		output_error(call, status, "%s", err.text);
		goto out;
	}
	output_idle(plan);
	facts = facts_new(plan);
	load_horizons(call, facts);
	read_files(facts, &recipients);
	loop = loop_new(&err);
	if (!loop || ask(call, facts, loop, &err) < 0) {
		status = output_error(call, EXIT_FAILED, "%s", err.text);
		goto out;
	}
	if (save_horizons(call, facts, &err) < 0)
		fprintf(stderr,
			"tideover: what DNS answered is not kept: "
			"%s\n",
			err.text);
	else
		append_observation(call, facts);
	status = judge(call, facts);
out:
	facts_free(facts);
	loop_free(loop);
	recipients_release(&recipients);
	plan_free(plan);
	buf_release(&text);
	return status;
}
