/*
 * dns_record.h - a DNS answer taken apart, from bytes (RFC 1035, 2308, 3596)
 *
 * Pure.  Hostile input: every length is checked, names are expanded with a
 * bound on compression pointers.
 */
#ifndef DNS_DNS_RECORD_H
#define DNS_DNS_RECORD_H

#include "base/buf.h"
#include "base/err.h"

enum dns_type {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_OPT = 41
};
enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_REFUSED = 5
};

#define DNS_NAME 256 /* text with NUL, no final dot, lower case */

struct dns_record {
	char name[DNS_NAME];
	unsigned type;
	uint32_t ttl;
	char target[DNS_NAME];	  /* NS, CNAME, PTR, MX host, SOA mname; "" is
				   the root ("." of a null MX) */
	unsigned preference;	  /* MX */
	uint32_t serial, minimum; /* SOA */
	char address[48];	  /* A, AAAA as text */
	char *text;		  /* TXT, strings joined; owned, may be NULL */
};

struct dns_answer {
	unsigned rcode;
	bool aa, tc, ad;
	struct dns_record *answers; /* the answer section */
	size_t answer_count;
	struct dns_record *authority; /* the authority section */
	size_t authority_count;
};

int dns_answer_parse(struct slice packet, struct dns_answer *answer,
		     struct err *err);
void dns_answer_release(struct dns_answer *answer);
/* A copy of its own; release it as well. */
void dns_answer_copy(struct dns_answer *to, const struct dns_answer *from);
const char *dns_rcode_name(unsigned rcode);
const char *dns_type_name(unsigned type);
/* A DNS name as tideover keeps it: lower case, no final dot; false: no name. */
bool dns_name_normal(struct slice in, char out[DNS_NAME]);

#endif
