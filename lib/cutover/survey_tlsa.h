/*
 * survey_tlsa.h - the TLSA that a plan with replay.tls `dane` goes by
 *
 * Asked as a delivery asks (dns_tlsa.h, dns_validator.h), of each host that mail
 * is delivered to, and kept among the records under _PORT._tcp.HOST: `ad` of
 * its answer may be trusted, and what could not be asked has its reason.
 */
#ifndef CUTOVER_SURVEY_TLSA_H
#define CUTOVER_SURVEY_TLSA_H

#include "cutover/facts.h"

struct survey_tlsa;

/* `done` runs exactly once, from the loop, never before this returns, and the
 * survey is gone with it. */
struct survey_tlsa *survey_tlsa_start(struct loop *loop, struct facts *facts,
				      const struct addr *resolvers,
				      size_t count, loop_fn *done, void *ctx);
void survey_tlsa_cancel(struct survey_tlsa *all); /* NULL is fine */
/* Whose the records are: where a system's mail is delivered. */
void survey_tlsa_of(const struct plan_system *system, char name[DNS_NAME]);

#endif
