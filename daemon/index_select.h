/*
 * index_select.h - which envelopes a select means, as SQL   [SQLite]
 *
 * For daemon/index*.c alone; on the index thread, or at start.
 */
#ifndef DAEMON_INDEX_SELECT_H
#define DAEMON_INDEX_SELECT_H

#include "daemon/index.h"
#include <sqlite3.h>

enum {
	INDEX_SELECT_MAX = 10000 /* rows, if the select says nothing less */
};

/* Behind a statement's conditions; without it there is no limit either. */
#define INDEX_IN_ORDER " ORDER BY e.seq, e.n LIMIT ?13"

/* SELECT `columns` of envelope e and its message m, then `tail`; NULL with
 * err.  `select` is borrowed until the statement is gone. */
sqlite3_stmt *index_select_prepare(sqlite3 *db, const char *columns,
				   const struct index_select *select,
				   const char *tail, struct err *err);

#endif
