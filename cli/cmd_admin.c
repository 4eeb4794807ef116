/* journal, remove, stop, completions, man: keeping house. */

#include "base/clock.h"
#include "base/file.h"
#include "cli/output.h"
#include "cutover/journal.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum {
	STOP_MS = 60000,
	POLL_MS = 20
};

static int show_line(void *ctx, const struct json *line)
{
	const struct command_call *call = ctx;
	struct buf data = BUF_INIT;

	if (call->json) {
		output_json(line);
		return 0;
	}
	json_print(json_get(line, "data"), &data);
	printf("%5.0f %s %-10s %s\n", json_get_number(line, "n", 0),
	       json_get_text(line, "at"), json_get_text(line, "event"),
	       buf_text(&data));
	buf_release(&data);
	return 0;
}

static int verify(struct command_call *call, const char *path)
{
	struct err err = ERR_INIT;
	struct json *document;
	char head[65] = "";
	uint64_t count = 0;
	int result = journal_read(path, NULL, NULL, head, &count, &err);

	if (result < 0)
		return output_error(call, EXIT_FAILED, "%s", err.text);
	if (!call->json) {
		printf("%llu lines, the chain is intact, head %s\n",
		       (unsigned long long)count, head);
		return EXIT_DONE;
	}
	document = json_object();
	json_put_number(document, "lines", (double)count);
	json_put_text(document, "head", head);
	json_put_bool(document, "intact", true);
	output_json(document);
	json_free(document);
	return EXIT_DONE;
}

static int show(struct command_call *call, const char *path)
{
	struct err err = ERR_INIT;
	char head[65];
	uint64_t count;
	int result = journal_read(path, show_line, call, head, &count, &err);

	return result < 0 ? output_error(call, EXIT_FAILED, "%s", err.text) :
			    EXIT_DONE;
}

static int read_journal(struct command_call *call, const char *plan,
			int (*reader)(struct command_call *call,
				      const char *path))
{
	char *path =
		mem_printf("%s/plans/%s/journal.ndjson", call->state_dir, plan);
	int status = file_exists(path) ?
			     reader(call, path) :
			     output_error(call, EXIT_FAILED,
					  "plan '%s' has no journal in %s",
					  plan, call->state_dir);

	free(path);
	return status;
}

int cmd_journal(struct command_call *call)
{
	const char *verb = call->count ? call->arguments[0] : "show";
	const char *argument = call->count > 1 ? call->arguments[1] : NULL;
	bool verifies = strcmp(verb, "verify") == 0;
	int status = EXIT_FAILED;
	char *plan;

	if (!verifies && strcmp(verb, "show") != 0) {
		if (call->count > 1)
			return output_error(call, EXIT_USAGE,
					    "journal: show "
					    "or verify, not '%s'",
					    verb);
		argument = verb; /* `journal PLAN` shows it */
	}
	plan = output_plan_name(call, argument, &status);
	if (plan)
		status = read_journal(call, plan, verifies ? verify : show);
	else if (status == EXIT_UNREACHABLE)
		fputs("tideover: of a plan that is named the journal is read "
		      "without tideoverd\n",
		      stderr);
	free(plan);
	return status;
}

int cmd_remove(struct command_call *call)
{
	int status = EXIT_FAILED;
	char *plan = output_plan_name(call, call->arguments[0], &status);
	struct json *answer = NULL;
	struct err err = ERR_INIT;
	enum control_result result;
	char *path;

	if (!plan)
		return status;
	path = mem_printf("/v1/plans/%s", plan);
	result = control_call(call->socket, "DELETE", path, NULL, 30000,
			      &answer, &err);
	status = output_control(call, result, &err);
	if (result == CONTROL_OK && call->json)
		output_json(answer);
	else if (result == CONTROL_OK)
		printf("plan %s is removed\n", plan);
	json_free(answer);
	free(path);
	free(plan);
	return status;
}

/* The daemon has the lock of its state as long as it lives. */
static bool has_ended(const char *state_dir)
{
	char *path = mem_printf("%s/lock", state_dir);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	bool ended = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0;

	if (fd >= 0)
		close(fd);
	free(path);
	return ended;
}

int cmd_stop(struct command_call *call)
{
	struct json *answer = NULL;
	struct err err = ERR_INIT;
	enum control_result result = control_call(
		call->socket, "POST", "/v1/stop", NULL, 30000, &answer, &err);
	int status = output_control(call, result, &err);
	int64_t until = clock_mono_ms() + STOP_MS;

	while (result == CONTROL_OK && !has_ended(call->state_dir)) {
		if (clock_mono_ms() > until) {
			json_free(answer);
			return output_error(call, EXIT_TIMEOUT,
					    "tideoverd has not ended in %d s",
					    STOP_MS / 1000);
		}
		usleep(POLL_MS * 1000);
	}
	if (result == CONTROL_OK && call->json)
		output_json(answer);
	else if (result == CONTROL_OK)
		puts("tideoverd stops; the queue stays where it is");
	json_free(answer);
	return status;
}

int cmd_completions(struct command_call *call)
{
	struct buf text = BUF_INIT;

	if (!command_completions(call->arguments[0], &text))
		return output_error(call, EXIT_USAGE,
				    "bash, zsh or fish, not "
				    "'%s'",
				    call->arguments[0]);
	fputs(buf_text(&text), stdout);
	buf_release(&text);
	return EXIT_DONE;
}

int cmd_man(struct command_call *call)
{
	struct buf text = BUF_INIT;

	command_manual(&text);
	fputs(buf_text(&text), stdout);
	buf_release(&text);
	return EXIT_DONE;
}
