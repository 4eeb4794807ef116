/*
 * recipients.h - the addresses that a plan lists
 *
 * Read from the plan's CSV file: one address per line, or the first field of a
 * line; empty lines and lines that begin with # are skipped, a first line
 * "address" or "email" is a heading.  Compared by mailbox key (local part
 * without case).
 */
#ifndef PLAN_RECIPIENTS_H
#define PLAN_RECIPIENTS_H

#include "base/err.h"
#include "base/map.h"

struct recipients {
	struct map known;
	int64_t changed_ms; /* wall: the file's time when it was read */
	char *state;	    /* of the file that was looked at last; owned */
};

int recipients_load(struct recipients *recipients, const char *path,
		    struct err *err);
/*
 * The same, if the file is another than the one that was looked at last: 1 when
 * there is a new list, 0 when the file is as it was, -1 when it cannot be read or
 * lacks more than a fifth of those who are known.  The list that is known stays
 * then.
 */
int recipients_renew(struct recipients *recipients, const char *path,
		     struct err *err);
void recipients_release(struct recipients *recipients);
bool recipients_has(const struct recipients *recipients, struct slice address);

#endif
