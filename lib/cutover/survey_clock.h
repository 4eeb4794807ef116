/*
 * survey_clock.h - ask the plan's HTTPS servers what time it is
 *
 * A HEAD each, all at once, on threads of their own (net/fetch.h); what their
 * Date fields say, and our own clock around it, goes to facts->dates.  Hosts
 * are asked for at the desk.
 */
#ifndef CUTOVER_SURVEY_CLOCK_H
#define CUTOVER_SURVEY_CLOCK_H

#include "cutover/facts.h"
#include "dns/dns_desk.h"

struct survey_clock;

/* `done` runs exactly once, on the loop, never before this returns. */
struct survey_clock *survey_clock_start(struct loop *loop, struct facts *facts,
					struct dns_desk *desk, loop_fn *done,
					void *ctx);
/* What has no answer yet was not had.  Waits up to a second for a thread that
 * fetches.  NULL is fine. */
void survey_clock_cancel(struct survey_clock *clock);

#endif
