#include "base/encode.h"
#include "base/file.h"
#include "cli/output.h"
#include <stdio.h>
#include <stdlib.h>

/* list and show. */

static void add_query(struct buf *path, const char *key, const char *value)
{
	if (!value)
		return;
	buf_addf(path, "%c%s=", strchr(buf_text(path), '?') ? '&' : '?', key);
	encode_url(slice(value), path);
}

static int print_row(void *ctx, const struct json *row)
{
	const struct command_call *call = ctx;
	const struct json *last = json_get(row, "last_reply");

	if (call->json) {
		output_json(row);
		return 0;
	}
	printf("%s:%.0f %-9s %8.0f  <%s> -> <%s>  %s\n",
	       json_get_text(row, "id"), json_get_number(row, "envelope", 0),
	       json_get_text(row, "state"), json_get_number(row, "bytes", 0),
	       json_get_text(row, "reverse_path"),
	       json_get_text(row, "forward_path"),
	       json_get_text(row, "accepted"));
	if (json_type(last) == JSON_OBJECT &&
	    strcmp(json_get_text(row, "state"), "delivered") != 0)
		printf("    %s: %.0f %s\n", json_get_text(last, "stage"),
		       json_get_number(last, "code", 0),
		       json_get_text(last, "text"));
	return 0;
}

static int print_whole(void *ctx, const struct json *row)
{
	const struct command_call *call = ctx;
	struct buf text = BUF_INIT;

	if (call->json) {
		output_json(row);
		return 0;
	}
	json_print_pretty(row, &text);
	fputs(buf_text(&text), stdout);
	buf_release(&text);
	return 0;
}

static int list(struct command_call *call, const char *plan, const char *id,
		int (*each)(void *ctx, const struct json *row))
{
	struct buf path = BUF_INIT;
	struct err err = ERR_INIT;
	enum control_result result;

	buf_addf(&path, "/v1/plans/%s/queue", plan);
	add_query(&path, "state", call->value[OPT_IN_STATE]);
	add_query(&path, "recipient", call->value[OPT_RECIPIENT]);
	add_query(&path, "domain", call->value[OPT_DOMAIN]);
	add_query(&path, "id", id);
	if (id)
		add_query(&path, "attempts", "1");
	result = control_lines(call->socket, buf_text(&path), each, call, &err);
	buf_release(&path);
	return output_control(call, result, &err);
}

/* export. */

struct mail_export {
	struct command_call *call;
	const char *plan, *dir;
	struct json *files;
	char last[32];
	int failed;
};

static int write_piece(void *ctx, struct slice bytes)
{
	return fwrite(bytes.p, 1, bytes.len, ctx) == bytes.len ? 0 : -1;
}

static int export_one(struct mail_export *export, const char *id)
{
	char *path = mem_printf("%s/%s.eml", export->dir, id);
	char *from = mem_printf("/v1/plans/%s/message?id=%s", export->plan, id);
	FILE *file = fopen(path, "wx");
	struct err err = ERR_INIT;
	enum control_result result = CONTROL_REFUSED;

	if (!file) {
		err_errno(&err, "cannot create %s", path);
	} else {
		result = control_bytes(export->call->socket, from, write_piece,
				       file, &err);
		if (fclose(file) != 0 && result == CONTROL_OK) {
			err_errno(&err, "cannot write %s", path);
			result = CONTROL_REFUSED;
		}
	}
	if (result == CONTROL_OK) {
		json_add_text(export->files, path);
		if (!export->call->json)
			puts(path);
	} else {
		output_control(export->call, result, &err);
		export->failed++;
	}
	free(path);
	free(from);
	return 0;
}

static int export_row(void *ctx, const struct json *row)
{
	struct mail_export *export = ctx;
	const char *id = json_get_text(row, "id");

	/* One message, however many envelopes of it are left. */
	if (!id || strcmp(id, export->last) == 0)
		return 0;
	snprintf(export->last, sizeof(export->last), "%s", id);
	return export_one(export, id);
}

static int export_messages(struct command_call *call, const char *plan)
{
	struct mail_export export = {
		call,
		plan,
		call->value[OPT_OUTPUT] ? call->value[OPT_OUTPUT] : ".",
		json_array(),
		"",
		0
	};
	static const char *const live[] = { "held", "waiting" };
	struct err err = ERR_INIT;
	int status = EXIT_DONE;

	if (file_make_dirs(export.dir, 0700, &err) < 0)
		status = output_error(call, EXIT_FAILED, "%s", err.text);
	for (size_t i = 2; status == EXIT_DONE && i < call->count; i++) {
		struct slice id = slice(call->arguments[i]);
		char *message = slice_dup(slice_split(&id, ':'));

		export_one(&export, message);
		free(message);
	}
	for (size_t i = 0;
	     call->value[OPT_ALL] && status == EXIT_DONE && i < COUNT(live);
	     i++) {
		struct buf path = BUF_INIT;
		enum control_result result;

		buf_addf(&path, "/v1/plans/%s/queue?state=%s", plan, live[i]);
		result = control_lines(call->socket, buf_text(&path),
				       export_row, &export, &err);
		status = output_control(call, result, &err);
		buf_release(&path);
	}
	if (call->json)
		output_json(export.files);
	json_free(export.files);
	return status != EXIT_DONE ? status :
	       export.failed	   ? EXIT_FAILED :
				     EXIT_DONE;
}

/* hold, release, discard. */

static int act(struct command_call *call, const char *plan, const char *verb)
{
	struct json *body = json_object(), *answer = NULL, *ids;
	char *path = mem_printf("/v1/plans/%s/%s", plan, verb);
	struct err err = ERR_INIT;
	enum control_result result;

	if (call->value[OPT_ALL]) {
		ids = json_new_text("all held");
	} else {
		ids = json_array();
		for (size_t i = 2; i < call->count; i++)
			json_add_text(ids, call->arguments[i]);
	}
	json_put(body, "ids", ids);
	json_put_text(body, "by", output_by(call));
	json_put_text(body, "reason", call->value[OPT_REASON]);
	result = control_call(call->socket, "POST", path, body, 60000, &answer,
			      &err);
	if (result == CONTROL_OK && call->json)
		output_json(answer);
	else if (result == CONTROL_OK)
		printf("%s: %.0f envelopes\n", verb,
		       json_get_number(answer, "count", 0));
	json_free(answer);
	json_free(body);
	free(path);
	return output_control(call, result, &err);
}

static bool is_act(const char *verb)
{
	return strcmp(verb, "hold") == 0 || strcmp(verb, "release") == 0 ||
	       strcmp(verb, "discard") == 0;
}

static int run(struct command_call *call, const char *verb, const char *plan)
{
	bool named = call->count > 2;

	if (strcmp(verb, "list") == 0)
		return list(call, plan, NULL, print_row);
	if (strcmp(verb, "show") == 0) {
		if (!named)
			return output_error(call, EXIT_USAGE,
					    "show which "
					    "message? give PLAN and ID");
		return list(call, plan, call->arguments[2], print_whole);
	}
	if (!named && !call->value[OPT_ALL])
		return output_error(call, EXIT_USAGE,
				    "%s which messages? give "
				    "PLAN and IDs, or --all",
				    verb);
	if (strcmp(verb, "export") == 0)
		return export_messages(call, plan);
	if (!call->value[OPT_REASON])
		return output_error(call, EXIT_USAGE, "%s needs --reason",
				    verb);
	return act(call, plan, verb);
}

int cmd_queue(struct command_call *call)
{
	const char *verb = call->arguments[0];
	int status = EXIT_FAILED;
	char *plan;

	if (!is_act(verb) && strcmp(verb, "list") != 0 &&
	    strcmp(verb, "show") != 0 && strcmp(verb, "export") != 0)
		return output_error(call, EXIT_USAGE,
				    "queue: list, show, "
				    "export, hold, release or discard, not "
				    "'%s'",
				    verb);
	plan = output_plan_name(
		call, call->count > 1 ? call->arguments[1] : NULL, &status);
	if (plan)
		status = run(call, verb, plan);
	free(plan);
	return status;
}
