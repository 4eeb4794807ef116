#include "daemon/index.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/list.h"
#include "base/log.h"
#include "daemon/index_query.h"
#include "daemon/index_schema.h"
#include "smtp/smtp_path.h"
#include "spool/segment.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LOG_MODULE "index"

enum {
	GATHER_MS = 100,
	GATHER_OPS = 4000,
	PENDING_MAX = 50000, /* of about 300 bytes */
	NICE = 5	     /* a quarter of a processor that all want */
};

enum op_kind {
	OP_PUT,
	OP_FLUSH,
	OP_QUERY,
	OP_PAGE,
	OP_REMOVE,
	OP_EVIDENCE
};

/* What is asked of it: a query as JSON, or a page of what lives. */
struct ask {
	struct list link; /* of those without an answer, the loop's */
	struct op *op;
	enum index_query query;
	struct index_select select; /* texts of its own */
	struct json *result;
	index_json_fn *done;
	size_t max; /* of a page */
	struct index_page page;
	struct index_live *rows;
	index_page_fn *paged;
	struct err err;
};

/* One thing to do on the index thread, in the order of the calls. */
struct op {
	struct op *next;
	enum op_kind kind;
	/* OP_PUT */
	enum record_kind record;
	uint32_t segment;
	uint64_t offset, body;
	size_t len;
	/* OP_FLUSH */
	loop_fn *flushed;
	/* OP_QUERY, OP_PAGE */
	struct ask *ask;
	void *ctx;
	char *plan;   /* OP_QUERY, OP_PAGE, OP_REMOVE */
	char bytes[]; /* OP_PUT: the payload */
};

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
		" ended = iif(?4 >= 2, ?7, 0) WHERE seq = ?1 AND n = ?2",
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

struct index {
	struct loop *loop;
	struct keyring *keyring; /* or NULL */
	char *path;
	sqlite3 *db;
	sqlite3_stmt *puts[PUT_COUNT];
	bool in_transaction;
	_Atomic enum index_health health;
	uint32_t segment; /* last record put */
	uint64_t offset;
	struct slice *paths; /* room for decoding, the thread's */
	pthread_t thread;
	bool runs;
	pthread_mutex_t lock;
	pthread_cond_t more, room;
	struct op *first, **last;
	size_t pending; /* about so many from `first` on */
	bool urgent;	/* somebody waits for an answer */
	bool ending;
	struct list asks; /* the loop's */
};

/* Opening. */

static int run_sql(sqlite3 *db, const char *sql, struct err *err)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return err_set(err, "index: %s", sqlite3_errmsg(db));
}

static int64_t ask_meta(sqlite3 *db, const char *key)
{
	sqlite3_stmt *stmt = NULL;
	int64_t value = -1;

	if (sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key = ?1", -1,
			       &stmt, NULL) == SQLITE_OK) {
		sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
		if (sqlite3_step(stmt) == SQLITE_ROW)
			value = sqlite3_column_int64(stmt, 0);
	}
	sqlite3_finalize(stmt);
	return value;
}

static int open_db(struct index *index, struct err *err)
{
	if (sqlite3_open_v2(index->path, &index->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
				    SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		return err_set(err, "cannot open %s: %s", index->path,
			       index->db ? sqlite3_errmsg(index->db) :
					   "no memory");
	if (index_query_functions(index->db, index->keyring, err) < 0)
		return -1;
	/* The spool is the truth: a lost tail of the index is read again. */
	return run_sql(index->db,
		       "PRAGMA journal_mode = WAL;"
		       "PRAGMA synchronous = NORMAL;"
		       "PRAGMA cache_size = -16000;"
		       "PRAGMA wal_autocheckpoint = 4000",
		       err);
}

static void close_db(struct index *index)
{
	for (size_t i = 0; i < PUT_COUNT; i++) {
		sqlite3_finalize(index->puts[i]);
		index->puts[i] = NULL;
	}
	sqlite3_close(index->db);
	index->db = NULL;
}

static void move_away(const char *path, const char *suffix)
{
	char *from = mem_printf("%s%s", path, suffix);
	char *to = mem_printf("%s%s.broken", path, suffix);

	rename(from, to); /* there may be none */
	free(from);
	free(to);
}

static void set_aside(struct index *index)
{
	move_away(index->path, "");
	move_away(index->path, "-wal");
	move_away(index->path, "-shm");
}

/* One that a start did not finish knows only some of the evidence, and no
 * start reads evidence but for a new one.  Older ones say nothing: -1. */
static bool is_usable(const struct index *index)
{
	return ask_meta(index->db, "version") == INDEX_VERSION &&
	       ask_meta(index->db, "evidence") != 0;
}

/* A usable index is open afterwards; *rebuilt if it is an empty one. */
static int open_or_make(struct index *index, bool *rebuilt, struct err *err)
{
	bool there = file_exists(index->path);

	*rebuilt = !there;
	if (there && open_db(index, err) == 0 && is_usable(index))
		return 0;
	if (there) {
		log_warn("%s cannot be used; it is kept as .broken",
			 index->path);
		close_db(index);
		set_aside(index);
		*rebuilt = true;
	}
	err_clear(err);
	if (open_db(index, err) < 0 ||
	    run_sql(index->db, "BEGIN IMMEDIATE", err) < 0 ||
	    run_sql(index->db, index_schema, err) < 0)
		return -1;
	return run_sql(index->db, "COMMIT", err);
}

/* Beside the tables, and cheap to make anew in a file that lacks them. */
static int make_lookups(struct index *index, struct err *err)
{
	return run_sql(index->db,
		       "CREATE INDEX IF NOT EXISTS place ON message(segment);"
		       "CREATE INDEX IF NOT EXISTS side ON message(segment)"
		       " WHERE body = 0",
		       err);
}

/* Writing, on the index thread. */

/* A bad file is another matter than a full disk: what it says is no good. */
static bool is_corrupt(sqlite3 *db)
{
	int code = sqlite3_errcode(db) & 0xff;

	return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

static void failed(struct index *index, const char *what)
{
	if (index->health == INDEX_WELL)
		log_error("cannot %s: %s; the queue goes on, the index is "
			  "brought up to date at the next start",
			  what, sqlite3_errmsg(index->db));
	if (is_corrupt(index->db))
		index->health = INDEX_CORRUPT;
	else if (index->health == INDEX_WELL)
		index->health = INDEX_BEHIND;
}

static void bind_slice(sqlite3_stmt *stmt, int at, struct slice text)
{
	sqlite3_bind_text(stmt, at, text.p, (int)text.len, SQLITE_STATIC);
}

static int step(struct index *index, enum put put)
{
	sqlite3_stmt *stmt = index->puts[put];
	int result = sqlite3_step(stmt);

	sqlite3_reset(stmt);
	if (result != SQLITE_DONE && result != SQLITE_ROW)
		failed(index, "write the index");
	return result == SQLITE_DONE ? sqlite3_changes(index->db) : -1;
}

static int64_t find_seq(struct index *index, const struct id *id)
{
	sqlite3_stmt *stmt = index->puts[PUT_FIND];
	int64_t seq = -1;

	sqlite3_bind_text(stmt, 1, id->text, ID_LEN, SQLITE_STATIC);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		seq = sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	return seq;
}

static void put_envelope(struct index *index, const struct record_message *m,
			 size_t n)
{
	sqlite3_stmt *stmt = index->puts[PUT_ENVELOPE];
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
	step(index, PUT_ENVELOPE);
}

/*
 * Not one of this id, and its sequence is another's: a plan was removed, and
 * its numbers given again, or an index that could not be written gave them
 * twice.  It must not get lost for that.
 */
static bool put_anyway(struct index *index, struct record_message *m)
{
	sqlite3_stmt *stmt = index->puts[PUT_FREE_SEQ];

	if (find_seq(index, &m->id) >= 0)
		return false;
	if (sqlite3_step(stmt) == SQLITE_ROW)
		m->sequence = (uint64_t)sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	log_warn("message %s has the sequence of another: it is %llu now",
		 m->id.text, (unsigned long long)m->sequence);
	sqlite3_bind_int64(index->puts[PUT_MESSAGE], 1,
			   (sqlite3_int64)m->sequence);
	return step(index, PUT_MESSAGE) > 0;
}

static void put_message(struct index *index, const struct op *op)
{
	sqlite3_stmt *stmt = index->puts[PUT_MESSAGE];
	struct record_message m;
	char sha[DIGEST_TEXT];
	int added;

	if (record_message_decode(slice_of(op->bytes, op->len), &m,
				  index->paths, NULL) < 0)
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
	sqlite3_bind_int64(stmt, 13, op->segment);
	sqlite3_bind_int64(stmt, 14, (sqlite3_int64)op->offset);
	sqlite3_bind_int64(stmt, 15, (sqlite3_int64)op->body);
	added = step(index, PUT_MESSAGE);
	if (added < 0 || (added == 0 && !put_anyway(index, &m))) {
		/* Known: its segment was cleared out and it moved, or a scan
		 * reads it again. */
		stmt = index->puts[PUT_MOVED];
		sqlite3_bind_text(stmt, 1, m.id.text, ID_LEN, SQLITE_STATIC);
		sqlite3_bind_int64(stmt, 2, op->segment);
		sqlite3_bind_int64(stmt, 3, (sqlite3_int64)op->offset);
		sqlite3_bind_int64(stmt, 4, (sqlite3_int64)op->body);
		step(index, PUT_MOVED);
		return;
	}
	for (size_t i = 0; i < m.envelope_count; i++)
		put_envelope(index, &m, i);
}

static void put_attempt(struct index *index, const struct op *op)
{
	sqlite3_stmt *stmt = index->puts[PUT_ATTEMPT];
	struct record_attempt a;
	int64_t seq;

	if (record_attempt_decode(slice_of(op->bytes, op->len), &a, NULL) < 0)
		return;
	seq = find_seq(index, &a.id);
	if (a.begin) {
		stmt = index->puts[PUT_BEGIN];
		sqlite3_bind_int64(stmt, 1, seq);
		sqlite3_bind_int64(stmt, 2, a.envelope);
		sqlite3_bind_int64(stmt, 3, a.number);
		step(index, PUT_BEGIN);
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
	if (step(index, PUT_ATTEMPT) <= 0)
		return; /* read twice: counted once */
	stmt = index->puts[PUT_END];
	sqlite3_bind_int64(stmt, 1, seq);
	sqlite3_bind_int64(stmt, 2, a.envelope);
	sqlite3_bind_int64(stmt, 3, a.number);
	sqlite3_bind_int(stmt, 4, (int)a.outcome);
	sqlite3_bind_int64(stmt, 5, a.next_ms);
	sqlite3_bind_int(stmt, 6, a.uncertain);
	sqlite3_bind_int64(stmt, 7, a.at_ms);
	step(index, PUT_END);
}

static void put_state(struct index *index, const struct op *op)
{
	sqlite3_stmt *stmt = index->puts[PUT_STATE];
	struct record_state s;

	if (record_state_decode(slice_of(op->bytes, op->len), &s, NULL) < 0)
		return;
	sqlite3_bind_int64(stmt, 1, find_seq(index, &s.id));
	sqlite3_bind_int64(stmt, 2, s.envelope);
	sqlite3_bind_int(stmt, 3, (int)s.state);
	sqlite3_bind_int(stmt, 4, s.mailbox);
	bind_slice(stmt, 5, s.by);
	bind_slice(stmt, 6, s.reason);
	sqlite3_bind_int64(stmt, 7, s.at_ms);
	step(index, PUT_STATE);
}

static void begin(struct index *index)
{
	struct err err = ERR_INIT;

	if (index->in_transaction)
		return;
	if (run_sql(index->db, "BEGIN IMMEDIATE", &err) < 0)
		failed(index, "begin a transaction");
	index->in_transaction = true;
}

static void commit(struct index *index)
{
	struct err err = ERR_INIT;

	if (!index->in_transaction)
		return;
	index->in_transaction = false;
	sqlite3_bind_int64(index->puts[PUT_UPTO_SEGMENT], 1, index->segment);
	step(index, PUT_UPTO_SEGMENT);
	sqlite3_bind_int64(index->puts[PUT_UPTO_OFFSET], 1,
			   (sqlite3_int64)index->offset);
	step(index, PUT_UPTO_OFFSET);
	/* A half transaction must not pass for "indexed up to here". */
	if (run_sql(index->db,
		    index->health == INDEX_WELL ? "COMMIT" : "ROLLBACK",
		    &err) < 0)
		failed(index, "commit");
}

static void put(struct index *index, const struct op *op)
{
	if (index->health != INDEX_WELL)
		return;
	begin(index);
	switch (op->record) {
	case RECORD_MESSAGE:
		put_message(index, op);
		break;
	case RECORD_ATTEMPT:
		put_attempt(index, op);
		break;
	case RECORD_STATE:
		put_state(index, op);
		break;
	}
	index->segment = op->segment;
	index->offset = op->offset;
}

/* What an op copies of a select, beside the plan. */
static const size_t select_texts[] = {
	offsetof(struct index_select, ids),
	offsetof(struct index_select, state),
	offsetof(struct index_select, recipient),
	offsetof(struct index_select, sender),
	offsetof(struct index_select, domain),
	offsetof(struct index_select, reply),
	offsetof(struct index_select, targets),
};

static const char **select_text(struct index_select *select, size_t i)
{
	return (const char **)(void *)((char *)select + select_texts[i]);
}

static void ask_free(struct ask *ask)
{
	if (!ask)
		return;
	for (size_t i = 0; i < ask->page.count; i++) {
		free((char *)(uintptr_t)ask->rows[i].forward_path);
		free((char *)(uintptr_t)ask->rows[i].reverse_path);
	}
	free(ask->rows);
	for (size_t i = 0; i < COUNT(select_texts); i++)
		free((char *)(uintptr_t)*select_text(&ask->select, i));
	free(ask);
}

static void op_free(struct op *op)
{
	ask_free(op->ask);
	free(op->plan);
	free(op);
}

static void answer(void *ctx)
{
	struct op *op = ctx;
	struct ask *ask = op->ask;
	const struct err *failed = err_is_set(&ask->err) ? &ask->err : NULL;

	list_remove(&ask->link);
	if (op->kind == OP_PAGE)
		ask->paged(op->ctx, failed ? NULL : &ask->page, failed);
	else
		ask->done(op->ctx, ask->result, failed);
	op_free(op);
}

/* False once the page is full, or it failed. */
static bool add_row(struct ask *ask, sqlite3_stmt *stmt)
{
	struct index_page *page = &ask->page;
	struct index_live live, *row;

	if (index_query_live_row(stmt, &live, &ask->err) < 0)
		return false;
	if (page->count >= ask->max &&
	    ask->rows[page->count - 1].sequence != live.sequence) {
		page->more = true;
		return false;
	}
	if ((page->count & (page->count - 1)) == 0)
		ask->rows = mem_grow(ask->rows,
				     (page->count ? page->count * 2 : 1) *
					     sizeof(*ask->rows));
	row = &ask->rows[page->count++];
	*row = live;
	row->forward_path = mem_dup(live.forward_path);
	row->reverse_path = mem_dup(live.reverse_path);
	page->at = ask->rows;
	return true;
}

static void read_page(struct index *index, const char *plan, struct ask *ask)
{
	const char *these = ask->select.ids;
	sqlite3_stmt *stmt = NULL;
	int result = SQLITE_ERROR;

	if (index->health != INDEX_WELL) {
		err_set(&ask->err, "the index does not have all of the mail");
		return;
	}
	if (sqlite3_prepare_v2(index->db,
			       these ? index_query_these : index_query_page, -1,
			       &stmt, NULL) == SQLITE_OK) {
		sqlite3_bind_text(stmt, 1, plan, -1, SQLITE_STATIC);
		if (these)
			sqlite3_bind_text(stmt, 2, these, -1, SQLITE_STATIC);
		else
			sqlite3_bind_int64(
				stmt, 2,
				(sqlite3_int64)ask->select.after_sequence);
		while ((result = sqlite3_step(stmt)) == SQLITE_ROW &&
		       add_row(ask, stmt))
			;
	}
	if (result != SQLITE_ROW && result != SQLITE_DONE) {
		err_set(&ask->err, "index: %s", sqlite3_errmsg(index->db));
		if (is_corrupt(index->db))
			index->health = INDEX_CORRUPT;
	}
	sqlite3_finalize(stmt);
}

static void remove_plan(struct index *index, const char *plan)
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

	begin(index);
	for (size_t i = 0; i < COUNT(sql); i++) {
		sqlite3_stmt *stmt = NULL;

		if (sqlite3_prepare_v2(index->db, sql[i], -1, &stmt, NULL) !=
		    SQLITE_OK)
			failed(index, "remove a plan");
		sqlite3_bind_text(stmt, 1, plan, -1, SQLITE_STATIC);
		sqlite3_step(stmt);
		sqlite3_finalize(stmt);
	}
}

static void evidence_is_read(struct index *index)
{
	struct err err = ERR_INIT;

	begin(index);
	if (run_sql(index->db,
		    "UPDATE meta SET value = 1 WHERE key = 'evidence'",
		    &err) < 0)
		failed(index, "write the index");
}

static void run_op(struct index *index, struct op *op)
{
	switch (op->kind) {
	case OP_PUT:
		put(index, op);
		op_free(op);
		break;
	case OP_FLUSH:
		commit(index);
		loop_post(index->loop, op->flushed, op->ctx);
		op_free(op);
		break;
	case OP_QUERY:
		commit(index);
		op->ask->select.plan = op->plan;
		op->ask->result =
			index_query_run(index->db, op->ask->query,
					&op->ask->select, &op->ask->err);
		loop_post(index->loop, answer, op);
		break;
	case OP_PAGE:
		commit(index);
		read_page(index, op->plan, op->ask);
		loop_post(index->loop, answer, op);
		break;
	case OP_REMOVE:
		remove_plan(index, op->plan);
		op_free(op);
		break;
	case OP_EVIDENCE:
		evidence_is_read(index);
		op_free(op);
		break;
	}
}

/*
 * Waits for work.  Records may wait a moment for more of them: the pages that
 * they share are then written once.  Whoever asks is not kept waiting.
 */
static struct op *take_ops(struct index *index)
{
	struct timespec until;
	struct op *op;

	pthread_mutex_lock(&index->lock);
	while (!index->first && !index->ending)
		pthread_cond_wait(&index->more, &index->lock);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += GATHER_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	while (!index->urgent && !index->ending &&
	       index->pending < GATHER_OPS &&
	       pthread_cond_timedwait(&index->more, &index->lock, &until) == 0)
		;
	op = index->first;
	index->first = NULL;
	index->last = &index->first;
	index->pending = 0;
	index->urgent = false;
	pthread_cond_broadcast(&index->room);
	pthread_mutex_unlock(&index->lock);
	return op;
}

static void *index_thread(void *ctx)
{
	struct index *index = ctx;

	/* Nobody's 250 waits for the index: it leaves the processor to those
	 * for whom somebody does. */
	setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	for (;;) {
		struct op *op = take_ops(index);

		if (!op)
			return NULL;
		while (op) {
			struct op *next = op->next;

			run_op(index, op);
			op = next;
		}
		commit(index);
	}
}

/* The loop's side. */

static void push(struct index *index, struct op *op)
{
	bool wake;

	pthread_mutex_lock(&index->lock);
	/* A rebuild reads faster than SQLite writes: memory stays bounded. */
	while (index->pending >= PENDING_MAX)
		pthread_cond_wait(&index->room, &index->lock);
	wake = !index->first || ++index->pending == GATHER_OPS ||
	       op->kind != OP_PUT;
	index->urgent |= op->kind != OP_PUT;
	*index->last = op;
	index->last = &op->next;
	pthread_mutex_unlock(&index->lock);
	if (wake)
		pthread_cond_signal(&index->more);
}

struct index *index_open(struct loop *loop, const char *dir,
			 struct keyring *keyring, bool *rebuilt,
			 struct err *err)
{
	struct index *index = mem_alloc(sizeof(*index));
	pthread_condattr_t monotonic;

	index->loop = loop;
	index->keyring = keyring;
	index->path = mem_printf("%s/index.sqlite", dir);
	index->last = &index->first;
	list_init(&index->asks);
	index->paths = mem_alloc(RECORD_MAX_ENVELOPES * sizeof(struct slice));
	pthread_mutex_init(&index->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&index->more, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_cond_init(&index->room, NULL);
	/* Nobody asks SQLite how much memory it has: that takes a lock for
	 * each piece.  Refused once a database is open; it matters little. */
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	if (open_or_make(index, rebuilt, err) < 0 ||
	    make_lookups(index, err) < 0)
		goto fail;
	for (size_t i = 0; i < PUT_COUNT; i++) {
		if (sqlite3_prepare_v3(index->db, put_sql[i], -1,
				       SQLITE_PREPARE_PERSISTENT,
				       &index->puts[i], NULL) != SQLITE_OK) {
			err_set(err, "index: %s", sqlite3_errmsg(index->db));
			goto fail;
		}
	}
	index->segment = (uint32_t)ask_meta(index->db, "segment");
	index->offset = (uint64_t)ask_meta(index->db, "offset");
	if (pthread_create(&index->thread, NULL, index_thread, index) != 0) {
		err_set(err, "cannot start the index thread");
		goto fail;
	}
	index->runs = true;
	return index;
fail:
	index_close(index);
	return NULL;
}

void index_close(struct index *index)
{
	if (!index)
		return;
	pthread_mutex_lock(&index->lock);
	index->ending = true;
	pthread_mutex_unlock(&index->lock);
	pthread_cond_signal(&index->more);
	if (index->runs)
		pthread_join(index->thread, NULL);
	/* The loop has ended: nobody hears these. */
	list_each (it, next, &index->asks) {
		struct ask *ask = list_entry(it, struct ask, link);

		json_free(ask->result);
		op_free(ask->op);
	}
	close_db(index);
	if (index->health == INDEX_CORRUPT)
		set_aside(index);
	pthread_mutex_destroy(&index->lock);
	pthread_cond_destroy(&index->more);
	pthread_cond_destroy(&index->room);
	free(index->paths);
	free(index->path);
	free(index);
}

void index_indexed_up_to(struct index *index, uint32_t *segment,
			 uint64_t *offset)
{
	*segment = index->segment;
	*offset = index->offset;
}

enum index_health index_health(struct index *index)
{
	return index->health;
}

void index_put(struct index *index, const struct scan_record *record)
{
	uint64_t start = record->offset + SEGMENT_RECORD_HEADER;
	size_t len = record->payload.len;
	struct op *op;

	/* The body is nothing to the index. */
	if (record->body > start && record->body - start < len)
		len = (size_t)(record->body - start);
	op = mem_alloc(sizeof(*op) + len);
	op->kind = OP_PUT;
	op->record = record->kind;
	op->segment = record->segment;
	op->offset = record->offset;
	op->body = record->body;
	op->len = len;
	memcpy(op->bytes, record->payload.p, len);
	push(index, op);
}

void index_evidence_is_read(struct index *index)
{
	struct op *op = mem_alloc(sizeof(*op));

	op->kind = OP_EVIDENCE;
	push(index, op);
}

void index_flush(struct index *index, loop_fn *done, void *ctx)
{
	struct op *op = mem_alloc(sizeof(*op));

	op->kind = OP_FLUSH;
	op->flushed = done;
	op->ctx = ctx;
	push(index, op);
}

static struct op *op_ask(struct index *index, enum op_kind kind,
			 const char *plan, void *ctx)
{
	struct op *op = mem_alloc(sizeof(*op));

	op->kind = kind;
	op->plan = mem_dup(plan);
	op->ctx = ctx;
	op->ask = mem_alloc(sizeof(*op->ask));
	op->ask->op = op;
	list_append(&index->asks, &op->ask->link);
	return op;
}

static void query(struct index *index, enum index_query which, const char *plan,
		  const struct index_select *select, index_json_fn *done,
		  void *ctx)
{
	struct op *op = op_ask(index, OP_QUERY, plan, ctx);

	op->ask->query = which;
	op->ask->done = done;
	if (select) {
		op->ask->select = *select;
		for (size_t i = 0; i < COUNT(select_texts); i++) {
			const char **text = select_text(&op->ask->select, i);

			*text = mem_dup(*text);
		}
	}
	push(index, op);
}

void index_page(struct index *index, const char *plan, uint64_t after_sequence,
		size_t max, index_page_fn *done, void *ctx)
{
	struct op *op = op_ask(index, OP_PAGE, plan, ctx);

	op->ask->select.after_sequence = after_sequence;
	op->ask->max = max;
	op->ask->paged = done;
	push(index, op);
}

void index_these(struct index *index, const char *plan,
		 const uint64_t *sequences, size_t count, size_t max,
		 index_page_fn *done, void *ctx)
{
	struct op *op = op_ask(index, OP_PAGE, plan, ctx);
	struct buf list = BUF_INIT;

	for (size_t i = 0; i < count; i++)
		buf_addf(&list, "%c%llu", i == 0 ? '[' : ',',
			 (unsigned long long)sequences[i]);
	buf_addf(&list, "%s", count == 0 ? "[]" : "]");
	op->ask->select.ids = mem_dup(buf_text(&list));
	buf_release(&list);
	op->ask->max = max;
	op->ask->paged = done;
	push(index, op);
}

void index_last(struct index *index, index_json_fn *done, void *ctx)
{
	query(index, INDEX_LAST, "", NULL, done, ctx);
}

void index_live_bytes(struct index *index, const char *plan,
		      index_json_fn *done, void *ctx)
{
	query(index, INDEX_LIVE_BYTES, plan, NULL, done, ctx);
}

void index_lines(struct index *index, const char *plan, index_json_fn *done,
		 void *ctx)
{
	query(index, INDEX_LINES, plan, NULL, done, ctx);
}

void index_ledger(struct index *index, const char *plan, index_json_fn *done,
		  void *ctx)
{
	query(index, INDEX_LEDGER, plan, NULL, done, ctx);
}

void index_list(struct index *index, const struct index_select *select,
		index_json_fn *done, void *ctx)
{
	query(index, INDEX_LIST, select->plan, select, done, ctx);
}

void index_copies(struct index *index, const struct index_select *select,
		  index_json_fn *done, void *ctx)
{
	query(index, INDEX_COPIES, select->plan, select, done, ctx);
}

void index_count(struct index *index, const struct index_select *select,
		 index_json_fn *done, void *ctx)
{
	query(index, INDEX_COUNT, select->plan, select, done, ctx);
}

void index_segment_copies(struct index *index, uint32_t segment,
			  index_json_fn *done, void *ctx)
{
	const struct index_select select = { .after_sequence = segment };

	query(index, INDEX_SEGMENT_COPIES, "", &select, done, ctx);
}

void index_side_copies(struct index *index, uint32_t segment,
		       index_json_fn *done, void *ctx)
{
	const struct index_select select = { .after_sequence = segment };

	query(index, INDEX_SIDE_COPIES, "", &select, done, ctx);
}

void index_replies(struct index *index, const char *plan, index_json_fn *done,
		   void *ctx)
{
	query(index, INDEX_REPLIES, plan, NULL, done, ctx);
}

void index_recent(struct index *index, const char *plan, int64_t since_ms,
		  uint64_t after_sequence, index_json_fn *done, void *ctx)
{
	query(index, INDEX_RECENT, plan,
	      &(struct index_select){ .ended_since_ms = since_ms,
				      .after_sequence = after_sequence },
	      done, ctx);
}

void index_uncertain(struct index *index, const char *plan, index_json_fn *done,
		     void *ctx)
{
	query(index, INDEX_UNCERTAIN, plan, NULL, done, ctx);
}

void index_exceptions(struct index *index, const char *plan,
		      index_json_fn *done, void *ctx)
{
	query(index, INDEX_EXCEPTIONS, plan, NULL, done, ctx);
}

void index_remove_plan(struct index *index, const char *plan)
{
	struct op *op = mem_alloc(sizeof(*op));

	op->kind = OP_REMOVE;
	op->plan = mem_dup(plan);
	push(index, op);
}
