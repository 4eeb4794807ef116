#include "net/tls.h"
#include "base/buf.h"
#include "base/file.h"
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Which version of a file was read. */
struct file_mark {
	ino_t inode;
	off_t size;
	struct timespec changed;
};

struct tls_server {
	SSL_CTX *ctx;
	unsigned users;
	enum tls_floor floor;
	char *certificate_file, *key_file; /* NULL: self-signed */
	struct file_mark certificate_mark, key_mark;
	struct tls_server **others;
	size_t other_count;
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

static bool has_name(SSL_CTX *ctx, const char *name)
{
	X509 *certificate = SSL_CTX_get0_certificate(ctx);

	return certificate &&
	       X509_check_host(certificate, name, 0,
			       X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}

static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
	const struct tls_server *server = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	if (!name || has_name(server->ctx, name))
		return SSL_TLSEXT_ERR_OK;
	for (size_t i = 0; i < server->other_count; i++) {
		if (!has_name(server->others[i]->ctx, name))
			continue;
		SSL_set_SSL_CTX(ssl, server->others[i]->ctx);
		break;
	}
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *server_ctx(struct tls_server *server, struct err *err)
{
	SSL_CTX *ctx = ctx_new(TLS_server_method(), err);

	if (!ctx)
		return NULL;
	if (server->floor == TLS_FLOOR_1_0) {
		SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
		/* Its handshake signs with SHA-1, which level 1 refuses. */
		SSL_CTX_set_security_level(ctx, 0);
	}
	/* A client that leaves without reading its tickets resets the
	 * connection under a slow server. */
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_tlsext_servername_callback(ctx, choose_certificate);
	SSL_CTX_set_tlsext_servername_arg(ctx, server);
	return ctx;
}

static void mark_file(const char *path, struct file_mark *mark)
{
	struct stat st;

	memset(mark, 0, sizeof(*mark));
	if (stat(path, &st) < 0)
		return;
	mark->inode = st.st_ino;
	mark->size = st.st_size;
	mark->changed = st.st_ctim; /* so does chmod */
}

static bool same_mark(const struct file_mark *a, const struct file_mark *b)
{
	return a->inode == b->inode && a->size == b->size &&
	       a->changed.tv_sec == b->changed.tv_sec &&
	       a->changed.tv_nsec == b->changed.tv_nsec;
}

/* The marks are taken first: a change while we read is seen next time.  What
 * was no good is not read again until it changes. */
static int load_server(struct tls_server *server, struct err *err)
{
	SSL_CTX *ctx = server_ctx(server, err);

	if (!ctx)
		return -1;
	mark_file(server->certificate_file, &server->certificate_mark);
	mark_file(server->key_file, &server->key_mark);
	if (load_pair(ctx, server->certificate_file, server->key_file, err) <
	    0) {
		SSL_CTX_free(ctx);
		return -1;
	}
	SSL_CTX_free(server->ctx);
	server->ctx = ctx;
	return 0;
}

struct tls_server *tls_server_new(const char *certificate_file,
				  const char *key_file, enum tls_floor floor,
				  struct err *err)
{
	struct tls_server *server = mem_alloc(sizeof(*server));

	server->floor = floor;
	server->certificate_file = mem_dup(certificate_file);
	server->key_file = mem_dup(key_file);
	if (load_server(server, err) == 0)
		return server;
	tls_server_free(server);
	return NULL;
}

int tls_server_reload(struct tls_server *server, bool force, struct err *err)
{
	struct file_mark certificate, key;

	if (!server->certificate_file)
		return 0;
	mark_file(server->certificate_file, &certificate);
	mark_file(server->key_file, &key);
	if (!force && same_mark(&certificate, &server->certificate_mark) &&
	    same_mark(&key, &server->key_mark))
		return 0;
	return load_server(server, err) == 0 ? 1 : -1;
}

void tls_server_also(struct tls_server *server, struct tls_server *other)
{
	if (!server || !other || server == other)
		return;
	server->others = mem_grow(server->others,
				  (server->other_count + 1) * sizeof(other));
	server->others[server->other_count++] = tls_server_share(other);
}

void tls_server_without(struct tls_server *server, struct tls_server *other)
{
	if (!server)
		return;
	for (size_t i = 0; i < server->other_count; i++) {
		if (server->others[i] != other)
			continue;
		server->others[i] = server->others[--server->other_count];
		tls_server_free(other);
		return;
	}
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
	struct tls_server *server = mem_alloc(sizeof(*server));
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = key ? selfsigned(key, host) : NULL;

	server->ctx = server_ctx(server, err);
	if (server->ctx &&
	    (!cert || SSL_CTX_use_certificate(server->ctx, cert) != 1 ||
	     SSL_CTX_use_PrivateKey(server->ctx, key) != 1))
		err_ssl(err, "cannot make a certificate");
	else if (server->ctx)
		goto out;
	tls_server_free(server);
	server = NULL;
out:
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
	while (server->other_count > 0)
		tls_server_free(server->others[--server->other_count]);
	free(server->others);
	SSL_CTX_free(server->ctx);
	free(server->certificate_file);
	free(server->key_file);
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
	/* For terms with TLSA; without, nothing changes. */
	if (SSL_CTX_dane_enable(ctx) != 1)
		abort();
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

const char *tls_proof_name(enum tls_proof proof)
{
	static const char *const names[] = {
		[TLS_PROOF_NONE] = "none",
		[TLS_PROOF_PKIX] = "pkix",
		[TLS_PROOF_DANE_EE] = "dane-ee",
		[TLS_PROOF_DANE_TA] = "dane-ta",
	};

	return names[proof];
}

struct ssl_ctx_st *tls_server_ctx(struct tls_server *server)
{
	return server->ctx;
}

struct ssl_ctx_st *tls_client_ctx(struct tls_client *client)
{
	return client->ctx;
}
