/* What DANE says: of the queue, of the new system. */

#include "cutover/check_parts.h"
#include "base/encode.h"
#include "cutover/survey_trust.h"
#include <stdlib.h>

/* What the queue shows. */

static bool listens(const struct facts *facts)
{
	for (size_t i = 0; i < facts->listener_count; i++)
		if (facts->listeners[i].probed)
			return true;
	return false;
}

bool check_shown(const struct facts *facts, size_t i, struct shown *shown)
{
	const struct facts_certificate *file = &facts->certificate;
	const struct facts_listener *listener;

	if (!listens(facts)) {
		*shown = (struct shown){ file->read, &file->tls, &file->chain };
		return i == 0 && file->read;
	}
	if (i >= facts->listener_count)
		return false;
	listener = &facts->listeners[i];
	*shown = (struct shown){
		.known = listener->probed && listener->probe.connected,
		.tls = &listener->probe.tls,
		.chain = &listener->probe.chain,
	};
	return true;
}

struct json *check_shown_json(const struct facts *facts, size_t i)
{
	const struct plan *plan = facts->plan;
	const struct facts_certificate *file = &facts->certificate;
	struct json *json;
	char *asked;

	if (listens(facts) && facts->listeners[i].probed)
		return probe_json(&facts->listeners[i].probe);
	json = json_object();
	asked = listens(facts) ?
			mem_printf("the listener %s",
				   plan->queue_mx.listen.at[i]) :
			mem_printf("the file %s: no listener was asked",
				   plan->queue_mx.certificate_file);
	json_put_text(json, "asked", asked);
	json_put_time(json, "at", facts->now.wall_ms);
	json_put(json, "tls",
		 listens(facts) ? NULL :
				  probe_tls_json(&file->tls, &file->chain));
	free(asked);
	return json;
}

/* queue-tlsa */

/* RFC 7672 section 3.1: what else a record says, SMTP has no use for it. */
static bool is_usable(const struct dns_record *record)
{
	return (record->usage == 2 || record->usage == 3) &&
	       record->selector <= 1 && record->matching <= 2;
}

struct tlsa_count check_count_tlsa(const struct record_answer *answer,
				   const struct tls_chain *chain)
{
	struct tlsa_count count = { 0 };
	const struct dns_record *record;

	while ((record = record_of(answer, DNS_TLSA, count.all))) {
		struct buf data = BUF_INIT;

		count.all++;
		count.usable += is_usable(record);
		if (decode_hex(slice(record->text), &data) &&
		    tls_chain_matches(chain, record->usage, record->selector,
				      record->matching, buf_slice(&data)))
			count.matching++;
		buf_release(&data);
	}
	return count;
}

/* The record that a sender would find right, word for word. */
static void tlsa_remedy(struct finding *finding, const char *name,
			const struct tls_chain *chain)
{
	char digest[DIGEST_TEXT];

	finding_remedy(finding,
		       "publish %s. TLSA 3 1 1 %s, and the same of the next "
		       "key before the certificate changes",
		       name, digest_text(chain->at[0].key.sha256, digest));
}

static void judge_tlsa(const struct facts *facts, const char *name,
		       const struct record_answer *answer,
		       const struct shown *shown, struct finding *finding)
{
	struct tlsa_count count = { 0 };

	if (shown->known)
		count = check_count_tlsa(answer, shown->chain);
	if (!shown->known) {
		check_not_known(facts, finding,
				"%s has TLSA records, and the certificate of "
				"the queue was not seen",
				facts->plan->queue_mx.host);
		finding_remedy(finding, "ask again while tideoverd runs");
	} else if (shown->chain->count == 0) {
		finding_set(finding, VERDICT_FAIL,
			    "%s has TLSA records, and the queue does no "
			    "STARTTLS",
			    facts->plan->queue_mx.host);
		finding_remedy(finding,
			       "name its certificate in the plan "
			       "(queue_mx.tls), or take %s out of DNS",
			       name);
	} else if (count.usable == 0) {
		finding_set(finding, VERDICT_WARN,
			    "no TLSA record of %s is of use for SMTP (RFC 7672 "
			    "section 3.1)",
			    facts->plan->queue_mx.host);
		tlsa_remedy(finding, name, shown->chain);
	} else if (count.matching == 0) {
		finding_set(finding, VERDICT_FAIL,
			    "no TLSA record of %s matches its certificate",
			    facts->plan->queue_mx.host);
		tlsa_remedy(finding, name, shown->chain);
	} else if (count.usable == 1) {
		finding_set(finding, VERDICT_WARN,
			    "%s has one TLSA record: the next key will not "
			    "match",
			    facts->plan->queue_mx.host);
		finding_remedy(finding,
			       "publish a second %s. TLSA 3 1 1 for the next "
			       "key, two TTLs before the certificate changes",
			       name);
	} else {
		finding_set(finding, VERDICT_PASS, "it matches");
	}
}

/* At every listener: a sender takes whichever answers. */
static void judge_all(const struct facts *facts, const char *name,
		      const struct record_answer *answer,
		      struct finding *finding)
{
	struct shown shown = { .known = false };
	struct tally tally;
	size_t i = 0;
	char *well;

	tally_init(&tally);
	json_free(tally.evidence);
	tally.evidence = finding->evidence;
	do {
		struct finding one = { .check = finding->check };

		if (check_shown(facts, i, &shown))
			json_add(tally.evidence, check_shown_json(facts, i));
		judge_tlsa(facts, name, answer, &shown, &one);
		tally_finding(&tally, &one);
	} while (check_shown(facts, ++i, &shown));
	well = mem_printf("a TLSA record of %s matches its certificate",
			  facts->plan->queue_mx.host);
	tally_end(&tally, finding, well);
	free(well);
}

void check_queue_tlsa(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	const char *host = facts->plan->queue_mx.host;
	const struct record_answer *answer;
	char name[DNS_NAME];

	survey_tlsa_name(host, name);
	answer = records_get(facts->records, name, DNS_TLSA);
	finding->evidence = json_array();
	json_add(finding->evidence, record_json(answer, name, DNS_TLSA));
	if (!answer || !answer->answered) {
		check_not_known(facts, finding,
				"whether %s has TLSA records is not known",
				host);
		finding_remedy(finding, "%s: ask again: dig %s TLSA",
			       answer ? answer->error : "not asked", name);
	} else if (record_of(answer, DNS_TLSA, 0)) {
		judge_all(facts, name, answer, finding);
	} else if (*record_cname(answer)) {
		check_not_known(facts, finding,
				"%s leads to %s, which was not asked", name,
				record_cname(answer));
		finding_remedy(finding,
			       "compare it with the certificate: "
			       "dig %s TLSA",
			       name);
	} else {
		finding_set(finding, VERDICT_PASS, "%s has no TLSA record",
			    host);
	}
}

/* dane-standby */

static void judge_mx(const struct facts *facts, const char *domain,
		     const char *mx, struct tally *tally)
{
	const struct record_answer *answer;
	char name[DNS_NAME];

	survey_tlsa_name(mx, name);
	answer = records_get(facts->records, name, DNS_TLSA);
	json_add(tally->evidence, record_json(answer, name, DNS_TLSA));
	if (!answer || !answer->answered)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("whether %s has inbound DANE is not known",
				     domain),
			  mem_printf("%s: ask again: dig %s TLSA",
				     answer ? answer->error : "not asked",
				     name));
	else if (record_of(answer, DNS_TLSA, 0))
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s has inbound DANE (%s), which knows no "
				     "secondary MX",
				     domain, mx),
			  mem_printf("use the strategy park, or turn it off "
				     "in time: Disable-SmtpDaneInbound "
				     "-DomainName %s",
				     domain));
}

void check_dane_standby(const struct facts *facts, enum gate gate,
			struct finding *finding)
{
	const struct plan *plan = facts->plan;
	struct tally tally;

	tally_init(&tally);
	if (plan->strategy != STRATEGY_STANDBY)
		json_add(tally.evidence, json_new_text("strategy: park"));
	for (size_t d = 0;
	     plan->strategy == STRATEGY_STANDBY && d < plan->domain_count; d++)
		for (int s = 0; s < (plan->plain ? 1 : 2); s++) {
			const struct plan_strings *mx =
				&plan->domains[d].systems[s].mx;

			for (size_t i = 0; i < mx->count; i++)
				if (provider_may_have_dane(mx->at[i]))
					judge_mx(facts, plan->domains[d].name,
						 mx->at[i], &tally);
		}
	tally_end(&tally, finding,
		  plan->strategy == STRATEGY_STANDBY ?
			  "no domain with inbound DANE stands beside the "
			  "queue" :
			  "in a parked plan the queue is the only MX");
	check_excuse(facts, finding);
}
