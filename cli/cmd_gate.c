/* finish, rollback, check, waive, pause, resume: what an operator decides. */

#include "cli/follow.h"
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>

/* POST to the plan; NULL with the error told and *status set. */
static struct json *post(struct command_call *call, const char *plan,
			 const char *verb, struct json *body, int *status)
{
	char *path = mem_printf("/v1/plans/%s/%s", plan, verb);
	struct json *answer = NULL;
	struct err err = ERR_INIT;
	enum control_result result;

	json_put_text(body, "by", output_by(call));
	result = control_call(call->socket, "POST", path, body, 0, &answer,
			      &err);
	*status = result == CONTROL_OK ? EXIT_DONE :
					 output_control(call, result, &err);
	json_free(body);
	free(path);
	return answer;
}

/* The plan may be left out before the `rest`. */
static const char *argument(const struct command_call *call, size_t rest)
{
	return call->count > rest ? call->arguments[0] : NULL;
}

static int is_shut(struct command_call *call, const struct json *answer)
{
	const struct json *gate = json_get(answer, "gate");

	if (!gate || json_type(gate) != JSON_OBJECT ||
	    json_get_bool(gate, "open"))
		return EXIT_DONE;
	if (call->json) {
		output_json(answer);
	} else {
		output_gate(gate, SHOWN_WANTING);
		fprintf(stderr, "tideover: a check blocks; still %s\n",
			json_get_text(answer, "phase"));
	}
	return EXIT_BLOCKED;
}

static int after_release(struct command_call *call, const char *plan,
			 const struct json *answer)
{
	const char *phase = json_get_text(answer, "phase");

	if (strcmp(phase, "finished") == 0) {
		if (call->json)
			output_json(answer);
		else
			puts("finished: new mail for its domains gets 451; "
			     "`tideover report` has the evidence");
		return EXIT_DONE;
	}
	if (call->value[OPT_DETACH]) {
		if (call->json)
			output_json(answer);
		else
			printf("%s; follow it with `tideover status`\n", phase);
		return EXIT_DONE;
	}
	return follow_release(call, plan);
}

/* What the new system has already does not come back by itself. */
static void tell_delivered(struct command_call *call, const char *plan,
			   struct json *answer)
{
	char *path = mem_printf("/v1/plans/%s/count?delivered_to=new", plan);
	struct json *delivered = NULL;
	struct err err = ERR_INIT;

	if (control_call(call->socket, "GET", path, NULL, 60000, &delivered,
			 &err) != CONTROL_OK)
		fprintf(stderr,
			"tideover: what the new system has already is "
			"unknown: %s\n",
			err.text);
	else if (json_get_number(delivered, "count", 0) > 0)
		fprintf(stderr,
			"%.0f envelopes are in the new system already, the "
			"first since %s\n"
			"  which: tideover queue list %s --delivered-to new\n"
			"  their kept copies to the old one as well: tideover "
			"queue resend %s --since %s --to old\n",
			json_get_number(delivered, "count", 0),
			json_get_text(delivered, "first"), plan, plan,
			json_get_text(delivered, "first"));
	json_put(answer, "delivered_to_new", delivered);
	free(path);
}

/* A way back that is under way already is only followed. */
static bool is_sure(struct command_call *call, const char *plan, int *status)
{
	struct json *now = output_status(call, plan, status);
	const char *phase = json_get_text(now, "phase");
	bool is_back = phase && (strcmp(phase, "returning") == 0 ||
				 strcmp(phase, "returned") == 0);
	char *question = mem_printf(
		"roll %s back: its mail goes to the old system again?", plan);
	bool sure = now && (is_back || output_confirm(question));

	if (now && !sure)
		*status =
			output_error(call, EXIT_FAILED, "nothing was changed");
	free(question);
	json_free(now);
	return sure;
}

static int release(struct command_call *call, const char *verb, bool asks)
{
	struct json *body = json_object(), *answer = NULL;
	int status = EXIT_FAILED;
	char *plan = output_plan_name(call, argument(call, 0), &status);

	json_put_bool(body, "now", call->value[OPT_NOW] != NULL);
	if (plan && (!asks || is_sure(call, plan, &status)))
		answer = post(call, plan, verb, body, &status);
	else
		json_free(body);
	if (answer)
		status = is_shut(call, answer);
	if (answer && status == EXIT_DONE && strcmp(verb, "rollback") == 0)
		tell_delivered(call, plan, answer);
	if (answer && status == EXIT_DONE)
		status = after_release(call, plan, answer);
	if (answer && call->value[OPT_WAIT] && status == EXIT_DONE)
		status = follow_phase(call, plan, call->value[OPT_WAIT], NULL);
	json_free(answer);
	free(plan);
	return status;
}

int cmd_finish(struct command_call *call)
{
	return release(call, "finish", false);
}

int cmd_rollback(struct command_call *call)
{
	return release(call, "rollback", isatty(STDIN_FILENO));
}

static void show_evidence(const struct json *gate)
{
	const struct json *finding = json_first(json_get(gate, "findings"));
	struct buf text = BUF_INIT;

	json_print_pretty(json_get(finding, "evidence"), &text);
	puts(buf_text(&text));
	buf_release(&text);
}

int cmd_check(struct command_call *call)
{
	struct json *body = json_object(), *gate = NULL;
	int status = EXIT_FAILED;
	char *plan = output_plan_name(call, argument(call, 0), &status);

	if (call->value[OPT_GATE])
		json_put_text(body, "gate", call->value[OPT_GATE]);
	if (call->value[OPT_ONLY])
		json_put_text(body, "only", call->value[OPT_ONLY]);
	if (plan)
		gate = post(call, plan, "check", body, &status);
	else
		json_free(body);
	if (gate) {
		if (call->json)
			output_json(gate);
		else
			output_gate(gate, SHOWN_ALL);
		if (!call->json && call->value[OPT_ONLY])
			show_evidence(gate);
		status = json_get_bool(gate, "open") ? EXIT_DONE : EXIT_BLOCKED;
	}
	json_free(gate);
	free(plan);
	return status;
}

int cmd_waive(struct command_call *call)
{
	struct json *body, *answer = NULL;
	int status = EXIT_FAILED;
	char *plan;

	if (!call->value[OPT_GATE] || !call->value[OPT_REASON])
		return output_error(call, EXIT_USAGE,
				    "waive needs --gate and --reason");
	plan = output_plan_name(call, argument(call, 1), &status);
	if (!plan)
		return status;
	body = json_object();
	json_put_text(body, "check", call->arguments[call->count - 1]);
	json_put_text(body, "gate", call->value[OPT_GATE]);
	json_put_text(body, "reason", call->value[OPT_REASON]);
	json_put_bool(body, "attest", call->value[OPT_ATTEST] != NULL);
	answer = post(call, plan, "waive", body, &status);
	if (answer && call->json)
		output_json(answer);
	else if (answer)
		printf("waived for 24 h, or until the finding changes: %s\n",
		       json_get_text(json_get(answer, "waived"), "summary"));
	json_free(answer);
	free(plan);
	return status;
}

static int valves(struct command_call *call, const char *verb, const char *said)
{
	struct json *body = json_object(), *answer = NULL;
	const char *domain = call->value[OPT_DOMAIN];
	int status = EXIT_FAILED;
	char *plan = output_plan_name(call, argument(call, 0), &status);

	if (call->value[OPT_REASON])
		json_put_text(body, "reason", call->value[OPT_REASON]);
	if (domain)
		json_put_text(body, "domain", domain);
	if (plan)
		answer = post(call, plan, verb, body, &status);
	else
		json_free(body);
	if (answer && call->json)
		output_json(answer);
	else if (answer)
		printf("%s%s%s\n", domain ? domain : "", domain ? ": " : "",
		       said);
	json_free(answer);
	free(plan);
	return status;
}

int cmd_pause(struct command_call *call)
{
	return valves(call, "pause", "paused: mail is accepted, none leaves");
}

int cmd_resume(struct command_call *call)
{
	return valves(call, "resume", "resumed");
}
