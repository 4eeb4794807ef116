/*
 * Whether the clock is right: what the kernel knows from NTP, and what HTTPS
 * servers answered, whom nobody can speak for (a certificate names them).
 *
 * A Date D was written at a moment of the second that begins with D, and by our
 * clock between the request and the answer.  So our clock is ahead by more than
 * asked - (D + 1 s) and by no more than answered - D: a right clock can show
 * that it is right to the second, but for a request over the turn of one.
 */

#include "cutover/check_parts.h"
#include <stdlib.h>

#define SECOND_MS ((int64_t)1000)
#define WARN_MS	  SECOND_MS
#define FAIL_MS	  (5 * SECOND_MS)

/* How far off the clock is: not less than, not more than. */
struct off {
	int64_t least_ms, most_ms;
};

/* Of all the servers that answered. */
struct clocks {
	const struct facts *facts;
	struct json *evidence;
	size_t agree, differ;
	struct off nearest; /* least_ms of the one that differs least */
	int64_t proven_ms;  /* smallest most_ms of those that agree */
	struct buf who;	    /* differ */
};

static int64_t distance(int64_t ms)
{
	return ms < 0 ? -ms : ms;
}

static struct off off_by(const struct http_date *date)
{
	int64_t low = date->asked_ms - (date->date_ms + SECOND_MS);
	int64_t high = date->answered_ms - date->date_ms;
	int64_t a = distance(low), b = distance(high);

	return (struct off){ .least_ms = low <= 0 && high >= 0 ? 0 :
					 a < b		       ? a :
								 b,
			     .most_ms = a > b ? a : b };
}

static struct json *date_json(const char *of, const char *error,
			      const struct http_date *date)
{
	struct json *json = json_object();
	struct off off = off_by(date);

	json_put_text(json, "asked", "the Date of an HTTPS answer");
	json_put_text(json, "of", of);
	json_put_text(json, "error", *error ? error : NULL);
	if (date->date_ms == 0)
		return json;
	json_put_time(json, "date", date->date_ms);
	json_put_bool(json, "stored", date->stored);
	json_put_time(json, "at", date->answered_ms);
	json_put_number(json, "round_trip_ms",
			(double)(date->answered_ms - date->asked_ms));
	json_put_number(json, "off_at_least_ms", (double)off.least_ms);
	json_put_number(json, "off_at_most_ms", (double)off.most_ms);
	return json;
}

static void take_date(struct clocks *clocks, const char *of, const char *error,
		      const struct http_date *date)
{
	struct off off = off_by(date);

	json_add(clocks->evidence, date_json(of, error, date));
	if (date->date_ms == 0 || date->stored)
		return;
	if (off.least_ms < WARN_MS) {
		if (clocks->agree++ == 0 || off.most_ms < clocks->proven_ms)
			clocks->proven_ms = off.most_ms;
		return;
	}
	if (clocks->differ++ == 0 || off.least_ms < clocks->nearest.least_ms)
		clocks->nearest = off;
	buf_addf(&clocks->who, "%s%s by %lld s", clocks->who.len ? ", " : "",
		 of, (long long)(off.least_ms / SECOND_MS));
}

static void take_dates(struct clocks *clocks)
{
	const struct facts *facts = clocks->facts;

	for (size_t i = 0; i < facts->date_count; i++)
		take_date(clocks, facts->dates[i].of, facts->dates[i].error,
			  &facts->dates[i].date);
	/* Those that were asked for a policy anyhow. */
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const struct facts_sts *sts = &facts->domains[i].sts;

		if (sts->asked && sts->date.date_ms > 0)
			take_date(clocks, sts->from, "", &sts->date);
	}
}

static struct json *kernel_json(const struct facts *facts)
{
	struct json *json = json_object();

	json_put_text(json, "asked", "the kernel: adjtimex(2), maximum error");
	json_put_time(json, "at", facts->now.wall_ms);
	if (facts->clock_asked)
		json_put_number(json, "error_ms",
				(double)facts->clock_error_ms);
	else
		json_put_text(json, "error", facts->clock_why);
	return json;
}

static void say_off(const struct clocks *clocks, struct finding *finding)
{
	bool fails = clocks->nearest.least_ms >= FAIL_MS;

	finding_set(finding, fails ? VERDICT_FAIL : VERDICT_WARN,
		    "the clock is off by more than %d s, by the Date of HTTPS "
		    "answers",
		    fails ? 5 : 1);
	finding_remedy(finding,
		       "fix the clock: times are evidence (it differs from "
		       "%s)%s",
		       buf_text(&clocks->who),
		       clocks->facts->clock_asked ?
			       "; the kernel calls it in sync, so look at its "
			       "NTP sources, or name other servers under "
			       "\"clock\"" :
			       "");
}

/* Without a Date, or where its servers are of two minds. */
static void judge_kernel(const struct clocks *clocks, struct finding *finding)
{
	const struct facts *facts = clocks->facts;

	if (!facts->clock_asked) {
		check_not_known(facts, finding,
				"whether the clock is right is not known: %s",
				clocks->differ ? "HTTPS servers differ" :
						 facts->clock_why);
		finding_remedy(
			finding,
			"run chrony or systemd-timesyncd, or name HTTPS "
			"servers under \"clock\" in the plan; or compare "
			"it yourself and attest");
	} else if (facts->clock_error_ms >= WARN_MS) {
		bool fails = facts->clock_error_ms >= FAIL_MS;

		finding_set(finding, fails ? VERDICT_FAIL : VERDICT_WARN,
			    "the clock may be off by more than %d s",
			    fails ? 5 : 1);
		finding_remedy(finding, "fix the clock: times are evidence");
	} else if (clocks->differ) {
		finding_set(finding, VERDICT_WARN,
			    "HTTPS servers differ about the time");
		finding_remedy(finding, "the clock differs from %s: compare it",
			       buf_text(&clocks->who));
	} else {
		finding_set(finding, VERDICT_PASS,
			    "the clock is right to the second");
	}
}

void check_clock(const struct facts *facts, enum gate gate,
		 struct finding *finding)
{
	struct clocks clocks = { .facts = facts, .evidence = json_array() };
	bool kernel = facts->clock_asked && facts->clock_error_ms < WARN_MS;

	json_add(clocks.evidence, kernel_json(facts));
	take_dates(&clocks);
	finding->evidence = clocks.evidence;
	if (clocks.differ > 0 && clocks.agree == 0) {
		say_off(&clocks, finding);
	} else if (clocks.agree == 0 || clocks.differ > 0) {
		judge_kernel(&clocks, finding);
	} else if (kernel || clocks.proven_ms < WARN_MS) {
		finding_set(finding, VERDICT_PASS,
			    "the clock is right to the second");
	} else {
		finding_set(finding, VERDICT_WARN,
			    "the clock is right to a few seconds, by the Date "
			    "of HTTPS answers");
		finding_remedy(finding, "a Date has no more; run chrony or "
					"systemd-timesyncd, or ask again");
	}
	buf_release(&clocks.who);
}
