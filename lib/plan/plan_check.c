/* Sense: every value is well formed; do they fit together? */
#include "plan/plan_parse.h"

#include "base/map.h"
#include "plan/plan_host.h"
#include "smtp/smtp_path.h"
#include <stdio.h>
#include <stdlib.h>

#define HOUR_MS		  (60 * 60 * 1000)
#define DATA_REPLY_MIN_MS (10 * 60 * 1000)
#define PATH_MAX_BYTES	  128

struct check {
	const struct plan *plan;
	const struct json *root;
	struct plan_report *report;
};

/* The value at "queue_mx.listen[1]", or the deepest that is there. */
static const struct json *find(const struct json *root, const char *path)
{
	while (*path) {
		size_t len = strcspn(path + 1, ".[") + 1;
		const struct json *next;
		char key[PATH_MAX_BYTES];

		if (*path == '[') {
			next = json_at(root, (size_t)atoi(path + 1));
		} else {
			const char *from = *path == '.' ? path + 1 : path;

			snprintf(key, sizeof(key), "%.*s",
				 (int)(path + len - from), from);
			next = json_get(root, key);
		}
		if (!next)
			break;
		root = next;
		path += len;
	}
	return root;
}

#define say(c, path, ...)                                                    \
	plan_report_add((c)->report, json_line(find((c)->root, path)), path, \
			__VA_ARGS__)

static const char *side_name(const struct check *c, int id)
{
	return c->plan->plain ? "primary" : id == SYSTEM_OLD ? "old" : "new";
}

/* Where a domain's system has its `key` from: its own, or the plan's. */
static void place(const struct check *c, size_t domain, int id, const char *key,
		  char path[PATH_MAX_BYTES])
{
	const char *side = side_name(c, id);
	const struct json *own;

	own = json_get(json_at(json_get(c->root, "domains"), domain), side);
	if (json_get(own, key))
		snprintf(path, PATH_MAX_BYTES, "domains[%zu].%s.%s", domain,
			 side, key);
	else
		snprintf(path, PATH_MAX_BYTES, "%s.%s", side, key);
}

static bool is_provider_mx(struct slice host)
{
	for (const struct provider *p = providers; p->name; p++)
		for (size_t i = 0; p->mx_suffixes[i]; i++)
			if (slice_ends_nocase(host, p->mx_suffixes[i]))
				return true;
	return false;
}

/*
 * "mx.acme.example.acme.example", "smtp.google.com.acme.example": the zone file
 * lacks a final dot, so that the zone's name was appended.
 */
static bool is_doubled(const char *host, const char *domain)
{
	struct slice rest = slice(host);

	if (!plan_host_is_below(host, domain))
		return false;
	rest.len -= strlen(domain) + 1;
	return slice_is(rest, domain) || is_provider_mx(rest) ||
	       (rest.len > strlen(domain) && slice_ends_nocase(rest, domain) &&
		rest.p[rest.len - strlen(domain) - 1] == '.');
}

/* RFC 2606: what tideover init cannot know, and domain verification records. */
static void check_exists(struct check *c, const char *path, const char *host)
{
	if (slice_ends_nocase(slice(host), ".invalid"))
		say(c, path,
		    "'%s' takes no mail: write the real host here (.invalid "
		    "is a placeholder, or a leftover of domain verification)",
		    host);
}

static void check_mx(struct check *c, size_t domain, int id)
{
	const struct plan_domain *d = &c->plan->domains[domain];
	const struct plan_strings *mx = &d->systems[id].mx;

	for (size_t i = 0; i < mx->count; i++) {
		const char *host = mx->at[i];
		char path[PATH_MAX_BYTES];

		place(c, domain, id, "mx", path);
		snprintf(path + strlen(path), sizeof(path) - strlen(path),
			 "[%zu]", i);
		if (strcmp(host, c->plan->queue_mx.host) == 0)
			say(c, path,
			    "is the queue itself; list the hosts of "
			    "the mail system alone");
		if (is_doubled(host, d->name))
			say(c, path,
			    "ends with the domain once too often: "
			    "the zone lacks a dot after the host's name");
		check_exists(c, path, host);
	}
}

/* Whether connecting to `host`:`port` comes out at our own listener. */
static bool is_own_listener(const struct plan *plan, const char *host, int port)
{
	const struct plan_strings *listen = &plan->queue_mx.listen;

	for (size_t i = 0; i < listen->count; i++) {
		struct plan_endpoint own;

		if (plan_address_parse(slice(listen->at[i]), 0, &own, NULL) <
			    0 ||
		    own.port != port)
			continue;
		if (strcmp(own.host, host) == 0)
			return true;
		if (plan_is_loopback(host) &&
		    (plan_is_wildcard(own.host) ||
		     (strcmp(host, "localhost") == 0 &&
		      plan_is_loopback(own.host))))
			return true;
	}
	return false;
}

static void check_deliver_to(struct check *c, size_t domain, int id)
{
	const struct plan *plan = c->plan;
	const struct plan_system *system = &plan->domains[domain].systems[id];
	bool park = plan->strategy == STRATEGY_PARK;
	const char *host = system->deliver_host;
	char path[PATH_MAX_BYTES];

	place(c, domain, id, "deliver_to", path);
	if (!host) {
		if (park)
			say(c, path,
			    "is missing: park delivers to a host of "
			    "the tenant, as the MX is the queue");
		return;
	}
	if (strcmp(host, plan->queue_mx.host) == 0)
		say(c, path,
		    "is the queue itself (queue_mx.host): mail would "
		    "go round in a circle");
	else if (is_own_listener(plan, host, system->deliver_port))
		say(c, path,
		    "is the queue itself (queue_mx.listen): mail "
		    "would go round in a circle");
	else if (park && plan_domain(plan, slice(host)))
		say(c, path,
		    "'%s' is a domain of the plan, whose MX is the "
		    "queue: name a host of the tenant",
		    host);
	check_exists(c, path, host);
	if (plan_is_wildcard(host))
		say(c, path, "'%s' is no address to connect to", host);
	else if (plan_is_ip(host) && plan->replay.tls == PLAN_TLS_DANE)
		say(c, path,
		    "'%s' is an IP address, which has no TLSA: replay.tls is "
		    "dane",
		    host);
	if (plan->rehearsal && !plan_is_loopback(host))
		say(c, path,
		    "a rehearsal stays on this machine: '%s' is no "
		    "loopback address",
		    host);
}

/* Google's tenants share their hosts; elsewhere one host is one system. */
static void check_sides(struct check *c, size_t domain)
{
	const struct plan_system *old = &c->plan->domains[domain].systems[0];
	const struct plan_system *new = &c->plan->domains[domain].systems[1];
	char path[PATH_MAX_BYTES];

	if (!old->deliver_host || !new->deliver_host ||
	    old->deliver_port != new->deliver_port ||
	    strcmp(old->deliver_host, new->deliver_host) != 0)
		return;
	if (strcmp(old->provider->name, "workspace") == 0 &&
	    strcmp(new->provider->name, "workspace") == 0)
		return;
	place(c, domain, SYSTEM_NEW, "deliver_to", path);
	say(c, path,
	    "is where old delivers too; the new system needs a host "
	    "of its own");
}

static bool has_name(const struct plan_strings *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->at[i], name) == 0)
			return true;
	return false;
}

/*
 * An MX name of Exchange Online is made of the domain's, and leads to whichever
 * tenant has the domain: what one tenant is asked, the other one answers.
 */
static void check_follows_domain(struct check *c, size_t domain, int id)
{
	const struct plan_system *systems = c->plan->domains[domain].systems;
	const char *host = systems[id].deliver_host;
	char path[PATH_MAX_BYTES];

	if (!host || strcmp(systems[0].provider->name, "m365") != 0 ||
	    strcmp(systems[1].provider->name, "m365") != 0)
		return;
	place(c, domain, id, "deliver_to", path);
	if (has_name(&systems[0].mx, host) || has_name(&systems[1].mx, host))
		say(c, path,
		    "is an MX of the domain, and leads to whichever tenant has "
		    "that: name the host of the %s tenant's initial domain",
		    side_name(c, id));
}

static void check_domains(struct check *c)
{
	const struct plan *plan = c->plan;
	char path[PATH_MAX_BYTES];

	for (size_t i = 0; i < plan->domain_count; i++) {
		const char *name = plan->domains[i].name;

		snprintf(path, sizeof(path), "domains[%zu].name", i);
		/* The first of that name is this one, or it is a second one. */
		if (plan_domain(plan, slice(name)) != &plan->domains[i])
			say(c, path, "'%s' stands here twice", name);
		if (is_doubled(plan->queue_mx.host, name))
			say(c, "queue_mx.host", "ends with '%s' once too often",
			    name);
		for (int id = 0; id < (plan->plain ? 1 : 2); id++) {
			check_mx(c, i, id);
			check_deliver_to(c, i, id);
		}
		if (!plan->plain) {
			check_sides(c, i);
			check_follows_domain(c, i, SYSTEM_OLD);
			check_follows_domain(c, i, SYSTEM_NEW);
		}
	}
}

static void check_queue(struct check *c)
{
	const struct plan *plan = c->plan;
	const struct plan_strings *listen = &plan->queue_mx.listen;

	check_exists(c, "queue_mx.host", plan->queue_mx.host);
	if (plan->plain && plan->strategy != STRATEGY_STANDBY)
		say(c, "primary",
		    "is for strategy standby; park needs old and "
		    "new");
	if (plan->when_up == WHEN_UP_DEFER &&
	    plan->strategy != STRATEGY_STANDBY)
		say(c, "when_primary_up",
		    "defer is for strategy standby: in a parked domain "
		    "nobody else takes mail");
	if (!plan->queue_mx.certificate_file != !plan->queue_mx.key_file)
		say(c, "queue_mx.tls",
		    "certificate_file and key_file belong "
		    "together");
	for (size_t i = 0; i < listen->count; i++) {
		struct plan_endpoint own;
		char path[PATH_MAX_BYTES];

		snprintf(path, sizeof(path), "queue_mx.listen[%zu]", i);
		if (plan->rehearsal &&
		    plan_address_parse(slice(listen->at[i]), 0, &own, NULL) ==
			    0 &&
		    !plan_is_loopback(own.host))
			say(c, path,
			    "a rehearsal stays on this machine: '%s' "
			    "is no loopback address",
			    own.host);
	}
}

static void check_bounce(struct check *c)
{
	static const char path[] = "bounce.deliver_to";
	const struct plan *plan = c->plan;
	const char *host = plan->bounce.host;

	if (!host)
		return;
	if (strcmp(host, plan->queue_mx.host) == 0 ||
	    is_own_listener(plan, host, plan->bounce.port))
		say(c, path,
		    "is the queue itself: notifications leave through "
		    "another relay");
	check_exists(c, path, host);
	if (plan_is_wildcard(host))
		say(c, path, "'%s' is no address to connect to", host);
	if (plan->rehearsal && !plan_is_loopback(host))
		say(c, path,
		    "a rehearsal stays on this machine: '%s' is no "
		    "loopback address",
		    host);
	if (plan->bounce.tls == PLAN_TLS_DANE)
		say(c, "bounce.tls",
		    "cannot be dane, which is for replay; use verified");
}

static void check_replay(struct check *c)
{
	const struct plan *plan = c->plan;
	const char *certificate = plan->replay.client_certificate_file;
	const char *shared = plan->queue_mx.certificate_file;
	const double *ramp = plan->replay.ramp;
	char path[PATH_MAX_BYTES];

	if (!certificate && plan->replay.client_key_file)
		say(c, "replay.client_key_file",
		    "needs "
		    "client_certificate_file beside it");
	/* The listener's certificate brings its key along. */
	if (certificate && !plan->replay.client_key_file &&
	    (!shared || strcmp(certificate, shared) != 0))
		say(c, "replay.client_certificate_file",
		    "needs "
		    "client_key_file beside it");
	for (size_t i = 1; i < plan->replay.ramp_count; i++) {
		bool count = ramp[i] >= 1, count_before = ramp[i - 1] >= 1;

		snprintf(path, sizeof(path), "replay.ramp[%zu]", i);
		if (count && !count_before)
			say(c, path, "a count may not follow a share");
		else if (count == count_before && ramp[i] <= ramp[i - 1])
			say(c, path, "stages must grow");
	}
}

static void check_recipients(struct check *c)
{
	const struct plan *plan = c->plan;
	const char *policy;

	policy = json_get_text(json_get(c->root, "recipients"), "policy");
	if (policy && strcmp(policy, "learned") == 0)
		say(c, "recipients.policy",
		    "this version cannot learn "
		    "recipients; use listed or any");
	else if (plan->recipients.listed && !plan->recipients.file)
		say(c, "recipients.file",
		    "is missing: policy listed reads its "
		    "recipients from it");
	else if (!plan->recipients.listed && plan->recipients.file)
		say(c, "recipients.file", "is for policy listed");
	if (!plan->recipients.listed &&
	    plan->recipients.unknown == UNKNOWN_REFUSE)
		say(c, "recipients.unknown",
		    "without a list nobody is "
		    "unknown: refuse needs policy listed");
}

static void check_probe(struct check *c)
{
	const struct plan_strings *probes = &c->plan->probe_recipients;

	for (size_t i = 0; i < probes->count; i++) {
		struct smtp_mailbox mailbox;
		char path[PATH_MAX_BYTES];

		if (smtp_mailbox_parse(slice(probes->at[i]), &mailbox, NULL) ==
			    0 &&
		    plan_domain(c->plan, mailbox.domain))
			continue;
		snprintf(path, sizeof(path), "probe.recipients[%zu]", i);
		say(c, path, "is in no domain of the plan");
	}
}

/* `given`: the mailboxes so far, each of which gets one message. */
static void check_canary_list(struct check *c, const char *key,
			      const struct plan_strings *list,
			      struct map *given)
{
	bool initial = list == &c->plan->canary.initial;

	for (size_t i = 0; i < list->count; i++) {
		struct buf mailbox_key = BUF_INIT;
		struct smtp_mailbox mailbox;
		char path[PATH_MAX_BYTES], domain[SMTP_DOMAIN] = "";
		bool inside;

		snprintf(path, sizeof(path), "canary.%s[%zu]", key, i);
		smtp_mailbox_key(slice(list->at[i]), &mailbox_key);
		if (map_put(given, buf_slice(&mailbox_key), list->at[i]))
			say(c, path, "is the same mailbox as another one");
		buf_release(&mailbox_key);
		if (smtp_mailbox_parse(slice(list->at[i]), &mailbox, NULL) == 0)
			smtp_domain_normal(mailbox.domain, domain);
		check_exists(c, path, domain);
		inside = plan_domain(c->plan, slice(domain)) != NULL;
		if (initial && inside)
			say(c, path,
			    "is in a domain of the plan: name a mailbox that "
			    "the new tenant has already, at its initial "
			    "domain");
		if (!initial && !inside)
			say(c, path, "is in no domain of the plan");
	}
}

static void check_canary(struct check *c)
{
	struct map given = MAP_INIT;

	if (c->plan->plain && json_get(c->root, "canary"))
		say(c, "canary",
		    "is for a plan with old and new: no gate of a primary "
		    "waits for one");
	check_canary_list(c, "initial", &c->plan->canary.initial, &given);
	check_canary_list(c, "recipients", &c->plan->canary.recipients, &given);
	map_release(&given);
}

static void check_clocks(struct check *c)
{
	if (c->plan->rehearsal && c->plan->clocks.count > 0)
		say(c, "clock", "a rehearsal stays on this machine");
}

static void check_times(struct check *c)
{
	const struct plan *plan = c->plan;
	const struct plan_timing *timing = &plan->timing;

	if (plan->opens_ms && plan->opens_ms >= plan->closes_ms)
		say(c, "schedule.closes", "must be later than opens");
	else if (plan->opens_ms &&
		 plan->closes_ms - plan->opens_ms >= plan->retention_ms)
		say(c,
		    json_get(c->root, "retention") ? "retention" :
						     "schedule.closes",
		    "mail would be kept for a shorter time "
		    "than the schedule is long");
	if (!plan->rehearsal && plan->retention_ms < HOUR_MS)
		say(c, "retention", "must be at least 1h");
	if (plan->dns.old_ttl > 0 && plan->dns.ttl > plan->dns.old_ttl)
		say(c, "dns.ttl", "is the lowered TTL; it is above old_ttl");
	if (timing->retry_min > timing->retry_max)
		say(c,
		    json_get(json_get(c->root, "timing"), "retry_min") ?
			    "timing.retry_min" :
			    "timing.retry_max",
		    "retry_min is longer than retry_max");
	/* RFC 5321, 4.5.3.2.6: less makes duplicates. */
	if (!plan->rehearsal && timing->data_reply < DATA_REPLY_MIN_MS)
		say(c, "timing.data_reply",
		    "must be at least 10m (RFC 5321, "
		    "4.5.3.2.6)");
}

void plan_check(const struct plan *plan, const struct json *root,
		struct plan_report *report)
{
	struct check c = { .plan = plan, .root = root, .report = report };

	check_domains(&c);
	check_queue(&c);
	check_replay(&c);
	check_bounce(&c);
	check_recipients(&c);
	check_probe(&c);
	check_canary(&c);
	check_clocks(&c);
	check_times(&c);
}
