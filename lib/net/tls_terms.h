/*
 * tls_terms.h - what one session must prove before mail leaves   [OpenSSL]
 *
 * A client (tls.h) asks the same of every session.  Terms ask more of one: its
 * host published TLSA records (RFC 7672), or a policy that wants a certificate
 * for its name (RFC 8461).  A session with terms is one with TLS, or none; a
 * certificate that does not meet them ends the handshake.
 *
 * Terms are shared: whoever takes them has a share and gives it back.  One
 * thread.
 */
#ifndef NET_TLS_TERMS_H
#define NET_TLS_TERMS_H

#include "base/buf.h"

/* RFC 6698 section 2.1, as RFC 7672 section 3.1 has a use for it. */
enum {
	TLSA_DANE_TA = 2,
	TLSA_DANE_EE = 3
};

struct tls_tlsa {
	unsigned usage, selector, matching;
	struct buf data;
};

struct tls_terms {
	/* Chain and name must be right for the store; without TLSA alone. */
	bool verified;
	/* One of them must match: for `base`, which is asked for by SNI as well
	 * (RFC 7672 sections 3.2.2 and 8.1). */
	char *base;
	struct tls_tlsa *tlsa;
	size_t tlsa_count;
	char *why; /* whose demand it is, in words */
	unsigned others;
};

struct ssl_st;
struct tls_info;

/* Without any demand but that of TLS itself.  `why` is copied. */
struct tls_terms *tls_terms_new(const char *why);
struct tls_terms *tls_terms_share(struct tls_terms *terms); /* NULL stays */
void tls_terms_free(struct tls_terms *terms);		    /* NULL is fine */
/* One more record; false, and nothing is added: SMTP has no use for it (PKIX
 * usages, what OpenSSL cannot read). */
bool tls_terms_add(struct tls_terms *terms, unsigned usage, unsigned selector,
		   unsigned matching, struct slice data);
/* A session that gave `info` may carry what these demand; `terms` may be NULL. */
bool tls_terms_met(const struct tls_terms *terms, const struct tls_info *info);
/*
 * What a session gave, as evidence: "TLSv1.3 TLS_AES_256_GCM_SHA384, verified
 * by pkix as mx.example, SNI mx.example; demanded by MTA-STS of acme.example",
 * "..., not verified: self-signed certificate".  `terms` may be NULL.
 */
void tls_terms_describe(const struct tls_terms *terms,
			const struct tls_info *info, char *text, size_t size);

/* For the modules of lib/net alone: sets up a client's session for `name`, an
 * IP or a host; `terms` may be NULL. */
void tls_terms_apply(const struct tls_terms *terms, const char *name,
		     struct ssl_st *ssl);

#endif
