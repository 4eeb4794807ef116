/* Whether the list of recipients may be believed where it makes the queue refuse
 * somebody: the old system is asked, and its trace. */

#include "cutover/check_parts.h"
#include <stdlib.h>

#define HOUR_MS	 ((int64_t)3600 * 1000)
#define DAY_MS	 (24 * HOUR_MS)
#define TRACE_MS (14 * DAY_MS)

enum {
	NAMES_MAX = 10
};

static const char trace_remedy[] =
	"export the old system's trace of the last 14 days as CSV "
	"(docs/checks.md) and name it under \"evidence\"; or hold the list "
	"against it yourself, then tideover waive PLAN recipients-proven "
	"--gate start --attest --by NAME --reason \"trace of DATE\"; or use "
	"defer";

struct json *check_listed_json(const struct facts *facts, size_t at)
{
	const struct facts_listed *listed = &facts->domains[at].listed;
	struct json *json = json_object();

	json_put_text(json, "asked", "RCPT of listed recipients, no mail");
	json_put_text(json, "domain", facts->plan->domains[at].name);
	json_put_text(json, "of", listed->of[0] ? listed->of : NULL);
	json_put_time(json, "at", listed->at_ms);
	json_put_number(json, "listed", (double)listed->listed);
	json_put_number(json, "sampled", (double)listed->sampled);
	json_put_number(json, "accepted", (double)listed->accepted);
	json_put_number(json, "refused", (double)listed->refused);
	return json;
}

struct json *check_trace_json(const struct trace *trace)
{
	struct json *json = json_object();

	json_put_text(json, "asked", "the old system's trace, from files");
	json_put_bool(json, "read", trace->read);
	json_put_time(json, "at", trace->at_ms);
	json_put_number(json, "rows", (double)trace->rows);
	json_put_number(json, "undated", (double)trace->delivered.undated);
	json_put_number(json, "strange", (double)trace->strange);
	json_put_number(json, "addresses", (double)trace->addresses.count);
	json_put_time(json, "first", trace->delivered.first_ms);
	json_put_time(json, "last", trace->delivered.last_ms);
	return json;
}

/* Whether the old system knows its own people. */
static void judge_random(const struct facts *facts, size_t at,
			 struct tally *tally)
{
	const struct facts_domain *domain = &facts->domains[at];
	const struct probe_result *probe = &domain->systems[SYSTEM_OLD].probe;
	const char *name = facts->plan->domains[at].name;
	bool refused = false;

	if (domain->systems[SYSTEM_OLD].probed)
		json_add(tally->evidence, probe_json(probe));
	for (size_t i = 0;
	     domain->systems[SYSTEM_OLD].probed && i < probe->rcpt_count; i++) {
		const struct probe_rcpt *rcpt = &probe->rcpt[i];

		if (rcpt->random && rcpt->reply.code / 100 == 2) {
			tally_add(tally, VERDICT_FAIL,
				  mem_printf("%s: the old system accepts an "
					     "address that nobody has",
					     name),
				  mem_printf("whom it accepts beyond the list "
					     "is not known: set "
					     "recipients.unknown to defer"));
			return;
		}
		refused |= rcpt->random && rcpt->reply.code >= 500;
		if (!rcpt->random && rcpt->reply.code >= 500)
			tally_add(tally, VERDICT_FAIL,
				  mem_printf("%s: the old system refuses a "
					     "sampled recipient",
					     name),
				  mem_printf("it refuses %s: the list is not "
					     "its own; export it again, or "
					     "use defer",
					     rcpt->address));
	}
	if (!refused)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: the old system was not seen to "
				     "refuse an address that nobody has",
				     name),
			  mem_printf("let the queue's IP reach it, and ask "
				     "again"));
}

void check_listed_names(const struct facts_listed *listed, struct buf *names)
{
	for (size_t i = 0; i < listed->refused && i < FACTS_NAMES_MAX; i++)
		buf_addf(names, "%s%s", i ? ", " : "", listed->names[i]);
	if (listed->refused > FACTS_NAMES_MAX)
		buf_adds(names, ", ...");
}

static void judge_listed(const struct facts *facts, size_t at,
			 struct tally *tally)
{
	const struct facts_listed *listed = &facts->domains[at].listed;
	const char *name = facts->plan->domains[at].name;
	struct buf names = BUF_INIT;

	json_add(tally->evidence, check_listed_json(facts, at));
	check_listed_names(listed, &names);
	if (listed->system != SYSTEM_OLD)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: the old system was not asked about "
				     "listed recipients",
				     name),
			  mem_dup("ask again"));
	else if (listed->refused > 0)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the old system refuses listed "
				     "recipients",
				     name),
			  mem_printf("the list is not its own: export it "
				     "again, or use defer; of %zu asked it "
				     "refuses %zu: %s",
				     listed->sampled, listed->refused,
				     buf_text(&names)));
	else if (listed->asked && listed->listed == 0)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: nobody of it is listed, so all its "
				     "mail would be refused",
				     name),
			  mem_printf("add its recipients to the list, or use "
				     "defer"));
	else if (!listed->asked || listed->accepted < listed->sampled)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: the old system did not answer about "
				     "every listed recipient that was asked",
				     name),
			  mem_printf("%zu of %zu were accepted: ask again",
				     listed->accepted, listed->sampled));
	buf_release(&names);
}

/* Whom the trace has, and the list has not. */
struct unlisted {
	const struct facts *facts;
	struct buf names;
	struct json *all;
	size_t *seen; /* per domain: addresses of it */
	size_t count;
};

static void look_in_list(void *ctx, struct slice key, void *value)
{
	struct unlisted *unlisted = ctx;
	const struct plan *plan = unlisted->facts->plan;
	ptrdiff_t at = slice_rfind(key, '@');
	const struct plan_domain *domain =
		at < 0 ? NULL : plan_domain(plan, slice_from(key, at + 1));
	struct json *one;

	if (!domain)
		return;
	unlisted->seen[domain - plan->domains]++;
	/* Accepted all the same: RFC 5321 section 4.5.1. */
	if (map_get(unlisted->facts->listed, key) ||
	    slice_is(slice_of(key.p, (size_t)at), "postmaster"))
		return;
	if (unlisted->count++ < NAMES_MAX)
		buf_addf(&unlisted->names, "%s%.*s",
			 unlisted->count > 1 ? ", " : "", (int)key.len, key.p);
	one = json_object();
	json_put_slice(one, "unlisted", key);
	json_add(unlisted->all, one);
}

/* A trace of other days, or of another domain, proves nothing of these. */
static void judge_span(const struct facts *facts, const size_t *seen,
		       struct tally *tally)
{
	const struct trace *trace = &facts->tenant.trace;
	int64_t now = facts->now.wall_ms;

	for (size_t i = 0; i < facts->plan->domain_count; i++)
		if (seen[i] == 0)
			tally_add(tally, VERDICT_UNKNOWN,
				  mem_printf("%s: the trace has no mail for it",
					     facts->plan->domains[i].name),
				  mem_dup(trace_remedy));
	if (trace->delivered.undated > 0 || trace->delivered.last_ms == 0)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_dup("of which days the trace is, is not known"),
			  mem_dup(trace_remedy));
	else if (trace->delivered.last_ms > now + HOUR_MS)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_dup("the trace is of days to come"),
			  mem_dup("compare the clocks; write its times in "
				  "UTC"));
	else if (trace->delivered.last_ms < now - 2 * DAY_MS ||
		 trace->delivered.first_ms > now - TRACE_MS + DAY_MS)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_dup("the trace is not of the last 14 days"),
			  mem_dup(trace_remedy));
}

static void judge_trace(const struct facts *facts, struct tally *tally)
{
	const struct trace *trace = &facts->tenant.trace;
	struct unlisted unlisted = { .facts = facts, .all = tally->evidence };

	json_add(tally->evidence, check_trace_json(trace));
	if (facts->tenant.error[0]) {
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_dup("an evidence file cannot be read"),
			  mem_dup(facts->tenant.error));
		return;
	}
	if (!trace->read || !facts->listed) {
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_dup("whether the list has every address of the "
				  "old system's trace is not known"),
			  mem_dup(trace_remedy));
		return;
	}
	unlisted.seen =
		mem_alloc(facts->plan->domain_count * sizeof(*unlisted.seen));
	map_each(&trace->addresses, look_in_list, &unlisted);
	if (unlisted.count > 0)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%zu recipients of the old system's trace "
				     "are not listed",
				     unlisted.count),
			  mem_printf("add, or use defer: %s%s",
				     buf_text(&unlisted.names),
				     unlisted.count > NAMES_MAX ? ", ..." :
								  ""));
	judge_span(facts, unlisted.seen, tally);
	buf_release(&unlisted.names);
	free(unlisted.seen);
}

/* "64 of 12000" */
static char *asked_text(const struct facts *facts)
{
	size_t listed = 0, sampled = 0;

	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		listed += facts->domains[i].listed.listed;
		sampled += facts->domains[i].listed.sampled;
	}
	return mem_printf("the old system refuses strangers, accepts %zu of "
			  "%zu listed recipients, which were asked, and had "
			  "mail for nobody else in 14 days",
			  sampled, listed);
}

/* Refusing somebody real bounces mail. */
void check_recipients_proven(const struct facts *facts, enum gate gate,
			     struct finding *finding)
{
	bool refuses = facts->plan->recipients.listed &&
		       facts->plan->recipients.unknown == UNKNOWN_REFUSE;
	struct tally tally;
	char *well;

	tally_init(&tally);
	json_add(tally.evidence, check_list_json(facts));
	for (size_t i = 0; refuses && i < facts->plan->domain_count; i++) {
		judge_random(facts, i, &tally);
		judge_listed(facts, i, &tally);
	}
	if (refuses)
		judge_trace(facts, &tally);
	well = refuses ? asked_text(facts) :
			 mem_dup("the queue refuses no recipient for good");
	tally_end(&tally, finding, well);
	free(well);
	check_excuse(facts, finding);
}
