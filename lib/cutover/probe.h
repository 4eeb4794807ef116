/*
 * probe.h - ask a mail system whether it is there, without sending mail
 *
 * Connect, banner, EHLO, STARTTLS when offered (certificate verdict kept),
 * EHLO, MAIL FROM:<>, RCPT for each address, RSET, QUIT; never DATA.  Probes
 * pass beside the queue's lines and are not ledger mail.  Asynchronous on the
 * loop; `done` runs exactly once, never before probe_start() returns, and the
 * probe is gone when it returns.
 */
#ifndef CUTOVER_PROBE_H
#define CUTOVER_PROBE_H

#include "base/json.h"
#include "dns/dns_desk.h"
#include "net/tls.h"
#include "net/tls_chain.h"
#include "net/tls_terms.h"
#include "smtp/smtp_client.h"

#define PROBE_RCPT_MAX 8

struct probe_rcpt {
	char address[256];
	bool random;		 /* made up: nobody has it */
	struct smtp_reply reply; /* code 0: not asked */
};

struct probe_result {
	char target[300];	 /* "host:port" */
	char address[ADDR_TEXT]; /* that was connected to */
	bool connected;
	bool refused; /* TCP was refused: nothing listens */
	struct smtp_reply greeting;
	struct smtp_offers offers;
	struct tls_info tls;
	struct tls_chain chain;
	struct probe_rcpt rcpt[PROBE_RCPT_MAX];
	size_t rcpt_count;
	/* Healthy: greeted 220, EHLO 250, MAIL 250 (RCPT is judged apart). */
	bool healthy;
	enum smtp_stage stage;	 /* where it ended if not healthy */
	struct smtp_reply ended; /* the reply that ended it; code 0: none did */
	char error[256];	 /* "" when healthy */
	int64_t at_ms, took_ms;
};

struct probe;
typedef void probe_fn(void *ctx, const struct probe_result *result);

/* Strings are copied; `tls` must outlive the probe. */
struct probe_spec {
	const char *host;
	int port;
	const char *helo;
	const char *const *recipients; /* asked as they are */
	size_t recipient_count;
	const char *random_domain; /* NULL: no random address */
	struct tls_client *tls;	   /* NULL: no STARTTLS */
	const char *tls_name;	   /* its certificate's; NULL: `host` */
	/* TLS is asked for as these want it, and the result has what it gave
	 * (tls_terms_met); or NULL.  `tls` is of TLS_PROBING. */
	struct tls_terms *terms;
	/* Asked for names, and outlives the probe; NULL: only IP addresses can
	 * be probed. */
	struct dns_desk *desk;
	int64_t timeout_ms; /* of the whole probe */
};

struct probe *probe_start(struct loop *loop, const struct probe_spec *spec,
			  probe_fn *done, void *ctx);
void probe_cancel(struct probe *probe); /* NULL is fine */

/* The certificate and what is thought of it; NULL without one. */
struct json *probe_tls_json(const struct tls_info *tls,
			    const struct tls_chain *chain);
/* Evidence: what was asked, the raw replies, when. */
struct json *probe_json(const struct probe_result *result);

#endif
