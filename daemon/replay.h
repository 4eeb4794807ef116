/*
 * replay.h - drain the queue to one target, in order, at its pace
 *
 * A replay belongs to one target of one plan.  Domains are its feeds: each is
 * open or not, as their valve says.  It claims the oldest due envelope of an
 * open feed, gives it to a delivery, understands the reply (plan/provider.h),
 * makes the outcome durable, and only then settles the claim.
 *
 * Feeds share the sessions, but not what they demand of them (trust.h): a
 * session opened for one carries the mail of another if it has proven what that
 * one demands.
 *
 * Limits of a mailbox or a pair (limit.h) stop that mailbox's line, before a
 * claim.
 *
 * A target that cannot be reached burns no attempt: claims go back, and a new
 * connection is tried after a backoff.
 */
#ifndef DAEMON_REPLAY_H
#define DAEMON_REPLAY_H

#include "daemon/delivery.h"
#include "daemon/limit.h"
#include "daemon/pace.h"
#include "daemon/target.h"
#include "daemon/trust.h"
#include "dns/dns_resolver.h"

struct replay;

struct replay_outcome {
	struct queue_domain *domain;
	enum reply_act act;
	enum reply_scope scope;
	const char *remedy;
	const struct smtp_reply *reply;
	enum smtp_stage stage;
};

struct replay_owner {
	/* After each outcome is durable and settled. */
	void (*on_outcome)(void *ctx, struct replay *replay,
			   const struct replay_outcome *outcome);
	/* The target refuses a domain, or (NULL) as a whole: valves must
	 * close. */
	void (*on_refused)(void *ctx, struct replay *replay,
			   const struct queue_domain *domain,
			   const char *reason);
	/* It cannot prove what this domain's mail demands: its valve must
	 * close. */
	void (*on_untrusted)(void *ctx, struct replay *replay,
			     const struct queue_domain *domain,
			     const char *reason);
	/* A connection worked or failed: evidence of health. */
	void (*on_health)(void *ctx, struct replay *replay, bool healthy,
			  const char *error);
	/* A refusal of scope mailbox is not the mailbox's when a known-good
	 * recipient of its domain is refused as well. */
	bool (*refuses_all)(void *ctx, struct replay *replay,
			    const struct queue_domain *domain);
};

struct replay_spec {
	struct store *store;
	const struct plan *plan;
	struct target *target;
	struct dns_resolver *resolver; /* for names; may be NULL */
	struct tls_client *tls;
	struct trust *trust; /* of the target */
	const char *helo;
};

struct replay *replay_new(const struct replay_spec *spec,
			  const struct replay_owner *owner, void *ctx);
/* Ends every delivery at once; claims go back to the queue. */
void replay_free(struct replay *replay);

/* Opens or shuts a feed; a delivery under way ends as it ends. */
void replay_feed(struct replay *replay, struct queue_domain *domain, bool open);
/* Something may be due: new mail, a release, a recovery. */
void replay_kick(struct replay *replay);
int replay_in_flight(const struct replay *replay);
int replay_flight(const struct replay *replay);
/* The limits per mailbox and pair of this target: the plan's, or else its
 * provider's.  Whoever knows of earlier deliveries counts them here. */
struct limit *replay_limit(const struct replay *replay);
struct target *replay_target(const struct replay *replay);

#endif
