/*
 * dns_vantage.h - what one answer means at the vantage point it came from
 *
 * Pure.  An authority is believed only with AA: an answer without it comes
 * from a lame server.  NODATA is an answer (no MX), NXDOMAIN an error; a CNAME
 * where the MX should be is one too (RFC 2181, section 10.3).
 */
#ifndef DNS_DNS_VANTAGE_H
#define DNS_DNS_VANTAGE_H

#include "dns/dns_mx.h"

/* `answer` NULL: none came, `why` says why; as a dns_done_fn is told. */
void dns_vantage_take_mx(struct dns_vantage *vantage, const char *domain,
			 const struct dns_answer *answer, const char *why);
/*
 * The serial, from the SOA of the zone that holds `domain`; the name of that
 * zone goes to `zone`, which stays as it is if the answer does not say.
 */
void dns_vantage_take_soa(struct dns_vantage *vantage, const char *domain,
			  const struct dns_answer *answer, char zone[DNS_NAME]);
/* "example.org" holds itself and "a.example.org"; the root holds all. */
bool dns_name_is_in(const char *name, const char *zone);

#endif
