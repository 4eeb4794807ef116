#include "cli/output.h"
#include "base/clock.h"
#include "plan/plan.h"
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool has_colour(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !getenv("NO_COLOR") && term &&
	       strcmp(term, "dumb") != 0;
}

const char *ink(enum ink which, const char *text)
{
	static const char *const codes[] = {
		[INK_PLAIN] = "0",  [INK_GOOD] = "32", [INK_WARN] = "33",
		[INK_BAD] = "31;1", [INK_DIM] = "2",   [INK_BOLD] = "1",
	};
	static char texts[4][256];
	static unsigned next;
	char *out = texts[next++ % COUNT(texts)];

	if (which == INK_PLAIN || !has_colour())
		snprintf(out, sizeof(texts[0]), "%s", text);
	else
		snprintf(out, sizeof(texts[0]), "\033[%sm%s\033[0m",
			 codes[which], text);
	return out;
}

enum ink ink_of_verdict(const char *verdict)
{
	if (strcmp(verdict, "pass") == 0)
		return INK_GOOD;
	if (strcmp(verdict, "fail") == 0)
		return INK_BAD;
	if (strcmp(verdict, "unknown") == 0)
		return INK_DIM;
	return INK_WARN;
}

void output_json(const struct json *document)
{
	struct buf text = BUF_INIT;

	json_print(document, &text);
	puts(buf_text(&text));
	buf_release(&text);
}

int output_error(const struct command_call *call, int status,
		 const char *format, ...)
{
	struct buf text = BUF_INIT;
	va_list args;

	va_start(args, format);
	buf_vaddf(&text, format, args);
	va_end(args);
	fprintf(stderr, "tideover: %s\n", buf_text(&text));
	if (call->json) {
		struct json *document = json_object();

		json_put_text(document, "error", buf_text(&text));
		json_put_number(document, "status", status);
		output_json(document);
		json_free(document);
	}
	buf_release(&text);
	return status;
}

int output_control(const struct command_call *call, enum control_result result,
		   const struct err *err)
{
	switch (result) {
	case CONTROL_OK:
		return EXIT_DONE;
	case CONTROL_UNREACHABLE:
		return output_error(call, EXIT_UNREACHABLE, "%s", err->text);
	case CONTROL_TIMEOUT:
		return output_error(call, EXIT_TIMEOUT, "%s", err->text);
	case CONTROL_REFUSED:
	case CONTROL_FAILED:
		break;
	}
	return output_error(call, EXIT_FAILED, "%s", err->text);
}

/* A word, or a command as a whole: people copy it from the terminal. */
static struct slice next_piece(struct slice *rest)
{
	struct slice whole = *rest, word = slice_split(rest, ' ');
	bool quoted = false;
	size_t end = word.len;

	if (!slice_is(word, "tideover") && !slice_is(word, "(tideover"))
		return word;
	while (end < whole.len && (quoted || !strchr(";,)", whole.p[end])))
		if (whole.p[end++] == '"')
			quoted = !quoted;
	while (end < whole.len && whole.p[end] != ' ')
		end++;
	*rest = slice_from(whole, end < whole.len ? end + 1 : end);
	return slice_of(whole.p, end);
}

void output_wrapped(const char *text, int indent)
{
	struct slice rest = slice(text);
	int column = 0;

	while (rest.len > 0) {
		struct slice word = next_piece(&rest);

		if (column > 0 && column + 1 + (int)word.len > 78) {
			putchar('\n');
			column = 0;
		}
		if (column == 0)
			printf("%*s", indent, "");
		else
			putchar(' ');
		printf("%.*s", (int)word.len, word.p);
		column += (column ? 1 : indent) + (int)word.len;
	}
	putchar('\n');
}

static void print_finding(const struct json *finding)
{
	const char *verdict = json_get_text(finding, "verdict");
	const char *check = json_get_text(finding, "check");
	const char *summary = json_get_text(finding, "summary");
	const char *remedy = json_get_text(finding, "remedy");
	const char *waived = json_get_text(finding, "waived_by");
	char padded[16];

	snprintf(padded, sizeof(padded), "%-8s", verdict ? verdict : "");
	printf("  %s %s\n", ink(ink_of_verdict(verdict ? verdict : ""), padded),
	       ink(INK_BOLD, check ? check : ""));
	if (summary && *summary)
		output_wrapped(summary, 11);
	if (remedy && *remedy) {
		char *text = mem_printf("-> %s", remedy);

		output_wrapped(text, 11);
		free(text);
	}
	if (waived) {
		printf("           waived by %s: %s\n", waived,
		       json_get_text(finding, "waived_reason") ?
			       json_get_text(finding, "waived_reason") :
			       "");
	}
}

/* "4210" as "4,210". */
static const char *grouped(double number, char text[32])
{
	char digits[24];
	size_t count = (size_t)snprintf(digits, sizeof(digits), "%.0f", number);
	size_t out = 0;

	for (size_t i = 0; i < count; i++) {
		if (i > 0 && (count - i) % 3 == 0)
			text[out++] = ',';
		text[out++] = digits[i];
	}
	text[out] = '\0';
	return text;
}

/* What it cost the servers to know that. */
static void print_asked(const struct json *asked)
{
	const struct json *servers = json_get(asked, "by_server");
	char text[32];

	if (json_type(asked) != JSON_OBJECT)
		return;
	printf("%s queries to %.0f servers in %.1f s, at most %.0f in "
	       "flight\n",
	       grouped(json_get_number(asked, "queries", 0), text),
	       json_get_number(asked, "servers", 0),
	       json_get_number(asked, "took_ms", 0) / 1000,
	       json_get_number(asked, "most_in_flight", 0));
	for (const struct json *server = json_first(servers); server;
	     server = json_next(server))
		if (json_get_bool(server, "silent"))
			printf("  %s does not answer and was given up\n",
			       json_get_text(server, "address"));
}

/* Last, where somebody looks first. */
static void print_blocking(const struct json *blocking)
{
	struct buf names = BUF_INIT;

	for (const struct json *check = json_first(blocking); check;
	     check = json_next(check))
		buf_addf(&names, " %s", json_text(check));
	if (names.len > 0)
		printf("%s%s\n", ink(INK_BAD, "blocked by"), buf_text(&names));
	buf_release(&names);
}

static bool is_shown(const struct json *finding, enum findings_shown shown)
{
	const char *verdict = json_get_text(finding, "verdict");

	switch (shown) {
	case SHOWN_BLOCKING:
		return strcmp(verdict, "fail") == 0 ||
		       strcmp(verdict, "unknown") == 0;
	case SHOWN_WANTING:
		return strcmp(verdict, "pass") != 0;
	case SHOWN_ALL:
		break;
	}
	return true;
}

void output_gate(const struct json *gate, enum findings_shown shown)
{
	const struct json *findings = json_get(gate, "findings");

	printf("gate %s: %s\n", json_get_text(gate, "gate"),
	       json_get_bool(gate, "open") ? ink(INK_GOOD, "open") :
					     ink(INK_BAD, "shut"));
	for (const struct json *finding = json_first(findings); finding;
	     finding = json_next(finding))
		if (is_shown(finding, shown))
			print_finding(finding);
	if (shown == SHOWN_ALL)
		print_asked(json_get(gate, "asked"));
	print_blocking(json_get(gate, "blocking"));
}

void output_progress(const char *text)
{
	static int64_t last_ms;
	int64_t now = clock_mono_ms();

	if (isatty(STDERR_FILENO)) {
		fprintf(stderr, "\r\033[K%s", text);
	} else if (now - last_ms >= 5000) {
		fprintf(stderr, "%s\n", text);
		last_ms = now;
	}
}

void output_progress_end(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

static int several_plans(const struct command_call *call,
			 const struct json *plans)
{
	struct buf names = BUF_INIT;
	int status;

	for (const struct json *plan = json_first(plans); plan;
	     plan = json_next(plan))
		buf_addf(&names, "%s%s", names.len ? ", " : "",
			 json_get_text(plan, "name"));
	status = output_error(call, EXIT_USAGE,
			      "several plans are under way, name one: %s",
			      buf_text(&names));
	buf_release(&names);
	return status;
}

static char *only_plan(const struct command_call *call, int *status)
{
	struct json *plans = NULL;
	struct err err = ERR_INIT;
	enum control_result result = control_call(
		call->socket, "GET", "/v1/plans", NULL, 30000, &plans, &err);
	char *name = NULL;

	if (result != CONTROL_OK) {
		*status = output_control(call, result, &err);
		return NULL;
	}
	if (json_count(plans) == 1)
		name = mem_dup(json_get_text(json_at(plans, 0), "name"));
	else if (json_count(plans) == 0)
		*status = output_error(call, EXIT_USAGE,
				       "no plan is under way: tideover start "
				       "FILE begins one");
	else
		*status = several_plans(call, plans);
	json_free(plans);
	return name;
}

char *output_plan_name(const struct command_call *call, const char *argument,
		       int *status)
{
	struct err err = ERR_INIT;
	struct plan *plan;
	char *name;

	if (!argument)
		return only_plan(call, status);
	if (!strchr(argument, '/') && !strchr(argument, '.'))
		return mem_dup(argument);
	plan = plan_load(argument, &err);
	if (!plan) {
		*status = output_error(call, EXIT_USAGE, "%s", err.text);
		return NULL;
	}
	name = mem_dup(plan->name);
	plan_free(plan);
	return name;
}

void output_idle(const struct plan *plan)
{
	for (size_t i = 0; i < plan->idle_count; i++)
		fprintf(stderr, "tideover: warning: %s\n", plan->idle[i]);
}

bool output_confirm(const char *question)
{
	char line[16] = "";

	if (!isatty(STDIN_FILENO))
		return true;
	fprintf(stderr, "%s [y/N] ", question);
	return fgets(line, sizeof(line), stdin) &&
	       (line[0] == 'y' || line[0] == 'Y');
}

const char *output_by(const struct command_call *call)
{
	const struct passwd *user;

	if (call->value[OPT_BY])
		return call->value[OPT_BY];
	user = getpwuid(getuid());
	return user ? user->pw_name : "unknown";
}

static struct json *get_status(const struct command_call *call,
			       const char *plan, const char *query, int *status)
{
	char *path = mem_printf("/v1/plans/%s/status%s", plan, query);
	struct json *document = NULL;
	struct err err = ERR_INIT;
	enum control_result result = control_call(call->socket, "GET", path,
						  NULL, 30000, &document, &err);

	free(path);
	if (result != CONTROL_OK)
		*status = output_control(call, result, &err);
	return document;
}

struct json *output_status(const struct command_call *call, const char *plan,
			   int *status)
{
	return get_status(call, plan, "", status);
}

struct json *output_status_counted(const struct command_call *call,
				   const char *plan, int *status)
{
	return get_status(call, plan, "?replies=1", status);
}
