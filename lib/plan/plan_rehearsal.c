#include "plan/plan.h"

#include <stdlib.h>

/*
 * Long enough that a slow machine does not stumble over its own probes, short
 * enough that a whole cutover stays well under a minute.
 */
static const struct {
	const char *key, *duration;
} timings[] = {
	{ "recover_after", "1s" },   { "probe_every", "300ms" },
	{ "watch_every", "300ms" },  { "horizon_margin", "500ms" },
	{ "rcpt_probe_span", "1s" }, { "trail", "2s" },
	{ "drained_age", "2s" },     { "retry_min", "500ms" },
	{ "retry_max", "2s" },	     { "capacity", "1h" },
	{ "canary_wait", "10s" },
};

#define TTL_S 2

static struct json *strings(const struct plan_strings *from)
{
	struct json *array = json_array();

	for (size_t i = 0; i < from->count; i++)
		json_add_text(array, from->at[i]);
	return array;
}

static void put_duration(struct json *object, const char *key, int64_t ms)
{
	static const struct {
		int64_t ms;
		const char *name;
	} units[] = {
		{ 24 * 3600 * 1000, "d" },
		{ 3600 * 1000, "h" },
		{ 60 * 1000, "m" },
		{ 1000, "s" },
		{ 1, "ms" },
	};
	size_t i = 0;
	char *text;

	while (ms % units[i].ms != 0)
		i++;
	text = mem_printf("%lld%s", (long long)(ms / units[i].ms),
			  units[i].name);
	json_put_text(object, key, text);
	free(text);
}

/* Limits stand in full, so that no domain inherits another one's. */
static struct json *system_json(const struct plan_system *system,
				const char *deliver_to)
{
	struct json *object = json_object();

	json_put_text(object, "provider", system->provider->name);
	json_put(object, "mx", strings(&system->mx));
	json_put_text(object, "deliver_to", deliver_to);
	json_put_number(object, "max_bytes", (double)system->max_bytes);
	return object;
}

/* The first domain's systems are the plan's; the others say their own. */
static struct json *domains_json(const struct plan *plan,
				 const struct plan_rehearsal *rehearsal)
{
	struct json *array = json_array();

	for (size_t i = 0; i < plan->domain_count; i++) {
		const struct plan_domain *domain = &plan->domains[i];
		struct json *object = json_object();

		json_put_text(object, "name", domain->name);
		if (i > 0)
			json_put(object, plan->plain ? "primary" : "old",
				 system_json(&domain->systems[SYSTEM_OLD],
					     rehearsal->deliver_to[0]));
		if (i > 0 && !plan->plain)
			json_put(object, "new",
				 system_json(&domain->systems[SYSTEM_NEW],
					     rehearsal->deliver_to[1]));
		json_add(array, object);
	}
	return array;
}

static struct json *queue_json(const struct plan *plan,
			       const struct plan_rehearsal *rehearsal)
{
	struct json *object = json_object(), *listen = json_array();
	struct json *tls;

	json_put_text(object, "host", plan->queue_mx.host);
	json_put_number(object, "priority", plan->queue_mx.priority);
	json_add_text(listen, rehearsal->listen);
	json_put(object, "listen", listen);
	if (rehearsal->certificate_file && rehearsal->key_file) {
		tls = json_object();
		json_put_text(tls, "certificate_file",
			      rehearsal->certificate_file);
		json_put_text(tls, "key_file", rehearsal->key_file);
		json_put(object, "tls", tls);
	}
	return object;
}

static struct json *dns_json(const struct plan_rehearsal *rehearsal)
{
	struct json *object = json_object();
	struct json *resolvers = json_array(), *authorities = json_array();

	for (size_t i = 0; i < rehearsal->resolver_count; i++)
		json_add_text(resolvers, rehearsal->resolvers[i]);
	json_add_text(authorities, rehearsal->authority);
	json_put(object, "resolvers", resolvers);
	json_put(object, "authorities", authorities);
	json_put_number(object, "ttl", TTL_S);
	json_put_number(object, "old_ttl", TTL_S);
	return object;
}

static struct json *recipients_json(const struct plan *plan)
{
	struct json *object = json_object();

	json_put_text(object, "policy",
		      plan->recipients.listed ? "listed" : "any");
	if (plan->recipients.file)
		json_put_text(object, "file", plan->recipients.file);
	json_put_text(object, "unknown",
		      plan->recipients.unknown == UNKNOWN_REFUSE ? "refuse" :
								   "defer");
	return object;
}

static struct json *ramp_json(const struct plan *plan)
{
	struct json *array = json_array();

	for (size_t i = 0; i < plan->replay.ramp_count; i++) {
		double stage = plan->replay.ramp[i];
		char *share;

		if (stage >= 1) {
			json_add(array, json_new_number(stage));
			continue;
		}
		share = mem_printf("%.10g%%", stage * 100);
		json_add_text(array, share);
		free(share);
	}
	return array;
}

static struct json *replay_json(const struct plan *plan,
				const struct plan_rehearsal *rehearsal)
{
	struct json *object = json_object();
	enum plan_tls tls = plan->replay.tls;

	if (tls == PLAN_TLS_VERIFIED || tls == PLAN_TLS_DANE)
		tls = PLAN_TLS_REQUIRED;
	json_put_text(object, "tls", plan_tls_name(tls));
	if (plan->replay.client_certificate_file &&
	    rehearsal->certificate_file && rehearsal->key_file) {
		json_put_text(object, "client_certificate_file",
			      rehearsal->certificate_file);
		json_put_text(object, "client_key_file", rehearsal->key_file);
	}
	json_put_number(object, "max_flight", plan->replay.max_flight);
	/* Its mail comes some hundred times as fast as real mail. */
	json_put_text(object, "mailbox_limit", "none");
	json_put_text(object, "pair_limit", "none");
	json_put(object, "ramp", ramp_json(plan));
	return object;
}

static struct json *first_strings(const struct plan_strings *from)
{
	struct plan_strings first = *from;

	if (first.count > PLAN_REHEARSAL_CANARIES)
		first.count = PLAN_REHEARSAL_CANARIES;
	return strings(&first);
}

static void put_canary(struct json *root, const struct plan *plan)
{
	struct json *object;

	if (plan->canary.initial.count + plan->canary.recipients.count == 0)
		return;
	object = json_object();
	if (plan->canary.initial.count > 0)
		json_put(object, "initial",
			 first_strings(&plan->canary.initial));
	if (plan->canary.recipients.count > 0)
		json_put(object, "recipients",
			 first_strings(&plan->canary.recipients));
	json_put(root, "canary", object);
}

char *plan_rehearsal_text(const struct plan *plan,
			  const struct plan_rehearsal *rehearsal)
{
	const struct plan_domain *first = &plan->domains[0];
	struct json *root = json_object(), *timing = json_object(), *part;
	struct buf text = BUF_INIT;

	json_put_number(root, "tideover", 1);
	json_put_text(root, "name", plan->name);
	json_put_bool(root, "rehearsal", true);
	json_put_text(root, "strategy", plan_strategy_name(plan->strategy));
	json_put(root, "domains", domains_json(plan, rehearsal));
	json_put(root, plan->plain ? "primary" : "old",
		 system_json(&first->systems[SYSTEM_OLD],
			     rehearsal->deliver_to[0]));
	if (!plan->plain)
		json_put(root, "new",
			 system_json(&first->systems[SYSTEM_NEW],
				     rehearsal->deliver_to[1]));
	json_put(root, "queue_mx", queue_json(plan, rehearsal));
	json_put(root, "dns", dns_json(rehearsal));
	if (plan->messages_per_day > 0 || plan->mean_bytes > 0) {
		part = json_object();
		if (plan->messages_per_day > 0)
			json_put_number(part, "messages_per_day",
					plan->messages_per_day);
		if (plan->mean_bytes > 0)
			json_put_number(part, "mean_bytes", plan->mean_bytes);
		json_put(root, "expected", part);
	}
	json_put(root, "recipients", recipients_json(plan));
	json_put(root, "replay", replay_json(plan, rehearsal));
	if (plan->when_up == WHEN_UP_DEFER)
		json_put_text(root, "when_primary_up", "defer");
	put_duration(root, "retention", plan->retention_ms);
	if (plan->probe_recipients.count > 0) {
		part = json_object();
		json_put(part, "recipients", strings(&plan->probe_recipients));
		json_put(root, "probe", part);
	}
	put_canary(root, plan);
	for (size_t i = 0; i < COUNT(timings); i++)
		json_put_text(timing, timings[i].key, timings[i].duration);
	json_put(root, "timing", timing);
	json_print_pretty(root, &text);
	json_free(root);
	return buf_take(&text);
}
