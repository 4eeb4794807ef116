#include "daemon/index_sql.h"
#include "spool/sealed.h"

/*
 * opened(FIELD, id, envelope, text): a sealed text of that message, or NULL if
 * it does not open.
 */
static void opened(sqlite3_context *ctx, int count, sqlite3_value **values)
{
	struct keyring *keyring = sqlite3_user_data(ctx);
	const char *name = (const char *)sqlite3_value_text(values[1]);
	const char *text = (const char *)sqlite3_value_text(values[3]);
	struct buf plain = BUF_INIT;
	struct id id;

	if (keyring && name && text && id_parse(slice(name), &id) &&
	    sealed_text_open(keyring,
			     (enum sealed_field)sqlite3_value_int(values[0]),
			     &id, (uint32_t)sqlite3_value_int64(values[2]),
			     slice(text), &plain))
		sqlite3_result_text(ctx, buf_text(&plain), (int)plain.len,
				    SQLITE_TRANSIENT);
	buf_release(&plain);
}

int index_sql_functions(sqlite3 *db, struct keyring *keyring, struct err *err)
{
	if (sqlite3_create_function(db, "opened", 4, SQLITE_UTF8, keyring,
				    opened, NULL, NULL) == SQLITE_OK)
		return 0;
	return err_set(err, "index: %s", sqlite3_errmsg(db));
}

sqlite3_stmt *index_sql_prepare(sqlite3 *db, const char *sql, const char *plan,
				struct err *err)
{
	sqlite3_stmt *stmt = NULL;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK) {
		err_set(err, "index: %s", sqlite3_errmsg(db));
		return NULL;
	}
	if (plan)
		sqlite3_bind_text(stmt, 1, plan, -1, SQLITE_STATIC);
	return stmt;
}

struct json *index_sql_finish(sqlite3 *db, sqlite3_stmt *stmt, int step,
			      struct json *result, struct err *err)
{
	sqlite3_finalize(stmt);
	if (step == SQLITE_DONE)
		return result;
	err_set(err, "index: %s", sqlite3_errmsg(db));
	json_free(result);
	return NULL;
}

struct json *index_sql_rows(sqlite3 *db, sqlite3_stmt *stmt,
			    struct json *(*row)(sqlite3_stmt *stmt),
			    struct err *err)
{
	struct json *all;
	int step;

	if (!stmt)
		return NULL;
	all = json_array();
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct json *one = row(stmt);

		if (one)
			json_add(all, one);
	}
	return index_sql_finish(db, stmt, step, all, err);
}

const char *index_sql_text(sqlite3_stmt *stmt, int at)
{
	return (const char *)sqlite3_column_text(stmt, at);
}
