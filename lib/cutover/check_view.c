#include "cutover/check_view.h"
#include <stdio.h>
#include <stdlib.h>

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

const char *view_mx_text(const struct dns_mx_set *set, char *text, size_t size)
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

const struct dns_vantage *view_next(const struct view *view,
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
	if (view_next(view, NULL, true))
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

void view_say_silent(const struct view *view, struct tally *tally,
		     const struct dns_vantage *at)
{
	tally_add(tally, VERDICT_UNKNOWN,
		  mem_printf("%s: %s (%s) does not answer: it may serve "
			     "another MX set",
			     view->domain->name, at->name, at->address),
		  mem_printf("repair %s (%s), or take it out of the NS set",
			     at->name, at->error));
}

bool view_serials_differ(const struct view *view)
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
bool view_set_is(const struct view *view, const struct dns_mx_set *set,
		 unsigned is)
{
	struct dns_mx_set rest;

	if (dns_set_is(set, &view->wanted) & is)
		return true;
	return view->plan->strategy == STRATEGY_STANDBY && !(is & IS_PARKED) &&
	       without_queue(view, set, &rest) &&
	       (dns_set_is(&rest, &view->wanted) & is);
}

const char *view_set_name(unsigned is)
{
	return is == IS_OLD ? "old" : is == IS_NEW ? "new" : "parked";
}

/* The records of a set as the zone file should have them. */
void view_records(const struct view *view, unsigned is, struct buf *out)
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

char *view_publish_remedy(const struct view *view, unsigned is,
			  const struct dns_vantage *at)
{
	struct buf text = BUF_INIT;
	char has[512];

	buf_addf(&text, "%s (%s) answers '%s': publish ", at->name, at->address,
		 view_mx_text(&at->mx, has, sizeof(has)));
	view_records(view, is, &text);
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

void view_each(const struct facts *facts, enum gate gate,
	       struct finding *finding, view_fn *one, const char *all_well)
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

const struct dns_host *view_host(const struct view *view, const char *name)
{
	const struct dns_domain *dns = &view->known->dns;

	for (size_t i = 0; i < dns->host_count; i++)
		if (slice_is_nocase(slice(dns->hosts[i].name), name))
			return &dns->hosts[i];
	return NULL;
}
