#include "daemon/index_query.h"
#include "base/clock.h"
#include "daemon/index_select.h"
#include "daemon/index_sql.h"
#include "daemon/index_sum.h"

static const char *state_text(int state)
{
	return envelope_state_name((enum envelope_state)state);
}

static struct json *attempt_json(sqlite3_stmt *stmt)
{
	struct json *one = json_object();

	json_put_number(one, "number", sqlite3_column_int(stmt, 0));
	json_put_time(one, "at", sqlite3_column_int64(stmt, 1));
	json_put_text(one, "target", index_sql_text(stmt, 2));
	json_put_text(one, "tls", index_sql_text(stmt, 3));
	json_put_text(one, "stage", index_sql_text(stmt, 4));
	json_put_number(one, "code", sqlite3_column_int(stmt, 5));
	json_put_text(one, "enhanced", index_sql_text(stmt, 6));
	json_put_text(one, "text", index_sql_text(stmt, 7));
	json_put_text(one, "outcome", state_text(sqlite3_column_int(stmt, 8)));
	json_put_bool(one, "uncertain", sqlite3_column_int(stmt, 9));
	return one;
}

/* Their last one, and with `all` each; false: they cannot be read. */
static bool put_attempts(sqlite3_stmt *attempts, struct json *row, int64_t seq,
			 int n, bool all)
{
	struct json *log = json_array(), *last = NULL;
	int step;

	sqlite3_bind_int64(attempts, 1, seq);
	sqlite3_bind_int(attempts, 2, n);
	while ((step = sqlite3_step(attempts)) == SQLITE_ROW) {
		json_free(last);
		last = attempt_json(attempts);
		if (all)
			json_add(log, json_copy(last));
	}
	sqlite3_reset(attempts);
	json_put(row, "last_reply", last);
	if (all)
		json_put(row, "attempt_log", log);
	else
		json_free(log);
	return step == SQLITE_DONE;
}

static struct json *envelope_json(sqlite3_stmt *stmt)
{
	struct json *row = json_object();
	int state = sqlite3_column_int(stmt, 4);

	json_put_text(row, "id", index_sql_text(stmt, 0));
	json_put_number(row, "envelope", sqlite3_column_int(stmt, 1));
	json_put_text(row, "sequence", index_sql_text(stmt, 2));
	json_put_text(row, "plan", index_sql_text(stmt, 3));
	json_put_text(row, "state", state_text(state));
	json_put_text(row, "reason", index_sql_text(stmt, 5));
	json_put_text(row, "by", index_sql_text(stmt, 6));
	json_put_text(row, "reverse_path", index_sql_text(stmt, 7));
	json_put_text(row, "forward_path", index_sql_text(stmt, 8));
	json_put_text(row, "domain", index_sql_text(stmt, 9));
	json_put_time(row, "accepted", sqlite3_column_int64(stmt, 10));
	json_put_number(row, "bytes", sqlite3_column_double(stmt, 11));
	json_put_text(row, "sha256", index_sql_text(stmt, 12));
	json_put_text(row, "peer", index_sql_text(stmt, 13));
	json_put_text(row, "helo", index_sql_text(stmt, 14));
	json_put_text(row, "protocol", index_sql_text(stmt, 15));
	json_put_text(row, "tls", index_sql_text(stmt, 16));
	json_put_number(row, "attempts", sqlite3_column_int(stmt, 17));
	json_put_time(row, "next", sqlite3_column_int64(stmt, 18));
	json_put_number(row, "uncertain", sqlite3_column_int(stmt, 19));
	json_put_bool(row, "mailbox_held", sqlite3_column_int(stmt, 20));
	json_put_time(row, "ended", sqlite3_column_int64(stmt, 21));
	json_put_time(row, "delivered_at",
		      state == ENVELOPE_DELIVERED ?
			      sqlite3_column_int64(stmt, 21) :
			      0);
	return row;
}

/* clang-format off */
#define ENVELOPE_COLUMNS \
	"m.id, e.n, m.seq, e.plan, e.state, " SHOWN_REASON ", e.by, " \
	OR_SEALED(REVERSE_PATH) ", " SHOWN_FORWARD_PATH ", e.domain," \
	" m.accepted, m.bytes, m.sha256, " OR_SEALED(PEER) ", " \
	OR_SEALED(HELO) ", m.protocol, m.tls, e.attempts, e.next," \
	" e.uncertain, e.mailbox_held, e.ended"
/* clang-format on */

static struct json *list(sqlite3 *db, const struct index_select *select,
			 struct err *err)
{
	static const char attempt_sql[] =
		"SELECT a.number, a.at, a.target, a.tls, a.stage, a.code,"
		" a.enhanced, " OR_SEALED(
			REPLY) ", a.outcome, a.uncertain"
			       " FROM attempt a JOIN message m USING(seq)"
			       " WHERE a.seq = ?1 AND a.n = ?2 ORDER BY a.number, a.at";
	sqlite3_stmt *stmt, *attempts;
	struct json *all;
	int step;

	stmt = index_select_prepare(db, ENVELOPE_COLUMNS, select,
				    INDEX_IN_ORDER, err);
	if (!stmt)
		return NULL;
	attempts = index_sql_prepare(db, attempt_sql, NULL, err);
	if (!attempts) {
		sqlite3_finalize(stmt);
		return NULL;
	}
	all = json_array();
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct json *row = envelope_json(stmt);

		json_add(all, row);
		if (!put_attempts(attempts, row, sqlite3_column_int64(stmt, 2),
				  sqlite3_column_int(stmt, 1),
				  select->attempts)) {
			err_set(err, "index: %s", sqlite3_errmsg(db));
			break;
		}
	}
	sqlite3_finalize(attempts);
	if (step != SQLITE_ROW)
		return index_sql_finish(db, stmt, step, all, err);
	sqlite3_finalize(stmt);
	json_free(all);
	return NULL;
}

static struct json *copy_json(sqlite3_stmt *stmt)
{
	int flags = sqlite3_column_int(stmt, 6);
	struct json *row;

	/* One that does not open any more is no copy. */
	if (!index_sql_text(stmt, 4) || !index_sql_text(stmt, 5))
		return NULL;
	row = json_object();
	json_put_text(row, "id", index_sql_text(stmt, 0));
	json_put_number(row, "envelope", sqlite3_column_int(stmt, 1));
	json_put_text(row, "sequence", index_sql_text(stmt, 2));
	json_put_text(row, "domain", index_sql_text(stmt, 3));
	json_put_text(row, "reverse_path", index_sql_text(stmt, 4));
	json_put_text(row, "forward_path", index_sql_text(stmt, 5));
	json_put_bool(row, "eightbit", flags & INDEX_EIGHTBIT);
	json_put_bool(row, "utf8", flags & INDEX_UTF8);
	json_put_bool(row, "sealed", flags & INDEX_SEALED);
	json_put_number(row, "bytes", sqlite3_column_double(stmt, 7));
	json_put_time(row, "ended", sqlite3_column_int64(stmt, 8));
	json_put_number(row, "segment", sqlite3_column_double(stmt, 9));
	json_put_number(row, "offset", sqlite3_column_double(stmt, 10));
	json_put_number(row, "body", sqlite3_column_double(stmt, 11));
	return row;
}

static struct json *copies(sqlite3 *db, const struct index_select *select,
			   struct err *err)
{
	sqlite3_stmt *stmt = index_select_prepare(
		db,
		"m.id, e.n, m.seq, e.domain, " REVERSE_PATH ", " FORWARD_PATH
		","
		" m.flags, m.bytes, e.ended, m.segment, m.offset, m.body",
		select, INDEX_IN_ORDER, err);

	return index_sql_rows(db, stmt, copy_json, err);
}

static struct json *count(sqlite3 *db, const struct index_select *select,
			  struct err *err)
{
	sqlite3_stmt *stmt = index_select_prepare(db, "count(*), min(e.ended)",
						  select, "", err);
	struct json *result;
	int step;

	if (!stmt)
		return NULL;
	result = json_object();
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		json_put_number(result, "count",
				sqlite3_column_double(stmt, 0));
		json_put_number(result, "first_ms",
				sqlite3_column_double(stmt, 1));
	}
	return index_sql_finish(db, stmt, step, result, err);
}

static struct json *segment_copy_row(sqlite3_stmt *stmt)
{
	struct json *row = json_object();

	json_put_text(row, "plan", index_sql_text(stmt, 0));
	json_put_number(row, "count", sqlite3_column_double(stmt, 1));
	json_put_number(row, "last_ms", sqlite3_column_double(stmt, 2));
	json_put_number(row, "live_sequence", sqlite3_column_double(stmt, 3));
	return row;
}

static struct json *
segment_copies(sqlite3 *db, const struct index_select *select, struct err *err)
{
	static const char sql[] =
		"SELECT m.plan, count(DISTINCT iif(e.state = 2, m.seq, NULL)),"
		" max(iif(e.state = 2, e.ended, 0)),"
		" max(iif(e.state < 2, m.seq, 0))"
		" FROM message m JOIN envelope e USING(seq)"
		" WHERE m.segment = ?1 GROUP BY m.plan";
	sqlite3_stmt *stmt = index_sql_prepare(db, sql, NULL, err);

	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)select->after_sequence);
	return index_sql_rows(db, stmt, segment_copy_row, err);
}

static struct json *side_copy_row(sqlite3_stmt *stmt)
{
	struct json *row = json_object();

	json_put_text(row, "id", index_sql_text(stmt, 0));
	json_put_text(row, "plan", index_sql_text(stmt, 1));
	json_put_number(row, "last_ms", sqlite3_column_double(stmt, 2));
	json_put_bool(row, "live", sqlite3_column_int(stmt, 3));
	return row;
}

static struct json *side_copies(sqlite3 *db, const struct index_select *select,
				struct err *err)
{
	static const char sql[] =
		"SELECT m.id, m.plan, max(iif(e.state = 2, e.ended, 0)),"
		" min(e.state) < 2 FROM message m JOIN envelope e USING(seq)"
		" WHERE m.body = 0 AND m.segment >= ?1 GROUP BY m.seq";
	sqlite3_stmt *stmt = index_sql_prepare(db, sql, NULL, err);

	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)select->after_sequence);
	return index_sql_rows(db, stmt, side_copy_row, err);
}

static struct json *uncertain(sqlite3 *db, const struct index_select *select,
			      struct err *err)
{
	static const char sql[] =
		"SELECT " ENVELOPE_COLUMNS " FROM envelope e JOIN message m"
		" USING(seq) WHERE e.plan = ?1 AND e.uncertain > 0"
		" ORDER BY e.seq, e.n LIMIT ?2";
	sqlite3_stmt *stmt = index_sql_prepare(db, sql, select->plan, err);

	sqlite3_bind_int(stmt, 2, INDEX_SELECT_MAX);
	return index_sql_rows(db, stmt, envelope_json, err);
}

static struct json *recent(sqlite3 *db, const struct index_select *select,
			   struct err *err)
{
	static const char sql[] =
		"SELECT a.target, " FORWARD_PATH ", " REVERSE_PATH ", a.at,"
		" a.seq FROM attempt a CROSS JOIN envelope e USING(seq, n)"
		" CROSS JOIN message m USING(seq) WHERE a.seq > ?3 AND a.at >= ?2"
		" AND e.plan = ?1 AND (a.outcome = 2 OR a.uncertain)"
		" ORDER BY a.seq";
	sqlite3_stmt *stmt = index_sql_prepare(db, sql, select->plan, err);
	struct json *all;
	int64_t before = 0;
	size_t count = 0;
	int step;

	if (!stmt)
		return NULL;
	all = json_array();
	sqlite3_bind_int64(stmt, 2, select->ended_since_ms);
	sqlite3_bind_int64(stmt, 3, (sqlite3_int64)select->after_sequence);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		int64_t sequence = sqlite3_column_int64(stmt, 4);
		struct json *row;

		if (count >= INDEX_RECENT_PAGE && sequence != before) {
			step = SQLITE_DONE;
			break;
		}
		before = sequence;
		count++;
		row = json_object();
		/* Sealed, and the key is gone: nobody can tell whose it was. */
		if (index_sql_text(stmt, 1) && index_sql_text(stmt, 2)) {
			json_put_text(row, "target", index_sql_text(stmt, 0));
			json_put_text(row, "forward_path",
				      index_sql_text(stmt, 1));
			json_put_text(row, "reverse_path",
				      index_sql_text(stmt, 2));
		}
		json_put_number(row, "at_ms", sqlite3_column_double(stmt, 3));
		json_put_number(row, "sequence", (double)sequence);
		json_add(all, row);
	}
	return index_sql_finish(db, stmt, step, all, err);
}

struct json *index_query_run(sqlite3 *db, enum index_query query,
			     const struct index_select *select, struct err *err)
{
	switch (query) {
	case INDEX_LEDGER:
		return index_sum_ledger(db, select, err);
	case INDEX_LIST:
		return list(db, select, err);
	case INDEX_COPIES:
		return copies(db, select, err);
	case INDEX_COUNT:
		return count(db, select, err);
	case INDEX_SEGMENT_COPIES:
		return segment_copies(db, select, err);
	case INDEX_SIDE_COPIES:
		return side_copies(db, select, err);
	case INDEX_REPLIES:
		return index_sum_replies(db, select, err);
	case INDEX_UNCERTAIN:
		return uncertain(db, select, err);
	case INDEX_EXCEPTIONS:
		return index_sum_exceptions(db, select, err);
	case INDEX_RECENT:
		return recent(db, select, err);
	case INDEX_LAST:
		return index_sum_last(db, err);
	case INDEX_LIVE_BYTES:
		return index_sum_live_bytes(db, select, err);
	case INDEX_LINES:
		return index_sum_lines(db, select, err);
	}
	return NULL;
}

/* clang-format off */
/* Of the attempts whose data was put off: a few, mostly none. */
#define STUCK(what) \
	"iif(e.attempts > 0, (SELECT " what " FROM attempt a" \
	" WHERE a.seq = e.seq AND a.n = e.n AND a.outcome = 0" \
	" AND a.uncertain = 0 AND a.stage IN ('DATA', 'end of data')), 0)"
#define LIVE \
	"SELECT m.id, e.seq, e.n, e.state, e.mailbox_held, e.plan," \
	" " FORWARD_PATH ", " REVERSE_PATH ", m.flags, m.accepted, e.next," \
	" e.attempts, e.uncertain, m.segment, m.offset, m.body," \
	" m.bytes, e.begin, " STUCK("count(*)") ", " STUCK("min(a.at)") \
	" FROM envelope e JOIN message m USING(seq)" \
	" WHERE e.state < 2 AND e.plan = ?1"
#define IN_SEQUENCE " ORDER BY e.seq, e.n"
/* clang-format on */

const char index_query_page[] = LIVE " AND e.seq > ?2" IN_SEQUENCE;
const char index_query_these[] =
	LIVE " AND e.seq IN (SELECT value FROM json_each(?2))" IN_SEQUENCE;

int index_query_live_row(sqlite3_stmt *stmt, struct index_live *live,
			 struct err *err)
{
	int flags = sqlite3_column_int(stmt, 8);

	*live = (struct index_live){
		.sequence = (uint64_t)sqlite3_column_int64(stmt, 1),
		.envelope = (uint32_t)sqlite3_column_int(stmt, 2),
		.state = (enum envelope_state)sqlite3_column_int(stmt, 3),
		.mailbox_held = sqlite3_column_int(stmt, 4),
		.forward_path = index_sql_text(stmt, 6),
		.reverse_path = index_sql_text(stmt, 7),
		.eightbit = flags & INDEX_EIGHTBIT,
		.utf8 = flags & INDEX_UTF8,
		.accepted_ms = sqlite3_column_int64(stmt, 9),
		.next_ms = sqlite3_column_int64(stmt, 10),
		.attempts = (uint32_t)sqlite3_column_int(stmt, 11),
		.uncertain = (uint32_t)sqlite3_column_int(stmt, 12),
		.place.segment = (uint32_t)sqlite3_column_int64(stmt, 13),
		.place.offset = (uint64_t)sqlite3_column_int64(stmt, 14),
		.place.body = (uint64_t)sqlite3_column_int64(stmt, 15),
		.place.sealed = flags & INDEX_SEALED,
		.body_bytes = (uint64_t)sqlite3_column_int64(stmt, 16),
		.begin = (uint64_t)sqlite3_column_int64(stmt, 17),
		.data_deferrals = (uint32_t)sqlite3_column_int(stmt, 18),
		.stuck_since_ms = sqlite3_column_int64(stmt, 19),
	};
	if (!live->forward_path || !live->reverse_path)
		return err_set(err,
			       "message %s of plan '%s' is sealed and its "
			       "data key is not here: put plans/%s/%s of the "
			       "state folder back from your backup",
			       index_sql_text(stmt, 0), index_sql_text(stmt, 5),
			       index_sql_text(stmt, 5), KEY_FILE_NAME);
	if (!id_parse(slice(index_sql_text(stmt, 0)), &live->id))
		return err_set(err, "index: '%s' is no id",
			       index_sql_text(stmt, 0));
	return 0;
}
