#include "cutover/check_parts.h"
#include "plan/plan_host.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	RESOLVERS_MIN = 3, /* fewer are no sample of the world's caches */
	TTL_BEARABLE_S = 3600,
};

struct dns_wanted check_wanted(const struct plan *plan, size_t domain)
{
	const struct plan_system *systems = plan->domains[domain].systems;

	return (struct dns_wanted){
		.old_mx = (const char *const *)systems[SYSTEM_OLD].mx.at,
		.old_count = systems[SYSTEM_OLD].mx.count,
		.new_mx = (const char *const *)systems[SYSTEM_NEW].mx.at,
		.new_count = systems[SYSTEM_NEW].mx.count,
		.queue_host = plan->queue_mx.host,
	};
}

/* Google Workspace Admin Help 174125 (1, 5, 5, 10, 10; a new domain has 1
 * alone); Microsoft Learn wants 0 for an only MX. */
unsigned check_mx_preference(const struct plan_system *system, size_t i)
{
	if (strcmp(system->provider->name, "m365") == 0)
		return (unsigned)i * 10;
	if (strcmp(system->provider->name, "workspace") == 0)
		return i == 0 ? 1 : i < 3 ? 5 : 10;
	return (unsigned)(i + 1) * 10;
}

struct json *check_vantage_json(const struct dns_vantage *vantage)
{
	struct json *json = json_object();
	struct buf mx = BUF_INIT;

	dns_mx_set_text(&vantage->mx, &mx);
	json_put_text(json, "name", vantage->name);
	json_put_text(json, "address", vantage->address);
	json_put_bool(json, "authority", vantage->authority);
	json_put_time(json, "asked", vantage->asked_ms);
	json_put_text(json, "error", vantage->error[0] ? vantage->error : NULL);
	json_put_text(json, "rcode", dns_rcode_name(vantage->rcode));
	json_put_bool(json, "aa", vantage->aa);
	json_put_bool(json, "ad", vantage->ad);
	json_put_text(json, "mx", vantage->error[0] ? NULL : buf_text(&mx));
	json_put_number(json, "ttl", vantage->mx.ttl);
	if (vantage->has_serial) {
		json_put_number(json, "serial", vantage->serial);
		json_put_number(json, "soa_minimum", vantage->soa_minimum);
		json_put_number(json, "soa_ttl", vantage->soa_ttl);
	} else {
		json_put(json, "serial", NULL);
	}
	buf_release(&mx);
	return json;
}

const char *check_time(int64_t wall_ms, char text[CLOCK_TEXT])
{
	clock_format(wall_ms, text); /* 2026-12-05T22:00:00Z */
	if (strlen(text) == 20) {
		text[10] = ' ';
		snprintf(text + 16, CLOCK_TEXT - 16, " UTC");
	}
	return text;
}

/* One domain under a check. */
struct view {
	const struct facts *facts;
	const struct plan *plan;
	const struct plan_domain *domain;
	const struct facts_domain *known;
	struct dns_wanted wanted;
	bool skip_ipv6; /* none answers: this host has no IPv6 */
};

static const char *mx_text(const struct dns_mx_set *set, char *text,
			   size_t size)
{
	struct buf out = BUF_INIT;

	dns_mx_set_text(set, &out);
	snprintf(text, size, "%s", buf_text(&out));
	buf_release(&out);
	return text;
}

static bool is_ipv6(const struct dns_vantage *vantage)
{
	return vantage->address[0] == '[';
}

/* Every name server has an IPv4 address that answers. */
static bool ipv4_answers(const struct dns_domain *dns, const char *name)
{
	for (size_t i = 0; i < dns->vantage_count; i++) {
		const struct dns_vantage *vantage = &dns->vantages[i];

		if (vantage->authority && !is_ipv6(vantage) &&
		    !vantage->error[0] && strcmp(vantage->name, name) == 0)
			return true;
	}
	return false;
}

/*
 * Where no authority's IPv6 address answers but each of those servers does over
 * IPv4, it is we who have no IPv6; the server itself was asked.
 */
static bool lacks_ipv6(const struct dns_domain *dns)
{
	bool any = false;

	for (size_t i = 0; i < dns->vantage_count; i++) {
		const struct dns_vantage *vantage = &dns->vantages[i];

		if (!vantage->authority || !is_ipv6(vantage))
			continue;
		if (!vantage->error[0] || !ipv4_answers(dns, vantage->name))
			return false;
		any = true;
	}
	return any;
}

static void view_of(const struct facts *facts, size_t at, struct view *view)
{
	*view = (struct view){
		.facts = facts,
		.plan = facts->plan,
		.domain = &facts->plan->domains[at],
		.known = &facts->domains[at],
		.wanted = check_wanted(facts->plan, at),
	};
	view->skip_ipv6 = lacks_ipv6(&view->known->dns);
}

static const struct dns_vantage *next_of(const struct view *view,
					 const struct dns_vantage *after,
					 bool authority)
{
	const struct dns_domain *dns = &view->known->dns;
	const struct dns_vantage *end = dns->vantages + dns->vantage_count;

	for (after = after ? after + 1 : dns->vantages; after < end; after++)
		if (after->authority == authority &&
		    !(authority && view->skip_ipv6 && is_ipv6(after)))
			return after;
	return NULL;
}

#define each_authority(view, at)                  \
	for (const struct dns_vantage *at = NULL; \
	     (at = next_of(view, at, true));)
#define each_resolver(view, at)                   \
	for (const struct dns_vantage *at = NULL; \
	     (at = next_of(view, at, false));)

/* False, and said, where nothing is known of the authorities. */
static bool was_asked(const struct view *view, struct tally *tally)
{
	const struct dns_domain *dns = &view->known->dns;
	const char *name = view->domain->name;

	if (!view->known->surveyed) {
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: DNS was not asked", name),
			  mem_printf("ask again"));
		return false;
	}
	if (next_of(view, NULL, true))
		return true;
	tally_add(tally, VERDICT_UNKNOWN,
		  mem_printf("%s: its authoritative servers were not found",
			     name),
		  mem_printf("%s: %s; check its NS records and dns.resolvers",
			     name,
			     dns->error[0] ? dns->error :
					     "no server is named"));
	return false;
}

static void say_silent(const struct view *view, struct tally *tally,
		       const struct dns_vantage *at)
{
	tally_add(tally, VERDICT_UNKNOWN,
		  mem_printf("%s: %s (%s) does not answer: it may serve "
			     "another MX set",
			     view->domain->name, at->name, at->address),
		  mem_printf("repair %s (%s), or take it out of the NS set",
			     at->name, at->error));
}

static bool serials_differ(const struct view *view)
{
	const struct dns_vantage *first = NULL;

	each_authority (view, at) {
		if (at->error[0] || !at->has_serial)
			continue;
		if (first && first->serial != at->serial)
			return true;
		if (!first)
			first = at;
	}
	return false;
}

/* Without the queue's host; true if it was there. */
static bool without_queue(const struct view *view, const struct dns_mx_set *set,
			  struct dns_mx_set *rest)
{
	bool had = false;

	*rest = (struct dns_mx_set){ .ttl = set->ttl };
	for (size_t i = 0; i < set->count; i++) {
		if (slice_is_nocase(slice(set->at[i].host),
				    view->plan->queue_mx.host))
			had = true;
		else
			rest->at[rest->count++] = set->at[i];
	}
	return had;
}

/* Where the queue is an extra MX, a set may have it beside its own hosts. */
static bool set_is(const struct view *view, const struct dns_mx_set *set,
		   unsigned is)
{
	struct dns_mx_set rest;

	if (dns_set_is(set, &view->wanted) & is)
		return true;
	return view->plan->strategy == STRATEGY_STANDBY && !(is & IS_PARKED) &&
	       without_queue(view, set, &rest) &&
	       (dns_set_is(&rest, &view->wanted) & is);
}

static const char *set_name(unsigned is)
{
	return is == IS_OLD ? "old" : is == IS_NEW ? "new" : "parked";
}

/* The records of a set as the zone file should have them. */
static void records(const struct view *view, unsigned is, struct buf *out)
{
	const struct plan_system *system =
		&view->domain->systems[is == IS_NEW ? SYSTEM_NEW : SYSTEM_OLD];

	if (is == IS_PARKED) {
		buf_addf(out, "'%s. MX %d %s.'", view->domain->name,
			 view->plan->queue_mx.priority,
			 view->plan->queue_mx.host);
		return;
	}
	for (size_t i = 0; i < system->mx.count; i++)
		buf_addf(out, "%s'%s. MX %u %s.'", i ? ", " : "",
			 view->domain->name, check_mx_preference(system, i),
			 system->mx.at[i]);
}

static char *publish_remedy(const struct view *view, unsigned is,
			    const struct dns_vantage *at)
{
	struct buf text = BUF_INIT;
	char has[512];

	buf_addf(&text, "%s (%s) answers '%s': publish ", at->name, at->address,
		 mx_text(&at->mx, has, sizeof(has)));
	records(view, is, &text);
	buf_adds(&text, " and nothing else");
	return buf_take(&text);
}

static struct json *delegation_json(const struct dns_delegation *delegation)
{
	struct json *json = json_object();

	json_put_text(json, "zone", delegation->zone);
	json_put_text(json, "parent",
		      delegation->parent[0] ? delegation->parent : NULL);
	json_put_text(json, "from",
		      delegation->from[0] ? delegation->from : NULL);
	json_put_text(json, "delegated", delegation->delegated);
	json_put_text(json, "own", delegation->own);
	json_put_text(json, "lame", delegation->lame);
	json_put_text(json, "error",
		      delegation->error[0] ? delegation->error : NULL);
	return json;
}

static void add_evidence(const struct view *view, struct tally *tally)
{
	const struct dns_domain *dns = &view->known->dns;
	struct json *json = json_object(), *vantages = json_array();

	json_put_text(json, "domain", view->domain->name);
	json_put_text(json, "asked_from", "this host");
	json_put_text(json, "error", dns->error[0] ? dns->error : NULL);
	for (size_t i = 0; i < dns->vantage_count; i++)
		json_add(vantages, check_vantage_json(&dns->vantages[i]));
	json_put(json, "vantages", vantages);
	if (dns->delegation.zone[0])
		json_put(json, "delegation", delegation_json(&dns->delegation));
	json_add(tally->evidence, json);
}

typedef void domain_fn(const struct view *view, enum gate gate,
		       struct tally *tally);

static void for_domains(const struct facts *facts, enum gate gate,
			struct finding *finding, domain_fn *one,
			const char *all_well)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		struct view view;

		view_of(facts, i, &view);
		add_evidence(&view, &tally);
		if (was_asked(&view, &tally))
			one(&view, gate, &tally);
	}
	tally_end(&tally, finding, all_well);
}

/* dns-authority */

/* Each name of one set that the other lacks, and that is not `but`. */
static char *names_beyond(const char *names, const char *other, const char *but)
{
	struct slice rest = slice(names ? names : "");
	struct buf text = BUF_INIT;

	while (rest.len > 0) {
		char name[DNS_NAME];
		struct slice one = slice_split(&rest, ' ');

		snprintf(name, sizeof(name), "%.*s", (int)one.len, one.p);
		if (!dns_names_has(other, name) && !dns_names_has(but, name))
			buf_addf(&text, "%s%s", text.len ? ", " : "", name);
	}
	return buf_take(&text);
}

/*
 * RFC 1034 section 4.2.2 wants both sets alike.  A server that only the parent
 * names is asked by whoever comes from above; one that only the zone names, by
 * whoever has been there before.
 */
static void delegation_one(const struct view *view, struct tally *tally)
{
	const struct dns_delegation *has = &view->known->dns.delegation;
	char *extra, *missing, *lame;

	if (!has->delegated || !has->own)
		return;
	extra = names_beyond(has->delegated, has->own, has->lame);
	missing = names_beyond(has->own, has->delegated, NULL);
	lame = names_beyond(has->lame, NULL, NULL);
	if (lame && *lame)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: %s delegates %s to %s, which has no "
				     "authority for it",
				     view->domain->name, has->parent, has->zone,
				     lame),
			  mem_printf("have the registrar take %s out of the "
				     "delegation of %s",
				     lame, has->zone));
	if (extra && *extra)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: %s delegates %s to %s, which its own "
				     "NS set lacks",
				     view->domain->name, has->parent, has->zone,
				     extra),
			  mem_printf("publish NS for %s in %s, or have the "
				     "registrar take it out of the delegation",
				     extra, has->zone));
	if (missing && *missing)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: %s does not delegate %s to %s of its "
				     "NS set",
				     view->domain->name, has->parent, has->zone,
				     missing),
			  mem_printf("have the registrar add %s to the "
				     "delegation of %s, or take its NS out of "
				     "the zone",
				     missing, has->zone));
	free(extra);
	free(missing);
	free(lame);
}

static void authority_one(const struct view *view, enum gate gate,
			  struct tally *tally)
{
	const char *name = view->domain->name;

	each_authority (view, at) {
		if (at->error[0])
			tally_add(tally, VERDICT_FAIL,
				  mem_printf("%s: %s (%s) does not answer",
					     name, at->name, at->address),
				  mem_printf("repair %s (%s), or take it out "
					     "of the NS set of %s",
					     at->name, at->error, name));
		else if (!at->aa || !at->has_serial)
			tally_add(tally, VERDICT_FAIL,
				  mem_printf("%s: %s (%s) is lame: it has no "
					     "authority for the zone",
					     name, at->name, at->address),
				  mem_printf("load the zone on %s, or take it "
					     "out of the NS set of %s",
					     at->name, name));
	}
	if (serials_differ(view))
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: its authoritative servers have "
				     "different serials",
				     name),
			  mem_printf("look at the zone transfer of %s: the "
				     "evidence has each server's serial",
				     name));
	if (view->plan->dns.authorities.count > 0 && !view->plan->rehearsal)
		tally_add(
			tally, VERDICT_WARN,
			mem_printf("%s: the servers that the plan names were "
				   "asked, and not those that the world asks",
				   name),
			mem_dup("take dns.authorities out of the plan, unless "
				"all of the NS set are among them"));
	if (view->skip_ipv6)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: asked over IPv4 alone, as no IPv6 "
				     "address answers from here",
				     name),
			  NULL);
	delegation_one(view, tally);
}

/* How many zones were compared with their delegation. */
static size_t compared(const struct facts *facts)
{
	size_t count = 0;

	for (size_t i = 0; i < facts->plan->domain_count; i++)
		count += facts->domains[i].dns.delegation.delegated != NULL;
	return count;
}

void check_dns_authority(const struct facts *facts, enum gate gate,
			 struct finding *finding)
{
	size_t count = compared(facts);

	for_domains(facts, gate, finding, authority_one,
		    count == facts->plan->domain_count ?
			    "every authoritative server answers, with one "
			    "serial, and the parent delegates to them" :
		    count > 0 ?
			    "every authoritative server answers, with one "
			    "serial; not every parent's delegation could be "
			    "seen" :
			    "every authoritative server answers, with one "
			    "serial; the parent's delegation was not seen");
}

/* mx-baseline */

static void baseline_one(const struct view *view, enum gate gate,
			 struct tally *tally)
{
	char has[512];

	each_authority (view, at) {
		struct buf old = BUF_INIT;

		if (at->error[0]) {
			say_silent(view, tally, at);
			continue;
		}
		if (set_is(view, &at->mx, IS_OLD))
			continue;
		records(view, IS_OLD, &old);
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: its MX set is '%s', not what the "
				     "plan calls old",
				     view->domain->name,
				     mx_text(&at->mx, has, sizeof(has))),
			  mem_printf("the zone is not what the plan says (%s): "
				     "correct the plan's MX hosts or find out "
				     "who changed the zone",
				     buf_text(&old)));
		buf_release(&old);
	}
}

void check_mx_baseline(const struct facts *facts, enum gate gate,
		       struct finding *finding)
{
	for_domains(facts, gate, finding, baseline_one,
		    "every authoritative server has the old MX set");
}

/* mx-sanity */

static const struct dns_host *find_host(const struct view *view,
					const char *name)
{
	const struct dns_domain *dns = &view->known->dns;

	for (size_t i = 0; i < dns->host_count; i++)
		if (slice_is_nocase(slice(dns->hosts[i].name), name))
			return &dns->hosts[i];
	return NULL;
}

/* "mx.acme.example.acme.example", "smtp.google.com.acme.example" */
static bool is_doubled(const char *host, const char *domain)
{
	struct slice rest = slice(host);

	if (!plan_host_is_below(host, domain))
		return false;
	rest.len -= strlen(domain) + 1;
	if (slice_is_nocase(rest, domain) ||
	    (rest.len > strlen(domain) && slice_ends_nocase(rest, domain) &&
	     rest.p[rest.len - strlen(domain) - 1] == '.'))
		return true;
	for (const struct provider *p = providers; p->name; p++)
		for (size_t i = 0; p->mx_suffixes[i]; i++)
			if (slice_ends_nocase(rest, p->mx_suffixes[i]))
				return true;
	return false;
}

static void sane_name(const struct view *view, const char *host,
		      struct tally *tally)
{
	const char *name = view->domain->name;

	if (!*host)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: a null MX: the domain says that it "
				     "takes no mail",
				     name),
			  mem_printf("remove '%s. MX 0 .'", name));
	else if (plan_is_ip(host))
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the MX '%s' is an address", name,
				     host),
			  mem_printf("an MX names a host: publish a name for "
				     "%s and use it",
				     host));
	else if (slice_ends_nocase(slice(host), ".invalid"))
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the MX '%s' takes no mail", name,
				     host),
			  mem_printf("remove '%s. MX %s.': it is a leftover of "
				     "domain verification",
				     name, host));
	else if (is_doubled(host, name))
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the MX '%s' ends with the domain "
				     "once too often",
				     name, host),
			  mem_printf("the record lacks the dot behind its "
				     "host: the zone appended '%s'",
				     name));
}

static void sane_host(const struct view *view, const struct dns_host *host,
		      struct tally *tally)
{
	const char *name = view->domain->name;

	if (host->cname)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the MX host %s is a CNAME", name,
				     host->name),
			  mem_printf("give %s an A record of its own (RFC 5321 "
				     "section 5.1)",
				     host->name));
	else if (!host->asked)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: no answer about the host %s", name,
				     host->name),
			  mem_printf("asking for %s: %s", host->name,
				     host->error));
	else if (host->addresses == 0)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the host %s has no address", name,
				     host->name),
			  mem_printf("publish '%s. A ADDRESS'; a dot may be "
				     "missing behind the host of the MX",
				     host->name));
	else if (check_is_private(host->first) && !view->plan->rehearsal)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: the host %s has the private address "
				     "%s, as asked from here",
				     name, host->name, host->first),
			  mem_printf("see what the world is told: publish an "
				     "address of %s that can be reached from "
				     "outside",
				     host->name));
	else if (host->addresses == 1)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: the host %s has one address only",
				     name, host->name),
			  NULL);
}

static bool seen_before(const struct dns_domain *dns, size_t vantage, size_t mx)
{
	const char *host = dns->vantages[vantage].mx.at[mx].host;

	for (size_t v = 0; v <= vantage; v++)
		for (size_t i = 0; i < dns->vantages[v].mx.count; i++) {
			if (v == vantage && i == mx)
				return false;
			if (slice_is_nocase(slice(host),
					    dns->vantages[v].mx.at[i].host))
				return true;
		}
	return false;
}

static void sanity_one(const struct view *view, enum gate gate,
		       struct tally *tally)
{
	const struct dns_domain *dns = &view->known->dns;
	bool queue_known = find_host(view, view->plan->queue_mx.host) != NULL;

	for (size_t v = 0; v < dns->vantage_count; v++)
		for (size_t i = 0; i < dns->vantages[v].mx.count; i++) {
			const char *host = dns->vantages[v].mx.at[i].host;

			if (seen_before(dns, v, i))
				continue;
			sane_name(view, host, tally);
			if (*host && !plan_is_ip(host) &&
			    !find_host(view, host))
				tally_add(tally, VERDICT_UNKNOWN,
					  mem_printf("%s: the host %s was not "
						     "asked for",
						     view->domain->name, host),
					  NULL);
		}
	for (size_t i = 0; i < dns->host_count; i++)
		sane_host(view, &dns->hosts[i], tally);
	if (!queue_known)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("the queue's host %s was not asked for",
				     view->plan->queue_mx.host),
			  NULL);
	each_authority (view, at)
		if (at->error[0])
			say_silent(view, tally, at);
}

static void hosts_evidence(const struct facts *facts, struct json *evidence)
{
	struct json *hosts = json_array(), *json = json_object();

	for (size_t d = 0; d < facts->plan->domain_count; d++) {
		const struct dns_domain *dns = &facts->domains[d].dns;

		for (size_t i = 0; i < dns->host_count; i++) {
			const struct dns_host *host = &dns->hosts[i];
			struct json *one = json_object();

			json_put_text(one, "asked", host->name);
			json_put_bool(one, "answered", host->asked);
			json_put_bool(one, "cname", host->cname);
			json_put_number(one, "addresses",
					(double)host->addresses);
			json_put_text(one, "first", host->first);
			json_put_text(one, "error",
				      host->error[0] ? host->error : NULL);
			json_add(hosts, one);
		}
	}
	json_put(json, "hosts", hosts);
	json_put_time(json, "at", facts->now.wall_ms);
	json_add(evidence, json);
}

void check_mx_sanity(const struct facts *facts, enum gate gate,
		     struct finding *finding)
{
	for_domains(facts, gate, finding, sanity_one,
		    "every MX names a host with addresses");
	hosts_evidence(facts, finding->evidence);
}

/* ttl-lowered */

static void ttl_one(const struct view *view, enum gate gate,
		    struct tally *tally)
{
	const struct plan *plan = view->plan;
	uint32_t ttl = 0;
	bool any = false;
	int64_t old_ttl;
	char when[CLOCK_TEXT];

	each_authority (view, at) {
		if (at->error[0]) {
			say_silent(view, tally, at);
		} else if (at->mx.count > 0) {
			any = true;
			if (at->mx.ttl > ttl)
				ttl = at->mx.ttl;
		}
	}
	if (!any) {
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: no authoritative server gave an MX "
				     "record",
				     view->domain->name),
			  NULL);
		return;
	}
	if (ttl <= plan->dns.ttl)
		return;
	old_ttl = ttl > plan->dns.old_ttl ? ttl : plan->dns.old_ttl;
	check_time(view->facts->now.wall_ms + old_ttl * 1000, when);
	tally_add(tally, ttl <= TTL_BEARABLE_S ? VERDICT_WARN : VERDICT_FAIL,
		  mem_printf("%s: the TTL of its MX records is %u s, above the "
			     "plan's %lld s",
			     view->domain->name, (unsigned)ttl,
			     (long long)plan->dns.ttl),
		  mem_printf("set the TTL of the MX records of %s to %lld now; "
			     "lowered now, the earliest start is %s",
			     view->domain->name, (long long)plan->dns.ttl,
			     when));
}

void check_ttl_lowered(const struct facts *facts, enum gate gate,
		       struct finding *finding)
{
	for_domains(facts, gate, finding, ttl_one,
		    "the MX records have the plan's TTL");
}

/* mx-horizon, parked, mx-not-old, mx-final */

/* The MX set that a gate wants to be everywhere. */
static unsigned set_for(const struct view *view, enum gate gate)
{
	enum phase phase = view->facts->phase;

	if (gate == GATE_DETACH)
		return IS_PARKED;
	if (view->plan->plain || phase == PHASE_RETURNING ||
	    phase == PHASE_RETURNED)
		return IS_OLD;
	if (gate == GATE_CLOSE || phase == PHASE_TRAILING ||
	    phase == PHASE_FINISHED)
		return IS_NEW;
	return IS_PARKED;
}

static void want_at_authorities(const struct view *view, unsigned is,
				enum verdict verdict, struct tally *tally)
{
	each_authority (view, at) {
		if (at->error[0])
			say_silent(view, tally, at);
		else if (!set_is(view, &at->mx, is))
			tally_add(tally, verdict,
				  mem_printf("%s: %s (%s) does not have the "
					     "%s MX set",
					     view->domain->name, at->name,
					     at->address, set_name(is)),
				  publish_remedy(view, is, at));
	}
}

/* Resolvers that still have another set, with what is left of its TTL. */
static void resolvers_lag(const struct view *view, unsigned is,
			  enum verdict verdict, struct tally *tally)
{
	each_resolver (view, at) {
		char has[512], left[CLOCK_TEXT];

		if (at->error[0] || set_is(view, &at->mx, is))
			continue;
		clock_format_duration((int64_t)at->mx.ttl * 1000, left);
		tally_add(tally, verdict,
			  mem_printf("%s: the resolver %s still has another MX "
				     "set",
				     view->domain->name, at->address),
			  mem_printf("%s has '%s' for %s more", at->address,
				     mx_text(&at->mx, has, sizeof(has)), left));
	}
}

/* Two ways to write one address are one resolver. */
static bool answered_before(const struct view *view,
			    const struct dns_vantage *resolver)
{
	each_resolver (view, at) {
		if (at == resolver)
			return false;
		if (!at->error[0] &&
		    strcmp(at->address, resolver->address) == 0)
			return true;
	}
	return false;
}

static size_t resolvers_answering(const struct view *view)
{
	size_t count = 0;

	each_resolver (view, at)
		count += !at->error[0] && !answered_before(view, at);
	return count;
}

/*
 * Postfix returns mail at once when no host of the MX set has an address.  The
 * set may well be the right one all the same.
 */
static void want_address(const struct view *view, const char *name,
			 struct tally *tally)
{
	const struct dns_host *host = find_host(view, name);

	if (!host)
		return;
	if (!host->asked)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: no answer about the host %s",
				     view->domain->name, name),
			  mem_printf("asking for %s: %s", name, host->error));
	else if (host->addresses == 0 && !host->cname)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the host %s has no address",
				     view->domain->name, name),
			  mem_printf("publish '%s. A ADDRESS': mail for it "
				     "bounces",
				     name));
}

static void say_serials(const struct view *view, struct tally *tally)
{
	if (serials_differ(view))
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: its authoritative servers have "
				     "different serials",
				     view->domain->name),
			  mem_printf("wait for the zone transfer of %s, or "
				     "repair it",
				     view->domain->name));
}

/* Does the wanted set lack a host that old caches would still go to? */
static bool leaves_old(const struct view *view, unsigned is)
{
	struct dns_mx_set old = { 0 };

	if (is == IS_PARKED)
		return true;
	for (size_t i = 0; i < view->wanted.old_count && i < DNS_MX_MAX; i++)
		snprintf(old.at[old.count++].host, DNS_NAME, "%s",
			 view->wanted.old_mx[i]);
	return dns_set_has_old(&old, &view->wanted);
}

static void horizon_left(const struct view *view, struct tally *tally)
{
	const struct plan_timing *timing = &view->plan->timing;
	const struct dns_horizon *horizon = &view->known->horizon;
	const struct dns_now *now = &view->facts->now;
	char when[CLOCK_TEXT], left[CLOCK_TEXT];
	bool known;
	int64_t left_ms = dns_horizon_left(horizon, view->plan->dns.old_ttl,
					   timing->horizon_margin,
					   timing->observe, now, &known);

	if (!known) {
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: the old TTL is not known: neither "
				     "dns.old_ttl nor enough observations",
				     view->domain->name),
			  mem_printf("write the TTL that the MX records had "
				     "before into dns.old_ttl, or let tideover "
				     "observe for %s",
				     clock_format_duration(timing->observe,
							   left)));
	} else if (left_ms > 0) {
		check_time(now->wall_ms + left_ms, when);
		clock_format_duration(left_ms, left);
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: caches may still hold the old MX set",
				     view->domain->name),
			  mem_printf("wait until %s (%s)", when, left));
	}
}

static void horizon_one(const struct view *view, enum gate gate,
			struct tally *tally)
{
	unsigned is = set_for(view, gate);

	want_at_authorities(view, is, VERDICT_FAIL, tally);
	say_serials(view, tally);
	if (is == IS_OLD) {
		/*
		 * On the way back (or out of a standby) the old set is the one
		 * to stay, and no horizon is kept of the others: what the
		 * resolvers have must do, and they must have been asked.
		 */
		resolvers_lag(view, is, VERDICT_FAIL, tally);
		if (resolvers_answering(view) == 0)
			tally_add(tally, VERDICT_UNKNOWN,
				  mem_printf("%s: no resolver answered",
					     view->domain->name),
				  NULL);
	} else if (leaves_old(view, is)) {
		horizon_left(view, tally);
	}
}

static void horizon_evidence(const struct facts *facts, struct json *evidence)
{
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		struct json *json = json_object();

		json_put_text(json, "domain", facts->plan->domains[i].name);
		json_put(json, "horizon",
			 dns_horizon_json(&facts->domains[i].horizon));
		json_put_number(json, "old_ttl",
				(double)facts->plan->dns.old_ttl);
		json_put_number(json, "margin_ms",
				(double)facts->plan->timing.horizon_margin);
		json_put_time(json, "now", facts->now.wall_ms);
		json_add(evidence, json);
	}
}

void check_mx_horizon(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	for_domains(facts, gate, finding, horizon_one,
		    "every authoritative server has the wanted MX set with one "
		    "serial, and no cache can hold the other any more");
	horizon_evidence(facts, finding->evidence);
}

static void parked_one(const struct view *view, enum gate gate,
		       struct tally *tally)
{
	want_at_authorities(view, IS_PARKED, VERDICT_FAIL, tally);
	want_address(view, view->plan->queue_mx.host, tally);
	resolvers_lag(view, IS_PARKED, VERDICT_WARN, tally);
	if (resolvers_answering(view) < RESOLVERS_MIN)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: fewer than %d resolvers answered",
				     view->domain->name, RESOLVERS_MIN),
			  mem_printf("name at least %d reachable resolvers in "
				     "dns.resolvers",
				     RESOLVERS_MIN));
}

void check_parked(const struct facts *facts, enum gate gate,
		  struct finding *finding)
{
	for_domains(facts, gate, finding, parked_one,
		    "the queue is the only MX at every authoritative server "
		    "and resolver");
}

/* Parked and new are both fine: the release goes on either way. */
static bool is_past_old(const struct view *view, const struct dns_mx_set *set)
{
	return (dns_set_is(set, &view->wanted) & IS_PARKED) ||
	       set_is(view, set, IS_NEW);
}

static void say_not_past(const struct view *view, const struct dns_vantage *at,
			 struct tally *tally)
{
	bool old = dns_set_has_old(&at->mx, &view->wanted) ||
		   (dns_set_is(&at->mx, &view->wanted) & IS_OLD);
	char has[512];

	mx_text(&at->mx, has, sizeof(has));
	tally_add(
		tally, VERDICT_FAIL,
		old ? mem_printf("%s: %s (%s) still has the old MX",
				 view->domain->name, at->name, at->address) :
		      mem_printf(
			      "%s: the MX set of %s (%s) is neither parked nor "
			      "new",
			      view->domain->name, at->name, at->address),
		old && view->plan->strategy == STRATEGY_PARK ?
			mem_printf(
				"remove the old records from '%s' of %s: mail "
				"that falls back there bounces",
				has, view->domain->name) :
			publish_remedy(view,
				       view->plan->strategy == STRATEGY_PARK ?
					       IS_PARKED :
					       IS_NEW,
				       at));
}

static void not_old_one(const struct view *view, enum gate gate,
			struct tally *tally)
{
	each_authority (view, at) {
		if (at->error[0])
			say_silent(view, tally, at);
		else if (!is_past_old(view, &at->mx))
			say_not_past(view, at, tally);
	}
	each_resolver (view, at) {
		char has[512], left[CLOCK_TEXT];

		if (at->error[0] || is_past_old(view, &at->mx))
			continue;
		clock_format_duration((int64_t)at->mx.ttl * 1000, left);
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: the resolver %s still has another MX "
				     "set",
				     view->domain->name, at->address),
			  mem_printf("%s has '%s' for %s more", at->address,
				     mx_text(&at->mx, has, sizeof(has)), left));
	}
}

void check_mx_not_old(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	for_domains(facts, gate, finding, not_old_one,
		    "every authoritative server is parked, or has the new MX "
		    "set");
}

/* The queue's host comes after every other. */
static bool queue_is_last(const struct view *view, const struct dns_mx_set *set)
{
	unsigned queue = 0, last = 0;
	bool there = false;

	for (size_t i = 0; i < set->count; i++) {
		if (slice_is_nocase(slice(set->at[i].host),
				    view->plan->queue_mx.host)) {
			queue = set->at[i].preference;
			there = true;
		} else if (set->at[i].preference > last) {
			last = set->at[i].preference;
		}
	}
	return !there || queue > last;
}

/* A plan that ends leaves nobody behind the queue's name.  After a cutover it is
 * the new system's spare and ends by itself; a plain standby plan does not. */
static bool leaves_queue(const struct view *view, const struct dns_mx_set *set)
{
	for (size_t i = 0; view->plan->plain && i < set->count; i++)
		if (slice_is_nocase(slice(set->at[i].host),
				    view->plan->queue_mx.host))
			return true;
	return false;
}

static void final_one(const struct view *view, enum gate gate,
		      struct tally *tally)
{
	unsigned is = set_for(view, GATE_CLOSE);
	const struct plan_system *system =
		&view->domain->systems[is == IS_NEW ? SYSTEM_NEW : SYSTEM_OLD];

	want_at_authorities(view, is, VERDICT_FAIL, tally);
	for (size_t i = 0; i < system->mx.count; i++)
		want_address(view, system->mx.at[i], tally);
	each_authority (view, at)
		if (!at->error[0] && set_is(view, &at->mx, is) &&
		    !queue_is_last(view, &at->mx))
			tally_add(tally, VERDICT_FAIL,
				  mem_printf("%s: the queue is not the last MX "
					     "at %s (%s)",
					     view->domain->name, at->name,
					     at->address),
				  publish_remedy(view, is, at));
	each_authority (view, at)
		if (!at->error[0] && leaves_queue(view, &at->mx))
			tally_add(
				tally, VERDICT_FAIL,
				mem_printf("%s: the queue is still an MX at "
					   "%s (%s), and protects the domain",
					   view->domain->name, at->name,
					   at->address),
				mem_printf("remove the MX record of %s first, "
					   "if the protection is to end; the "
					   "queue takes no more mail then",
					   view->plan->queue_mx.host));
	resolvers_lag(view, is, VERDICT_WARN, tally);
	if (resolvers_answering(view) == 0)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: no resolver answered",
				     view->domain->name),
			  NULL);
}

void check_mx_final(const struct facts *facts, enum gate gate,
		    struct finding *finding)
{
	for_domains(facts, gate, finding, final_one,
		    "every authoritative server has the MX set to stay");
}
