#include "base/encode.h"
#include "base/id.h"
#include "cli/output.h"
#include "cli/queue_export.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The selection: the same options for every verb. */

static const struct {
	enum option_id option;
	const char *word;
} words[] = {
	{ OPT_IN_STATE, "state" },   { OPT_RECIPIENT, "recipient" },
	{ OPT_SENDER, "sender" },    { OPT_DOMAIN, "domain" },
	{ OPT_OLDER, "older_than" }, { OPT_REPLY, "reply" },
	{ OPT_SINCE, "since" },	     { OPT_DELIVERED_TO, "delivered_to" },
};

/* A plan that looks like an ID is named by its file. */
static bool is_id(const char *argument)
{
	struct slice rest = slice(argument);
	struct id id;

	return id_parse(slice_split(&rest, ':'), &id);
}

/* Behind the verb and the plan, which may be left out. */
static size_t first_id(const struct command_call *call)
{
	return call->count > 1 && is_id(call->arguments[1]) ? 1 : 2;
}

static const char *plan_argument(const struct command_call *call)
{
	return call->count > 1 && first_id(call) > 1 ? call->arguments[1] :
						       NULL;
}

static bool is_selected(const struct command_call *call)
{
	for (size_t i = 0; i < COUNT(words); i++)
		if (call->value[words[i].option])
			return true;
	return call->count > first_id(call) || call->value[OPT_ALL];
}

static void add_query(struct buf *path, const char *key, const char *value)
{
	if (!value)
		return;
	buf_addf(path, "%c%s=", strchr(buf_text(path), '?') ? '&' : '?', key);
	encode_url(slice(value), path);
}

/* `state` NULL: as the options say. */
static char *list_path(const struct command_call *call, const char *plan,
		       const char *id, const char *state, bool attempts)
{
	struct buf path = BUF_INIT;

	buf_addf(&path, "/v1/plans/%s/queue", plan);
	for (size_t i = 0; i < COUNT(words); i++) {
		bool is_state = words[i].option == OPT_IN_STATE;

		add_query(&path, words[i].word,
			  is_state && state ? state :
					      call->value[words[i].option]);
	}
	add_query(&path, "id", id);
	add_query(&path, "attempts", attempts ? "1" : NULL);
	return buf_take(&path);
}

typedef int row_fn(void *ctx, const struct json *row);

static enum control_result one_list(struct command_call *call, char *path,
				    row_fn *each, void *ctx, struct err *err)
{
	enum control_result result =
		control_lines(call->socket, path, each, ctx, err);

	free(path);
	return result;
}

/* Every envelope that the arguments and options select. */
static int each_row(struct command_call *call, const char *plan,
		    const char *state, bool attempts, row_fn *each, void *ctx)
{
	enum control_result result = CONTROL_OK;
	struct err err = ERR_INIT;

	if (call->count <= first_id(call))
		result = one_list(call,
				  list_path(call, plan, NULL, state, attempts),
				  each, ctx, &err);
	for (size_t i = first_id(call); i < call->count && result == CONTROL_OK;
	     i++)
		result = one_list(call,
				  list_path(call, plan, call->arguments[i],
					    state, attempts),
				  each, ctx, &err);
	return output_control(call, result, &err);
}

static struct json *selection_body(const struct command_call *call,
				   const char *all_state)
{
	struct json *body = json_object(), *ids = json_array();
	bool is_all = call->value[OPT_ALL] != NULL;

	for (size_t i = first_id(call); i < call->count; i++)
		json_add_text(ids, call->arguments[i]);
	json_put(body, "ids", ids);
	json_put_bool(body, "all", is_all);
	for (size_t i = 0; i < COUNT(words); i++)
		if (call->value[words[i].option])
			json_put_text(body, words[i].word,
				      call->value[words[i].option]);
	if (is_all && !call->value[OPT_IN_STATE])
		json_put_text(body, "state", all_state);
	json_put_text(body, "by", output_by(call));
	if (call->value[OPT_REASON])
		json_put_text(body, "reason", call->value[OPT_REASON]);
	return body;
}

/* list and show. */

static void print_envelope(const struct json *row)
{
	printf("%s:%.0f %-9s %8.0f  <%s> -> <%s>  %s\n",
	       json_get_text(row, "id"), json_get_number(row, "envelope", 0),
	       json_get_text(row, "state"), json_get_number(row, "bytes", 0),
	       json_get_text(row, "reverse_path"),
	       json_get_text(row, "forward_path"),
	       json_get_text(row, "accepted"));
}

static int print_row(void *ctx, const struct json *row)
{
	const struct command_call *call = ctx;
	const struct json *last = json_get(row, "last_reply");

	if (call->json) {
		output_json(row);
		return 0;
	}
	print_envelope(row);
	if (json_type(last) == JSON_OBJECT &&
	    strcmp(json_get_text(row, "state"), "delivered") != 0)
		printf("    %s: %.0f %s\n", json_get_text(last, "stage"),
		       json_get_number(last, "code", 0),
		       json_get_text(last, "text"));
	return 0;
}

struct showing {
	struct command_call *call;
	size_t count;
};

static int print_whole(void *ctx, const struct json *row)
{
	struct showing *showing = ctx;
	struct buf text = BUF_INIT;

	showing->count++;
	if (showing->call->json) {
		output_json(row);
		return 0;
	}
	json_print_pretty(row, &text);
	fputs(buf_text(&text), stdout);
	buf_release(&text);
	return 0;
}

static int run_list(struct command_call *call, const char *plan)
{
	return each_row(call, plan, NULL, false, print_row, call);
}

/* Of IDs that were named: silence would pass for an answer. */
static int none_found(struct command_call *call, const char *plan)
{
	if (call->count <= first_id(call))
		return EXIT_DONE;
	return output_error(call, EXIT_FAILED,
			    "plan '%s' has no such envelope: `tideover queue "
			    "list %s` shows them",
			    plan, plan);
}

static int run_show(struct command_call *call, const char *plan)
{
	struct showing showing = { .call = call };
	int status = each_row(call, plan, NULL, true, print_whole, &showing);

	if (status == EXIT_DONE && showing.count == 0)
		status = none_found(call, plan);
	return status;
}

/* export. */

static int export_row(void *ctx, const struct json *row)
{
	queue_export_add(ctx, row);
	return 0;
}

static int print_all(struct command_call *call, const char *plan, row_fn *each,
		     void *ctx)
{
	static const char *const live[] = { "held", "waiting" };
	int status = EXIT_DONE;

	if (!call->value[OPT_ALL] || call->value[OPT_IN_STATE])
		return each_row(call, plan, NULL, false, each, ctx);
	for (size_t i = 0; i < COUNT(live) && status == EXIT_DONE; i++)
		status = each_row(call, plan, live[i], false, each, ctx);
	return status;
}

static bool is_stdout(const struct command_call *call)
{
	const char *path = call->value[OPT_OUTPUT];

	return path && strcmp(path, "-") == 0;
}

static int run_export(struct command_call *call, const char *plan)
{
	const char *format = call->value[OPT_EXPORT_FORMAT] ?
				     call->value[OPT_EXPORT_FORMAT] :
				     "eml";
	const char *path = call->value[OPT_OUTPUT];
	struct queue_export *export;
	struct err err = ERR_INIT;
	struct json *result;
	double failed;
	int status;

	if (call->value[OPT_DRY_RUN])
		return print_all(call, plan, print_row, call);
	if (!path && strcmp(format, "eml") != 0)
		return output_error(call, EXIT_USAGE,
				    "%s goes where? give --output PATH",
				    format);
	if (is_stdout(call) && strcmp(format, "mbox") != 0)
		return output_error(call, EXIT_USAGE,
				    "%s is a folder: only --format mbox goes "
				    "to stdout",
				    format);
	if (is_stdout(call) && call->json)
		return output_error(call, EXIT_USAGE,
				    "--json and --output - both want stdout");
	export = queue_export_new(call, plan, format, path ? path : ".", &err);
	if (!export)
		return output_error(call, EXIT_FAILED, "%s", err.text);
	status = print_all(call, plan, export_row, export);
	result = queue_export_end(export);
	failed = json_get_number(result, "failed", 0);
	if (status == EXIT_DONE &&
	    json_get_number(result, "messages", 0) + failed == 0)
		status = none_found(call, plan);
	/* A failure has told its own document. */
	if (status == EXIT_DONE && call->json)
		output_json(result);
	if (status == EXIT_DONE && failed > 0)
		status = EXIT_FAILED;
	json_free(result);
	return status;
}

/* hold, release, retry, discard, bounce. */

static int post(struct command_call *call, const char *plan, const char *verb,
		const struct json *body, struct json **answer)
{
	char *path = mem_printf("/v1/plans/%s/%s", plan, verb);
	struct err err = ERR_INIT;
	enum control_result result;

	result =
		control_call(call->socket, "POST", path, body, 0, answer, &err);
	free(path);
	return output_control(call, result, &err);
}

static bool is_sure(const char *verb, double count)
{
	char question[80];

	snprintf(question, sizeof(question), "%s %.0f envelopes?", verb, count);
	return count <= 1 || output_confirm(question);
}

static size_t tell_each(const struct json *list)
{
	for (const struct json *one = json_first(list); one;
	     one = json_next(one))
		fprintf(stderr, "tideover: %s:%.0f: %s\n",
			json_get_text(one, "id"),
			json_get_number(one, "envelope", 0),
			json_get_text(one, "error"));
	return json_count(list);
}

static int tell_acts(struct command_call *call, const char *verb,
		     const struct json *answer)
{
	const struct json *envelopes = json_get(answer, "envelopes");
	bool dry_run = json_get_bool(answer, "dry_run");
	double count = json_get_number(answer, "count", 0);
	double skipped = json_get_number(answer, "skipped", 0);
	size_t bad;

	if (call->json) {
		output_json(answer);
		return json_count(json_get(answer, "refused")) > 0 ||
				       json_count(json_get(answer, "failed")) >
					       0 ?
			       EXIT_FAILED :
			       EXIT_DONE;
	}
	for (const struct json *one = json_first(envelopes); dry_run && one;
	     one = json_next(one))
		print_envelope(one);
	bad = tell_each(json_get(answer, "refused")) +
	      tell_each(json_get(answer, "failed"));
	if (dry_run)
		printf("would %s: %.0f envelopes; nothing was changed\n", verb,
		       count);
	else
		printf("%s: %.0f envelopes\n", verb,
		       json_get_number(answer, "bounced", count));
	if (skipped > 0)
		printf("(%.0f more are in another state, or on their way)\n",
		       skipped);
	return bad > 0 ? EXIT_FAILED : EXIT_DONE;
}

/* -1 with *status set unless the verb may go on. */
static int ask_first(struct command_call *call, const char *plan,
		     const char *verb, struct json *body, int *status)
{
	struct json *answer = NULL;
	double count;

	if (!isatty(STDIN_FILENO) || call->value[OPT_DRY_RUN])
		return 0;
	json_put_bool(body, "dry_run", true);
	*status = post(call, plan, verb, body, &answer);
	count = json_get_number(answer, "count", 0);
	json_free(answer);
	if (*status != EXIT_DONE)
		return -1;
	json_put_bool(body, "dry_run", false);
	if (is_sure(verb, count))
		return 0;
	*status = output_error(call, EXIT_FAILED, "nothing was changed");
	return -1;
}

static int act(struct command_call *call, const char *plan, const char *verb,
	       const char *all_state, bool asks)
{
	struct json *body = selection_body(call, all_state), *answer = NULL;
	int status = EXIT_DONE;

	if (call->value[OPT_RELAY])
		json_put_text(body, "relay", call->value[OPT_RELAY]);
	if (!asks || ask_first(call, plan, verb, body, &status) == 0) {
		json_put_bool(body, "dry_run",
			      call->value[OPT_DRY_RUN] != NULL);
		status = post(call, plan, verb, body, &answer);
	}
	if (answer)
		status = tell_acts(call, verb, answer);
	json_free(answer);
	json_free(body);
	return status;
}

static int run_hold(struct command_call *call, const char *plan)
{
	return act(call, plan, "hold", "waiting", false);
}

static int run_release(struct command_call *call, const char *plan)
{
	return act(call, plan, "release", "held", false);
}

static int run_retry(struct command_call *call, const char *plan)
{
	return act(call, plan, "retry", "waiting", false);
}

static int run_discard(struct command_call *call, const char *plan)
{
	return act(call, plan, "discard", "held", true);
}

static int run_bounce(struct command_call *call, const char *plan)
{
	return act(call, plan, "bounce", "held", true);
}

/* resend: a line per copy as it goes. */

struct resending {
	struct command_call *call;
	bool complete, bad;
};

static void tell_unsent(const struct json *end)
{
	for (const struct json *one = json_first(json_get(end, "unsent")); one;
	     one = json_next(one))
		fprintf(stderr, "tideover: %s: %.0f not sent: %s\n",
			json_get_text(one, "domain"),
			json_get_number(one, "count", 0),
			json_get_text(one, "error"));
}

static void tell_end(struct resending *resending, const struct json *end)
{
	const char *error = json_get_text(end, "error");

	if (json_get_bool(end, "dry_run"))
		printf("would resend: %.0f messages, %.0f have no copy any "
		       "more; nothing was sent\n",
		       json_get_number(end, "left", 0) -
			       json_get_number(end, "gone", 0),
		       json_get_number(end, "gone", 0));
	else
		printf("resend: %.0f sent, %.0f refused, %.0f without a copy, "
		       "%.0f left\n",
		       json_get_number(end, "sent", 0),
		       json_get_number(end, "refused", 0),
		       json_get_number(end, "gone", 0),
		       json_get_number(end, "left", 0));
	tell_unsent(end);
	if (error)
		fprintf(stderr, "tideover: %s\n", error);
}

static int resend_row(void *ctx, const struct json *row)
{
	struct resending *resending = ctx;

	if (json_get_bool(row, "end")) {
		resending->complete = true;
		resending->bad = json_get_number(row, "refused", 0) > 0 ||
				 json_get_number(row, "gone", 0) > 0 ||
				 json_count(json_get(row, "unsent")) > 0 ||
				 json_get_text(row, "error");
	}
	if (resending->call->json)
		output_json(row);
	else if (json_get_bool(row, "end"))
		tell_end(resending, row);
	else
		printf("%s:%.0f <%s> -> %s  %.0f %s\n",
		       json_get_text(row, "id"),
		       json_get_number(row, "envelope", 0),
		       json_get_text(row, "forward_path"),
		       json_get_text(row, "target"),
		       json_get_number(row, "code", 0),
		       json_get(row, "copy") ? json_get_bool(row, "copy") ?
					       "a copy is kept" :
					       "no copy is kept" :
					       json_get_text(row, "text"));
	return 0;
}

static int run_resend(struct command_call *call, const char *plan)
{
	struct resending resending = { .call = call };
	struct json *body;
	struct err err = ERR_INIT;
	enum control_result result;
	int status;
	char *path;

	if (!call->value[OPT_SINCE] || !call->value[OPT_TO_OLD_NEW])
		return output_error(call, EXIT_USAGE,
				    "resend needs --since TIME and --to old "
				    "or new");
	body = selection_body(call, "delivered");
	json_put_text(body, "to", call->value[OPT_TO_OLD_NEW]);
	json_put_bool(body, "dry_run", call->value[OPT_DRY_RUN] != NULL);
	path = mem_printf("/v1/plans/%s/resend", plan);
	result = control_post_lines(call->socket, path, body, resend_row,
				    &resending, &err);
	free(path);
	json_free(body);
	status = output_control(call, result, &err);
	if (status == EXIT_DONE && !resending.complete)
		return output_error(call, EXIT_FAILED,
				    "tideoverd ended before the resend did: "
				    "the journal has each attempt");
	return status == EXIT_DONE && resending.bad ? EXIT_FAILED : status;
}

/* shred: of the whole plan. */

static int run_shred(struct command_call *call, const char *plan)
{
	struct json *body, *answer = NULL;
	int status;

	if (call->value[OPT_DRY_RUN])
		return output_error(call, EXIT_USAGE,
				    "shred cannot be tried: it either "
				    "destroys the key or says what is in the "
				    "way");
	body = json_object();
	json_put_text(body, "by", output_by(call));
	json_put_text(body, "reason", call->value[OPT_REASON]);
	status = post(call, plan, "shred", body, &answer);
	if (status == EXIT_DONE && call->json)
		output_json(answer);
	else if (status == EXIT_DONE)
		printf("plan %s: the data key %s\n\nThis shows: %s.\n\n"
		       "It does not reach: %s.\n",
		       plan,
		       json_get_bool(answer, "again") ? "was destroyed before" :
							"is destroyed",
		       json_get_text(answer, "proves"),
		       json_get_text(answer, "leaves"));
	json_free(answer);
	json_free(body);
	return status;
}

/* The verbs. */

static const struct verb {
	const char *name;
	int (*run)(struct command_call *call, const char *plan);
	bool needs_selection, needs_reason, needs_by;
} verbs[] = {
	{ "list", run_list, false, false, false },
	{ "show", run_show, true, false, false },
	{ "export", run_export, true, false, false },
	{ "hold", run_hold, true, true, false },
	{ "release", run_release, true, true, false },
	{ "retry", run_retry, true, false, false },
	{ "discard", run_discard, true, true, true },
	{ "bounce", run_bounce, true, true, true },
	{ "resend", run_resend, false, false, false },
	{ "shred", run_shred, false, true, true },
};

static int run(struct command_call *call, const struct verb *verb)
{
	bool dry_run = call->value[OPT_DRY_RUN] != NULL;
	int status = EXIT_FAILED;
	char *plan;

	if (verb->needs_selection && !is_selected(call))
		return output_error(call, EXIT_USAGE,
				    "%s which messages? give IDs, or options "
				    "that select some, or --all",
				    verb->name);
	if (verb->needs_reason && !dry_run && !call->value[OPT_REASON])
		return output_error(call, EXIT_USAGE, "%s needs --reason",
				    verb->name);
	if (verb->needs_by && !dry_run && !call->value[OPT_BY])
		return output_error(call, EXIT_USAGE,
				    "%s needs --by: mail ends here in "
				    "somebody's name",
				    verb->name);
	plan = output_plan_name(call, plan_argument(call), &status);
	if (plan)
		status = verb->run(call, plan);
	free(plan);
	return status;
}

int cmd_queue(struct command_call *call)
{
	const char *name = call->arguments[0];

	for (size_t i = 0; i < COUNT(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return run(call, &verbs[i]);
	return output_error(call, EXIT_USAGE,
			    "queue: list, show, export, hold, release, retry, "
			    "discard, bounce, resend or shred, not '%s'",
			    name);
}
