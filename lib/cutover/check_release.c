/* The checks of time and of the release: TTLs, retention, pace, sign-off. */

#include "cutover/check_parts.h"
#include <stdlib.h>

enum {
	/* Providers count by the hour. */
	PACE_MS = 3600 * 1000
};

/* The low TTL, served for as long as the old one could be cached. */

static struct json *ttl_json(const struct facts *facts, size_t at)
{
	const struct dns_horizon *horizon = &facts->domains[at].horizon;
	struct json *json = json_object();

	json_put_text(json, "domain", facts->plan->domains[at].name);
	json_put_text(json, "asked", "the MX TTL at every authority");
	json_put_time(json, "at", facts->now.wall_ms);
	json_put_number(json, "low_ttl", (double)facts->plan->dns.ttl);
	json_put_number(json, "old_ttl", (double)facts->plan->dns.old_ttl);
	json_put_number(json, "high_ttl", horizon->high_ttl);
	json_put_time(json, "low_since", horizon->low_since_ms);
	return json;
}

static bool ttl_is_high(const struct facts *facts, size_t at)
{
	const struct dns_domain *dns = &facts->domains[at].dns;

	for (size_t i = 0; i < dns->vantage_count; i++)
		if (dns->vantages[i].authority && !dns->vantages[i].error[0] &&
		    dns->vantages[i].mx.count > 0 &&
		    (int64_t)dns->vantages[i].mx.ttl > facts->plan->dns.ttl)
			return true;
	return false;
}

static void judge_ttl(const struct facts *facts, size_t at, struct tally *tally)
{
	const struct plan *plan = facts->plan;
	const struct dns_horizon *horizon = &facts->domains[at].horizon;
	const char *name = plan->domains[at].name;
	char text[CLOCK_TEXT];
	bool known;
	int64_t left = dns_ttl_left(horizon, plan->dns.old_ttl,
				    plan->timing.horizon_margin,
				    plan->timing.observe, &facts->now, &known);

	json_add(tally->evidence, ttl_json(facts, at));
	if (facts->domains[at].surveyed && ttl_is_high(facts, at))
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the MX TTL is not lowered", name),
			  mem_printf("lower it to %lld s now; the earliest "
				     "start is then %s",
				     (long long)plan->dns.ttl,
				     check_time(facts->now.wall_ms + left,
						text)));
	else if (!facts->domains[at].surveyed || !horizon->low_since_ms)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: no low TTL is on record", name),
			  mem_printf("ask again once DNS answers"));
	else if (!known)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: the TTL before it was lowered is not "
				     "known",
				     name),
			  mem_printf("write dns.old_ttl into the plan"));
	else if (left > 0 && horizon->high_ttl > 0)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the low TTL has not been served for "
				     "as long as the old one",
				     name),
			  mem_printf("wait until %s",
				     check_time(facts->now.wall_ms + left,
						text)));
	else if (left > 0)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: the low TTL is on record for less "
				     "than the old one",
				     name),
			  mem_printf("wait until %s, or attest since when it "
				     "has been lowered",
				     check_time(facts->now.wall_ms + left,
						text)));
}

void check_ttl_elapsed(const struct facts *facts, enum gate gate,
		       struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		judge_ttl(facts, i, &tally);
	tally_end(&tally, finding,
		  "the low TTL has been served for longer than the old one");
	check_excuse(facts, finding);
}

/* Retention: it never bounces, it alerts. */

static struct json *age_json(const struct facts *facts, size_t at)
{
	struct json *json = json_object();

	json_put_text(json, "domain", facts->plan->domains[at].name);
	json_put_text(json, "asked", "the queue's oldest message");
	json_put_time(json, "at", facts->now.wall_ms);
	json_put_time(json, "oldest", facts->domains[at].oldest_ms);
	json_put_number(json, "retention_ms",
			(double)facts->plan->retention_ms);
	return json;
}

void check_retention_clock(const struct facts *facts, enum gate gate,
			   struct finding *finding)
{
	int64_t retention = facts->plan->retention_ms;
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const char *name = facts->plan->domains[i].name;
		int64_t oldest = facts->domains[i].oldest_ms;
		int64_t age = facts->now.wall_ms - oldest;
		char text[CLOCK_TEXT];

		json_add(tally.evidence, age_json(facts, i));
		if (oldest == 0 || age < retention / 2)
			continue;
		check_time(oldest + retention, text);
		/* In parts of ten, so that large times do not overflow. */
		if (age / 8 < retention / 10)
			tally_add(&tally, VERDICT_WARN,
				  mem_printf("%s: mail has waited for half of "
					     "the retention",
					     name),
				  mem_printf("release it before %s", text));
		else
			tally_add(&tally, VERDICT_FAIL,
				  mem_printf("%s: mail nears the end of its "
					     "retention",
					     name),
				  mem_printf("release it, or extend retention "
					     "in the plan, before %s; it is "
					     "never bounced",
					     text));
	}
	if (!facts->ledger_known)
		tally_add(&tally, VERDICT_UNKNOWN,
			  mem_printf("no daemon: its mail is not known"), NULL);
	tally_end(&tally, finding, "no message nears the end of its retention");
}

/* The release. */

static struct json *outcomes_json(const struct facts *facts, size_t at)
{
	const struct facts_domain *domain = &facts->domains[at];
	struct json *json = json_object();

	json_put_text(json, "domain", facts->plan->domains[at].name);
	json_put_text(json, "asked", "the outcomes of this release");
	json_put_time(json, "at", facts->now.wall_ms);
	json_put_number(json, "outcomes", (double)domain->outcomes);
	json_put_number(json, "refused", (double)domain->refused);
	json_put_text(json, "breaker",
		      domain->breaker[0] ? domain->breaker : NULL);
	json_put_time(json, "slowed", domain->slowed_ms);
	json_put_time(json, "limited", domain->limited_ms);
	return json;
}

static bool is_lately(const struct facts *facts, int64_t at_ms)
{
	return at_ms > 0 && facts->now.wall_ms - at_ms < PACE_MS;
}

void check_pacing(const struct facts *facts, enum gate gate,
		  struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const struct facts_domain *domain = &facts->domains[i];
		const char *name = facts->plan->domains[i].name;

		json_add(tally.evidence, outcomes_json(facts, i));
		if (is_lately(facts, domain->limited_ms))
			tally_add(&tally, VERDICT_FAIL,
				  mem_printf("%s: a mailbox is over its "
					     "provider's hourly limit",
					     name),
				  mem_printf("it is deferred and goes on by "
					     "itself; the ETA is "
					     "recalculated"));
		else if (is_lately(facts, domain->slowed_ms))
			tally_add(&tally, VERDICT_WARN,
				  mem_printf("%s: the provider asks for less "
					     "at once",
					     name),
				  NULL);
		else if (domain->outcomes == 0)
			tally_add(&tally, VERDICT_UNKNOWN,
				  mem_printf("%s: nothing was replayed yet",
					     name),
				  NULL);
	}
	tally_end(&tally, finding,
		  "no provider has asked for less within an hour");
}

void check_ramp(const struct facts *facts, enum gate gate,
		struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const struct facts_domain *domain = &facts->domains[i];
		const char *name = facts->plan->domains[i].name;

		json_add(tally.evidence, outcomes_json(facts, i));
		if (domain->breaker[0])
			tally_add(&tally, VERDICT_FAIL,
				  mem_printf("%s: the breaker closed the valve",
					     name),
				  mem_printf("%s; nothing is bounced: repair "
					     "it, then tideover resume PLAN",
					     domain->breaker));
		else if (domain->outcomes == 0)
			tally_add(&tally, VERDICT_UNKNOWN,
				  mem_printf("%s: nothing was replayed yet",
					     name),
				  NULL);
		else if (domain->refused * 100 > domain->outcomes)
			tally_add(&tally, VERDICT_FAIL,
				  mem_printf("%s: more than 1%% is refused and "
					     "held",
					     name),
				  mem_printf("tideover queue list PLAN --in "
					     "held names them; nothing is "
					     "bounced"));
		else if (domain->refused * 1000 > domain->outcomes)
			tally_add(&tally, VERDICT_WARN,
				  mem_printf("%s: more than 0.1%% is refused "
					     "and held",
					     name),
				  mem_printf("tideover queue list PLAN --in "
					     "held names them"));
	}
	tally_end(&tally, finding, "the new system refuses next to nothing");
}

/* Signing off. */

static struct json *waivers_json(const struct facts *facts)
{
	struct json *all = json_array();

	for (size_t i = 0; i < facts->waiver_count; i++) {
		const struct waiver *waiver = &facts->waivers[i];
		struct json *json = json_object();

		json_put_text(json, "check", waiver->check);
		json_put_text(json, "gate", gate_name(waiver->gate));
		json_put_text(json, "by", waiver->by);
		json_put_text(json, "reason", waiver->reason);
		json_put_bool(json, "attest", waiver->attest);
		json_put_time(json, "at", waiver->at_ms);
		json_add(all, json);
	}
	return all;
}

static bool is_nameless(const struct waiver *waiver)
{
	return !waiver->by || !*waiver->by || !waiver->reason ||
	       !*waiver->reason;
}

static bool stands_before(const struct facts *facts, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (strcmp(facts->waivers[i].check, facts->waivers[at].check) ==
		    0)
			return true;
	return false;
}

/* "4f2a:0, 91cc:1" of a kind, as the index named them. */
static char *named(const struct facts *facts, const char *kind)
{
	struct buf names = BUF_INIT;

	for (const struct json *it =
		     json_first(json_get(facts->exceptions, "named"));
	     it; it = json_next(it))
		if (strcmp(json_get_text(it, "kind"), kind) == 0)
			buf_addf(&names, "%s%s:%.0f", names.len ? ", " : "",
				 json_get_text(it, "id"),
				 json_get_number(it, "envelope", 0));
	return buf_take(&names);
}

static void judge_exceptions(const struct facts *facts, const char *kind,
			     const char *what, const char *look,
			     struct tally *tally)
{
	double count = json_get_number(facts->exceptions, kind, 0);
	char *names;

	if (count == 0)
		return;
	names = named(facts, kind);
	tally_add(tally, VERDICT_FAIL, mem_printf("%.0f %s", count, what),
		  mem_printf("%s: %s; then sign for them: tideover waive PLAN "
			     "signoff --gate close --by NAME --reason TEXT",
			     look, names));
	free(names);
}

/* Nobody can undo them: somebody has looked, and says so by name. */
static void judge_open_items(const struct facts *facts, struct tally *tally)
{
	if (facts->ledger_known && !facts->exceptions)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("whether anything was delivered twice or "
				     "out of order is not known"),
			  mem_printf("ask again; tideoverd's log says why the "
				     "index did not answer"));
	judge_exceptions(facts, "uncertain",
			 "envelopes were perhaps delivered twice",
			 "compare their Message-ID in the target", tally);
	judge_exceptions(facts, "overtaken",
			 "envelopes were delivered after a later one of their "
			 "mailbox",
			 "the report names both", tally);
	if (facts->damaged > 0)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%llu ranges of the spool could not be "
				     "read again",
				     (unsigned long long)facts->damaged),
			  mem_printf("copies are in STATE/quarantine; tideover "
				     "spool verify names what is missing; "
				     "then sign for it: tideover waive PLAN "
				     "signoff --gate close --by NAME --reason "
				     "TEXT"));
}

static struct json *open_items_json(const struct facts *facts)
{
	struct json *json = json_object();

	json_put_text(json, "asked",
		      "the index and the journal: exceptions and damage");
	json_put_time(json, "at", facts->now.wall_ms);
	json_put(json, "exceptions",
		 facts->exceptions ? json_copy(facts->exceptions) : NULL);
	json_put_number(json, "damaged_ranges", (double)facts->damaged);
	return json;
}

/* Whoever signs sees what was let pass, by whom. */
void check_signoff(const struct facts *facts, enum gate gate,
		   struct finding *finding)
{
	struct tally tally;
	struct buf names = BUF_INIT;

	tally_init(&tally);
	json_free(tally.evidence);
	tally.evidence = waivers_json(facts);
	json_add(tally.evidence, open_items_json(facts));
	if (!facts->ledger_known)
		tally_add(&tally, VERDICT_UNKNOWN,
			  mem_printf("no daemon: its journal is not known"),
			  mem_printf("ask the daemon: tideover check PLAN "
				     "--gate close"));
	for (size_t i = 0; i < facts->waiver_count; i++) {
		if (is_nameless(&facts->waivers[i]))
			tally_add(&tally, VERDICT_FAIL,
				  mem_printf("%s was waived without a name or "
					     "a reason",
					     facts->waivers[i].check),
				  mem_printf("resolve it, or waive it by "
					     "name"));
		if (!stands_before(facts, i))
			buf_addf(&names, "%s%s", names.len ? ", " : "",
				 facts->waivers[i].check);
	}
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		if (facts->domains[i].breaker[0])
			tally_add(&tally, VERDICT_FAIL,
				  mem_printf("%s: the breaker is still closed",
					     facts->plan->domains[i].name),
				  mem_printf("resolve it, then tideover "
					     "resume PLAN"));
	judge_open_items(facts, &tally);
	if (names.len)
		tally_add(&tally, VERDICT_WARN,
			  mem_printf("waived or attested: %s",
				     buf_text(&names)),
			  mem_printf("the report names who and why"));
	tally_end(&tally, finding, "nothing was waived, nothing is open");
	buf_release(&names);
}

/*
 * How the primary says no: before a release the old system, then the new one.
 * A refused connection sends every sender to the
 * queue at once; Exim bounces after a 5xx greeting, and a swallowed packet
 * costs each sender half a minute.
 */
static void judge_primary(const struct facts *facts, size_t at,
			  struct tally *tally)
{
	enum plan_system_id id = phase_target(facts->phase, facts->plan);
	const struct probe_result *probe =
		&facts->domains[at].systems[id].probe;
	const char *name = facts->plan->domains[at].name;

	if (!facts->domains[at].systems[id].probed) {
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: the primary was not asked", name),
			  mem_printf("ask again"));
		return;
	}
	json_add(tally->evidence, probe_json(probe));
	if (probe->greeting.code >= 500)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: %s greets with %d", name,
				     probe->target, probe->greeting.code),
			  mem_printf("close the port instead: a 5xx greeting "
				     "bounces mail"));
	else if (probe->greeting.code >= 400)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: %s greets with %d", name,
				     probe->target, probe->greeting.code),
			  mem_printf("close the port instead: some senders "
				     "wait for that host"));
	else if (!probe->connected && !probe->refused)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: %s does not refuse, it does not "
				     "answer",
				     name, probe->target),
			  mem_printf("let its host or firewall refuse TCP "
				     "(reject, not drop): senders wait for "
				     "half a minute each"));
	else if (probe->connected && facts->window_active)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: %s takes mail during the window",
				     name, probe->target),
			  mem_printf("stop it or close its port, if it is not "
				     "to have mail now"));
}

void check_standby_health(const struct facts *facts, enum gate gate,
			  struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	if (facts->plan->strategy == STRATEGY_STANDBY)
		for (size_t i = 0; i < facts->plan->domain_count; i++)
			judge_primary(facts, i, &tally);
	else
		json_add(tally.evidence, json_new_text("strategy: park"));
	tally_end(&tally, finding,
		  facts->plan->strategy != STRATEGY_STANDBY ?
			  "in a parked plan the queue is the only MX" :
		  facts->window_active ?
			  "the primary refuses connections" :
			  "the primary takes mail, or refuses connections");
}
