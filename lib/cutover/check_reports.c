/* The checks of whom others report to: DMARC and TLS-RPT. */

#include "cutover/check_parts.h"
#include "cutover/survey_records.h"
#include "dns/dns_vantage.h"
#include "mail/tag_list.h"
#include <stdlib.h>

/* dmarc */

/* Its texts whose first tag is v= with this value, to the letter. */
static size_t texts_of(const struct record_answer *answer, const char *version,
		       const char **first)
{
	const char *text;
	size_t count = 0;

	*first = NULL;
	for (size_t i = 0; (text = record_text(answer, i)); i++) {
		struct slice name = slice_of(text, strcspn(text, "=;"));

		if (slice_is_nocase(slice_trim(name), "v") &&
		    slice_is(tag_list_get(slice(text), "v"), version) &&
		    count++ == 0)
			*first = text;
	}
	return count;
}

static bool dkim_fails(const struct facts *facts)
{
	struct finding finding = { 0 };
	bool fails;

	check_dkim(facts, GATE_CLOSE, &finding);
	fails = finding.verdict == VERDICT_FAIL;
	finding_clear(&finding);
	return fails;
}

/* Whether mail can be sent to a domain: an MX, or without one an address
 * (RFC 5321 section 5.1), and no null MX (RFC 7505). */
static bool takes_mail(const struct facts *facts, const char *domain,
		       struct tally *tally)
{
	static const unsigned types[] = { DNS_MX, DNS_A, DNS_AAAA };
	const struct record_answer *answer;

	for (size_t i = 0; i < COUNT(types); i++) {
		answer = records_get(facts->records, domain, types[i]);
		/* An address is asked for where there is no MX alone. */
		if (i == 0 || answer)
			json_add(tally->evidence,
				 record_json(answer, domain, types[i]));
		if (record_of(answer, types[i], 0))
			return types[i] != DNS_MX ||
			       *record_of(answer, DNS_MX, 0)->target;
	}
	return false;
}

/*
 * RFC 7489 section 7.1: who gets reports of others must have said so.  Whose
 * they are goes by the organizational domain (section 3.2), a public suffix and
 * a label, which names alone do not tell: one inside the other is the same, and
 * two that share a top-level domain at most are not.
 */
static bool may_be_one(const char *domain, const char *to)
{
	const char *dot = strchr(domain, '.');

	for (; dot && strchr(dot + 1, '.'); dot = strchr(dot + 1, '.'))
		if (dns_name_is_in(to, dot + 1))
			return true;
	return false;
}

static bool has_agreed(const struct facts *facts, const char *domain,
		       const char *to, struct tally *tally)
{
	const struct record_answer *answer;
	char name[DNS_NAME];
	const char *text;

	if (dns_name_is_in(to, domain) || dns_name_is_in(domain, to) ||
	    !dmarc_report_name(domain, to, name))
		return true;
	answer = records_get(facts->records, name, DNS_TXT);
	json_add(tally->evidence, record_json(answer, name, DNS_TXT));
	return texts_of(answer, "DMARC1", &text) > 0;
}

static void judge_rua(const struct facts *facts, const char *domain,
		      struct slice rua, struct tally *tally)
{
	char to[DNS_NAME];
	struct slice uri;

	while (tag_list_next_uri(&rua, &uri, to)) {
		if (!*to)
			tally_add(tally, VERDICT_WARN,
				  mem_printf("DMARC of %s names what is no "
					     "mailbox to report to",
					     domain),
				  mem_printf("write rua=mailto:...: senders "
					     "know nothing else than mailto"));
		else if (!takes_mail(facts, to, tally))
			tally_add(tally, VERDICT_WARN,
				  mem_printf("DMARC reports about %s go to %s, "
					     "which takes no mail",
					     domain, to),
				  mem_printf("name a mailbox that exists in "
					     "rua= of _dmarc.%s",
					     domain));
		else if (!has_agreed(facts, domain, to, tally))
			tally_add(tally, VERDICT_WARN,
				  mem_printf("%s has not said that it takes "
					     "DMARC reports about %s%s",
					     to, domain,
					     may_be_one(domain, to) ?
						     ", and need not if both "
						     "have one organizational "
						     "domain, which was not "
						     "looked up" :
						     ""),
				  mem_printf("have %s._report._dmarc.%s. TXT "
					     "\"v=DMARC1;\" published there "
					     "(RFC 7489 section 7.1)",
					     domain, to));
	}
}

static void judge_dmarc(const struct facts *facts, const char *domain,
			const char *text, enum gate gate, struct tally *tally)
{
	struct slice policy = tag_list_get(slice(text), "p");
	bool strict = slice_is_nocase(policy, "quarantine") ||
		      slice_is_nocase(policy, "reject");

	if (!strict && !slice_is_nocase(policy, "none"))
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("the DMARC record of %s has no valid p=",
				     domain),
			  mem_printf("publish _dmarc.%s. TXT \"v=DMARC1; "
				     "p=none; rua=mailto:...\"",
				     domain));
	else if (strict && gate == GATE_CLOSE && dkim_fails(facts))
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("DMARC of %s says p=%.*s while DKIM of "
				     "the new system fails",
				     domain, (int)policy.len, policy.p),
			  mem_dup("set p=none until DKIM passes: see dkim"));
	else if (!strict)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("DMARC of %s says p=none: it asks for "
				     "reports alone",
				     domain),
			  mem_dup("raise it once the reports are clean"));
}

void check_dmarc(const struct facts *facts, enum gate gate,
		 struct finding *finding)
{
	const struct plan *plan = facts->plan;
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < plan->domain_count; i++) {
		const char *domain = plan->domains[i].name, *text;
		const struct record_answer *answer =
			check_ask_text(facts, &tally, "_dmarc.", domain);
		size_t count;

		if (!answer)
			continue;
		count = texts_of(answer, "DMARC1", &text);
		if (count == 1) {
			judge_dmarc(facts, domain, text, gate, &tally);
			judge_rua(facts, domain,
				  tag_list_get(slice(text), "rua"), &tally);
		} else if (count == 0)
			tally_add(&tally, VERDICT_WARN,
				  mem_printf("%s has no DMARC record", domain),
				  mem_printf("publish _dmarc.%s. TXT "
					     "\"v=DMARC1; p=none; "
					     "rua=mailto:...\"",
					     domain));
		else
			tally_add(&tally, VERDICT_FAIL,
				  mem_printf("%s has %zu DMARC records: none "
					     "of them counts",
					     domain, count),
				  mem_printf("leave one at _dmarc.%s (RFC "
					     "7489 section 6.6.3)",
					     domain));
	}
	tally_end(&tally, finding, "one valid DMARC record");
}

/* tls-rpt */

static bool reports_stay_inside(const struct plan *plan, struct slice rua)
{
	struct slice uri;
	char domain[DNS_NAME];

	while (tag_list_next_uri(&rua, &uri, domain))
		if (*domain && plan_domain(plan, slice(domain)))
			return true;
	return false;
}

static void judge_reports(const struct plan *plan, const char *domain,
			  struct slice rua, struct tally *tally)
{
	if (rua.len == 0)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("the TLS-RPT record of %s names nobody "
				     "to report to",
				     domain),
			  mem_printf("name a mailbox of another domain in "
				     "rua= of _smtp._tls.%s",
				     domain));
	else if (reports_stay_inside(plan, rua))
		tally_add(tally, VERDICT_WARN,
			  mem_printf("TLS reports about %s go to the domain "
				     "that moves",
				     domain),
			  mem_printf("name a mailbox of another domain in "
				     "_smtp._tls.%s (RFC 8460 section 3)",
				     domain));
}

void check_tls_rpt(const struct facts *facts, enum gate gate,
		   struct finding *finding)
{
	const struct plan *plan = facts->plan;
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < plan->domain_count; i++) {
		const char *domain = plan->domains[i].name, *text;
		const struct record_answer *answer =
			check_ask_text(facts, &tally, "_smtp._tls.", domain);
		size_t count;

		if (!answer)
			continue;
		count = texts_of(answer, "TLSRPTv1", &text);
		if (count == 1)
			judge_reports(plan, domain,
				      tag_list_get(slice(text), "rua"), &tally);
		else if (count == 0)
			tally_add(&tally, VERDICT_WARN,
				  mem_printf("%s asks for no TLS reports",
					     domain),
				  mem_printf("publish _smtp._tls.%s. TXT "
					     "\"v=TLSRPTv1; rua=mailto:...\" "
					     "with a mailbox of another domain",
					     domain));
		else
			tally_add(&tally, VERDICT_WARN,
				  mem_printf("%s has %zu TLS-RPT records: none "
					     "of them counts",
					     domain, count),
				  mem_printf("leave one at _smtp._tls.%s (RFC "
					     "8460 section 3)",
					     domain));
	}
	tally_end(&tally, finding,
		  "TLS reports go outside of the moving "
		  "domain");
}
