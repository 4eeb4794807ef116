/* Whether those who validate find a domain's zone right, at every server. */

#include "cutover/check_parts.h"
#include "dns/dns_unbound.h"
#include <stdlib.h>

#define DAY_S  ((int64_t)24 * 3600)
#define SOON_S (7 * DAY_S)
/* So much validators forgive a clock: unbound's val-sig-skew-min. */
#define SKEW_S ((int64_t)3600)

static bool is_bogus(const struct facts_signed *said)
{
	return said->bogus ||
	       (said->who == SIGNED_RESOLVER && !said->error[0] &&
		said->rcode == DNS_SERVFAIL && said->unchecked);
}

static struct json *signed_json(const struct facts *facts, size_t domain,
				const struct facts_signed *said)
{
	struct json *json = json_object();
	char *asked = mem_printf("%s %s, with signatures",
				 said->type == DNS_SOA ?
					 facts_zone(facts, domain) :
					 facts->plan->domains[domain].name,
				 dns_type_name(said->type));

	json_put_text(json, "asked", asked);
	json_put_text(json, "of", said->of);
	json_put_time(json, "at", said->asked_ms);
	free(asked);
	if (said->error[0]) {
		json_put_text(json, "error", said->error);
		return json;
	}
	json_put_text(json, "rcode", dns_rcode_name(said->rcode));
	json_put_bool(json, "ad", said->ad);
	if (said->rcode == DNS_SERVFAIL)
		json_put_bool(json, "answers_unchecked", said->unchecked);
	json_put_bool(json, "signed", said->is_signed);
	if (said->ends_s) {
		json_put_time(json, "signed_from", said->begins_s * 1000);
		json_put_time(json, "signed_until", said->ends_s * 1000);
	}
	return json;
}

/*
 * What is signed anew every day always ends within a week; late is what has
 * little left of its own span.
 */
static bool ends_soon(const struct facts_signed *said, int64_t now_s)
{
	int64_t left_s = said->ends_s - now_s;

	return said->ends_s != 0 && left_s < SOON_S &&
	       left_s < (said->ends_s - said->begins_s) / 4;
}

/* What an authority serves that whoever validates must refuse; NULL: nothing. */
static const char *unfit(const struct facts_signed *said, int64_t now_s)
{
	if (!said->is_signed)
		return "without signatures";
	if (said->ends_s < now_s)
		return "with signatures that have ended";
	if (said->begins_s > now_s + SKEW_S)
		return "with signatures of a time to come";
	return NULL;
}

/* True: it serves what cannot be validated. */
static bool judge_served(const struct facts *facts, size_t domain,
			 const struct facts_signed *said, struct tally *tally)
{
	const char *zone = facts_zone(facts, domain), *what;

	if (said->error[0] || said->rcode != DNS_NOERROR) {
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: %s does not answer when signatures "
				     "are asked for",
				     zone, said->of),
			  mem_printf("%s: see what it says: dig +dnssec "
				     "+norecurse %s %s",
				     said->error[0] ?
					     said->error :
					     dns_rcode_name(said->rcode),
				     zone, dns_type_name(said->type)));
		return false;
	}
	what = unfit(said, facts->now.wall_ms / 1000);
	if (!what)
		return false;
	tally_add(
		tally, VERDICT_FAIL,
		mem_printf("%s serves %s %s: validating resolvers refuse what "
			   "it says",
			   said->of, zone, what),
		mem_printf("look at the zone transfer to %s, or take it out "
			   "of the NS set and the delegation of %s until it "
			   "has the signed zone",
			   said->of, zone));
	return true;
}

/* Several answers of one authority say the same once. */
static bool judge_authorities(const struct facts *facts, size_t domain,
			      struct tally *tally)
{
	const struct facts_domain *known = &facts->domains[domain];
	const char *last = "";
	bool unfit_at_all = false;

	for (size_t i = 0; i < known->dnssec_count; i++) {
		const struct facts_signed *said = &known->dnssec[i];
		size_t before = tally->said + tally->unknown;

		if (said->who != SIGNED_AUTHORITY ||
		    strcmp(said->of, last) == 0)
			continue;
		unfit_at_all |= judge_served(facts, domain, said, tally);
		if (tally->said + tally->unknown != before)
			last = said->of;
	}
	return unfit_at_all;
}

/* What those say who follow the chain of trust. */
struct opinions {
	bool bogus, answered, late;
	bool soa, mx; /* validated */
	bool wants_mx;
	const char *own; /* what libunbound says, or NULL: not asked */
};

static struct opinions gather(const struct facts *facts, size_t domain)
{
	const struct facts_domain *known = &facts->domains[domain];
	struct opinions all = { 0 };

	for (size_t i = 0; i < known->dnssec_count; i++) {
		const struct facts_signed *said = &known->dnssec[i];

		if (said->who == SIGNED_AUTHORITY)
			continue;
		all.bogus |= is_bogus(said);
		all.answered |= !said->error[0] && said->rcode == DNS_NOERROR;
		all.soa |= said->ad && said->type == DNS_SOA;
		all.mx |= said->ad && said->type == DNS_MX;
		all.wants_mx |= said->type == DNS_MX;
		all.late |= ends_soon(said, facts->now.wall_ms / 1000);
		if (said->who == SIGNED_OWN && !said->ad)
			all.own = said->error[0] ?
					  "libunbound did not answer" :
					  "libunbound finds no chain of trust "
					  "to it";
	}
	return all;
}

static void say_not_validated(const char *zone, const struct opinions *all,
			      struct tally *tally)
{
	tally_add(tally, VERDICT_UNKNOWN,
		  mem_printf("%s has a DS, and %s%s%s", zone,
			     all->answered ? "none of the plan's resolvers "
					     "validates" :
					     "no resolver answers",
			     all->own ? "; " : "", all->own ? all->own : ""),
		  mem_printf("name a validating resolver under dns.resolvers%s",
			     dns_unbound_version() ?
				     "" :
				     ", or use a build with libunbound (make "
				     "UNBOUND=1)"));
}

static void judge_signed(const struct facts *facts, size_t domain, bool has_ds,
			 struct tally *tally)
{
	const struct facts_domain *known = &facts->domains[domain];
	const char *zone = facts_zone(facts, domain);
	struct opinions all = gather(facts, domain);
	bool unfit_at_all;

	for (size_t i = 0; i < known->dnssec_count; i++)
		json_add(tally->evidence,
			 signed_json(facts, domain, &known->dnssec[i]));
	/* A parent that is bogus itself does not say whether they should sign. */
	unfit_at_all = has_ds && judge_authorities(facts, domain, tally);
	if (all.bogus)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s is signed, and wrongly: validating "
				     "resolvers refuse it",
				     zone),
			  unfit_at_all ?
				  NULL :
				  mem_printf("repair the DS at the parent or "
					     "the keys, and sign what was "
					     "changed by hand, before any "
					     "change; dig +cd +dnssec %s SOA "
					     "shows what is served",
					     zone));
	else if (!all.soa || (all.wants_mx && !all.mx))
		say_not_validated(zone, &all, tally);
	else if (all.late)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("the signatures of %s end within 7 days",
				     zone),
			  mem_printf("sign %s anew, and see why nothing does",
				     zone));
}

static bool is_bogus_anywhere(const struct facts_domain *domain)
{
	for (size_t i = 0; i < domain->dnssec_count; i++)
		if (is_bogus(&domain->dnssec[i]))
			return true;
	return false;
}

/*
 * Where a zone begins, its authorities tell.  Without any, the DS that was
 * asked for may be that of the zone above, or of a name below the top.
 */
static void judge_authority(const struct facts *facts, size_t at,
			    struct tally *tally)
{
	const struct dns_domain *dns = &facts->domains[at].dns;
	const char *name = facts->plan->domains[at].name;

	for (size_t i = 0; i < dns->vantage_count; i++)
		if (dns->vantages[i].authority && !dns->vantages[i].error[0])
			return;
	tally_add(tally, VERDICT_UNKNOWN,
		  mem_printf("whether the zone of %s is signed is not known: "
			     "no authority of it answers",
			     name),
		  mem_printf("see who has it: dig +trace %s NS", name));
}

static void judge_dnssec(const struct facts *facts, size_t at,
			 struct tally *tally)
{
	const char *zone = facts_zone(facts, at);
	const struct record_answer *ds =
		records_get(facts->records, zone, DNS_DS);
	bool has_ds = record_of(ds, DNS_DS, 0);

	json_add(tally->evidence, record_json(ds, zone, DNS_DS));
	if (has_ds || is_bogus_anywhere(&facts->domains[at]))
		judge_signed(facts, at, has_ds, tally);
	else if (!ds || !ds->answered)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("whether %s is signed is not known", zone),
			  mem_printf("%s: ask again when it answers: dig %s DS",
				     ds ? ds->error : "not asked", zone));
	judge_authority(facts, at, tally);
}

void check_dnssec(const struct facts *facts, enum gate gate,
		  struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		judge_dnssec(facts, i, &tally);
	tally_end(&tally, finding, "signed validly, or unsigned");
	check_excuse(facts, finding);
}
