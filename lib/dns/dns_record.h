/*
 * dns_record.h - a DNS answer taken apart, from bytes (RFC 1035, 2308, 3596;
 * 2782 SRV, 4034 DS and RRSIG, 6698 TLSA, 8659 CAA)
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
	DNS_SRV = 33,
	DNS_OPT = 41,
	DNS_DS = 43,
	DNS_RRSIG = 46,
	DNS_TLSA = 52,
	DNS_CAA = 257
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
	char target[DNS_NAME];	  /* NS, CNAME, PTR, MX host, SRV host, SOA
				   mname; "" is the root ("." of a null MX) */
	unsigned preference;	  /* MX; SRV: its priority */
	unsigned port;		  /* SRV */
	uint32_t serial, minimum; /* SOA */
	unsigned usage, selector, matching; /* TLSA */
	unsigned flags;			    /* CAA; 128: critical */
	unsigned covers;		    /* RRSIG: the type it signs */
	uint32_t begins_s, ends_s;	    /* RRSIG: modulo 2^32, see below */
	char address[48];		    /* A, AAAA as text */
	char *text; /* TXT: its strings joined; CAA: "issue ca.example"; TLSA,
		     * DS: the hash in hex; owned, else NULL */
};

struct dns_answer {
	unsigned rcode;
	bool aa, tc, ad;
	struct dns_record *answers; /* the answer section */
	size_t answer_count;
	struct dns_record *authority; /* the authority section */
	size_t authority_count;
	/* Of dns_resolver.h, 0 for a packet alone: when it came (boot), and how
	 * long before that it was asked. */
	int64_t came_ms, took_ms;
};

int dns_answer_parse(struct slice packet, struct dns_answer *answer,
		     struct err *err);
void dns_answer_release(struct dns_answer *answer);
/* A copy of its own; release it as well. */
void dns_answer_copy(struct dns_answer *to, const struct dns_answer *from);
/* RFC 4034 section 3.1.5: the time in seconds since 1970 that is meant, the one
 * within 68 years of `now_s`. */
int64_t dns_signature_time(uint32_t time_s, int64_t now_s);
/* Where the PTR of an address is: "1.2.0.192.in-addr.arpa" (RFC 1035 section
 * 3.5), "...ip6.arpa" (RFC 3596 section 2.5); false: no address. */
bool dns_reverse_name(const char *address, char out[DNS_NAME]);
const char *dns_rcode_name(unsigned rcode);
const char *dns_type_name(unsigned type);
/* A DNS name as tideover keeps it: lower case, no final dot; false: no name. */
bool dns_name_normal(struct slice in, char out[DNS_NAME]);

#endif
