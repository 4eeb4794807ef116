#include "cutover/check.h"
#include "cutover/check_parts.h"
#include "net/addr.h"
#include <stdlib.h>

/* A waiver is for tonight, not for the next migration. */
#define WAIVER_MS ((int64_t)24 * 3600 * 1000)
/* A finding names a few culprits; the evidence names all. */
enum {
	SENTENCES_MAX = 4
};

#define P GATE_PLAN
#define S GATE_START
#define D GATE_DETACH
#define F GATE_FINISH
#define C GATE_CLOSE
#define R GATE_ROLLBACK
#define W GATE_WATCHED

/* id, title, gates, waivable, plain standby too, function */
const struct check checks[] = {
	{ "dns-authority",
	  "every authoritative server answers, with one serial", P | S | W,
	  true, true, check_dns_authority },
	{ "mx-baseline", "the MX set is what the plan calls old", P, true, true,
	  check_mx_baseline },
	{ "mx-sanity", "every MX names a host with an address", P | S | F, true,
	  true, check_mx_sanity },
	{ "ttl-lowered", "the MX records have the plan's low TTL", P, true,
	  false, check_ttl_lowered },
	{ "ttl-elapsed",
	  "the low TTL has been served for longer than the old one", S, true,
	  false, check_ttl_elapsed },
	{ "mx-horizon", "no cache can hold the other MX set any more",
	  D | C | W, false, true, check_mx_horizon },
	{ "negative-cache", "negative answers are not cached for long", P, true,
	  true, check_negative_cache },
	{ "dnssec", "the zone is signed validly, or unsigned", P | F | C | W,
	  true, true, check_dnssec },
	{ "mta-sts-union", "the MTA-STS policy lists old, queue and new",
	  P | S | F | C, true, true, check_mta_sts_union },
	{ "queue-cert", "the queue's certificate is trusted and names it",
	  P | S | W, true, true, check_queue_cert },
	{ "queue-tlsa", "the queue's TLSA records match its certificate",
	  P | S | W, true, true, check_queue_tlsa },
	{ "dane-standby", "no secondary MX beside inbound DANE", P, true, true,
	  check_dane_standby },
	{ "caa", "CAA permits the queue's certificate authority", P, true, true,
	  check_caa },
	{ "queue-identity", "PTR, forward and HELO name of the queue agree",
	  P | S, true, true, check_queue_identity },
	{ "queue-reachable", "port 25 of the queue can be reached from outside",
	  P | S | W, true, true, check_queue_reachable },
	{ "no-open-relay", "the queue refuses mail for foreign domains", S | W,
	  false, true, check_no_open_relay },
	{ "queue-capacity", "there is room for the mail of the gap", P | S | W,
	  true, true, check_queue_capacity },
	{ "daemon-supervised", "something restarts tideoverd", S | W, true,
	  true, check_daemon_supervised },
	{ "clock", "the clock is right: times are evidence", P | S, true, true,
	  check_clock },
	{ "recipients",
	  "the list of recipients is fresh, and the same in both systems",
	  P | S | F, true, true, check_recipients },
	{ "recipients-proven",
	  "refusing unknown recipients refuses nobody real", S, true, true,
	  check_recipients_proven },
	{ "source-blockers",
	  "nothing in the old tenant still refers to the domain", P | S, true,
	  false, check_source_blockers },
	{ "verify-txt", "the new tenant's verification record is published",
	  P | S, true, false, check_verify_txt },
	{ "target-trust", "the new system trusts what the queue replays",
	  P | S | F, true, false, check_target_trust },
	{ "canary-initial",
	  "a message through the queue reaches the new tenant", S, true, false,
	  check_canary_initial },
	{ "parked", "the queue is the only MX everywhere", D | W, true, false,
	  check_parked },
	{ "straggler-rate", "no mail arrives at the old system any more", D | W,
	  true, false, check_straggler_rate },
	{ "detach-safe",
	  "mx-horizon, parked and straggler-rate passed just now", D, true,
	  false, check_detach_safe },
	{ "domain-verified", "the new tenant has the domain, enabled for mail",
	  F | W, true, false, check_domain_verified },
	{ "accepted-type",
	  "the new tenant accepts mail for the domain's recipients", F | W,
	  true, false, check_accepted_type },
	{ "rcpt-probe", "the new system accepts its recipients, and only them",
	  F | W, true, false, check_rcpt_probe },
	{ "canary-domain", "a message to sampled mailboxes arrives", F, true,
	  false, check_canary_domain },
	{ "ramp", "the first stages of the release are not refused", W, true,
	  false, check_ramp },
	{ "pacing", "the replay stays below the provider's limits", W, true,
	  true, check_pacing },
	{ "retention-clock", "no message nears the end of its retention", W,
	  true, true, check_retention_clock },
	{ "mx-not-old", "the old MX is gone before the release", F, true, false,
	  check_mx_not_old },
	{ "mx-final", "the MX set is the one to stay", C, true, true,
	  check_mx_final },
	{ "spf", "one SPF record, with the new system's include", P | C, true,
	  false, check_spf },
	{ "dkim", "the DKIM selectors point at the new tenant", C, true, false,
	  check_dkim },
	{ "dmarc", "one valid DMARC record", P | C, true, false, check_dmarc },
	{ "tls-rpt", "TLS reports go outside of the moving domain", P, true,
	  false, check_tls_rpt },
	{ "autodiscover", "autodiscover leads to the new system", C, true,
	  false, check_autodiscover },
	{ "standby-health", "the primary refuses connections during a window",
	  S | W, true, true, check_standby_health },
	{ "ledger-balance", "every accepted envelope is accounted for", C | W,
	  false, true, check_ledger_balance },
	{ "stragglers-end", "no mail arrives at the queue any more", C | W,
	  true, true, check_stragglers_end },
	{ "held-empty", "no envelope is held or waiting", C, true, true,
	  check_held_empty },
	{ "rollback-target",
	  "the old system accepts its recipients, and only them", R, true,
	  false, check_rollback_target },
	{ "signoff", "waivers and exceptions are approved", C, true, true,
	  check_signoff },
	{ NULL, NULL, 0, false, false, NULL },
};

#undef P
#undef S
#undef D
#undef F
#undef C
#undef R
#undef W

static const struct {
	enum gate gate;
	const char *name;
} gates[] = {
	{ GATE_PLAN, "plan" },	   { GATE_START, "start" },
	{ GATE_DETACH, "detach" }, { GATE_FINISH, "finish" },
	{ GATE_CLOSE, "close" },   { GATE_ROLLBACK, "rollback" },
};

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[] = {
		[VERDICT_PASS] = "pass",     [VERDICT_WARN] = "warn",
		[VERDICT_FAIL] = "fail",     [VERDICT_UNKNOWN] = "unknown",
		[VERDICT_WAIVED] = "waived",
	};

	return names[verdict];
}

const char *gate_name(enum gate gate)
{
	for (size_t i = 0; i < COUNT(gates); i++)
		if (gates[i].gate == gate)
			return gates[i].name;
	return "watched";
}

bool gate_parse(const char *name, enum gate *gate)
{
	for (size_t i = 0; name && i < COUNT(gates); i++) {
		if (strcmp(gates[i].name, name) == 0) {
			*gate = gates[i].gate;
			return true;
		}
	}
	return false;
}

const char *check_waive_gate(const struct check *check, enum gate gate)
{
	if (gate != GATE_PLAN && gate != (enum gate)GATE_WATCHED)
		return gate_name(gate);
	for (size_t i = 0; i < COUNT(gates); i++)
		if (gates[i].gate != GATE_PLAN &&
		    (check->when & (unsigned)gates[i].gate))
			return gates[i].name;
	return gate_name(GATE_PLAN);
}

char *check_attest_command(const struct check *check, enum gate gate)
{
	return mem_printf("%stideover waive PLAN %s --gate %s --attest --by "
			  "NAME --reason \"what was seen, when\"",
			  gate == GATE_PLAN ? "after the start, " : "",
			  check->id, check_waive_gate(check, gate));
}

const struct check *check_find(const char *id)
{
	for (const struct check *check = checks; id && check->id; check++)
		if (strcmp(check->id, id) == 0)
			return check;
	return NULL;
}

/* Findings. */

void finding_set(struct finding *finding, enum verdict verdict,
		 const char *format, ...)
{
	struct buf text = BUF_INIT;
	va_list args;

	va_start(args, format);
	buf_vaddf(&text, format, args);
	va_end(args);
	mem_replace(&finding->summary, buf_text(&text));
	finding->verdict = verdict;
	buf_release(&text);
}

void finding_remedy(struct finding *finding, const char *format, ...)
{
	struct buf text = BUF_INIT;
	va_list args;

	va_start(args, format);
	buf_vaddf(&text, format, args);
	va_end(args);
	mem_replace(&finding->remedy, buf_text(&text));
	buf_release(&text);
}

void finding_clear(struct finding *finding)
{
	free(finding->summary);
	free(finding->remedy);
	free(finding->waived_by);
	free(finding->waived_reason);
	free(finding->blocks);
	json_free(finding->evidence);
}

static enum verdict before_waiver(const struct finding *finding)
{
	return finding->verdict == VERDICT_WAIVED ? finding->before_waiver :
						    finding->verdict;
}

void finding_fingerprint(const struct finding *finding, char text[DIGEST_TEXT])
{
	unsigned char digest[DIGEST_LEN];
	struct buf whole = BUF_INIT;

	buf_addf(&whole, "%s\n%s\n%s", finding->check->id,
		 verdict_name(before_waiver(finding)),
		 finding->blocks ? finding->blocks : finding->summary);
	digest_sha256(buf_slice(&whole), digest);
	digest_text(digest, text);
	buf_release(&whole);
}

bool finding_blocks(const struct finding *finding)
{
	return finding->verdict == VERDICT_FAIL ||
	       finding->verdict == VERDICT_UNKNOWN;
}

int check_waivable(const struct finding *finding, struct err *err)
{
	const struct check *check = finding->check;
	enum verdict verdict = before_waiver(finding);

	if (verdict == VERDICT_PASS || verdict == VERDICT_WARN)
		return err_set(err,
			       "%s does not block (%s): there is nothing "
			       "to waive",
			       check->id, verdict_name(verdict));
	if (!check->waivable)
		return err_set(err, "%s is never waived: %s", check->id,
			       *finding->remedy ? finding->remedy :
						  finding->summary);
	/* Without space the queue refuses mail, whoever signs for it. */
	if (verdict == VERDICT_FAIL && strcmp(check->id, "queue-capacity") == 0)
		return err_set(err,
			       "a failing queue-capacity is never "
			       "waived: %s",
			       finding->remedy);
	return 0;
}

static int check_attestable(const struct finding *finding, struct err *err)
{
	enum verdict verdict = before_waiver(finding);

	if (verdict == VERDICT_WARN)
		return 0;
	if (verdict == VERDICT_FAIL && finding->check->waivable)
		return err_set(err,
			       "%s is known, and fails: %s; what is attested "
			       "answers what is not known: to let the gate "
			       "pass all the same, waive it without --attest",
			       finding->check->id, finding->summary);
	return check_waivable(finding, err);
}

int waiver_may(const struct waiver *waiver, const struct finding *finding,
	       struct err *err)
{
	return waiver->attest ? check_attestable(finding, err) :
				check_waivable(finding, err);
}

/* Gates. */

static bool waiver_fits(const struct waiver *waiver, enum gate gate,
			const struct finding *finding, const char *fingerprint,
			int64_t now_ms)
{
	int64_t age_ms = now_ms - waiver->at_ms;

	return waiver->gate == gate && age_ms >= 0 && age_ms < WAIVER_MS &&
	       strcmp(waiver->check, finding->check->id) == 0 &&
	       strcmp(waiver->fingerprint, fingerprint) == 0;
}

static void apply_waivers(const struct facts *facts, enum gate gate,
			  const struct waiver *waivers, size_t count,
			  struct finding *finding)
{
	char fingerprint[DIGEST_TEXT];

	if (finding->verdict == VERDICT_PASS)
		return;
	finding_fingerprint(finding, fingerprint);
	for (size_t i = count; i-- > 0;) {
		if (!waiver_fits(&waivers[i], gate, finding, fingerprint,
				 facts->now.wall_ms) ||
		    waiver_may(&waivers[i], finding, NULL) < 0)
			continue;
		finding->before_waiver = finding->verdict;
		finding->verdict = VERDICT_WAIVED;
		finding->waived_by = mem_dup(waivers[i].by);
		finding->waived_reason = mem_dup(waivers[i].reason);
		return;
	}
}

/* A command in a remedy can be run as it is printed: PLAN is this one. */
static void name_plan(const struct plan *plan, struct finding *finding)
{
	const char *rest = finding->remedy, *word;
	struct buf out = BUF_INIT;

	while ((word = strstr(rest, " PLAN"))) {
		buf_addf(&out, "%.*s %s", (int)(word - rest), rest, plan->name);
		rest = word + strlen(" PLAN");
	}
	buf_adds(&out, rest);
	free(finding->remedy);
	finding->remedy = buf_take(&out);
}

static void ask(const struct check *check, const struct facts *facts,
		enum gate gate, struct finding *finding)
{
	*finding = (struct finding){ .check = check };
	check->run(facts, gate, finding);
	if (!finding->remedy)
		finding->remedy = mem_dup("");
	name_plan(facts->plan, finding);
	if (!finding->evidence)
		finding->evidence = json_array();
}

void check_gate(const struct facts *facts, enum gate gate, const char *only,
		const struct waiver *waivers, size_t waiver_count,
		struct findings *findings)
{
	*findings = (struct findings){
		.at = mem_alloc(COUNT(checks) * sizeof(*findings->at)),
		.gate = gate,
		.open = true,
		.at_ms = facts->now.wall_ms,
		.asked = facts->asked ? json_copy(facts->asked) : NULL,
	};
	for (const struct check *check = checks; check->id; check++) {
		struct finding *finding = &findings->at[findings->count];

		if (!(check->when & (unsigned)gate) ||
		    (facts->plan->plain && !check->plain) ||
		    (only && strcmp(only, check->id) != 0))
			continue;
		ask(check, facts, gate, finding);
		apply_waivers(facts, gate, waivers, waiver_count, finding);
		if (finding_blocks(finding))
			findings->open = false;
		findings->count++;
	}
	/* Nothing asked is nothing known. */
	if (findings->count == 0)
		findings->open = false;
}

void findings_release(struct findings *findings)
{
	for (size_t i = 0; i < findings->count; i++)
		finding_clear(&findings->at[i]);
	free(findings->at);
	json_free(findings->asked);
	*findings = (struct findings){ 0 };
}

struct json *finding_json(const struct finding *finding)
{
	struct json *json = json_object();

	json_put_text(json, "check", finding->check->id);
	json_put_text(json, "title", finding->check->title);
	json_put_text(json, "verdict", verdict_name(finding->verdict));
	json_put_text(json, "summary", finding->summary);
	json_put_text(json, "remedy", finding->remedy);
	json_put(json, "evidence", json_copy(finding->evidence));
	json_put_bool(json, "waivable", check_waivable(finding, NULL) == 0);
	json_put_text(json, "waived_by", finding->waived_by);
	json_put_text(json, "waived_reason", finding->waived_reason);
	if (finding->verdict == VERDICT_WAIVED)
		json_put_text(json, "before_waiver",
			      verdict_name(finding->before_waiver));
	return json;
}

struct json *findings_json(const struct findings *findings)
{
	struct json *json = json_object(), *all = json_array();
	struct json *blocking = json_array();

	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->at[i];

		json_add(all, finding_json(finding));
		if (finding_blocks(finding))
			json_add_text(blocking, finding->check->id);
	}
	json_put_text(json, "gate", gate_name(findings->gate));
	json_put_bool(json, "open", findings->open);
	json_put_time(json, "at", findings->at_ms);
	json_put(json, "findings", all);
	json_put(json, "blocking", blocking);
	json_put(json, "asked",
		 findings->asked ? json_copy(findings->asked) : NULL);
	return json;
}

/* What is not known. */

bool check_is_public(const struct plan *plan)
{
	for (size_t i = 0; i < plan->queue_mx.listen.count; i++) {
		struct addr addr;

		if (addr_parse(slice(plan->queue_mx.listen.at[i]), 25, &addr,
			       NULL) < 0 ||
		    !addr_is_loopback(&addr))
			return true;
	}
	return plan->queue_mx.listen.count == 0;
}

void check_not_known(const struct facts *facts, struct finding *finding,
		     const char *format, ...)
{
	struct buf text = BUF_INIT;
	va_list args;

	va_start(args, format);
	buf_vaddf(&text, format, args);
	va_end(args);
	finding_set(finding, VERDICT_UNKNOWN, "%s", buf_text(&text));
	buf_release(&text);
	check_excuse(facts, finding);
}

void check_excuse(const struct facts *facts, struct finding *finding)
{
	char *known;

	if (finding->verdict != VERDICT_UNKNOWN || !facts->plan->rehearsal)
		return;
	known = finding->summary;
	finding->summary = NULL;
	finding_set(finding, VERDICT_WARN,
		    "%s; in a rehearsal that is no matter", known);
	free(known);
}

/* Tallies. */

static unsigned badness(enum verdict verdict)
{
	static const unsigned of[] = {
		[VERDICT_PASS] = 0,    [VERDICT_WAIVED] = 0, [VERDICT_WARN] = 1,
		[VERDICT_UNKNOWN] = 2, [VERDICT_FAIL] = 3,
	};

	return of[verdict];
}

void tally_init(struct tally *tally)
{
	*tally = (struct tally){ .evidence = json_array() };
}

void tally_add(struct tally *tally, enum verdict verdict, char *summary,
	       char *remedy)
{
	if (verdict == VERDICT_FAIL || verdict == VERDICT_UNKNOWN)
		buf_addf(&tally->blocks, "%s %s\n", verdict_name(verdict),
			 summary);
	if (verdict == VERDICT_UNKNOWN && tally->unknown++ < SENTENCES_MAX)
		buf_addf(&tally->unknowns, "; also not known: %s", summary);
	if (badness(verdict) > badness(tally->worst)) {
		buf_clear(&tally->summary);
		buf_clear(&tally->remedy);
		tally->said = 0;
		tally->worst = verdict;
	}
	if (verdict == tally->worst && tally->said++ < SENTENCES_MAX) {
		if (tally->summary.len > 0)
			buf_adds(&tally->summary, "; ");
		buf_adds(&tally->summary, summary);
		/* Several findings often have one remedy. */
		if (remedy && !(tally->remedy.len > 0 &&
				strstr(buf_text(&tally->remedy), remedy))) {
			if (tally->remedy.len > 0)
				buf_adds(&tally->remedy, "; ");
			buf_adds(&tally->remedy, remedy);
		}
	}
	free(summary);
	free(remedy);
}

/* Several listeners say the same once. */
void tally_finding(struct tally *tally, struct finding *part)
{
	bool said = part->verdict == tally->worst && tally->said > 0 &&
		    strcmp(buf_text(&tally->summary), part->summary) == 0;

	if (!said && part->verdict != VERDICT_PASS) {
		tally_add(tally, part->verdict, part->summary, part->remedy);
		part->summary = part->remedy = NULL;
	}
	finding_clear(part);
	*part = (struct finding){ .check = part->check };
}

void tally_end(struct tally *tally, struct finding *finding,
	       const char *all_well)
{
	if (tally->said > SENTENCES_MAX)
		buf_addf(&tally->summary, "; and %zu more",
			 tally->said - SENTENCES_MAX);
	finding_set(finding, tally->worst, "%s",
		    tally->summary.len > 0 ? buf_text(&tally->summary) :
					     all_well);
	/* Whoever waives a failure waives what is not known beside it. */
	finding_remedy(
		finding, "%s%s", buf_text(&tally->remedy),
		tally->worst == VERDICT_FAIL ? buf_text(&tally->unknowns) : "");
	finding->evidence = tally->evidence;
	if (tally->blocks.len > 0)
		finding->blocks = buf_take(&tally->blocks);
	buf_release(&tally->summary);
	buf_release(&tally->remedy);
	buf_release(&tally->unknowns);
}
