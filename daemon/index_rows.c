#include "daemon/index_rows.h"
#include "base/encode.h"
#include "base/log.h"
#include "daemon/index_sql.h"
#include "daemon/index_tally.h"
#include "smtp/smtp_path.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "index"

enum put {
	PUT_MESSAGE,
	PUT_MOVED,
	PUT_ENVELOPE,
	PUT_BEGIN,
	PUT_ATTEMPT,
	PUT_END,
	PUT_STATE,
	PUT_UPTO_SEGMENT,
	PUT_UPTO_OFFSET,
	PUT_FIND,
	PUT_FREE_SEQ,
	PUT_COUNT
};

static const char *const put_sql[PUT_COUNT] = {
	[PUT_MESSAGE] =
		"INSERT OR IGNORE INTO message VALUES(?1,?2,?3,?4,?5,?6,?7,?8,"
		"?9,?10,?11,?12,?13,?14,?15)",
	[PUT_MOVED] = "UPDATE message SET segment = ?2, offset = ?3, body = ?4"
		      " WHERE id = ?1 AND segment < ?2",
	[PUT_ENVELOPE] =
		"INSERT OR IGNORE INTO envelope(seq,n,plan,domain,forward_path)"
		" VALUES(?1,?2,?3,?4,?5)",
	[PUT_BEGIN] =
		"UPDATE envelope SET begin = ?3 WHERE seq = ?1 AND n = ?2",
	[PUT_ATTEMPT] =
		"INSERT OR IGNORE INTO attempt VALUES(?1,?2,?3,?4,?5,?6,?7,?8,"
		"?9,?10,?11,?12)",
	[PUT_END] =
		"UPDATE envelope SET begin = 0, attempts = max(attempts, ?3),"
		" state = ?4, next = ?5, uncertain = uncertain + ?6,"
		" ended = iif(?4 >= 2, ?7, 0), mailbox_held = ?8"
		" WHERE seq = ?1 AND n = ?2",
	[PUT_STATE] =
		"UPDATE envelope SET state = ?3, mailbox_held = ?4, by = ?5,"
		" reason = ?6, next = 0, ended = iif(?3 >= 2, ?7, 0)"
		" WHERE seq = ?1 AND n = ?2",
	[PUT_UPTO_SEGMENT] = "UPDATE meta SET value = ?1"
			     " WHERE key = 'segment'",
	[PUT_UPTO_OFFSET] = "UPDATE meta SET value = ?1 WHERE key = 'offset'",
	[PUT_FIND] = "SELECT seq FROM message WHERE id = ?1",
	[PUT_FREE_SEQ] = "SELECT max(seq) + 1 FROM message",
};

struct index_rows {
	sqlite3 *db;
	_Atomic enum index_health *health; /* of the index */
	sqlite3_stmt *puts[PUT_COUNT];
	struct index_tally *tally;
	bool in_transaction;
	uint32_t segment; /* last record put */
	uint64_t offset;
	struct slice *paths; /* room for decoding */
};

int index_run_sql(sqlite3 *db, const char *sql, struct err *err)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return err_set(err, "index: %s", sqlite3_errmsg(db));
}

bool index_rows_is_corrupt(sqlite3 *db)
{
	int code = sqlite3_errcode(db) & 0xff;

	return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

static void failed(struct index_rows *rows, const char *what)
{
	if (*rows->health == INDEX_WELL)
		log_error("cannot %s: %s; the queue goes on, the index is "
			  "brought up to date at the next start",
			  what, sqlite3_errmsg(rows->db));
	if (index_rows_is_corrupt(rows->db))
		*rows->health = INDEX_CORRUPT;
	else if (*rows->health == INDEX_WELL)
		*rows->health = INDEX_BEHIND;
}

static void bind_slice(sqlite3_stmt *stmt, int at, struct slice text)
{
	sqlite3_bind_text(stmt, at, text.p, (int)text.len, SQLITE_STATIC);
}

static int step(struct index_rows *rows, enum put put)
{
	sqlite3_stmt *stmt = rows->puts[put];
	int result = sqlite3_step(stmt);

	sqlite3_reset(stmt);
	if (result != SQLITE_DONE && result != SQLITE_ROW)
		failed(rows, "write the index");
	return result == SQLITE_DONE ? sqlite3_changes(rows->db) : -1;
}

/* -1: there is none, or it cannot be read. */
static int64_t find_seq(struct index_rows *rows, const struct id *id)
{
	sqlite3_stmt *stmt = rows->puts[PUT_FIND];
	int64_t seq = -1;
	int result;

	sqlite3_bind_text(stmt, 1, id->text, ID_LEN, SQLITE_STATIC);
	result = sqlite3_step(stmt);
	if (result == SQLITE_ROW)
		seq = sqlite3_column_int64(stmt, 0);
	else if (result != SQLITE_DONE)
		failed(rows, "read the index");
	sqlite3_reset(stmt);
	return seq;
}

static void put_envelope(struct index_rows *rows,
			 const struct record_message *m, size_t n)
{
	sqlite3_stmt *stmt = rows->puts[PUT_ENVELOPE];
	struct slice path = m->forward_paths[n];
	char domain[SMTP_DOMAIN];

	if (!smtp_domain_normal(slice_from(path,
					   (size_t)slice_rfind(path, '@') + 1),
				domain))
		snprintf(domain, sizeof(domain), "?");
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)m->sequence);
	sqlite3_bind_int64(stmt, 2, (sqlite3_int64)n);
	bind_slice(stmt, 3, m->plan);
	sqlite3_bind_text(stmt, 4, domain, -1, SQLITE_STATIC);
	bind_slice(stmt, 5, path);
	step(rows, PUT_ENVELOPE);
}

/*
 * Not one of this id, and its sequence is another's: a plan was removed, and
 * its numbers given again, or an index that could not be written gave them
 * twice.  It must not get lost for that.
 */
static bool put_anyway(struct index_rows *rows, struct record_message *m)
{
	sqlite3_stmt *stmt = rows->puts[PUT_FREE_SEQ];

	if (find_seq(rows, &m->id) >= 0)
		return false;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		m->sequence = (uint64_t)sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	log_warn("message %s has the sequence of another: it is %llu now",
		 m->id.text, (unsigned long long)m->sequence);
	sqlite3_bind_int64(rows->puts[PUT_MESSAGE], 1,
			   (sqlite3_int64)m->sequence);
	return step(rows, PUT_MESSAGE) > 0;
}

static void put_message(struct index_rows *rows,
			const struct scan_record *record)
{
	sqlite3_stmt *stmt = rows->puts[PUT_MESSAGE];
	struct record_message m;
	char sha[DIGEST_TEXT];
	int added;

	if (record_message_decode(record->payload, &m, rows->paths, NULL) < 0)
		return;
	sqlite3_bind_int64(stmt, 1, (sqlite3_int64)m.sequence);
	sqlite3_bind_text(stmt, 2, m.id.text, ID_LEN, SQLITE_STATIC);
	bind_slice(stmt, 3, m.plan);
	sqlite3_bind_int64(stmt, 4, m.accepted_ms);
	bind_slice(stmt, 5, m.reverse_path);
	bind_slice(stmt, 6, m.helo);
	bind_slice(stmt, 7, m.peer);
	bind_slice(stmt, 8, m.protocol);
	bind_slice(stmt, 9, m.tls);
	sqlite3_bind_int(stmt, 10,
			 (m.eightbit ? INDEX_EIGHTBIT : 0) |
				 (m.utf8 ? INDEX_UTF8 : 0) |
				 (m.sealed ? INDEX_SEALED : 0));
	sqlite3_bind_int64(stmt, 11, (sqlite3_int64)m.body_bytes);
	sqlite3_bind_text(stmt, 12, digest_text(m.sha256, sha), -1,
			  SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 13, record->segment);
	sqlite3_bind_int64(stmt, 14, (sqlite3_int64)record->offset);
	sqlite3_bind_int64(stmt, 15, (sqlite3_int64)record->body);
	added = step(rows, PUT_MESSAGE);
	if (added < 0 || (added == 0 && !put_anyway(rows, &m))) {
		/* Known: its segment was cleared out and it moved, or a scan
		 * reads it again. */
		stmt = rows->puts[PUT_MOVED];
		sqlite3_bind_text(stmt, 1, m.id.text, ID_LEN, SQLITE_STATIC);
		sqlite3_bind_int64(stmt, 2, record->segment);
		sqlite3_bind_int64(stmt, 3, (sqlite3_int64)record->offset);
		sqlite3_bind_int64(stmt, 4, (sqlite3_int64)record->body);
		step(rows, PUT_MOVED);
		return;
	}
	index_tally_arrived(rows->tally, m.accepted_ms, m.body_bytes);
	for (size_t i = 0; i < m.envelope_count; i++)
		put_envelope(rows, &m, i);
}

static void put_attempt(struct index_rows *rows,
			const struct scan_record *record)
{
	sqlite3_stmt *stmt = rows->puts[PUT_ATTEMPT];
	struct record_attempt a;
	int64_t seq;

	if (record_attempt_decode(record->payload, &a, NULL) < 0)
		return;
	seq = find_seq(rows, &a.id);
	if (a.begin) {
		stmt = rows->puts[PUT_BEGIN];
		sqlite3_bind_int64(stmt, 1, seq);
		sqlite3_bind_int64(stmt, 2, a.envelope);
		sqlite3_bind_int64(stmt, 3, a.number);
		step(rows, PUT_BEGIN);
		return;
	}
	sqlite3_bind_int64(stmt, 1, seq);
	sqlite3_bind_int64(stmt, 2, a.envelope);
	sqlite3_bind_int64(stmt, 3, a.number);
	sqlite3_bind_int64(stmt, 4, a.at_ms);
	bind_slice(stmt, 5, a.target);
	bind_slice(stmt, 6, a.tls);
	bind_slice(stmt, 7, a.stage);
	sqlite3_bind_int(stmt, 8, a.code);
	bind_slice(stmt, 9, a.enhanced);
	bind_slice(stmt, 10, a.reply);
	sqlite3_bind_int(stmt, 11, (int)a.outcome);
	sqlite3_bind_int(stmt, 12, a.uncertain);
	if (step(rows, PUT_ATTEMPT) <= 0)
		return; /* read twice: counted once */
	stmt = rows->puts[PUT_END];
	sqlite3_bind_int64(stmt, 1, seq);
	sqlite3_bind_int64(stmt, 2, a.envelope);
	sqlite3_bind_int64(stmt, 3, a.number);
	sqlite3_bind_int(stmt, 4, (int)a.outcome);
	sqlite3_bind_int64(stmt, 5, a.next_ms);
	sqlite3_bind_int(stmt, 6, a.uncertain);
	sqlite3_bind_int64(stmt, 7, a.at_ms);
	sqlite3_bind_int(stmt, 8, a.mailbox);
	step(rows, PUT_END);
}

static void put_state(struct index_rows *rows, const struct scan_record *record)
{
	sqlite3_stmt *stmt = rows->puts[PUT_STATE];
	struct record_state s;

	if (record_state_decode(record->payload, &s, NULL) < 0)
		return;
	sqlite3_bind_int64(stmt, 1, find_seq(rows, &s.id));
	sqlite3_bind_int64(stmt, 2, s.envelope);
	sqlite3_bind_int(stmt, 3, (int)s.state);
	sqlite3_bind_int(stmt, 4, s.mailbox);
	bind_slice(stmt, 5, s.by);
	bind_slice(stmt, 6, s.reason);
	sqlite3_bind_int64(stmt, 7, s.at_ms);
	step(rows, PUT_STATE);
}

static void begin(struct index_rows *rows)
{
	struct err err = ERR_INIT;

	if (rows->in_transaction)
		return;
	if (index_run_sql(rows->db, "BEGIN IMMEDIATE", &err) < 0)
		failed(rows, "begin a transaction");
	rows->in_transaction = true;
}

static void write_counters(struct index_rows *rows)
{
	struct err err = ERR_INIT;

	if (index_tally_write(rows->tally, &err) < 0)
		failed(rows, "count");
}

void index_rows_commit(struct index_rows *rows)
{
	struct err err = ERR_INIT;

	if (!rows->in_transaction)
		return;
	rows->in_transaction = false;
	write_counters(rows);
	sqlite3_bind_int64(rows->puts[PUT_UPTO_SEGMENT], 1, rows->segment);
	step(rows, PUT_UPTO_SEGMENT);
	sqlite3_bind_int64(rows->puts[PUT_UPTO_OFFSET], 1,
			   (sqlite3_int64)rows->offset);
	step(rows, PUT_UPTO_OFFSET);
	/* A half transaction must not pass for "indexed up to here". */
	if (index_run_sql(rows->db,
			  *rows->health == INDEX_WELL ? "COMMIT" : "ROLLBACK",
			  &err) < 0)
		failed(rows, "commit");
}

void index_rows_put(struct index_rows *rows, const struct scan_record *record)
{
	if (*rows->health != INDEX_WELL)
		return;
	begin(rows);
	switch (record->kind) {
	case RECORD_MESSAGE:
		put_message(rows, record);
		break;
	case RECORD_ATTEMPT:
		put_attempt(rows, record);
		break;
	case RECORD_STATE:
		put_state(rows, record);
		break;
	}
	rows->segment = record->segment;
	rows->offset = record->offset;
}

void index_rows_remove_plan(struct index_rows *rows, const char *plan)
{
	static const char *const sql[] = {
		/* Its numbers are not given again: the spool still has them. */
		("INSERT OR REPLACE INTO meta SELECT 'sequence', max("
		 " coalesce((SELECT max(seq) FROM message), 0),"
		 " coalesce((SELECT value FROM meta WHERE key = 'sequence'),"
		 " 0))"),
		("DELETE FROM attempt WHERE seq IN"
		 " (SELECT seq FROM message WHERE plan = ?1)"),
		"DELETE FROM envelope WHERE plan = ?1",
		"DELETE FROM message WHERE plan = ?1",
		"DELETE FROM counter WHERE plan = ?1",
	};

	begin(rows);
	write_counters(rows);
	for (size_t i = 0; i < COUNT(sql); i++) {
		sqlite3_stmt *stmt = NULL;

		if (sqlite3_prepare_v2(rows->db, sql[i], -1, &stmt, NULL) !=
		    SQLITE_OK)
			failed(rows, "remove a plan");
		sqlite3_bind_text(stmt, 1, plan, -1, SQLITE_STATIC);
		sqlite3_step(stmt);
		sqlite3_finalize(stmt);
	}
}

void index_rows_evidence_is_read(struct index_rows *rows)
{
	struct err err = ERR_INIT;

	begin(rows);
	if (index_run_sql(rows->db,
			  "UPDATE meta SET value = 1 WHERE key = 'evidence'",
			  &err) < 0)
		failed(rows, "write the index");
}

struct index_rows *index_rows_new(sqlite3 *db, uint32_t segment,
				  uint64_t offset,
				  _Atomic enum index_health *health,
				  struct err *err)
{
	struct index_rows *rows = mem_alloc(sizeof(*rows));

	rows->db = db;
	rows->health = health;
	rows->segment = segment;
	rows->offset = offset;
	rows->paths = mem_alloc(RECORD_MAX_ENVELOPES * sizeof(struct slice));
	rows->tally = index_tally_new(db, err);
	if (!rows->tally)
		goto fail;
	for (size_t i = 0; i < PUT_COUNT; i++) {
		if (sqlite3_prepare_v3(db, put_sql[i], -1,
				       SQLITE_PREPARE_PERSISTENT,
				       &rows->puts[i], NULL) != SQLITE_OK) {
			err_set(err, "index: %s", sqlite3_errmsg(db));
			goto fail;
		}
	}
	return rows;
fail:
	index_rows_free(rows);
	return NULL;
}

void index_rows_free(struct index_rows *rows)
{
	if (!rows)
		return;
	for (size_t i = 0; i < PUT_COUNT; i++)
		sqlite3_finalize(rows->puts[i]);
	index_tally_free(rows->tally);
	free(rows->paths);
	free(rows);
}

void index_rows_up_to(const struct index_rows *rows, uint32_t *segment,
		      uint64_t *offset)
{
	*segment = rows->segment;
	*offset = rows->offset;
}
