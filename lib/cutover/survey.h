/*
 * survey.h - fill the facts: ask DNS and the systems of a plan once
 *
 * One asynchronous round over a plan: the DNS survey of every domain, a probe
 * of each system of each domain (the plan's probe recipients of that domain
 * and one random address), and of each listener of the queue with recipients
 * that it must refuse.  Used by the command (`plan`)
 * and by the daemon (watching, gates) alike.  Results land in the facts;
 * `done` runs exactly once, on the loop, never before survey_start() returns,
 * and within about 30 s whatever the world does.
 */
#ifndef CUTOVER_SURVEY_H
#define CUTOVER_SURVEY_H

#include "cutover/facts.h"
#include "plan/plan_value.h"

struct survey;

enum {
	SURVEY_DNS = 1,
	SURVEY_OLD = 2,
	SURVEY_NEW = 4,
	SURVEY_QUEUE = 8,
	SURVEY_LISTED = 32, /* the listed recipients, at the old system */
	SURVEY_TAKEN = 64,  /* a few of them, at the new one; not both */
	SURVEY_RECORDS = 16 /* TXT and their kin, then the MTA-STS policy, and
			       the plan's clocks; with SURVEY_DNS */
};

struct survey *survey_start(struct loop *loop, struct facts *facts,
			    unsigned what, loop_fn *done, void *ctx,
			    struct err *err);
void survey_cancel(struct survey *survey); /* NULL is fine */

/* The resolvers of the plan that have an address, or the system's own; how
 * many. */
size_t survey_resolvers(const struct plan *plan,
			struct addr resolvers[PLAN_LIST_MAX]);

/* Everything as JSON: per domain the vantages, hosts, probes (status, report). */
struct json *facts_json(const struct facts *facts);

#endif
