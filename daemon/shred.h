/*
 * shred.h - an end to all that a plan kept
 *
 * Destroys the data key of a plan, once nothing needs it: the plan accepts no
 * mail, every envelope is final, and every record about them is durable.
 * Journalled before it happens and after.
 */
#ifndef DAEMON_SHRED_H
#define DAEMON_SHRED_H

#include "daemon/cutover.h"

/* What it shows, and what it does not: for the answer and the journal. */
extern const char shred_proves[], shred_leaves[];

/*
 * *again: it was shredded before, nothing is done.  -1 with err, and *status as
 * of HTTP: 409 if it may not be now, and nothing was done; 500 if it failed,
 * which may be tried again.
 */
int shred_plan(struct cutover *cutover, const char *by, const char *reason,
	       bool *again, int *status, struct err *err);

#endif
