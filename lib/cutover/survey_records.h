/*
 * survey_records.h - asks for the records beside the MX sets
 *
 * Part of a survey, once the authorities are known.  A name of the plan's own
 * domains is asked of one of them (RD=0), so that no resolver keeps a negative
 * answer because of us (RFC 2308); where they refer further, and for names of
 * others (the includes of SPF, the targets of CNAMEs, the queue host, the reverse
 * tree, what is above a domain), the plan's first resolver is asked.  Bounded: so many questions per domain, so many at once.
 */
#ifndef CUTOVER_SURVEY_RECORDS_H
#define CUTOVER_SURVEY_RECORDS_H

#include "cutover/facts.h"
#include "net/loop.h"

struct survey_records;

/*
 * Replaces facts->records by what is asked now.  `resolver` NULL: names of
 * others are not asked.  `done` runs once, on the loop, never before this
 * returns; cancelled, it does not, and what came so far stays.
 */
struct survey_records *survey_records_start(struct loop *loop,
					    struct facts *facts,
					    const struct addr *resolver,
					    loop_fn *done, void *ctx);
void survey_records_cancel(struct survey_records *records); /* NULL is fine */

#endif
