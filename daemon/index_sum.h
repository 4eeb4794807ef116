/*
 * index_sum.h - what is counted of a plan, for status and report   [SQLite]
 *
 * For daemon/index_query.c alone; each answers one question of daemon/index.h
 * in the form that is told there, NULL with err when it cannot be read.
 */
#ifndef DAEMON_INDEX_SUM_H
#define DAEMON_INDEX_SUM_H

#include "daemon/index.h"
#include <sqlite3.h>

struct json *index_sum_ledger(sqlite3 *db, const struct index_select *select,
			      struct err *err);
/* The last reply to each envelope that is alive, the most frequent first. */
struct json *index_sum_replies(sqlite3 *db, const struct index_select *select,
			       struct err *err);
/*
 * What the report calls an exception, counted, and the first few by name:
 * perhaps delivered twice, and delivered after a later one of its mailbox; and
 * who still brings mail.
 */
struct json *index_sum_exceptions(sqlite3 *db,
				  const struct index_select *select,
				  struct err *err);
struct json *index_sum_last(sqlite3 *db, struct err *err);
struct json *index_sum_live_bytes(sqlite3 *db,
				  const struct index_select *select,
				  struct err *err);
struct json *index_sum_lines(sqlite3 *db, const struct index_select *select,
			     struct err *err);

#endif
