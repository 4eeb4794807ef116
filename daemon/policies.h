/*
 * policies.h - the MTA-STS policies that deliveries keep to (RFC 8461)
 *
 * One store per plan.  A domain's TXT record is asked for when its TTL has
 * passed and somebody wants to deliver or to probe; its policy is fetched when
 * there is another id, when none is kept, and at half of its max_age or after a
 * day (section 10.2: before it ends).  A kept policy counts until its max_age has
 * passed, whatever DNS or the web server say meanwhile (section 5.1), also
 * after a restart.  What cannot be found out for a domain without a kept one is
 * as if it had none (section 5); a fetch that failed is tried again after five
 * minutes (section 3.3).
 */
#ifndef DAEMON_POLICIES_H
#define DAEMON_POLICIES_H

#include "mail/mta_sts.h"
#include "net/addr.h"
#include "net/loop.h"

struct policies;

/* `path` is where they are kept; `changed` runs on the loop when an answer has
 * come. */
struct policies *policies_new(struct loop *loop, const char *path,
			      const struct addr *resolvers, size_t count,
			      loop_fn *changed, void *ctx);
void policies_free(struct policies *policies); /* NULL is fine */
/*
 * True: *policy is the domain's policy, or NULL if it has none; borrowed until
 * the next call.  A kept one is not waited for while it is asked for again.
 * False: nothing is known yet, it is being asked for.
 */
bool policies_look(struct policies *policies, const char *domain,
		   const struct mta_sts **policy);

#endif
