/*
 * index_query.h - what is asked of the index, as SQL and JSON   [SQLite]
 *
 * For daemon/index.c alone; on the index thread, or at start.
 */
#ifndef DAEMON_INDEX_QUERY_H
#define DAEMON_INDEX_QUERY_H

#include "daemon/index.h"
#include <sqlite3.h>

enum index_query {
	INDEX_LEDGER,
	INDEX_LIST,
	INDEX_COPIES,
	INDEX_COUNT,
	INDEX_SEGMENT_COPIES, /* `after_sequence` of the select: the segment */
	INDEX_SIDE_COPIES,    /* the same */
	INDEX_REPLIES,
	INDEX_UNCERTAIN,
	INDEX_EXCEPTIONS,
	INDEX_RECENT,
	INDEX_LAST,
	INDEX_LIVE_BYTES,
	INDEX_LINES
};

/* NULL with err when it fails; `select->plan` is always set. */
struct json *index_query_run(sqlite3 *db, enum index_query query,
			     const struct index_select *select,
			     struct err *err);
/* The statement whose rows index_query_live_row() reads, ?1 to ?2 bound by the
 * caller: plan, and the sequence before the first. */
extern const char index_query_page[];
extern const char index_query_these[];
/* Texts of `live` are the row's.  -1: it is sealed, and does not open. */
int index_query_live_row(sqlite3_stmt *stmt, struct index_live *live,
			 struct err *err);

#endif
