#include "net/tls.h"
#include "base/buf.h"
#include "base/file.h"
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

struct tls_server {
	SSL_CTX *ctx;
	unsigned users;
};

struct tls_client {
	SSL_CTX *ctx;
	enum tls_policy policy;
};

static int err_ssl(struct err *err, const char *what)
{
	char text[256] = "unknown reason";
	unsigned long code = ERR_peek_last_error();

	if (code)
		ERR_error_string_n(code, text, sizeof(text));
	ERR_clear_error();
	return err_set(err, "%s: %s", what, text);
}

static SSL_CTX *ctx_new(const SSL_METHOD *method, struct err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx) {
		err_ssl(err, "cannot set up TLS");
		return NULL;
	}
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	/* Ten thousand idle peers cost half the memory. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS |
				      SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* SMTP frames itself: a missing close_notify cuts nothing off. */
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF |
					 SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_NO_COMPRESSION);
	return ctx;
}

static int load_pair(SSL_CTX *ctx, const char *certificate_file,
		     const char *key_file, struct err *err)
{
	if (SSL_CTX_use_certificate_chain_file(ctx, certificate_file) != 1) {
		err_ssl(err, "not a certificate chain in PEM");
		return err_prefix(err, "certificate file '%s'",
				  certificate_file);
	}
	if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1) {
		err_ssl(err, "not the private key of the certificate");
		return err_prefix(err, "key file '%s'", key_file);
	}
	return 0;
}

static struct tls_server *server_new(struct err *err)
{
	SSL_CTX *ctx = ctx_new(TLS_server_method(), err);
	struct tls_server *server;

	if (!ctx)
		return NULL;
	/* A client that leaves without reading its tickets resets the
	 * connection under a slow server. */
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	server = mem_alloc(sizeof(*server));
	server->ctx = ctx;
	return server;
}

struct tls_server *tls_server_new(const char *certificate_file,
				  const char *key_file, struct err *err)
{
	struct tls_server *server = server_new(err);

	if (!server)
		return NULL;
	if (load_pair(server->ctx, certificate_file, key_file, err) == 0)
		return server;
	tls_server_free(server);
	return NULL;
}

static X509 *selfsigned(EVP_PKEY *key, const char *host)
{
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	char *alt = mem_printf("DNS:%s", host);
	X509_EXTENSION *extension;

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 90L * 86400);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
				   (const unsigned char *)host, -1, -1, 0);
	X509_set_issuer_name(cert, name);
	extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alt);
	free(alt);
	if (extension) {
		X509_add_ext(cert, extension, -1);
		X509_EXTENSION_free(extension);
	}
	if (X509_sign(cert, key, EVP_sha256()) == 0) {
		X509_free(cert);
		return NULL;
	}
	return cert;
}

struct tls_server *tls_server_new_selfsigned(const char *host, struct err *err)
{
	struct tls_server *server = server_new(err);
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = key ? selfsigned(key, host) : NULL;

	if (server &&
	    (!cert || SSL_CTX_use_certificate(server->ctx, cert) != 1 ||
	     SSL_CTX_use_PrivateKey(server->ctx, key) != 1)) {
		err_ssl(err, "cannot make a certificate");
		tls_server_free(server);
		server = NULL;
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	return server;
}

static int write_pem(const char *path, unsigned mode, X509 *cert, EVP_PKEY *key,
		     struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *bytes;
	long len;
	int result;

	if (!bio || (cert ? PEM_write_bio_X509(bio, cert) :
			    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0,
						     NULL, NULL)) != 1) {
		BIO_free(bio);
		return err_ssl(err, "cannot write PEM");
	}
	len = BIO_get_mem_data(bio, &bytes);
	result = file_write(path, slice_of(bytes, (size_t)len), mode, err);
	BIO_free(bio);
	return result;
}

int tls_selfsigned_write(const char *host, const char *certificate_file,
			 const char *key_file, struct err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = key ? selfsigned(key, host) : NULL;
	int result = -1;

	if (!cert)
		err_ssl(err, "cannot make a certificate");
	else if (write_pem(certificate_file, 0644, cert, NULL, err) == 0)
		result = write_pem(key_file, 0600, NULL, key, err);
	X509_free(cert);
	EVP_PKEY_free(key);
	return result;
}

struct tls_server *tls_server_share(struct tls_server *server)
{
	if (server)
		server->users++;
	return server;
}

void tls_server_free(struct tls_server *server)
{
	if (!server || server->users-- > 0)
		return;
	SSL_CTX_free(server->ctx);
	free(server);
}

struct tls_client *tls_client_new(enum tls_policy policy, const char *ca_file,
				  const char *certificate_file,
				  const char *key_file, struct err *err)
{
	SSL_CTX *ctx = ctx_new(TLS_client_method(), err);
	struct tls_client *client;

	if (!ctx)
		return NULL;
	client = mem_alloc(sizeof(*client));
	client->ctx = ctx;
	client->policy = policy;
	SSL_CTX_set_verify(
		ctx, policy == TLS_VERIFIED ? SSL_VERIFY_PEER : SSL_VERIFY_NONE,
		NULL);
	if (ca_file ? SSL_CTX_load_verify_locations(ctx, ca_file, NULL) != 1 :
		      SSL_CTX_set_default_verify_paths(ctx) != 1) {
		err_ssl(err, "cannot load the trusted certificates");
		goto fail;
	}
	if (certificate_file &&
	    load_pair(ctx, certificate_file, key_file, err) < 0)
		goto fail;
	return client;
fail:
	tls_client_free(client);
	return NULL;
}

void tls_client_free(struct tls_client *client)
{
	if (!client)
		return;
	SSL_CTX_free(client->ctx);
	free(client);
}

enum tls_policy tls_client_policy(const struct tls_client *client)
{
	return client->policy;
}

struct ssl_ctx_st *tls_server_ctx(struct tls_server *server)
{
	return server->ctx;
}

struct ssl_ctx_st *tls_client_ctx(struct tls_client *client)
{
	return client->ctx;
}
