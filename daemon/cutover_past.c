#include "daemon/cutover.h"
#include "base/clock.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "cutover"

/* The index is asked what was delivered lately. */
struct cutover_recall {
	struct cutover *cutover; /* NULL: it is gone */
	int64_t since_ms;
	uint64_t after; /* sequence of the last that was told */
};

static void restore_waiver(struct cutover *cutover, const struct json *data,
			   int64_t at_ms)
{
	struct waiver waiver = { .at_ms = at_ms };
	const char *check = json_get_text(data, "check");
	const char *gate = json_get_text(data, "gate");
	const char *print = json_get_text(data, "fingerprint");

	if (!check || !gate || !print || !gate_parse(gate, &waiver.gate))
		return;
	snprintf(waiver.check, sizeof(waiver.check), "%s", check);
	snprintf(waiver.fingerprint, sizeof(waiver.fingerprint), "%s", print);
	waiver.by = mem_dup(json_get_text(data, "by"));
	waiver.reason = mem_dup(json_get_text(data, "reason"));
	waiver.attest = json_get_bool(data, "attest");
	cutover_add_waiver(cutover, &waiver);
}

static int restore_line(void *ctx, const struct json *line, struct err *err)
{
	struct cutover *cutover = ctx;
	const char *event = json_get_text(line, "event");
	const char *at = json_get_text(line, "at");
	const struct json *data = json_get(line, "data");
	int64_t at_ms = 0;

	if (!event || !at || clock_parse(slice(at), &at_ms, err) < 0)
		return -1;
	if (strcmp(event, "phase") == 0) {
		const char *to = json_get_text(data, "to");

		if (!to || !phase_parse(to, &cutover->phase))
			return err_set(err, "a phase line without a phase");
		watch_restore_phase(&cutover->watch, cutover->phase);
		cutover->since_ms = at_ms;
		/* A breaker is of one release; a pause is an operator's. */
		for (size_t i = 0; i < cutover->stop_count; i++)
			mem_replace(&cutover->stops[i].breaker, NULL);
	} else if (strcmp(event, "check") == 0) {
		watch_restore_turn(&cutover->watch, data, at_ms);
	} else if (strcmp(event, "recovered") == 0) {
		cutover_recovered(cutover, (uint64_t)json_get_number(
						   data, "damaged_ranges", 0));
	} else if (strcmp(event, "ledger") == 0) {
		cutover_vouched(cutover, data);
	} else if (strcmp(event, "waive") == 0) {
		restore_waiver(cutover, data, at_ms);
	} else if (slice_starts(slice(event), "canary")) {
		canaries_take(&cutover->canaries, event, data, at_ms);
	} else if (strcmp(event, "window") == 0) {
		windows_restore(&cutover->windows, data);
	} else if (strcmp(event, "window-cancel") == 0) {
		windows_cancel(&cutover->windows,
			       (unsigned)json_get_number(data, "id", 0));
	} else {
		cutover_stop_restore(cutover, event, data);
	}
	return 0;
}

int cutover_past_line(void *ctx, const struct json *line)
{
	struct err err = ERR_INIT;

	if (restore_line(ctx, line, &err) < 0)
		log_error("journal: %s", err.text);
	return 0;
}

static void recall_one(struct cutover *cutover, const struct json *row)
{
	struct buf key = BUF_INIT;
	int64_t at_ms = (int64_t)json_get_number(row, "at_ms", 0);

	if (!json_get_text(row, "forward_path"))
		return;
	smtp_mailbox_key(slice(json_get_text(row, "forward_path")), &key);
	for (size_t i = 0; i < cutover->target_count; i++)
		if (strcmp(cutover->targets[i]->target.name,
			   json_get_text(row, "target")) == 0)
			limit_count(replay_limit(cutover->targets[i]->replay),
				    buf_text(&key),
				    json_get_text(row, "reverse_path"), at_ms,
				    clock_wall_ms());
	buf_release(&key);
}

static void recall(struct cutover_recall *recall);

static void recalled(void *ctx, struct json *result, const struct err *err)
{
	struct cutover_recall *recalled = ctx;
	struct cutover *cutover = recalled->cutover;
	size_t count = 0;

	if (cutover && err)
		log_error("what was delivered lately is not known, so limits "
			  "begin anew: %s",
			  err->text);
	for (const struct json *row = json_first(result); cutover && row;
	     row = json_next(row), count++) {
		recall_one(cutover, row);
		recalled->after = (uint64_t)json_get_number(row, "sequence", 0);
	}
	json_free(result);
	if (count >= INDEX_RECENT_PAGE) {
		recall(recalled);
		return;
	}
	if (cutover) {
		cutover->recall = NULL;
		cutover_begin(cutover);
	}
	free(recalled);
}

/* The next page of them. */
static void recall(struct cutover_recall *recall)
{
	struct cutover *cutover = recall->cutover;

	index_recent(cutover->env.store->index, cutover->plan->name,
		     recall->since_ms, recall->after, recalled, recall);
}

void cutover_past_recall(struct cutover *cutover, int64_t since_ms)
{
	cutover->recall = mem_alloc(sizeof(*cutover->recall));
	cutover->recall->cutover = cutover;
	cutover->recall->since_ms = since_ms;
	recall(cutover->recall);
}

void cutover_past_cancel(struct cutover *cutover)
{
	if (cutover->recall)
		cutover->recall->cutover = NULL;
}
