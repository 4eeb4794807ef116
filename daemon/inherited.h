/*
 * inherited.h - listening sockets that the supervisor opened for us
 *
 * The protocol of sd_listen_fds(3), written out.  A socket is found by the
 * address it is bound to, which a plan's listener names later; what no plan
 * names stays unused.
 *
 * We keep each socket until the end and give out duplicates, so that a
 * listener closes what it was given like any other, and a plan that comes
 * again finds the socket again.  Meanwhile peers wait in the backlog.
 */
#ifndef DAEMON_INHERITED_H
#define DAEMON_INHERITED_H

#include "net/addr.h"

struct inherited;

/*
 * Takes over what LISTEN_FDS counts, if LISTEN_PID is us.  Call before the
 * first descriptor is opened: a count that is too high would take that over.
 */
struct inherited *inherited_new(void);
void inherited_free(struct inherited *inherited); /* NULL is fine */
/* A duplicate of the socket bound to `addr`, the caller's to close; or -1. */
int inherited_socket(const struct inherited *inherited,
		     const struct addr *addr);

#endif
