#include "daemon/index_tally.h"
#include "base/buf.h"
#include "base/list.h"
#include <stdlib.h>

static const char write_sql[] = "INSERT INTO counter VALUES(?1, ?2, ?3, ?4)"
				" ON CONFLICT DO UPDATE SET count = count + ?4";
static const char write_hour_sql[] =
	"INSERT INTO arrived VALUES(?1, ?2)"
	" ON CONFLICT DO UPDATE SET bytes = bytes + ?2";

enum {
	HOUR_MS = 3600 * 1000
};

struct sum {
	struct list link;
	int state;
	int64_t change;
	struct slice plan, domain; /* in `text` */
	char text[];
};

struct hour {
	struct list link;
	int64_t hour; /* since 1970 */
	uint64_t bytes;
};

struct index_tally {
	sqlite3 *db;
	sqlite3_stmt *write, *write_hour;
	struct list sums;  /* the one used last in front */
	struct list hours; /* in the order of their first message */
};

static struct slice text_of(sqlite3_value *value)
{
	/* The text first: it may have to be made (SQLite, sqlite3_value). */
	const char *text = (const char *)sqlite3_value_text(value);

	return slice_of(text, (size_t)sqlite3_value_bytes(value));
}

static bool is_for(const struct sum *sum, struct slice plan,
		   struct slice domain, int state)
{
	return sum->state == state && slice_equal(sum->domain, domain) &&
	       slice_equal(sum->plan, plan);
}

static struct sum *sum_new(struct slice plan, struct slice domain, int state)
{
	struct sum *sum = mem_alloc(sizeof(*sum) + plan.len + domain.len);

	memcpy(sum->text, plan.p, plan.len);
	memcpy(sum->text + plan.len, domain.p, domain.len);
	sum->plan = slice_of(sum->text, plan.len);
	sum->domain = slice_of(sum->text + plan.len, domain.len);
	sum->state = state;
	return sum;
}

static struct sum *sum_for(struct index_tally *tally, struct slice plan,
			   struct slice domain, int state)
{
	struct sum *found = NULL;

	list_each (it, next, &tally->sums) {
		struct sum *sum = list_entry(it, struct sum, link);

		if (is_for(sum, plan, domain, state)) {
			found = sum;
			list_remove(it);
			break;
		}
	}
	if (!found)
		found = sum_new(plan, domain, state);
	list_insert_before(tally->sums.next, &found->link);
	return found;
}

static void add(sqlite3_context *context, int count, sqlite3_value **values)
{
	struct sum *sum =
		sum_for(sqlite3_user_data(context), text_of(values[0]),
			text_of(values[1]), sqlite3_value_int(values[2]));

	sum->change += sqlite3_value_int(values[3]);
}

void index_tally_arrived(struct index_tally *tally, int64_t accepted_ms,
			 uint64_t bytes)
{
	int64_t hour = accepted_ms / HOUR_MS;
	struct hour *last = list_entry(tally->hours.prev, struct hour, link);

	if (list_is_empty(&tally->hours) || last->hour != hour) {
		last = mem_alloc(sizeof(*last));
		last->hour = hour;
		list_append(&tally->hours, &last->link);
	}
	last->bytes += bytes;
}

static void forget(struct index_tally *tally)
{
	list_each (it, next, &tally->sums) {
		struct sum *sum = list_entry(it, struct sum, link);

		list_remove(it);
		free(sum);
	}
	list_each (it, next, &tally->hours) {
		struct hour *hour = list_entry(it, struct hour, link);

		list_remove(it);
		free(hour);
	}
}

struct index_tally *index_tally_new(sqlite3 *db, struct err *err)
{
	struct index_tally *tally = mem_alloc(sizeof(*tally));

	tally->db = db;
	list_init(&tally->sums);
	list_init(&tally->hours);
	if (sqlite3_create_function(db, "tally", 4, SQLITE_UTF8, tally, add,
				    NULL, NULL) == SQLITE_OK &&
	    sqlite3_prepare_v3(db, write_sql, -1, SQLITE_PREPARE_PERSISTENT,
			       &tally->write, NULL) == SQLITE_OK &&
	    sqlite3_prepare_v3(db, write_hour_sql, -1,
			       SQLITE_PREPARE_PERSISTENT, &tally->write_hour,
			       NULL) == SQLITE_OK)
		return tally;
	err_set(err, "index: %s", sqlite3_errmsg(db));
	index_tally_free(tally);
	return NULL;
}

void index_tally_free(struct index_tally *tally)
{
	if (!tally)
		return;
	forget(tally);
	sqlite3_finalize(tally->write);
	sqlite3_finalize(tally->write_hour);
	free(tally);
}

static int write_sum(sqlite3_stmt *write, const struct sum *sum)
{
	sqlite3_bind_text(write, 1, sum->plan.p, (int)sum->plan.len,
			  SQLITE_STATIC);
	sqlite3_bind_text(write, 2, sum->domain.p, (int)sum->domain.len,
			  SQLITE_STATIC);
	sqlite3_bind_int(write, 3, sum->state);
	sqlite3_bind_int64(write, 4, sum->change);
	sqlite3_step(write);
	return sqlite3_reset(write) == SQLITE_OK ? 0 : -1;
}

static int write_hour(sqlite3_stmt *write, const struct hour *hour)
{
	sqlite3_bind_int64(write, 1, hour->hour);
	sqlite3_bind_int64(write, 2, (sqlite3_int64)hour->bytes);
	sqlite3_step(write);
	return sqlite3_reset(write) == SQLITE_OK ? 0 : -1;
}

static int write_all(struct index_tally *tally)
{
	list_each (it, next, &tally->sums)
		if (write_sum(tally->write, list_entry(it, struct sum, link)) <
		    0)
			return -1;
	list_each (it, next, &tally->hours)
		if (write_hour(tally->write_hour,
			       list_entry(it, struct hour, link)) < 0)
			return -1;
	return 0;
}

int index_tally_write(struct index_tally *tally, struct err *err)
{
	int result = write_all(tally);

	if (result < 0)
		err_set(err, "index: %s", sqlite3_errmsg(tally->db));
	forget(tally);
	return result;
}
