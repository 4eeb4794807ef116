/*
 * resend.h - kept copies of delivered mail once more to a system
 *
 * For mail that went to one system and is needed in the other: after a
 * rollback, or when a target lost what it had taken.  The copies pass beside
 * the lines, one after another in the order of acceptance; queue and ledger do
 * not change.  Every attempt is journalled with its reply before the next one
 * begins; without its line none is made.
 *
 * Where no session with a system comes up, its other copies are not tried; nor
 * are a domain's, where that is for a demand of the domain alone (trust.h).  The
 * other copies go.
 *
 * They may be a million: they are taken a page at a time.  What is delivered
 * meanwhile is not among them.
 */
#ifndef DAEMON_RESEND_H
#define DAEMON_RESEND_H

#include "daemon/cutover.h"
#include "daemon/selection.h"
#include "daemon/spool_space.h"

struct resend;

struct resend_spec {
	struct store *store;
	struct spool_space *space;
	struct cutover *cutover; /* outlives it */
	enum plan_system_id to;
	const char *by;
	const struct selection *selection; /* copied */
	bool dry_run;			   /* tells of each, and sends none */
};

struct resend_owner {
	/* Once, first: so many are selected, or why that is not known.  False:
	 * no, and resend_free() was called. */
	bool (*on_count)(void *ctx, size_t count, const struct err *err);
	/* An attempt, or a copy that is gone (code 0, "sent" false): {"id",
	 * "envelope", "forward_path", "target", "stage", "code", "enhanced",
	 * "text", "sent"}; of a dry run {.., "copy"}; borrowed. */
	void (*on_attempt)(void *ctx, const struct json *attempt);
	/* Asked before each: the rest is left. */
	bool (*is_wanted)(void *ctx);
	/* Once, last: {"sent","refused","gone","left","unsent","error"};
	 * borrowed.  "unsent": of what is left, per domain what could not go:
	 * {"domain","target","count","error"}. */
	void (*on_end)(void *ctx, const struct json *result);
};

/* No callback before this returns; it ends with on_end, and frees itself
 * afterwards. */
struct resend *resend_begin(const struct resend_spec *spec,
			    const struct resend_owner *owner, void *ctx);
/* Ends at once, no callback.  NULL is fine. */
void resend_free(struct resend *resend);

#endif
