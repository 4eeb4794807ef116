#include "net/tls_terms.h"
#include "net/addr.h"
#include "net/tls.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	SELECT_KEY = 1,
	MATCH_EXACT = 0,
	MATCH_SHA256 = 1,
	MATCH_SHA512 = 2
};

struct tls_terms *tls_terms_new(const char *why)
{
	struct tls_terms *terms = mem_alloc(sizeof(*terms));

	terms->why = mem_dup(why);
	return terms;
}

struct tls_terms *tls_terms_share(struct tls_terms *terms)
{
	if (terms)
		terms->others++;
	return terms;
}

void tls_terms_free(struct tls_terms *terms)
{
	if (!terms || terms->others-- > 0)
		return;
	for (size_t i = 0; i < terms->tlsa_count; i++)
		buf_release(&terms->tlsa[i].data);
	free(terms->tlsa);
	free(terms->base);
	free(terms->why);
	free(terms);
}

/* A whole certificate or key: what OpenSSL cannot read matches nothing. */
static bool is_readable(unsigned selector, struct slice data)
{
	const unsigned char *at = (const unsigned char *)data.p;
	bool key = selector == SELECT_KEY;
	X509 *certificate = key ? NULL : d2i_X509(NULL, &at, (long)data.len);
	EVP_PKEY *public = key ? d2i_PUBKEY(NULL, &at, (long)data.len) : NULL;
	bool whole = (certificate || public) &&
		     (const char *)at == data.p + data.len;

	X509_free(certificate);
	EVP_PKEY_free(public);
	ERR_clear_error();
	return whole;
}

bool tls_terms_add(struct tls_terms *terms, unsigned usage, unsigned selector,
		   unsigned matching, struct slice data)
{
	bool sound = (matching == MATCH_EXACT && is_readable(selector, data)) ||
		     (matching == MATCH_SHA256 && data.len == 32) ||
		     (matching == MATCH_SHA512 && data.len == 64);
	struct tls_tlsa *tlsa;

	if ((usage != TLSA_DANE_TA && usage != TLSA_DANE_EE) ||
	    selector > SELECT_KEY || !sound)
		return false;
	terms->tlsa = mem_grow(terms->tlsa,
			       (terms->tlsa_count + 1) * sizeof(*terms->tlsa));
	tlsa = &terms->tlsa[terms->tlsa_count++];
	*tlsa = (struct tls_tlsa){ usage, selector, matching, BUF_INIT };
	buf_add(&tlsa->data, data);
	return true;
}

static bool is_dane(enum tls_proof proof)
{
	return proof == TLS_PROOF_DANE_EE || proof == TLS_PROOF_DANE_TA;
}

bool tls_terms_met(const struct tls_terms *terms, const struct tls_info *info)
{
	if (!terms)
		return true;
	if (terms->tlsa_count > 0)
		return is_dane(info->proof);
	return info->active &&
	       (!terms->verified || info->proof != TLS_PROOF_NONE);
}

void tls_terms_describe(const struct tls_terms *terms,
			const struct tls_info *info, char *text, size_t size)
{
	bool proven = info->proof != TLS_PROOF_NONE;

	snprintf(text, size, "%s %s, %s%s%s%s%s%s%s%s", info->version,
		 info->cipher, proven ? "verified by " : "not verified: ",
		 proven ? tls_proof_name(info->proof) : info->verdict,
		 *info->name ? " as " : "", info->name,
		 *info->sni ? ", SNI " : "", info->sni,
		 terms ? "; demanded by " : "", terms ? terms->why : "");
}

/*
 * RFC 7672 section 3.1.1: of DANE-EE the record alone counts, neither name nor
 * dates.  Of DANE-TA the names count: the TLSA base domain, and the host that
 * we were told to go to (section 3.2.2).  If OpenSSL took no record it would
 * verify by the store: too much, never too little.
 */
static void want_tlsa(const struct tls_terms *terms, const char *name, SSL *ssl)
{
	if (SSL_dane_enable(ssl, terms->base) <= 0)
		abort();
	SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	SSL_add1_host(ssl, name);
	for (size_t i = 0; i < terms->tlsa_count; i++) {
		const struct tls_tlsa *tlsa = &terms->tlsa[i];

		SSL_dane_tlsa_add(ssl, (uint8_t)tlsa->usage,
				  (uint8_t)tlsa->selector,
				  (uint8_t)tlsa->matching,
				  (const unsigned char *)tlsa->data.p,
				  tlsa->data.len);
	}
	ERR_clear_error();
}

void tls_terms_apply(const struct tls_terms *terms, const char *name, SSL *ssl)
{
	struct addr ip;

	if (terms && terms->tlsa_count > 0) {
		want_tlsa(terms, name, ssl);
	} else if (addr_from_ip(slice(name), 0, &ip, NULL)) {
		/* An address is no server name (RFC 6066 section 3). */
		SSL_set_tlsext_host_name(ssl, name);
		SSL_set1_host(ssl, name);
	} else {
		X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
	}
	if (terms && (terms->verified || terms->tlsa_count > 0))
		SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
}
