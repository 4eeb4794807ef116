/*
 * lab_dns.h - a small authoritative DNS server, for rehearsals and tests
 *
 * Answers over UDP and TCP on one loopback port, on the loop, from records
 * that may change while it runs.  A zone is a name with a SOA record; a name
 * below no zone is REFUSED.  Answers carry AA; NXDOMAIN and NODATA carry the
 * zone's SOA (RFC 2308); a CNAME is followed as far as the own zones go.  No
 * referrals, no wildcards, no DNSSEC.
 */
#ifndef LAB_LAB_DNS_H
#define LAB_LAB_DNS_H

#include "dns/dns_record.h"
#include "net/addr.h"
#include "net/loop.h"

struct lab_dns;

/*
 * How it behaves as a whole.  LAB_DNS_LAME answers without AA; LAB_DNS_OLD
 * knows no OPT record and answers FORMERR to it.  As validating resolvers are
 * seen: LAB_DNS_SECURE answers with AD, LAB_DNS_BOGUS answers SERVFAIL where
 * CD is not set.
 */
enum lab_dns_mood {
	LAB_DNS_WELL,
	LAB_DNS_SILENT,
	LAB_DNS_SERVFAIL,
	LAB_DNS_REFUSED,
	LAB_DNS_LAME,
	LAB_DNS_OLD,
	LAB_DNS_SECURE,
	LAB_DNS_BOGUS
};

/* `listen` with port 0 takes a free port: see lab_dns_addr(). */
struct lab_dns *lab_dns_new(struct loop *loop, const struct addr *listen,
			    struct err *err);
void lab_dns_free(struct lab_dns *lab); /* NULL is fine */
const struct addr *lab_dns_addr(const struct lab_dns *lab);

/*
 * Adds records, one a line, names absolute, "#" starts a comment:
 *
 *   acme.example 300 SOA ns1.acme.example 1 60
 *   acme.example 300 NS ns1.acme.example
 *   acme.example 300 MX 10 smtp.google.com
 *   acme.example 300 MX 0 .
 *   acme.example 300 TXT v=spf1 include:_spf.google.com -all
 *   ns1.acme.example 300 A 127.0.0.1
 *   acme.example 300 CAA 0 issue letsencrypt.org
 *   acme.example 300 DS 12345 13 2 c0ffee
 *   _25._tcp.ns1.acme.example 300 TLSA 3 1 1 c0ffee
 *   _autodiscover._tcp.acme.example 300 SRV 10 0 443 ns1.acme.example
 *
 * A SOA is mname, serial and minimum; a TXT and the value of a CAA are the rest
 * of the line.  On an error nothing is added.
 */
int lab_dns_add(struct lab_dns *lab, const char *lines, struct err *err);
/*
 * Replaces all records of a name and type by `count` values (as they stand
 * after the type in a line; none: they go) and bumps the serial of the zone.
 */
int lab_dns_set(struct lab_dns *lab, const char *name, unsigned type,
		uint32_t ttl, const char *const *values, size_t count,
		struct err *err);
void lab_dns_set_mood(struct lab_dns *lab, enum lab_dns_mood mood);
/* Queries answered so far (or swallowed, when silent). */
size_t lab_dns_queries(const struct lab_dns *lab);
/* The serial of the zone that holds `name`; 0 if there is none. */
uint32_t lab_dns_serial(const struct lab_dns *lab, const char *name);

#endif
