/*
 * index_tally.h - the index's counters, summed up before they are written
 *                                                                    [SQLite]
 *
 * For daemon/index_rows.c alone, on the index thread.  The triggers of the schema
 * call tally(plan, domain, state, change) for each envelope that is new or
 * changes its state; the sums go into the table `counter` once, before the
 * transaction ends that they belong to.  So do the bytes that came in an hour,
 * into `arrived`.
 */
#ifndef DAEMON_INDEX_TALLY_H
#define DAEMON_INDEX_TALLY_H

#include "base/err.h"
#include <sqlite3.h>
#include <stdint.h>

struct index_tally;

/* Makes the function known to `db`, which must stay open for as long. */
struct index_tally *index_tally_new(sqlite3 *db, struct err *err);
void index_tally_free(struct index_tally *tally); /* NULL is fine */

/* A message that is new to the index. */
void index_tally_arrived(struct index_tally *tally, int64_t accepted_ms,
			 uint64_t bytes);

/* Into the transaction that is open.  Nothing is left over, also when it
 * fails: the transaction must be rolled back then. */
int index_tally_write(struct index_tally *tally, struct err *err);

#endif
