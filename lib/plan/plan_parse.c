#include "plan/plan_parse.h"

#include "plan/plan_host.h"
#include "plan/plan_value.h"
#include "base/clock.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DURATION_MAX_MS	  (3650 * 24 * 3600 * 1000.0)
#define TTL_MAX_S	  2147483647.0 /* RFC 2181, section 8 */
#define MESSAGE_MAX_BYTES 1099511627776.0
#define LIMIT_MAX_NUMBER  100000
#define LIMIT_MAX_SPAN_MS (24 * 3600 * 1000)
#define KEEP_BY_STRATEGY  (-2)
#define KEEP_STANDBY_MS	  (72 * 3600 * 1000)

static void read_version(struct plan_reader *r, const struct json *value,
			 void *into, const struct plan_field *field)
{
	if (value_is(r, value, JSON_NUMBER) && json_number(value) != 1)
		wrong(r, value, "this program reads plans of version 1");
}

/* Counts, then shares as "N%". */
static void read_ramp(struct plan_reader *r, const struct json *value,
		      void *into, const struct plan_field *field)
{
	struct plan *plan = r->plan;

	if (!value_is_list(r, value, field))
		return;
	free(plan->replay.ramp);
	plan->replay.ramp =
		mem_alloc((json_count(value) + 1) * sizeof(*plan->replay.ramp));
	plan->replay.ramp_count = 0;
	for (const struct json *m = json_first(value); m; m = json_next(m)) {
		size_t before = reader_enter_index(r, plan->replay.ramp_count);
		const char *text = json_text(m);
		char *end = NULL;
		double stage = json_number(m);

		if (text && isdigit((unsigned char)*text) &&
		    !text[strspn(text, "0123456789.%")])
			stage = strtod(text, &end) / 100;
		if (text ? !end || strcmp(end, "%") != 0 || stage <= 0 ||
				    stage >= 1 :
			   json_type(m) != JSON_NUMBER || stage < 1 ||
				    stage > 1000000 || stage != floor(stage))
			wrong(r, m,
			      "a stage is a number of mailboxes (1) or a "
			      "share under all (\"10%%\")");
		plan->replay.ramp[plan->replay.ramp_count++] = stage;
		reader_leave(r, before);
	}
}

#define KEY(key, reader) .name = key, .read = reader
#define TO(type, member) .offset = offsetof(struct type, member)
#define TIMING(member, least)                                          \
	{                                                              \
		KEY(#member, value_duration), TO(plan_timing, member), \
			.min = least, .max = DURATION_MAX_MS           \
	}

static const char *const provider_words[] = { "m365", "workspace", "custom",
					      NULL };

static const struct plan_field system_fields[] = {
	{ KEY("provider", value_one_of), TO(plan_words, provider),
	  .words = provider_words },
	{ KEY("mx", value_strings), TO(plan_words, mx), .min = 1, .max = 16,
	  .item = item_host },
	{ KEY("deliver_to", value_endpoint), TO(plan_words, deliver_to) },
	{ KEY("max_bytes", value_int64), TO(plan_words, max_bytes),
	  .min = 65536, .max = MESSAGE_MAX_BYTES },
	{ KEY("mailbox_per_hour", value_int64),
	  TO(plan_words, mailbox_per_hour), .max = 1000000 },
	{ KEY("spf_include", value_text), TO(plan_words, spf_include) },
	{ KEY("dkim_selectors", value_strings), TO(plan_words, dkim_selectors),
	  .min = 1, .max = 16, .item = item_selector },
	{ KEY("verify_txt", value_text), TO(plan_words, verify_txt) },
	{ .name = NULL }
};

static void read_system(struct plan_reader *r, const struct json *value,
			struct plan_words *words)
{
	plan_words_release(words);
	value_fields(r, value, system_fields, words);
}

/* What a domain need not say again, the plan itself must. */
static void read_base(struct plan_reader *r, const struct json *value,
		      enum plan_system_id id)
{
	static const char *const needed[] = { "provider", "mx" };

	read_system(r, value, &r->base[id]);
	for (size_t i = 0; i < COUNT(needed); i++)
		if (json_type(value) == JSON_OBJECT &&
		    !json_get(value, needed[i])) {
			size_t before = reader_enter(r, needed[i]);

			wrong(r, value, "is missing");
			reader_leave(r, before);
		}
}

static void read_old(struct plan_reader *r, const struct json *value,
		     void *into, const struct plan_field *field)
{
	r->has_old = true;
	read_base(r, value, SYSTEM_OLD);
}

static void read_new(struct plan_reader *r, const struct json *value,
		     void *into, const struct plan_field *field)
{
	r->has_new = true;
	read_base(r, value, SYSTEM_NEW);
}

static void read_primary(struct plan_reader *r, const struct json *value,
			 void *into, const struct plan_field *field)
{
	r->has_primary = true;
	read_base(r, value, SYSTEM_OLD);
}

static void read_over(struct plan_reader *r, const struct json *value,
		      void *into, const struct plan_field *field)
{
	size_t index = (size_t)((struct plan_domain *)into - r->plan->domains);
	bool is_new = strcmp(field->name, "new") == 0;
	bool is_primary = strcmp(field->name, "primary") == 0;

	r->over_given[index][is_primary ? 2 : is_new] = true;
	read_system(r, value, &r->over[index][is_new]);
}

static const struct plan_field domain_fields[] = {
	{ KEY("name", value_host), TO(plan_domain, name), .required = true },
	{ KEY("old", read_over) },
	{ KEY("new", read_over) },
	{ KEY("primary", read_over) },
	{ .name = NULL }
};

static void read_domains(struct plan_reader *r, const struct json *value,
			 void *into, const struct plan_field *field)
{
	struct plan *plan = r->plan;
	size_t i = 0;

	if (!value_is_list(r, value, field))
		return;
	plan->domain_count = json_count(value);
	plan->domains = mem_alloc(plan->domain_count * sizeof(*plan->domains));
	r->over = mem_alloc(plan->domain_count * sizeof(*r->over));
	r->over_given = mem_alloc(plan->domain_count * sizeof(*r->over_given));
	for (const struct json *m = json_first(value); m; m = json_next(m)) {
		size_t before = reader_enter_index(r, i);

		for (int id = 0; id < 2; id++)
			r->over[i][id] = (struct plan_words)PLAN_WORDS_INIT;
		value_fields(r, m, domain_fields, &plan->domains[i++]);
		reader_leave(r, before);
	}
}

static const struct plan_field tls_fields[] = {
	{ KEY("certificate_file", value_file),
	  TO(plan, queue_mx.certificate_file) },
	{ KEY("key_file", value_file), TO(plan, queue_mx.key_file) },
	{ .name = NULL }
};

static const struct plan_field queue_fields[] = {
	{ KEY("host", value_host), TO(plan, queue_mx.host), .required = true },
	{ KEY("priority", value_int), TO(plan, queue_mx.priority),
	  .max = 65535 },
	{ KEY("listen", value_strings), TO(plan, queue_mx.listen), .min = 1,
	  .max = PLAN_LIST_MAX, .item = item_listen },
	{ KEY("tls", value_object), .members = tls_fields },
	{ .name = NULL }
};

static const struct plan_field schedule_fields[] = {
	{ KEY("opens", value_time), TO(plan, opens_ms), .required = true },
	{ KEY("closes", value_time), TO(plan, closes_ms), .required = true },
	{ .name = NULL }
};

static const struct plan_field dns_fields[] = {
	{ KEY("resolvers", value_strings), TO(plan, dns.resolvers), .min = 1,
	  .max = PLAN_LIST_MAX, .item = item_resolver },
	{ KEY("authorities", value_strings), TO(plan, dns.authorities),
	  .min = 1, .max = PLAN_LIST_MAX, .item = item_server },
	{ KEY("ttl", value_int64), TO(plan, dns.ttl), .min = 1,
	  .max = TTL_MAX_S },
	{ KEY("old_ttl", value_int64), TO(plan, dns.old_ttl), .min = 1,
	  .max = TTL_MAX_S },
	{ .name = NULL }
};

static const struct plan_field expected_fields[] = {
	{ KEY("messages_per_day", value_number), TO(plan, messages_per_day),
	  .min = 1, .max = 1e9 },
	{ KEY("mean_bytes", value_number), TO(plan, mean_bytes), .min = 1,
	  .max = MESSAGE_MAX_BYTES },
	{ .name = NULL }
};

static const char *const unknown_words[] = {
	[UNKNOWN_DEFER] = "defer", [UNKNOWN_REFUSE] = "refuse", NULL
};
static const char *const policy_words[] = { "any", "listed", "learned", NULL };

static void read_policy(struct plan_reader *r, const struct json *value,
			void *into, const struct plan_field *field)
{
	*(bool *)into = value_word_index(r, value, policy_words) == 1;
}

static const struct plan_field recipients_fields[] = {
	{ KEY("policy", read_policy), TO(plan, recipients.listed),
	  .required = true },
	{ KEY("file", value_file), TO(plan, recipients.file) },
	{ KEY("unknown", value_word), TO(plan, recipients.unknown),
	  .words = unknown_words },
	{ .name = NULL }
};

static void read_zone(struct plan_reader *r, const struct json *value,
		      void *into, const struct plan_field *field)
{
	char *zone = NULL;

	value_host(r, value, &zone, field);
	free(zone);
}

static void read_events(struct plan_reader *r, const struct json *value,
			void *into, const struct plan_field *field)
{
	struct plan_strings events = { 0 };

	value_strings(r, value, &events, field);
	plan_strings_release(&events);
}

static const struct plan_field dnsbl_fields[] = {
	{ KEY("zone", read_zone), .required = true },
	{ KEY("score", value_score), .required = true, .min = -1000,
	  .max = 1000 },
	{ .name = NULL }
};

static const struct plan_field rspamd_fields[] = {
	{ KEY("url", value_url), .required = true }, { .name = NULL }
};

static const struct plan_field filter_fields[] = {
	{ KEY("dnsbl", value_shapes), .max = PLAN_LIST_MAX,
	  .members = dnsbl_fields },
	{ KEY("rspamd", value_object), .members = rspamd_fields },
	{ .name = NULL }
};

static const struct plan_field notify_fields[] = {
	{ KEY("webhook", value_url), .required = true },
	{ KEY("events", read_events), .min = 1, .max = PLAN_LIST_MAX,
	  .item = item_event },
	{ .name = NULL }
};

static const char *const tls_words[] = { [PLAN_TLS_OPPORTUNISTIC] =
						 "opportunistic",
					 [PLAN_TLS_REQUIRED] = "required",
					 [PLAN_TLS_VERIFIED] = "verified",
					 [PLAN_TLS_DANE] = "dane",
					 NULL };

/* "30/1m", or "none". */
static void read_rate(struct plan_reader *r, const struct json *value,
		      void *into, const struct plan_field *field)
{
	struct plan_rate *limit = into;
	struct slice span = slice(json_text(value)), number;
	uint64_t count = 0;
	int64_t ms = 0;

	if (!value_is(r, value, JSON_STRING))
		return;
	if (slice_is(span, "none")) {
		*limit = (struct plan_rate){ .given = true };
		return;
	}
	number = slice_split(&span, '/');
	if (!slice_u64(number, &count) || count < 1 ||
	    count > LIMIT_MAX_NUMBER ||
	    clock_parse_duration(span, &ms, NULL) < 0 || ms < 1000 ||
	    ms > LIMIT_MAX_SPAN_MS) {
		wrong(r, value,
		      "must be a number of messages (at most 100000) and a "
		      "time (1s to 24h), such as \"30/1m\", or \"none\"");
		return;
	}
	*limit = (struct plan_rate){ true, { (unsigned)count, ms } };
}

static const struct plan_field replay_fields[] = {
	{ KEY("tls", value_word), TO(plan, replay.tls), .words = tls_words },
	{ KEY("client_certificate_file", value_file),
	  TO(plan, replay.client_certificate_file) },
	{ KEY("client_key_file", value_file),
	  TO(plan, replay.client_key_file) },
	{ KEY("max_flight", value_int), TO(plan, replay.max_flight), .min = 1,
	  .max = 1000 },
	{ KEY("mailbox_limit", read_rate), TO(plan, replay.mailbox_limit) },
	{ KEY("pair_limit", read_rate), TO(plan, replay.pair_limit) },
	{ KEY("ramp", read_ramp), .max = PLAN_LIST_MAX },
	{ .name = NULL }
};

/* A duration, or "finished". */
static void read_keep(struct plan_reader *r, const struct json *value,
		      void *into, const struct plan_field *field)
{
	const char *text = json_text(value);
	int64_t ms;

	if (text && strcmp(text, "finished") == 0)
		*(int64_t *)into = PLAN_KEEP_FINISHED;
	else if (text && clock_parse_duration(slice(text), &ms, NULL) < 0)
		wrong(r, value,
		      "must be a duration such as \"72h\" or \"30d\", or "
		      "\"finished\"");
	else
		value_duration(r, value, into, field);
}

static void read_relay(struct plan_reader *r, const struct json *value,
		       void *into, const struct plan_field *field)
{
	struct plan_endpoint relay;
	char *text = NULL;

	value_endpoint(r, value, &text, field);
	if (text && plan_endpoint_parse(slice(text), 25, &relay, NULL) == 0) {
		mem_replace(&r->plan->bounce.host, relay.host);
		r->plan->bounce.port = relay.port;
	}
	free(text);
}

static void read_mailbox(struct plan_reader *r, const struct json *value,
			 void *into, const struct plan_field *field)
{
	struct err err = ERR_INIT;
	char **mailbox = into, *kept;

	if (!value_is(r, value, JSON_STRING))
		return;
	kept = item_mailbox(json_text(value), &err);
	if (!kept) {
		wrong(r, value, "%s", err.text);
		return;
	}
	free(*mailbox);
	*mailbox = kept;
}

static const struct plan_field bounce_fields[] = {
	{ KEY("deliver_to", read_relay), .required = true },
	{ KEY("from", read_mailbox), TO(plan, bounce.from) },
	{ KEY("tls", value_word), TO(plan, bounce.tls), .words = tls_words },
	{ .name = NULL }
};

static const struct plan_field probe_fields[] = {
	{ KEY("recipients", value_strings), TO(plan, probe_recipients),
	  .min = 1, .max = PLAN_LIST_MAX, .item = item_mailbox },
	{ .name = NULL }
};

static const struct plan_field canary_fields[] = {
	{ KEY("initial", value_strings), TO(plan, canary.initial), .min = 1,
	  .max = PLAN_LIST_MAX, .item = item_mailbox },
	{ KEY("recipients", value_strings), TO(plan, canary.recipients),
	  .min = 1, .max = PLAN_MAX_DOMAINS, .item = item_mailbox },
	{ .name = NULL }
};

static void read_evidence(struct plan_reader *r, const struct json *value,
			  void *into, const struct plan_field *field)
{
	struct plan_strings *files = into;
	size_t i = 0;

	if (!value_is_list(r, value, field))
		return;
	for (const struct json *m = json_first(value); m; m = json_next(m)) {
		size_t before = reader_enter_index(r, i++);
		char *file = NULL;

		value_file(r, m, &file, field);
		for (size_t j = 0; file && j < files->count; j++)
			if (strcmp(files->at[j], file) == 0)
				wrong(r, m, "stands here twice");
		if (file)
			plan_strings_add(files, file);
		free(file);
		reader_leave(r, before);
	}
}

static const struct plan_field timing_fields[] = {
	TIMING(recover_after, 0), TIMING(probe_every, 1),
	TIMING(watch_every, 1),	  TIMING(horizon_margin, 0),
	TIMING(observe, 0),	  TIMING(rcpt_probe_span, 0),
	TIMING(trail, 0),	  TIMING(drained_age, 0),
	TIMING(retry_min, 1),	  TIMING(retry_max, 1),
	TIMING(stuck_after, 1),	  TIMING(data_reply, 1),
	TIMING(capacity, 1),	  TIMING(canary_valid, 1),
	TIMING(canary_wait, 1),	  { .name = NULL }
};

static const char *const strategy_words[] = {
	[STRATEGY_PARK] = "park", [STRATEGY_STANDBY] = "standby", NULL
};

static const char *const when_up_words[] = {
	[WHEN_UP_RELAY] = "relay", [WHEN_UP_DEFER] = "defer", NULL
};

static const struct plan_field plan_fields[] = {
	{ KEY("tideover", read_version), .required = true },
	{ KEY("name", value_plan_name), TO(plan, name), .required = true },
	{ KEY("rehearsal", value_bool), TO(plan, rehearsal) },
	{ KEY("strategy", value_word), TO(plan, strategy), .required = true,
	  .words = strategy_words },
	{ KEY("domains", read_domains), .required = true, .min = 1,
	  .max = PLAN_MAX_DOMAINS },
	{ KEY("old", read_old) },
	{ KEY("new", read_new) },
	{ KEY("primary", read_primary) },
	{ KEY("queue_mx", value_object), .required = true,
	  .members = queue_fields },
	{ KEY("schedule", value_object), .members = schedule_fields },
	{ KEY("dns", value_object), .members = dns_fields },
	{ KEY("expected", value_object), .members = expected_fields },
	{ KEY("recipients", value_object), .members = recipients_fields },
	{ KEY("filter", value_object), .members = filter_fields },
	{ KEY("replay", value_object), .members = replay_fields },
	{ KEY("when_primary_up", value_word), TO(plan, when_up),
	  .words = when_up_words },
	{ KEY("retention", value_duration), TO(plan, retention_ms), .min = 1,
	  .max = DURATION_MAX_MS },
	{ KEY("keep_copies", read_keep), TO(plan, keep_copies_ms),
	  .max = DURATION_MAX_MS },
	{ KEY("bounce", value_object), .members = bounce_fields },
	{ KEY("encrypt", value_bool), TO(plan, encrypt) },
	{ KEY("probe", value_object), .members = probe_fields },
	{ KEY("canary", value_object), .members = canary_fields },
	{ KEY("clock", value_strings), TO(plan, clocks), .min = 1, .max = 8,
	  .item = item_https },
	{ KEY("evidence", read_evidence), TO(plan, evidence), .min = 1,
	  .max = PLAN_LIST_MAX },
	{ KEY("old_evidence", read_evidence), TO(plan, old_evidence), .min = 1,
	  .max = PLAN_LIST_MAX },
	{ KEY("timing", value_object), TO(plan, timing),
	  .members = timing_fields },
	{ KEY("notify", value_shapes), .max = PLAN_LIST_MAX,
	  .members = notify_fields },
	{ .name = NULL }
};

static void defaults(struct plan *plan)
{
	static const double ramp[] = { 1, 0.01, 0.1 };
	const int64_t second = 1000, minute = 60 * second, hour = 60 * minute;

	plan->queue_mx.priority = 20;
	plan->dns.ttl = 300;
	plan->dns.old_ttl = -1;
	plan->replay.max_flight = 20;
	plan->replay.ramp = mem_alloc(sizeof(ramp));
	memcpy(plan->replay.ramp, ramp, sizeof(ramp));
	plan->replay.ramp_count = COUNT(ramp);
	plan->retention_ms = 30 * 24 * hour;
	plan->keep_copies_ms = KEEP_BY_STRATEGY;
	plan->timing = (struct plan_timing){
		.recover_after = minute,
		.probe_every = 15 * second,
		.watch_every = 30 * second,
		.horizon_margin = minute,
		.observe = 48 * hour,
		.rcpt_probe_span = 15 * minute,
		.trail = 72 * hour,
		.drained_age = minute,
		.retry_min = minute,
		.retry_max = 15 * minute,
		.stuck_after = 4 * hour,
		.data_reply = 10 * minute,
		.capacity = 72 * hour,
		.canary_valid = 24 * hour,
		.canary_wait = 15 * minute,
	};
}

/* Where an empty list stands for "not given". */
static void default_lists(struct plan *plan)
{
	if (plan->queue_mx.listen.count == 0) {
		plan_strings_add(&plan->queue_mx.listen, "0.0.0.0:25");
		plan_strings_add(&plan->queue_mx.listen, "[::]:25");
	}
	if (plan->dns.resolvers.count == 0)
		plan_strings_add(&plan->dns.resolvers, "system");
}

/* Old and new, or a primary alone; in a domain as in the plan. */
static void read_sides(struct plan_reader *r, const struct json *root)
{
	struct plan_report *report = r->report;
	const struct json *domains = json_get(root, "domains");
	bool plain = r->has_primary;

	if (plain && (r->has_old || r->has_new))
		plan_report_add(report, json_line(json_get(root, "primary")),
				"primary",
				"stands instead of old and new, not "
				"beside them");
	else if (!plain && !r->has_old)
		plan_report_add(report, json_line(root), "old", "is missing");
	if (!plain && !r->has_new)
		plan_report_add(report, json_line(root), "new", "is missing");
	for (size_t i = 0; i < r->plan->domain_count; i++) {
		const bool *given = r->over_given[i];
		const struct json *domain = json_at(domains, i);
		const char *key = plain ? given[0] ? "old" : "new" : "primary";

		if (plain ? given[0] || given[1] : given[2]) {
			char path[64];

			snprintf(path, sizeof(path), "domains[%zu].%s", i, key);
			plan_report_add(report,
					json_line(json_get(domain, key)), path,
					"the plan has no '%s'", key);
		}
	}
	r->plan->plain = plain;
}

static void read_idle(struct plan *plan, const struct json *root)
{
	static const struct {
		const char *key, *sentence;
	} idle[] = {
		{ "filter", "filter: this version filters nothing, all mail "
			    "that is accepted is kept" },
		{ "notify", "notify: this version calls no webhook, follow "
			    "'tideover status --watch' or the log" },
	};

	for (size_t i = 0; i < COUNT(idle); i++)
		if (json_count(json_get(root, idle[i].key)) > 0)
			plan->idle[plan->idle_count++] = idle[i].sentence;
}

void plan_read(struct plan *plan, const struct json *root,
	       struct plan_report *report)
{
	struct plan_reader r = { .plan = plan,
				 .report = report,
				 .base = { PLAN_WORDS_INIT, PLAN_WORDS_INIT } };

	defaults(plan);
	value_fields(&r, root, plan_fields, plan);
	if (json_type(root) == JSON_OBJECT)
		read_sides(&r, root);
	read_idle(plan, root);
	default_lists(plan);
	if (plan->keep_copies_ms == KEEP_BY_STRATEGY)
		plan->keep_copies_ms = plan->strategy == STRATEGY_PARK ?
					       PLAN_KEEP_FINISHED :
					       KEEP_STANDBY_MS;
	for (size_t i = 0; i < plan->domain_count; i++)
		for (int id = 0; id < (plan->plain ? 1 : 2); id++)
			if (report->count == 0)
				plan_system_build(&plan->domains[i].systems[id],
						  &r.base[id], &r.over[i][id]);
	for (size_t i = 0; i < plan->domain_count; i++)
		for (int id = 0; id < 2; id++)
			plan_words_release(&r.over[i][id]);
	for (int id = 0; id < 2; id++)
		plan_words_release(&r.base[id]);
	free(r.over);
	free(r.over_given);
	buf_release(&r.path);
}
