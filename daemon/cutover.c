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

/* The index is asked what was delivered lately. */
struct cutover_recall {
	struct cutover *cutover; /* NULL: it is gone */
	int64_t since_ms;
	uint64_t after; /* sequence of the last that was told */
};

/* What the journal says of the past. */

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

/* What a line of the journal is about: a domain's, or NULL: all of them. */
static struct cutover_stop *stop_of(struct cutover *cutover, const char *domain)
{
	for (size_t i = 0; domain && i < cutover->stop_count; i++)
		if (strcmp(cutover->plan->domains[i].name, domain) == 0)
			return &cutover->stops[i];
	return NULL;
}

static void set_text(char **text, const char *to)
{
	free(*text);
	*text = mem_dup(to);
}

static void unstop(struct cutover_stop *stop)
{
	set_text(&stop->paused, NULL);
	set_text(&stop->breaker, NULL);
}

static void restore_stop(struct cutover *cutover, const char *event,
			 const struct json *data)
{
	const char *reason = json_get_text(data, "reason");
	const char *domain = json_get_text(data, "domain");
	struct cutover_stop *stop = stop_of(cutover, domain);

	if (strcmp(event, "pause") == 0 && !domain)
		set_text(&cutover->paused, reason);
	else if (strcmp(event, "pause") == 0 && stop)
		set_text(&stop->paused, reason);
	else if (strcmp(event, "breaker") == 0 && stop)
		set_text(&stop->breaker, reason);
	else if (strcmp(event, "breaker-open") == 0 && stop)
		set_text(&stop->breaker, NULL);
	else if (strcmp(event, "resume") == 0 && stop)
		unstop(stop);
	else if (strcmp(event, "resume") == 0 && !domain) {
		set_text(&cutover->paused, NULL);
		for (size_t i = 0; i < cutover->stop_count; i++)
			unstop(&cutover->stops[i]);
	}
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
			set_text(&cutover->stops[i].breaker, NULL);
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
		restore_stop(cutover, event, data);
	}
	return 0;
}

static int each_line(void *ctx, const struct json *line)
{
	struct err err = ERR_INIT;

	if (restore_line(ctx, line, &err) < 0)
		log_error("journal: %s", err.text);
	return 0;
}

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

/* Building. */

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
	    journal_read(path, each_line, cutover, head, &count, err) < 0)
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

/* An operator's wish that needs a gate first. */
struct wish {
	struct list link;
	struct cutover *cutover;
	enum phase next;
	enum gate gate;
	bool from_breaker; /* finish again: the breaker reopens */
	char *by;
	cutover_gate_fn *done;
	void *ctx;
	struct err err;
};

static void wish_free(struct wish *wish)
{
	list_remove(&wish->link);
	free(wish->by);
	free(wish);
}

void cutover_free(struct cutover *cutover)
{
	if (!cutover)
		return;
	loop_timer_free(cutover->tick);
	if (cutover->recall)
		cutover->recall->cutover = NULL;
	cutover_count_cancel(cutover);
	cutover_watch_free(cutover);
	canary_sender_free(cutover->canary_sender);
	list_each (it, next, &cutover->wishes)
		wish_free(list_entry(it, struct wish, link));
	canaries_release(&cutover->canaries);
	for (size_t i = 0; i < cutover->target_count; i++) {
		replay_free(cutover->targets[i]->replay);
		trust_free(cutover->targets[i]->trust);
		target_release(&cutover->targets[i]->target);
		free(cutover->targets[i]);
	}
	free(cutover->targets);
	for (size_t i = 0; cutover->domains && i < cutover->plan->domain_count;
	     i++) {
		free(cutover->domains[i].breaker);
		free(cutover->domains[i].unknown);
		free(cutover->domains[i].untrusted);
	}
	free(cutover->domains);
	for (size_t i = 0; i < cutover->waiver_count; i++) {
		free(cutover->waivers[i].by);
		free(cutover->waivers[i].reason);
	}
	for (size_t i = 0; i < cutover->stop_count; i++)
		unstop(&cutover->stops[i]);
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

/* What the targets got before this start counts for their limits. */

static void begin(struct cutover *cutover)
{
	if (cutover->phase == PHASE_RELEASING ||
	    cutover->phase == PHASE_RETURNING)
		cutover_release_begin(cutover);
	/* A breaker that closed before stays so: a restart opens nothing. */
	for (size_t i = 0; i < cutover->stop_count; i++)
		set_text(&cutover->domains[i].breaker,
			 cutover->stops[i].breaker);
	loop_timer_arm(cutover->tick, 0);
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
		begin(cutover);
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
		begin(cutover);
		return;
	}
	cutover->recall = mem_alloc(sizeof(*cutover->recall));
	cutover->recall->cutover = cutover;
	cutover->recall->since_ms = clock_wall_ms() - span_ms;
	recall(cutover->recall);
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

/* Phases. */

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

/* Wishes. */

static struct wish *wish_new(struct cutover *cutover, const char *by,
			     cutover_gate_fn *done, void *ctx)
{
	struct wish *wish = mem_alloc(sizeof(*wish));

	wish->cutover = cutover;
	wish->by = mem_dup(by);
	wish->done = done;
	wish->ctx = ctx;
	list_append(&cutover->wishes, &wish->link);
	return wish;
}

static void wish_end(struct wish *wish, const struct findings *findings)
{
	wish->done(wish->ctx, wish->cutover, findings,
		   wish->err.text[0] ? &wish->err : NULL);
	wish_free(wish);
}

/* Answers from the loop, as a gate would. */
static void wish_now(void *ctx)
{
	wish_end(ctx, NULL);
}

static void clear_breaker(struct cutover_domain *domain)
{
	set_text(&domain->breaker, NULL);
	domain->unlisted_seen = !domain->cutover->plan->recipients.listed;
	domain->outcomes = domain->refused = 0;
	domain->lately = domain->lately_refused = 0;
	domain->stage_refused = 0;
}

/* Opens: it is journalled first. */
static void clear_breakers(struct cutover *cutover, const char *by,
			   struct err *err)
{
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		struct cutover_domain *domain = &cutover->domains[i];
		struct json *data;

		if (!domain->breaker)
			continue;
		data = json_object();
		json_put_text(data, "by", by);
		json_put_text(data, "domain", domain->plan->name);
		json_put_text(data, "reason", "the gate is open");
		if (journal_add(cutover->journal, "breaker-open", data, err) <
		    0)
			return;
		clear_breaker(domain);
	}
	cutover_look(cutover);
}

static void wish_judged(void *ctx, struct cutover *cutover,
			const struct findings *findings, const struct err *err)
{
	struct wish *wish = ctx;

	if (err)
		wish->err = *err;
	else if (findings->open && wish->from_breaker)
		clear_breakers(cutover, wish->by, &wish->err);
	else if (findings->open && cutover->phase != wish->next)
		cutover_enter(cutover, wish->next, wish->by, &wish->err);
	wish_end(wish, findings);
}

static void wish_judge(void *ctx)
{
	struct wish *wish = ctx;

	cutover_judge(wish->cutover, wish->gate, NULL, wish_judged, wish);
}

/* Who goes through a gate sends its canaries before; who only looks does not. */
static void pass_gate(struct wish *wish, enum gate gate)
{
	wish->gate = gate;
	if (gate == GATE_START || gate == GATE_FINISH)
		canary_sender_for_gate(wish->cutover->canary_sender, gate,
				       wish->by, wish_judge, wish);
	else
		wish_judge(wish);
}

static void refuse(struct wish *wish, const char *verb)
{
	err_set(&wish->err, "cannot %s: the plan is %s", verb,
		phase_name(wish->cutover->phase));
	loop_post(wish->cutover->env.loop, wish_now, wish);
}

void cutover_start(struct cutover *cutover, const char *by,
		   cutover_gate_fn *done, void *ctx)
{
	struct wish *wish = wish_new(cutover, by, done, ctx);

	if (cutover->phase == PHASE_PLANNED &&
	    cutover_enter(cutover, PHASE_OPENING, by, &wish->err) < 0) {
		loop_post(cutover->env.loop, wish_now, wish);
		return;
	}
	if (cutover->phase == PHASE_OPENING) {
		wish->next =
			cutover->plan->plain ? PHASE_STANDING : PHASE_HOLDING;
		pass_gate(wish, GATE_START);
		return;
	}
	if (cutover->phase == PHASE_FINISHED) {
		err_set(&wish->err,
			"plan %s is finished: tideover remove %s first, or "
			"start it under another name",
			cutover->plan->name, cutover->plan->name);
		loop_post(cutover->env.loop, wish_now, wish);
		return;
	}
	loop_post(cutover->env.loop, wish_now, wish); /* done before */
}

static bool breaker_is_closed(const struct cutover *cutover)
{
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		if (cutover->domains[i].breaker)
			return true;
	return false;
}

void cutover_finish(struct cutover *cutover, const char *by, bool now,
		    cutover_gate_fn *done, void *ctx)
{
	struct wish *wish = wish_new(cutover, by, done, ctx);

	switch (cutover->phase) {
	case PHASE_HOLDING:
		wish->next = PHASE_RELEASING;
		pass_gate(wish, GATE_FINISH);
		return;
	case PHASE_RELEASING:
	case PHASE_RETURNING:
		if (!breaker_is_closed(cutover))
			break;
		wish->from_breaker = true;
		pass_gate(wish, cutover->phase == PHASE_RELEASING ?
					GATE_FINISH :
					GATE_ROLLBACK);
		return;
	case PHASE_TRAILING:
	case PHASE_RETURNED:
	case PHASE_STANDING:
		wish->next = PHASE_FINISHED;
		if (now) {
			cutover_enter(cutover, PHASE_FINISHED, by, &wish->err);
			break;
		}
		pass_gate(wish, GATE_CLOSE);
		return;
	case PHASE_FINISHED:
		break;
	case PHASE_PLANNED:
	case PHASE_OPENING:
		refuse(wish, "finish");
		return;
	}
	loop_post(cutover->env.loop, wish_now, wish);
}

void cutover_rollback(struct cutover *cutover, const char *by,
		      cutover_gate_fn *done, void *ctx)
{
	struct wish *wish = wish_new(cutover, by, done, ctx);

	if (cutover->phase == PHASE_RETURNING ||
	    cutover->phase == PHASE_RETURNED) {
		loop_post(cutover->env.loop, wish_now, wish);
		return;
	}
	if (phase_may_enter(cutover->phase, PHASE_RETURNING, cutover->plan,
			    NULL) < 0) {
		refuse(wish, "roll back");
		return;
	}
	wish->next = PHASE_RETURNING;
	pass_gate(wish, GATE_ROLLBACK);
}

int cutover_abort(struct cutover *cutover, const char *by, struct err *err)
{
	if (cutover->phase == PHASE_PLANNED)
		return 0;
	if (cutover->phase != PHASE_OPENING)
		return err_set(err,
			       "the plan is %s: tideover rollback is the way "
			       "back, where there is one",
			       phase_name(cutover->phase));
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		if (cutover->domains[i].queue->ledger.accepted > 0)
			return err_set(err,
				       "mail was accepted already: let it go "
				       "on, tideover start until the gate "
				       "opens, then tideover rollback");
	return cutover_enter(cutover, PHASE_PLANNED, by, err);
}

static int find_stop(struct cutover *cutover, const char *domain, size_t *index,
		     struct err *err)
{
	const struct cutover_domain *found =
		cutover_domain(cutover, slice(domain));

	if (!found)
		return err_set(err, "plan %s has no domain %s",
			       cutover->plan->name, domain);
	*index = (size_t)(found - cutover->domains);
	return 0;
}

const char *cutover_paused(const struct cutover_domain *domain)
{
	const struct cutover *cutover = domain->cutover;

	return cutover->paused ?
		       cutover->paused :
		       cutover->stops[domain - cutover->domains].paused;
}

int cutover_pause(struct cutover *cutover, const char *domain, const char *by,
		  const char *reason, struct err *err)
{
	struct json *data;
	size_t at = 0;

	if (cutover->phase == PHASE_FINISHED)
		return err_set(err, "the plan is finished: it accepts no mail "
				    "and nothing leaves");
	if (domain && find_stop(cutover, domain, &at, err) < 0)
		return -1;
	if (!reason || !*reason)
		reason = "no reason given";
	/* Closes: it happens first. */
	set_text(domain ? &cutover->stops[at].paused : &cutover->paused,
		 reason);
	cutover_release_tick(cutover);
	data = json_object();
	json_put_text(data, "by", by);
	if (domain)
		json_put_text(data, "domain", cutover->domains[at].plan->name);
	json_put_text(data, "reason", reason);
	return journal_add(cutover->journal, "pause", data, err);
}

int cutover_resume(struct cutover *cutover, const char *domain, const char *by,
		   struct err *err)
{
	struct json *data;
	size_t first = 0, end = cutover->stop_count;

	if (domain && find_stop(cutover, domain, &first, err) < 0)
		return -1;
	if (domain)
		end = first + 1;
	data = json_object();
	json_put_text(data, "by", by);
	if (domain)
		json_put_text(data, "domain",
			      cutover->domains[first].plan->name);
	if (journal_add(cutover->journal, "resume", data, err) < 0)
		return -1;
	if (!domain)
		set_text(&cutover->paused, NULL);
	for (size_t i = first; i < end; i++) {
		unstop(&cutover->stops[i]);
		clear_breaker(&cutover->domains[i]);
	}
	cutover_look(cutover);
	return 0;
}

/* Windows. */

const struct window *cutover_window_add(struct cutover *cutover,
					const struct window *window,
					struct err *err)
{
	const struct window *added;

	if (cutover->plan->strategy != STRATEGY_STANDBY) {
		err_set(err, "windows are for standby plans: in a parked plan "
			     "mail is held until finish anyway");
		return NULL;
	}
	added = windows_add(&cutover->windows, window, clock_wall_ms(), err);
	if (!added)
		return NULL;
	/* Closes: it happens first. */
	cutover_release_tick(cutover);
	if (journal_add(cutover->journal, "window", window_json(added), err) <
	    0) {
		windows_cancel(&cutover->windows, added->id);
		return NULL;
	}
	return added;
}

int cutover_window_cancel(struct cutover *cutover, unsigned id, const char *by,
			  struct err *err)
{
	struct json *data = json_object();

	json_put_number(data, "id", id);
	json_put_text(data, "by", by);
	if (!windows_find(&cutover->windows, id, err)) {
		json_free(data);
		return -1;
	}
	/* Opens: it is journalled first. */
	if (journal_add(cutover->journal, "window-cancel", data, err) < 0)
		return -1;
	windows_cancel(&cutover->windows, id);
	cutover_release_tick(cutover);
	return 0;
}

/* Waivers. */

struct waive {
	struct cutover *cutover;
	char *check, *by, *reason;
	enum gate gate;
	bool attest;
	cutover_gate_fn *done;
	void *ctx;
};

static int waive_found(struct waive *waive, const struct findings *findings,
		       struct err *err)
{
	struct waiver waiver = { .gate = waive->gate, .attest = waive->attest };
	const struct finding *finding;
	struct json *data;

	if (findings->count == 0)
		return err_set(err, "the gate %s does not ask the check %s",
			       gate_name(waive->gate), waive->check);
	finding = &findings->at[0];
	if (waiver_may(&waiver, finding, err) < 0)
		return -1;
	snprintf(waiver.check, sizeof(waiver.check), "%s", waive->check);
	finding_fingerprint(finding, waiver.fingerprint);
	data = json_object();
	json_put_text(data, "check", waive->check);
	json_put_text(data, "gate", gate_name(waive->gate));
	json_put_text(data, "by", waive->by);
	json_put_text(data, "reason", waive->reason);
	json_put_bool(data, "attest", waive->attest);
	json_put_text(data, "finding", finding->summary);
	json_put_text(data, "fingerprint", waiver.fingerprint);
	if (journal_add(waive->cutover->journal, "waive", data, err) < 0)
		return -1;
	waiver.at_ms = clock_wall_ms();
	waiver.by = mem_dup(waive->by);
	waiver.reason = mem_dup(waive->reason);
	cutover_add_waiver(waive->cutover, &waiver);
	return 0;
}

static void waive_judged(void *ctx, struct cutover *cutover,
			 const struct findings *findings, const struct err *err)
{
	struct waive *waive = ctx;
	struct err own = ERR_INIT;

	if (err)
		own = *err;
	else
		waive_found(waive, findings, &own);
	waive->done(waive->ctx, cutover, findings, own.text[0] ? &own : NULL);
	free(waive->check);
	free(waive->by);
	free(waive->reason);
	free(waive);
}

void cutover_waive(struct cutover *cutover, const char *check, enum gate gate,
		   const char *by, const char *reason, bool attest,
		   cutover_gate_fn *done, void *ctx)
{
	struct waive *waive = mem_alloc(sizeof(*waive));

	waive->cutover = cutover;
	waive->check = mem_dup(check);
	waive->by = mem_dup(by);
	waive->reason = mem_dup(reason);
	waive->gate = gate;
	waive->attest = attest;
	waive->done = done;
	waive->ctx = ctx;
	cutover_judge(cutover, gate, check, waive_judged, waive);
}
