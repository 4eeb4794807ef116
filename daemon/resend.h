/*
 * resend.h - kept copies of delivered mail once more to a system
 *
 * For mail that went to one system and is needed in the other: after a
 * rollback, or when a target lost what it had taken.  The copies pass beside
 * the lines, one after another in the order of acceptance; queue and ledger do
 * not change.  Every attempt is journalled with its reply before the next one
 * begins; without its line none is made.
 */
#ifndef DAEMON_RESEND_H
#define DAEMON_RESEND_H

#include "daemon/cutover.h"
#include "daemon/spool_space.h"

struct resend;

struct resend_spec {
	struct store *store;
	struct spool_space *space;
	struct cutover *cutover; /* outlives it */
	enum plan_system_id to;
	const char *by;
};

struct resend_owner {
	/* An attempt, or a copy that is gone (code 0, "sent" false): {"id",
	 * "envelope", "forward_path", "target", "stage", "code", "enhanced",
	 * "text", "sent"}; borrowed. */
	void (*on_attempt)(void *ctx, const struct json *attempt);
	/* Asked before each: the rest is left. */
	bool (*is_wanted)(void *ctx);
	/* Once, last: {"sent","refused","gone","left","error"}; borrowed. */
	void (*on_end)(void *ctx, const struct json *result);
};

struct resend *resend_new(const struct resend_spec *spec,
			  const struct resend_owner *owner, void *ctx);
/* One more to send: a row of index_copies(); before resend_run(). */
void resend_add(struct resend *resend, const struct json *row);
size_t resend_count(const struct resend *resend);
/* How many of them are still on disk. */
size_t resend_kept(const struct resend *resend);
/* Calls for each without sending: what resend_run() would attempt. */
void resend_each(const struct resend *resend,
		 void (*each)(void *ctx, const struct json *row), void *ctx);
/* Sends them; ends with on_end, which frees it afterwards. */
void resend_run(struct resend *resend);
/* Ends at once, no callback.  NULL is fine. */
void resend_free(struct resend *resend);

#endif
