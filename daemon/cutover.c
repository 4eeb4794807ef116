#include "daemon/cutover.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/canary_sender.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "cutover"

enum {
	TICK_MS = 200
};

void cutover_vouched(struct cutover *cutover, const struct json *totals)
{
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct json *one =
			json_get(totals, cutover->plan->domains[i].name);
		double accepted = json_get_number(one, "accepted", 0);

		if (accepted > (double)cutover->vouched[i])
			cutover->vouched[i] = (uint64_t)accepted;
	}
}

/* Each start finds the same ranges again, until their segment is gone. */
void cutover_recovered(struct cutover *cutover, uint64_t damaged)
{
	if (damaged > cutover->damaged)
		cutover->damaged = damaged;
}

void cutover_add_waiver(struct cutover *cutover, const struct waiver *waiver)
{
	cutover->waivers =
		mem_grow(cutover->waivers, (cutover->waiver_count + 1) *
						   sizeof(*cutover->waivers));
	cutover->waivers[cutover->waiver_count++] = *waiver;
}

struct waiver *cutover_waivers(struct cutover *cutover, size_t *count)
{
	*count = cutover->waiver_count;
	return cutover->waivers;
}

static struct cutover_target *target_for(struct cutover *cutover,
					 const struct plan_system *system)
{
	struct cutover_target *target = mem_alloc(sizeof(*target));
	struct replay_spec spec;

	target_init(&target->target, system);
	for (size_t i = 0; i < cutover->target_count; i++) {
		if (strcmp(cutover->targets[i]->target.name,
			   target->target.name) == 0) {
			target_release(&target->target);
			free(target);
			return cutover->targets[i];
		}
	}
	target->cutover = cutover;
	target->trust = trust_new(&(struct trust_spec){
		.host = target->target.host,
		.port = target->target.port,
		.dane = cutover->plan->replay.tls == PLAN_TLS_DANE,
		.validator = cutover->validator,
		.no_validator = cutover->no_validator.text,
		.policies = cutover->policies,
	});
	spec = (struct replay_spec){
		.store = cutover->env.store,
		.plan = cutover->plan,
		.target = &target->target,
		.resolver = cutover->resolver,
		.tls = cutover->tls,
		.trust = target->trust,
		.helo = cutover->plan->queue_mx.host,
	};
	target->replay = replay_new(&spec, &cutover_replay_owner, target);
	cutover->targets =
		mem_grow(cutover->targets, (cutover->target_count + 1) *
						   sizeof(*cutover->targets));
	cutover->targets[cutover->target_count++] = target;
	return target;
}

static void make_domains(struct cutover *cutover)
{
	const struct plan *plan = cutover->plan;

	cutover->domains =
		mem_alloc(plan->domain_count * sizeof(*cutover->domains));
	for (size_t i = 0; i < plan->domain_count; i++) {
		struct cutover_domain *domain = &cutover->domains[i];
		const struct plan_domain *from = &plan->domains[i];

		domain->cutover = cutover;
		domain->plan = from;
		domain->queue = queue_domain(cutover->env.queue, plan->name,
					     from->name);
		domain->targets[SYSTEM_OLD] =
			target_for(cutover, &from->systems[SYSTEM_OLD]);
		domain->targets[SYSTEM_NEW] =
			plan->plain ?
				domain->targets[SYSTEM_OLD] :
				target_for(cutover, &from->systems[SYSTEM_NEW]);
	}
}

/* The queue's own certificate may serve as the client's, with its key. */
static const char *client_key(const struct plan *plan)
{
	if (plan->replay.client_key_file ||
	    !plan->replay.client_certificate_file)
		return plan->replay.client_key_file;
	return plan->queue_mx.key_file;
}

static int make_tls(struct cutover *cutover, struct err *err)
{
	const struct plan *plan = cutover->plan;
	enum tls_policy policy =
		plan->replay.tls == PLAN_TLS_OPPORTUNISTIC ? TLS_OPPORTUNISTIC :
		plan->replay.tls == PLAN_TLS_VERIFIED	   ? TLS_VERIFIED :
							     TLS_REQUIRED;

	/* Of DANE the terms of each session ask more (trust.h). */
	cutover->tls = tls_client_new(policy, NULL,
				      plan->replay.client_certificate_file,
				      client_key(plan), err);
	if (!cutover->tls)
		return -1;
	if (!plan->queue_mx.certificate_file)
		return 0;
	cutover->tls_server = tls_server_new(plan->queue_mx.certificate_file,
					     plan->queue_mx.key_file,
					     cutover->env.tls_floor, err);
	return cutover->tls_server ? 0 : -1;
}

static int make_resolver(struct cutover *cutover, struct err *err)
{
	const struct plan *plan = cutover->plan;
	struct addr server;

	if (plan->dns.resolvers.count == 0)
		return 0;
	if (strcmp(plan->dns.resolvers.at[0], "system") == 0) {
		if (dns_system_server(&server, err) < 0)
			return -1;
	} else if (addr_parse(slice(plan->dns.resolvers.at[0]), 53, &server,
			      err) < 0) {
		return -1;
	}
	cutover->resolver = dns_resolver_new(cutover->env.loop, &server, err);
	return cutover->resolver ? 0 : -1;
}

static void wake_all(void *ctx)
{
	struct cutover *cutover = ctx;

	for (size_t i = 0; i < cutover->target_count; i++)
		trust_wake(cutover->targets[i]->trust);
}

/* Without a validator the plan goes on, and its targets get nothing. */
static void make_trust(struct cutover *cutover)
{
	struct addr resolvers[PLAN_LIST_MAX];
	size_t count = survey_resolvers(cutover->plan, resolvers);
	char *path = mem_printf("%s/mta-sts.json", cutover->dir);

	cutover->policies = policies_new(cutover->env.loop, path, resolvers,
					 count, wake_all, cutover);
	free(path);
	if (cutover->plan->replay.tls == PLAN_TLS_DANE)
		cutover->validator =
			dns_validator_new(cutover->env.loop, resolvers, count,
					  &cutover->no_validator);
}

/* Durable before the journal, whose being there says that mail may be. */
static int make_key(struct cutover *cutover, struct err *err)
{
	struct keyring *keyring = cutover->env.keyring;
	const char *plan = cutover->plan->name;
	char *path, *version;
	int result;

	if (!cutover->plan->encrypt || keyring_find(keyring, plan))
		return 0;
	path = mem_printf("%s/" KEY_FILE_NAME, cutover->dir);
	version = mem_printf("%s/VERSION", cutover->env.state_dir);
	result = keyring_make(keyring, plan, path, err);
	/* A tideoverd that knows no sealed records must not read them. */
	if (result == 0)
		result = file_write(version, slice("2\n"), 0600, err);
	free(path);
	free(version);
	return result;
}

static int make_state(struct cutover *cutover, struct err *err)
{
	char *path = mem_printf("%s/journal.ndjson", cutover->dir);
	char *plan_path = mem_printf("%s/plan.json", cutover->dir);
	char head[65];
	uint64_t count;
	int result = -1;

	if (file_make_dirs(cutover->dir, 0700, err) < 0 ||
	    make_key(cutover, err) < 0)
		goto out;
	cutover->journal = journal_open(path, err);
	if (!cutover->journal)
		goto out;
	if (cutover->plan->encrypt)
		journal_hide_addresses(cutover->journal);
	if (journal_count(cutover->journal) > 0 &&
	    journal_read(path, cutover_past_line, cutover, head, &count, err) <
		    0)
		goto out;
	if (file_write(plan_path, slice(cutover->plan->text), 0600, err) < 0)
		goto out;
	result = 0;
out:
	free(path);
	free(plan_path);
	return result;
}

static int note_loaded(struct cutover *cutover, struct err *err)
{
	struct json *data = json_object();
	const struct plan *plan = cutover->plan;

	json_put_text(data, "plan", plan->name);
	json_put_text(data, "hash", plan->hash);
	json_put_text(data, "path", plan->path);
	json_put_text(data, "version", TIDEOVER_VERSION);
	json_put_text(data, "phase", phase_name(cutover->phase));
	json_put_bool(data, "rehearsal", plan->rehearsal);
	return journal_add(cutover->journal, "loaded", data, err);
}

static void tick(void *ctx)
{
	struct cutover *cutover = ctx;

	loop_timer_arm(cutover->tick, TICK_MS);
	cutover_watch_tick(cutover, clock_mono_ms());
	cutover_release_tick(cutover);
}

struct cutover *cutover_new(const struct cutover_env *env, struct plan *plan,
			    struct err *err)
{
	struct cutover *cutover = mem_alloc(sizeof(*cutover));

	cutover->env = *env;
	list_init(&cutover->wishes);
	cutover->plan = plan;
	cutover->dir = mem_printf("%s/plans/%s", env->state_dir, plan->name);
	cutover->since_ms = cutover->loaded_ms = clock_wall_ms();
	cutover->loaded_boot_ms = clock_boot_ms();
	cutover->stop_count = plan->domain_count;
	cutover->stops =
		mem_alloc(cutover->stop_count * sizeof(*cutover->stops));
	cutover->vouched =
		mem_alloc(plan->domain_count * sizeof(*cutover->vouched));
	canaries_init(&cutover->canaries, plan);
	if (make_state(cutover, err) < 0 || make_tls(cutover, err) < 0 ||
	    make_resolver(cutover, err) < 0)
		goto fail;
	if (plan->recipients.listed &&
	    recipients_load(&cutover->recipients, plan->recipients.file, err) <
		    0)
		goto fail;
	if (note_loaded(cutover, err) < 0)
		goto fail;
	make_trust(cutover);
	make_domains(cutover);
	canaries_settle(&cutover->canaries);
	cutover->canary_sender = canary_sender_new(cutover);
	cutover->tick = loop_timer_new(env->loop, tick, cutover);
	cutover_watch_init(cutover);
	return cutover;
fail:
	cutover->plan = NULL; /* stays the caller's */
	cutover_free(cutover);
	return NULL;
}

void cutover_free(struct cutover *cutover)
{
	if (!cutover)
		return;
	loop_timer_free(cutover->tick);
	cutover_past_cancel(cutover);
	cutover_count_cancel(cutover);
	cutover_watch_free(cutover);
	canary_sender_free(cutover->canary_sender);
	cutover_wish_cancel(cutover);
	canaries_release(&cutover->canaries);
	for (size_t i = 0; i < cutover->target_count; i++) {
		replay_free(cutover->targets[i]->replay);
		trust_free(cutover->targets[i]->trust);
		free(cutover->targets[i]->refused);
		target_release(&cutover->targets[i]->target);
		free(cutover->targets[i]);
	}
	free(cutover->targets);
	for (size_t i = 0; cutover->domains && i < cutover->plan->domain_count;
	     i++) {
		free(cutover->domains[i].breaker);
		free(cutover->domains[i].unknown);
		free(cutover->domains[i].proofs[SYSTEM_OLD].refused);
		free(cutover->domains[i].proofs[SYSTEM_NEW].refused);
	}
	free(cutover->domains);
	for (size_t i = 0; i < cutover->waiver_count; i++) {
		free(cutover->waivers[i].by);
		free(cutover->waivers[i].reason);
	}
	for (size_t i = 0; i < cutover->stop_count; i++)
		cutover_stop_end(&cutover->stops[i]);
	free(cutover->stops);
	free(cutover->vouched);
	windows_release(&cutover->windows);
	free(cutover->waivers);
	policies_free(cutover->policies);
	dns_validator_free(cutover->validator);
	dns_resolver_free(cutover->resolver);
	json_free(cutover->replies);
	tls_client_free(cutover->tls);
	tls_server_free(cutover->tls_server);
	recipients_release(&cutover->recipients);
	journal_close(cutover->journal);
	plan_free(cutover->plan);
	free(cutover->paused);
	free(cutover->dir);
	free(cutover);
}

void cutover_begin(struct cutover *cutover)
{
	if (cutover->phase == PHASE_RELEASING ||
	    cutover->phase == PHASE_RETURNING)
		cutover_release_begin(cutover);
	/* A breaker that closed before stays so: a restart opens nothing. */
	for (size_t i = 0; i < cutover->stop_count; i++)
		mem_replace(&cutover->domains[i].breaker,
			    cutover->stops[i].breaker);
	loop_timer_arm(cutover->tick, 0);
}

void cutover_run(struct cutover *cutover)
{
	int64_t span_ms = 0;

	for (size_t i = 0; i < cutover->target_count; i++) {
		int64_t one = limit_span_ms(
			replay_limit(cutover->targets[i]->replay));

		if (one > span_ms)
			span_ms = one;
	}
	if (span_ms == 0) {
		cutover_begin(cutover);
		return;
	}
	cutover_past_recall(cutover, clock_wall_ms() - span_ms);
}

void cutover_look(struct cutover *cutover)
{
	loop_timer_arm(cutover->tick, 0);
	for (size_t i = 0; i < cutover->target_count; i++)
		replay_kick(cutover->targets[i]->replay);
}

struct cutover_domain *cutover_domain(struct cutover *cutover,
				      struct slice name)
{
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		if (slice_is_nocase(name, cutover->domains[i].plan->name))
			return &cutover->domains[i];
	return NULL;
}

struct cutover_target *cutover_target(struct cutover_domain *domain)
{
	return domain->targets[phase_target(domain->cutover->phase,
					    domain->cutover->plan)];
}

void cutover_arrived(struct cutover *cutover, uint64_t sequence, uint64_t bytes,
		     size_t envelopes)
{
	cutover->last_sequence = sequence;
	cutover->last_arrival_ms = clock_wall_ms();
	cutover->arrival_count++;
	cutover->arrival_bytes += bytes;
	rate_add(&cutover->arrivals, 1, clock_mono_ms());
}

int cutover_enter(struct cutover *cutover, enum phase phase, const char *by,
		  struct err *err)
{
	struct json *data;

	if (phase_may_enter(cutover->phase, phase, cutover->plan, err) < 0)
		return -1;
	data = json_object();
	json_put_text(data, "from", phase_name(cutover->phase));
	json_put_text(data, "to", phase_name(phase));
	json_put_text(data, "by", by);
	if (journal_add(cutover->journal, "phase", data, err) < 0)
		return -1;
	log_info("plan %s: %s", cutover->plan->name, phase_name(phase));
	cutover->phase = phase;
	cutover->since_ms = clock_wall_ms();
	/* Nobody waits for that gate any more. */
	findings_release(&cutover->last_gate);
	if (phase == PHASE_RELEASING || phase == PHASE_RETURNING)
		cutover_release_begin(cutover);
	cutover_look(cutover);
	return 0;
}

int cutover_note(struct cutover *cutover, const char *event, struct json *data,
		 struct err *err)
{
	return journal_add(cutover->journal, event, data, err);
}
