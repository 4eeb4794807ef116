/*
 * survey_records.h - asks for the records beside the MX sets
 *
 * Part of a survey, once the authorities are known.  A name of the plan's own
 * domains is asked of one of them (RD=0), so that no resolver keeps a negative
 * answer because of us (RFC 2308); where they refer further, and for names of
 * others (the includes of SPF, the targets of CNAMEs, the queue host, the reverse
 * tree, what is above a domain), one of the resolvers is asked.
 * Bounded: so many questions per domain, and what the desk keeps in flight.
 */
#ifndef CUTOVER_SURVEY_RECORDS_H
#define CUTOVER_SURVEY_RECORDS_H

#include "cutover/facts.h"
#include "dns/dns_desk.h"

struct survey_records;

/*
 * Replaces facts->records by what is asked now, at the desk; one without
 * resolvers: names of others are not asked.  `done` runs once, on the loop, never before this
 * returns; cancelled, it does not, and what came so far stays.
 */
struct survey_records *survey_records_start(struct loop *loop,
					    struct facts *facts,
					    struct dns_desk *desk,
					    loop_fn *done, void *ctx);
/* "acme.example._report._dmarc.reports.example" (RFC 7489 section 7.1); false:
 * it is too long for DNS. */
bool dmarc_report_name(const char *domain, const char *to, char name[DNS_NAME]);
void survey_records_cancel(struct survey_records *records); /* NULL is fine */

#endif
