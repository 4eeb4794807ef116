/* The checks of the records beside the MX: SPF, DKIM and their kin. */

#include "cutover/check_parts.h"
#include "mail/spf_record.h"
#include "mail/tag_list.h"
#include <stdlib.h>

#define NEGATIVE_MAX_S 3600 /* of RFC 2308, section 5: one to three hours */
#define CNAMES_MAX     8

static const struct record_answer *ask(const struct facts *facts,
				       struct tally *tally, const char *prefix,
				       const char *domain, unsigned type)
{
	char *name = mem_printf("%s%s", prefix, domain);
	const struct record_answer *answer =
		records_get(facts->records, name, type);

	json_add(tally->evidence, record_json(answer, name, type));
	if (!answer || !answer->answered) {
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s %s could not be asked", name,
				     dns_type_name(type)),
			  mem_printf("%s: ask again when it answers: dig %s %s",
				     answer ? answer->error : "not asked", name,
				     dns_type_name(type)));
		answer = NULL;
	}
	free(name);
	return answer;
}

/* Its texts that begin with `tag`, any case: how many, and the first. */
static size_t texts_with(const struct record_answer *answer, const char *tag,
			 const char **first)
{
	size_t count = 0, len = strlen(tag);
	const char *text;

	*first = NULL;
	for (size_t i = 0; (text = record_text(answer, i)); i++) {
		if (strlen(text) < len ||
		    !slice_is_nocase(slice_of(text, len), tag))
			continue;
		if (count++ == 0)
			*first = text;
	}
	return count;
}

/*
 * What a question for TXT met in the end: CNAMEs out of a zone were asked for
 * one by one.  NULL: it leads to what was not asked for, or in circles.
 */
static const struct record_answer *end_of(const struct facts *facts,
					  const struct record_answer *answer,
					  struct tally *tally)
{
	for (int i = 0; answer && !record_text(answer, 0); i++) {
		const char *target = record_cname(answer);

		if (!*target)
			break;
		if (i == CNAMES_MAX)
			return NULL;
		answer = records_get(facts->records, target, DNS_TXT);
		json_add(tally->evidence, record_json(answer, target, DNS_TXT));
	}
	return answer;
}

static void say_lost(struct tally *tally, const char *prefix,
		     const char *domain, const char *target,
		     const struct record_answer *last)
{
	tally_add(tally, VERDICT_UNKNOWN,
		  mem_printf("where %s%s leads to did not answer", prefix,
			     domain),
		  mem_printf("%s: ask again when it answers: dig %s TXT",
			     last ? last->error : "not asked", target));
}

const struct record_answer *check_ask_text(const struct facts *facts,
					   struct tally *tally,
					   const char *prefix,
					   const char *domain)
{
	const struct record_answer *answer =
		ask(facts, tally, prefix, domain, DNS_TXT);
	const struct record_answer *last = end_of(facts, answer, tally);

	if (!answer || (last && last->answered))
		return last;
	say_lost(tally, prefix, domain, record_cname(answer), last);
	return NULL;
}

/* negative-cache */

/* RFC 2308 section 5: the lesser of the two. */
static uint32_t negative_ttl(const struct dns_vantage *vantage)
{
	return vantage->soa_ttl < vantage->soa_minimum ? vantage->soa_ttl :
							 vantage->soa_minimum;
}

static void look_at_minimum(const struct facts *facts, size_t at,
			    struct tally *tally)
{
	const struct dns_domain *dns = &facts->domains[at].dns;
	uint32_t most = 0;
	bool known = false;

	for (size_t i = 0; i < dns->vantage_count; i++) {
		const struct dns_vantage *vantage = &dns->vantages[i];

		if (!vantage->authority || !vantage->has_serial)
			continue;
		known = true;
		json_add(tally->evidence, check_vantage_json(vantage));
		if (negative_ttl(vantage) > most)
			most = negative_ttl(vantage);
	}
	if (!known)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("no SOA of %s came",
				     facts->plan->domains[at].name),
			  mem_dup("see dns-authority"));
	else if (most > NEGATIVE_MAX_S)
		tally_add(
			tally, VERDICT_WARN,
			mem_printf("a name of %s that is asked for too early "
				   "stays unknown for %u s",
				   facts->plan->domains[at].name, most),
			mem_dup("publish new names before anybody asks for "
				"them, or lower the SOA's minimum or its TTL to 3600"));
}

void check_negative_cache(const struct facts *facts, enum gate gate,
			  struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		look_at_minimum(facts, i, &tally);
	tally_end(&tally, finding,
		  "negative answers are kept for an hour at "
		  "most");
}

/* verify-txt */

static const char *verification_of(const struct provider *provider)
{
	/* Microsoft Learn, "Add DNS records to connect your domain"; Google
	 * Workspace Admin Help 183895. */
	if (strcmp(provider->name, "m365") == 0)
		return "MS=";
	if (strcmp(provider->name, "workspace") == 0)
		return "google-site-verification=";
	return NULL;
}

static bool has_text(const struct record_answer *answer, const char *wanted)
{
	const char *text;

	for (size_t i = 0; (text = record_text(answer, i)); i++)
		if (strcmp(wanted, text) == 0)
			return true;
	return false;
}

/* The old tenant wanted to see one too, years ago, and nobody takes it away. */
static void judge_verification(const struct plan_domain *domain, enum gate gate,
			       const struct record_answer *answer,
			       struct tally *tally)
{
	const struct plan_system *new = &domain->systems[SYSTEM_NEW];
	const char *tag = verification_of(new->provider), *text;
	const char *wanted = new->verify_txt ? new->verify_txt : tag;
	bool same =
		verification_of(domain->systems[SYSTEM_OLD].provider) == tag;
	size_t count = texts_with(answer, wanted, &text);

	if (new->verify_txt ? has_text(answer, wanted) : count > (same ? 1 : 0))
		return;
	if (count > 0 && !new->verify_txt)
		tally_add(tally,
			  gate == GATE_PLAN ? VERDICT_WARN : VERDICT_UNKNOWN,
			  mem_printf("%s has one TXT %s..., which may be the "
				     "old tenant's",
				     domain->name, tag),
			  mem_printf("write what the new tenant's admin center "
				     "gives into new.verify_txt, or compare it "
				     "with '%s'",
				     text));
	else
		tally_add(tally,
			  gate == GATE_PLAN ? VERDICT_WARN : VERDICT_FAIL,
			  mem_printf("%s has no TXT %s%s for %s yet",
				     domain->name, wanted,
				     new->verify_txt ? "" : "...",
				     new->provider->title),
			  mem_printf("publish %s. TXT \"%s%s\" as the new "
				     "tenant's admin center gives it",
				     domain->name, wanted,
				     new->verify_txt ? "" : "..."));
}

void check_verify_txt(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	const struct plan *plan = facts->plan;
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < plan->domain_count; i++) {
		const struct plan_domain *domain = &plan->domains[i];
		const struct record_answer *answer;

		if (!domain->systems[SYSTEM_NEW].verify_txt &&
		    !verification_of(domain->systems[SYSTEM_NEW].provider))
			continue;
		answer = ask(facts, &tally, "", domain->name, DNS_TXT);
		if (answer)
			judge_verification(domain, gate, answer, &tally);
	}
	tally_end(&tally, finding,
		  "what the new system wants to see before it takes the domain "
		  "is published");
	check_excuse(facts, finding);
}

/* spf */

struct spf_walk {
	const struct facts *facts;
	struct tally *tally;
	const char *old_include, *new_include;
	bool has_old, has_new, unknown;
	unsigned denied; /* includes around this one that let nobody send */
	unsigned lookups, voids;
	char *wrong; /* why it is a permerror */
};

static void walk_record(struct spf_walk *walk, const char *name,
			const char *text, unsigned depth);

/* RFC 7208 section 4.5: how many, and the first. */
static size_t spf_records(const struct record_answer *answer,
			  const char **first)
{
	const char *text;
	size_t count = 0;

	*first = NULL;
	for (size_t i = 0; (text = record_text(answer, i)); i++)
		if (spf_is_record(slice(text)) && count++ == 0)
			*first = text;
	return count;
}

static void walk_name(struct spf_walk *walk, struct slice domain,
		      unsigned depth)
{
	const struct record_answer *answer;
	const char *text;
	char name[DNS_NAME];
	size_t count;

	/* Of no name the result is "none", which an include makes an error
	 * (RFC 7208 sections 4.3 and 5.2). */
	if (!dns_name_normal(domain, name)) {
		if (!walk->wrong)
			walk->wrong = mem_printf("'%.*s' is no name",
						 (int)domain.len, domain.p);
		return;
	}
	walk->has_old |=
		walk->old_include && strcmp(name, walk->old_include) == 0;
	walk->has_new |= walk->new_include && walk->denied == 0 &&
			 strcmp(name, walk->new_include) == 0;
	answer = records_get(walk->facts->records, name, DNS_TXT);
	json_add(walk->tally->evidence, record_json(answer, name, DNS_TXT));
	answer = end_of(walk->facts, answer, walk->tally);
	if (!answer || !answer->answered) {
		walk->unknown = true;
		return;
	}
	count = spf_records(answer, &text);
	if (count == 1)
		walk_record(walk, name, text, depth + 1);
	else if (!walk->wrong)
		walk->wrong = mem_printf("%s has %zu SPF records", name, count);
}

/* RFC 7208 section 4.6.4: lookups that find nothing, and hosts of an mx. */
static void look_up(struct spf_walk *walk, const char *self,
		    const struct spf_term *term)
{
	unsigned type = term->kind == SPF_MX ? DNS_MX : DNS_A;
	const struct record_answer *answer;
	char name[DNS_NAME];
	size_t count = 0;

	if ((term->kind != SPF_A && term->kind != SPF_MX) || term->macro ||
	    !dns_name_normal(term->domain.len ? term->domain : slice(self),
			     name))
		return;
	answer = records_get(walk->facts->records, name, type);
	if (!answer || !answer->answered || *record_cname(answer))
		return;
	json_add(walk->tally->evidence, record_json(answer, name, type));
	while (record_of(answer, type, count))
		count++;
	walk->voids += count == 0;
	if (type == DNS_MX && count > SPF_LOOKUPS_MAX && !walk->wrong)
		walk->wrong = mem_printf("mx of %s has more than %d hosts",
					 name, SPF_LOOKUPS_MAX);
}

/* What is called counts with what calls it. */
static void walk_record(struct spf_walk *walk, const char *name,
			const char *text, unsigned depth)
{
	struct spf_record record;
	struct err err = ERR_INIT;

	if (spf_record_parse(slice(text), &record, &err) < 0) {
		if (!walk->wrong)
			walk->wrong = mem_dup(err.text);
		return;
	}
	for (size_t i = 0; i < record.count; i++) {
		const struct spf_term *term = &record.terms[i];
		bool calls = term->kind == SPF_INCLUDE ||
			     (term->kind == SPF_REDIRECT && !record.has_all);
		bool denies;

		/* Mechanisms behind it are ignored: RFC 7208 section 5.1. */
		if (term->kind == SPF_ALL)
			break;
		if (term->kind == SPF_REDIRECT && record.has_all)
			continue;
		walk->lookups += term->looks_up;
		denies = term->kind == SPF_INCLUDE && term->qualifier != '+';
		walk->denied += denies;
		look_up(walk, name, term);
		if (calls && !term->macro && walk->lookups <= SPF_LOOKUPS_MAX &&
		    depth < SPF_LOOKUPS_MAX)
			walk_name(walk, term->domain, depth);
		walk->denied -= denies;
	}
}

/* "all", "-all" and so on, up to the next space. */
static bool is_all(const char *word)
{
	struct slice one = slice_of(word, strcspn(word, " "));

	if (one.len == 4 && strchr("+-~?", one.p[0]))
		one = slice_from(one, 1);
	return slice_is_nocase(one, "all");
}

/* The record with the new include before its "all", or at the end. */
static char *merged(const char *text, const char *include)
{
	const char *all = text;

	while (*all && !is_all(all)) {
		all += strcspn(all, " ");
		all += strspn(all, " ");
	}
	if (!*all)
		return mem_printf("%s include:%s", text, include);
	return mem_printf("%.*sinclude:%s %s", (int)(all - text), text, include,
			  all);
}

static bool has_word(const struct buf *text, struct slice word)
{
	struct slice rest = buf_slice(text);

	while (rest.len > 0)
		if (slice_equal_nocase(slice_split(&rest, ' '), word))
			return true;
	return false;
}

/* All of several records in one, "all" of the first at the end. */
static char *united(const struct record_answer *answer, const char *include)
{
	struct buf out = BUF_INIT;
	struct slice all = slice("");
	const char *text;

	buf_adds(&out, "v=spf1");
	for (size_t i = 0; (text = record_text(answer, i)); i++) {
		struct slice rest = slice(text);

		if (!spf_is_record(rest))
			continue;
		while (rest.len > 0) {
			struct slice word = slice_split(&rest, ' ');

			if (slice_ends_nocase(word, "all") && word.len <= 4) {
				all = all.len ? all : word;
			} else if (word.len && !has_word(&out, word)) {
				buf_addc(&out, ' ');
				buf_add(&out, word);
			}
		}
	}
	if (include) {
		char *word = mem_printf("include:%s", include);

		if (!has_word(&out, slice(word)))
			buf_addf(&out, " %s", word);
		free(word);
	}
	buf_addf(&out, " %.*s", all.len ? (int)all.len : 4,
		 all.len ? all.p : "-all");
	return buf_take(&out);
}

static void judge_spf(struct spf_walk *walk, const char *domain,
		      const char *text, enum gate gate)
{
	struct tally *tally = walk->tally;
	char *want;

	if (walk->wrong) {
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("the SPF record of %s is a permanent "
				     "error: %s",
				     domain, walk->wrong),
			  mem_printf("correct it: %s. TXT \"%s\"", domain,
				     text));
		return;
	}
	if (walk->lookups > SPF_LOOKUPS_MAX) {
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("the SPF record of %s needs more than %d "
				     "lookups",
				     domain, SPF_LOOKUPS_MAX),
			  mem_dup("take out includes that nobody sends by any "
				  "more (RFC 7208 section 4.6.4)"));
		return;
	}
	if (walk->voids > SPF_VOIDS_MAX) {
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("the SPF record of %s has more than %d "
				     "lookups that find nothing",
				     domain, SPF_VOIDS_MAX),
			  mem_dup("take out the names that are gone; the "
				  "evidence has them (RFC 7208 section "
				  "4.6.4)"));
		return;
	}
	if (walk->unknown)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("a record that the SPF of %s includes did "
				     "not answer",
				     domain),
			  mem_dup("ask again; the evidence names it"));
	if (walk->new_include && !walk->has_new) {
		want = merged(text, walk->new_include);
		tally_add(tally,
			  gate == GATE_CLOSE ? VERDICT_FAIL : VERDICT_WARN,
			  mem_printf("the SPF record of %s lacks include:%s",
				     domain, walk->new_include),
			  mem_printf("publish %s. TXT \"%s\"", domain, want));
		free(want);
	}
	if (!walk->new_include)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: what in its SPF record lets the new "
				     "system send is not known",
				     domain),
			  mem_dup("write it into new.spf_include of the plan, "
				  "or see that the record has its addresses"));
	if (gate == GATE_CLOSE && walk->has_old)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("the SPF record of %s still has "
				     "include:%s",
				     domain, walk->old_include),
			  mem_printf("take it out once nothing is sent from "
				     "the old system: %s. TXT",
				     domain));
}

/* Both systems send while the domain moves. */
static void say_none(const char *domain, const struct spf_walk *walk,
		     enum gate gate, struct tally *tally)
{
	const char *old = gate == GATE_CLOSE ? NULL : walk->old_include;

	tally_add(
		tally, VERDICT_WARN, mem_printf("%s has no SPF record", domain),
		mem_printf("publish %s. TXT \"v=spf1 %s%s%s%s%s%s~all\" with "
			   "all else that sends for it, each as ip4:ADDRESS "
			   "or include:DOMAIN",
			   domain, old ? "include:" : "", old ? old : "",
			   old ? " " : "", walk->new_include ? "include:" : "",
			   walk->new_include ? walk->new_include : "",
			   walk->new_include ? " " : ""));
}

static void look_at_spf(const struct facts *facts, size_t at, enum gate gate,
			struct tally *tally)
{
	const struct plan_domain *domain = &facts->plan->domains[at];
	const struct record_answer *answer =
		ask(facts, tally, "", domain->name, DNS_TXT);
	struct spf_walk walk = {
		.facts = facts,
		.tally = tally,
		.old_include = domain->systems[0].provider->spf_include,
		.new_include = domain->systems[1].provider->spf_include,
	};
	const char *text;
	size_t count;

	if (!answer)
		return;
	/* The same include serves both tenants of one provider. */
	if (walk.old_include && walk.new_include &&
	    strcmp(walk.old_include, walk.new_include) == 0)
		walk.old_include = NULL;
	count = spf_records(answer, &text);
	if (count > 1) {
		char *one = united(answer, walk.new_include);

		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s has %zu SPF records: none of them "
				     "counts",
				     domain->name, count),
			  mem_printf("merge them into one: %s. TXT \"%s\"",
				     domain->name, one));
		free(one);
	} else if (count == 0) {
		say_none(domain->name, &walk, gate, tally);
	} else {
		walk_record(&walk, domain->name, text, 0);
		judge_spf(&walk, domain->name, text, gate);
		free(walk.wrong);
	}
}

void check_spf(const struct facts *facts, enum gate gate,
	       struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		look_at_spf(facts, i, gate, &tally);
	tally_end(&tally, finding,
		  "one SPF record, with the new system's include, within ten "
		  "lookups");
}

/* dkim */

/* "acmenew" of acmenew.mail.protection.outlook.com; empty if it is no such. */
static struct slice tenant_of(const struct plan_system *system)
{
	static const char suffix[] = ".mail.protection.outlook.com";
	struct slice host =
		slice(system->deliver_host ? system->deliver_host : "");

	if (!slice_ends_nocase(host, suffix))
		return slice_of("", 0);
	return slice_of(host.p, host.len - (sizeof(suffix) - 1));
}

/* "….acmenew.onmicrosoft.com", and the newer "….acmenew.x-v1.dkim.mail.…". */
static bool names_tenant(const char *target, struct slice tenant)
{
	char *label;
	bool found;

	if (tenant.len == 0)
		return false;
	label = mem_printf(".%.*s.", (int)tenant.len, tenant.p);
	found = strstr(target, label) != NULL;
	free(label);
	return found;
}

/* An empty p= is a key that was taken back (RFC 6376 section 3.6.1). */
static bool has_key(const struct record_answer *answer)
{
	const char *text;

	for (size_t i = 0; (text = record_text(answer, i)); i++)
		if (tag_list_get(slice(text), "p").len > 0)
			return true;
	return false;
}

/*
 * The first name that it leads to tells the tenant, or the last; the domain's
 * own tell none, as a tenant may be called the same.
 */
static bool leads_to(const struct plan_system *system, const char *domain,
		     const struct record_answer *first,
		     const struct record_answer *last)
{
	const char *const names[] = { record_cname(first),
				      last ? last->name : "" };

	for (size_t i = 0; i < COUNT(names); i++)
		if (!slice_ends_nocase(slice(names[i]), domain) &&
		    names_tenant(names[i], tenant_of(system)))
			return true;
	return false;
}

static void judge_selector(const struct facts *facts,
			   const struct plan_domain *domain,
			   const char *selector, bool first,
			   struct tally *tally)
{
	const struct plan_system *old = &domain->systems[0];
	const struct plan_system *new = &domain->systems[1];
	char *prefix = mem_printf("%s._domainkey.", selector);
	const struct record_answer *answer =
		ask(facts, tally, prefix, domain->name, DNS_TXT);
	const struct record_answer *last = end_of(facts, answer, tally);
	const char *target = record_cname(answer);

	if (!answer)
		goto out;
	if (leads_to(old, domain->name, answer, last) &&
	    !leads_to(new, domain->name, answer, last))
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s%s leads to the old tenant", prefix,
				     domain->name),
			  mem_printf("publish the CNAME that the new tenant "
				     "gives; now it is %s",
				     target));
	else if (!last || !last->answered)
		say_lost(tally, prefix, domain->name, target, last);
	else if (!has_key(last))
		tally_add(tally, first ? VERDICT_FAIL : VERDICT_WARN,
			  mem_printf("%s%s has no key", prefix, domain->name),
			  mem_printf("publish the record that %s gives for it",
				     new->provider->title));
	else if (strcmp(old->provider->name, new->provider->name) == 0 &&
		 !leads_to(new, domain->name, answer, last))
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s%s has a key, whose tenant cannot be "
				     "told",
				     prefix, domain->name),
			  mem_printf("compare it with what the new tenant "
				     "gives%s%s",
				     *target ? ": " : "", target));
out:
	free(prefix);
}

void check_dkim(const struct facts *facts, enum gate gate,
		struct finding *finding)
{
	const struct plan *plan = facts->plan;
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < plan->domain_count; i++) {
		const struct plan_domain *domain = &plan->domains[i];
		const char *const *selectors =
			domain->systems[1].provider->dkim_selectors;

		for (size_t s = 0; selectors[s]; s++)
			judge_selector(facts, domain, selectors[s], s == 0,
				       &tally);
		if (!selectors[0])
			tally_add(&tally, VERDICT_UNKNOWN,
				  mem_printf("%s: with which selectors the new "
					     "system signs is not known",
					     domain->name),
				  mem_dup("write them into new.dkim_selectors "
					  "of the plan; or look at a message "
					  "from there, and attest"));
	}
	tally_end(&tally, finding,
		  "the selectors that the new system signs with have its keys");
	check_excuse(facts, finding);
}

/* autodiscover */

/* Microsoft Learn, "Autodiscover for Exchange": the CNAME of Exchange Online. */
#define AUTODISCOVER_M365 "autodiscover.outlook.com"

static bool is_m365(const char *target)
{
	return strcmp(target, AUTODISCOVER_M365) == 0 ||
	       strcmp(target, "outlook.office365.com") == 0;
}

/* Outlook asks for the SRV where the CNAME leads nowhere. */
static void judge_service(const struct facts *facts,
			  const struct plan_domain *domain, bool m365,
			  struct tally *tally)
{
	const struct record_answer *answer =
		ask(facts, tally, "_autodiscover._tcp.", domain->name, DNS_SRV);
	const struct dns_record *record = record_of(answer, DNS_SRV, 0);

	if (!record || is_m365(record->target) == m365)
		return;
	tally_add(tally, VERDICT_WARN,
		  mem_printf("the SRV _autodiscover._tcp.%s leads to %s",
			     domain->name, record->target),
		  mem_printf("delete _autodiscover._tcp.%s. SRV",
			     domain->name));
}

static void judge_autodiscover(const struct facts *facts,
			       const struct plan_domain *domain, bool m365,
			       struct tally *tally)
{
	const struct record_answer *answer =
		ask(facts, tally, "autodiscover.", domain->name, DNS_CNAME);

	if (!answer || is_m365(record_cname(answer)) == m365)
		return;
	if (m365)
		tally_add(
			tally, VERDICT_WARN,
			mem_printf("autodiscover.%s does not lead to "
				   "Microsoft 365",
				   domain->name),
			mem_printf(
				"publish autodiscover.%s. CNAME " AUTODISCOVER_M365
				".",
				domain->name));
	else
		tally_add(tally, VERDICT_WARN,
			  mem_printf("autodiscover.%s still leads to "
				     "Microsoft 365",
				     domain->name),
			  mem_printf("delete autodiscover.%s, or point it to "
				     "the new system",
				     domain->name));
}

void check_autodiscover(const struct facts *facts, enum gate gate,
			struct finding *finding)
{
	const struct plan *plan = facts->plan;
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < plan->domain_count; i++) {
		const struct plan_domain *domain = &plan->domains[i];
		bool m365 =
			strcmp(domain->systems[1].provider->name, "m365") == 0;

		judge_autodiscover(facts, domain, m365, &tally);
		judge_service(facts, domain, m365, &tally);
	}
	tally_end(&tally, finding, "autodiscover leads to the new system");
}
