/*
 * survey_listed.h - ask a system about the recipients that the plan lists
 *
 * RCPT without mail (probe.h), a few in a session, one session of a domain
 * after the other, a few domains at once: no server is asked for more than
 * `most` recipients of a domain, at most FACTS_LISTED_MAX, a sample of the list
 * where it is longer.  What came of it goes to facts->domains[].listed.
 */
#ifndef CUTOVER_SURVEY_LISTED_H
#define CUTOVER_SURVEY_LISTED_H

#include "cutover/facts.h"
#include "dns/dns_desk.h"

struct survey_listed;

/* `done` runs exactly once, on the loop, never before this returns. */
struct survey_listed *survey_listed_start(struct loop *loop,
					  struct facts *facts,
					  struct dns_desk *desk,
					  enum plan_system_id of, size_t most,
					  loop_fn *done, void *ctx);
/* Who was not asked yet was not asked.  NULL is fine. */
void survey_listed_cancel(struct survey_listed *listed);

#endif
