#include "daemon/index_select.h"
#include "daemon/index_sql.h"

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
			 select->limit && select->limit < INDEX_SELECT_MAX ?
				 (int)select->limit :
				 INDEX_SELECT_MAX);
}

sqlite3_stmt *index_select_prepare(sqlite3 *db, const char *columns,
				   const struct index_select *select,
				   const char *tail, struct err *err)
{
	struct buf sql = BUF_INIT;
	sqlite3_stmt *stmt;

	buf_addf(&sql, "SELECT %s FROM envelope e JOIN message m USING(seq)",
		 columns);
	where(select, &sql);
	buf_adds(&sql, tail);
	stmt = index_sql_prepare(db, buf_text(&sql), NULL, err);
	if (stmt)
		bind_select(stmt, select);
	buf_release(&sql);
	return stmt;
}
