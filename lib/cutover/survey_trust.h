/*
 * survey_trust.h - asks what DNSSEC and DANE say: part of every DNS survey
 *
 * For each domain the DS set of its zone, by one of the plan's resolvers; where
 * there is one, or no answer, survey_signed.h asks on.  For the plan the TLSA
 * set of the queue host: of an authority of the plan's where the host is in its
 * zone, else of a resolver.  DS and TLSA go to facts->records.
 */
#ifndef CUTOVER_SURVEY_TRUST_H
#define CUTOVER_SURVEY_TRUST_H

#include "cutover/facts.h"
#include "dns/dns_desk.h"

struct survey_trust;

/*
 * Needs the DNS survey's result in the facts; the desk's resolvers are these.
 *  `done` runs once, on the loop,
 * never before this returns.  Cancelled, it does not; what was not answered by
 * then has the error "timeout".
 */
struct survey_trust *survey_trust_start(struct loop *loop, struct facts *facts,
					struct dns_desk *desk,
					const struct addr *resolvers,
					size_t resolver_count, loop_fn *done,
					void *ctx);
void survey_trust_cancel(struct survey_trust *trust); /* NULL is fine */

/* An authority of the domain that answered for its MX set: they take turns. */
bool survey_authority(const struct facts_domain *domain, size_t turn,
		      struct addr *addr);
/* "_25._tcp.HOST" (RFC 7672 section 2.2.3) */
void survey_tlsa_name(const char *host, char name[DNS_NAME]);

#endif
