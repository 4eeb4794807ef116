#include "base/clock.h"
#include "dns/dns_survey.h"
#include "dns/dns_vantage.h"
#include <stdio.h>

#define VANTAGES_MAX 64

/* The resolvers, when the authorities have spoken. */

static struct dns_vantage *add_vantage(struct dns_domain *domain,
				       const char *name,
				       const struct addr *addr)
{
	struct dns_vantage *vantage;

	domain->vantages =
		mem_grow(domain->vantages, (domain->vantage_count + 1) *
						   sizeof(*domain->vantages));
	vantage = &domain->vantages[domain->vantage_count++];
	*vantage = (struct dns_vantage){ .asked_ms = clock_wall_ms() };
	snprintf(vantage->name, sizeof(vantage->name), "%s", name);
	snprintf(vantage->error, sizeof(vantage->error), "timeout");
	if (addr)
		addr_format(addr, vantage->address);
	return vantage;
}

static void on_resolver_mx(struct survey_ask *asked,
			   const struct dns_answer *answer, const char *why)
{
	struct dns_domain *domain = &asked->survey->domains[asked->domain];

	dns_vantage_take_mx(&domain->vantages[asked->at], domain->name, answer,
			    why);
	if (--asked->survey->works[asked->domain].pending == 0)
		survey_domain_ended(asked->survey);
}

/*
 * Where the authorities have no MX, asking a resolver would plant that in its
 * cache for the SOA minimum, and the MX published next would not be seen.
 */
static bool would_plant_nothing(const struct dns_domain *domain)
{
	bool nothing = false;

	for (size_t i = 0; i < domain->vantage_count; i++) {
		const struct dns_vantage *vantage = &domain->vantages[i];

		if (!vantage->error[0] && vantage->mx.count > 0)
			return false;
		if (vantage->aa &&
		    (!vantage->error[0] || vantage->rcode == DNS_NXDOMAIN))
			nothing = true;
	}
	return nothing;
}

void survey_ask_resolvers(struct dns_survey *survey, size_t at)
{
	struct dns_domain *domain = &survey->domains[at];
	struct survey_work *work = &survey->works[at];
	bool plants = would_plant_nothing(domain);

	work->pending = 0;
	for (size_t i = 0; i < survey->resolver_count; i++) {
		struct dns_vantage *vantage =
			add_vantage(domain, "resolver", &survey->resolvers[i]);

		if (plants) {
			snprintf(vantage->error, sizeof(vantage->error),
				 "not asked: no authority has an MX, and its "
				 "cache would keep that");
			continue;
		}
		work->pending++;
		survey_ask(survey, &survey->resolvers[i], true, domain->name,
			   DNS_MX, on_resolver_mx, at,
			   domain->vantage_count - 1);
	}
	if (work->pending == 0)
		survey_domain_ended(survey);
}

/* The authorities. */

static void authority_ended(struct dns_survey *survey, size_t domain)
{
	if (--survey->works[domain].pending > 0)
		return;
	survey_ask_parent(survey, domain);
	survey_ask_resolvers(survey, domain);
}

static void on_authority_mx(struct survey_ask *asked,
			    const struct dns_answer *answer, const char *why)
{
	struct dns_domain *domain = &asked->survey->domains[asked->domain];

	dns_vantage_take_mx(&domain->vantages[asked->at], domain->name, answer,
			    why);
	authority_ended(asked->survey, asked->domain);
}

static void on_authority_soa(struct survey_ask *asked,
			     const struct dns_answer *answer, const char *why)
{
	struct dns_domain *domain = &asked->survey->domains[asked->domain];

	dns_vantage_take_soa(&domain->vantages[asked->at], domain->name, answer,
			     asked->survey->works[asked->domain].zone);
	authority_ended(asked->survey, asked->domain);
}

static void on_authority_ns(struct survey_ask *asked,
			    const struct dns_answer *answer, const char *why)
{
	survey_take_own_ns(asked->survey, asked->domain, answer);
	authority_ended(asked->survey, asked->domain);
}

void survey_ask_authorities(struct dns_survey *survey, size_t at)
{
	struct dns_domain *domain = &survey->domains[at];
	struct survey_work *work = &survey->works[at];

	/* One more than asked: it falls when all of them are under way. */
	work->pending = 1;
	for (size_t i = 0; i < domain->vantage_count; i++) {
		struct addr addr;

		if (strcmp(domain->vantages[i].error, "timeout") != 0 ||
		    addr_parse(slice(domain->vantages[i].address), DNS_PORT,
			       &addr, NULL) < 0)
			continue;
		work->pending += 2;
		survey_ask(survey, &addr, false, domain->name, DNS_SOA,
			   on_authority_soa, at, i);
		survey_ask(survey, &addr, false, domain->name, DNS_MX,
			   on_authority_mx, at, i);
		if (survey->authority_count > 0)
			continue;
		work->pending++;
		survey_ask(survey, &addr, false, work->zone, DNS_NS,
			   on_authority_ns, at, i);
	}
	authority_ended(survey, at);
}

struct dns_vantage *survey_add_authority(struct dns_domain *domain,
					 const char *name,
					 const struct addr *addr)
{
	struct dns_vantage *vantage;

	if (domain->vantage_count == VANTAGES_MAX) {
		snprintf(domain->error, sizeof(domain->error),
			 "more than %d "
			 "authority addresses: not all were asked",
			 VANTAGES_MAX);
		return NULL;
	}
	vantage = add_vantage(domain, name, addr);
	vantage->authority = true;
	return vantage;
}
