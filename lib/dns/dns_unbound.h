/*
 * dns_unbound.h - a validating resolver of our own   [libunbound]
 *
 * An optional build (make UNBOUND=1); in any other there is none, and
 * dns_unbound_new() says so.  It asks the authorities itself, from the root on,
 * on a thread of its own.  It trusts the root keys of Debian's dns-root-data,
 * or else those that IANA published when this was written; a file in the form
 * of unbound.conf(5), named by TIDEOVER_UNBOUND_CONFIG, replaces both and may
 * name zones and keys of one's own.
 */
#ifndef DNS_DNS_UNBOUND_H
#define DNS_DNS_UNBOUND_H

#include "dns/dns_resolver.h"

struct dns_unbound;

/* "1.17.1", or NULL: this build has none. */
const char *dns_unbound_version(void);
struct dns_unbound *dns_unbound_new(struct loop *loop, struct err *err);
/* What is open is not answered any more.  NULL is fine. */
void dns_unbound_free(struct dns_unbound *unbound);
/* With this begins the reason why what is bogus is no answer. */
#define DNS_BOGUS "bogus: "
/* `done` runs exactly once, from the loop, never before this returns; `ad` of an
 * answer says that it is secure. */
void dns_unbound_ask(struct dns_unbound *unbound, const char *name,
		     unsigned type, dns_done_fn *done, void *ctx);

#endif
