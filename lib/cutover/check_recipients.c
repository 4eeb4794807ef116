/* The list of recipients: how fresh, the same in both systems, and whether it
 * may be believed where it makes the queue refuse somebody. */

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

struct missing {
	const struct facts *facts;
	struct buf *names;
	struct json *all;
	size_t count;
};

static void look_for(void *ctx, struct slice key, void *value)
{
	struct missing *missing = ctx;

	if (map_get(&missing->facts->tenant.addresses, key))
		return;
	if (missing->names && missing->count < NAMES_MAX)
		buf_addf(missing->names, "%s%.*s", missing->count ? ", " : "",
			 (int)key.len, key.p);
	if (missing->all) {
		struct json *one = json_object();

		json_put_slice(one, "missing", key);
		json_add(missing->all, one);
	}
	missing->count++;
}

size_t check_missing(const struct facts *facts, struct buf *names,
		     struct json *all)
{
	struct missing missing = { facts, names, all, 0 };

	if (facts->listed && facts->tenant.of[TENANT_RECIPIENT])
		map_each(facts->listed, look_for, &missing);
	return missing.count;
}

static bool has_initial(const struct facts *facts, enum plan_system_id id,
			bool *known)
{
	bool has = false;
	char name[DNS_NAME];

	*known = false;
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		if (check_initial(&facts->plan->domains[i].systems[id], name)) {
			*known = true;
			has |= map_get(&facts->tenant.domains, slice(name)) !=
			       NULL;
		}
	return has;
}

/*
 * The old tenant has everybody on its own list.  Either tenant may forward to
 * addresses of the other, so that both in one export tell nothing.
 */
enum check_whose check_whose_recipients(const struct facts *facts)
{
	bool known, old_known;
	bool is_new = has_initial(facts, SYSTEM_NEW, &known);
	bool is_old = has_initial(facts, SYSTEM_OLD, &old_known);

	if (is_old && !is_new)
		return WHOSE_OLD;
	if (is_old)
		return WHOSE_BOTH;
	return known && !is_new ? WHOSE_NEITHER : WHOSE_NEW;
}

static void whose_is_unclear(const struct facts *facts, struct finding *finding)
{
	static const char what[] = "of which tenant the recipients under "
				   "\"evidence\" are, cannot be told";
	bool any_old = false;

	for (size_t i = 0; i < facts->plan->domain_count; i++)
		any_old |= strcmp(facts->plan->domains[i]
					  .systems[SYSTEM_OLD]
					  .provider->name,
				  "m365") == 0;
	/* Only a tenant of the same kind exports the same. */
	if (any_old && check_whose_recipients(facts) == WHOSE_NEITHER)
		check_not_known(facts, finding, "%s", what);
	else
		finding_set(finding, VERDICT_WARN, "%s", what);
	finding_remedy(finding, "export all recipients of the new one: their "
				"addresses in its initial domain tell");
}

bool check_recipients_are_stale(const struct facts *facts)
{
	const struct tenant *tenant = &facts->tenant;
	int64_t age_ms = facts->now.wall_ms - tenant->at_ms[TENANT_RECIPIENT];

	/* An hour is what clocks and their zones are wrong by. */
	return tenant->of[TENANT_RECIPIENT] &&
	       (age_ms > 7 * DAY_MS || age_ms < -HOUR_MS);
}

static struct json *list_json(const struct facts *facts)
{
	struct json *json = json_object();

	json_put_text(json, "asked",
		      facts->ledger_known ?
			      "the plan's list of recipients, as tideoverd "
			      "has it" :
			      "the plan's list of recipients, from the file");
	json_put_text(json, "file", facts->plan->recipients.file);
	json_put_time(json, "at", facts->now.wall_ms);
	json_put_bool(json, "listed", facts->plan->recipients.listed);
	json_put_time(json, "changed", facts->listed_at_ms);
	json_put_number(json, "count",
			facts->listed ? (double)facts->listed->count : 0);
	json_put_number(json, "in_the_new_tenant",
			(double)facts->tenant.addresses.count);
	json_put_time(json, "exported", facts->tenant.at_ms[TENANT_RECIPIENT]);
	return json;
}

/* Which domains of the plan the list has anybody of. */
struct listing {
	const struct plan *plan;
	bool *any; /* a domain each */
};

static void mark_domain(void *ctx, struct slice key, void *value)
{
	struct listing *listing = ctx;
	const struct plan *plan = listing->plan;
	ptrdiff_t at = slice_rfind(key, '@');
	const struct plan_domain *domain =
		at < 0 ? NULL : plan_domain(plan, slice_from(key, at + 1));

	if (domain)
		listing->any[domain - plan->domains] = true;
}

/* "acme.example, acme.net": nobody of them is listed. */
static void name_unlisted(const struct facts *facts, struct buf *names)
{
	const struct plan *plan = facts->plan;
	struct listing listing = {
		.plan = plan,
		.any = mem_alloc(plan->domain_count * sizeof(bool)),
	};

	map_each(facts->listed, mark_domain, &listing);
	for (size_t i = 0; i < plan->domain_count; i++)
		if (!listing.any[i])
			buf_addf(names, "%s%s", names->len ? ", " : "",
				 plan->domains[i].name);
	free(listing.any);
}

/* Whether it is whole, and of these days. */
static bool judge_list(const struct facts *facts, struct finding *finding)
{
	int64_t age_ms = facts->now.wall_ms - facts->listed_at_ms;
	struct buf unlisted = BUF_INIT;

	name_unlisted(facts, &unlisted);
	if (facts->listed->count == 0) {
		finding_set(finding, VERDICT_FAIL,
			    "the list of recipients is empty");
		finding_remedy(finding, "export it from the old system");
	} else if (unlisted.len > 0) {
		finding_set(finding, VERDICT_FAIL,
			    "nobody of %s is listed, so none of its mail would "
			    "be taken",
			    buf_text(&unlisted));
		finding_remedy(finding, "add its recipients to the list");
	} else if (age_ms < -HOUR_MS) {
		finding_set(finding, VERDICT_UNKNOWN,
			    "the list of recipients is of a time to come");
		finding_remedy(finding, "so its age is not known: export it "
					"again, or fix the clock");
	} else if (age_ms > 7 * DAY_MS) {
		finding_set(finding, VERDICT_FAIL,
			    "the list of recipients is older than 7 days");
		finding_remedy(finding, "export it again");
	}
	buf_release(&unlisted);
	return finding->verdict == VERDICT_PASS;
}

/* Against what the new tenant has. */
static void compare_list(const struct facts *facts, struct finding *finding)
{
	int64_t age_ms = facts->now.wall_ms - facts->listed_at_ms;
	struct buf names = BUF_INIT;
	size_t missing = check_missing(facts, &names, finding->evidence);

	if (check_recipients_are_stale(facts)) {
		check_not_known(facts, finding,
				"the recipients under \"evidence\" are of last "
				"week, or of a time to come");
		finding_remedy(finding, "export Get-Recipient again");
	} else if (check_whose_recipients(facts) == WHOSE_OLD) {
		check_not_known(facts, finding,
				"the recipients under \"evidence\" are those "
				"of the old tenant");
		finding_remedy(finding, "export Get-Recipient in the new one");
	} else if (missing > 0) {
		finding_set(finding, VERDICT_FAIL,
			    "%zu listed recipients are missing in the new "
			    "system",
			    missing);
		finding_remedy(finding, "missing in the target: %s%s",
			       buf_text(&names),
			       missing > NAMES_MAX ? ", ..." : "");
	} else if (!facts->tenant.of[TENANT_RECIPIENT]) {
		finding_set(finding, VERDICT_WARN,
			    "the list was not compared with the new system");
		finding_remedy(finding, "name the JSON of Get-Recipient under "
					"\"evidence\" in the plan");
	} else if (check_whose_recipients(facts) != WHOSE_NEW) {
		whose_is_unclear(facts, finding);
	} else if (age_ms > DAY_MS) {
		finding_set(finding, VERDICT_WARN,
			    "the list of recipients is older than a day");
		finding_remedy(finding, "export it again before the start");
	} else {
		finding_set(finding, VERDICT_PASS,
			    "the list is of today, and the new system has "
			    "everybody on it");
	}
	buf_release(&names);
}

void check_recipients(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	finding->evidence = json_array();
	json_add(finding->evidence, list_json(facts));
	if (!facts->plan->recipients.listed) {
		finding_set(finding, VERDICT_WARN,
			    "there is no list: mail for anybody is kept");
		finding_remedy(finding, "what the new system then refuses is "
					"held; set recipients.policy to "
					"listed to refuse or defer it here");
	} else if (facts->tenant.error[0]) {
		check_not_known(facts, finding,
				"an evidence file cannot be read");
		finding_remedy(finding, "%s", facts->tenant.error);
	} else if (!facts->listed) {
		check_not_known(facts, finding, "the list was not read here");
		finding_remedy(finding, "%s",
			       facts->listed_why[0] ?
				       facts->listed_why :
				       "the daemon reads it: tideover check "
				       "PLAN --gate start");
	} else if (facts->listed_why[0]) {
		check_not_known(facts, finding,
				"the list of recipients was changed, and not "
				"taken over");
		finding_remedy(finding, "%s", facts->listed_why);
	} else if (judge_list(facts, finding)) {
		compare_list(facts, finding);
	}
}

/* Proof for whoever refuses the others. */

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
	json_add(tally.evidence, list_json(facts));
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
