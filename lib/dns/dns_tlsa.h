/*
 * dns_tlsa.h - what a mail host publishes of its key (RFC 6698, RFC 7672)
 *
 * Of the host that we were told to go to, as RFC 7672 section 2.2 wants it: its
 * address first, as an unsigned zone has no TLSA that counts and may answer
 * strangely; where the name is an alias, the name that it stands for is asked
 * first (section 2.2.2), and the name itself if that has none.  Only what a
 * validator vouches for counts (dns_validator.h).
 *
 * What is secure and what is insecure are answers; DNS_TLSA_FAILED is none:
 * bogus, SERVFAIL, silence.  Whoever goes on then has been downgraded (section
 * 2.1.1).
 */
#ifndef DNS_DNS_TLSA_H
#define DNS_DNS_TLSA_H

#include "dns/dns_validator.h"

enum dns_tlsa_state {
	DNS_TLSA_THERE,	   /* secure, one at least */
	DNS_TLSA_NONE,	   /* secure: there is none */
	DNS_TLSA_INSECURE, /* nobody vouches for what DNS says */
	DNS_TLSA_FAILED
};

struct dns_tlsa {
	enum dns_tlsa_state state;
	char base[DNS_NAME]; /* the host whose they are */
	char name[DNS_NAME]; /* that was asked: "_25._tcp.mx.example" */
	const struct dns_answer *answer; /* THERE; else NULL; borrowed */
	int64_t ttl_s;			 /* how long that holds; 0: FAILED */
	const char *why;		 /* FAILED; else NULL */
};

struct dns_tlsa_ask;
typedef void dns_tlsa_fn(void *ctx, const struct dns_tlsa *tlsa);

/* `done` runs exactly once, from the loop, never before this returns, and the
 * ask is gone with it. */
struct dns_tlsa_ask *dns_tlsa_ask(struct dns_validator *validator,
				  const char *host, int port, dns_tlsa_fn *done,
				  void *ctx);
/* `done` does not run any more; *ask becomes NULL; NULL is fine. */
void dns_tlsa_cancel(struct dns_tlsa_ask **ask);

#endif
