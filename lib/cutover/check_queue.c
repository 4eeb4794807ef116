#include "cutover/check_parts.h"
#include <math.h>
#include <stdlib.h>

#define HOUR_MS (3600.0 * 1000)

struct need {
	double hours, per_hour;
	double bytes, inodes;
};

bool check_inflow(const struct facts *facts, double *per_hour,
		  double *bytes_per_hour)
{
	const struct plan *plan = facts->plan;
	double measured = facts->measured_per_hour * facts->measured_mean_bytes;

	*per_hour = plan->messages_per_day / 24;
	*bytes_per_hour = *per_hour * plan->mean_bytes;
	if (measured > *bytes_per_hour) {
		*per_hour = facts->measured_per_hour;
		*bytes_per_hour = measured;
	}
	return *bytes_per_hour > 0;
}

/* All plans of a node share its disk. */
static bool need_of(const struct facts *facts, struct need *need)
{
	double bytes_per_hour;
	bool known;

	*need = (struct need){
		.hours = (double)facts->plan->timing.capacity / HOUR_MS,
	};
	known = check_inflow(facts, &need->per_hour, &bytes_per_hour);
	need->per_hour += facts->others_per_hour;
	bytes_per_hour += facts->others_bytes_per_hour;
	need->bytes = bytes_per_hour * need->hours;
	/* A large message is a file of its own; at worst all are. */
	need->inodes = need->per_hour * need->hours;
	return known;
}

/* What is below the reserve takes no new mail. */
static double usable_bytes(const struct file_space *space)
{
	uint64_t reserve = file_space_reserve(space);

	return space->free_bytes > reserve ?
		       (double)(space->free_bytes - reserve) :
		       0;
}

static struct json *capacity_json(const struct facts *facts,
				  const struct need *need)
{
	const struct file_space *space = &facts->space;
	struct json *json = json_object();

	json_put_text(json, "asked", "statvfs of the state folder");
	json_put_time(json, "at", facts->now.wall_ms);
	json_put_bool(json, "space_known", facts->space_known);
	json_put_number(json, "free_bytes", (double)space->free_bytes);
	json_put_number(json, "total_bytes", (double)space->total_bytes);
	json_put_number(json, "reserve", (double)file_space_reserve(space));
	json_put_number(json, "free_inodes", (double)space->free_inodes);
	json_put_number(json, "total_inodes", (double)space->total_inodes);
	json_put_number(json, "expected_per_day",
			facts->plan->messages_per_day);
	json_put_number(json, "expected_mean_bytes", facts->plan->mean_bytes);
	json_put_number(json, "measured_per_hour", facts->measured_per_hour);
	json_put_number(json, "measured_mean_bytes",
			facts->measured_mean_bytes);
	json_put_number(json, "others_per_hour", facts->others_per_hour);
	json_put_number(json, "others_bytes_per_hour",
			facts->others_bytes_per_hour);
	json_put_number(json, "hours", need->hours);
	json_put_number(json, "needed_bytes", need->bytes);
	json_put_number(json, "needed_inodes", need->inodes);
	return json;
}

void check_queue_capacity(const struct facts *facts, enum gate gate,
			  struct finding *finding)
{
	const struct file_space *space = &facts->space;
	struct need need;
	bool known = need_of(facts, &need);
	bool by_inodes = false;
	double times;

	finding->evidence = json_array();
	json_add(finding->evidence, capacity_json(facts, &need));
	if (!known) {
		finding_set(finding, VERDICT_UNKNOWN,
			    "how much mail comes is "
			    "not known: nothing expected, nothing measured");
		finding_remedy(finding, "write expected.messages_per_day and "
					"expected.mean_bytes into the plan");
		return;
	}
	if (!facts->space_known) {
		finding_set(finding, VERDICT_UNKNOWN,
			    "the free space of the state folder is not known");
		finding_remedy(finding, "ask where tideoverd runs");
		return;
	}
	times = usable_bytes(space) / need.bytes;
	/* Some file systems count no inodes. */
	if (space->total_inodes > 0 &&
	    (double)space->free_inodes / need.inodes < times) {
		times = (double)space->free_inodes / need.inodes;
		by_inodes = true;
	}
	finding_set(finding,
		    times >= 3	 ? VERDICT_PASS :
		    times >= 1.5 ? VERDICT_WARN :
				   VERDICT_FAIL,
		    "%s for %.1f times the mail of %.0f hours",
		    by_inodes ? "inodes" : "space", floor(times * 10) / 10,
		    need.hours);
	if (times < 3)
		finding_remedy(finding,
			       "add %s to the state folder: it lasts "
			       "%.0f hours at %.0f messages an hour%s",
			       by_inodes ? "inodes" : "space",
			       floor(times * need.hours), need.per_hour,
			       facts->others_per_hour > 0 ? ", of all plans" :
							    "");
}

/* The ledger. */

static uint64_t sum_of(const struct facts_domain *domain)
{
	return domain->waiting + domain->held + domain->delivered +
	       domain->bounced + domain->discarded;
}

static struct json *ledger_json(const struct facts *facts)
{
	struct json *all = json_array();

	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const struct facts_domain *domain = &facts->domains[i];
		struct json *json = json_object();

		json_put_text(json, "domain", facts->plan->domains[i].name);
		json_put_number(json, "accepted", (double)domain->accepted);
		json_put_number(json, "waiting", (double)domain->waiting);
		json_put_number(json, "held", (double)domain->held);
		json_put_number(json, "delivered", (double)domain->delivered);
		json_put_number(json, "bounced", (double)domain->bounced);
		json_put_number(json, "discarded", (double)domain->discarded);
		json_put_time(json, "at", facts->now.wall_ms);
		json_add(all, json);
	}
	return all;
}

static bool ledger_is_known(const struct facts *facts, struct finding *finding)
{
	finding->evidence = ledger_json(facts);
	if (facts->ledger_known)
		return true;
	finding_set(finding, VERDICT_UNKNOWN, "there is no ledger here");
	finding_remedy(finding, "ask the daemon: tideover check PLAN --gate "
				"close");
	return false;
}

void check_ledger_balance(const struct facts *facts, enum gate gate,
			  struct finding *finding)
{
	const char *why = facts->ledger_why;

	if (!ledger_is_known(facts, finding))
		return;
	if (!facts->journal_intact) {
		finding_set(finding, VERDICT_FAIL,
			    "the journal's chain is broken");
		finding_remedy(finding, "do not sign; tideover journal verify "
					"PLAN names the line");
		return;
	}
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const struct facts_domain *domain = &facts->domains[i];

		if (domain->accepted == sum_of(domain))
			continue;
		finding_set(finding, VERDICT_FAIL,
			    "%s: %llu envelopes were "
			    "accepted, but %llu are accounted for",
			    facts->plan->domains[i].name,
			    (unsigned long long)domain->accepted,
			    (unsigned long long)sum_of(domain));
		finding_remedy(finding,
			       "do not sign; compare tideover queue "
			       "list PLAN with the spool (tideover spool "
			       "verify)");
		return;
	}
	if (!facts->ledger_balances) {
		finding_set(finding, VERDICT_FAIL,
			    "the ledger does not balance: %s",
			    *why ? why : "no reason given");
		finding_remedy(finding,
			       "do not sign; compare tideover queue "
			       "list PLAN with the spool (tideover spool "
			       "verify)");
		return;
	}
	finding_set(finding, VERDICT_PASS,
		    "every accepted envelope is accounted for");
}

void check_held_empty(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	struct tally tally;

	if (!ledger_is_known(facts, finding))
		return;
	tally_init(&tally);
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const char *name = facts->plan->domains[i].name;
		uint64_t held = facts->domains[i].held;
		uint64_t waiting = facts->domains[i].waiting;

		/* A finished plan replays nothing more. */
		if (waiting > 0)
			tally_add(&tally, VERDICT_FAIL,
				  mem_printf("%s: %llu waiting", name,
					     (unsigned long long)waiting),
				  mem_printf("let them be replayed (tideover "
					     "resume %s where the valve is "
					     "closed; tideover status says "
					     "why)",
					     facts->plan->name));
		if (held > 0)
			tally_add(&tally, VERDICT_FAIL,
				  mem_printf("%s: %llu held", name,
					     (unsigned long long)held),
				  mem_printf(
					  "tideover queue list PLAN --in held "
					  "names them; release, bounce or "
					  "discard each"));
	}
	json_free(tally.evidence);
	tally.evidence = finding->evidence;
	tally_end(&tally, finding, "no envelope is held or waiting");
}
