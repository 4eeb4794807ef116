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
};

int recipients_load(struct recipients *recipients, const char *path,
		    struct err *err);
void recipients_release(struct recipients *recipients);
bool recipients_has(const struct recipients *recipients, struct slice address);

#endif
