#include "cli/report_model.h"
#include "base/clock.h"
#include "cli/report_redact.h"
#include <stdio.h>
#include <stdlib.h>

const char *const report_message_columns[REPORT_COLUMNS] = {
	"message", "accepted", "reverse-path", "forward-path", "bytes, SHA-256",
	"peer",	   "outcome",  "attempts",     NULL,
};

/* What is remembered of a mailbox while the list goes by. */
struct line {
	char latest_at[32], latest[40]; /* delivered last so far */
	/* Those that did not go out, since the one that was delivered last. */
	struct left {
		char name[40], state[16];
	} * left;
	size_t left_count;
};

struct report *report_new(const struct json *data, const char *salt)
{
	struct report *report = mem_alloc(sizeof(*report));

	report->salt = mem_dup(salt);
	report->data = salt ? report_redact_json(salt, data) : json_copy(data);
	report->order = json_array();
	return report;
}

static void free_line(void *ctx, struct slice key, void *value)
{
	struct line *line = value;

	free(line->left);
	free(line);
}

static void free_table(struct report_table *table)
{
	for (size_t i = 0; i < table->row_count; i++)
		report_row_release(&table->rows[i]);
	free(table->rows);
	free(table->caption);
}

void report_free(struct report *report)
{
	if (!report)
		return;
	for (size_t i = 0; i < report->section_count; i++) {
		struct report_section *section = &report->sections[i];

		for (size_t t = 0; t < section->table_count; t++)
			free_table(&section->tables[t]);
		free(section->tables);
		free(section->text);
	}
	free(report->sections);
	map_each(&report->mailboxes, free_line, NULL);
	map_release(&report->mailboxes);
	json_free(report->data);
	json_free(report->order);
	free(report->salt);
	free(report);
}

/* Order: per mailbox, as the list goes by in sequence. */

static struct line *line_of(struct report *report, const char *forward_path)
{
	struct line *line;
	char *key = mem_dup(forward_path);

	for (char *c = key; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	line = map_get(&report->mailboxes, slice(key));
	if (!line) {
		line = mem_alloc(sizeof(*line));
		map_put(&report->mailboxes, slice(key), line);
	}
	free(key);
	return line;
}

static void add_exception(struct report *report, const char *kind,
			  const char *mailbox, const char *earlier,
			  const char *later, const char *text)
{
	struct json *one;

	if (report->order_count++ >= REPORT_ORDER_MAX)
		return;
	one = json_object();
	json_put_text(one, "kind", kind);
	if (report->salt) {
		struct buf redacted = BUF_INIT;

		report_redact_text(report->salt, slice(mailbox), &redacted);
		json_put_text(one, "mailbox", buf_text(&redacted));
		buf_release(&redacted);
	} else {
		json_put_text(one, "mailbox", mailbox);
	}
	json_put_text(one, "earlier", earlier);
	json_put_text(one, "later", later);
	json_put_text(one, "text", text);
	json_add(report->order, one);
}

/* Accepted before, and not gone when this one went. */
static void overtook(struct report *report, struct line *line,
		     const char *mailbox, const char *name, const char *at)
{
	char text[160];

	for (size_t i = 0; i < line->left_count; i++) {
		const struct left *left = &line->left[i];

		snprintf(text, sizeof(text),
			 "the earlier one is %s and left "
			 "the line; the later one was delivered",
			 left->state);
		add_exception(report, left->state, mailbox, left->name, name,
			      text);
	}
	line->left_count = 0;
	if (line->latest_at[0] && strcmp(at, line->latest_at) < 0)
		add_exception(report, "overtaken", mailbox, line->latest, name,
			      "the earlier one was delivered after the later "
			      "one");
}

static void add_left(struct line *line, const char *name, const char *state)
{
	struct left *left;

	if ((line->left_count & (line->left_count - 1)) == 0)
		line->left =
			mem_grow(line->left,
				 (line->left_count ? line->left_count * 2 : 1) *
					 sizeof(*left));
	left = &line->left[line->left_count++];
	snprintf(left->name, sizeof(left->name), "%s", name);
	snprintf(left->state, sizeof(left->state), "%s", state);
}

static void count_order(struct report *report, const struct json *row,
			const char *state)
{
	const char *mailbox = json_get_text(row, "forward_path");
	const char *id = json_get_text(row, "id");
	const char *at = json_get_text(row, "delivered_at");
	struct line *line;
	char name[40];

	if (!mailbox || !id)
		return;
	line = line_of(report, mailbox);
	snprintf(name, sizeof(name), "%s:%.0f", id,
		 json_get_number(row, "envelope", 0));
	if (strcmp(state, "delivered") != 0) {
		add_left(line, name, state);
		return;
	}
	if (!at)
		return;
	overtook(report, line, mailbox, name, at);
	/* RFC 3339 in UTC with a fixed width: text order is time order. */
	if (strcmp(at, line->latest_at) > 0) {
		snprintf(line->latest_at, sizeof(line->latest_at), "%s", at);
		snprintf(line->latest, sizeof(line->latest), "%s", name);
	}
}

void report_count(struct report *report, const struct json *row)
{
	const char *state = json_get_text(row, "state");
	struct report_ledger *listed = &report->listed;
	const struct {
		const char *name;
		double *count;
	} states[] = {
		{ "waiting", &listed->waiting },
		{ "held", &listed->held },
		{ "delivered", &listed->delivered },
		{ "bounced", &listed->bounced },
		{ "discarded", &listed->discarded },
	};

	if (!state)
		return;
	listed->accepted++;
	for (size_t i = 0; i < COUNT(states); i++)
		if (strcmp(state, states[i].name) == 0)
			++*states[i].count;
	count_order(report, row, state);
}

/* A message. */

static char *take_time(const struct json *row, const char *key)
{
	char *text = mem_dup(json_get_text(row, key));

	for (char *c = text; c && *c; c++)
		if (*c == 'T')
			*c = ' ';
	return text;
}

static const char *text_of(const struct json *row, const char *key)
{
	const char *text = json_get_text(row, key);

	return text ? text : "";
}

static char *attempts_text(const struct json *row)
{
	struct buf text = BUF_INIT;

	for (const struct json *it = json_first(json_get(row, "attempt_log"));
	     it; it = json_next(it)) {
		char *at = take_time(it, "at");

		buf_addf(&text, "%s%s %s %s: %.0f %s%s%s%s%s%s",
			 text.len ? "\n" : "", at ? at : "",
			 text_of(it, "target"), text_of(it, "stage"),
			 json_get_number(it, "code", 0),
			 text_of(it, "enhanced"),
			 *text_of(it, "enhanced") ? " " : "",
			 text_of(it, "text"), *text_of(it, "tls") ? " [" : "",
			 text_of(it, "tls"), *text_of(it, "tls") ? "]" : "");
		if (json_get_bool(it, "uncertain"))
			buf_adds(&text, " (no final reply: possible "
					"duplicate)");
		free(at);
	}
	return buf_take(&text);
}

static char *outcome_text(const struct json *row)
{
	char *ended = take_time(row, "ended");
	const char *reason = text_of(row, "reason"), *by = text_of(row, "by");
	char *text =
		mem_printf("%s%s%s%s%s%s%s", text_of(row, "state"),
			   ended ? "\n" : "", ended ? ended : "",
			   *reason ? "\n" : "", reason, *by ? "\nby " : "", by);

	free(ended);
	return text;
}

static enum report_mark mark_of_state(const char *state)
{
	if (strcmp(state, "delivered") == 0)
		return MARK_GOOD;
	if (strcmp(state, "held") == 0 || strcmp(state, "bounced") == 0)
		return MARK_BAD;
	return MARK_WARN;
}

void report_message(const struct report *report, const struct json *row,
		    struct report_row *out)
{
	struct json *redacted =
		report->salt ? report_redact_json(report->salt, row) : NULL;
	const struct json *from = redacted ? redacted : row;
	const char *tls = text_of(from, "tls");

	*out = (struct report_row){ 0 };
	out->cells[0].text = mem_printf("%s:%.0f", text_of(from, "id"),
					json_get_number(from, "envelope", 0));
	out->cells[0].mark = MARK_CODE;
	out->cells[1].text = take_time(from, "accepted");
	out->cells[2].text = mem_printf("<%s>", text_of(from, "reverse_path"));
	out->cells[3].text = mem_printf("<%s>", text_of(from, "forward_path"));
	out->cells[4].text =
		mem_printf("%.0f\n%s", json_get_number(from, "bytes", 0),
			   text_of(from, "sha256"));
	out->cells[4].mark = MARK_CODE;
	out->cells[5].text =
		mem_printf("%s\n%s %s\n%s", text_of(from, "peer"),
			   text_of(from, "protocol"), text_of(from, "helo"),
			   *tls ? tls : "no TLS");
	out->cells[6].text = outcome_text(from);
	out->cells[6].mark = mark_of_state(text_of(from, "state"));
	out->cells[7].text = attempts_text(from);
	json_free(redacted);
}

void report_row_release(struct report_row *row)
{
	for (size_t i = 0; i < REPORT_COLUMNS; i++)
		free(row->cells[i].text);
	free(row->detail);
	*row = (struct report_row){ 0 };
}

/* The charts' axis. */

static void widen(const struct json *list, int64_t *from_ms, int64_t *to_ms)
{
	for (const struct json *it = json_first(list); it; it = json_next(it)) {
		int64_t at;

		if (clock_parse(slice(json_get_text(it, "at")), &at, NULL) < 0)
			continue;
		if (*from_ms == 0 || at < *from_ms)
			*from_ms = at;
		if (at > *to_ms)
			*to_ms = at;
	}
}

void report_span(const struct report *report, int64_t *from_ms, int64_t *to_ms)
{
	int64_t generated;

	*from_ms = *to_ms = 0;
	widen(json_get(report->data, "phases"), from_ms, to_ms);
	widen(json_get(report->data, "samples"), from_ms, to_ms);
	widen(json_get(report->data, "observations"), from_ms, to_ms);
	if (clock_parse(slice(json_get_text(report->data, "generated")),
			&generated, NULL) == 0 &&
	    generated > *to_ms)
		*to_ms = generated;
	if (*from_ms == 0)
		*from_ms = *to_ms;
	if (*to_ms <= *from_ms)
		*to_ms = *from_ms + 1;
}
