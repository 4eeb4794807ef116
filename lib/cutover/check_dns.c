#include "cutover/check_view.h"
#include "plan/plan_host.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	TTL_BEARABLE_S = 3600
};

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
	if (view_serials_differ(view))
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

	view_each(facts, gate, finding, authority_one,
		  count == facts->plan->domain_count ?
			  "every authoritative server answers, with one "
			  "serial, and the parent delegates to them" :
		  count > 0 ? "every authoritative server answers, with one "
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
			view_say_silent(view, tally, at);
			continue;
		}
		if (view_set_is(view, &at->mx, IS_OLD))
			continue;
		view_records(view, IS_OLD, &old);
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: its MX set is '%s', not what the "
				     "plan calls old",
				     view->domain->name,
				     view_mx_text(&at->mx, has, sizeof(has))),
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
	view_each(facts, gate, finding, baseline_one,
		  "every authoritative server has the old MX set");
}

/* mx-sanity */

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
	bool queue_known = view_host(view, view->plan->queue_mx.host) != NULL;

	for (size_t v = 0; v < dns->vantage_count; v++)
		for (size_t i = 0; i < dns->vantages[v].mx.count; i++) {
			const char *host = dns->vantages[v].mx.at[i].host;

			if (seen_before(dns, v, i))
				continue;
			sane_name(view, host, tally);
			if (*host && !plan_is_ip(host) &&
			    !view_host(view, host))
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
			view_say_silent(view, tally, at);
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
	view_each(facts, gate, finding, sanity_one,
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
			view_say_silent(view, tally, at);
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
	view_each(facts, gate, finding, ttl_one,
		  "the MX records have the plan's TTL");
}
