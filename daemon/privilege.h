/*
 * privilege.h - from root to a user of its own, with one capability left
 *
 * Listeners are opened when a plan comes, long after the start, and SMTP's
 * port is below 1024: CAP_NET_BIND_SERVICE is kept, everything else goes, and
 * for good.
 *
 * Called in this order, before any thread runs and before the state folder is
 * opened.  What these do cannot be undone.
 */
#ifndef DAEMON_PRIVILEGE_H
#define DAEMON_PRIVILEGE_H

#include "base/err.h"
#include <sys/types.h>

struct privilege_user {
	const char *name; /* borrowed */
	uid_t uid;
	gid_t gid;
};

/* -1 if there is no such user, if it is root, or if we may not become it. */
int privilege_find(const char *name, struct privilege_user *user,
		   struct err *err);
/*
 * Changes user, group and groups.  A state folder that is missing is made for
 * the user first; one that is there must be the user's already.
 */
int privilege_become(const struct privilege_user *user, const char *state_dir,
		     struct err *err);
/*
 * Drops every capability but CAP_NET_BIND_SERVICE, and the way back: the
 * bounding set and what execve() could give.  Root keeps its own, because
 * without them it could not read what belongs to others.
 */
int privilege_drop(struct err *err);
/* No core dump and no debugger: memory holds mail and keys. */
int privilege_hide_memory(struct err *err);

#endif
