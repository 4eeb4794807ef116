#include "cutover/survey_signed.h"
#include "base/clock.h"
#include "base/list.h"
#include "dns/dns_unbound.h"
#include "dns/dns_validator.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	OWN_AT_ONCE = 16,
	OWN_MS = 10000 /* it asks from the root on, and tries again */
};

struct ask {
	struct list link; /* in all->open, or all->waiting for libunbound */
	struct survey_signed *all;
	struct dns_call *call;
	struct dns_check *check;
	size_t domain, at; /* which of its answers this is */
	bool unchecked;
};

struct survey_signed {
	struct facts *facts;
	struct loop *loop;
	struct dns_desk *desk;
	const struct addr *resolvers;
	size_t resolver_count;
	struct list open, waiting;
	size_t own_open;
	size_t *pending; /* per domain: questions to resolvers, authorities */
	struct loop_timer *own_end;
	loop_fn *idle;
	void *ctx;
};

static struct facts_signed *said_of(const struct ask *ask)
{
	return &ask->all->facts->domains[ask->domain].dnssec[ask->at];
}

/* The SOA is the zone's, the MX set the domain's. */
static const char *name_of(const struct ask *ask)
{
	const struct facts *facts = ask->all->facts;

	return said_of(ask)->type == DNS_SOA ?
		       facts_zone(facts, ask->domain) :
		       facts->plan->domains[ask->domain].name;
}

static struct ask *ask_new(struct survey_signed *all, size_t domain, size_t at)
{
	struct ask *ask = mem_alloc(sizeof(*ask));

	ask->all = all;
	ask->domain = domain;
	ask->at = at;
	list_append(&all->open, &ask->link);
	return ask;
}

/* What came. */

/* Of several signatures the last to end counts: any of them will do. */
static void take_signatures(struct facts_signed *said,
			    const struct dns_record *records, size_t count,
			    unsigned covers)
{
	int64_t now_s = said->asked_ms / 1000;

	for (size_t i = 0; i < count; i++) {
		int64_t ends_s = dns_signature_time(records[i].ends_s, now_s);

		if (records[i].type != DNS_RRSIG || records[i].covers != covers)
			continue;
		said->is_signed = true;
		if (ends_s <= said->ends_s)
			continue;
		said->begins_s = dns_signature_time(records[i].begins_s, now_s);
		said->ends_s = ends_s;
	}
}

static void take(struct facts_signed *said, const struct dns_answer *answer,
		 const char *why)
{
	said->asked_ms = clock_wall_ms();
	said->bogus = !answer && slice_starts(slice(why), DNS_BOGUS);
	snprintf(said->error, sizeof(said->error), "%s", answer ? "" : why);
	if (!answer)
		return;
	said->rcode = answer->rcode;
	said->ad = answer->ad;
	take_signatures(said, answer->answers, answer->answer_count,
			said->type);
	/* There is none of the type, says the signed SOA. */
	if (answer->answer_count == 0)
		take_signatures(said, answer->authority,
				answer->authority_count, DNS_SOA);
}

/* libunbound, where nobody else vouches. */

static void look_whether_idle(struct survey_signed *all)
{
	if (survey_signed_is_idle(all))
		all->idle(all->ctx);
}

static void ask_free(struct ask *ask)
{
	dns_call_cancel(&ask->call);
	dns_check_cancel(&ask->check);
	list_remove(&ask->link);
	free(ask);
}

static void own_came(void *ctx, const struct dns_answer *answer,
		     const char *why);

static void start_own(struct survey_signed *all)
{
	while (all->own_open < OWN_AT_ONCE && !list_is_empty(&all->waiting)) {
		struct ask *ask =
			list_entry(all->waiting.next, struct ask, link);

		list_remove(&ask->link);
		list_append(&all->open, &ask->link);
		all->own_open++;
		ask->check =
			dns_validator_ask(all->facts->validator, name_of(ask),
					  said_of(ask)->type, own_came, ask);
	}
}

static void own_came(void *ctx, const struct dns_answer *answer,
		     const char *why)
{
	struct ask *ask = ctx;
	struct survey_signed *all = ask->all;

	ask->check = NULL;
	take(said_of(ask), answer, why);
	ask_free(ask);
	all->own_open--;
	start_own(all);
	look_whether_idle(all);
}

static void free_asks(struct list *asks)
{
	list_each (it, next, asks)
		ask_free(list_entry(it, struct ask, link));
}

static void on_own_end(void *ctx)
{
	struct survey_signed *all = ctx;

	list_each (it, next, &all->open) {
		struct ask *ask = list_entry(it, struct ask, link);

		if (ask->check)
			ask_free(ask);
	}
	all->own_open = 0;
	free_asks(&all->waiting);
	look_whether_idle(all);
}

/* A zone that is bogus for a resolver needs no second opinion. */
static bool wants_own(const struct facts *facts, size_t domain)
{
	const struct facts_domain *known = &facts->domains[domain];
	const struct record_answer *ds =
		records_get(facts->records, facts_zone(facts, domain), DNS_DS);

	for (size_t i = 0; i < known->dnssec_count; i++)
		if (known->dnssec[i].ad || known->dnssec[i].unchecked)
			return false;
	return record_of(ds, DNS_DS, 0) && dns_unbound_version();
}

/* It keeps its cache between surveys: the next asks the root no more. */
static bool open_own(struct survey_signed *all)
{
	if (!all->facts->validator)
		all->facts->validator =
			dns_validator_new(all->loop, NULL, 0, NULL);
	return all->facts->validator;
}

static size_t add_answer(struct survey_signed *all, size_t domain,
			 enum facts_signer who, unsigned type, const char *of);

static void add_own(struct survey_signed *all, size_t domain)
{
	static const unsigned types[] = { DNS_SOA, DNS_MX };

	if (!wants_own(all->facts, domain) || !open_own(all))
		return;
	if (all->own_open == 0)
		loop_timer_arm(all->own_end, OWN_MS);
	for (size_t i = 0; i < COUNT(types); i++) {
		struct ask *ask =
			ask_new(all, domain,
				add_answer(all, domain, SIGNED_OWN, types[i],
					   "libunbound, in this program"));

		list_remove(&ask->link);
		list_append(&all->waiting, &ask->link);
	}
	start_own(all);
}

/* Resolvers and authorities. */

static dns_call_fn came;

static void send_ask(struct ask *ask, const struct addr *server)
{
	const struct facts_signed *said = said_of(ask);
	unsigned how = DNS_ASK_SIGNED;

	if (said->who == SIGNED_RESOLVER)
		how |= DNS_ASK_RECURSE;
	if (ask->unchecked)
		how |= DNS_ASK_UNCHECKED;
	ask->call = dns_desk_ask(ask->all->desk, server, name_of(ask),
				 said->type, how, came, ask);
}

static void end_ask(struct ask *ask)
{
	struct survey_signed *all = ask->all;
	size_t domain = ask->domain;

	ask_free(ask);
	if (--all->pending[domain] == 0)
		add_own(all, domain);
	look_whether_idle(all);
}

static void came(void *ctx, const struct dns_answer *answer, const char *why,
		 const struct addr *from)
{
	struct ask *ask = ctx;
	struct facts_signed *said = said_of(ask);

	ask->call = NULL;
	if (ask->unchecked) {
		said->unchecked = answer && answer->rcode == DNS_NOERROR;
		end_ask(ask);
		return;
	}
	take(said, answer, why);
	if (answer && answer->rcode == DNS_SERVFAIL &&
	    said->who == SIGNED_RESOLVER) {
		ask->unchecked = true;
		send_ask(ask, from);
		return;
	}
	end_ask(ask);
}

/* Its place among the domain's answers. */
static size_t add_answer(struct survey_signed *all, size_t domain,
			 enum facts_signer who, unsigned type, const char *of)
{
	struct facts_domain *known = &all->facts->domains[domain];
	struct facts_signed *said;

	known->dnssec = mem_grow(known->dnssec, (known->dnssec_count + 1) *
							sizeof(*known->dnssec));
	said = &known->dnssec[known->dnssec_count];
	*said = (struct facts_signed){ .who = who,
				       .type = type,
				       .error = "timeout",
				       .asked_ms = clock_wall_ms() };
	snprintf(said->of, sizeof(said->of), "%s", of);
	return known->dnssec_count++;
}

static void ask_server(struct survey_signed *all, size_t domain,
		       const struct addr *addr, const char *name, unsigned type)
{
	char address[ADDR_TEXT];
	char *of =
		name ? mem_printf("%s (%s)", name, addr_format(addr, address)) :
		       mem_dup(addr_format(addr, address));
	size_t at =
		add_answer(all, domain,
			   name ? SIGNED_AUTHORITY : SIGNED_RESOLVER, type, of);

	free(of);
	all->pending[domain]++;
	send_ask(ask_new(all, domain, at), addr);
}

/* No authority of the domain has an MX: asked too early, a resolver would keep
 * that (RFC 2308). */
static bool has_mx(const struct dns_domain *dns)
{
	for (size_t i = 0; i < dns->vantage_count; i++)
		if (dns->vantages[i].authority && dns->vantages[i].mx.count > 0)
			return true;
	return false;
}

static void ask_authorities(struct survey_signed *all, size_t domain)
{
	const struct dns_domain *dns = &all->facts->domains[domain].dns;

	for (size_t i = 0; i < dns->vantage_count; i++) {
		const struct dns_vantage *at = &dns->vantages[i];
		struct addr addr;

		if (!at->authority || at->error[0] ||
		    addr_parse(slice(at->address), 53, &addr, NULL) < 0)
			continue;
		ask_server(all, domain, &addr, at->name, DNS_SOA);
		ask_server(all, domain, &addr, at->name, DNS_MX);
	}
}

void survey_signed_add(struct survey_signed *all, size_t domain)
{
	struct facts_domain *known = &all->facts->domains[domain];

	known->dnssec_count = 0;
	/* One more than asked: it falls when all of them are under way. */
	all->pending[domain] = 1;
	for (size_t i = 0; i < all->resolver_count; i++) {
		ask_server(all, domain, &all->resolvers[i], NULL, DNS_SOA);
		if (has_mx(&known->dns))
			ask_server(all, domain, &all->resolvers[i], NULL,
				   DNS_MX);
	}
	ask_authorities(all, domain);
	if (--all->pending[domain] == 0)
		add_own(all, domain);
}

bool survey_signed_is_idle(const struct survey_signed *all)
{
	return list_is_empty(&all->open) && list_is_empty(&all->waiting);
}

struct survey_signed *survey_signed_new(struct loop *loop, struct facts *facts,
					struct dns_desk *desk,
					const struct addr *resolvers,
					size_t resolver_count, loop_fn *idle,
					void *ctx)
{
	struct survey_signed *all = mem_alloc(sizeof(*all));

	all->loop = loop;
	all->facts = facts;
	all->desk = desk;
	all->resolvers = resolvers;
	all->resolver_count = resolver_count;
	all->idle = idle;
	all->ctx = ctx;
	list_init(&all->open);
	list_init(&all->waiting);
	all->pending =
		mem_alloc(facts->plan->domain_count * sizeof(*all->pending));
	all->own_end = loop_timer_new(loop, on_own_end, all);
	return all;
}

void survey_signed_free(struct survey_signed *all)
{
	if (!all)
		return;
	free_asks(&all->open);
	free_asks(&all->waiting);
	loop_timer_free(all->own_end);
	free(all->pending);
	free(all);
}
