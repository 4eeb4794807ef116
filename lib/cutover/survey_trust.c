#include "cutover/survey_trust.h"
#include "base/clock.h"
#include "base/list.h"
#include "dns/dns_resolver.h"
#include "dns/dns_vantage.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	AT_ONCE = 16
};

struct ask {
	struct list link;
	struct survey_trust *all;
	enum {
		ASK_DS,
		ASK_TLSA,
		ASK_SOA,
		ASK_UNCHECKED
	} what;
	size_t domain;
	size_t resolver; /* of ours; or `authority` is asked */
	bool authority;
	char name[DNS_NAME];
	char from[80];
};

struct survey_trust {
	struct loop *loop;
	struct facts *facts;
	struct addr addrs[FACTS_RESOLVERS];
	struct dns_resolver *resolvers[FACTS_RESOLVERS];
	size_t resolver_count;
	struct dns_resolver *authority; /* of the queue host's zone */
	struct addr authority_addr;
	struct list waiting, flying;
	size_t in_flight;
	struct loop_timer *pump;
	loop_fn *done;
	void *ctx;
};

bool survey_authority(const struct facts_domain *domain, struct addr *addr)
{
	for (size_t i = 0; i < domain->dns.vantage_count; i++) {
		const struct dns_vantage *at = &domain->dns.vantages[i];

		if (at->authority && !at->error[0] &&
		    addr_parse(slice(at->address), 53, addr, NULL) == 0)
			return true;
	}
	return false;
}

void survey_tlsa_name(const char *host, char name[DNS_NAME])
{
	snprintf(name, DNS_NAME, "_25._tcp.%.246s", host);
}

static unsigned type_of(const struct ask *ask)
{
	return ask->what == ASK_DS   ? DNS_DS :
	       ask->what == ASK_TLSA ? DNS_TLSA :
				       DNS_SOA;
}

/* DS and TLSA are kept among the records. */
static void keep(const struct ask *ask, const struct dns_answer *answer,
		 const char *why)
{
	struct record_answer kept = { .type = type_of(ask),
				      .asked_ms = clock_wall_ms() };

	memcpy(kept.name, ask->name, sizeof(kept.name));
	memcpy(kept.from, ask->from, sizeof(kept.from));
	if (!answer)
		snprintf(kept.error, sizeof(kept.error), "%s", why);
	else if (answer->rcode != DNS_NOERROR && answer->rcode != DNS_NXDOMAIN)
		snprintf(kept.error, sizeof(kept.error), "%s",
			 dns_rcode_name(answer->rcode));
	else
		kept.answered = true;
	if (answer)
		dns_answer_copy(&kept.answer, answer);
	records_put(ask->all->facts->records, &kept);
}

static struct ask *add(struct survey_trust *all, int what, size_t domain,
		       const char *name)
{
	struct ask *ask = mem_alloc(sizeof(*ask));

	ask->all = all;
	ask->what = what;
	ask->domain = domain;
	snprintf(ask->name, sizeof(ask->name), "%s", name);
	list_append(&all->waiting, &ask->link);
	return ask;
}

static void end_ask(struct ask *ask)
{
	list_remove(&ask->link);
	free(ask);
}

/* Every resolver of the plan has a word on a zone that is signed. */
static void ask_resolvers(struct survey_trust *all, size_t at)
{
	struct facts_domain *domain = &all->facts->domains[at];

	domain->dnssec_count = all->resolver_count;
	for (size_t i = 0; i < all->resolver_count; i++) {
		struct facts_signed *said = &domain->dnssec[i];

		*said = (struct facts_signed){ .error = "timeout",
					       .asked_ms = clock_wall_ms() };
		addr_format(&all->addrs[i], said->resolver);
		add(all, ASK_SOA, at, all->facts->plan->domains[at].name)
			->resolver = i;
	}
}

static void take_ds(struct ask *ask, const struct dns_answer *answer,
		    const char *why)
{
	const struct record_answer *kept;

	keep(ask, answer, why);
	kept = records_get(ask->all->facts->records, ask->name, DNS_DS);
	if (!kept->answered || record_of(kept, DNS_DS, 0))
		ask_resolvers(ask->all, ask->domain);
}

static void take_signature(struct facts_signed *said,
			   const struct dns_answer *answer)
{
	int64_t now_s = said->asked_ms / 1000;

	for (size_t i = 0; i < answer->answer_count; i++) {
		const struct dns_record *record = &answer->answers[i];

		if (record->type != DNS_RRSIG || record->covers != DNS_SOA)
			continue;
		said->begins_s = dns_signature_time(record->begins_s, now_s);
		said->ends_s = dns_signature_time(record->ends_s, now_s);
	}
}

static void take_soa(struct ask *ask, const struct dns_answer *answer,
		     const char *why)
{
	struct facts_signed *said =
		&ask->all->facts->domains[ask->domain].dnssec[ask->resolver];

	said->asked_ms = clock_wall_ms();
	if (!answer) {
		snprintf(said->error, sizeof(said->error), "%s", why);
		return;
	}
	said->error[0] = '\0';
	said->rcode = answer->rcode;
	said->ad = answer->ad;
	take_signature(said, answer);
	if (answer->rcode == DNS_SERVFAIL)
		add(ask->all, ASK_UNCHECKED, ask->domain, ask->name)->resolver =
			ask->resolver;
}

/* A resolver that is away is no reason to know nothing. */
static bool ask_the_next(struct ask *ask)
{
	if (ask->authority || ask->what == ASK_SOA ||
	    ask->what == ASK_UNCHECKED ||
	    ask->resolver + 1 >= ask->all->resolver_count)
		return false;
	ask->resolver++;
	list_remove(&ask->link);
	list_append(&ask->all->waiting, &ask->link);
	loop_timer_arm(ask->all->pump, 0);
	return true;
}

static void came(void *ctx, const struct dns_answer *answer, const char *why)
{
	struct ask *ask = ctx;
	struct survey_trust *all = ask->all;

	all->in_flight--;
	if (!answer && ask_the_next(ask))
		return;
	switch (ask->what) {
	case ASK_DS:
		take_ds(ask, answer, why);
		break;
	case ASK_TLSA:
		keep(ask, answer, why);
		break;
	case ASK_SOA:
		take_soa(ask, answer, why);
		break;
	case ASK_UNCHECKED:
		all->facts->domains[ask->domain]
			.dnssec[ask->resolver]
			.unchecked = answer && answer->rcode == DNS_NOERROR &&
				     answer->answer_count > 0;
	}
	end_ask(ask);
	loop_timer_arm(all->pump, 0);
}

static void start(struct ask *ask)
{
	struct survey_trust *all = ask->all;
	struct dns_resolver *server =
		ask->authority ? all->authority : all->resolvers[ask->resolver];
	char address[ADDR_TEXT];
	unsigned how = ask->authority ? 0 : DNS_ASK_RECURSE;

	if (ask->what == ASK_SOA || ask->what == ASK_UNCHECKED)
		how |= DNS_ASK_SIGNED;
	if (ask->what == ASK_UNCHECKED)
		how |= DNS_ASK_UNCHECKED;
	addr_format(ask->authority ? &all->authority_addr :
				     &all->addrs[ask->resolver],
		    address);
	snprintf(ask->from, sizeof(ask->from), "%s (%s)", address,
		 ask->authority ? "authority" : "resolver");
	list_remove(&ask->link);
	list_append(&all->flying, &ask->link);
	all->in_flight++;
	dns_resolver_ask_how(server, ask->name, type_of(ask), how, came, ask);
}

static void free_all(struct survey_trust *all)
{
	loop_timer_free(all->pump);
	for (size_t i = 0; i < all->resolver_count; i++)
		dns_resolver_free(all->resolvers[i]);
	dns_resolver_free(all->authority);
	list_each (it, next, &all->waiting)
		end_ask(list_entry(it, struct ask, link));
	list_each (fly, later, &all->flying)
		end_ask(list_entry(fly, struct ask, link));
	free(all);
}

static void pump(void *ctx)
{
	struct survey_trust *all = ctx;

	while (all->in_flight < AT_ONCE && !list_is_empty(&all->waiting))
		start(list_entry(all->waiting.next, struct ask, link));
	if (all->in_flight == 0 && list_is_empty(&all->waiting)) {
		loop_fn *done = all->done;
		void *done_ctx = all->ctx;

		free_all(all);
		done(done_ctx);
	}
}

/* An answer of an authority plants nothing anywhere. */
static void choose_authority(struct survey_trust *all, const char *host)
{
	const struct plan *plan = all->facts->plan;

	for (size_t i = 0; i < plan->domain_count && !all->authority; i++)
		if (dns_name_is_in(host, plan->domains[i].name) &&
		    survey_authority(&all->facts->domains[i],
				     &all->authority_addr))
			all->authority = dns_resolver_new(
				all->loop, &all->authority_addr, NULL);
}

static void add_all(struct survey_trust *all)
{
	const struct plan *plan = all->facts->plan;
	char name[DNS_NAME];
	struct ask *ask;

	choose_authority(all, plan->queue_mx.host);
	survey_tlsa_name(plan->queue_mx.host, name);
	if (all->authority || all->resolver_count > 0) {
		ask = add(all, ASK_TLSA, 0, name);
		ask->authority = all->authority != NULL;
		keep(ask, NULL, "timeout");
	}
	for (size_t i = 0; i < plan->domain_count; i++) {
		struct facts_domain *domain = &all->facts->domains[i];

		domain->dnssec_count = 0;
		if (domain->surveyed && all->resolver_count > 0)
			keep(add(all, ASK_DS, i, plan->domains[i].name), NULL,
			     "timeout");
	}
}

struct survey_trust *survey_trust_start(struct loop *loop, struct facts *facts,
					const struct addr *resolvers,
					size_t resolver_count, loop_fn *done,
					void *ctx)
{
	struct survey_trust *all = mem_alloc(sizeof(*all));

	all->loop = loop;
	all->facts = facts;
	all->done = done;
	all->ctx = ctx;
	list_init(&all->waiting);
	list_init(&all->flying);
	if (!facts->records)
		facts->records = records_new();
	for (size_t i = 0;
	     i < resolver_count && all->resolver_count < FACTS_RESOLVERS; i++) {
		struct dns_resolver *resolver =
			dns_resolver_new(loop, &resolvers[i], NULL);

		if (!resolver)
			continue;
		all->addrs[all->resolver_count] = resolvers[i];
		all->resolvers[all->resolver_count++] = resolver;
	}
	all->pump = loop_timer_new(loop, pump, all);
	add_all(all);
	loop_timer_arm(all->pump, 0);
	return all;
}

void survey_trust_cancel(struct survey_trust *trust)
{
	if (trust)
		free_all(trust);
}
