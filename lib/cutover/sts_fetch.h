/*
 * sts_fetch.h - the MTA-STS policy of one domain, by HTTPS
 *
 * From the address that the resolvers give for mta-sts.DOMAIN (RFC 8461 section
 * 3.3: trusted certificate of that name, no redirects), on a thread of its own,
 * bounded in size and time.
 */
#ifndef CUTOVER_STS_FETCH_H
#define CUTOVER_STS_FETCH_H

#include "dns/dns_desk.h"
#include "mail/mta_sts.h"
#include "net/http.h"

struct sts_fetch;

struct sts_fetch_spec {
	struct loop *loop;
	struct dns_desk *desk; /* outlives the fetch */
	const char *domain;
	int port;	     /* 0: 443 */
	const char *ca_file; /* NULL: whom the system trusts; borrowed */
};

/* `policy` NULL: `why` says why not.  `from`: "mta-sts.acme.example at
 * 192.0.2.7", or "".  `date`: as the server's answer told it, if one came. */
typedef void sts_fetch_fn(void *ctx, const struct mta_sts *policy,
			  const char *from, const struct http_date *date,
			  const char *why);

/* `done` runs exactly once, from the loop, never before this returns, and the
 * fetch is gone with it. */
struct sts_fetch *sts_fetch_start(const struct sts_fetch_spec *spec,
				  sts_fetch_fn *done, void *ctx);
/* Waits up to a second for a thread that fetches.  *fetch becomes NULL; NULL
 * is fine. */
void sts_fetch_cancel(struct sts_fetch **fetch);

#endif
