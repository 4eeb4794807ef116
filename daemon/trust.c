#include "daemon/trust.h"
#include "base/clock.h"
#include "base/encode.h"
#include "dns/dns_tlsa.h"
#include <stdio.h>
#include <stdlib.h>

struct trust {
	struct trust_spec spec;
	bool is_ip; /* the host is an address */
	struct dns_tlsa_ask *ask;
	/* What DNS said of TLSA, and until when that holds (mono). */
	enum trust_state dane;
	int64_t until_ms;
	struct tls_terms *tlsa;	 /* DANE's demand, or NULL */
	struct tls_terms *terms; /* what trust_look() gave last */
	struct list waiters;
	char why[400];
};

static void set_terms(struct tls_terms **at, struct tls_terms *terms)
{
	tls_terms_free(*at);
	*at = terms;
}

/* DANE. */

static void add_records(struct tls_terms *terms, const struct dns_tlsa *found)
{
	for (size_t i = 0; i < found->answer->answer_count; i++) {
		const struct dns_record *record = &found->answer->answers[i];
		struct buf data = BUF_INIT;

		if (record->type == DNS_TLSA && record->text &&
		    decode_hex(slice(record->text), &data))
			tls_terms_add(terms, record->usage, record->selector,
				      record->matching, buf_slice(&data));
		buf_release(&data);
	}
}

static void take_records(struct trust *trust, const struct dns_tlsa *found)
{
	struct tls_terms *terms;

	snprintf(trust->why, sizeof(trust->why), "TLSA of %s", found->name);
	terms = tls_terms_new(trust->why);
	add_records(terms, found);
	if (terms->tlsa_count == 0) {
		tls_terms_free(terms);
		snprintf(trust->why, sizeof(trust->why),
			 "TLSA of %s, none of use, so encryption alone",
			 found->name);
		terms = tls_terms_new(trust->why);
	} else {
		terms->base = mem_dup(found->base);
	}
	set_terms(&trust->tlsa, terms);
	trust->dane = TRUST_KNOWN;
}

static void tlsa_came(void *ctx, const struct dns_tlsa *found)
{
	struct trust *trust = ctx;
	const char *of = dns_validator_name(trust->spec.validator);

	trust->ask = NULL;
	/* At least as long as it takes to tell all who wait; what is wrong may
	 * be repaired before its TTL is over. */
	trust->until_ms = clock_mono_ms() + 1000;
	if (found->state == DNS_TLSA_THERE)
		trust->until_ms += found->ttl_s * 1000;
	set_terms(&trust->tlsa, NULL);
	switch (found->state) {
	case DNS_TLSA_THERE:
		take_records(trust, found);
		break;
	case DNS_TLSA_NONE:
		trust->dane = TRUST_REFUSED;
		snprintf(trust->why, sizeof(trust->why),
			 "replay.tls is dane, and %s has no TLSA: publish it, "
			 "or set replay.tls to verified",
			 found->name);
		break;
	case DNS_TLSA_INSECURE:
		trust->dane = TRUST_REFUSED;
		snprintf(trust->why, sizeof(trust->why),
			 "replay.tls is dane, and %s does not vouch for %s: "
			 "sign its zone, or set replay.tls to verified",
			 of, found->base);
		break;
	case DNS_TLSA_FAILED:
		trust->dane = TRUST_LATER;
		snprintf(trust->why, sizeof(trust->why),
			 "replay.tls is dane, and %s gives no secure answer "
			 "for %s: %s; repair its DNSSEC",
			 of, found->name, found->why);
		break;
	}
	trust_wake(trust);
}

static enum trust_state look_at_dane(struct trust *trust)
{
	if (!trust->spec.dane)
		return TRUST_KNOWN;
	if (!trust->spec.validator || trust->is_ip) {
		snprintf(trust->why, sizeof(trust->why),
			 "replay.tls is dane: %s",
			 trust->spec.validator ?
				 "an IP address has no TLSA: deliver_to must "
				 "name a host" :
				 trust->spec.no_validator);
		return TRUST_REFUSED;
	}
	if (trust->ask)
		return TRUST_ASKING;
	if (clock_mono_ms() < trust->until_ms)
		return trust->dane;
	trust->ask = dns_tlsa_ask(trust->spec.validator, trust->spec.host,
				  trust->spec.port, tlsa_came, trust);
	return TRUST_ASKING;
}

/* MTA-STS. */

static void demand(struct trust *trust, struct tls_terms **terms,
		   const char *domain)
{
	char why[DNS_NAME + 500];

	if (*terms && (*terms)->tlsa_count > 0)
		return;
	snprintf(why, sizeof(why), "%s%sMTA-STS of %s",
		 *terms ? (*terms)->why : "", *terms ? "; " : "", domain);
	set_terms(terms, tls_terms_new(why));
	(*terms)->verified = true;
}

static bool enforces(const struct mta_sts *policy)
{
	return policy && policy->mode == MTA_STS_ENFORCE;
}

static enum trust_state look_at_policies(struct trust *trust,
					 const char *domain,
					 struct tls_terms **terms)
{
	const struct trust_spec *spec = &trust->spec;
	const struct mta_sts *policy;

	if (!policies_look(spec->policies, domain, &policy))
		return TRUST_ASKING;
	if (enforces(policy) && mta_sts_lists(policy, spec->host)) {
		demand(trust, terms, domain);
		return TRUST_KNOWN;
	}
	if (!policies_look(spec->policies, spec->host, &policy))
		return TRUST_ASKING;
	if (!enforces(policy))
		return TRUST_KNOWN;
	if (mta_sts_lists(policy, spec->host)) {
		demand(trust, terms, spec->host);
		return TRUST_KNOWN;
	}
	snprintf(trust->why, sizeof(trust->why),
		 "the MTA-STS policy of %s does not list it, and enforces: "
		 "name an MX of that policy in deliver_to",
		 spec->host);
	return TRUST_REFUSED;
}

struct trust_answer trust_look(struct trust *trust, const char *domain)
{
	struct trust_answer answer = { .state = look_at_dane(trust),
				       .why = trust->why };
	struct tls_terms *now;

	if (answer.state != TRUST_KNOWN)
		return answer;
	now = tls_terms_share(trust->tlsa);
	if (!trust->is_ip)
		answer.state = look_at_policies(trust, domain, &now);
	set_terms(&trust->terms, now);
	answer.terms = now;
	answer.of_domain = true;
	return answer;
}

void trust_wait(struct trust *trust, struct trust_waiter *waiter)
{
	list_remove(&waiter->link);
	list_append(&trust->waiters, &waiter->link);
}

/* Who waits again meanwhile is of the next turn. */
void trust_wake(struct trust *trust)
{
	struct list now;

	list_init(&now);
	while (!list_is_empty(&trust->waiters)) {
		struct list *first = trust->waiters.next;

		list_remove(first);
		list_append(&now, first);
	}
	while (!list_is_empty(&now)) {
		struct trust_waiter *waiter =
			list_entry(now.next, struct trust_waiter, link);

		list_remove(&waiter->link);
		waiter->fn(waiter->ctx);
	}
}

void trust_forget(struct trust *trust)
{
	trust->until_ms = 0;
}

struct trust *trust_new(const struct trust_spec *spec)
{
	struct trust *trust = mem_alloc(sizeof(*trust));
	struct addr ip;

	trust->spec = *spec;
	trust->is_ip = addr_from_ip(slice(spec->host), 0, &ip, NULL) == 0;
	trust->dane = TRUST_ASKING;
	list_init(&trust->waiters);
	return trust;
}

void trust_free(struct trust *trust)
{
	if (!trust)
		return;
	dns_tlsa_cancel(&trust->ask);
	set_terms(&trust->tlsa, NULL);
	set_terms(&trust->terms, NULL);
	while (!list_is_empty(&trust->waiters))
		list_remove(trust->waiters.next);
	free(trust);
}
