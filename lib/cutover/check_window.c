/* The checks of the hours around the gates: detach, trail, supervision. */

#include "cutover/check_parts.h"
#include <stdlib.h>

enum {
	FRESH_MS = 60000, /* CHECKS: asked within so long */
	PEERS_NAMED = 8
};

struct json *check_arrivals_json(const struct facts *facts)
{
	struct json *json = json_object();

	json_put_text(json, "asked", "the queue's own arrivals");
	json_put_time(json, "at", facts->now.wall_ms);
	json_put_time(json, "last_arrival", facts->last_arrival_ms);
	json_put_time(json, "phase_since", facts->since_ms);
	json_put_number(json, "trail_ms", (double)facts->plan->timing.trail);
	return json;
}

/* The oldest answer of an authority or resolver; 0 when one was not asked. */
static int64_t oldest_answer(const struct facts *facts)
{
	int64_t oldest = INT64_MAX;

	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const struct dns_domain *dns = &facts->domains[i].dns;

		if (!facts->domains[i].surveyed || dns->vantage_count == 0)
			return 0;
		for (size_t v = 0; v < dns->vantage_count; v++)
			if (dns->vantages[v].asked_ms < oldest)
				oldest = dns->vantages[v].asked_ms;
	}
	return oldest;
}

static struct json *answers_json(const struct facts *facts, int64_t oldest)
{
	struct json *json = json_object();

	json_put_text(json, "asked", "every authority and resolver");
	json_put_time(json, "at", facts->now.wall_ms);
	json_put_time(json, "oldest_answer", oldest);
	return json;
}

/*
 * The point of no return wants fresh answers, and passes alone: a warning is
 * good enough for other gates.  Where the old system's trace is not known, its
 * own row shuts this gate until somebody attests.
 */
void check_detach_safe(const struct facts *facts, enum gate gate,
		       struct finding *finding)
{
	static check_run_fn *const parts[] = { check_mx_horizon, check_parked,
					       check_straggler_rate };
	static const char *const names[] = { "mx-horizon", "parked",
					     "straggler-rate" };
	int64_t oldest = oldest_answer(facts);
	struct tally tally;

	tally_init(&tally);
	for (size_t i = 0; i < COUNT(parts); i++) {
		struct finding part = { 0 };

		parts[i](facts, gate, &part);
		if (part.verdict != VERDICT_PASS &&
		    !(part.verdict == VERDICT_UNKNOWN &&
		      parts[i] == check_straggler_rate))
			tally_add(&tally,
				  part.verdict == VERDICT_UNKNOWN ?
					  VERDICT_UNKNOWN :
					  VERDICT_FAIL,
				  mem_printf("%s does not pass: %s", names[i],
					     part.summary),
				  mem_printf("%s: detaching now bounces mail "
					     "of senders with a cached answer",
					     part.remedy ? part.remedy : ""));
		finding_clear(&part);
	}
	json_add(tally.evidence, answers_json(facts, oldest));
	if (facts->now.wall_ms - oldest > FRESH_MS)
		tally_add(&tally, VERDICT_UNKNOWN,
			  mem_printf("the answers are older than a minute"),
			  mem_printf("ask again: tideover check PLAN --gate "
				     "detach"));
	tally_end(&tally, finding,
		  "mx-horizon and parked pass, asked just now");
}

/*
 * Since `from`.  A clock that was set ahead ends no trail: CLOCK_BOOTTIME tells
 * what has passed since the daemon took up the plan.
 */
static int64_t quiet_ms(const struct facts *facts, int64_t from_ms)
{
	int64_t by_wall = facts->now.wall_ms - from_ms;
	int64_t by_boot = facts->now.boot_ms - facts->loaded_boot_ms;

	if (facts->loaded_ms > from_ms)
		by_boot += facts->loaded_ms - from_ms;
	return by_boot < by_wall ? by_boot : by_wall;
}

int64_t check_trail_from(const struct facts *facts)
{
	int64_t from_ms = facts->now.wall_ms - facts->plan->timing.trail;

	return from_ms > facts->since_ms ? from_ms : facts->since_ms;
}

/* Who brought it: a person acknowledges them by name, and another peer makes
 * another finding of it. */
static void name_peers(const struct facts *facts, const char *span,
		       struct finding *finding)
{
	const struct json *late = json_get(facts->exceptions, "stragglers");
	struct buf names = BUF_INIT, all = BUF_INIT;
	size_t count = 0;

	for (const struct json *it = json_first(json_get(late, "named")); it;
	     it = json_next(it)) {
		const char *peer = json_get_text(it, "peer");

		if (count++ < PEERS_NAMED)
			buf_addf(&names, "%s%s", count > 1 ? ", " : "", peer);
		buf_addf(&all, "%s\n", peer);
	}
	if (count > 0) {
		finding_set(finding, VERDICT_FAIL,
			    "mail still came to the queue within %s, from %.0f "
			    "peers: %s%s",
			    span, json_get_number(late, "peers", 0),
			    buf_text(&names),
			    count > PEERS_NAMED ? ", ..." : "");
		buf_addf(&all, "%.0f peers within %s",
			 json_get_number(late, "peers", 0), span);
		finding->blocks = buf_take(&all);
		json_add(finding->evidence, json_copy(late));
	}
	buf_release(&names);
	buf_release(&all);
}

/*
 * What comes after the last cache has let go comes from senders with a route
 * that somebody wrote down, and from spammers.  Which of them matter a person
 * says; the queue passes on what they bring as long as it is asked.
 */
void check_stragglers_end(const struct facts *facts, enum gate gate,
			  struct finding *finding)
{
	int64_t trail = facts->plan->timing.trail;
	int64_t from = facts->last_arrival_ms > facts->since_ms ?
			       facts->last_arrival_ms :
			       facts->since_ms;
	int64_t quiet = quiet_ms(facts, from);
	char text[CLOCK_TEXT], span[CLOCK_TEXT];

	finding->evidence = json_array();
	json_add(finding->evidence, check_arrivals_json(facts));
	if (!facts->ledger_known) {
		finding_set(finding, VERDICT_UNKNOWN,
			    "no daemon: its arrivals are not known");
		return;
	}
	clock_format_duration(trail, span);
	if (quiet >= trail) {
		finding_set(finding, VERDICT_PASS,
			    "no mail has come to the queue for %s", span);
		return;
	}
	check_time(facts->now.wall_ms + trail - quiet, text);
	if (quiet_ms(facts, facts->since_ms) < trail) {
		finding_set(finding, VERDICT_FAIL,
			    "the trail of %s is not over", span);
		finding_remedy(finding,
			       "keep accepting and passing it on until %s; "
			       "tideover finish --now ends without this gate",
			       text);
		return;
	}
	finding_set(finding, VERDICT_FAIL,
		    "mail still came to the queue within %s", span);
	name_peers(facts, span, finding);
	finding_remedy(finding,
		       "keep accepting and passing it on until %s; or find out "
		       "who they are (tideover queue list PLAN), tell those "
		       "that matter, and sign for the others: tideover waive "
		       "PLAN stragglers-end --gate close --by NAME --reason "
		       "TEXT, which lapses when another comes",
		       text);
}

/* Bad in public; on loopback nobody sends it mail. */
static void say_unsupervised(const struct facts *facts, struct finding *finding,
			     const char *what)
{
	if (check_is_public(facts->plan))
		finding_set(finding, VERDICT_FAIL,
			    "%s, and it listens in public", what);
	else
		finding_set(finding, VERDICT_WARN,
			    "%s; it listens on loopback only", what);
}

static void say_supervisor_unknown(const struct facts *facts, enum gate gate,
				   struct finding *finding)
{
	const struct supervisor *by = &facts->supervisor;
	char *command = check_attest_command(finding->check, gate);

	check_not_known(facts, finding,
			"whether tideoverd is restarted after a crash, and "
			"started after a reboot, is not known");
	if (by->kind == SUPERVISOR_OTHER)
		finding_remedy(finding,
			       "a supervisor that is not systemd has started "
			       "it: look how that is set up, then %s",
			       command);
	else
		finding_remedy(finding,
			       "%s: systemctl daemon-reload, restart it, and "
			       "ask again; or see what systemctl show -p "
			       "UnitFileState,Restart %s says, then %s",
			       by->why, by->unit[0] ? by->unit : "tideoverd",
			       command);
	free(command);
}

static void judge_unit(const struct facts *facts, struct finding *finding)
{
	const struct supervisor *by = &facts->supervisor;
	char *what;

	if (!supervisor_restarts(by)) {
		what = mem_printf("%s has Restart=%s: not every crash of "
				  "tideoverd is followed by a start",
				  by->unit,
				  by->restart[0] ? by->restart : "no");
		say_unsupervised(facts, finding, what);
		finding_remedy(finding,
			       "set Restart=always under [Service] (systemctl "
			       "edit %s), then systemctl restart %s",
			       by->unit, by->unit);
		free(what);
	} else if (!by->enabled[0]) {
		what = mem_printf("%s is not enabled: nothing starts tideoverd "
				  "after a reboot",
				  by->unit);
		say_unsupervised(facts, finding, what);
		finding_remedy(finding, "systemctl enable %s", by->unit);
		free(what);
	} else {
		finding_set(finding, VERDICT_PASS,
			    "systemd restarts it: %s is enabled, with "
			    "Restart=%s",
			    by->unit, by->restart);
	}
}

void check_daemon_supervised(const struct facts *facts, enum gate gate,
			     struct finding *finding)
{
	struct json *json;

	if (!facts->ledger_known) {
		finding_set(finding, VERDICT_UNKNOWN, "no daemon is asked");
		return;
	}
	json = supervisor_json(&facts->supervisor);
	json_put_time(json, "at", facts->now.wall_ms);
	finding->evidence = json_array();
	json_add(finding->evidence, json);
	if (facts->supervisor.kind == SUPERVISOR_NONE) {
		say_unsupervised(facts, finding,
				 "nothing restarts tideoverd after a crash or "
				 "a reboot");
		finding_remedy(finding, "stop it, and let systemd run it: "
					"systemctl enable --now tideoverd");
	} else if (facts->supervisor.why[0]) {
		say_supervisor_unknown(facts, gate, finding);
	} else {
		judge_unit(facts, finding);
	}
}
