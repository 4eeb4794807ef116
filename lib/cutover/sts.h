/*
 * sts.h - fetch the MTA-STS policy of a plan's domains, as a sender would
 *
 * The record is among those that the survey asked for (survey_records.h).
 * Where there is one, the policy comes by HTTPS from the address that the
 * resolvers give for mta-sts.DOMAIN (RFC 8461 section 3.3: trusted certificate
 * of that name, no redirects), on a thread of its own, bounded in size and
 * time.  A few domains at once.
 */
#ifndef CUTOVER_STS_H
#define CUTOVER_STS_H

#include "cutover/facts.h"
#include "dns/dns_desk.h"

struct sts;

/*
 * Fills facts->domains[].sts; needs facts->records; hosts are asked for at the
 * desk.  `done` runs
 * exactly once, on the loop, never before this returns; the fetch is gone when
 * it runs.
 */
struct sts *sts_start(struct loop *loop, struct facts *facts,
		      struct dns_desk *desk, loop_fn *done, void *ctx);
/* What has no answer yet counts as not asked.  Waits up to a second for a
 * thread that fetches.  NULL is fine. */
void sts_cancel(struct sts *sts);

#endif
