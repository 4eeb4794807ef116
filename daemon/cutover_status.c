/* The status and report documents: docs/control.md describes them. */

#include "base/clock.h"
#include "daemon/cutover.h"
#include <stdlib.h>

static struct json *valve_json(const struct cutover_domain *domain)
{
	struct json *json = json_object();

	json_put_text(json, "state", valve_state_name(domain->valve.state));
	json_put_text(json, "reason", domain->valve.reason);
	json_put_time(json, "since", domain->valve_since_ms);
	return json;
}

static struct json *ledger_json(const struct queue_ledger *ledger)
{
	struct json *json = json_object();

	json_put_number(json, "accepted", (double)ledger->accepted);
	json_put_number(json, "waiting", (double)ledger->waiting);
	json_put_number(json, "held", (double)ledger->held);
	json_put_number(json, "delivered", (double)ledger->delivered);
	json_put_number(json, "bounced", (double)ledger->bounced);
	json_put_number(json, "discarded", (double)ledger->discarded);
	json_put_bool(json, "balances",
		      ledger->accepted == ledger->waiting + ledger->held +
						  ledger->delivered +
						  ledger->bounced +
						  ledger->discarded);
	return json;
}

static struct json *vantages_json(const struct cutover *cutover, size_t at)
{
	const struct plan_domain *plan = &cutover->plan->domains[at];
	const struct dns_domain *dns = &cutover->facts->domains[at].dns;
	struct dns_wanted wanted = {
		.old_mx = (const char *const *)plan->systems[0].mx.at,
		.old_count = plan->systems[0].mx.count,
		.new_mx = (const char *const *)plan->systems[1].mx.at,
		.new_count = plan->systems[1].mx.count,
		.queue_host = cutover->plan->queue_mx.host,
	};
	unsigned prefer = cutover->phase >= PHASE_RELEASING ? IS_NEW : IS_OLD;
	struct json *all = json_array();

	for (size_t i = 0; i < dns->vantage_count; i++) {
		const struct dns_vantage *vantage = &dns->vantages[i];
		struct json *one = json_object();
		struct buf mx = BUF_INIT;
		enum dns_view view =
			vantage->error[0] ?
				VIEW_ERROR :
				dns_view_of(&vantage->mx, &wanted, prefer);

		dns_mx_set_text(&vantage->mx, &mx);
		json_put_text(one, "name", vantage->name);
		json_put_text(one, "address", vantage->address);
		json_put_bool(one, "authority", vantage->authority);
		json_put_text(one, "view", dns_view_name(view));
		json_put_text(one, "mx", buf_text(&mx));
		json_put_number(one, "ttl", vantage->mx.ttl);
		if (vantage->has_serial)
			json_put_number(one, "serial", vantage->serial);
		else
			json_put(one, "serial", NULL);
		json_put_text(one, "error",
			      vantage->error[0] ? vantage->error : NULL);
		json_put_time(one, "asked", vantage->asked_ms);
		json_add(all, one);
		buf_release(&mx);
	}
	return all;
}

static struct json *horizon_json(const struct cutover *cutover, size_t at)
{
	const struct dns_horizon *horizon =
		&cutover->facts->domains[at].horizon;
	const struct plan_timing *timing = &cutover->plan->timing;
	struct json *json = json_object();
	struct dns_now now;
	bool known;
	int64_t left;

	dns_now(&now);
	left = dns_horizon_left(horizon, cutover->plan->dns.old_ttl,
				timing->horizon_margin, timing->observe, &now,
				&known);
	json_put_bool(json, "known", known);
	json_put_number(json, "left_ms", (double)left);
	json_put_time(json, "old_seen", horizon->old_seen_ms);
	json_put_number(json, "ttl", horizon->max_ttl);
	return json;
}

static const char *target_word(const struct cutover *cutover)
{
	if (cutover->plan->plain)
		return "primary";
	return phase_target(cutover->phase, cutover->plan) == SYSTEM_OLD ?
		       "old" :
		       "new";
}

static struct json *domain_json(struct cutover *cutover, size_t at)
{
	struct cutover_domain *domain = &cutover->domains[at];
	struct json *json = json_object();
	struct json *health = json_object();

	json_put_text(json, "name", domain->plan->name);
	json_put_text(json, "target", target_word(cutover));
	json_put_text(json, "deliver_to", cutover_target(domain)->target.name);
	json_put(json, "valve", valve_json(domain));
	json_put_text(json, "paused", cutover_paused(domain));
	json_put(json, "vantages", vantages_json(cutover, at));
	json_put(json, "horizon", horizon_json(cutover, at));
	for (int s = SYSTEM_OLD; s <= (cutover->plan->plain ? 0 : 1); s++)
		json_put(health,
			 cutover->plan->plain ? "primary" :
			 s == SYSTEM_OLD      ? "old" :
						"new",
			 health_json(cutover_health(domain, s),
				     domain->targets[s]->target.name));
	json_put(json, "health", health);
	json_put(json, "ledger", ledger_json(&domain->queue->ledger));
	return json;
}

static struct json *queue_json(struct cutover *cutover)
{
	struct json *json = json_object();
	uint64_t waiting = 0, held = 0, bytes = 0, here = 0, oldest = 0,
		 due = 0;
	int in_flight = 0;

	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		struct queue_domain *queue = cutover->domains[i].queue;
		uint64_t first = queue_oldest_ms(queue);

		waiting += queue->ledger.waiting;
		held += queue->ledger.held;
		bytes += queue->bytes;
		here += queue->here + queue->here_held;
		due += queue->ready.count;
		if (first && (!oldest || first < oldest))
			oldest = first;
	}
	for (size_t i = 0; i < cutover->target_count; i++)
		in_flight += replay_in_flight(cutover->targets[i]->replay);
	json_put_number(json, "waiting", (double)waiting);
	json_put_number(json, "held", (double)held);
	json_put_number(json, "in_memory", (double)here);
	json_put_number(json, "bytes", (double)bytes);
	json_put_time(json, "oldest", (int64_t)oldest);
	json_put_number(json, "oldest_age_ms",
			oldest ? (double)(clock_wall_ms() - (int64_t)oldest) :
				 0);
	json_put_number(json, "due", (double)due);
	json_put_number(json, "in_flight", in_flight);
	return json;
}

static struct json *rates_json(struct cutover *cutover, double waiting)
{
	struct json *json = json_object();
	int64_t mono = clock_mono_ms();
	double replays = rate_per_minute(&cutover->replays, mono);

	json_put_number(json, "arrivals_per_min",
			rate_per_minute(&cutover->arrivals, mono));
	json_put_number(json, "replays_per_min", replays);
	if (replays > 0 && waiting > 0)
		json_put_number(json, "eta_ms", waiting / replays * 60000);
	else
		json_put(json, "eta_ms", NULL);
	return json;
}

enum {
	EXHAUSTED_MAX = 20 /* mailboxes named per domain */
};

static struct json *exhausted_one(const struct queue_mailbox *mailbox,
				  const struct limit *limit)
{
	enum limit_kind kind = (enum limit_kind)mailbox->limited_by;
	struct provider_rate rate = limit_rate(limit, kind);
	struct json *one = json_object();
	char *text, span[CLOCK_TEXT];

	clock_format_duration(rate.span_ms, span);
	text = mem_printf("%u in %s", rate.number, span);
	json_put_text(one, "mailbox", mailbox->key);
	json_put_text(one, "limit", kind == LIMIT_PAIR ? "pair" : "mailbox");
	json_put_text(one, "rate", text);
	json_put_time(one, "until", mailbox->limited_until_ms);
	free(text);
	return one;
}

/* Mailboxes whose line stands still, and how many; the first few by name. */
static void put_exhausted(struct json *json, const struct cutover *cutover,
			  const struct cutover_target *target)
{
	struct json *named = json_array();
	size_t count = 0;

	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		struct cutover_domain *domain = &cutover->domains[i];
		size_t left = EXHAUSTED_MAX;

		if (cutover_target(domain) != target)
			continue;
		count += domain->queue->limited_count;
		list_each (it, next, &domain->queue->limited) {
			if (left-- == 0)
				break;
			json_add(named,
				 exhausted_one(list_entry(it,
							  struct queue_mailbox,
							  limited),
					       replay_limit(target->replay)));
		}
	}
	json_put_number(json, "exhausted_count", (double)count);
	json_put(json, "exhausted", named);
}

static struct json *limits_json(struct cutover *cutover)
{
	struct json *all = json_array();

	for (size_t i = 0; i < cutover->target_count; i++) {
		const struct cutover_target *target = cutover->targets[i];
		struct json *one = json_object();

		json_put_text(one, "target", target->target.name);
		json_put_number(one, "in_flight",
				replay_in_flight(target->replay));
		json_put_number(one, "flight", replay_flight(target->replay));
		json_put_number(one, "max_flight",
				cutover->plan->replay.max_flight);
		put_exhausted(one, cutover, target);
		json_add(all, one);
	}
	return all;
}

static void add_watch_alert(const struct watch_row *row, struct json *all)
{
	struct buf text = BUF_INIT;

	if (!row->alert)
		return;
	buf_addf(&text, "%s: %s: %s%s%s", row->check->id,
		 verdict_name(row->verdict), row->summary,
		 *row->remedy ? ": " : "", row->remedy);
	json_add_text(all, buf_text(&text));
	buf_release(&text);
}

static struct json *alerts_json(struct cutover *cutover)
{
	struct json *all = json_array();
	const char *broken = spool_writer_broken(cutover->env.store->spool);
	int64_t now = clock_wall_ms();

	if (broken)
		json_add_text(all, broken);
	cutover->env.alerts(cutover->env.ctx, all);
	for (size_t i = 0; i < cutover->watch.count; i++)
		add_watch_alert(&cutover->watch.rows[i], all);
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct cutover_domain *domain = &cutover->domains[i];
		int64_t oldest = (int64_t)queue_oldest_ms(domain->queue);
		struct buf text = BUF_INIT;

		if (domain->breaker)
			buf_addf(&text, "%s: the breaker closed the valve: %s",
				 domain->plan->name, domain->breaker);
		if (text.len)
			json_add_text(all, buf_text(&text));
		buf_clear(&text);
		if (oldest && now - oldest > cutover->plan->retention_ms) {
			buf_addf(&text,
				 "%s: mail is older than the retention: "
				 "release it, or extend retention",
				 domain->plan->name);
			json_add_text(all, buf_text(&text));
		}
		buf_release(&text);
	}
	return all;
}

static struct json *release_json(const struct cutover *cutover)
{
	struct json *json;
	uint64_t left = 0;

	if (cutover->phase != PHASE_RELEASING &&
	    cutover->phase != PHASE_RETURNING)
		return NULL;
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		left += cutover->domains[i].queue->ledger.waiting;
	json = json_object();
	json_put_number(json, "total", (double)cutover->release_total);
	json_put_number(json, "done", (double)cutover->release_done);
	json_put_number(json, "left", (double)left);
	return json;
}

struct json *cutover_status(struct cutover *cutover, struct json *replies)
{
	const struct plan *plan = cutover->plan;
	struct json *json = json_object();
	struct json *domains = json_array(), *windows = json_array(), *queue;
	struct json *journal = json_object();

	json_put_text(json, "plan", plan->name);
	json_put_text(json, "hash", plan->hash);
	json_put_text(json, "strategy", plan_strategy_name(plan->strategy));
	json_put_bool(json, "rehearsal", plan->rehearsal);
	json_put_text(json, "phase", phase_name(cutover->phase));
	json_put_time(json, "since", cutover->since_ms);
	json_put(json, "gate_waited_for",
		 cutover->last_gate.count ? findings_json(&cutover->last_gate) :
					    NULL);
	for (size_t i = 0; i < plan->domain_count; i++)
		json_add(domains, domain_json(cutover, i));
	json_put(json, "domains", domains);
	queue = queue_json(cutover);
	json_put(json, "rates",
		 rates_json(cutover, json_get_number(queue, "waiting", 0)));
	json_put(json, "queue", queue);
	json_put(json, "limits", limits_json(cutover));
	json_put(json, "release", release_json(cutover));
	json_put_bool(json, "drained", cutover->drained);
	json_put(json, "paused",
		 cutover->paused ? json_new_text(cutover->paused) : NULL);
	for (size_t i = 0; i < cutover->windows.count; i++)
		json_add(windows, window_json(&cutover->windows.at[i]));
	json_put(json, "windows", windows);
	json_put(json, "replies", replies ? replies : json_array());
	json_put(json, "alerts", alerts_json(cutover));
	json_put_number(journal, "lines",
			(double)journal_count(cutover->journal));
	json_put_text(journal, "head", journal_head(cutover->journal));
	json_put(json, "journal", journal);
	return json;
}

/* The journal's lines, sorted into the report's sections. */
struct sections {
	struct json *phases, *gates, *waivers, *actions, *observations, *valves,
		*ledgers, *starts, *canaries, *watched;
};

static int sort_line(void *ctx, const struct json *line)
{
	struct sections *to = ctx;
	const char *event = json_get_text(line, "event");
	struct json *data = json_copy(json_get(line, "data"));
	struct json *section = NULL;

	if (!data || !event) {
		json_free(data);
		return 0;
	}
	if (strcmp(event, "phase") == 0)
		section = to->phases;
	else if (strcmp(event, "gate") == 0)
		section = to->gates;
	else if (strcmp(event, "waive") == 0)
		section = to->waivers;
	else if (strcmp(event, "mx") == 0)
		section = to->observations;
	else if (strcmp(event, "valve") == 0 || strcmp(event, "breaker") == 0 ||
		 strcmp(event, "health") == 0)
		section = to->valves;
	else if (strcmp(event, "check") == 0)
		section = to->watched;
	else if (strcmp(event, "ledger") == 0)
		section = to->ledgers;
	else if (slice_starts(slice(event), "canary"))
		section = to->canaries;
	else if (strcmp(event, "loaded") == 0 ||
		 strcmp(event, "recovered") == 0 ||
		 strcmp(event, "damage") == 0)
		section = to->starts;
	else
		section = to->actions;
	/* By a digest somebody could guess what --redact hides. */
	if (section == to->canaries)
		json_put(data, "for", NULL);
	json_put_text(data, "at", json_get_text(line, "at"));
	json_put_text(data, "event", event);
	json_add(section, data);
	return 0;
}

static struct json *samples_json(const struct cutover *cutover)
{
	struct json *all = json_array();

	for (size_t i = 0; i < cutover->sample_count; i++) {
		const struct cutover_sample *sample = &cutover->samples[i];
		struct json *one = json_object();

		json_put_time(one, "at", sample->at_ms);
		json_put_number(one, "accepted", (double)sample->accepted);
		json_put_number(one, "waiting", (double)sample->waiting);
		json_put_number(one, "held", (double)sample->held);
		json_put_number(one, "delivered", (double)sample->delivered);
		json_add(all, one);
	}
	return all;
}

static struct json *domain_names_json(const struct plan *plan)
{
	struct json *all = json_array();

	for (size_t i = 0; i < plan->domain_count; i++)
		json_add_text(all, plan->domains[i].name);
	return all;
}

static struct json *plan_json(const struct plan *plan)
{
	struct json *json = json_object();

	json_put_text(json, "name", plan->name);
	json_put_text(json, "hash", plan->hash);
	json_put_text(json, "path", plan->path);
	json_put_text(json, "strategy", plan_strategy_name(plan->strategy));
	json_put_bool(json, "rehearsal", plan->rehearsal);
	json_put(json, "domains", domain_names_json(plan));
	json_put_text(json, "queue_host", plan->queue_mx.host);
	json_put_time(json, "opens", plan->opens_ms);
	json_put_time(json, "closes", plan->closes_ms);
	json_put_text(json, "text", plan->text);
	return json;
}

struct json *cutover_report(struct cutover *cutover, struct json *uncertain,
			    struct json *replies, struct json *ledger)
{
	struct sections to = {
		.phases = json_array(),
		.gates = json_array(),
		.waivers = json_array(),
		.actions = json_array(),
		.observations = json_array(),
		.valves = json_array(),
		.ledgers = json_array(),
		.starts = json_array(),
		.canaries = json_array(),
		.watched = json_array(),
	};
	char *path = mem_printf("%s/journal.ndjson", cutover->dir);
	struct json *json = json_object(), *journal = json_object();
	struct json *exceptions = json_object();
	struct err err = ERR_INIT;
	uint64_t lines = 0;
	char head[65] = "";
	bool intact =
		journal_read(path, sort_line, &to, head, &lines, &err) == 0;

	free(path);
	json_put(json, "plan", plan_json(cutover->plan));
	json_put_text(json, "version", TIDEOVER_VERSION);
	json_put_time(json, "generated", clock_wall_ms());
	json_put_text(json, "phase", phase_name(cutover->phase));
	json_put(json, "status", cutover_status(cutover, replies));
	json_put(json, "phases", to.phases);
	json_put(json, "gates", to.gates);
	json_put(json, "waivers", to.waivers);
	json_put(json, "operator_actions", to.actions);
	json_put(json, "observations", to.observations);
	json_put(json, "valves", to.valves);
	json_put(json, "ledger_totals", to.ledgers);
	json_put(json, "daemon_starts", to.starts);
	json_put(json, "canaries", to.canaries);
	json_put(json, "watched", to.watched);
	json_put_text(json, "sandbox", cutover->env.sandbox);
	json_put(json, "samples", samples_json(cutover));
	json_put(json, "ledger", ledger);
	json_put(exceptions, "uncertain", uncertain);
	json_put(json, "exceptions", exceptions);
	json_put_number(journal, "lines", (double)lines);
	json_put_text(journal, "head", head);
	json_put_bool(journal, "intact", intact);
	json_put_text(journal, "error", intact ? NULL : err.text);
	json_put(json, "journal", journal);
	return json;
}
