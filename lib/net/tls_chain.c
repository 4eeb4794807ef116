#include "net/tls_chain.h"
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

/* RFC 6698, sections 2.1.1 to 2.1.3. */
enum {
	USAGE_DANE_TA = 2,
	USAGE_DANE_EE = 3,
	SELECT_WHOLE = 0,
	SELECT_KEY = 1,
	MATCH_EXACT = 0,
	MATCH_SHA256 = 1,
	MATCH_SHA512 = 2
};

/* Takes `der`, of `len` bytes, which may have failed to be made. */
static bool hash(unsigned char *der, int len, struct tls_hashes *hashes)
{
	bool made = len > 0 &&
		    EVP_Digest(der, (size_t)len, hashes->sha256, NULL,
			       EVP_sha256(), NULL) == 1 &&
		    EVP_Digest(der, (size_t)len, hashes->sha512, NULL,
			       EVP_sha512(), NULL) == 1;

	OPENSSL_free(der);
	return made;
}

static void add(struct tls_chain *chain, X509 *certificate)
{
	unsigned char *whole = NULL, *key = NULL;
	int whole_len = i2d_X509(certificate, &whole);
	int key_len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);
	size_t at = chain->count;
	bool made;

	if (at == TLS_CHAIN_MAX) {
		OPENSSL_free(whole);
		OPENSSL_free(key);
		return;
	}
	made = hash(whole, whole_len, &chain->at[at].whole);
	if (hash(key, key_len, &chain->at[at].key) && made)
		chain->count++;
}

static void name_issuer(struct tls_chain *chain, X509 *certificate)
{
	X509_NAME *issuer = X509_get_issuer_name(certificate);

	chain->self_signed =
		X509_NAME_cmp(issuer, X509_get_subject_name(certificate)) == 0;
	if (X509_NAME_get_text_by_NID(issuer, NID_organizationName,
				      chain->issuer,
				      sizeof(chain->issuer)) <= 0)
		X509_NAME_get_text_by_NID(issuer, NID_commonName, chain->issuer,
					  sizeof(chain->issuer));
}

void tls_chain_take(struct ssl_st *ssl, struct tls_chain *chain)
{
	STACK_OF(X509) *shown = SSL_get_peer_cert_chain(ssl);

	*chain = (struct tls_chain){ 0 };
	/* Of a client's session: its own certificate is in it. */
	for (int i = 0; shown && i < sk_X509_num(shown); i++) {
		if (i == 0)
			name_issuer(chain, sk_X509_value(shown, i));
		add(chain, sk_X509_value(shown, i));
	}
}

/* The first certificate of a PEM file, the others to `rest`. */
static X509 *read_pem(const char *path, STACK_OF(X509) * rest)
{
	BIO *file = BIO_new_file(path, "r");
	X509 *first = NULL, *certificate;

	while (file &&
	       (certificate = PEM_read_bio_X509(file, NULL, NULL, NULL))) {
		if (!first)
			first = certificate;
		else
			sk_X509_push(rest, certificate);
	}
	BIO_free(file);
	ERR_clear_error(); /* of its end */
	return first;
}

int tls_chain_read(const char *certificate_file, struct tls_chain *chain,
		   struct err *err)
{
	STACK_OF(X509) *rest = sk_X509_new_null();
	X509 *first = read_pem(certificate_file, rest);

	if (first) {
		*chain = (struct tls_chain){ 0 };
		name_issuer(chain, first);
		add(chain, first);
		for (int i = 0; i < sk_X509_num(rest); i++)
			add(chain, sk_X509_value(rest, i));
	}
	X509_free(first);
	sk_X509_pop_free(rest, X509_free);
	if (first)
		return 0;
	return err_set(err, "certificate file '%s': no certificate in PEM",
		       certificate_file);
}

static void verify(X509 *first, STACK_OF(X509) * rest, const char *host,
		   X509_STORE *store, struct tls_info *info)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int verdict = X509_V_ERR_UNSPECIFIED;

	if (ctx && X509_STORE_CTX_init(ctx, store, first, rest) == 1 &&
	    X509_STORE_CTX_set_default(ctx, "ssl_server") == 1 &&
	    X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(ctx), host,
					0) == 1) {
		info->trusted = X509_verify_cert(ctx) == 1;
		verdict = X509_STORE_CTX_get_error(ctx);
	}
	snprintf(info->verdict, sizeof(info->verdict), "%s",
		 X509_verify_cert_error_string(verdict));
	X509_STORE_CTX_free(ctx);
}

int tls_chain_judge(const char *certificate_file, const char *host,
		    const char *ca_file, struct tls_info *info, struct err *err)
{
	STACK_OF(X509) *rest = sk_X509_new_null();
	X509_STORE *store = X509_STORE_new();
	X509 *first = read_pem(certificate_file, rest);
	struct tm tm;
	int result = -1;

	if (!first) {
		err_set(err, "certificate file '%s': no certificate in PEM",
			certificate_file);
		goto out;
	}
	if (!store ||
	    (ca_file ? X509_STORE_load_locations(store, ca_file, NULL) :
		       X509_STORE_set_default_paths(store)) != 1) {
		err_set(err, "cannot load the trusted certificates");
		goto out;
	}
	*info = (struct tls_info){ .active = true, .peer_certificate = true };
	X509_NAME_get_text_by_NID(X509_get_subject_name(first), NID_commonName,
				  info->subject, sizeof(info->subject));
	if (ASN1_TIME_to_tm(X509_get0_notAfter(first), &tm) == 1)
		info->not_after_ms = (int64_t)timegm(&tm) * 1000;
	verify(first, rest, host, store, info);
	result = 0;
out:
	ERR_clear_error();
	X509_free(first);
	sk_X509_pop_free(rest, X509_free);
	X509_STORE_free(store);
	return result;
}

static bool is_hash(const struct tls_hashes *hashes, unsigned matching,
		    struct slice data)
{
	unsigned char whole[DIGEST_LEN];

	switch (matching) {
	case MATCH_EXACT:
		digest_sha256(data, whole);
		return memcmp(whole, hashes->sha256, DIGEST_LEN) == 0;
	case MATCH_SHA256:
		return data.len == DIGEST_LEN &&
		       memcmp(data.p, hashes->sha256, DIGEST_LEN) == 0;
	case MATCH_SHA512:
		return data.len == TLS_SHA512 &&
		       memcmp(data.p, hashes->sha512, TLS_SHA512) == 0;
	default:
		return false;
	}
}

bool tls_chain_matches(const struct tls_chain *chain, unsigned usage,
		       unsigned selector, unsigned matching, struct slice data)
{
	size_t from = usage == USAGE_DANE_TA ? 1 : 0;
	size_t to = usage == USAGE_DANE_TA ? chain->count : 1;

	if ((usage != USAGE_DANE_TA && usage != USAGE_DANE_EE) ||
	    selector > SELECT_KEY)
		return false;
	/* A trust anchor may sign for itself alone. */
	if (usage == USAGE_DANE_TA && chain->self_signed)
		from = 0;
	for (size_t i = from; i < to && i < chain->count; i++)
		if (is_hash(selector == SELECT_WHOLE ? &chain->at[i].whole :
						       &chain->at[i].key,
			    matching, data))
			return true;
	return false;
}
