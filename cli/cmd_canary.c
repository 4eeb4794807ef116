/* canary: a message of our own to the new system, now. */

#include "cli/output.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	INDENT = 6
};

static bool is_accepted(const struct json *canary)
{
	return strcmp(json_get_text(canary, "state"), "accepted") == 0;
}

static void print_canary(const struct json *canary)
{
	const char *state = json_get_text(canary, "state");
	const char *enhanced = json_get_text(canary, "enhanced");
	const char *text = json_get_text(canary, "text");
	double code = json_get_number(canary, "code", 0);

	printf("  %s %s at %s\n",
	       ink(is_accepted(canary) ? INK_GOOD : INK_BAD, state),
	       json_get_text(canary, "address"),
	       json_get_text(canary, "target"));
	if (code > 0)
		printf("%*s%s answered %.0f %s%s%s\n", INDENT, "",
		       json_get_text(canary, "stage"), code, enhanced,
		       *enhanced ? " " : "", text);
	else if (text)
		printf("%*s%s: %s\n", INDENT, "",
		       json_get_text(canary, "stage"), text);
	if (json_get_text(canary, "tls"))
		printf("%*s%s\n", INDENT, "", json_get_text(canary, "tls"));
	if (!is_accepted(canary) && code > 0)
		output_wrapped(json_get_text(canary, "remedy"), INDENT);
	if (!json_get_bool(canary, "sent_now"))
		printf("%*sthat was sent at %s, and the next may go at %s\n",
		       INDENT, "", json_get_text(canary, "sent"),
		       json_get_text(canary, "next"));
}

/* How many were not accepted. */
static size_t print_all(const struct json *answer, bool json)
{
	const struct json *all = json_get(answer, "canaries");
	size_t bad = 0;

	for (const struct json *it = json_first(all); it; it = json_next(it)) {
		bad += !is_accepted(it);
		if (!json)
			print_canary(it);
	}
	return bad;
}

static struct json *send(struct command_call *call, const char *plan,
			 int *status)
{
	char *path = mem_printf("/v1/plans/%s/canary", plan);
	struct json *body = json_object(), *answer = NULL;
	struct err err = ERR_INIT;
	enum control_result result;

	json_put_bool(body, "initial", call->value[OPT_INITIAL] != NULL);
	json_put_text(body, "by", output_by(call));
	result = control_call(call->socket, "POST", path, body, 0, &answer,
			      &err);
	*status = output_control(call, result, &err);
	json_free(body);
	free(path);
	return answer;
}

int cmd_canary(struct command_call *call)
{
	const char *argument = call->count ? call->arguments[0] : NULL;
	bool initial = call->value[OPT_INITIAL] != NULL;
	int status = EXIT_FAILED;
	char *plan = output_plan_name(call, argument, &status);
	struct json *answer = plan ? send(call, plan, &status) : NULL;

	if (answer && call->json)
		output_json(answer);
	if (answer && print_all(answer, call->json) > 0)
		status = EXIT_BLOCKED;
	else if (answer && !call->json)
		printf("look into each inbox (not junk), then tideover waive "
		       "%s %s --gate %s --attest --by NAME --reason TEXT\n",
		       plan, initial ? "canary-initial" : "canary-domain",
		       initial ? "start" : "finish");
	json_free(answer);
	free(plan);
	return status;
}
