#include "net/tls_chain.h"
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

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

int tls_chain_read(const char *certificate_file, struct tls_chain *chain,
		   struct err *err)
{
	struct tls_chain read = { 0 };
	BIO *file = BIO_new_file(certificate_file, "r");
	X509 *certificate;

	while (file &&
	       (certificate = PEM_read_bio_X509(file, NULL, NULL, NULL))) {
		if (read.count == 0)
			name_issuer(&read, certificate);
		add(&read, certificate);
		X509_free(certificate);
	}
	BIO_free(file);
	ERR_clear_error(); /* of its end */
	if (read.count == 0)
		return err_set(err,
			       "certificate file '%s': no certificate in PEM",
			       certificate_file);
	*chain = read;
	return 0;
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
