#include "dns/dns_survey.h"
#include "dns/dns_vantage.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Connecting a datagram socket asks the routing table and sends nothing. */
static bool has_route(const char *address)
{
	struct addr addr;
	bool has;
	int fd;

	if (addr_parse(slice(address), DNS_PORT, &addr, NULL) < 0)
		return false;
	fd = socket(addr.sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	has = connect(fd, (const struct sockaddr *)&addr.sa, addr.len) == 0;
	close(fd);
	return has;
}

static int compare(const void *left, const void *right)
{
	const struct dns_vantage *a = left, *b = right;
	int by_name = strcmp(a->name, b->name);

	return by_name ? by_name : strcmp(a->address, b->address);
}

/*
 * A host without IPv6 cannot ask an IPv6 address.  That is no evidence against
 * a name server that can be asked at another of its addresses.
 */
static void drop_unreachable(struct dns_domain *domain)
{
	size_t kept = 0;

	for (size_t i = 0; i < domain->vantage_count; i++) {
		struct dns_vantage *vantage = &domain->vantages[i];
		bool other = false;

		if (!has_route(vantage->address))
			snprintf(vantage->error, sizeof(vantage->error),
				 "no route to it from here");
		for (size_t j = 0; j < domain->vantage_count; j++)
			if (j != i &&
			    strcmp(domain->vantages[j].name, vantage->name) ==
				    0 &&
			    has_route(domain->vantages[j].address))
				other = true;
		if (strcmp(vantage->error, "timeout") == 0 || !other)
			domain->vantages[kept++] = *vantage;
	}
	domain->vantage_count = kept;
}

static void have_addresses(struct dns_survey *survey, size_t at)
{
	struct dns_domain *domain = &survey->domains[at];
	struct survey_work *work = &survey->works[at];

	if (strcmp(domain->error, "timeout") == 0)
		domain->error[0] = '\0';
	qsort(domain->vantages, domain->vantage_count,
	      sizeof(*domain->vantages), compare);
	drop_unreachable(domain);
	for (size_t i = 0; i < work->server_count; i++) {
		struct dns_vantage *vantage;
		bool has = false;

		for (size_t v = 0; v < domain->vantage_count; v++)
			if (strcmp(domain->vantages[v].name,
				   work->servers[i].name) == 0)
				has = true;
		vantage = has ? NULL :
				survey_add_authority(
					domain, work->servers[i].name, NULL);
		if (vantage)
			snprintf(vantage->error, sizeof(vantage->error),
				 "no address: %s", work->servers[i].why);
	}
	survey_ask_authorities(survey, at);
}

static void on_server_address(struct survey_ask *asked,
			      const struct dns_answer *answer, const char *why)
{
	struct dns_survey *survey = asked->survey;
	struct survey_work *work = &survey->works[asked->domain];
	struct survey_server *server = &work->servers[asked->at];

	if (!answer || answer->rcode != DNS_NOERROR)
		snprintf(server->why, sizeof(server->why), "%.63s",
			 answer ? dns_rcode_name(answer->rcode) : why);
	for (size_t i = 0; answer && i < answer->answer_count; i++) {
		struct addr addr;

		if (answer->answers[i].address[0] &&
		    addr_from_ip(slice(answer->answers[i].address), DNS_PORT,
				 &addr, NULL) == 0)
			survey_add_authority(&survey->domains[asked->domain],
					     server->name, &addr);
	}
	if (--work->pending == 0)
		have_addresses(survey, asked->domain);
}

/* Finding the authorities through a resolver. */

static void not_found(struct dns_survey *survey, size_t at, const char *name,
		      const char *why)
{
	struct dns_domain *domain = &survey->domains[at];

	snprintf(domain->error, sizeof(domain->error),
		 "no authority was found: NS of %.80s: %.40s",
		 name[0] ? name : ".", why);
	survey_ask_resolvers(survey, at);
}

static void add_server(struct dns_survey *survey, size_t at, const char *name)
{
	struct survey_work *work = &survey->works[at];
	struct dns_domain *domain = &survey->domains[at];

	for (size_t i = 0; i < work->server_count; i++)
		if (strcmp(work->servers[i].name, name) == 0)
			return;
	if (work->server_count == SURVEY_NS_MAX) {
		snprintf(domain->error, sizeof(domain->error),
			 "more than %d name servers: not all were asked",
			 SURVEY_NS_MAX);
		return;
	}
	snprintf(work->servers[work->server_count].name, DNS_NAME, "%s", name);
	snprintf(work->servers[work->server_count].why,
		 sizeof(work->servers[0].why), "no A or AAAA record");
	work->server_count++;
}

/* Up to the zone that holds the name, or one label if no SOA says where. */
const char *survey_above(const char *name, const struct dns_answer *answer)
{
	const char *dot = strchr(name, '.');

	for (size_t i = 0; i < answer->authority_count; i++) {
		const struct dns_record *record = &answer->authority[i];

		if (record->type == DNS_SOA && strcmp(record->name, name) &&
		    dns_name_is_in(name, record->name))
			return record->name;
	}
	return dot ? dot + 1 : "";
}

static void on_ns(struct survey_ask *asked, const struct dns_answer *answer,
		  const char *why)
{
	struct dns_survey *survey = asked->survey;
	size_t at = asked->domain;
	struct survey_work *work = &survey->works[at];

	if (!answer ||
	    (answer->rcode != DNS_NOERROR && answer->rcode != DNS_NXDOMAIN)) {
		not_found(survey, at, asked->name,
			  answer ? dns_rcode_name(answer->rcode) : why);
		return;
	}
	for (size_t i = 0; i < answer->answer_count; i++)
		if (answer->answers[i].type == DNS_NS &&
		    strcmp(answer->answers[i].name, asked->name) == 0)
			add_server(survey, at, answer->answers[i].target);
	if (work->server_count == 0) {
		const char *parent = survey_above(asked->name, answer);

		/* The root's servers know nothing of anybody's MX. */
		if (!parent[0])
			not_found(survey, at, asked->name,
				  answer->rcode ? "NXDOMAIN" : "none");
		else
			survey_resolve(survey, parent, DNS_NS, on_ns, at, 0);
		return;
	}
	snprintf(work->zone, sizeof(work->zone), "%s", asked->name);
	for (size_t i = 0; i < work->server_count; i++) {
		work->pending += 2;
		survey_resolve(survey, work->servers[i].name, DNS_A,
			       on_server_address, at, i);
		survey_resolve(survey, work->servers[i].name, DNS_AAAA,
			       on_server_address, at, i);
	}
}

void survey_find(struct dns_survey *survey, size_t at)
{
	struct dns_domain *domain = &survey->domains[at];

	for (size_t i = 0; i < survey->authority_count; i++)
		survey_add_authority(domain, "authority",
				     &survey->authorities[i]);
	if (survey->authority_count > 0) {
		survey_ask_authorities(survey, at);
	} else if (survey->resolver_count > 0) {
		snprintf(domain->error, sizeof(domain->error), "timeout");
		survey_resolve(survey, domain->name, DNS_NS, on_ns, at, 0);
	} else {
		snprintf(domain->error, sizeof(domain->error),
			 "no resolver to find the authorities with");
		survey_ask_resolvers(survey, at);
	}
}
