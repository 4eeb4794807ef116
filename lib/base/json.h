/*
 * json.h - JSON values, read strictly and written compactly
 *
 * Wraps cJSON; no other file includes it.  Parsing is stricter than cJSON:
 * duplicate keys, trailing text, depth over 64 and invalid UTF-8 are errors
 * with the line, and every parsed value knows its line.  A tree is freed from
 * its root; adding a value to an object or array hands it over.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"
#include "base/err.h"

struct json;

enum json_type {
	JSON_NULL,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

/* NULL with err ("line 3: duplicate key \"name\"") on anything wrong. */
struct json *json_parse(struct slice text, struct err *err);
void json_free(struct json *value);

enum json_type json_type(const struct json *value);
/* "an object", "a string" ...: for messages. */
const char *json_type_name(enum json_type type);
/* 1-based line of a parsed value (a member: of its value); 0 if built. */
int json_line(const struct json *value);

/* Reading.  A NULL or wrong-typed value gives NULL / 0 / false / fallback. */
const struct json *json_get(const struct json *object, const char *key);
const struct json *json_at(const struct json *array, size_t index);
size_t json_count(const struct json *value);
const struct json *json_first(const struct json *value);
const struct json *json_next(const struct json *value);
const char *json_key(const struct json *member);
const char *json_text(const struct json *value);
double json_number(const struct json *value);
bool json_bool(const struct json *value);
const char *json_get_text(const struct json *object, const char *key);
double json_get_number(const struct json *object, const char *key,
		       double fallback);
bool json_get_bool(const struct json *object, const char *key);

/* Building. */
struct json *json_object(void);
struct json *json_array(void);
struct json *json_new_text(const char *text);
struct json *json_new_number(double number);
struct json *json_copy(const struct json *value);
/* A NULL text puts null.  Bytes that are not UTF-8 are escaped as U+FFFD. */
void json_put_text(struct json *object, const char *key, const char *text);
void json_put_slice(struct json *object, const char *key, struct slice text);
void json_put_number(struct json *object, const char *key, double number);
void json_put_bool(struct json *object, const char *key, bool value);
/* RFC 3339 with milliseconds; 0 puts null. */
void json_put_time(struct json *object, const char *key, int64_t wall_ms);
/* Large ids go as text: a double loses digits. */
void json_put_u64_text(struct json *object, const char *key, uint64_t value);
/* Takes `value`; a NULL value puts null. */
void json_put(struct json *object, const char *key, struct json *value);
void json_add(struct json *array, struct json *value);
void json_add_text(struct json *array, const char *text);

/* One line, no newline. */
void json_print(const struct json *value, struct buf *out);
/* Indented, for people; ends with a newline. */
void json_print_pretty(const struct json *value, struct buf *out);

#endif
