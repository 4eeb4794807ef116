/*
 * tls.h - certificates, and what a TLS session turned out to be   [OpenSSL]
 *
 * Server: TLS 1.2 at least, no session tickets (LIBRARIES: a client that
 * leaves without reading its tickets costs a slow server its data), release
 * buffers.  Client: always presents SNI, always computes a verdict; whether
 * the verdict ends the session is the caller's policy.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/err.h"
#include "base/slice.h"

struct tls_server; /* certificate and key of a listener */
struct tls_client; /* trust and policy of a connecting side */
struct ssl_ctx_st;

/* What a server takes at least.  TLS 1.0 is for senders that would else fall
 * back to clear text (RFC 7435); RFC 8996 deprecates it. */
enum tls_floor {
	TLS_FLOOR_1_2,
	TLS_FLOOR_1_0
};

struct tls_server *tls_server_new(const char *certificate_file,
				  const char *key_file, enum tls_floor floor,
				  struct err *err);
/* A self-signed certificate for `host`, in memory: rehearsal and tests. */
struct tls_server *tls_server_new_selfsigned(const char *host, struct err *err);
/* The same as two PEM files (key with mode 0600). */
int tls_selfsigned_write(const char *host, const char *certificate_file,
			 const char *key_file, struct err *err);
/* One more owner, who frees it as well; NULL stays NULL.  One thread. */
struct tls_server *tls_server_share(struct tls_server *server);
void tls_server_free(struct tls_server *server); /* NULL is fine */
/*
 * Reads the files again if one of them is not the one that was tried last
 * (another inode, size or time of change), or always with `force`.  1: new sessions get
 * the new certificate, sessions under way keep theirs; 0: nothing changed; -1
 * with err: the files do not fit together (they may be half written), and the
 * old certificate stays.
 */
int tls_server_reload(struct tls_server *server, bool force, struct err *err);
/*
 * A client that asks `server` for a name (SNI, RFC 6066 section 3) that its
 * certificate lacks and that of `other` has, gets the one of `other`, which is
 * shared.  tls_server_without() takes that back.
 */
void tls_server_also(struct tls_server *server, struct tls_server *other);
void tls_server_without(struct tls_server *server, struct tls_server *other);

enum tls_policy {
	TLS_OPPORTUNISTIC, /* use it when offered, take any certificate */
	TLS_REQUIRED,	   /* must be used, take any certificate */
	TLS_VERIFIED,	   /* must be used, must be trusted and match */
	/* As opportunistic, and a session's terms (tls_terms.h) do not end it
	 * either: whoever asked holds them against what it gave. */
	TLS_PROBING,
};
/* `ca_file` NULL: the system's store.  Certificate and key may be NULL. */
struct tls_client *tls_client_new(enum tls_policy policy, const char *ca_file,
				  const char *certificate_file,
				  const char *key_file, struct err *err);
void tls_client_free(struct tls_client *client); /* NULL is fine */
enum tls_policy tls_client_policy(const struct tls_client *client);

/* How a peer's certificate was found right. */
enum tls_proof {
	TLS_PROOF_NONE,
	TLS_PROOF_PKIX,	   /* signed by whom the store trusts, for its name */
	TLS_PROOF_DANE_EE, /* TLSA of its key or certificate (RFC 7672) */
	TLS_PROOF_DANE_TA  /* TLSA of who signed it, for its name */
};
const char *tls_proof_name(enum tls_proof proof); /* "dane-ee" */

struct tls_info {
	bool active;
	char version[16]; /* "TLSv1.3" */
	char cipher[64];
	int bits;
	bool peer_certificate;
	bool trusted;	      /* chain and name are right */
	char verdict[128];    /* "ok", or OpenSSL's reason */
	enum tls_proof proof; /* of a client's session: why it is trusted */
	char name[256];	      /* that matched; "" of none, or none counts */
	char sni[256];	      /* the name that was asked for, or "" */
	char subject[128];    /* peer's subject common name or first SAN */
	int64_t not_after_ms; /* peer certificate's end, 0 if none */
};

/* For the modules of lib/net alone. */
struct ssl_ctx_st *tls_server_ctx(struct tls_server *server);
struct ssl_ctx_st *tls_client_ctx(struct tls_client *client);

#endif
