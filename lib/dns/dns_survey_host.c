#include "dns/dns_survey.h"
#include "dns/dns_vantage.h"
#include <stdio.h>

static void host_ended(struct dns_survey *survey, struct survey_host *host)
{
	if (--host->pending > 0)
		return;
	/* An address is enough; to say that there is none takes both. */
	if (host->found.addresses > 0 || host->found.cname)
		host->found.error[0] = '\0';
	host->found.asked = host->found.error[0] == '\0' ||
			    strcmp(host->found.error, "NXDOMAIN") == 0;
	if (--survey->hosts_left == 0)
		survey_end_soon(survey);
}

static void host_cut_off(struct survey_host *host)
{
	host->found.asked = host->found.addresses > 0;
	if (!host->found.asked)
		snprintf(host->found.error, sizeof(host->found.error),
			 "timeout");
}

static void host_error(struct survey_host *host, const char *why)
{
	snprintf(host->found.error, sizeof(host->found.error), "%.159s", why);
}

static void take_host(struct survey_host *host, const struct dns_answer *answer)
{
	struct dns_host *found = &host->found;

	if (answer->rcode != DNS_NOERROR) {
		host_error(host, dns_rcode_name(answer->rcode));
		return;
	}
	for (size_t i = 0; i < answer->answer_count; i++) {
		const struct dns_record *record = &answer->answers[i];

		if (record->type == DNS_CNAME &&
		    strcmp(record->name, found->name) == 0)
			found->cname = true;
		if (!record->address[0])
			continue;
		if (found->addresses++ == 0)
			snprintf(found->first, sizeof(found->first), "%s",
				 record->address);
	}
}

static void on_host_resolved(struct survey_ask *asked,
			     const struct dns_answer *answer, const char *why)
{
	struct survey_host *host = &asked->survey->hosts[asked->at];

	if (answer)
		take_host(host, answer);
	else
		host_error(host, why);
	host_ended(asked->survey, host);
}

/* An authority knows only its own zones; for the rest there is the resolver. */
static void on_host_authority(struct survey_ask *asked,
			      const struct dns_answer *answer, const char *why)
{
	struct dns_survey *survey = asked->survey;
	struct survey_host *host = &survey->hosts[asked->at];
	bool told =
		answer && answer->aa &&
		(answer->rcode == DNS_NOERROR || answer->rcode == DNS_NXDOMAIN);

	if (!told && survey->resolver_count > 0) {
		survey_resolve(survey, asked->name, asked->type,
			       on_host_resolved, asked->domain, asked->at);
		return;
	}
	if (told)
		take_host(host, answer);
	else
		host_error(host, answer ? "no authority of its zone, and no "
					  "resolver to ask" :
					  why);
	host_ended(survey, host);
}

/* An authority that answered for the domain, if the host may be its own. */
static bool authority_for(const struct dns_survey *survey, size_t domain,
			  const char *host, struct addr *addr)
{
	const struct dns_domain *asked = &survey->domains[domain];
	const char *zone = survey->works[domain].zone;

	if (survey->authority_count == 0 &&
	    (!zone[0] || !dns_name_is_in(host, zone)))
		return false;
	for (size_t i = 0; i < asked->vantage_count; i++)
		if (asked->vantages[i].authority && asked->vantages[i].aa &&
		    addr_parse(slice(asked->vantages[i].address), DNS_PORT,
			       addr, NULL) == 0)
			return true;
	return false;
}

static void ask_host(struct dns_survey *survey, size_t at)
{
	static const unsigned types[] = { DNS_A, DNS_AAAA };
	struct survey_host *host = &survey->hosts[at];
	struct addr server;
	bool own =
		authority_for(survey, host->domain, host->found.name, &server);

	for (size_t i = 0; !own && i < survey->domain_count &&
			   strcmp(host->found.name, survey->queue_host) == 0;
	     i++)
		own = authority_for(survey, i, host->found.name, &server);
	host->pending = COUNT(types);
	if (!own && survey->resolver_count == 0) {
		host_error(host, "no resolver to ask");
		host->pending = 1;
		host_ended(survey, host);
		return;
	}
	host->found.error[0] = '\0';
	for (size_t i = 0; i < COUNT(types); i++)
		if (own)
			survey_ask(survey, &server, false, host->found.name,
				   types[i], on_host_authority, host->domain,
				   at);
		else
			survey_resolve(survey, host->found.name, types[i],
				       on_host_resolved, host->domain, at);
}

static void add_host(struct dns_survey *survey, const char *name, size_t domain)
{
	struct survey_host *host;

	if (!name[0] || map_get(&survey->host_of, slice(name)))
		return;
	survey->hosts = mem_grow(survey->hosts, (survey->host_count + 1) *
							sizeof(*survey->hosts));
	host = &survey->hosts[survey->host_count++];
	*host = (struct survey_host){ .domain = domain };
	snprintf(host->found.name, sizeof(host->found.name), "%s", name);
	snprintf(host->found.error, sizeof(host->found.error), "timeout");
	map_put(&survey->host_of, slice(name),
		(void *)(uintptr_t)survey->host_count);
}

/* The hosts that a domain's vantages name, and the queue's. */
static void add_hosts(struct dns_survey *survey, size_t at)
{
	const struct dns_domain *domain = &survey->domains[at];

	for (size_t v = 0; v < domain->vantage_count; v++)
		for (size_t i = 0; i < domain->vantages[v].mx.count; i++)
			add_host(survey, domain->vantages[v].mx.at[i].host, at);
	add_host(survey, survey->queue_host, at);
}

void survey_ask_hosts(struct dns_survey *survey)
{
	for (size_t i = 0; i < survey->domain_count; i++)
		add_hosts(survey, i);
	survey->hosts_left = survey->host_count;
	for (size_t i = 0; i < survey->host_count; i++)
		ask_host(survey, i);
	if (survey->host_count == 0)
		survey_end_soon(survey);
}

static void domain_add_host(struct dns_survey *survey,
			    struct dns_domain *domain, const char *name)
{
	uintptr_t at = (uintptr_t)map_get(&survey->host_of, slice(name));

	for (size_t i = 0; i < domain->host_count; i++)
		if (strcmp(domain->hosts[i].name, name) == 0)
			return;
	if (at == 0)
		return;
	domain->hosts = mem_grow(domain->hosts, (domain->host_count + 1) *
							sizeof(*domain->hosts));
	domain->hosts[domain->host_count++] = survey->hosts[at - 1].found;
}

/* The deadline may have come before the hosts' turn: named, not asked. */
void survey_give_hosts(struct dns_survey *survey)
{
	for (size_t i = 0; i < survey->host_count; i++)
		if (survey->hosts[i].pending > 0)
			host_cut_off(&survey->hosts[i]);
	for (size_t d = 0; d < survey->domain_count; d++) {
		struct dns_domain *domain = &survey->domains[d];

		add_hosts(survey, d);
		for (size_t v = 0; v < domain->vantage_count; v++)
			for (size_t i = 0; i < domain->vantages[v].mx.count;
			     i++)
				domain_add_host(
					survey, domain,
					domain->vantages[v].mx.at[i].host);
		domain_add_host(survey, domain, survey->queue_host);
	}
}
