#include "cutover/survey_trust.h"
#include "base/clock.h"
#include "base/list.h"
#include "cutover/survey_signed.h"
#include "dns/dns_resolver.h"
#include "dns/dns_vantage.h"
#include <stdio.h>
#include <stdlib.h>

struct ask {
	struct list link; /* in all->open */
	struct survey_trust *all;
	struct dns_call *call;
	bool is_ds; /* of a domain; else the TLSA set of the queue */
	size_t domain;
	char name[DNS_NAME];
};

struct survey_trust {
	struct loop *loop;
	struct facts *facts;
	struct dns_desk *desk;
	struct addr addrs[FACTS_RESOLVERS];
	size_t resolver_count;
	struct survey_signed *zones; /* that have a DS */
	bool has_authority;	     /* of the queue host's zone */
	struct addr authority;
	struct list open;
	struct loop_timer *tell;
	loop_fn *done;
	void *ctx;
};

bool survey_authority(const struct facts_domain *domain, size_t turn,
		      struct addr *addr)
{
	struct addr found[FACTS_AUTHORITIES];
	size_t count = 0;

	for (size_t i = 0;
	     i < domain->dns.vantage_count && count < FACTS_AUTHORITIES; i++) {
		const struct dns_vantage *at = &domain->dns.vantages[i];

		count += at->authority && !at->error[0] &&
			 addr_parse(slice(at->address), 53, &found[count],
				    NULL) == 0;
	}
	if (count > 0)
		*addr = found[turn % count];
	return count > 0;
}

void survey_tlsa_name(const char *host, char name[DNS_NAME])
{
	snprintf(name, DNS_NAME, "_25._tcp.%.246s", host);
}

static unsigned type_of(const struct ask *ask)
{
	return ask->is_ds ? DNS_DS : DNS_TLSA;
}

/* DS and TLSA are kept among the records. */
static void keep(const struct ask *ask, const struct dns_answer *answer,
		 const char *why, const struct addr *from)
{
	struct survey_trust *all = ask->all;
	struct record_answer kept = { .type = type_of(ask),
				      .asked_ms = clock_wall_ms() };
	bool authority = all->has_authority && !ask->is_ds;
	char address[ADDR_TEXT];

	memcpy(kept.name, ask->name, sizeof(kept.name));
	if (from)
		snprintf(kept.from, sizeof(kept.from), "%s (%s)",
			 addr_format(from, address),
			 authority ? "authority" : "resolver");
	if (!answer)
		snprintf(kept.error, sizeof(kept.error), "%s", why);
	else if (answer->rcode != DNS_NOERROR && answer->rcode != DNS_NXDOMAIN)
		snprintf(kept.error, sizeof(kept.error), "%s",
			 dns_rcode_name(answer->rcode));
	else
		kept.answered = true;
	if (answer)
		dns_answer_copy(&kept.answer, answer);
	records_put(all->facts->records, &kept);
}

static dns_call_fn came;

static void add(struct survey_trust *all, bool is_ds, size_t domain,
		const char *name)
{
	struct ask *ask = mem_alloc(sizeof(*ask));

	ask->all = all;
	ask->is_ds = is_ds;
	ask->domain = domain;
	snprintf(ask->name, sizeof(ask->name), "%s", name);
	list_append(&all->open, &ask->link);
	keep(ask, NULL, "timeout", NULL);
	if (!is_ds && all->has_authority)
		ask->call = dns_desk_ask(all->desk, &all->authority, name,
					 DNS_TLSA, 0, came, ask);
	else
		ask->call = dns_desk_resolve(all->desk, name, type_of(ask),
					     came, ask);
}

static void end_ask(struct ask *ask)
{
	struct survey_trust *all = ask->all;

	dns_call_cancel(&ask->call);
	list_remove(&ask->link);
	free(ask);
	if (list_is_empty(&all->open))
		loop_timer_arm(all->tell, 0);
}

static void came(void *ctx, const struct dns_answer *answer, const char *why,
		 const struct addr *from)
{
	struct ask *ask = ctx;
	struct survey_trust *all = ask->all;
	const struct record_answer *kept;

	ask->call = NULL;
	keep(ask, answer, why, from);
	kept = records_get(all->facts->records, ask->name, type_of(ask));
	if (ask->is_ds && (!kept->answered || record_of(kept, DNS_DS, 0)))
		survey_signed_add(all->zones, ask->domain);
	end_ask(ask);
}

static void free_all(struct survey_trust *all)
{
	list_each (it, next, &all->open)
		end_ask(list_entry(it, struct ask, link));
	survey_signed_free(all->zones);
	loop_timer_free(all->tell);
	free(all);
}

static void tell(void *ctx)
{
	struct survey_trust *all = ctx;
	loop_fn *done = all->done;
	void *done_ctx = all->ctx;

	if (!list_is_empty(&all->open) || !survey_signed_is_idle(all->zones))
		return;
	free_all(all);
	done(done_ctx);
}

static void zones_asked(void *ctx)
{
	struct survey_trust *all = ctx;

	loop_timer_arm(all->tell, 0);
}

/* An answer of an authority plants nothing anywhere. */
static void choose_authority(struct survey_trust *all, const char *host)
{
	const struct plan *plan = all->facts->plan;

	for (size_t i = 0; i < plan->domain_count && !all->has_authority; i++)
		all->has_authority =
			dns_name_is_in(host, plan->domains[i].name) &&
			survey_authority(&all->facts->domains[i], 0,
					 &all->authority);
}

static void add_all(struct survey_trust *all)
{
	const struct plan *plan = all->facts->plan;
	char name[DNS_NAME];

	choose_authority(all, plan->queue_mx.host);
	survey_tlsa_name(plan->queue_mx.host, name);
	if (all->has_authority || all->resolver_count > 0)
		add(all, false, 0, name);
	for (size_t i = 0; i < plan->domain_count; i++) {
		struct facts_domain *domain = &all->facts->domains[i];

		domain->dnssec_count = 0;
		if (domain->surveyed && all->resolver_count > 0)
			add(all, true, i, facts_zone(all->facts, i));
	}
}

struct survey_trust *survey_trust_start(struct loop *loop, struct facts *facts,
					struct dns_desk *desk,
					const struct addr *resolvers,
					size_t resolver_count, loop_fn *done,
					void *ctx)
{
	struct survey_trust *all = mem_alloc(sizeof(*all));

	all->loop = loop;
	all->facts = facts;
	all->desk = desk;
	all->done = done;
	all->ctx = ctx;
	list_init(&all->open);
	if (!facts->records)
		facts->records = records_new();
	for (size_t i = 0; i < resolver_count && i < FACTS_RESOLVERS; i++)
		all->addrs[all->resolver_count++] = resolvers[i];
	all->tell = loop_timer_new(loop, tell, all);
	all->zones = survey_signed_new(loop, facts, desk, all->addrs,
				       all->resolver_count, zones_asked, all);
	add_all(all);
	loop_timer_arm(all->tell, 0);
	return all;
}

void survey_trust_cancel(struct survey_trust *trust)
{
	if (trust)
		free_all(trust);
}
