#include "daemon/index.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/list.h"
#include "base/log.h"
#include "daemon/index_query.h"
#include "daemon/index_rows.h"
#include "daemon/index_schema.h"
#include "daemon/index_sql.h"
#include "spool/segment.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOG_MODULE "index"

enum {
	GATHER_US = 100 * 1000,
	GATHER_OPS = 4000,
	PENDING_MAX = 16 * 1024 * 1024, /* bytes */
	DONE_OPS = 256,
	NICE = 5 /* a quarter of a processor that all want */
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

struct index {
	struct loop *loop;
	struct keyring *keyring; /* or NULL */
	char *path;
	sqlite3 *db;
	struct index_rows *rows; /* the thread's */
	_Atomic enum index_health health;
	pthread_t thread;
	bool runs;
	pthread_mutex_t lock;
	pthread_cond_t more, room;
	struct op *first, **last;
	size_t gathered; /* from `first` on */
	size_t pending;	 /* bytes of all that are not done */
	bool urgent;	 /* somebody waits for an answer */
	bool ending;
	struct list asks; /* the loop's */
};

/* Opening. */

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
	if (index_sql_functions(index->db, index->keyring, err) < 0)
		return -1;
	/* The spool is the truth: a lost tail of the index is read again. */
	return index_run_sql(index->db,
			     "PRAGMA journal_mode = WAL;"
			     "PRAGMA synchronous = NORMAL;"
			     "PRAGMA cache_size = -16000;"
			     "PRAGMA wal_autocheckpoint = 4000",
			     err);
}

static void close_db(struct index *index)
{
	index_rows_free(index->rows);
	index->rows = NULL;
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
	    index_run_sql(index->db, "BEGIN IMMEDIATE", err) < 0 ||
	    index_run_sql(index->db, index_schema, err) < 0)
		return -1;
	return index_run_sql(index->db, "COMMIT", err);
}

/* Beside the tables, and cheap to make anew in a file that lacks them. */
static int make_lookups(struct index *index, struct err *err)
{
	return index_run_sql(
		index->db,
		"CREATE INDEX IF NOT EXISTS place ON message(segment);"
		"CREATE INDEX IF NOT EXISTS side ON message(segment)"
		" WHERE body = 0",
		err);
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
		if (index_rows_is_corrupt(index->db))
			index->health = INDEX_CORRUPT;
	}
	sqlite3_finalize(stmt);
}

static void put(struct index_rows *rows, const struct op *op)
{
	struct scan_record record = {
		.kind = op->record,
		.segment = op->segment,
		.offset = op->offset,
		.body = op->body,
		.payload = slice_of(op->bytes, op->len),
	};

	index_rows_put(rows, &record);
}

static void run_op(struct index *index, struct op *op)
{
	switch (op->kind) {
	case OP_PUT:
		put(index->rows, op);
		op_free(op);
		break;
	case OP_FLUSH:
		index_rows_commit(index->rows);
		loop_post(index->loop, op->flushed, op->ctx);
		op_free(op);
		break;
	case OP_QUERY:
		index_rows_commit(index->rows);
		op->ask->select.plan = op->plan;
		op->ask->result =
			index_query_run(index->db, op->ask->query,
					&op->ask->select, &op->ask->err);
		loop_post(index->loop, answer, op);
		break;
	case OP_PAGE:
		index_rows_commit(index->rows);
		read_page(index, op->plan, op->ask);
		loop_post(index->loop, answer, op);
		break;
	case OP_REMOVE:
		index_rows_remove_plan(index->rows, op->plan);
		op_free(op);
		break;
	case OP_EVIDENCE:
		index_rows_evidence_is_read(index->rows);
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
	until = clock_mono_after(GATHER_US);
	while (!index->urgent && !index->ending &&
	       index->gathered < GATHER_OPS &&
	       pthread_cond_timedwait(&index->more, &index->lock, &until) == 0)
		;
	op = index->first;
	index->first = NULL;
	index->last = &index->first;
	index->gathered = 0;
	index->urgent = false;
	pthread_mutex_unlock(&index->lock);
	return op;
}

static size_t op_size(const struct op *op)
{
	return sizeof(*op) + op->len;
}

static void make_room(struct index *index, size_t bytes)
{
	pthread_mutex_lock(&index->lock);
	index->pending -= bytes;
	pthread_mutex_unlock(&index->lock);
	pthread_cond_signal(&index->room);
}

static void run_ops(struct index *index, struct op *op)
{
	size_t bytes = 0;

	for (size_t done = 1; op; done++) {
		struct op *next = op->next;

		bytes += op_size(op);
		run_op(index, op);
		op = next;
		if (!op || done % DONE_OPS == 0) {
			make_room(index, bytes);
			bytes = 0;
		}
	}
	index_rows_commit(index->rows);
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
		run_ops(index, op);
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
	index->pending += op_size(op);
	wake = !index->first || ++index->gathered == GATHER_OPS ||
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
	index->rows = index_rows_new(index->db,
				     (uint32_t)ask_meta(index->db, "segment"),
				     (uint64_t)ask_meta(index->db, "offset"),
				     &index->health, err);
	if (!index->rows)
		goto fail;
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
	free(index->path);
	free(index);
}

void index_indexed_up_to(struct index *index, uint32_t *segment,
			 uint64_t *offset)
{
	index_rows_up_to(index->rows, segment, offset);
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

void index_exceptions(struct index *index, const char *plan, int64_t since_ms,
		      index_json_fn *done, void *ctx)
{
	query(index, INDEX_EXCEPTIONS, plan,
	      &(struct index_select){ .accepted_since_ms = since_ms }, done,
	      ctx);
}

void index_remove_plan(struct index *index, const char *plan)
{
	struct op *op = mem_alloc(sizeof(*op));

	op->kind = OP_REMOVE;
	op->plan = mem_dup(plan);
	push(index, op);
}
