/*
 * courier.h - one message at a time to one host, beside the lines
 *
 * For what is no replay: a notification to a sender, a kept copy once more.
 * A courier touches neither queue nor ledger; it tells what the host answered
 * and its owner writes that down.  It connects at the first parcel, keeps the
 * session for the next ones, and connects again when the session was lost.
 */
#ifndef DAEMON_COURIER_H
#define DAEMON_COURIER_H

#include "daemon/spool_reader.h"
#include "daemon/trust.h"
#include "dns/dns_resolver.h"
#include "net/tls.h"
#include "plan/plan.h"
#include "smtp/smtp_client.h"

struct courier;

struct courier_spec {
	struct loop *loop;
	struct spool_reader *reader;
	struct dns_resolver *resolver; /* for names; may be NULL */
	struct tls_client *tls;
	enum plan_tls policy;
	struct trust *trust; /* of that host, or NULL */
	const char *host;    /* name or IP */
	int port;
	const char *helo;
	int64_t data_reply_ms; /* wait after the final dot */
};

/* What to carry; borrowed until `done` runs. */
struct courier_parcel {
	const char *reverse_path; /* "" for <> */
	const char *forward_path;
	const char *domain; /* of the plan: whose demands count, with a trust */
	bool eightbit, utf8;
	uint64_t bytes;
	const char *text; /* the message, or NULL: it lies in the spool */
	struct id id;
	struct spool_place place;
};

/* reply->code 0: no reply came, its text says why. */
typedef void courier_done_fn(void *ctx, enum smtp_stage stage,
			     const struct smtp_reply *reply);

/* Copies the spec; what that points at outlives the courier, but for the
 * texts. */
struct courier *courier_new(const struct courier_spec *spec);
/* Says QUIT if it can.  `done` of an open parcel does not run any more.  NULL
 * is fine; also from within `done`. */
void courier_free(struct courier *courier);
/* `done` runs exactly once, from the loop, never before this returns.  The
 * next parcel may be given from there on. */
void courier_carry(struct courier *courier, const struct courier_parcel *parcel,
		   courier_done_fn *done, void *ctx);
/* The last parcel failed before a session was up: the host is not there. */
bool courier_is_unreachable(const struct courier *courier);
/* The last parcel failed on the host's TLS: it is not what the plan, its TLSA
 * records or a policy demand.  DNS that gives no answer is another matter. */
bool courier_lacks_tls(const struct courier *courier);
/* The last parcel failed on what a policy demands for its domain: the host may
 * take another domain's. */
bool courier_fails_domain_alone(const struct courier *courier);
/* Of the last parcel, as tls_terms_describe() has it; "" in clear text. */
const char *courier_tls(const struct courier *courier);
/* The address that was connected to last; "" if none was. */
const char *courier_peer(const struct courier *courier);
/* The parcel took too long: its session is dropped, and `done` says so. */
void courier_give_up(struct courier *courier, const char *why);

#endif
