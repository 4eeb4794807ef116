#include "daemon/index_sum.h"
#include "daemon/index_sql.h"

enum {
	NAMED_MAX = 20,
	PEERS_MAX = 200,
	REPLIES_MAX = 200
};

static struct json *ledger_row(sqlite3_stmt *stmt)
{
	static const char *const names[] = {
		"accepted",  "waiting", "held",
		"delivered", "bounced", "discarded"
	};
	struct json *row = json_object();

	json_put_text(row, "domain", index_sql_text(stmt, 0));
	for (size_t i = 0; i < COUNT(names); i++)
		json_put_number(row, names[i],
				sqlite3_column_double(stmt, (int)i + 1));
	json_put_number(row, "plan_last_ms",
			sqlite3_column_double(stmt, (int)COUNT(names) + 1));
	return row;
}

struct json *index_sum_ledger(sqlite3 *db, const struct index_select *select,
			      struct err *err)
{
	return index_sql_rows(
		db,
		index_sql_prepare(
			db,
			"SELECT domain, sum(count),"
			" sum(iif(state=0,count,0)), sum(iif(state=1,count,0)),"
			" sum(iif(state=2,count,0)), sum(iif(state=3,count,0)),"
			" sum(iif(state=4,count,0)), (SELECT accepted FROM"
			" message WHERE plan = ?1 ORDER BY seq DESC LIMIT 1)"
			" FROM counter WHERE plan = ?1 GROUP BY domain",
			select->plan, err),
		ledger_row, err);
}

static struct json *reply_row(sqlite3_stmt *stmt)
{
	struct json *row = json_object();

	json_put_number(row, "count", sqlite3_column_double(stmt, 0));
	json_put_text(row, "state",
		      envelope_state_name((
			      enum envelope_state)sqlite3_column_int(stmt, 1)));
	json_put_text(row, "stage", index_sql_text(stmt, 2));
	json_put_number(row, "code", sqlite3_column_int(stmt, 3));
	json_put_text(row, "enhanced", index_sql_text(stmt, 4));
	json_put_text(row, "text", index_sql_text(stmt, 5));
	json_put_text(row, "reason", index_sql_text(stmt, 6));
	return row;
}

struct json *index_sum_replies(sqlite3 *db, const struct index_select *select,
			       struct err *err)
{
	static const char sql[] =
		"SELECT count(*), e.state, a.stage, a.code, a.enhanced,"
		" " OR_SEALED(
			REPLY) " AS text, " SHOWN_REASON
			       " FROM envelope e JOIN attempt a"
			       " ON a.seq = e.seq AND a.n = e.n AND a.number = e.attempts"
			       " JOIN message m ON m.seq = e.seq"
			       " WHERE e.plan = ?1 AND e.state < 2"
			       " GROUP BY e.state, a.stage, a.code, a.enhanced, text"
			       " ORDER BY 1 DESC LIMIT ?2";
	sqlite3_stmt *stmt = index_sql_prepare(db, sql, select->plan, err);

	sqlite3_bind_int(stmt, 2, REPLIES_MAX);
	return index_sql_rows(db, stmt, reply_row, err);
}

/* "192.0.2.7" of "192.0.2.7:25"; what does not open is one peer. */
static struct slice peer_address(const char *peer)
{
	const char *colon = strrchr(peer, ':');

	return colon ? slice_of(peer, (size_t)(colon - peer)) : slice(peer);
}

static void end_peer(struct json *named, struct slice peer, double messages)
{
	struct json *one;

	if (messages == 0 || json_count(named) == PEERS_MAX)
		return;
	one = json_object();
	json_put_slice(one, "peer", peer);
	json_put_number(one, "messages", messages);
	json_add(named, one);
}

/* Who still brings mail, in the order of their addresses. */
static struct json *stragglers(sqlite3 *db, const struct index_select *select,
			       struct err *err)
{
	static const char sql[] = "SELECT " OR_SEALED(
		PEER) " AS peer FROM message m WHERE"
		      " m.plan = ?1 AND m.accepted >= ?2 ORDER BY peer";
	sqlite3_stmt *stmt = index_sql_prepare(db, sql, select->plan, err);
	struct json *result, *named;
	struct buf before = BUF_INIT;
	double messages = 0, of_one = 0, peers = 0;
	int step;

	if (!stmt)
		return NULL;
	result = json_object();
	named = json_array();
	sqlite3_bind_int64(stmt, 2, select->accepted_since_ms);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct slice peer = peer_address(index_sql_text(stmt, 0));

		if (of_one == 0 || !slice_equal(peer, buf_slice(&before))) {
			end_peer(named, buf_slice(&before), of_one);
			buf_clear(&before);
			buf_add(&before, peer);
			of_one = 0;
			peers++;
		}
		of_one++;
		messages++;
	}
	end_peer(named, buf_slice(&before), of_one);
	buf_release(&before);
	json_put_number(result, "messages", messages);
	json_put_number(result, "peers", peers);
	json_put(result, "named", named);
	return index_sql_finish(db, stmt, step, result, err);
}

struct json *index_sum_exceptions(sqlite3 *db,
				  const struct index_select *select,
				  struct err *err)
{
	static const char sql[] =
		"SELECT 'uncertain', m.id, e.n FROM envelope e JOIN message m"
		" USING(seq) WHERE e.plan = ?1 AND e.uncertain > 0"
		" UNION ALL SELECT 'overtaken', id, n FROM"
		" (SELECT id, n, ended, min(ended) OVER (PARTITION BY mailbox"
		" ORDER BY seq, n ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED"
		" FOLLOWING) AS later FROM (SELECT m.id AS id, m.seq AS seq,"
		" e.n AS n, e.ended AS ended, lower(" FORWARD_PATH ") AS"
		" mailbox FROM envelope e JOIN message m USING(seq)"
		" WHERE e.plan = ?1 AND e.state = 2) WHERE mailbox IS NOT NULL)"
		" WHERE later < ended";
	sqlite3_stmt *stmt = index_sql_prepare(db, sql, select->plan, err);
	struct json *result, *named, *late;
	double uncertain = 0, overtaken = 0;
	int step;

	if (!stmt)
		return NULL;
	result = json_object();
	named = json_array();
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		bool unsure = strcmp(index_sql_text(stmt, 0), "uncertain") == 0;
		double *number = unsure ? &uncertain : &overtaken;
		struct json *one;

		if ((*number)++ >= NAMED_MAX)
			continue;
		one = json_object();
		json_put_text(one, "kind", index_sql_text(stmt, 0));
		json_put_text(one, "id", index_sql_text(stmt, 1));
		json_put_number(one, "envelope", sqlite3_column_int(stmt, 2));
		json_add(named, one);
	}
	json_put_number(result, "uncertain", uncertain);
	json_put_number(result, "overtaken", overtaken);
	json_put(result, "named", named);
	late = stragglers(db, select, err);
	json_put(result, "stragglers", late);
	result = index_sql_finish(db, stmt, step, result, err);
	if (result && !late) {
		json_free(result);
		return NULL;
	}
	return result;
}

static struct json *hour_row(sqlite3_stmt *stmt)
{
	struct json *hour = json_object();

	json_put_number(hour, "from_ms", sqlite3_column_double(stmt, 0));
	json_put_number(hour, "bytes", sqlite3_column_double(stmt, 1));
	return hour;
}

static struct json *arrived(sqlite3 *db, struct err *err)
{
	return index_sql_rows(
		db,
		index_sql_prepare(db,
				  "SELECT hour * 3600000, bytes FROM arrived"
				  " WHERE hour > unixepoch() / 3600 - 24",
				  NULL, err),
		hour_row, err);
}

struct json *index_sum_last(sqlite3 *db, struct err *err)
{
	static const char sql[] =
		"SELECT max(coalesce((SELECT max(seq) FROM message), 0),"
		" coalesce((SELECT value FROM meta WHERE key = 'sequence'),"
		" 0)),"
		" coalesce((SELECT min(hour) FROM arrived) * 3600000, 0)";
	struct json *result, *hours = arrived(db, err);
	sqlite3_stmt *stmt;
	int step;

	if (!hours)
		return NULL;
	stmt = index_sql_prepare(db, sql, NULL, err);
	if (!stmt) {
		json_free(hours);
		return NULL;
	}
	result = json_object();
	json_put(result, "arrived", hours);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		json_put_number(result, "sequence",
				sqlite3_column_double(stmt, 0));
		json_put_number(result, "since_ms",
				sqlite3_column_double(stmt, 1));
	}
	return index_sql_finish(db, stmt, step, result, err);
}

/* A domain, and what the statement calls the second column. */
static struct json *domain_row(sqlite3_stmt *stmt)
{
	struct json *row = json_object();

	json_put_text(row, "domain", index_sql_text(stmt, 0));
	json_put_number(row, sqlite3_column_name(stmt, 1),
			sqlite3_column_double(stmt, 1));
	return row;
}

struct json *index_sum_live_bytes(sqlite3 *db,
				  const struct index_select *select,
				  struct err *err)
{
	static const char sql[] =
		"SELECT e.domain, sum(m.bytes) AS bytes FROM envelope e"
		" JOIN message m USING(seq) WHERE e.state < 2 AND e.plan = ?1"
		" GROUP BY e.domain";

	return index_sql_rows(db, index_sql_prepare(db, sql, select->plan, err),
			      domain_row, err);
}

/* "< 2" as well: the index `live` is of these. */
struct json *index_sum_lines(sqlite3 *db, const struct index_select *select,
			     struct err *err)
{
	static const char sql[] =
		"SELECT e.domain, count(DISTINCT lower(" FORWARD_PATH "))"
		" AS mailboxes"
		" FROM envelope e JOIN message m USING(seq)"
		" WHERE e.state < 2 AND e.state = 0 AND e.plan = ?1"
		" GROUP BY e.domain";

	return index_sql_rows(db, index_sql_prepare(db, sql, select->plan, err),
			      domain_row, err);
}
