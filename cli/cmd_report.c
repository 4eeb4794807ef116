#include "base/file.h"
#include "cli/output.h"
#include <stdlib.h>

int cmd_report(struct command_call *call)
{
	int status = EXIT_FAILED;
	char *plan = output_plan_name(
		call, call->count ? call->arguments[0] : NULL, &status);
	struct json *report = NULL;
	struct err err = ERR_INIT;
	enum control_result result;
	char *path;

	if (!plan)
		return status;
	path = mem_printf("/v1/plans/%s/report", plan);
	result = control_call(call->socket, "GET", path, NULL, 60000, &report,
			      &err);
	status = output_control(call, result, &err);
	if (report)
		output_json(report);
	json_free(report);
	free(path);
	free(plan);
	return status;
}
