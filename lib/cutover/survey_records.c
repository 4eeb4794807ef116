#include "cutover/survey_records.h"
#include "cutover/survey_trust.h"
#include "base/clock.h"
#include "base/list.h"
#include "dns/dns_resolver.h"
#include "dns/dns_vantage.h"
#include "mail/spf_record.h"
#include "mail/tag_list.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	PER_DOMAIN = 60,
	CNAMES_MAX = 4,	 /* followed by hand */
	REVERSE_MAX = 8, /* addresses of the queue host, of a family */
	CLIMB_MAX = 10	 /* labels, from a name to its top-level domain */
};

struct ask {
	struct list link; /* in all->open */
	struct survey_records *all;
	struct dns_call *call;
	size_t domain;
	char name[DNS_NAME];
	unsigned type;
	bool authority; /* asked directly */
	bool spf;	/* its includes are wanted too */
	bool reverse;	/* the PTR of its addresses, too */
	bool dmarc;	/* whom its rua names, too */
	bool mailbox;	/* without an MX its addresses count */
	unsigned cnames;
};

struct survey_records {
	struct loop *loop;
	struct facts *facts;
	struct dns_desk *desk;
	struct list open;
	unsigned *asked; /* per domain */
	struct loop_timer *tell;
	loop_fn *done;
	void *ctx;
};

static void put_error(struct ask *ask, const char *why)
{
	struct record_answer answer = { .type = ask->type,
					.asked_ms = clock_wall_ms() };

	memcpy(answer.name, ask->name, sizeof(answer.name));
	snprintf(answer.error, sizeof(answer.error), "%s", why);
	records_put(ask->all->facts->records, &answer);
}

static void end_ask(struct ask *ask)
{
	struct survey_records *all = ask->all;

	dns_call_cancel(&ask->call);
	list_remove(&ask->link);
	free(ask);
	if (list_is_empty(&all->open))
		loop_timer_arm(all->tell, 0);
}

static bool ask_desk(struct ask *ask);

static struct ask *add(struct survey_records *all, size_t domain,
		       const char *name, unsigned type)
{
	struct ask *ask;

	if (records_get(all->facts->records, name, type) ||
	    all->asked[domain] == PER_DOMAIN || strlen(name) >= DNS_NAME)
		return NULL;
	all->asked[domain]++;
	ask = mem_alloc(sizeof(*ask));
	ask->all = all;
	ask->domain = domain;
	ask->type = type;
	snprintf(ask->name, sizeof(ask->name), "%s", name);
	ask->authority = dns_name_is_in(ask->name,
					all->facts->plan->domains[domain].name);
	/* Once asked it is known, and not asked twice. */
	put_error(ask, "timeout");
	list_append(&all->open, &ask->link);
	if (ask_desk(ask))
		return ask;
	put_error(ask, "no authoritative server answers");
	end_ask(ask);
	return NULL;
}

/* What an answer makes us ask. */

static void follow_term(const struct ask *ask, const struct spf_term *term)
{
	struct slice domain =
		term->domain.len ? term->domain : slice(ask->name);
	char name[DNS_NAME];
	struct ask *next;

	if (term->macro || !dns_name_normal(domain, name))
		return;
	switch (term->kind) {
	case SPF_INCLUDE:
	case SPF_REDIRECT:
		next = add(ask->all, ask->domain, name, DNS_TXT);
		if (next)
			next->spf = true;
		break;
	case SPF_A:
		add(ask->all, ask->domain, name, DNS_A);
		break;
	case SPF_MX:
		add(ask->all, ask->domain, name, DNS_MX);
		break;
	default:
		break;
	}
}

static void follow_spf(const struct ask *ask, const char *text)
{
	struct spf_record record;

	if (spf_record_parse(slice(text), &record, NULL) < 0)
		return;
	for (size_t i = 0; i < record.count; i++)
		follow_term(ask, &record.terms[i]);
}

static void follow_addresses(const struct ask *ask,
			     const struct record_answer *answer)
{
	const struct dns_record *record;
	char name[DNS_NAME];

	for (size_t i = 0;
	     i < REVERSE_MAX && (record = record_of(answer, ask->type, i)); i++)
		if (dns_reverse_name(record->address, name))
			add(ask->all, ask->domain, name, DNS_PTR);
}

bool dmarc_report_name(const char *domain, const char *to, char name[DNS_NAME])
{
	return snprintf(name, DNS_NAME, "%s._report._dmarc.%s", domain, to) <
	       DNS_NAME;
}

/* Can they be reached, and have they agreed (RFC 7489 section 7.1)? */
static void follow_rua(const struct ask *ask, const char *text)
{
	const char *domain = ask->all->facts->plan->domains[ask->domain].name;
	struct slice rua = tag_list_get(slice(text), "rua"), uri;
	char to[DNS_NAME], name[DNS_NAME];

	while (tag_list_next_uri(&rua, &uri, to)) {
		struct ask *next =
			*to ? add(ask->all, ask->domain, to, DNS_MX) : NULL;

		if (next)
			next->mailbox = true;
		if (*to && !dns_name_is_in(to, domain) &&
		    !dns_name_is_in(domain, to) &&
		    dmarc_report_name(domain, to, name))
			add(ask->all, ask->domain, name, DNS_TXT);
	}
}

static void follow(const struct ask *ask, const struct record_answer *answer)
{
	const char *target = record_cname(answer), *text;
	struct ask *next;

	if (ask->reverse)
		follow_addresses(ask, answer);
	for (size_t i = 0; ask->spf && (text = record_text(answer, i)); i++)
		if (spf_is_record(slice(text)))
			follow_spf(ask, text);
	for (size_t i = 0; ask->dmarc && (text = record_text(answer, i)); i++)
		follow_rua(ask, text);
	if (ask->mailbox && answer->answered && !*target &&
	    !record_of(answer, DNS_MX, 0)) {
		add(ask->all, ask->domain, ask->name, DNS_A);
		add(ask->all, ask->domain, ask->name, DNS_AAAA);
	}
	if (!*target || ask->type == DNS_CNAME ||
	    record_of(answer, ask->type, 0) || ask->cnames == CNAMES_MAX)
		return;
	next = add(ask->all, ask->domain, target, ask->type);
	if (next) {
		next->cnames = ask->cnames + 1;
		next->spf = ask->spf;
		next->reverse = ask->reverse;
		next->dmarc = ask->dmarc;
	}
}

/* The authority of the zone does not have this name itself. */
static bool is_referral(const struct dns_answer *answer)
{
	return answer->rcode == DNS_REFUSED ||
	       (answer->rcode == DNS_NOERROR && !answer->aa &&
		answer->answer_count == 0);
}

static void came(void *ctx, const struct dns_answer *answer, const char *why,
		 const struct addr *from)
{
	struct ask *ask = ctx;
	struct record_answer kept = { .type = ask->type,
				      .asked_ms = clock_wall_ms() };
	char address[ADDR_TEXT];

	ask->call = NULL;
	if (answer && ask->authority && is_referral(answer)) {
		ask->authority = false;
		ask_desk(ask);
		return;
	}
	memcpy(kept.name, ask->name, sizeof(kept.name));
	if (from)
		snprintf(kept.from, sizeof(kept.from), "%s (%s)",
			 addr_format(from, address),
			 ask->authority ? "authority" : "resolver");
	if (!answer)
		snprintf(kept.error, sizeof(kept.error), "%s", why);
	else if (answer->rcode != DNS_NOERROR && answer->rcode != DNS_NXDOMAIN)
		snprintf(kept.error, sizeof(kept.error), "%s",
			 dns_rcode_name(answer->rcode));
	else
		kept.answered = true;
	if (answer)
		dns_answer_copy(&kept.answer, answer);
	follow(ask, &kept);
	records_put(ask->all->facts->records, &kept);
	end_ask(ask);
}

/* Of one of the domain's authorities, which take turns, or of a resolver;
 * false: there is no such authority. */
static bool ask_desk(struct ask *ask)
{
	struct survey_records *all = ask->all;
	struct addr addr;

	if (!ask->authority)
		ask->call = dns_desk_resolve(all->desk, ask->name, ask->type,
					     came, ask);
	else if (survey_authority(&all->facts->domains[ask->domain],
				  ask->domain + all->asked[ask->domain], &addr))
		ask->call = dns_desk_ask(all->desk, &addr, ask->name, ask->type,
					 0, came, ask);
	return ask->call != NULL;
}

static void free_all(struct survey_records *all)
{
	list_each (it, next, &all->open)
		end_ask(list_entry(it, struct ask, link));
	loop_timer_free(all->tell);
	free(all->asked);
	free(all);
}

static void tell(void *ctx)
{
	struct survey_records *all = ctx;
	loop_fn *done = all->done;
	void *done_ctx = all->ctx;

	if (!list_is_empty(&all->open))
		return;
	free_all(all);
	done(done_ctx);
}

/* The domain that a name is in, if the plan has it; else any. */
static size_t domain_of(const struct survey_records *all, const char *name)
{
	for (size_t i = 0; i < all->facts->plan->domain_count; i++)
		if (dns_name_is_in(name, all->facts->plan->domains[i].name))
			return i;
	return 0;
}

/* RFC 8659 section 3: from the name up, the first set that is not empty. */
static void add_caa(struct survey_records *all, size_t at, const char *name)
{
	for (int i = 0; name && i < CLIMB_MAX; i++) {
		add(all, at, name, DNS_CAA);
		name = strchr(name, '.');
		name = name ? name + 1 : NULL;
	}
}

/* Who the queue says it is. */
static void add_queue(struct survey_records *all)
{
	const char *host = all->facts->plan->queue_mx.host;
	size_t at = domain_of(all, host);
	static const unsigned types[] = { DNS_A, DNS_AAAA };

	for (size_t i = 0; i < COUNT(types); i++) {
		struct ask *ask = add(all, at, host, types[i]);

		if (ask)
			ask->reverse = true;
	}
	add_caa(all, at, host);
}

/* Whether an MX of Exchange Online has inbound DANE. */
static void add_tlsa(struct survey_records *all, size_t at)
{
	const struct plan *plan = all->facts->plan;
	const struct plan_domain *domain = &plan->domains[at];
	char name[DNS_NAME];

	for (int s = 0; s < (plan->plain ? 1 : 2); s++)
		for (size_t i = 0; i < domain->systems[s].mx.count; i++)
			if (provider_may_have_dane(
				    domain->systems[s].mx.at[i])) {
				survey_tlsa_name(domain->systems[s].mx.at[i],
						 name);
				add(all, at, name, DNS_TLSA);
			}
}

/* What a domain has, whoever its providers are. */
static void add_domain(struct survey_records *all, size_t at)
{
	static const struct {
		const char *prefix;
		unsigned type;
	} names[] = {
		{ "_dmarc.", DNS_TXT },
		{ "_smtp._tls.", DNS_TXT },
		{ "_mta-sts.", DNS_TXT },
		{ "autodiscover.", DNS_CNAME },
		{ "_autodiscover._tcp.", DNS_SRV },
	};
	const struct plan *plan = all->facts->plan;
	const struct plan_domain *domain = &plan->domains[at];
	struct ask *own = add(all, at, domain->name, DNS_TXT);
	char name[2 * DNS_NAME];

	if (own)
		own->spf = true;
	for (size_t i = 0; i < COUNT(names); i++) {
		struct ask *ask;

		snprintf(name, sizeof(name), "%s%s", names[i].prefix,
			 domain->name);
		ask = add(all, at, name, names[i].type);
		if (ask)
			ask->dmarc = i == 0;
	}
	snprintf(name, sizeof(name), "mta-sts.%s", domain->name);
	add_caa(all, at, name);
	if (plan->strategy == STRATEGY_STANDBY)
		add_tlsa(all, at);
	for (int s = 0; s < (plan->plain ? 1 : 2); s++) {
		const char *const *selector =
			domain->systems[s].provider->dkim_selectors;

		for (; *selector; selector++) {
			snprintf(name, sizeof(name), "%s._domainkey.%s",
				 *selector, domain->name);
			add(all, at, name, DNS_TXT);
		}
	}
}

struct survey_records *survey_records_start(struct loop *loop,
					    struct facts *facts,
					    struct dns_desk *desk,
					    loop_fn *done, void *ctx)
{
	struct survey_records *all = mem_alloc(sizeof(*all));

	records_free(facts->records);
	facts->records = records_new();
	all->loop = loop;
	all->facts = facts;
	all->desk = desk;
	all->done = done;
	all->ctx = ctx;
	list_init(&all->open);
	all->asked = mem_alloc(facts->plan->domain_count * sizeof(unsigned));
	all->tell = loop_timer_new(loop, tell, all);
	add_queue(all);
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		if (facts->domains[i].surveyed)
			add_domain(all, i);
	loop_timer_arm(all->tell, 0);
	return all;
}

void survey_records_cancel(struct survey_records *all)
{
	if (all)
		free_all(all);
}
