/* What must be right before the queue takes a message: the queue's certificate,
 * the MTA-STS policy. */

#include "cutover/check_parts.h"
#include <stdlib.h>

#define SECOND_MS  ((int64_t)1000)
#define DAY_MS	   (24 * 3600 * SECOND_MS)
#define EXPIRES_MS (30 * DAY_MS)
/* What renews by itself has done so by now. */
#define ALERT_MS (14 * DAY_MS)

/* The queue's certificate, as its listeners show it. */

/* One that was published before: until then somebody may enforce it. */
static int64_t held_until_ms(const struct sts_kept *kept)
{
	return kept->before && kept->before->mode == MTA_STS_ENFORCE ?
		       kept->before_ms + kept->before->max_age_s * SECOND_MS :
		       0;
}

static bool is_enforced(const struct facts *facts, bool *known)
{
	bool enforced = false;

	*known = true;
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const struct facts_sts *sts = &facts->domains[i].sts;

		if (!sts->asked || (sts->records > 0 && !sts->policy))
			*known = false;
		else if (sts->policy && sts->policy->mode == MTA_STS_ENFORCE)
			enforced = true;
		enforced |= held_until_ms(&sts->kept) > facts->now.wall_ms;
	}
	return enforced;
}

/* What is wrong costs TLS with senders that insist on it. */
static void cert_is_bad(const struct facts *facts, struct finding *finding,
			const char *what)
{
	bool known, enforced = is_enforced(facts, &known);

	if (enforced)
		finding_set(finding, VERDICT_FAIL,
			    "%s, and MTA-STS enforces it", what);
	else if (known)
		finding_set(finding, VERDICT_WARN, "%s", what);
	else
		check_not_known(facts, finding,
				"%s, and whether MTA-STS enforces it is not "
				"known",
				what);
	finding_remedy(finding,
		       "install the full chain for %s; senders with a policy "
		       "or TLSA refuse it as it is",
		       facts->plan->queue_mx.host);
}

static void judge_certificate(const struct facts *facts, enum gate gate,
			      const struct shown *shown,
			      struct finding *finding)
{
	const struct tls_info *tls = shown->tls;
	bool watched = gate == (enum gate)GATE_WATCHED;

	if (!shown->known) {
		finding_set(finding, VERDICT_UNKNOWN,
			    "a listener of the queue was not asked");
		finding_remedy(finding, "ask again while tideoverd runs");
	} else if (!tls->active) {
		cert_is_bad(facts, finding, "the queue does no STARTTLS");
	} else if (watched &&
		   tls->not_after_ms < facts->now.wall_ms + ALERT_MS) {
		/* Before its trust, which ends with it: that alone is a
		 * warning, and no alert. */
		finding_set(finding, VERDICT_FAIL,
			    tls->not_after_ms < facts->now.wall_ms ?
				    "the queue's certificate has ended, and "
				    "nobody renewed it" :
				    "the queue's certificate ends within 14 "
				    "days, and nobody renewed it");
		finding_remedy(finding, "renew it for %s",
			       facts->plan->queue_mx.host);
	} else if (!tls->trusted) {
		char *what =
			mem_printf("its certificate is not trusted for "
				   "%s: %s",
				   facts->plan->queue_mx.host, tls->verdict);

		cert_is_bad(facts, finding, what);
		free(what);
	} else if (tls->not_after_ms - facts->now.wall_ms < EXPIRES_MS) {
		finding_set(finding, VERDICT_WARN,
			    "the queue's certificate ends within 30 days");
		finding_remedy(finding, "renew it for %s",
			       facts->plan->queue_mx.host);
	} else {
		finding_set(finding, VERDICT_PASS,
			    "the queue's certificate is trusted and names it");
	}
}

void check_queue_cert(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	const char *why = facts->certificate.error;
	struct shown shown;
	struct tally tally;

	tally_init(&tally);
	if (!check_shown(facts, 0, &shown))
		tally_add(&tally, VERDICT_UNKNOWN,
			  mem_dup("the queue's listener was not asked"),
			  mem_dup(*why ? why :
				  facts->plan->queue_mx.certificate_file ?
					 "ask again while tideoverd runs" :
					 "name its certificate in the plan, "
					 "queue_mx.tls, or ask again while "
					 "tideoverd runs"));
	for (size_t i = 0; check_shown(facts, i, &shown); i++) {
		struct finding one = { .check = finding->check };

		json_add(tally.evidence, check_shown_json(facts, i));
		judge_certificate(facts, gate, &shown, &one);
		tally_finding(&tally, &one);
	}
	tally_end(&tally, finding,
		  "the queue's certificate is trusted and names it");
}

/* MTA-STS. */

static struct json *sts_json(const struct facts *facts, size_t at)
{
	const struct facts_sts *sts = &facts->domains[at].sts;
	struct json *json = json_object();
	char *name = mem_printf("_mta-sts.%s", facts->plan->domains[at].name);

	json_put(json, "record",
		 record_json(records_get(facts->records, name, DNS_TXT), name,
			     DNS_TXT));
	free(name);
	json_put_text(json, "domain", facts->plan->domains[at].name);
	json_put_text(json, "asked", "_mta-sts TXT, and the policy by HTTPS");
	json_put_text(json, "from", sts->from[0] ? sts->from : NULL);
	json_put_time(json, "at", sts->at_ms);
	json_put_number(json, "records", (double)sts->records);
	json_put_text(json, "id", sts->id[0] ? sts->id : NULL);
	json_put_text(json, "error", sts->error[0] ? sts->error : NULL);
	if (sts->policy) {
		struct json *mx = json_array();

		json_put_text(json, "mode",
			      mta_sts_mode_name(sts->policy->mode));
		json_put_number(json, "max_age",
				(double)sts->policy->max_age_s);
		for (size_t i = 0; i < sts->policy->mx_count; i++)
			json_add_text(mx, sts->policy->mx[i]);
		json_put(json, "mx", mx);
	}
	json_put(json, "kept", sts_kept_json(&sts->kept));
	return json;
}

static void add_unlisted(const struct mta_sts *policy, const char *host,
			 struct buf *names)
{
	if (!mta_sts_lists(policy, host) && !strstr(buf_text(names), host))
		buf_addf(names, "%s%s", names->len ? ", " : "", host);
}

/* Old, queue and new, as caches of the policy outlive every MX change. */
static void unlisted(const struct facts *facts, size_t at,
		     const struct mta_sts *policy, struct buf *names)
{
	const struct plan_domain *domain = &facts->plan->domains[at];

	add_unlisted(policy, facts->plan->queue_mx.host, names);
	for (int s = 0; s < (facts->plan->plain ? 1 : 2); s++)
		for (size_t i = 0; i < domain->systems[s].mx.count; i++)
			add_unlisted(policy, domain->systems[s].mx.at[i],
				     names);
}

/* What was published before, and senders may enforce yet. */
static void judge_before(const struct facts *facts, size_t at,
			 struct tally *tally)
{
	const struct sts_kept *kept = &facts->domains[at].sts.kept;
	const struct mta_sts *before = kept->before;
	const char *name = facts->plan->domains[at].name;
	struct buf names = BUF_INIT;
	int64_t until_ms = held_until_ms(kept);
	char when[CLOCK_TEXT];

	if (until_ms <= facts->now.wall_ms)
		return;
	unlisted(facts, at, before, &names);
	if (names.len > 0)
		tally_add(
			tally, VERDICT_FAIL,
			mem_printf("%s: senders may hold the policy of before, "
				   "which enforces and does not list %s",
				   name, buf_text(&names)),
			kept->policy ?
				mem_printf("bump the id of _mta-sts.%s: it "
					   "was left at '%s' when the policy "
					   "changed",
					   name, kept->id) :
				mem_printf("publish _mta-sts.%s again with "
					   "another id and a policy that "
					   "lists them, or wait until %s",
					   name, check_time(until_ms, when)));
	buf_release(&names);
}

static void judge_sts(const struct facts *facts, size_t at, struct tally *tally)
{
	const struct facts_sts *sts = &facts->domains[at].sts;
	const char *name = facts->plan->domains[at].name;
	struct buf names = BUF_INIT;

	json_add(tally->evidence, sts_json(facts, at));
	if (!sts->asked) {
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: whether it has a policy is not known",
				     name),
			  mem_printf("%s",
				     sts->error[0] ? sts->error : "ask again"));
		return;
	}
	judge_before(facts, at, tally);
	if (sts->records == 0)
		return;
	if (sts->records > 1) {
		/* RFC 8461 section 3.1: then there is none, for now. */
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: several _mta-sts records: senders "
				     "take none",
				     name),
			  mem_printf("leave one"));
		return;
	}
	if (!sts->policy) {
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the policy cannot be had", name),
			  mem_printf("senders that cached it enforce it: %s",
				     sts->error));
		return;
	}
	if (sts->policy->mode == MTA_STS_NONE)
		return;
	unlisted(facts, at, sts->policy, &names);
	if (names.len && sts->policy->mode == MTA_STS_ENFORCE)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the policy enforces and does not "
				     "list %s",
				     name, buf_text(&names)),
			  mem_printf("add an mx line for each, bump the id, "
				     "and wait for max_age (%lld s) before "
				     "the MX changes",
				     (long long)sts->policy->max_age_s));
	else if (names.len)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: the policy (testing) does not list "
				     "%s",
				     name, buf_text(&names)),
			  mem_printf("add an mx line for each and bump the "
				     "id"));
	else if (sts->policy->mode == MTA_STS_TESTING)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: the policy is in testing mode", name),
			  NULL);
	else if (!sts->kept.policy ||
		 facts->now.wall_ms - sts->kept.since_ms <
			 sts->policy->max_age_s * SECOND_MS)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: the policy is younger than its "
				     "max_age, as far as is known",
				     name),
			  mem_printf("senders may hold the one before it: "
				     "compare its id with the time of the "
				     "change"));
	buf_release(&names);
}

void check_mta_sts_union(const struct facts *facts, enum gate gate,
			 struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		judge_sts(facts, i, &tally);
	tally_end(&tally, finding,
		  "no MTA-STS policy, or it lists old, queue and new");
	check_excuse(facts, finding);
}
