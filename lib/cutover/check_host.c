/* Who the queue's host is to others: its addresses' names, and which CAs may
 * sign for it. */

#include "cutover/check_parts.h"
#include "net/addr.h"
#include <stdlib.h>

/* What is asked of a name, wherever its CNAME leads. */
static const struct record_answer *ask(const struct facts *facts,
				       struct tally *tally, const char *name,
				       unsigned type)
{
	const struct record_answer *answer =
		records_get(facts->records, name, type);
	const char *target = record_cname(answer);

	json_add(tally->evidence, record_json(answer, name, type));
	if (*target && !record_of(answer, type, 0)) {
		answer = records_get(facts->records, target, type);
		json_add(tally->evidence, record_json(answer, target, type));
	}
	if (answer && answer->answered)
		return answer;
	tally_add(tally, VERDICT_UNKNOWN,
		  mem_printf("%s %s could not be asked", name,
			     dns_type_name(type)),
		  mem_printf("%s: ask again when it answers: dig %s %s",
			     answer ? answer->error : "not asked", name,
			     dns_type_name(type)));
	return NULL;
}

/* caa */

/*
 * Whom a certificate names as its issuer, and what that CA calls itself in CAA:
 * its certification practice statement says so, section 4.2 (RFC 8659 section
 * 4.2 leaves it to them); CCADB collects them.
 */
static const struct {
	const char *issuer; /* how O or CN begins */
	const char *names[3];
} authorities[] = {
	{ "Let's Encrypt", { "letsencrypt.org" } },
	{ "DigiCert", { "digicert.com" } },
	{ "Sectigo", { "sectigo.com", "comodoca.com" } },
	{ "ZeroSSL", { "sectigo.com", "zerossl.com" } },
	{ "Google Trust Services", { "pki.goog" } },
	{ "GlobalSign", { "globalsign.com" } },
	{ "Amazon", { "amazon.com", "amazontrust.com", "awstrust.com" } },
	{ "Buypass", { "buypass.com", "buypass.no" } },
	{ "Entrust", { "entrust.net" } },
	{ "GoDaddy", { "godaddy.com" } },
	{ "SSL Corp", { "ssl.com" } },
	{ "Hellenic Academic", { "harica.gr" } },
	{ "Actalis", { "actalis.it" } },
	{ "Asseco", { "certum.pl" } },
	{ "Microsoft Corporation", { "microsoft.com" } },
};

static const char *const *names_of(const char *issuer)
{
	for (size_t i = 0; i < COUNT(authorities); i++)
		if (slice_starts_nocase(slice(issuer), authorities[i].issuer))
			return authorities[i].names;
	return NULL;
}

/* RFC 8659: the properties of one relevant set. */
struct caa {
	const char *at;	     /* whose set it is */
	bool restricts;	     /* it has "issue" */
	bool ours;	     /* one of them is our CA's */
	struct buf allowed;  /* "a.example, b.example"; "" nobody */
	const char *strange; /* critical, and we do not know it */
};

/* The CA of "issue ca.example; account=1", without its parameters. */
static struct slice issuer_of(const char *text)
{
	struct slice rest = slice(text + strlen("issue "));

	return slice_trim(slice_split(&rest, ';'));
}

static void take_property(struct caa *caa, const struct dns_record *record,
			  const char *const *ours)
{
	static const char *const known[] = { "issue ",	      "issuewild ",
					     "issuemail ",    "iodef ",
					     "contactemail ", "contactphone ",
					     "issuevmc " };
	struct slice issuer;
	size_t i = 0;

	while (i < COUNT(known) && !slice_starts(slice(record->text), known[i]))
		i++;
	if (i == COUNT(known) && (record->flags & 128))
		caa->strange = record->text;
	if (i != 0)
		return;
	caa->restricts = true;
	issuer = issuer_of(record->text);
	if (issuer.len == 0)
		return;
	buf_addf(&caa->allowed, "%s%.*s", caa->allowed.len ? ", " : "",
		 (int)issuer.len, issuer.p);
	for (size_t n = 0; ours && n < 3 && ours[n]; n++)
		caa->ours |= slice_is_nocase(issuer, ours[n]);
}

/* Climbs to the first set that is not empty; false: a name did not answer. */
static bool find_caa(const struct facts *facts, struct tally *tally,
		     const char *name, const char *const *ours, struct caa *caa)
{
	while (name) {
		const struct record_answer *answer =
			ask(facts, tally, name, DNS_CAA);
		const struct dns_record *record;

		if (!answer)
			return false;
		for (size_t i = 0; (record = record_of(answer, DNS_CAA, i));
		     i++)
			take_property(caa, record, ours);
		caa->at = name;
		if (record_of(answer, DNS_CAA, 0))
			return true;
		name = strchr(name, '.');
		name = name ? name + 1 : NULL;
	}
	return true;
}

static void judge_caa(const struct facts *facts, const char *name,
		      const char *const *ours, bool ours_is_certain,
		      struct tally *tally)
{
	struct caa caa = { 0 };
	const char *want = ours ? ours[0] : "YOUR-CA";

	if (!find_caa(facts, tally, name, ours, &caa))
		goto out;
	if (caa.restricts && caa.allowed.len == 0)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("CAA of %s lets nobody sign for %s",
				     caa.at, name),
			  mem_printf("publish %s. CAA 0 issue \"%s\"", name,
				     want));
	else if (caa.strange)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("CAA of %s has a critical property that "
				     "a CA may not know",
				     caa.at),
			  mem_printf("ask the CA whether it knows %s",
				     caa.strange));
	else if (caa.restricts && ours && ours_is_certain && !caa.ours)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("CAA of %s lets %s alone sign for %s, and "
				     "its certificate is of %s",
				     caa.at, buf_text(&caa.allowed), name,
				     want),
			  mem_printf("publish %s. CAA 0 issue \"%s\"", name,
				     want));
	else if (caa.restricts && !caa.ours)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("CAA of %s lets %s alone sign for %s, and "
				     "whose certificate it has is not known",
				     caa.at, buf_text(&caa.allowed), name),
			  mem_printf("see that its CA is one of them, or "
				     "publish %s. CAA 0 issue \"%s\"",
				     name, want));
out:
	buf_release(&caa.allowed);
}

void check_caa(const struct facts *facts, enum gate gate,
	       struct finding *finding)
{
	const struct plan *plan = facts->plan;
	const char *const *ours = NULL;
	struct shown shown;
	struct tally tally;

	tally_init(&tally);
	if (check_shown(facts, 0, &shown) && shown.chain->count > 0) {
		json_add(tally.evidence, check_shown_json(facts, 0));
		ours = names_of(shown.chain->issuer);
	}
	judge_caa(facts, plan->queue_mx.host, ours, true, &tally);
	for (size_t i = 0; i < plan->domain_count; i++) {
		char *name = mem_printf("mta-sts.%s", plan->domains[i].name);

		/* Its host may have another CA's certificate. */
		if (facts->domains[i].sts.records > 0)
			judge_caa(facts, name, ours, false, &tally);
		free(name);
	}
	tally_end(&tally, finding, "CAA lets the queue's CA sign");
	check_excuse(facts, finding);
}

/* queue-identity */

static bool is_loopback(const char *address)
{
	struct addr addr;

	return addr_from_ip(slice(address), 25, &addr, NULL) == 0 &&
	       addr_is_loopback(&addr);
}

static void judge_address(const struct facts *facts, const char *address,
			  bool v4, struct tally *tally)
{
	const char *host = facts->plan->queue_mx.host, *other = NULL;
	const struct record_answer *answer;
	const struct dns_record *record;
	char name[DNS_NAME];

	if (is_loopback(address)) {
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s is %s, which nobody else sees", host,
				     address),
			  mem_dup("give the queue host its public address"));
		return;
	}
	if (!dns_reverse_name(address, name))
		return;
	answer = ask(facts, tally, name, DNS_PTR);
	if (!answer)
		return;
	for (size_t i = 0; (record = record_of(answer, DNS_PTR, i)); i++) {
		if (strcmp(record->target, host) == 0)
			return;
		other = record->target;
	}
	if (other)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("the PTR of %s is %s, and the queue calls "
				     "itself %s",
				     address, other, host),
			  mem_printf("have %s. PTR %s. set by who gave you the "
				     "address",
				     name, host));
	else
		tally_add(tally, v4 ? VERDICT_FAIL : VERDICT_WARN,
			  mem_printf("%s has no PTR", address),
			  mem_printf("have %s. PTR %s. set by who gave you the "
				     "address%s",
				     name, host,
				     v4 ? "" : ", or send over IPv4 alone"));
}

static size_t judge_family(const struct facts *facts, unsigned type,
			   struct tally *tally)
{
	const struct record_answer *answer =
		ask(facts, tally, facts->plan->queue_mx.host, type);
	const struct dns_record *record;
	size_t count = 0;

	while ((record = record_of(answer, type, count))) {
		judge_address(facts, record->address, type == DNS_A, tally);
		count++;
	}
	return answer ? count : 1; /* not known: it may have one */
}

void check_queue_identity(const struct facts *facts, enum gate gate,
			  struct finding *finding)
{
	const char *host = facts->plan->queue_mx.host;
	struct tally tally;

	tally_init(&tally);
	if (judge_family(facts, DNS_A, &tally) == 0)
		tally_add(&tally, VERDICT_FAIL,
			  mem_printf("%s has no IPv4 address", host),
			  mem_printf("publish %s. A with the queue's address",
				     host));
	judge_family(facts, DNS_AAAA, &tally);
	tally_end(&tally, finding,
		  "the addresses of the queue and its name lead to each other");
	check_excuse(facts, finding);
}
