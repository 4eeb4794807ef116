/* window: the planned maintenance of a primary. */

#include "base/clock.h"
#include "base/file.h"
#include "cli/output.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	ZONE_YEARS = 10, /* ahead; then its clocks change no more */
	HOUR_S = 3600
};

static void print_window(const struct json *window)
{
	const char *reason = json_get_text(window, "reason");
	const char *zone = json_get_text(window, "zone");
	bool weekly = json_get_bool(window, "weekly");

	printf("%3.0f  %s  %s%s%s%s%s  by %s\n",
	       json_get_number(window, "id", 0), json_get_text(window, "from"),
	       json_get_text(window, "to"), weekly ? "  weekly, by " : "",
	       weekly ? (zone ? zone : "UTC") : "", reason ? "  " : "",
	       reason ? reason : "", json_get_text(window, "by"));
}

/* The system's names of zones. */
static bool zone_exists(const char *zone)
{
	char *path = mem_printf("/usr/share/zoneinfo/%s", zone);
	bool exists = *zone && *zone != '/' && !strstr(zone, "..") &&
		      file_exists(path);

	free(path);
	return exists;
}

static long ahead_s(time_t at)
{
	struct tm tm;

	return localtime_r(&at, &tm) ? tm.tm_gmtoff : 0;
}

static void put_change(struct json *changes, time_t from)
{
	struct json *one = json_object();

	json_put_time(one, "from", (int64_t)from * 1000);
	json_put_number(one, "ahead_ms", (double)ahead_s(from) * 1000);
	json_add(changes, one);
}

/* The daemon needs no time zones: it is told when the clocks there change, to
 * the minute, from a moment on. */
static void put_zone(struct json *body, const char *zone, int64_t from_ms)
{
	struct json *changes = json_array();
	time_t from = (time_t)(from_ms / 1000) / HOUR_S * HOUR_S;
	time_t end = from + (time_t)ZONE_YEARS * 366 * 24 * HOUR_S;
	char *name = mem_printf(":%s", zone);

	setenv("TZ", name, 1);
	tzset();
	put_change(changes, from);
	for (time_t at = from; at < end; at += HOUR_S)
		for (int minute = 1;
		     ahead_s(at) != ahead_s(at + HOUR_S) && minute <= 60;
		     minute++)
			if (ahead_s(at + 60 * minute) !=
			    ahead_s(at + 60 * (minute - 1)))
				put_change(changes, at + 60 * minute);
	json_put_text(body, "zone", zone);
	json_put(body, "changes", changes);
	free(name);
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
	const char *zone = call->value[OPT_ZONE];
	struct json *body;
	int64_t from_ms = 0;

	if (!call->value[OPT_FROM] || !call->value[OPT_TO])
		return output_error(call, EXIT_USAGE,
				    "window add: --from and --to are needed");
	if (zone && !call->value[OPT_REPEAT])
		return output_error(call, EXIT_USAGE,
				    "window add: --zone is for --repeat "
				    "weekly: --from says its own");
	if (zone && !zone_exists(zone))
		return output_error(call, EXIT_USAGE,
				    "window add: no time zone '%s' on this "
				    "machine: it is a name like Europe/Berlin",
				    zone);
	body = json_object();
	json_put_text(body, "from", call->value[OPT_FROM]);
	json_put_text(body, "to", call->value[OPT_TO]);
	json_put_bool(body, "weekly", call->value[OPT_REPEAT] != NULL);
	/* What is no time the daemon says. */
	if (zone &&
	    clock_parse(slice(call->value[OPT_FROM]), &from_ms, NULL) == 0)
		put_zone(body, zone, from_ms);
	json_put_text(body, "reason", call->value[OPT_REASON]);
	return post(call, plan, "window", body, NULL);
}

static int cancel(struct command_call *call, const char *plan)
{
	struct json *body;
	uint64_t id;

	if (!slice_u64(slice(call->arguments[call->count - 1]), &id))
		return output_error(call, EXIT_USAGE,
				    "window cancel: which? tideover window "
				    "list shows the numbers");
	body = json_object();
	json_put_number(body, "id", (double)id);
	return post(call, plan, "window-cancel", body,
		    "cancelled: the valve follows the primary's health");
}

static const struct verb {
	const char *name;
	int (*run)(struct command_call *call, const char *plan);
	size_t rest; /* arguments behind the plan, which may be left out */
} verbs[] = {
	{ "add", add, 0 },
	{ "list", list, 0 },
	{ "cancel", cancel, 1 },
};

static int run(struct command_call *call, const struct verb *verb)
{
	size_t given = call->count - 1;
	int status = EXIT_USAGE;
	char *plan;

	if (given > verb->rest + 1)
		return output_error(call, EXIT_USAGE,
				    "window %s takes no number", verb->name);
	plan = output_plan_name(
		call, given > verb->rest ? call->arguments[1] : NULL, &status);
	if (plan)
		status = verb->run(call, plan);
	free(plan);
	return status;
}

int cmd_window(struct command_call *call)
{
	const char *name = call->arguments[0];

	for (size_t i = 0; i < COUNT(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return run(call, &verbs[i]);
	return output_error(call, EXIT_USAGE,
			    "window: add, list or cancel, not '%s'", name);
}
