/* Valves, the ramp, the breaker, and when a release is drained. */

#include "base/clock.h"
#include "base/log.h"
#include "daemon/cutover.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "release"

enum {
	BREAKER_OUTCOMES = 20, /* never judged on fewer */
	BREAKER_SHARE = 10,    /* one mailbox in so many refused */
	BREAKER_LATELY = 1000, /* so many outcomes count, about */
	CLOCK_SET_MS = 60000,  /* a clock that is only trimmed moves less */
};

static void journal_valve(struct cutover_domain *domain,
			  const struct valve *valve, struct err *err,
			  int *result)
{
	struct json *data = json_object();

	json_put_text(data, "domain", domain->plan->name);
	json_put_text(data, "state", valve_state_name(valve->state));
	json_put_text(data, "reason", valve->reason);
	json_put_text(data, "target", cutover_target(domain)->target.name);
	*result = journal_add(domain->cutover->journal, "valve", data, err);
}

/* Feeds follow the valve; the system that is not the target has none. */
static void set_feeds(struct cutover_domain *domain)
{
	struct cutover_target *now = cutover_target(domain);
	bool open =
		domain->valve.state != VALVE_CLOSED && !domain->cutover->ending;

	for (int s = SYSTEM_OLD; s <= SYSTEM_NEW; s++)
		if (domain->targets[s] != now)
			replay_feed(domain->targets[s]->replay, domain->queue,
				    false);
	replay_feed(now->replay, domain->queue, open);
}

static void change_valve(struct cutover_domain *domain,
			 const struct valve *valve)
{
	struct err err = ERR_INIT;
	int result = 0;
	bool closes = valve->state < domain->valve.state;

	if (closes) {
		domain->valve = *valve;
		set_feeds(domain);
	}
	journal_valve(domain, valve, &err, &result);
	if (result < 0) {
		log_error("the valve of %s cannot open: journal: %s",
			  domain->plan->name, err.text);
		if (!closes)
			return;
	}
	log_info("%s: valve %s: %s", domain->plan->name,
		 valve_state_name(valve->state), valve->reason);
	domain->valve = *valve;
	domain->valve_since_ms = clock_wall_ms();
	if (valve->state == VALVE_OPEN) {
		queue_ramp_end(domain->queue);
		/* Whatever waited for its time waited for a closed target. */
		queue_retry_now(domain->queue);
	}
}

/* Is a known-good recipient of the domain refused for good, by the last probe? */
static bool is_unknown(const struct cutover_domain *domain,
		       const struct cutover_target *target)
{
	const struct cutover *cutover = domain->cutover;
	const struct facts_domain *facts =
		&cutover->facts->domains[domain - cutover->domains];

	for (int s = SYSTEM_OLD; s <= SYSTEM_NEW; s++) {
		const struct probe_result *probe = &facts->systems[s].probe;

		if (domain->targets[s] != target || !facts->systems[s].probed)
			continue;
		for (size_t r = 0; r < probe->rcpt_count; r++)
			if (!probe->rcpt[r].random &&
			    probe->rcpt[r].reply.code >= 500)
				return true;
	}
	return false;
}

static void decide_valve(struct cutover_domain *domain)
{
	struct cutover *cutover = domain->cutover;
	const struct plan *plan = cutover->plan;
	const struct health *now =
		cutover_health(domain, (int)phase_target(cutover->phase, plan));
	int64_t mono = clock_mono_ms();
	const struct window *window;
	struct valve valve;
	char health[600], active[80], text[CLOCK_TEXT];
	int64_t until;

	if (domain->unknown && !is_unknown(domain, cutover_target(domain))) {
		free(domain->unknown);
		domain->unknown = NULL;
	}
	if (domain->unknown)
		snprintf(health, sizeof(health), "it refuses the domain: %s",
			 domain->unknown);
	else
		health_describe(now, cutover_target(domain)->target.name,
				plan->timing.recover_after, mono, health,
				sizeof(health));
	window = windows_active(&cutover->windows, clock_wall_ms(), &until);
	if (window)
		snprintf(active, sizeof(active), "window %u until %s",
			 window->id, clock_format(until, text));
	valve_decide(
		&(struct valve_facts){
			.phase = cutover->phase,
			.strategy = plan->strategy,
			.plain = plan->plain,
			.broken =
				spool_writer_broken(cutover->env.store->spool),
			.paused = cutover_paused(domain),
			.breaker = domain->breaker,
			.window = window ? active : NULL,
			.healthy = !domain->unknown &&
				   health_recovered(now,
						    plan->timing.recover_after,
						    mono),
			.health = health,
			.ramp_left = !domain->ramp_done,
		},
		&valve);
	if (valve.state != domain->valve.state)
		change_valve(domain, &valve);
	else
		domain->valve = valve;
	set_feeds(domain);
}

/* The ramp. */

/* How many mailboxes wait, the index is asked. */
struct cutover_count {
	struct cutover *cutover; /* NULL: it is gone */
};

static void counted(void *ctx, struct json *result, const struct err *err)
{
	struct cutover_count *count = ctx;
	struct cutover *cutover = count->cutover;

	free(count);
	if (cutover) {
		cutover->count = NULL;
		if (err)
			log_error("how many mailboxes wait is not known: %s",
				  err->text);
		for (const struct json *row = json_first(result); row;
		     row = json_next(row)) {
			struct cutover_domain *domain = cutover_domain(
				cutover, slice(json_get_text(row, "domain")));

			if (domain)
				domain->ramp_lines = (size_t)json_get_number(
					row, "mailboxes", 0);
		}
		cutover_look(cutover);
	}
	json_free(result);
}

void cutover_count_cancel(struct cutover *cutover)
{
	if (cutover->count)
		cutover->count->cutover = NULL;
}

static void count_lines(struct cutover *cutover)
{
	if (cutover->count)
		return;
	cutover->count = mem_alloc(sizeof(*cutover->count));
	cutover->count->cutover = cutover;
	index_lines(cutover->env.store->index, cutover->plan->name, counted,
		    cutover->count);
}

/* Mail that waits and is not in memory. */
static bool has_more(const struct cutover_domain *domain)
{
	return domain->queue->ledger.waiting > domain->queue->here;
}

/* 0: it is not known yet. */
static size_t stage_size(const struct cutover_domain *domain)
{
	double stage = domain->cutover->plan->replay.ramp[domain->ramp_stage];
	size_t waiting = queue_waiting_mailboxes(domain->queue);

	if (stage >= 1)
		return (size_t)stage;
	if (has_more(domain)) {
		if (domain->ramp_lines == 0)
			count_lines(domain->cutover);
		waiting = domain->ramp_lines;
	}
	return (size_t)ceil(stage * (double)waiting);
}

/* Mailboxes that come into memory while the stage is on belong to it, too. */
static void fill_stage(struct cutover_domain *domain)
{
	size_t took = queue_admit(domain->queue,
				  domain->ramp_size - domain->ramp_took);

	domain->ramp_took += took;
	if (took > 0)
		replay_kick(cutover_target(domain)->replay);
}

static void begin_stage(struct cutover_domain *domain)
{
	size_t size = stage_size(domain);

	if (size == 0)
		return; /* the index is asked */
	domain->ramp_stage++;
	domain->stage_refused = 0;
	domain->ramp_size = size;
	domain->ramp_took = domain->ramp_lines = 0;
	fill_stage(domain);
	log_info("%s: stage %zu of the ramp: %zu mailboxes", domain->plan->name,
		 domain->ramp_stage, size);
}

static void close_breaker(struct cutover_domain *domain, const char *reason)
{
	struct err err = ERR_INIT;
	struct json *data;

	if (domain->breaker)
		return;
	domain->breaker = mem_dup(reason);
	decide_valve(domain);
	data = json_object();
	json_put_text(data, "domain", domain->plan->name);
	json_put_text(data, "reason", reason);
	if (journal_add(domain->cutover->journal, "breaker", data, &err) < 0)
		log_error("journal: %s", err.text);
}

/* Its stage is over when its mailboxes have their mail. */
static bool stage_is_over(struct cutover_domain *domain)
{
	if (domain->ramp_took < domain->ramp_size)
		fill_stage(domain);
	return queue_admitted_left(domain->queue) == 0 &&
	       (domain->ramp_took >= domain->ramp_size || !has_more(domain));
}

static void ramp(struct cutover_domain *domain)
{
	const struct plan *plan = domain->cutover->plan;

	if (domain->ramp_done || domain->valve.state != VALVE_RAMP)
		return;
	if (domain->ramp_size > 0) {
		char why[400];

		if (!stage_is_over(domain))
			return;
		if (domain->stage_refused > 0) {
			snprintf(why, sizeof(why),
				 "stage %zu of the ramp: %u "
				 "of %zu mailboxes refused: %s",
				 domain->ramp_stage, domain->stage_refused,
				 domain->ramp_took, domain->stage_remedy);
			domain->ramp_size = 0;
			close_breaker(domain, why);
			return;
		}
	}
	domain->ramp_size = 0;
	if (domain->queue->here == 0 && domain->queue->ledger.waiting > 0)
		return; /* its first mailboxes come into memory */
	if (domain->ramp_stage < plan->replay.ramp_count &&
	    queue_waiting_mailboxes(domain->queue) > 0) {
		begin_stage(domain);
		return;
	}
	domain->ramp_done = true;
	decide_valve(domain);
}

/* What the replay tells. */

static struct cutover_domain *domain_of(struct cutover *cutover,
					const struct queue_domain *queue)
{
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		if (cutover->domains[i].queue == queue)
			return &cutover->domains[i];
	return NULL;
}

/* Gmail says 450 4.2.1 and Exchange Online 432 4.3.2 when a mailbox gets too
 * much at once, and 5.2.121, 5.2.122 when it is over its hourly limit. */
static void note_pace(struct cutover_domain *domain,
		      const struct smtp_reply *reply)
{
	if (strncmp(reply->enhanced, "5.2.12", 6) == 0)
		domain->limited_ms = clock_wall_ms();
	else if (reply->code == 432 || strcmp(reply->enhanced, "4.2.1") == 0)
		domain->slowed_ms = clock_wall_ms();
}

static void on_outcome(void *ctx, struct replay *replay,
		       const struct replay_outcome *outcome)
{
	struct cutover_target *target = ctx;
	struct cutover *cutover = target->cutover;
	struct cutover_domain *domain = domain_of(cutover, outcome->domain);

	domain->outcomes++;
	if (outcome->reply)
		note_pace(domain, outcome->reply);
	if (outcome->act != ACT_DELIVERED && outcome->act != ACT_HOLD)
		return;
	if (domain->lately++ >= BREAKER_LATELY) {
		domain->lately /= 2;
		domain->lately_refused /= 2;
	}
	if (outcome->act == ACT_DELIVERED) {
		rate_add(&cutover->replays, 1, clock_mono_ms());
		cutover->release_done++;
		return;
	}
	if (outcome->scope != SCOPE_MAILBOX)
		return;
	domain->refused++;
	if (domain->unlisted_seen) {
		if (domain->ramp_size > 0)
			domain->ramp_size++; /* another one in its place */
		return;
	}
	domain->lately_refused++;
	domain->stage_refused++;
	domain->stage_remedy = outcome->remedy;
	if (domain->lately >= BREAKER_OUTCOMES &&
	    domain->lately_refused * BREAKER_SHARE >= domain->lately) {
		char why[400];

		snprintf(why, sizeof(why),
			 "%llu of %llu outcomes were "
			 "refused mailboxes: %s",
			 (unsigned long long)domain->lately_refused,
			 (unsigned long long)domain->lately, outcome->remedy);
		close_breaker(domain, why);
	}
}

/* A standby valve opens again by itself: by the target's health, or once the
 * domain's known-good recipients are taken again. */
static void stand_by(struct cutover_domain *domain, bool is_known,
		     const char *reason)
{
	if (is_known)
		health_seen(&cutover_target(domain)->target.health, reason,
			    clock_wall_ms(), clock_mono_ms());
	else if (!domain->unknown)
		domain->unknown = mem_dup(reason);
	decide_valve(domain);
}

static void on_refused(void *ctx, struct replay *replay,
		       const struct queue_domain *queue, const char *reason)
{
	struct cutover_target *target = ctx;
	struct cutover *cutover = target->cutover;

	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		struct cutover_domain *domain = &cutover->domains[i];

		if (cutover_target(domain) != target ||
		    (queue && queue != domain->queue))
			continue;
		if (cutover->plan->strategy == STRATEGY_STANDBY)
			stand_by(domain, !queue, reason);
		else
			close_breaker(domain, reason);
	}
}

static void on_untrusted(void *ctx, struct replay *replay,
			 const struct queue_domain *queue, const char *reason)
{
	struct cutover_target *target = ctx;
	struct cutover *cutover = target->cutover;
	struct cutover_domain *domain = domain_of(cutover, queue);

	if (cutover_target(domain) != target)
		return;
	if (cutover->plan->strategy == STRATEGY_PARK) {
		close_breaker(domain, reason);
		return;
	}
	cutover_health_untrusted(domain, reason);
	decide_valve(domain);
}

static void on_health(void *ctx, struct replay *replay, bool healthy,
		      const char *error)
{
	struct cutover_target *target = ctx;

	/* One good connection does not make a recovery: probes do. */
	if (!healthy && health_seen(&target->target.health, error,
				    clock_wall_ms(), clock_mono_ms()))
		cutover_look(target->cutover);
}

static bool refuses_all(void *ctx, struct replay *replay,
			const struct queue_domain *queue)
{
	struct cutover_target *target = ctx;
	const struct cutover_domain *domain = domain_of(target->cutover, queue);

	return domain && is_unknown(domain, target);
}

const struct replay_owner cutover_replay_owner = {
	.on_outcome = on_outcome,
	.on_refused = on_refused,
	.on_untrusted = on_untrusted,
	.on_health = on_health,
	.refuses_all = refuses_all,
};

/* Drained. */

void cutover_release_begin(struct cutover *cutover)
{
	cutover->release_mark = 0;
	cutover->release_total = cutover->release_done = 0;
	cutover->drained = false;
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		struct cutover_domain *domain = &cutover->domains[i];

		domain->ramp_stage = domain->ramp_size = 0;
		domain->ramp_lines = 0;
		domain->unlisted_seen = false;
		domain->ramp_done = cutover->plan->replay.ramp_count == 0 ||
				    cutover->plan->strategy == STRATEGY_STANDBY;
		domain->outcomes = domain->refused = 0;
		domain->lately = domain->lately_refused = 0;
		free(domain->breaker);
		domain->breaker = NULL;
		cutover->release_total += domain->queue->ledger.waiting;
		/* The other system's times say nothing of this one. */
		queue_retry_now(domain->queue);
	}
}

static bool domain_is_drained(const struct cutover_domain *domain)
{
	const struct cutover *cutover = domain->cutover;
	const struct queue_envelope *first;
	int64_t now = clock_wall_ms();

	if (domain->queue->ledger.waiting == 0)
		return true;
	if (list_is_empty(&domain->queue->waiting) || domain->queue->asleep > 0)
		return false; /* not in memory yet */
	first = list_entry(domain->queue->waiting.next, struct queue_envelope,
			   all);
	if (first->message->sequence <= cutover->release_mark)
		return false;
	return first->next_ms > now ||
	       now - first->message->accepted_ms <
		       cutover->plan->timing.drained_age;
}

static void look_for_drained(struct cutover *cutover)
{
	struct err err = ERR_INIT;
	bool open = true, drained = true;

	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		open &= cutover->domains[i].valve.state == VALVE_OPEN;
		drained &= domain_is_drained(&cutover->domains[i]);
	}
	if (!open)
		return;
	if (cutover->release_mark == 0) {
		/* Everything accepted until now must be out (or held). */
		cutover->release_mark =
			cutover->last_sequence ? cutover->last_sequence : 1;
		return;
	}
	if (!drained)
		return;
	cutover->drained = true;
	if (cutover_enter(cutover,
			  cutover->phase == PHASE_RELEASING ? PHASE_TRAILING :
							      PHASE_RETURNED,
			  "tideoverd", &err) < 0)
		log_error("plan %s: %s", cutover->plan->name, err.text);
}

/* Times to come are the wall's, so that they outlive a start: one that is set
 * back would keep mail waiting for as long. */
static void watch_clock(struct cutover *cutover)
{
	int64_t ahead = clock_wall_ms() - clock_mono_ms();
	int64_t back = cutover->ahead_ms - ahead;

	cutover->ahead_ms = ahead;
	if (back < CLOCK_SET_MS)
		return;
	log_warn("plan %s: the clock was set back: what waits for a time is "
		 "tried now",
		 cutover->plan->name);
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		struct cutover_domain *domain = &cutover->domains[i];

		queue_retry_now(domain->queue);
		replay_kick(cutover_target(domain)->replay);
	}
}

void cutover_release_tick(struct cutover *cutover)
{
	watch_clock(cutover);
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		decide_valve(&cutover->domains[i]);
		ramp(&cutover->domains[i]);
	}
	if (cutover->phase == PHASE_RELEASING ||
	    cutover->phase == PHASE_RETURNING)
		look_for_drained(cutover);
}

void cutover_end(struct cutover *cutover)
{
	cutover->ending = true;
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		set_feeds(&cutover->domains[i]);
}

bool cutover_is_sending(const struct cutover *cutover)
{
	for (size_t i = 0; i < cutover->target_count; i++)
		if (replay_in_flight(cutover->targets[i]->replay) > 0)
			return true;
	return false;
}

bool cutover_sends_on(const struct cutover *cutover, struct slice domain)
{
	if (cutover->plan->when_up != WHEN_UP_DEFER ||
	    (cutover->phase != PHASE_STANDING &&
	     cutover->phase != PHASE_HOLDING))
		return false;
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		if (slice_is(domain, cutover->plan->domains[i].name))
			return cutover->domains[i].valve.state == VALVE_OPEN;
	return false;
}
