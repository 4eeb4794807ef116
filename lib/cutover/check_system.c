#include "cutover/check_parts.h"
#include "cutover/survey_tlsa.h"

enum {
	GOOD_MIN = 3
};

/* Exchange Online defers with these for as long as the tenant is not ready. */
static bool is_not_ready(const struct smtp_reply *reply)
{
	return strcmp(reply->enhanced, "4.4.4") == 0 ||
	       strcmp(reply->enhanced, "4.4.62") == 0;
}

struct ask {
	const struct facts *facts;
	const struct plan_domain *domain;
	const struct plan_system *system;
	const struct facts_domain *known;
	int id;
	const char *way; /* what a no means for the operator */
};

static void say_reply(const struct ask *ask, const struct probe_result *probe,
		      const char *asked, enum smtp_stage stage,
		      const struct smtp_reply *reply, struct tally *tally)
{
	bool no = reply->code >= 500 || is_not_ready(reply);
	struct reply_meaning meaning =
		provider_reply(ask->system->provider, stage, reply);
	char code[SMTP_REPLY_CODE];

	/* Its text may hold a time or a queue's id. */
	smtp_reply_code(reply, code);
	tally_add(tally, no ? VERDICT_FAIL : VERDICT_UNKNOWN,
		  mem_printf("%s: %s %s with %s", asked, probe->target,
			     no ? "refuses" : "defers", code),
		  mem_printf("%s answered %s %s: %s%s%s", probe->target, code,
			     reply->text, meaning.remedy,
			     no && *ask->way ? "; " : "", no ? ask->way : ""));
}

/* The session did not get as far as the recipients. */
static void say_unhealthy(const struct ask *ask,
			  const struct probe_result *probe, struct tally *tally)
{
	if (probe->greeting.code >= 500) {
		say_reply(ask, probe, ask->domain->name, SMTP_STAGE_GREETING,
			  &probe->greeting, tally);
		return;
	}
	if (probe->ended.code >= 400) {
		say_reply(ask, probe, ask->domain->name, probe->stage,
			  &probe->ended, tally);
		return;
	}
	tally_add(tally, VERDICT_UNKNOWN,
		  mem_printf("%s: %s could not be asked", ask->domain->name,
			     probe->target),
		  mem_printf("%s: %s; let the queue's IP reach it",
			     probe->target, probe->error));
}

/* As a delivery will see it, but for names that DANE-TA must find. */
static void judge_dane(const struct ask *ask, const struct probe_result *probe,
		       struct tally *tally)
{
	const struct record_answer *answer;
	struct tlsa_count count;
	char name[DNS_NAME];

	survey_tlsa_of(ask->system, name);
	answer = records_get(ask->facts->records, name, DNS_TLSA);
	json_add(tally->evidence, record_json(answer, name, DNS_TLSA));
	count = check_count_tlsa(answer, &probe->chain);
	if (!answer || !answer->answered)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: %s is not known, and replay.tls is "
				     "dane",
				     ask->domain->name, name),
			  mem_printf("%s: let a resolver on this machine "
				     "validate it, and ask again",
				     answer ? answer->error : "not asked"));
	else if (!answer->answer.ad)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: nobody vouches for %s, and "
				     "replay.tls is dane",
				     ask->domain->name, name),
			  mem_printf("sign its zone, or set replay.tls to "
				     "verified"));
	else if (count.all == 0)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: %s has no TLSA, and replay.tls is "
				     "dane",
				     ask->domain->name, name),
			  mem_printf("publish it, or set replay.tls to "
				     "verified"));
	else if (count.usable == 0)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: no TLSA of %s is of use: mail goes "
				     "encrypted, and to whoever answers",
				     ask->domain->name, name),
			  mem_printf("publish a record 3 1 1 (RFC 7672 section "
				     "3.1)"));
	else if (count.matching == 0)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: no TLSA of %s matches the "
				     "certificate of %s",
				     ask->domain->name, name, probe->target),
			  mem_printf("repair the certificate or the record"));
}

/* A delivery keeps to a policy that lists its host, whatever the plan says. */
static bool policy_demands(const struct ask *ask)
{
	const struct mta_sts *policy = ask->known->sts.policy;

	return policy && policy->mode == MTA_STS_ENFORCE &&
	       mta_sts_lists(policy, plan_deliver_host(ask->system));
}

static bool greets_as(const struct probe_result *probe, struct slice name)
{
	struct slice text = slice(probe->greeting.text);

	return name.len > 0 && probe->greeting.code / 100 == 2 &&
	       slice_equal_nocase(slice_split(&text, ' '), name);
}

/*
 * deliver_to may be a name that follows the domain's MX, which is the queue by
 * now: its mail would go round in a circle.
 */
static bool is_ourselves(const struct facts *facts,
			 const struct probe_result *probe)
{
	for (size_t i = 0; i < facts->listener_count; i++) {
		const struct facts_listener *ours = &facts->listeners[i];
		struct slice greeting = slice(ours->probe.greeting.text);

		if (ours->probed &&
		    greets_as(probe, slice_split(&greeting, ' ')))
			return true;
	}
	return greets_as(probe, slice(facts->plan->queue_mx.host));
}

static void judge_tls(const struct ask *ask, const struct probe_result *probe,
		      struct tally *tally)
{
	enum plan_tls wants = ask->facts->plan->replay.tls;
	bool policy = wants != PLAN_TLS_DANE && policy_demands(ask);
	const char *who = policy ? "its MTA-STS policy" : "replay.tls";

	if (wants == PLAN_TLS_OPPORTUNISTIC && !policy)
		return;
	if (!probe->tls.active)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: %s does not do STARTTLS, which "
				     "%s requires",
				     ask->domain->name, probe->target, who),
			  mem_printf("turn on STARTTLS at %s", probe->target));
	else if (wants == PLAN_TLS_DANE)
		judge_dane(ask, probe, tally);
	else if ((policy || wants == PLAN_TLS_VERIFIED) && !probe->tls.trusted)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the certificate of %s is not "
				     "trusted, which %s requires",
				     ask->domain->name, probe->target, who),
			  mem_printf("%s: %s; install a certificate for that "
				     "name%s",
				     probe->target, probe->tls.verdict,
				     policy ? "" :
					      ", or set replay.tls to "
					      "required"));
}

static void judge_random(const struct ask *ask,
			 const struct probe_result *probe,
			 const struct smtp_reply *reply, struct tally *tally)
{
	if (reply->code >= 500)
		return;
	tally_add(tally, VERDICT_WARN,
		  mem_printf("%s: %s %s an address that nobody has",
			     ask->domain->name, probe->target,
			     reply->code / 100 == 2 ? "accepts" :
						      "does not refuse"),
		  mem_printf("so its yes proves little: look at a canary, and "
			     "whether a catch-all is meant at %s",
			     probe->target));
}

/* Whether it accepted all that exist. */
static bool judge_recipients(const struct ask *ask,
			     const struct probe_result *probe,
			     struct tally *tally)
{
	size_t real = 0, good = 0;

	for (size_t i = 0; i < probe->rcpt_count; i++) {
		const struct probe_rcpt *rcpt = &probe->rcpt[i];

		if (rcpt->random) {
			judge_random(ask, probe, &rcpt->reply, tally);
			continue;
		}
		real++;
		if (rcpt->reply.code / 100 == 2)
			good++;
		else
			say_reply(ask, probe, rcpt->address, SMTP_STAGE_RCPT,
				  &rcpt->reply, tally);
	}
	if (real == 0)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: no recipient was asked about",
				     ask->domain->name),
			  mem_printf("name one in probe.recipients"));
	return real > 0 && good == real;
}

/* For how long: a clock that was set ahead makes no row longer. */
static int64_t good_for_ms(const struct ask *ask)
{
	const struct facts_domain *known = ask->known;
	int64_t by_wall = known->systems[ask->id].good_last_ms -
			  known->systems[ask->id].good_since_ms;
	int64_t by_boot = known->systems[ask->id].good_last_boot_ms -
			  known->systems[ask->id].good_since_boot_ms;

	return by_boot < by_wall ? by_boot : by_wall;
}

/* One yes may come from the one front end that is ready. */
static void judge_series(const struct ask *ask, struct tally *tally)
{
	int64_t span = ask->facts->plan->timing.rcpt_probe_span;
	unsigned count = ask->known->systems[ask->id].good_count;
	int64_t left = span - (count > 0 ? good_for_ms(ask) : 0);
	char want[CLOCK_TEXT], when[CLOCK_TEXT];

	if (count >= GOOD_MIN && left <= 0)
		return;
	clock_format_duration(span, want);
	check_time(ask->facts->now.wall_ms + left, when);
	tally_add(tally, VERDICT_UNKNOWN,
		  mem_printf("%s: not yet accepted %d times over %s",
			     ask->domain->name, GOOD_MIN, want),
		  mem_printf("%u good so far; ask again at %s", count, when));
}

static void add_evidence(const struct ask *ask, struct tally *tally)
{
	struct json *json = json_object();

	json_put_text(json, "domain", ask->domain->name);
	json_put(json, "probe",
		 ask->known->systems[ask->id].probed ?
			 probe_json(&ask->known->systems[ask->id].probe) :
			 NULL);
	json_put_number(json, "good_count",
			ask->known->systems[ask->id].good_count);
	json_put_time(json, "good_since",
		      ask->known->systems[ask->id].good_since_ms);
	json_put_time(json, "good_last",
		      ask->known->systems[ask->id].good_last_ms);
	json_add(tally->evidence, json);
}

/* The same questions to either system; only the new one must say yes for a
 * while, as it is the one that just learned the domain. */
static void judge_system(const struct facts *facts, int id, const char *way,
			 struct tally *tally)
{
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		struct ask ask = {
			.facts = facts,
			.domain = &facts->plan->domains[i],
			.system = &facts->plan->domains[i].systems[id],
			.known = &facts->domains[i],
			.id = id,
			.way = way,
		};
		const struct probe_result *probe =
			&ask.known->systems[id].probe;
		bool good = true;

		add_evidence(&ask, tally);
		if (!ask.known->systems[id].probed) {
			tally_add(tally, VERDICT_UNKNOWN,
				  mem_printf("%s: the %s system was not asked",
					     ask.domain->name,
					     id == SYSTEM_NEW ? "new" : "old"),
				  mem_printf("ask again"));
			continue;
		}
		if (is_ourselves(facts, probe)) {
			tally_add(tally, VERDICT_FAIL,
				  mem_printf("%s: %s is the queue itself",
					     ask.domain->name, probe->target),
				  mem_printf("write a host of that system "
					     "into deliver_to, not what "
					     "follows the domain's MX"));
			continue;
		}
		if (probe->rcpt_count > 0 && probe->rcpt[0].reply.code > 0) {
			judge_tls(&ask, probe, tally);
			good = judge_recipients(&ask, probe, tally);
		} else if (!probe->healthy) {
			say_unhealthy(&ask, probe, tally);
			continue;
		}
		/* Its no says enough. */
		if (id == SYSTEM_NEW && good)
			judge_series(&ask, tally);
	}
}

static bool took_probe(const struct facts_domain *domain)
{
	const struct probe_result *probe = &domain->systems[SYSTEM_NEW].probe;

	for (size_t i = 0; i < probe->rcpt_count; i++)
		if (!probe->rcpt[i].random &&
		    probe->rcpt[i].reply.code / 100 != 2)
			return false;
	return domain->systems[SYSTEM_NEW].probed;
}

/*
 * A few whom the plan lists, beside those that it names for probes, which may be
 * the postmaster alone: every system knows that one.  Where its probe fails that
 * says enough.
 */
static void judge_taken(const struct facts *facts, size_t at,
			struct tally *tally)
{
	const struct facts_listed *listed = &facts->domains[at].listed;
	const char *name = facts->plan->domains[at].name;
	struct buf names = BUF_INIT;

	if (!took_probe(&facts->domains[at]))
		return;
	json_add(tally->evidence, check_listed_json(facts, at));
	check_listed_names(listed, &names);
	if (!listed->asked || listed->system != SYSTEM_NEW ||
	    listed->accepted + listed->refused < listed->sampled)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: the new system did not answer about "
				     "every listed recipient that was asked",
				     name),
			  mem_printf("%zu of %zu were accepted: ask again",
				     listed->accepted, listed->sampled));
	if (listed->system == SYSTEM_NEW && listed->refused > 0)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the new system refuses listed "
				     "recipients",
				     name),
			  mem_printf("give them their addresses there, or take "
				     "them off the list; of %zu asked it "
				     "refuses %zu: %s",
				     listed->sampled, listed->refused,
				     buf_text(&names)));
	buf_release(&names);
}

void check_rcpt_probe(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	judge_system(facts, SYSTEM_NEW, "the tenant is not ready", &tally);
	/* All along nobody is asked about so many. */
	for (size_t i = 0;
	     gate == GATE_FINISH && facts->plan->recipients.listed &&
	     i < facts->plan->domain_count;
	     i++)
		judge_taken(facts, i, &tally);
	tally_end(&tally, finding,
		  "the new system accepts its recipients and "
		  "refuses an address that nobody has");
}

void check_rollback_target(const struct facts *facts, enum gate gate,
			   struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	judge_system(facts, SYSTEM_OLD,
		     "if the domain is detached there: stay "
		     "parked, or attach it again",
		     &tally);
	tally_end(&tally, finding,
		  "the old system accepts its recipients and "
		  "refuses an address that nobody has");
}

/* One answer to one way of asking for a foreign mailbox. */
static void judge_relay(const struct probe_result *probe,
			const struct probe_rcpt *rcpt, struct tally *tally)
{
	int code = rcpt->reply.code;

	if (code / 100 == 5)
		return;
	if (code / 100 == 2)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s accepts mail for a foreign domain, as "
				     "<%s>",
				     probe->target, rcpt->address),
			  mem_printf("something else than tideoverd listens "
				     "at %s, or it is broken: RCPT TO:<%s> was "
				     "answered %d %s",
				     probe->target, rcpt->address, code,
				     rcpt->reply.text));
	else if (code == 0)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("the queue at %s gave no answer about "
				     "<%s>",
				     probe->target, rcpt->address),
			  mem_printf("%s: %s", probe->target,
				     probe->error[0] ? probe->error :
						       "no reply"));
	else
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s neither accepts nor refuses mail for "
				     "a foreign domain, as <%s>",
				     probe->target, rcpt->address),
			  mem_printf("it answered %d %s: ask again", code,
				     rcpt->reply.text));
}

void check_no_open_relay(const struct facts *facts, enum gate gate,
			 struct finding *finding)
{
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < facts->listener_count; i++) {
		const struct facts_listener *listener = &facts->listeners[i];
		const struct probe_result *probe = &listener->probe;

		if (!listener->probed || probe->rcpt_count == 0) {
			tally_add(
				&tally, VERDICT_UNKNOWN,
				mem_printf("the queue's listener %s was not "
					   "asked",
					   facts->plan->queue_mx.listen.at[i]),
				mem_dup("ask again while tideoverd runs: it "
					"is judged against the live "
					"listener"));
			continue;
		}
		json_add(tally.evidence, probe_json(probe));
		for (size_t r = 0; r < probe->rcpt_count; r++)
			judge_relay(probe, &probe->rcpt[r], &tally);
	}
	tally_end(&tally, finding,
		  "every listener refuses mail for foreign domains, in each "
		  "of the ways that it is asked for");
}
