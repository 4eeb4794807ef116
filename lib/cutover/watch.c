#include "cutover/watch.h"
#include <stdlib.h>

#define PLANNED	  BIT(PHASE_PLANNED)
#define OPENING	  BIT(PHASE_OPENING)
#define HOLDING	  BIT(PHASE_HOLDING)
#define RELEASING BIT(PHASE_RELEASING)
#define TRAILING  BIT(PHASE_TRAILING)
#define RETURNING BIT(PHASE_RETURNING)
#define RETURNED  BIT(PHASE_RETURNED)
#define STANDING  BIT(PHASE_STANDING)
#define LEAVING	  (RELEASING | TRAILING | RETURNING | RETURNED)
#define ALWAYS	  (OPENING | HOLDING | LEAVING | STANDING)
/* Its ends: the MX change and the gate behind it may come in either order. */
#define ENDING (TRAILING | RETURNED)

enum {
	ARRIVES = 1,   /* may be bad until it has been good once */
	PARK_ONLY = 2, /* what a standby plan never has */
	BY_FILE = 4    /* known by what somebody exports, and not for long */
};

static const struct {
	const char *id;
	unsigned phases;
	unsigned is;
} wanted[] = {
	{ "dns-authority", ALWAYS, 0 },
	{ "mx-horizon", HOLDING | ENDING, ARRIVES },
	{ "dnssec", ALWAYS, 0 },
	{ "queue-cert", ALWAYS, 0 },
	{ "queue-tlsa", ALWAYS, 0 },
	{ "no-open-relay", ALWAYS, 0 },
	{ "queue-reachable", ALWAYS, BY_FILE },
	{ "queue-capacity", ALWAYS, 0 },
	{ "daemon-supervised", ALWAYS, 0 },
	{ "parked", HOLDING, ARRIVES | PARK_ONLY },
	{ "straggler-rate", HOLDING, ARRIVES | PARK_ONLY | BY_FILE },
	{ "domain-verified", RELEASING | TRAILING, ARRIVES },
	{ "accepted-type", RELEASING | TRAILING, ARRIVES },
	{ "rcpt-probe", HOLDING | RELEASING | TRAILING, ARRIVES },
	{ "ramp", LEAVING, 0 },
	{ "pacing", LEAVING, 0 },
	{ "retention-clock", ALWAYS, 0 },
	{ "standby-health", HOLDING | STANDING, 0 },
	{ "ledger-balance", ALWAYS, 0 },
	{ "stragglers-end", ENDING, ARRIVES },
};

static const char *word_before(const struct watch_row *row)
{
	return row->check ? verdict_name(row->verdict) : NULL;
}

static int index_of(const struct check *check)
{
	for (size_t i = 0; i < COUNT(wanted); i++)
		if (strcmp(wanted[i].id, check->id) == 0)
			return (int)i;
	return -1;
}

bool watch_wants(const struct check *check, const struct plan *plan,
		 enum phase phase)
{
	int i = index_of(check);

	return i >= 0 && (check->when & GATE_WATCHED) &&
	       (wanted[i].phases & BIT(phase)) &&
	       (!plan->plain || check->plain) &&
	       (!(wanted[i].is & PARK_ONLY) || plan->strategy == STRATEGY_PARK);
}

static void row_release(struct watch_row *row)
{
	free(row->summary);
	free(row->remedy);
	*row = (struct watch_row){ 0 };
}

void watch_release(struct watch *watch)
{
	for (size_t i = 0; i < watch->count; i++)
		row_release(&watch->rows[i]);
	watch->count = 0;
}

static struct watch_row *row_of(struct watch *watch, const struct check *check)
{
	for (size_t i = 0; i < watch->count; i++)
		if (watch->rows[i].check == check)
			return &watch->rows[i];
	return watch->count < WATCH_MAX ? &watch->rows[watch->count++] : NULL;
}

static bool is_good(enum verdict verdict)
{
	return verdict == VERDICT_PASS || verdict == VERDICT_WARN;
}

static void take(struct watch_row *row, const struct finding *finding,
		 int64_t now_ms, watch_turn_fn *turned, void *ctx)
{
	int i = index_of(finding->check);
	bool good = is_good(finding->verdict);
	bool lapsed =
		(wanted[i].is & BY_FILE) && finding->verdict == VERDICT_UNKNOWN;
	bool first = !row->check;
	bool differs = first || row->verdict != finding->verdict;
	const char *from = word_before(row);

	if (differs)
		row->since_ms = now_ms;
	row->check = finding->check;
	row->verdict = finding->verdict;
	free(row->summary);
	free(row->remedy);
	row->summary = mem_dup(finding->summary);
	row->remedy = mem_dup(finding->remedy);
	/* What could never be asked turned from nothing. */
	row->alert = !good && !lapsed &&
		     (row->was_good || (!(wanted[i].is & ARRIVES) &&
					finding->verdict == VERDICT_FAIL));
	row->was_good |= good;
	if (differs && (!first || row->alert))
		turned(ctx, row, from);
}

void watch_restore_phase(struct watch *watch, enum phase phase)
{
	watch_release(watch);
	watch->phase = phase;
}

static bool verdict_of(const char *name, enum verdict *verdict)
{
	for (int v = VERDICT_PASS; name && v <= VERDICT_UNKNOWN; v++) {
		if (strcmp(verdict_name((enum verdict)v), name) == 0) {
			*verdict = (enum verdict)v;
			return true;
		}
	}
	return false;
}

void watch_restore_turn(struct watch *watch, const struct json *data,
			int64_t at_ms)
{
	const struct check *check = check_find(json_get_text(data, "check"));
	const char *summary = json_get_text(data, "summary");
	const char *remedy = json_get_text(data, "remedy");
	enum verdict from, to;
	struct watch_row *row;

	if (!check || index_of(check) < 0 ||
	    !verdict_of(json_get_text(data, "to"), &to))
		return;
	row = row_of(watch, check);
	if (!row)
		return;
	free(row->summary);
	free(row->remedy);
	row->check = check;
	row->verdict = to;
	row->since_ms = at_ms;
	row->summary = mem_dup(summary ? summary : "");
	row->remedy = mem_dup(remedy ? remedy : "");
	row->alert = json_get_bool(data, "alert");
	row->was_good |= is_good(to) ||
			 (verdict_of(json_get_text(data, "from"), &from) &&
			  is_good(from));
}

void watch_look(struct watch *watch, const struct facts *facts,
		watch_turn_fn *turned, void *ctx)
{
	if (watch->phase != facts->phase)
		watch_restore_phase(watch, facts->phase);
	for (size_t i = 0; i < COUNT(wanted); i++) {
		const struct check *check = check_find(wanted[i].id);
		struct watch_row *row;
		struct findings found;

		if (!watch_wants(check, facts->plan, facts->phase))
			continue;
		row = row_of(watch, check);
		check_gate(facts, (enum gate)GATE_WATCHED, check->id, NULL, 0,
			   &found);
		if (row && found.count == 1)
			take(row, &found.at[0], facts->now.wall_ms, turned,
			     ctx);
		findings_release(&found);
	}
}

int64_t watch_next_ms(int64_t now_ms, int64_t every_ms, unsigned char chance)
{
	return now_ms + every_ms * 4 / 5 + every_ms * 2 / 5 * chance / 255;
}
