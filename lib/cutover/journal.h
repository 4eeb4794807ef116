/*
 * journal.h - what happened, so that nobody can say otherwise
 *
 * One file per plan, written by the daemon alone: append-only, hash-chained,
 * synced JSON lines.  Each line is
 *   {"n":12,"at":"...","event":"phase","data":{...},"prev":"<hex>","hash":"<hex>"}
 * with hash = SHA-256 over the line's text up to and without ,"hash".  1 MiB is
 * preallocated (spaces/zero bytes past the last line are no lines), so a full
 * disk cannot keep a valve open.  Small and rare: written and synced at once
 * by the caller.
 */
#ifndef CUTOVER_JOURNAL_H
#define CUTOVER_JOURNAL_H

#include "base/json.h"

struct journal;

/* Opens or makes it; a torn last line is moved to PATH.torn. An unbroken chain
 * is required: -1 names the line otherwise. */
struct journal *journal_open(const char *path, struct err *err);
void journal_close(struct journal *journal); /* NULL is fine */
/* From now on no line gets an address (journal_hide.h). */
void journal_hide_addresses(struct journal *journal);
/* Takes `data`.  0 once the line is synced. */
int journal_add(struct journal *journal, const char *event, struct json *data,
		struct err *err);
/* Hash of the last line (64 zeros when empty), lines so far. */
const char *journal_head(const struct journal *journal);
uint64_t journal_count(const struct journal *journal);

/* Calls for every line, in order; checks the chain.  -1 names the line. */
int journal_read(const char *path,
		 int (*each)(void *ctx, const struct json *line), void *ctx,
		 char head[65], uint64_t *count, struct err *err);

#endif
