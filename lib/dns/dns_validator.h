/*
 * dns_validator.h - answers whose DNSSEC signatures somebody checked
 *
 * We check none ourselves.  The AD of a resolver counts, if the resolver is on
 * loopback: from anywhere else whoever can change an answer can set its AD as
 * well (RFC 7672 section 2.2, RFC 6698 section A.3).  A build with libunbound
 * has a validator of its own (dns_unbound.h): it is asked where there is no such
 * resolver, and where the resolver does not vouch, which may only mean that it
 * validates nothing.  What it finds bogus is no answer, and the reason begins
 * with DNS_BOGUS.
 */
#ifndef DNS_DNS_VALIDATOR_H
#define DNS_DNS_VALIDATOR_H

#include "dns/dns_resolver.h"

struct dns_validator;
struct dns_check; /* somebody waits for an answer */

/*
 * The first of the resolvers that is on loopback counts.  NULL with err, which
 * says what to do, if there is none and no libunbound either.
 */
struct dns_validator *dns_validator_new(struct loop *loop,
					const struct addr *resolvers,
					size_t count, struct err *err);
/* After every check was answered or cancelled.  NULL is fine. */
void dns_validator_free(struct dns_validator *validator);
/* Who vouches: "127.0.0.1:53", "libunbound", "127.0.0.1:53, libunbound". */
const char *dns_validator_name(const struct dns_validator *validator);
/*
 * As dns_resolver_ask(), but: an answer is NOERROR or NXDOMAIN, and its `ad`
 * may be trusted.  Whatever else comes is no answer: SERVFAIL, with which a
 * resolver hides what is bogus, too.
 */
struct dns_check *dns_validator_ask(struct dns_validator *validator,
				    const char *name, unsigned type,
				    dns_done_fn *done, void *ctx);
/* `done` does not run any more; *check becomes NULL; NULL is fine. */
void dns_check_cancel(struct dns_check **check);

#endif
