/* Asks DNS and the systems on a schedule, and judges gates when asked. */

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "cutover/horizon_file.h"
#include "daemon/cutover.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "watch"

enum {
	LEDGER_EVERY_MS = 3600 * 1000,
	SAMPLE_FIRST_MS = 1000
};

struct gate_run {
	struct gate_run *next;
	enum gate gate;
	char *only;
	cutover_gate_fn *done;
	void *ctx;
	struct cutover *cutover; /* NULL: it is gone */
};

static char *horizon_path(const struct cutover *cutover)
{
	return mem_printf("%s/horizon.json", cutover->dir);
}

/*
 * What `tideover plan` saw before this daemon looked: since when the low TTL
 * has been served.  Only that: two looks of a command are no 48 h of watching.
 */
static void load_horizons(struct cutover *cutover)
{
	char *own = horizon_path(cutover);
	char *seen = mem_printf("%s/observed/%s.horizon.json",
				cutover->env.state_dir, cutover->plan->name);

	horizon_file_load(own, cutover->facts, horizon_take_all);
	horizon_file_load(seen, cutover->facts, dns_ttl_adopt);
	free(own);
	free(seen);
}

static void save_horizons(struct cutover *cutover)
{
	char *path = horizon_path(cutover);
	struct err err = ERR_INIT;

	if (horizon_file_save(path, cutover->facts, &err) < 0)
		log_error("%s", err.text);
	free(path);
}

void cutover_watch_init(struct cutover *cutover)
{
	cutover->facts = facts_new(cutover->plan);
	if (cutover->plan->recipients.listed)
		cutover->facts->listed = &cutover->recipients.known;
	cutover->sample_every_ms =
		cutover->plan->rehearsal ? 100 : SAMPLE_FIRST_MS;
	load_horizons(cutover);
}

static void forget_runs(struct gate_run *run)
{
	while (run) {
		struct gate_run *next = run->next;

		free(run->only);
		free(run);
		run = next;
	}
}

void cutover_watch_free(struct cutover *cutover)
{
	survey_cancel(cutover->survey);
	forget_runs(cutover->gates);
	forget_runs(cutover->surveyed);
	/* The index answers them yet. */
	for (struct gate_run *run = cutover->closing; run; run = run->next)
		run->cutover = NULL;
	findings_release(&cutover->last_gate);
	watch_release(&cutover->watch);
	map_release(&cutover->views);
	facts_free(cutover->facts);
}

/* One line in the journal whenever a vantage point changes its answer. */
static void observe_vantage(struct cutover *cutover, const char *domain,
			    const struct dns_vantage *vantage,
			    enum dns_view view)
{
	struct buf key = BUF_INIT, mx = BUF_INIT;
	struct err err = ERR_INIT;
	struct json *data;
	void *now = (void *)(uintptr_t)(view + 1);

	buf_addf(&key, "%s %s", domain, vantage->address);
	if (map_get(&cutover->views, buf_slice(&key)) == now) {
		buf_release(&key);
		return;
	}
	map_put(&cutover->views, buf_slice(&key), now);
	dns_mx_set_text(&vantage->mx, &mx);
	data = json_object();
	json_put_text(data, "domain", domain);
	json_put_text(data, "vantage", vantage->name);
	json_put_text(data, "address", vantage->address);
	json_put_bool(data, "authority", vantage->authority);
	json_put_text(data, "view", dns_view_name(view));
	json_put_text(data, "mx", buf_text(&mx));
	json_put_number(data, "ttl", vantage->mx.ttl);
	json_put_text(data, "error", vantage->error[0] ? vantage->error : NULL);
	json_put_time(data, "asked", vantage->asked_ms);
	if (journal_add(cutover->journal, "mx", data, &err) < 0)
		log_error("journal: %s", err.text);
	buf_release(&key);
	buf_release(&mx);
}

static bool is_under_way(const struct cutover *cutover)
{
	return cutover->phase != PHASE_PLANNED &&
	       cutover->phase != PHASE_FINISHED;
}

static void observe(struct cutover *cutover)
{
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct dns_domain *dns = &cutover->facts->domains[i].dns;
		const struct plan_domain *plan = &cutover->plan->domains[i];
		const struct plan_system *systems = plan->systems;
		struct dns_wanted wanted = {
			.old_mx = (const char *const *)systems[0].mx.at,
			.old_count = systems[0].mx.count,
			.new_mx = (const char *const *)systems[1].mx.at,
			.new_count = systems[1].mx.count,
			.queue_host = cutover->plan->queue_mx.host,
		};

		for (size_t v = 0; v < dns->vantage_count; v++) {
			const struct dns_vantage *at = &dns->vantages[v];
			enum dns_view view =
				at->error[0] ?
					VIEW_ERROR :
					dns_view_of(&at->mx, &wanted, IS_OLD);

			observe_vantage(cutover, plan->name, at, view);
		}
	}
	save_horizons(cutover);
}

static void fill_release(const struct cutover_domain *domain,
			 struct facts_domain *facts)
{
	facts->oldest_ms = (int64_t)queue_oldest_ms(domain->queue);
	facts->outcomes = domain->outcomes;
	facts->refused = domain->refused;
	snprintf(facts->breaker, sizeof(facts->breaker), "%s",
		 domain->breaker ? domain->breaker : "");
	facts->slowed_ms = domain->slowed_ms;
	facts->limited_ms = domain->limited_ms;
}

/* What only the daemon knows, for the checks. */
static void fill_facts(struct cutover *cutover)
{
	struct facts *facts = cutover->facts;
	double hours = (double)(clock_wall_ms() - cutover->loaded_ms) / 3600e3;
	int64_t until;

	facts->phase = cutover->phase;
	facts->since_ms = cutover->since_ms;
	facts->last_arrival_ms = cutover->last_arrival_ms;
	facts->loaded_ms = cutover->loaded_ms;
	facts->loaded_boot_ms = cutover->loaded_boot_ms;
	supervisor_read(cutover->env.supervisor, "", cutover->env.started_ms,
			&facts->supervisor);
	facts->window_active = windows_active(&cutover->windows,
					      clock_wall_ms(), &until) != NULL;
	facts->listed_at_ms = cutover->recipients.changed_ms;
	facts->canaries = &cutover->canaries;
	facts->waivers = cutover->waivers;
	facts->waiver_count = cutover->waiver_count;
	dns_now(&facts->now);
	facts->space_known =
		file_space(cutover->env.state_dir, &facts->space, NULL) == 0;
	if (cutover->arrival_count > 0 && hours > 1) {
		facts->measured_per_hour =
			(double)cutover->arrival_count / hours;
		facts->measured_mean_bytes = (double)cutover->arrival_bytes /
					     (double)cutover->arrival_count;
	}
	cutover->env.others(cutover->env.ctx, cutover, &facts->others_per_hour,
			    &facts->others_bytes_per_hour);
	facts->ledger_known = true;
	facts->ledger_balances = true;
	facts->journal_intact = true;
	facts->damaged = cutover->damaged;
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct queue_ledger *ledger =
			&cutover->domains[i].queue->ledger;
		struct facts_domain *domain = &facts->domains[i];

		domain->accepted = ledger->accepted;
		domain->waiting = ledger->waiting;
		domain->held = ledger->held;
		domain->delivered = ledger->delivered;
		domain->bounced = ledger->bounced;
		domain->discarded = ledger->discarded;
		fill_release(&cutover->domains[i], domain);
		/* Whole messages can be gone and the rest still add up. */
		if (ledger->accepted < cutover->vouched[i]) {
			facts->ledger_balances = false;
			snprintf(facts->ledger_why, sizeof(facts->ledger_why),
				 "%s: the journal counted %llu accepted, and "
				 "%llu are left",
				 cutover->plan->domains[i].name,
				 (unsigned long long)cutover->vouched[i],
				 (unsigned long long)ledger->accepted);
			continue;
		}
		if (ledger->accepted ==
		    ledger->waiting + ledger->held + ledger->delivered +
			    ledger->bounced + ledger->discarded)
			continue;
		facts->ledger_balances = false;
		snprintf(facts->ledger_why, sizeof(facts->ledger_why),
			 "%s: accepted %llu is not the sum of the rest",
			 cutover->plan->domains[i].name,
			 (unsigned long long)ledger->accepted);
	}
}

/* Gates. */

static void journal_gate(struct cutover *cutover,
			 const struct findings *findings)
{
	struct err err = ERR_INIT;

	if (journal_add(cutover->journal, "gate", findings_json(findings),
			&err) < 0)
		log_error("journal: %s", err.text);
}

static int check_journal(struct cutover *cutover, struct err *err)
{
	char *path = mem_printf("%s/journal.ndjson", cutover->dir);
	char head[65];
	uint64_t count;
	int result = journal_read(path, NULL, NULL, head, &count, err);

	free(path);
	return result;
}

static void judge(struct cutover *cutover, struct gate_run *run)
{
	struct findings findings;
	struct err err = ERR_INIT;

	fill_facts(cutover);
	facts_read_evidence(cutover->facts);
	if (check_journal(cutover, &err) < 0)
		cutover->facts->journal_intact = false;
	check_gate(cutover->facts, run->gate, run->only, cutover->waivers,
		   cutover->waiver_count, &findings);
	if (!run->only) {
		/* The totals of this moment are on record as well. */
		cutover->next_ledger_ms = 0;
		journal_gate(cutover, &findings);
		log_info("gate %s of plan %s: %s", gate_name(run->gate),
			 cutover->plan->name, findings.open ? "open" : "shut");
	}
	run->done(run->ctx, cutover, &findings, NULL);
	if (!run->only &&
	    (!findings.open || cutover->last_gate.gate == run->gate))
		findings_release(&cutover->last_gate);
	if (run->only || findings.open)
		findings_release(&findings);
	else
		cutover->last_gate = findings;
	free(run->only);
	free(run);
}

static void exceptions_came(void *ctx, struct json *result,
			    const struct err *err)
{
	struct gate_run *run = ctx, **at;
	struct cutover *cutover = run->cutover;

	if (!cutover) {
		json_free(result);
		free(run->only);
		free(run);
		return;
	}
	if (err)
		log_error("exceptions: %s", err->text);
	for (at = &cutover->closing; *at != run; at = &(*at)->next)
		;
	*at = run->next;
	json_free(cutover->facts->exceptions);
	cutover->facts->exceptions = result;
	judge(cutover, run);
}

/* Who closes signs for what was delivered twice or out of order, which the
 * index alone knows. */
static void judge_or_ask(struct cutover *cutover, struct gate_run *run)
{
	if (run->gate != GATE_CLOSE) {
		judge(cutover, run);
		return;
	}
	run->cutover = cutover;
	run->next = cutover->closing;
	cutover->closing = run;
	index_exceptions(cutover->env.store->index, cutover->plan->name,
			 check_trail_from(cutover->facts), exceptions_came,
			 run);
}

void cutover_judge(struct cutover *cutover, enum gate gate, const char *only,
		   cutover_gate_fn *done, void *ctx)
{
	struct gate_run *run = mem_alloc(sizeof(*run)), **at;

	run->gate = gate;
	run->only = mem_dup(only);
	run->done = done;
	run->ctx = ctx;
	for (at = &cutover->gates; *at; at = &(*at)->next)
		;
	*at = run;
	cutover_look(cutover);
}

/* The watched rows: a verdict that turns is on record, and an alert shows it. */

static void note_turn(void *ctx, const struct watch_row *row, const char *from)
{
	struct cutover *cutover = ctx;
	struct json *data = json_object();
	struct err err = ERR_INIT;

	json_put_text(data, "check", row->check->id);
	json_put_text(data, "from", from);
	json_put_text(data, "to", verdict_name(row->verdict));
	json_put_bool(data, "alert", row->alert);
	json_put_text(data, "summary", row->summary);
	json_put_text(data, "remedy", row->remedy);
	if (row->alert)
		log_warn("plan %s: %s: %s", cutover->plan->name, row->check->id,
			 row->summary);
	else
		log_info("plan %s: %s: %s: %s", cutover->plan->name,
			 row->check->id, verdict_name(row->verdict),
			 row->summary);
	if (journal_add(cutover->journal, "check", data, &err) < 0)
		log_error("journal: %s", err.text);
}

static void look_at_watched(struct cutover *cutover)
{
	if (!is_under_way(cutover))
		return;
	fill_facts(cutover);
	facts_watch_evidence(cutover->facts);
	watch_look(&cutover->watch, cutover->facts, note_turn, cutover);
}

/* Surveys: one at a time; a gate waits for one that began after it asked. */

static void survey_done(void *ctx)
{
	struct cutover *cutover = ctx;
	struct gate_run *run = cutover->surveyed;
	unsigned asked = cutover->surveying;

	cutover->survey = NULL;
	cutover->surveying = 0;
	cutover->surveyed = NULL;
	if (asked & SURVEY_DNS)
		observe(cutover);
	if (asked & (SURVEY_OLD | SURVEY_NEW))
		cutover_health_probed(cutover, asked);
	/* All of it was asked: what is not asked now may not look as if. */
	if ((asked & SURVEY_DNS) && (asked & SURVEY_QUEUE))
		look_at_watched(cutover);
	while (run) {
		struct gate_run *next = run->next;

		judge_or_ask(cutover, run);
		run = next;
	}
	cutover_look(cutover);
}

/*
 * Last week's hires are missing in every list: whoever adds them waits for
 * nobody.  What was not taken over is a finding, and is said once.
 */
static void renew_recipients(struct cutover *cutover)
{
	const struct plan *plan = cutover->plan;
	struct facts *facts = cutover->facts;
	struct err why = ERR_INIT, err = ERR_INIT;
	struct json *data;
	int renewed;

	if (!plan->recipients.listed)
		return;
	renewed = recipients_renew(&cutover->recipients, plan->recipients.file,
				   &why);
	if (renewed == 0)
		return;
	if (renewed < 0)
		log_error("plan %s: %s", plan->name, why.text);
	snprintf(facts->listed_why, sizeof(facts->listed_why), "%.255s",
		 why.text);
	data = json_object();
	json_put_bool(data, "taken", renewed > 0);
	json_put_number(data, "listed",
			(double)cutover->recipients.known.count);
	json_put_text(data, "reason", renewed < 0 ? why.text : NULL);
	if (journal_add(cutover->journal, "recipients", data, &err) < 0)
		log_error("journal: %s", err.text);
}

static bool survey_begin(struct cutover *cutover, unsigned what)
{
	struct err err = ERR_INIT;

	if (cutover->plan->plain)
		what &= ~(unsigned)SURVEY_NEW;
	cutover->surveyed = cutover->gates;
	cutover->gates = NULL;
	renew_recipients(cutover);
	/* Whom the new tenant's export lacks nobody need ask about. */
	if (what & SURVEY_TAKEN)
		facts_watch_evidence(cutover->facts);
	dns_now(&cutover->facts->now);
	cutover->facts->phase = cutover->phase;
	if (what & (SURVEY_OLD | SURVEY_NEW))
		cutover_health_ask(cutover);
	cutover->survey = survey_start(cutover->env.loop, cutover->facts, what,
				       survey_done, cutover, &err);
	cutover->surveying = what;
	if (cutover->survey)
		return true;
	log_error("cannot ask: %s", err.text);
	cutover->surveying = 0;
	while (cutover->surveyed) {
		struct gate_run *run = cutover->surveyed;

		cutover->surveyed = run->next;
		run->done(run->ctx, cutover, NULL, &err);
		free(run->only);
		free(run);
	}
	return false;
}

static void sample(struct cutover *cutover, int64_t mono_ms)
{
	struct cutover_sample *at;

	if (mono_ms < cutover->next_sample_ms)
		return;
	cutover->next_sample_ms = mono_ms + cutover->sample_every_ms;
	if (cutover->sample_count == CUTOVER_SAMPLES) {
		/* Twice as far apart, half as many: bounded for good. */
		for (size_t i = 0; i < CUTOVER_SAMPLES / 2; i++)
			cutover->samples[i] = cutover->samples[2 * i];
		cutover->sample_count = CUTOVER_SAMPLES / 2;
		cutover->sample_every_ms *= 2;
	}
	at = &cutover->samples[cutover->sample_count++];
	*at = (struct cutover_sample){ .at_ms = clock_wall_ms() };
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct queue_ledger *ledger =
			&cutover->domains[i].queue->ledger;

		at->accepted += ledger->accepted;
		at->waiting += ledger->waiting;
		at->held += ledger->held;
		at->delivered += ledger->delivered;
	}
}

/* Totals now and then, so that the chain vouches for them. */
static void journal_ledger(struct cutover *cutover, int64_t mono_ms)
{
	struct json *data;
	struct err err = ERR_INIT;

	if (mono_ms < cutover->next_ledger_ms)
		return;
	cutover->next_ledger_ms = mono_ms + LEDGER_EVERY_MS;
	data = json_object();
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct queue_ledger *ledger =
			&cutover->domains[i].queue->ledger;
		struct json *one = json_object();

		json_put_number(one, "accepted", (double)ledger->accepted);
		json_put_number(one, "waiting", (double)ledger->waiting);
		json_put_number(one, "held", (double)ledger->held);
		json_put_number(one, "delivered", (double)ledger->delivered);
		json_put_number(one, "bounced", (double)ledger->bounced);
		json_put_number(one, "discarded", (double)ledger->discarded);
		json_put(data, cutover->plan->domains[i].name, one);
	}
	cutover_vouched(cutover, data);
	if (journal_add(cutover->journal, "ledger", data, &err) < 0)
		log_error("journal: %s", err.text);
}

/* A recovery must be seen in time: four probes per recover_after. */
static int64_t probe_interval(const struct plan_timing *timing)
{
	int64_t most = timing->recover_after / 4;

	return most > 0 && most < timing->probe_every ? most :
							timing->probe_every;
}

/* Before the queue is released the new system knows whom the plan lists; before
 * it refuses the others, the old one does. */
static unsigned asks_listed(const struct plan *plan, enum gate gate)
{
	if (!plan->recipients.listed)
		return 0;
	if (gate == GATE_FINISH && !plan->plain)
		return SURVEY_TAKEN;
	if (gate == GATE_START && plan->recipients.unknown == UNKNOWN_REFUSE)
		return SURVEY_LISTED;
	return 0;
}

void cutover_watch_tick(struct cutover *cutover, int64_t mono_ms)
{
	const struct plan_timing *timing = &cutover->plan->timing;
	unsigned what = 0;

	sample(cutover, mono_ms);
	if (is_under_way(cutover)) {
		journal_ledger(cutover, mono_ms);
		cutover_health_tick(cutover);
		if (mono_ms >= cutover->next_dns_ms)
			what |= SURVEY_DNS | SURVEY_QUEUE;
		if (mono_ms >= cutover->next_probe_ms)
			what |= SURVEY_OLD | SURVEY_NEW;
	}
	if (cutover->gates)
		what = SURVEY_DNS | SURVEY_RECORDS | SURVEY_OLD | SURVEY_NEW |
		       SURVEY_QUEUE;
	for (const struct gate_run *run = cutover->gates; run; run = run->next)
		what |= asks_listed(cutover->plan, run->gate);
	if (!what || cutover->survey)
		return;
	if (what & SURVEY_DNS) {
		unsigned char chance;

		random_bytes(&chance, 1);
		cutover->next_dns_ms =
			watch_next_ms(mono_ms, timing->watch_every, chance);
	}
	if (what & (SURVEY_OLD | SURVEY_NEW))
		cutover->next_probe_ms = mono_ms + probe_interval(timing);
	survey_begin(cutover, what);
}

bool cutover_targets_take_utf8(const struct cutover *cutover)
{
	const struct facts *facts = cutover->facts;

	if (cutover->phase == PHASE_FINISHED)
		return true;
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		for (int s = 0; s < (cutover->plan->plain ? 1 : 2); s++)
			if (!facts->domains[i].systems[s].probed ||
			    !facts->domains[i].systems[s].probe.offers.utf8)
				return false;
	return true;
}
