/*
 * plan_value.h - the values of a plan, one kind each
 *
 * The language is tables of struct plan_field: a key, how its value is read and
 * where it goes.  A reader knows the path to the value at hand, so that every
 * sentence says where.  A value that is wrong is reported and left out; reading
 * goes on.
 */
#ifndef PLAN_PLAN_VALUE_H
#define PLAN_PLAN_VALUE_H

#include "plan/plan_parse.h"
#include "plan/plan_system.h"

#define PLAN_LIST_MAX 100

struct plan_reader {
	struct plan *plan;
	struct plan_report *report;
	struct buf path;	   /* of the value that is read */
	struct plan_words base[2]; /* [SYSTEM_OLD] also holds "primary" */
	bool has_old, has_new, has_primary;
	struct plan_words (*over)[2]; /* per domain */
	bool (*over_given)[3];	      /* old, new, primary; per domain */
};

struct plan_field;
typedef void plan_read_fn(struct plan_reader *r, const struct json *value,
			  void *into, const struct plan_field *field);
/* The form in which an item of a list is kept, or NULL with err. */
typedef char *plan_item_fn(const char *text, struct err *err);

/*
 * One key of an object.  Its value goes to `offset` in the struct that the
 * object describes; `min` and `max` bound numbers and the size of lists.
 */
struct plan_field {
	const char *name;
	plan_read_fn *read;
	size_t offset;
	bool required;
	double min, max;
	const char *const *words;	  /* of an enum, in order; NULL-ended */
	const struct plan_field *members; /* of an object; NULL-ended */
	plan_item_fn *item;		  /* of a list of strings */
};

/* Reports a sentence about the value at hand. */
#define wrong(r, value, ...)                                                 \
	plan_report_add((r)->report, json_line(value), buf_text(&(r)->path), \
			__VA_ARGS__)

/* The path goes one deeper, and back with what the first call returned. */
size_t reader_enter(struct plan_reader *r, const char *key);
size_t reader_enter_index(struct plan_reader *r, size_t index);
void reader_leave(struct plan_reader *r, size_t before);

/* Each false or -1 after a report. */
bool value_is(struct plan_reader *r, const struct json *value,
	      enum json_type type);
bool value_is_list(struct plan_reader *r, const struct json *value,
		   const struct plan_field *field);
int value_word_index(struct plan_reader *r, const struct json *value,
		     const char *const *words);
/* All keys of an object, into the struct at `into`. */
void value_fields(struct plan_reader *r, const struct json *value,
		  const struct plan_field *fields, void *into);

plan_read_fn value_object;    /* `members`, into the same struct */
plan_read_fn value_shapes;    /* list of objects: `members`, nothing kept */
plan_read_fn value_strings;   /* struct plan_strings */
plan_read_fn value_text;      /* char * */
plan_read_fn value_file;      /* char *, absolute */
plan_read_fn value_plan_name; /* char * */
plan_read_fn value_host;      /* char * */
plan_read_fn value_endpoint;  /* char * */
plan_read_fn value_one_of;    /* char *: one of `words` */
plan_read_fn value_word;      /* enum numbered as `words` */
plan_read_fn value_number;    /* double */
plan_read_fn value_int;	      /* int */
plan_read_fn value_int64;     /* int64_t */
plan_read_fn value_bool;      /* bool */
plan_read_fn value_duration;  /* int64_t, milliseconds */
plan_read_fn value_time;      /* int64_t, milliseconds since 1970 */
plan_read_fn value_url;	      /* checked, not kept */
plan_read_fn value_score;     /* a number; checked, not kept */

plan_item_fn item_host;
plan_item_fn item_selector;
plan_item_fn item_listen;
plan_item_fn item_server;
plan_item_fn item_resolver;
plan_item_fn item_mailbox;
plan_item_fn item_event;
plan_item_fn item_https;

#endif
