#include "cli/follow.h"
#include "cli/spawn.h"
#include "plan/plan.h"
#include <stdio.h>
#include <stdlib.h>

static int refused(struct command_call *call, enum control_result result,
		   const struct err *err)
{
	/* A changed plan or a conflict is a matter of the plan. */
	if (result == CONTROL_REFUSED)
		return output_error(call, EXIT_USAGE, "%s", err->text);
	return output_control(call, result, err);
}

static int load(struct command_call *call, const struct plan *plan)
{
	struct json *body = json_object(), *answer = NULL;
	struct err err = ERR_INIT;
	enum control_result result;

	json_put_text(body, "text", plan->text);
	json_put_text(body, "path", plan->path);
	json_put_text(body, "by", output_by(call));
	result = control_call(call->socket, "POST", "/v1/plans", body, 60000,
			      &answer, &err);
	json_free(body);
	json_free(answer);
	return result == CONTROL_OK ? EXIT_DONE : refused(call, result, &err);
}

static int report(struct command_call *call, const char *plan,
		  const struct json *answer)
{
	const struct json *gate = json_get(answer, "gate");
	const char *phase = json_get_text(answer, "phase");
	bool judged = json_type(gate) == JSON_OBJECT;
	bool open = !judged || json_get_bool(gate, "open");

	if (call->json) {
		struct json *document = json_copy(answer);

		json_put_bool(document, "already",
			      !judged && !call->value[OPT_ABORT]);
		output_json(document);
		json_free(document);
	} else if (!judged && !call->value[OPT_ABORT]) {
		printf("plan %s is under way already: %s; nothing changed\n",
		       plan, phase);
	} else {
		if (judged)
			output_gate(gate, SHOWN_WANTING);
		printf("plan %s: %s\n", plan, phase);
	}
	if (!open)
		fprintf(stderr,
			"tideover: a check blocks; still %s, mail is "
			"accepted; run start again after the remedy\n",
			phase);
	return open ? EXIT_DONE : EXIT_BLOCKED;
}

static int start(struct command_call *call, const char *plan)
{
	char *path = mem_printf("/v1/plans/%s/%s", plan,
				call->value[OPT_ABORT] ? "abort" : "start");
	struct json *body = json_object(), *answer = NULL;
	struct err err = ERR_INIT;
	enum control_result result;
	int status;

	json_put_text(body, "by", output_by(call));
	result = control_call(call->socket, "POST", path, body,
			      call->timeout_ms, &answer, &err);
	status = result == CONTROL_OK ? report(call, plan, answer) :
					output_control(call, result, &err);
	json_free(answer);
	json_free(body);
	free(path);
	if (status == EXIT_DONE && call->value[OPT_WAIT])
		status = follow_phase(call, plan, call->value[OPT_WAIT], NULL);
	return status;
}

/* Of what is under way, whatever the file says by now. */
static int abort_start(struct command_call *call)
{
	int status = EXIT_FAILED;
	char *plan = output_plan_name(call, call->arguments[0], &status);

	if (plan)
		status = start(call, plan);
	free(plan);
	return status;
}

int cmd_start(struct command_call *call)
{
	struct err err = ERR_INIT;
	struct plan *plan;
	int status;

	if (call->value[OPT_ABORT])
		return abort_start(call);
	plan = plan_load(call->arguments[0], &err);
	if (!plan)
		return output_error(call, EXIT_USAGE, "%s", err.text);
	output_idle(plan);
	if (spawn_daemon(call, &err) < 0)
		status = output_error(call, EXIT_FAILED, "%s", err.text);
	else
		status = load(call, plan);
	if (status == EXIT_DONE)
		status = start(call, plan->name);
	plan_free(plan);
	return status;
}
