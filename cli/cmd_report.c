#include "base/encode.h"
#include "base/id.h"
#include "cli/output.h"
#include "cli/report_html.h"
#include "cli/report_json.h"
#include "cli/report_markdown.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	SALT_BYTES = 16,
	FLUSH_BYTES = 256 * 1024
};

static const struct report_writer *const writers[] = {
	&report_html,
	&report_markdown,
	&report_json,
};

struct writing {
	const struct report_writer *writer;
	struct report *report;
	struct buf out;
	FILE *file;
	bool any, failed;
};

/* --format, else what the name of the file says, else HTML. */
static const struct report_writer *choose(const struct command_call *call)
{
	const char *format = call->value[OPT_FORMAT];
	const char *path = call->value[OPT_OUTPUT];
	const char *dot = path ? strrchr(path, '.') : NULL;

	if (!format && dot)
		format = dot + 1;
	if (!format && call->json)
		format = "json";
	for (size_t i = 0; format && i < COUNT(writers); i++)
		if (strcmp(writers[i]->format, format) == 0)
			return writers[i];
	return writers[0];
}

static int count_row(void *ctx, const struct json *row)
{
	struct writing *w = ctx;

	report_count(w->report, row);
	return 0;
}

static void flush(struct writing *w, size_t above)
{
	if (w->out.len < above)
		return;
	if (fwrite(w->out.p, 1, w->out.len, w->file) != w->out.len)
		w->failed = true;
	buf_clear(&w->out);
}

static int write_row(void *ctx, const struct json *row)
{
	struct writing *w = ctx;

	w->writer->message(w->report, row, !w->any, &w->out);
	w->any = true;
	flush(w, FLUSH_BYTES);
	return w->failed ? -1 : 0;
}

static char *new_salt(void)
{
	unsigned char bytes[SALT_BYTES];
	struct buf text = BUF_INIT;

	random_bytes(bytes, sizeof(bytes));
	encode_hex(slice_of(bytes, sizeof(bytes)), &text);
	return buf_take(&text);
}

/* The list twice: once to judge it, once to write it. */
static enum control_result write_report(struct writing *w, const char *socket,
					const char *plan, struct err *err)
{
	char *path = mem_printf("/v1/plans/%s/queue?attempts=1", plan);
	enum control_result result =
		control_lines(socket, path, count_row, w, err);

	if (result == CONTROL_OK) {
		report_build(w->report);
		w->writer->begin(w->report, &w->out);
		result = control_lines(socket, path, write_row, w, err);
		w->writer->end(w->report, &w->out);
		flush(w, 1);
	}
	free(path);
	return result;
}

/* A report is either whole or not there: written beside, then renamed. */
static int to_file(struct command_call *call, struct writing *w,
		   const char *plan)
{
	const char *path = call->value[OPT_OUTPUT];
	char *draft = path ? mem_printf("%s.part", path) : NULL;
	struct err err = ERR_INIT;
	enum control_result result = CONTROL_OK;
	int status;

	w->file = path ? fopen(draft, "w") : stdout;
	if (!w->file) {
		status = output_error(call, EXIT_FAILED, "cannot write %s: %s",
				      draft, strerror(errno));
		free(draft);
		return status;
	}
	result = write_report(w, call->socket, plan, &err);
	status = w->failed ? EXIT_DONE : output_control(call, result, &err);
	if (fflush(w->file) != 0 || (path && fsync(fileno(w->file)) != 0))
		w->failed = true;
	if (path && fclose(w->file) != 0)
		w->failed = true;
	if (!w->failed && status == EXIT_DONE && path &&
	    rename(draft, path) != 0)
		w->failed = true;
	if (w->failed)
		status = output_error(call, EXIT_FAILED, "cannot write %s: %s",
				      path ? path : "the report",
				      strerror(errno));
	if (path && status != EXIT_DONE)
		unlink(draft);
	free(draft);
	return status;
}

static void say_written(const struct command_call *call,
			const struct report *report)
{
	const char *path = call->value[OPT_OUTPUT];

	if (path && call->json) {
		struct json *document = json_object();

		json_put_text(document, "report", path);
		json_put_bool(document, "balances", report->balances);
		output_json(document);
		json_free(document);
	} else if (path) {
		printf("%s\n", path);
	}
	if (!report->balances)
		fprintf(stderr, "tideover: THE LEDGER DOES NOT BALANCE: see "
				"the report, and do not sign it\n");
}

static int make_report(struct command_call *call)
{
	int status = EXIT_FAILED;
	char *plan = output_plan_name(
		call, call->count ? call->arguments[0] : NULL, &status);
	struct writing w = { .writer = choose(call) };
	struct json *data = NULL;
	struct err err = ERR_INIT;
	char *path, *salt = NULL;

	if (!plan)
		return status;
	path = mem_printf("/v1/plans/%s/report", plan);
	status = output_control(call,
				control_call(call->socket, "GET", path, NULL,
					     60000, &data, &err),
				&err);
	if (status == EXIT_DONE && call->value[OPT_REDACT])
		salt = new_salt();
	if (status == EXIT_DONE) {
		w.report = report_new(data, salt);
		status = to_file(call, &w, plan);
		if (status == EXIT_DONE) {
			say_written(call, w.report);
			if (!w.report->balances)
				status = EXIT_FAILED;
		}
	}
	report_free(w.report);
	buf_release(&w.out);
	json_free(data);
	free(salt);
	free(path);
	free(plan);
	return status;
}

int cmd_report(struct command_call *call)
{
	const char *format = call->value[OPT_FORMAT];

	if (call->json && format && strcmp(format, "json") != 0 &&
	    !call->value[OPT_OUTPUT])
		return output_error(call, EXIT_USAGE,
				    "report: --json has no room for --format "
				    "%s on stdout: give --output PATH",
				    format);
	return make_report(call);
}
