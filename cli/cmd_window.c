/* window: the planned maintenance of a primary. */

#include "cli/output.h"
#include <stdio.h>
#include <stdlib.h>

static void print_window(const struct json *window)
{
	const char *reason = json_get_text(window, "reason");

	printf("%3.0f  %s  %s%s%s%s  by %s\n", json_get_number(window, "id", 0),
	       json_get_text(window, "from"), json_get_text(window, "to"),
	       json_get_bool(window, "weekly") ? "  weekly" : "",
	       reason ? "  " : "", reason ? reason : "",
	       json_get_text(window, "by"));
}

static int list(struct command_call *call, const char *plan)
{
	int status = EXIT_DONE;
	struct json *answer = output_status(call, plan, &status);
	const struct json *windows = json_get(answer, "windows");

	if (answer && call->json) {
		struct json *document = json_object();

		json_put(document, "windows", json_copy(windows));
		output_json(document);
		json_free(document);
	} else if (answer && json_count(windows) == 0) {
		puts("no windows");
	}
	for (const struct json *it = call->json ? NULL : json_first(windows);
	     it; it = json_next(it))
		print_window(it);
	json_free(answer);
	return status;
}

static int post(struct command_call *call, const char *plan, const char *verb,
		struct json *body, const char *said)
{
	char *path = mem_printf("/v1/plans/%s/%s", plan, verb);
	struct json *answer = NULL;
	struct err err = ERR_INIT;
	enum control_result result;
	int status;

	json_put_text(body, "by", output_by(call));
	result = control_call(call->socket, "POST", path, body, 30000, &answer,
			      &err);
	/* A window that cannot be is a matter of what was typed. */
	status = result == CONTROL_REFUSED ?
			 output_error(call, EXIT_USAGE, "%s", err.text) :
			 output_control(call, result, &err);
	if (status == EXIT_DONE && call->json)
		output_json(answer);
	else if (status == EXIT_DONE && said)
		puts(said);
	else if (status == EXIT_DONE)
		print_window(answer);
	json_free(answer);
	json_free(body);
	free(path);
	return status;
}

static int add(struct command_call *call, const char *plan)
{
	struct json *body;

	if (!call->value[OPT_FROM] || !call->value[OPT_TO])
		return output_error(call, EXIT_USAGE,
				    "window add: --from and --to are needed");
	body = json_object();
	json_put_text(body, "from", call->value[OPT_FROM]);
	json_put_text(body, "to", call->value[OPT_TO]);
	json_put_bool(body, "weekly", call->value[OPT_REPEAT] != NULL);
	json_put_text(body, "reason", call->value[OPT_REASON]);
	return post(call, plan, "window", body, NULL);
}

static int cancel(struct command_call *call, const char *plan)
{
	struct json *body;
	uint64_t id;

	if (call->count < 3 || !slice_u64(slice(call->arguments[2]), &id))
		return output_error(call, EXIT_USAGE,
				    "window cancel: which? tideover window "
				    "list PLAN shows the numbers");
	body = json_object();
	json_put_number(body, "id", (double)id);
	return post(call, plan, "window-cancel", body,
		    "cancelled: the valve follows the primary's health");
}

int cmd_window(struct command_call *call)
{
	const char *verb = call->arguments[0];
	int status = EXIT_USAGE;
	char *plan = output_plan_name(call, call->arguments[1], &status);

	if (!plan)
		return status;
	if (strcmp(verb, "add") == 0)
		status = add(call, plan);
	else if (strcmp(verb, "list") == 0)
		status = list(call, plan);
	else if (strcmp(verb, "cancel") == 0)
		status = cancel(call, plan);
	else
		status = output_error(call, EXIT_USAGE,
				      "window: add, list or cancel, not '%s'",
				      verb);
	free(plan);
	return status;
}
