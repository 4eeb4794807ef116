/*
 * index_rows.h - records of the spool as rows of the index   [SQLite]
 *
 * For daemon/index.c alone, on the index thread (or before there is one).
 * Rows gather in a transaction until index_rows_commit(), which also writes how
 * far the log is indexed.  After a failed write *health says so, the transaction
 * is rolled back at its end, and no further record is taken.
 */
#ifndef DAEMON_INDEX_ROWS_H
#define DAEMON_INDEX_ROWS_H

#include "daemon/index.h"
#include <sqlite3.h>

struct index_rows;

/* On a database with the schema, of which the log is indexed up to there. */
struct index_rows *index_rows_new(sqlite3 *db, uint32_t segment,
				  uint64_t offset,
				  _Atomic enum index_health *health,
				  struct err *err);
/* Before `db` is closed; what is not committed is lost.  NULL is fine. */
void index_rows_free(struct index_rows *rows);

void index_rows_put(struct index_rows *rows, const struct scan_record *record);
/* All of the evidence was put. */
void index_rows_evidence_is_read(struct index_rows *rows);
void index_rows_remove_plan(struct index_rows *rows, const char *plan);
/* Nothing to do if nothing was put. */
void index_rows_commit(struct index_rows *rows);
/* Of the last record put. */
void index_rows_up_to(const struct index_rows *rows, uint32_t *segment,
		      uint64_t *offset);

/* A bad file is another matter than a full disk: what it says is no good. */
bool index_rows_is_corrupt(sqlite3 *db);
int index_run_sql(sqlite3 *db, const char *sql, struct err *err);

#endif
