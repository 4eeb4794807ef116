/*
 * tls_chain.h - the certificates that a peer showed, as TLSA names them
 *
 * Digests alone: what a TLSA record of RFC 6698 says of a certificate can be
 * held against them, and they can be kept and copied like any struct.
 */
#ifndef NET_TLS_CHAIN_H
#define NET_TLS_CHAIN_H

#include "base/digest.h"
#include "base/err.h"
#include "net/tls.h"

struct ssl_st;

enum {
	TLS_CHAIN_MAX = 5, /* longer chains are cut: the root is no sender's */
	TLS_SHA512 = 64
};

struct tls_hashes {
	unsigned char sha256[DIGEST_LEN];
	unsigned char sha512[TLS_SHA512];
};

struct tls_chain {
	size_t count; /* 0: none was shown */
	/* The peer's own comes first. */
	struct {
		struct tls_hashes whole; /* of the certificate, DER */
		struct tls_hashes key;	 /* of its SubjectPublicKeyInfo, DER */
	} at[TLS_CHAIN_MAX];
	char issuer[128]; /* who signed the first: its O, else its CN */
	bool self_signed; /* the first is nobody's but its own */
};

/* What the peer of a session showed; for lib/net/stream.c. */
void tls_chain_take(struct ssl_st *ssl, struct tls_chain *chain);
/* The same of a PEM file, as a listener with it would show. */
int tls_chain_read(const char *certificate_file, struct tls_chain *chain,
		   struct err *err);

/*
 * What a client would make of it: as stream_tls_info() of a session with
 * `host`, but for the session itself (version, cipher).  `ca_file` NULL: whom
 * the system trusts.
 */
int tls_chain_judge(const char *certificate_file, const char *host,
		    const char *ca_file, struct tls_info *info,
		    struct err *err);

/*
 * Whether a TLSA record matches (RFC 6698 section 2.1, and RFC 7672 section
 * 3.1: with SMTP only DANE-TA(2) and DANE-EE(3) are of use).  `data` is the
 * association data, raw.
 */
bool tls_chain_matches(const struct tls_chain *chain, unsigned usage,
		       unsigned selector, unsigned matching, struct slice data);

#endif
