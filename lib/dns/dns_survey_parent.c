/* The delegation: the NS set at the parent, beside that of the zone itself. */

#include "dns/dns_survey.h"
#include "dns/dns_vantage.h"
#include <stdio.h>
#include <stdlib.h>

#define SERVERS_ASKED 3 /* of the parent's, until one answers */
#define ADDRESSES_MAX 8 /* of a server that the parent alone names */

/* One zone's; gone when its domain is through. */
struct survey_parent {
	struct list link;
	struct dns_survey *survey;
	size_t domain;
	struct dns_desk_host *finding;
	char servers[SURVEY_NS_MAX][DNS_NAME]; /* of the parent */
	size_t server_count, next, tries;
	char server[DNS_NAME]; /* whose address is being found */
	const char *unasked;   /* names in the delegation alone, still to ask */
	char address[ADDR_TEXT];	  /* of that server */
	struct addr addrs[ADDRESSES_MAX]; /* of one that is unasked */
	size_t addr_count, pending;
};

bool dns_names_has(const char *names, const char *name)
{
	struct slice rest = slice(names ? names : "");

	while (rest.len > 0)
		if (slice_is(slice_split(&rest, ' '), name))
			return true;
	return false;
}

/* Sorted, so that the same set is the same text. */
static void names_add(char **names, const char *name)
{
	struct slice rest = slice(*names ? *names : "");
	struct buf text = BUF_INIT;
	bool added = dns_names_has(*names, name);

	while (rest.len > 0 || !added) {
		struct slice one =
			rest.len > 0 ? slice_split(&rest, ' ') : slice("");
		bool now = !added &&
			   (one.len == 0 || strncmp(name, one.p, one.len) < 0);

		if (now)
			buf_addf(&text, "%s%s", text.len ? " " : "", name);
		if (one.len > 0)
			buf_addf(&text, "%s%.*s", text.len ? " " : "",
				 (int)one.len, one.p);
		added = added || now;
	}
	free(*names);
	*names = buf_take(&text);
}

static void take_ns(struct dns_delegation *found, char **names,
		    const struct dns_record *ns)
{
	names_add(names, ns->target);
	if (ns->ttl > found->ttl)
		found->ttl = ns->ttl;
}

static struct dns_delegation *delegation_of(struct survey_parent *parent)
{
	return &parent->survey->domains[parent->domain].delegation;
}

static void parent_free(struct survey_parent *parent)
{
	dns_desk_host_cancel(&parent->finding);
	list_remove(&parent->link);
	free(parent);
}

void survey_parents_free(struct dns_survey *survey)
{
	list_each (it, next, &survey->parents)
		parent_free(list_entry(it, struct survey_parent, link));
}

static void end_parent(struct survey_parent *parent)
{
	struct dns_survey *survey = parent->survey;

	parent_free(parent);
	survey_domain_ended(survey);
}

static void fails(struct survey_parent *parent, const char *what,
		  const char *why)
{
	struct dns_delegation *found = delegation_of(parent);

	snprintf(found->error, sizeof(found->error), "%.90s: %.60s", what, why);
	end_parent(parent);
}

static struct survey_parent *parent_at(struct survey_ask *asked)
{
	list_each (it, next, &asked->survey->parents) {
		struct survey_parent *parent =
			list_entry(it, struct survey_parent, link);

		if (parent->domain == asked->domain)
			return parent;
	}
	return NULL;
}

/*
 * Those that only the parent names.  One that has the zone is asked by whoever
 * comes from above, so what it serves counts: it is an authority like others.
 */

static void ask_unasked(struct survey_parent *parent);

static void one_ended(struct survey_parent *parent)
{
	if (--parent->pending == 0)
		ask_unasked(parent);
}

static void on_its_mx(struct survey_ask *asked, const struct dns_answer *answer,
		      const char *why)
{
	struct dns_domain *domain = &asked->survey->domains[asked->domain];

	dns_vantage_take_mx(&domain->vantages[asked->at], domain->name, answer,
			    why);
	one_ended(parent_at(asked));
}

static void on_its_soa(struct survey_ask *asked,
		       const struct dns_answer *answer, const char *why)
{
	struct dns_domain *domain = &asked->survey->domains[asked->domain];

	dns_vantage_take_soa(&domain->vantages[asked->at], domain->name, answer,
			     delegation_of(parent_at(asked))->zone);
	one_ended(parent_at(asked));
}

static void ask_its_zone(struct survey_parent *parent)
{
	struct dns_survey *survey = parent->survey;
	struct dns_domain *domain = &survey->domains[parent->domain];

	/* One more than asked: it falls when all of them are under way. */
	parent->pending = 1;
	for (size_t i = 0; i < parent->addr_count; i++) {
		const struct addr *addr = &parent->addrs[i];

		if (!survey_add_authority(domain, parent->server, addr))
			break;
		parent->pending += 2;
		survey_ask(survey, addr, false, domain->name, DNS_SOA,
			   on_its_soa, parent->domain,
			   domain->vantage_count - 1);
		survey_ask(survey, addr, false, domain->name, DNS_MX, on_its_mx,
			   parent->domain, domain->vantage_count - 1);
	}
	one_ended(parent);
}

static void on_soa(struct survey_ask *asked, const struct dns_answer *answer,
		   const char *why)
{
	struct survey_parent *parent = parent_at(asked);
	struct dns_delegation *found = delegation_of(parent);

	if (answer && answer->aa && answer->rcode == DNS_NOERROR) {
		ask_its_zone(parent);
		return;
	}
	names_add(&found->lame, parent->server);
	ask_unasked(parent);
}

static void on_unasked_address(void *ctx, const struct addr *addrs,
			       size_t count, const char *why)
{
	struct survey_parent *parent = ctx;
	struct dns_delegation *found = delegation_of(parent);

	parent->finding = NULL;
	if (count == 0) {
		names_add(&found->lame, parent->server);
		ask_unasked(parent);
		return;
	}
	parent->addr_count = count < ADDRESSES_MAX ? count : ADDRESSES_MAX;
	memcpy(parent->addrs, addrs, parent->addr_count * sizeof(*addrs));
	survey_ask(parent->survey, &addrs[0], false, found->zone, DNS_SOA,
		   on_soa, parent->domain, 0);
}

static void ask_unasked(struct survey_parent *parent)
{
	struct dns_delegation *found = delegation_of(parent);
	struct slice rest = slice(parent->unasked);

	while (rest.len > 0) {
		struct slice name = slice_split(&rest, ' ');

		parent->unasked = rest.p;
		snprintf(parent->server, sizeof(parent->server), "%.*s",
			 (int)name.len, name.p);
		if (dns_names_has(found->own, parent->server))
			continue;
		parent->finding =
			dns_desk_host(parent->survey->desk,
				      parent->survey->loop, parent->server,
				      DNS_PORT, on_unasked_address, parent);
		return;
	}
	end_parent(parent);
}

/* The parent's servers. */

static void try_next(struct survey_parent *parent, const char *why);

static void take_referral(struct survey_parent *parent,
			  const struct dns_answer *answer)
{
	struct dns_delegation *found = delegation_of(parent);

	for (size_t i = 0; i < answer->authority_count; i++)
		if (answer->authority[i].type == DNS_NS &&
		    strcmp(answer->authority[i].name, found->zone) == 0)
			take_ns(found, &found->delegated,
				&answer->authority[i]);
	snprintf(found->from, sizeof(found->from), "%.200s (%.60s)",
		 parent->server, parent->address);
	if (!found->delegated) {
		fails(parent, found->from, "no delegation of the zone");
		return;
	}
	found->error[0] = '\0';
	parent->unasked = found->delegated;
	ask_unasked(parent);
}

static void on_referral(struct survey_ask *asked,
			const struct dns_answer *answer, const char *why)
{
	struct survey_parent *parent = parent_at(asked);

	if (!answer || answer->rcode != DNS_NOERROR)
		try_next(parent, answer ? dns_rcode_name(answer->rcode) : why);
	else if (answer->aa && answer->answer_count > 0)
		try_next(parent, "it has the zone itself, and shows no "
				 "delegation");
	else
		take_referral(parent, answer);
}

static void on_address(void *ctx, const struct addr *addrs, size_t count,
		       const char *why)
{
	struct survey_parent *parent = ctx;

	parent->finding = NULL;
	if (count == 0) {
		try_next(parent, why);
		return;
	}
	addr_format(&addrs[0], parent->address);
	survey_ask(parent->survey, &addrs[0], false,
		   delegation_of(parent)->zone, DNS_NS, on_referral,
		   parent->domain, 0);
}

static void try_next(struct survey_parent *parent, const char *why)
{
	if (parent->tries == parent->server_count ||
	    parent->tries == SERVERS_ASKED) {
		fails(parent, parent->server, why);
		return;
	}
	parent->tries++;
	snprintf(parent->server, sizeof(parent->server), "%s",
		 parent->servers[parent->next++ % parent->server_count]);
	parent->finding =
		dns_desk_host(parent->survey->desk, parent->survey->loop,
			      parent->server, DNS_PORT, on_address, parent);
}

static void on_parent_ns(struct survey_ask *asked,
			 const struct dns_answer *answer, const char *why)
{
	struct survey_parent *parent = parent_at(asked);
	struct dns_delegation *found = delegation_of(parent);

	if (!answer ||
	    (answer->rcode != DNS_NOERROR && answer->rcode != DNS_NXDOMAIN)) {
		fails(parent, asked->name,
		      answer ? dns_rcode_name(answer->rcode) : why);
		return;
	}
	for (size_t i = 0; i < answer->answer_count; i++)
		if (answer->answers[i].type == DNS_NS &&
		    strcmp(answer->answers[i].name, asked->name) == 0 &&
		    parent->server_count < SURVEY_NS_MAX)
			snprintf(parent->servers[parent->server_count++],
				 DNS_NAME, "%s", answer->answers[i].target);
	if (parent->server_count > 0) {
		snprintf(found->parent, sizeof(found->parent), "%s",
			 asked->name);
		try_next(parent, "");
		return;
	}
	if (!survey_above(asked->name, answer)[0])
		fails(parent, asked->name, "no zone above it was found");
	else
		survey_resolve(parent->survey,
			       survey_above(asked->name, answer), DNS_NS,
			       on_parent_ns, parent->domain, 0);
}

void survey_ask_parent(struct dns_survey *survey, size_t at)
{
	struct dns_delegation *found = &survey->domains[at].delegation;
	struct survey_parent *parent;
	const char *dot;

	snprintf(found->zone, sizeof(found->zone), "%s",
		 survey->works[at].zone);
	dot = strchr(found->zone, '.');
	if (survey->authority_count > 0) {
		snprintf(found->error, sizeof(found->error),
			 "the plan names the authorities itself");
		return;
	}
	if (!dot || !found->own) {
		snprintf(found->error, sizeof(found->error), "%s",
			 dot ? "no authority told the zone's NS set" :
			       "no zone is above it");
		return;
	}
	parent = mem_alloc(sizeof(*parent));
	parent->survey = survey;
	parent->domain = at;
	parent->next = at; /* they take turns */
	parent->unasked = "";
	list_append(&survey->parents, &parent->link);
	survey->domains_left++;
	snprintf(found->error, sizeof(found->error), "timeout");
	survey_resolve(survey, dot + 1, DNS_NS, on_parent_ns, at, 0);
}

void survey_take_own_ns(struct dns_survey *survey, size_t at,
			const struct dns_answer *answer)
{
	struct dns_delegation *found = &survey->domains[at].delegation;

	if (!answer || !answer->aa || answer->rcode != DNS_NOERROR)
		return;
	for (size_t i = 0; i < answer->answer_count; i++)
		if (answer->answers[i].type == DNS_NS &&
		    strcmp(answer->answers[i].name, survey->works[at].zone) ==
			    0)
			take_ns(found, &found->own, &answer->answers[i]);
}
