#include "daemon/index_query.h"
#include "base/clock.h"
#include "spool/sealed.h"
#include <stdlib.h>

enum {
	LIST_MAX = 10000,
	NAMED_MAX = 20,
	PEERS_MAX = 200,
	REPLIES_MAX = 200
};

static const char *text_at(sqlite3_stmt *stmt, int at)
{
	return (const char *)sqlite3_column_text(stmt, at);
}

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

int index_query_functions(sqlite3 *db, struct keyring *keyring, struct err *err)
{
	if (sqlite3_create_function(db, "opened", 4, SQLITE_UTF8, keyring,
				    opened, NULL, NULL) == SQLITE_OK)
		return 0;
	return err_set(err, "index: %s", sqlite3_errmsg(db));
}

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

static int prepare(sqlite3 *db, const char *sql, sqlite3_stmt **stmt,
		   struct err *err)
{
	if (sqlite3_prepare_v2(db, sql, -1, stmt, NULL) == SQLITE_OK)
		return 0;
	return err_set(err, "index: %s", sqlite3_errmsg(db));
}

static struct json *finish(sqlite3 *db, sqlite3_stmt *stmt, int step,
			   struct json *result, struct err *err)
{
	sqlite3_finalize(stmt);
	if (step == SQLITE_DONE)
		return result;
	err_set(err, "index: %s", sqlite3_errmsg(db));
	json_free(result);
	return NULL;
}

static struct json *ledger(sqlite3 *db, const struct index_select *select,
			   struct err *err)
{
	static const char sql[] =
		"SELECT domain, sum(count),"
		" sum(iif(state=0,count,0)), sum(iif(state=1,count,0)),"
		" sum(iif(state=2,count,0)), sum(iif(state=3,count,0)),"
		" sum(iif(state=4,count,0)), (SELECT accepted FROM message"
		" WHERE plan = ?1 ORDER BY seq DESC LIMIT 1)"
		" FROM counter WHERE plan = ?1"
		" GROUP BY domain";
	static const char *const names[] = {
		"accepted",  "waiting", "held",
		"delivered", "bounced", "discarded"
	};
	sqlite3_stmt *stmt = NULL;
	struct json *all = json_array();
	int step;

	if (prepare(db, sql, &stmt, err) < 0) {
		json_free(all);
		return NULL;
	}
	sqlite3_bind_text(stmt, 1, select->plan, -1, SQLITE_STATIC);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct json *row = json_object();

		json_put_text(row, "domain", text_at(stmt, 0));
		for (size_t i = 0; i < COUNT(names); i++)
			json_put_number(
				row, names[i],
				(double)sqlite3_column_int64(stmt, (int)i + 1));
		json_put_number(row, "plan_last_ms",
				(double)sqlite3_column_int64(
					stmt, (int)COUNT(names) + 1));
		json_add(all, row);
	}
	return finish(db, stmt, step, all, err);
}

static const char *state_text(int state)
{
	return envelope_state_name((enum envelope_state)state);
}

static struct json *attempt_json(sqlite3_stmt *stmt)
{
	struct json *one = json_object();

	json_put_number(one, "number", sqlite3_column_int(stmt, 0));
	json_put_time(one, "at", sqlite3_column_int64(stmt, 1));
	json_put_text(one, "target", text_at(stmt, 2));
	json_put_text(one, "tls", text_at(stmt, 3));
	json_put_text(one, "stage", text_at(stmt, 4));
	json_put_number(one, "code", sqlite3_column_int(stmt, 5));
	json_put_text(one, "enhanced", text_at(stmt, 6));
	json_put_text(one, "text", text_at(stmt, 7));
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

	json_put_text(row, "id", text_at(stmt, 0));
	json_put_number(row, "envelope", sqlite3_column_int(stmt, 1));
	json_put_text(row, "sequence", text_at(stmt, 2));
	json_put_text(row, "plan", text_at(stmt, 3));
	json_put_text(row, "state", state_text(state));
	json_put_text(row, "reason", text_at(stmt, 5));
	json_put_text(row, "by", text_at(stmt, 6));
	json_put_text(row, "reverse_path", text_at(stmt, 7));
	json_put_text(row, "forward_path", text_at(stmt, 8));
	json_put_text(row, "domain", text_at(stmt, 9));
	json_put_time(row, "accepted", sqlite3_column_int64(stmt, 10));
	json_put_number(row, "bytes", sqlite3_column_double(stmt, 11));
	json_put_text(row, "sha256", text_at(stmt, 12));
	json_put_text(row, "peer", text_at(stmt, 13));
	json_put_text(row, "helo", text_at(stmt, 14));
	json_put_text(row, "protocol", text_at(stmt, 15));
	json_put_text(row, "tls", text_at(stmt, 16));
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

/* Conditions of a select: each names its own parameter. */
enum {
	P_PLAN = 1,
	P_SEQUENCE,
	P_ENVELOPE,
	P_IDS,
	P_STATE,
	P_RECIPIENT,
	P_SENDER,
	P_DOMAIN,
	P_REPLY,
	P_TARGETS,
	P_BEFORE,
	P_SINCE,
	P_LIMIT,
	P_ENDED_BEFORE
};

static bool is_code(struct slice text)
{
	uint64_t code;

	return text.len == 3 && slice_u64(text, &code);
}

static bool is_enhanced(struct slice text)
{
	uint64_t number;
	int parts = 0;

	if (text.len == 0 || slice_ends_nocase(text, "."))
		return false;
	for (; text.len > 0; parts++)
		if (!slice_u64(slice_split(&text, '.'), &number))
			return false;
	return parts == 3;
}

/* The last attempt's reply, by the form of what is looked for. */
static void where_reply(const char *reply, struct buf *sql)
{
	buf_addf(sql,
		 " AND (SELECT %s FROM attempt a WHERE a.seq = e.seq"
		 " AND a.n = e.n ORDER BY number DESC, at DESC LIMIT 1)",
		 is_code(slice(reply))	   ? "code = ?9 + 0" :
		 is_enhanced(slice(reply)) ? "enhanced = ?9" :
					     "instr(lower(" REPLY
					     "), lower(?9)) > 0");
}

static void where_address(const char *column, int parameter,
			  const char *address, struct buf *sql)
{
	if (*address == '@')
		buf_addf(sql,
			 " AND lower(substr(%s, -length(?%d))) = lower(?%d)",
			 column, parameter, parameter);
	else
		buf_addf(sql, " AND lower(%s) = lower(?%d)", column, parameter);
}

static bool is_live_state(const char *name)
{
	enum envelope_state state;

	return name && envelope_state_parse(name, &state) &&
	       !envelope_state_is_final(state);
}

static void where(const struct index_select *select, struct buf *sql)
{
	buf_adds(sql, " WHERE e.plan = ?1 AND (e.seq, e.n) > (?2, ?3)");
	/* A few messages of a million: found by id, not looked through. */
	if (select->ids)
		buf_adds(sql,
			 " AND e.seq IN (SELECT seq FROM message WHERE id IN"
			 " (SELECT substr(value, 1, 20) FROM json_each(?4)))"
			 " AND (m.id IN (SELECT value FROM json_each(?4)) OR"
			 " m.id || ':' || e.n IN"
			 " (SELECT value FROM json_each(?4)))");
	if (select->state)
		buf_adds(sql, " AND e.state = ?5");
	/* As it stands in the partial index. */
	if (select->is_live || is_live_state(select->state))
		buf_adds(sql, " AND e.state < 2");
	if (select->recipient)
		where_address(FORWARD_PATH, P_RECIPIENT, select->recipient,
			      sql);
	if (select->sender)
		where_address(REVERSE_PATH, P_SENDER, select->sender, sql);
	if (select->domain)
		buf_adds(sql, " AND e.domain = lower(?8)");
	if (select->reply)
		where_reply(select->reply, sql);
	if (select->targets)
		buf_adds(sql,
			 " AND e.state = 2 AND (SELECT a.target IN"
			 " (SELECT value FROM json_each(?10)) FROM attempt a"
			 " WHERE a.seq = e.seq AND a.n = e.n AND a.outcome = 2"
			 " ORDER BY number DESC, at DESC LIMIT 1)");
	if (select->accepted_before_ms)
		buf_adds(sql, " AND m.accepted < ?11");
	if (select->ended_since_ms)
		buf_adds(sql, " AND e.ended >= ?12");
	if (select->ended_before_ms)
		buf_adds(sql, " AND e.ended < ?14");
}

static void bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
	if (text)
		sqlite3_bind_text(stmt, at, text, -1, SQLITE_STATIC);
}

static void bind_select(sqlite3_stmt *stmt, const struct index_select *select)
{
	enum envelope_state state;

	bind_text(stmt, P_PLAN, select->plan);
	sqlite3_bind_int64(stmt, P_SEQUENCE,
			   (sqlite3_int64)select->after_sequence);
	sqlite3_bind_int64(stmt, P_ENVELOPE,
			   select->after_sequence ?
				   (sqlite3_int64)select->after_envelope :
				   -1);
	bind_text(stmt, P_IDS, select->ids);
	if (select->state && envelope_state_parse(select->state, &state))
		sqlite3_bind_int(stmt, P_STATE, (int)state);
	bind_text(stmt, P_RECIPIENT, select->recipient);
	bind_text(stmt, P_SENDER, select->sender);
	bind_text(stmt, P_DOMAIN, select->domain);
	bind_text(stmt, P_REPLY, select->reply);
	bind_text(stmt, P_TARGETS, select->targets);
	sqlite3_bind_int64(stmt, P_BEFORE, select->accepted_before_ms);
	sqlite3_bind_int64(stmt, P_SINCE, select->ended_since_ms);
	sqlite3_bind_int64(stmt, P_ENDED_BEFORE, select->ended_before_ms);
	sqlite3_bind_int(stmt, P_LIMIT,
			 select->limit && select->limit < LIST_MAX ?
				 (int)select->limit :
				 LIST_MAX);
}

/* SELECT `columns` of the envelopes; NULL with err. */
static sqlite3_stmt *prepare_select(sqlite3 *db, const char *columns,
				    const struct index_select *select,
				    const char *tail, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	struct buf sql = BUF_INIT;

	buf_addf(&sql, "SELECT %s FROM envelope e JOIN message m USING(seq)",
		 columns);
	where(select, &sql);
	buf_adds(&sql, tail);
	if (prepare(db, buf_text(&sql), &stmt, err) == 0)
		bind_select(stmt, select);
	buf_release(&sql);
	return stmt;
}

#define IN_ORDER " ORDER BY e.seq, e.n LIMIT ?13"

static struct json *list(sqlite3 *db, const struct index_select *select,
			 struct err *err)
{
	static const char attempt_sql[] =
		"SELECT a.number, a.at, a.target, a.tls, a.stage, a.code,"
		" a.enhanced, " OR_SEALED(
			REPLY) ", a.outcome, a.uncertain"
			       " FROM attempt a JOIN message m USING(seq)"
			       " WHERE a.seq = ?1 AND a.n = ?2 ORDER BY a.number, a.at";
	sqlite3_stmt *stmt, *attempts = NULL;
	struct json *all;
	int step;

	stmt = prepare_select(db, ENVELOPE_COLUMNS, select, IN_ORDER, err);
	if (!stmt)
		return NULL;
	if (prepare(db, attempt_sql, &attempts, err) < 0) {
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
		return finish(db, stmt, step, all, err);
	sqlite3_finalize(stmt);
	json_free(all);
	return NULL;
}

static struct json *copy_json(sqlite3_stmt *stmt)
{
	struct json *row = json_object();
	int flags = sqlite3_column_int(stmt, 6);

	json_put_text(row, "id", text_at(stmt, 0));
	json_put_number(row, "envelope", sqlite3_column_int(stmt, 1));
	json_put_text(row, "sequence", text_at(stmt, 2));
	json_put_text(row, "domain", text_at(stmt, 3));
	json_put_text(row, "reverse_path", text_at(stmt, 4));
	json_put_text(row, "forward_path", text_at(stmt, 5));
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
	sqlite3_stmt *stmt = prepare_select(
		db,
		"m.id, e.n, m.seq, e.domain, " REVERSE_PATH ", " FORWARD_PATH
		","
		" m.flags, m.bytes, e.ended, m.segment, m.offset, m.body",
		select, IN_ORDER, err);
	struct json *all;
	int step;

	if (!stmt)
		return NULL;
	all = json_array();
	/* One that does not open any more is no copy. */
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW)
		if (text_at(stmt, 4) && text_at(stmt, 5))
			json_add(all, copy_json(stmt));
	return finish(db, stmt, step, all, err);
}

static struct json *count(sqlite3 *db, const struct index_select *select,
			  struct err *err)
{
	sqlite3_stmt *stmt =
		prepare_select(db, "count(*), min(e.ended)", select, "", err);
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
	return finish(db, stmt, step, result, err);
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
	sqlite3_stmt *stmt = NULL;
	struct json *all;
	int step;

	if (prepare(db, sql, &stmt, err) < 0)
		return NULL;
	all = json_array();
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)select->after_sequence);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct json *row = json_object();

		json_put_text(row, "plan", text_at(stmt, 0));
		json_put_number(row, "count", sqlite3_column_double(stmt, 1));
		json_put_number(row, "last_ms", sqlite3_column_double(stmt, 2));
		json_put_number(row, "live_sequence",
				sqlite3_column_double(stmt, 3));
		json_add(all, row);
	}
	return finish(db, stmt, step, all, err);
}

static struct json *side_copies(sqlite3 *db, const struct index_select *select,
				struct err *err)
{
	static const char sql[] =
		"SELECT m.id, m.plan, max(iif(e.state = 2, e.ended, 0)),"
		" min(e.state) < 2 FROM message m JOIN envelope e USING(seq)"
		" WHERE m.body = 0 AND m.segment >= ?1 GROUP BY m.seq";
	sqlite3_stmt *stmt = NULL;
	struct json *all;
	int step;

	if (prepare(db, sql, &stmt, err) < 0)
		return NULL;
	all = json_array();
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)select->after_sequence);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct json *row = json_object();

		json_put_text(row, "id", text_at(stmt, 0));
		json_put_text(row, "plan", text_at(stmt, 1));
		json_put_number(row, "last_ms", sqlite3_column_double(stmt, 2));
		json_put_bool(row, "live", sqlite3_column_int(stmt, 3));
		json_add(all, row);
	}
	return finish(db, stmt, step, all, err);
}

static struct json *replies(sqlite3 *db, const struct index_select *select,
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
	sqlite3_stmt *stmt = NULL;
	struct json *all = json_array();
	int step;

	if (prepare(db, sql, &stmt, err) < 0) {
		json_free(all);
		return NULL;
	}
	sqlite3_bind_text(stmt, 1, select->plan, -1, SQLITE_STATIC);
	sqlite3_bind_int(stmt, 2, REPLIES_MAX);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct json *row = json_object();

		json_put_number(row, "count", sqlite3_column_double(stmt, 0));
		json_put_text(row, "state",
			      state_text(sqlite3_column_int(stmt, 1)));
		json_put_text(row, "stage", text_at(stmt, 2));
		json_put_number(row, "code", sqlite3_column_int(stmt, 3));
		json_put_text(row, "enhanced", text_at(stmt, 4));
		json_put_text(row, "text", text_at(stmt, 5));
		json_put_text(row, "reason", text_at(stmt, 6));
		json_add(all, row);
	}
	return finish(db, stmt, step, all, err);
}

static struct json *uncertain(sqlite3 *db, const struct index_select *select,
			      struct err *err)
{
	static const char sql[] =
		"SELECT " ENVELOPE_COLUMNS " FROM envelope e JOIN message m"
		" USING(seq) WHERE e.plan = ?1 AND e.uncertain > 0"
		" ORDER BY e.seq, e.n LIMIT ?2";
	sqlite3_stmt *stmt = NULL;
	struct json *all = json_array();
	int step;

	if (prepare(db, sql, &stmt, err) < 0) {
		json_free(all);
		return NULL;
	}
	sqlite3_bind_text(stmt, 1, select->plan, -1, SQLITE_STATIC);
	sqlite3_bind_int(stmt, 2, LIST_MAX);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW)
		json_add(all, envelope_json(stmt));
	return finish(db, stmt, step, all, err);
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
	sqlite3_stmt *stmt = NULL;
	struct json *result, *named;
	struct buf before = BUF_INIT;
	double messages = 0, of_one = 0, peers = 0;
	int step;

	if (prepare(db, sql, &stmt, err) < 0)
		return NULL;
	result = json_object();
	named = json_array();
	sqlite3_bind_text(stmt, 1, select->plan, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 2, select->accepted_since_ms);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct slice peer = peer_address(text_at(stmt, 0));

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
	return finish(db, stmt, step, result, err);
}

/*
 * What the report calls an exception, counted, and the first few by name:
 * perhaps delivered twice, and delivered after a later one of its mailbox.
 */
static struct json *exceptions(sqlite3 *db, const struct index_select *select,
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
	sqlite3_stmt *stmt = NULL;
	struct json *result, *named, *late;
	double uncertain = 0, overtaken = 0;
	int step;

	if (prepare(db, sql, &stmt, err) < 0)
		return NULL;
	result = json_object();
	named = json_array();
	sqlite3_bind_text(stmt, 1, select->plan, -1, SQLITE_STATIC);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		bool unsure = strcmp(text_at(stmt, 0), "uncertain") == 0;
		double *number = unsure ? &uncertain : &overtaken;
		struct json *one;

		if ((*number)++ >= NAMED_MAX)
			continue;
		one = json_object();
		json_put_text(one, "kind", text_at(stmt, 0));
		json_put_text(one, "id", text_at(stmt, 1));
		json_put_number(one, "envelope", sqlite3_column_int(stmt, 2));
		json_add(named, one);
	}
	json_put_number(result, "uncertain", uncertain);
	json_put_number(result, "overtaken", overtaken);
	json_put(result, "named", named);
	late = stragglers(db, select, err);
	json_put(result, "stragglers", late);
	result = finish(db, stmt, step, result, err);
	if (result && !late) {
		json_free(result);
		return NULL;
	}
	return result;
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
	sqlite3_stmt *stmt = NULL;
	struct json *all;
	int64_t before = 0;
	size_t count = 0;
	int step;

	if (prepare(db, sql, &stmt, err) < 0)
		return NULL;
	all = json_array();
	sqlite3_bind_text(stmt, 1, select->plan, -1, SQLITE_STATIC);
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
		if (text_at(stmt, 1) && text_at(stmt, 2)) {
			json_put_text(row, "target", text_at(stmt, 0));
			json_put_text(row, "forward_path", text_at(stmt, 1));
			json_put_text(row, "reverse_path", text_at(stmt, 2));
		}
		json_put_number(row, "at_ms", sqlite3_column_double(stmt, 3));
		json_put_number(row, "sequence", (double)sequence);
		json_add(all, row);
	}
	return finish(db, stmt, step, all, err);
}

static struct json *arrived(sqlite3 *db, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	struct json *hours = json_array();
	int step;

	if (prepare(db,
		    "SELECT hour * 3600000, bytes FROM arrived"
		    " WHERE hour > unixepoch() / 3600 - 24",
		    &stmt, err) < 0) {
		json_free(hours);
		return NULL;
	}
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct json *hour = json_object();

		json_put_number(hour, "from_ms",
				sqlite3_column_double(stmt, 0));
		json_put_number(hour, "bytes", sqlite3_column_double(stmt, 1));
		json_add(hours, hour);
	}
	return finish(db, stmt, step, hours, err);
}

static struct json *last(sqlite3 *db, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	struct json *result, *hours = arrived(db, err);
	int step;

	if (!hours)
		return NULL;
	if (prepare(db,
		    "SELECT max(coalesce((SELECT max(seq) FROM message), 0),"
		    " coalesce((SELECT value FROM meta"
		    " WHERE key = 'sequence'), 0)),"
		    " coalesce((SELECT min(hour) FROM arrived) * 3600000, 0)",
		    &stmt, err) < 0) {
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
	return finish(db, stmt, step, result, err);
}

/* What `sql` counts of each domain of the plan, under that key. */
static struct json *by_domain(sqlite3 *db, const char *sql, const char *key,
			      const struct index_select *select,
			      struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	struct json *all;
	int step;

	if (prepare(db, sql, &stmt, err) < 0)
		return NULL;
	all = json_array();
	sqlite3_bind_text(stmt, 1, select->plan, -1, SQLITE_STATIC);
	while ((step = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct json *row = json_object();

		json_put_text(row, "domain", text_at(stmt, 0));
		json_put_number(row, key, sqlite3_column_double(stmt, 1));
		json_add(all, row);
	}
	return finish(db, stmt, step, all, err);
}

static struct json *live_bytes(sqlite3 *db, const struct index_select *select,
			       struct err *err)
{
	return by_domain(db,
			 "SELECT e.domain, sum(m.bytes) FROM envelope e"
			 " JOIN message m USING(seq) WHERE e.state < 2"
			 " AND e.plan = ?1 GROUP BY e.domain",
			 "bytes", select, err);
}

/* "< 2" as well: the index `live` is of these. */
static struct json *lines(sqlite3 *db, const struct index_select *select,
			  struct err *err)
{
	return by_domain(db,
			 "SELECT e.domain,"
			 " count(DISTINCT lower(" FORWARD_PATH "))"
			 " FROM envelope e JOIN message m USING(seq)"
			 " WHERE e.state < 2 AND e.state = 0 AND e.plan = ?1"
			 " GROUP BY e.domain",
			 "mailboxes", select, err);
}

struct json *index_query_run(sqlite3 *db, enum index_query query,
			     const struct index_select *select, struct err *err)
{
	switch (query) {
	case INDEX_LEDGER:
		return ledger(db, select, err);
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
		return replies(db, select, err);
	case INDEX_UNCERTAIN:
		return uncertain(db, select, err);
	case INDEX_EXCEPTIONS:
		return exceptions(db, select, err);
	case INDEX_RECENT:
		return recent(db, select, err);
	case INDEX_LAST:
		return last(db, err);
	case INDEX_LIVE_BYTES:
		return live_bytes(db, select, err);
	case INDEX_LINES:
		return lines(db, select, err);
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
		.forward_path = text_at(stmt, 6),
		.reverse_path = text_at(stmt, 7),
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
			       text_at(stmt, 0), text_at(stmt, 5),
			       text_at(stmt, 5), KEY_FILE_NAME);
	if (!id_parse(slice(text_at(stmt, 0)), &live->id))
		return err_set(err, "index: '%s' is no id", text_at(stmt, 0));
	return 0;
}
