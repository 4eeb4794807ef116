/* Messages of our own to the new system: canary-initial and canary-domain. */

#include "cutover/canary.h"
#include "cutover/check_parts.h"
#include <stdlib.h>

struct look {
	const struct facts *facts;
	enum gate gate;
	const char *check;
	bool initial;
	struct tally tally;
	struct buf accepted; /* which ones: an attestation is of these */
};

static const char *verb(const struct look *look)
{
	return look->gate == GATE_START ? "start" : "finish";
}

static char *send_now(const struct look *look)
{
	return mem_printf("tideover %s sends one; to look earlier: tideover "
			  "canary PLAN%s",
			  verb(look), look->initial ? " --initial" : "");
}

/* "550 5.4.1": without the text, which may hold a time or a queue's id. */
static char *code_of(const struct canary *canary)
{
	const char *enhanced = json_get_text(canary->reply, "enhanced");

	return mem_printf("%.0f%s%s", json_get_number(canary->reply, "code", 0),
			  enhanced && *enhanced ? " " : "",
			  enhanced ? enhanced : "");
}

static const char *reply_text(const struct canary *canary, const char *key)
{
	const char *text = json_get_text(canary->reply, key);

	return text ? text : "";
}

static void say_accepted(struct look *look, const struct canary *canary)
{
	char at[CLOCK_TEXT];

	buf_addf(&look->accepted, "%s %s\n", canary->address,
		 canary->accepted_id.text);
	tally_add(&look->tally, VERDICT_WARN,
		  mem_printf("%s accepted the canary to %s, and nobody has "
			     "said that it arrived",
			     canary->target, canary->address),
		  mem_printf("look into the inbox of %s (not junk) for the "
			     "canary of %s; then tideover waive PLAN %s --gate "
			     "%s --attest --by NAME --reason \"in the inbox "
			     "at HH:MM\"",
			     canary->address,
			     check_time(canary->accepted_ms, at), look->check,
			     gate_name(look->gate)));
}

/* What the target said, as a remedy begins. */
static char *answer_of(const struct canary *canary)
{
	bool refused = canary->state == CANARY_REFUSED;
	char *code = code_of(canary), *answer;

	if (json_get_number(canary->reply, "code", 0) > 0)
		answer = mem_printf("%s answered %s %s: %s", canary->target,
				    code, reply_text(canary, "text"),
				    reply_text(canary, "remedy"));
	else
		answer =
			mem_printf("%s, %s: %s%s%s", canary->target,
				   reply_text(canary, "stage"),
				   reply_text(canary, "text"),
				   refused ? ": " : "",
				   refused ? reply_text(canary, "remedy") : "");
	free(code);
	return answer;
}

static char *send_again(const struct look *look, const struct canary *canary)
{
	char *answer = answer_of(canary), *remedy;

	remedy = mem_printf("%s; tideover %s sends it again, a minute after "
			    "the last",
			    answer, verb(look));
	free(answer);
	return remedy;
}

static void say_refused(struct look *look, const struct canary *canary)
{
	char *code = code_of(canary);
	bool answered = json_get_number(canary->reply, "code", 0) > 0;

	tally_add(&look->tally, VERDICT_FAIL,
		  answered ? mem_printf("%s: %s refuses the canary with %s",
					canary->address, canary->target, code) :
			     mem_printf("%s: no canary goes to %s: its TLS is "
					"not what is demanded of it",
					canary->address, canary->target),
		  send_again(look, canary));
	free(code);
}

/* Put off, or without an answer; for long enough that is a no. */
static void say_deferred(struct look *look, const struct canary *canary)
{
	const struct plan_timing *timing = &look->facts->plan->timing;
	bool late = look->facts->now.wall_ms - canary->since_ms >=
		    timing->canary_wait;
	bool answered = json_get_number(canary->reply, "code", 0) > 0;
	char wait[CLOCK_TEXT], *code = code_of(canary), *none;

	clock_format_duration(timing->canary_wait, wait);
	none = late ? mem_printf(", and none was accepted in %s", wait) :
		      mem_dup("");
	tally_add(&look->tally, late ? VERDICT_FAIL : VERDICT_UNKNOWN,
		  answered ? mem_printf("%s: %s defers the canary with %s%s",
					canary->address, canary->target, code,
					none) :
			     mem_printf("%s: %s took no canary%s",
					canary->address, canary->target, none),
		  send_again(look, canary));
	free(code);
	free(none);
}

static void judge(struct look *look, const struct canary *canary)
{
	const struct plan *plan = look->facts->plan;
	char valid[CLOCK_TEXT];

	json_add(look->tally.evidence, canary_json(canary, plan));
	if (canary->state == CANARY_REFUSED) {
		say_refused(look, canary);
	} else if (canary_stands(canary, plan, look->facts->now.wall_ms)) {
		say_accepted(look, canary);
	} else if (canary->state == CANARY_NONE) {
		tally_add(&look->tally, VERDICT_UNKNOWN,
			  mem_printf("no canary was sent to %s yet",
				     canary->address),
			  send_now(look));
	} else if (canary->state == CANARY_UNDER_WAY) {
		tally_add(&look->tally, VERDICT_UNKNOWN,
			  mem_printf("%s has not answered to the canary to %s "
				     "yet",
				     canary->target, canary->address),
			  mem_printf("it waits for the answer: tideover %s "
				     "again in a moment",
				     verb(look)));
	} else if (canary->state == CANARY_ACCEPTED) {
		tally_add(&look->tally, VERDICT_UNKNOWN,
			  mem_printf("the canary to %s was accepted more than "
				     "%s ago",
				     canary->address,
				     clock_format_duration(
					     plan->timing.canary_valid, valid)),
			  send_now(look));
	} else {
		say_deferred(look, canary);
	}
}

/* Initial ones go to one tenant: it may be the new one of other domains too. */
static bool covers(const struct canary *canary, bool initial,
		   const struct plan_domain *domain)
{
	const struct plan_system *a = &canary->domain->systems[SYSTEM_NEW];
	const struct plan_system *b = &domain->systems[SYSTEM_NEW];

	if (canary->initial != initial || !initial)
		return canary->initial == initial && canary->domain == domain;
	return a->deliver_port == b->deliver_port &&
	       strcmp(plan_deliver_host(a), plan_deliver_host(b)) == 0;
}

static void look_for_uncovered(struct look *look)
{
	const struct plan *plan = look->facts->plan;
	const struct canaries *canaries = look->facts->canaries;

	for (size_t i = 0; i < plan->domain_count; i++) {
		const char *name = plan->domains[i].name;
		bool covered = false;

		for (size_t c = 0; c < canaries->count && !covered; c++)
			covered = covers(&canaries->at[c], look->initial,
					 &plan->domains[i]);
		if (covered)
			continue;
		tally_add(&look->tally,
			  plan->rehearsal ? VERDICT_WARN : VERDICT_UNKNOWN,
			  mem_printf(look->initial ?
					     "%s: no canary goes to its new "
					     "system" :
					     "%s: no canary goes to a mailbox "
					     "of it",
				     name),
			  mem_printf("send one, look into the inbox, then "
				     "tideover waive PLAN %s --gate %s "
				     "--attest --by NAME --reason \"what was "
				     "seen, when\"%s",
				     look->check, gate_name(look->gate),
				     look->initial ? "" :
						     "; or name a mailbox of "
						     "it in canary.recipients "
						     "of the plan"));
	}
}

static void look_at(const struct facts *facts, enum gate gate,
		    struct finding *finding, bool initial)
{
	struct look look = { .facts = facts,
			     .gate = gate,
			     .check = finding->check->id,
			     .initial = initial };

	tally_init(&look.tally);
	for (size_t i = 0; i < facts->canaries->count; i++)
		if (facts->canaries->at[i].initial == initial)
			judge(&look, &facts->canaries->at[i]);
	look_for_uncovered(&look);
	tally_end(&look.tally, finding, "");
	/* The arrival of another one is another thing to attest. */
	if (finding->verdict == VERDICT_WARN)
		finding->blocks = buf_take(&look.accepted);
	buf_release(&look.accepted);
}

/* What only a person can see: `unknown`, and what to `look` at. */
static void attest(const struct facts *facts, enum gate gate,
		   struct finding *finding, const char *unknown,
		   const char *look)
{
	struct json *json = json_object();
	char *command;

	json_put_text(json, "asked", "nobody: it cannot be seen from here");
	json_put_time(json, "at", facts->now.wall_ms);
	finding->evidence = json_array();
	json_add(finding->evidence, json);
	check_not_known(facts, finding, "%s", unknown);
	command = check_attest_command(finding->check, gate);
	finding_remedy(finding, "%s; then %s", look, command);
	free(command);
}

void check_canary_initial(const struct facts *facts, enum gate gate,
			  struct finding *finding)
{
	if (facts->canaries && facts->plan->canary.initial.count > 0)
		look_at(facts, gate, finding, true);
	else
		attest(facts, gate, finding,
		       "no message through the queue's address is known "
		       "to have reached the new tenant",
		       "send one to a mailbox at the tenant's initial "
		       "domain from the queue's IP (tideoverd does, if "
		       "the plan names it in canary.initial), and look "
		       "for it: inbox, not junk, with "
		       "X-MS-Exchange-SkipListedInternetSender");
}

void check_canary_domain(const struct facts *facts, enum gate gate,
			 struct finding *finding)
{
	if (facts->canaries && facts->plan->canary.recipients.count > 0)
		look_at(facts, gate, finding, false);
	else
		attest(facts, gate, finding,
		       "no message to the sampled mailboxes is known to "
		       "have arrived",
		       "send one to each sampled mailbox through "
		       "deliver_to (tideoverd does, if the plan names "
		       "them in canary.recipients), and look for it in "
		       "the inbox within 15 minutes");
}
