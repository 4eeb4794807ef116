/*
 * index_sql.h - statements on the index, and texts that may be sealed   [SQLite]
 *
 * For daemon/index*.c alone; on the index thread, or at start.
 */
#ifndef DAEMON_INDEX_SQL_H
#define DAEMON_INDEX_SQL_H

#include "base/json.h"
#include "spool/keyring.h"
#include <sqlite3.h>

/* Bits of message.flags. */
#define INDEX_EIGHTBIT 1
#define INDEX_UTF8     2
#define INDEX_SEALED   4 /* its texts stand here sealed: sealed.h */

/*
 * A text of message m, of its envelope e or of an attempt a on it, as it was
 * before it was sealed (INDEX_SEALED; enum sealed_field).  NULL if it does not
 * open; what is listed shows "(sealed)" then.
 */
/* clang-format off */
#define OPENED(field, n, column) \
	"iif(m.flags & 4, opened(" field ", m.id, " n ", " column "), " \
	column ")"
#define OR_SEALED(text) "coalesce(" text ", '(sealed)')"

#define REVERSE_PATH OPENED("1", "4294967295", "m.reverse_path")
#define FORWARD_PATH OPENED("2", "e.n", "e.forward_path")
#define HELO	     OPENED("3", "4294967295", "m.helo")
#define PEER	     OPENED("4", "4294967295", "m.peer")
#define REPLY	     OPENED("5", "a.n", "a.reply")
#define REASON	     OPENED("6", "e.n", "e.reason")

#define SHOWN_FORWARD_PATH \
	"coalesce(" FORWARD_PATH ", '(sealed)@' || e.domain)"
#define SHOWN_REASON "iif(e.reason IS NULL, NULL, " OR_SEALED(REASON) ")"
/* clang-format on */

/* What those call; once per connection. */
int index_sql_functions(sqlite3 *db, struct keyring *keyring, struct err *err);

/* ?1 is the plan, unless that is NULL; NULL with err. */
sqlite3_stmt *index_sql_prepare(sqlite3 *db, const char *sql, const char *plan,
				struct err *err);
/* After the last sqlite3_step(), which said `step`: takes the statement away,
 * and gives `result` back or, with err, NULL. */
struct json *index_sql_finish(sqlite3 *db, sqlite3_stmt *stmt, int step,
			      struct json *result, struct err *err);
/* An array of what `row` makes of each row, without those that it makes NULL
 * of.  Takes the statement away; NULL with err, also for no statement. */
struct json *index_sql_rows(sqlite3 *db, sqlite3_stmt *stmt,
			    struct json *(*row)(sqlite3_stmt *stmt),
			    struct err *err);
/* NULL: there is none.  Until the next step. */
const char *index_sql_text(sqlite3_stmt *stmt, int at);

#endif
