/*
 * trust.h - what a target must prove before it gets mail, and whose wish it is
 *
 * The plan's replay.tls says what every session needs; this adds what the
 * target's own side has published.
 *
 * DANE, where replay.tls is `dane` (RFC 7672).  Whoever writes that into a plan
 * wants it: it is mandatory DANE (section 6).  TLSA records that are secure
 * and of use must match, for the host that deliver_to names.  No record, or none
 * that anybody vouches for: the target gets nothing, and the valve says why.  Where
 * the host says securely that it has TLSA, and only of kinds that SMTP has no
 * use for, section 2.2 wants encryption, and cannot have more: so it is
 * delivered, and the evidence says "not verified".  A lookup that fails (bogus,
 * SERVFAIL, silence) puts the target off until it is answered.
 *
 * MTA-STS (RFC 8461), whatever replay.tls says, unless DANE has verified the
 * target already.  A policy says which hosts are MX of a domain, and that they
 * have a certificate for their name.  Which policy speaks of a target:
 *
 *   - that of the plan's domain, if it lists the host that deliver_to names:
 *     then this is an MX of the domain, and its certificate must verify for
 *     this name;
 *   - if it does not list it, the host is what section 3.4 calls a smart host,
 *     named by an administrator and not found through MX records: the policy
 *     domain is the host's own name.  A tenant's initial-domain host
 *     (acmenew.mail.protection.outlook.com) is one all through a move, when
 *     the domain's policy lists the queue and the MX that is to come; none of
 *     the big providers publishes a policy for these names.  To refuse such a
 *     host because the domain's policy does not list it would hold up the move
 *     and protect nobody: the plan named it, not DNS.
 *
 * Only `enforce` demands anything; `testing` and `none` do not (section 5).
 * Each domain has its own terms: what the policy of one demands is no demand
 * of another that goes to the same target.  An IP address has no policy and no
 * TLSA.
 */
#ifndef DAEMON_TRUST_H
#define DAEMON_TRUST_H

#include "base/list.h"
#include "daemon/policies.h"
#include "dns/dns_validator.h"
#include "net/tls_terms.h"

struct trust;

struct trust_spec {
	const char *host;
	int port;
	bool dane;
	struct dns_validator *validator; /* NULL: none, */
	const char *no_validator;	 /* and why */
	struct policies *policies;
};

/* Somebody who was told ASKING. */
struct trust_waiter {
	struct list link; /* list_init() it first */
	loop_fn *fn;
	void *ctx;
};

enum trust_state {
	TRUST_KNOWN,  /* a session may begin on these terms */
	TRUST_ASKING, /* not yet: see trust_wait() */
	TRUST_LATER,  /* DNS gave no answer that counts: not now */
	TRUST_REFUSED /* it cannot prove what is demanded */
};

struct trust_answer {
	enum trust_state state;
	/* KNOWN: what a session must prove for this domain, or NULL. */
	struct tls_terms *terms;
	/* LATER, REFUSED: what is wrong, with what to do. */
	const char *why;
	/* That is between this domain and the target: others may go there. */
	bool of_domain;
};

struct trust *trust_new(const struct trust_spec *spec);
void trust_free(struct trust *trust); /* NULL is fine */
/*
 * For mail of this domain.  Terms and texts are borrowed until the next call.
 * What is wrong with DANE holds for a second, then a call asks again.
 */
struct trust_answer trust_look(struct trust *trust, const char *domain);
/* Runs waiter->fn once, from the loop, when an answer has come; to cancel, take
 * it out of its list. */
void trust_wait(struct trust *trust, struct trust_waiter *waiter);
/* The policies have changed: whoever waits looks again. */
void trust_wake(struct trust *trust);
/* A session failed on its terms: ask again before the next. */
void trust_forget(struct trust *trust);

#endif
