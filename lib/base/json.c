#include "base/json.h"
#include "base/clock.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * A struct json is a cJSON item.  cJSON uses `valueint` for numbers alone, and
 * never when it prints; a parsed value keeps its line there.
 */
enum {
	DEPTH_MAX = 64
};

static cJSON *item(const struct json *value)
{
	return (cJSON *)(uintptr_t)value;
}

static struct json *value_of(cJSON *it)
{
	return (struct json *)it;
}

/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates. */
static size_t utf8_len(struct slice s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	size_t len = p[0] < 0x80 ? 1 :
		     p[0] < 0xc2 ? 0 :
		     p[0] < 0xe0 ? 2 :
		     p[0] < 0xf0 ? 3 :
		     p[0] < 0xf5 ? 4 :
				   0;

	if (len == 0 || len > s.len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

static int line_at(struct slice text, size_t at)
{
	int line = 1;

	for (size_t i = 0; i < at && i < text.len; i++)
		line += text.p[i] == '\n';
	return line;
}

static int check_text(struct slice text, struct err *err)
{
	int depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < text.len;) {
		size_t len = utf8_len(slice_from(text, i));
		char c = text.p[i];

		if (len == 0)
			return err_set(err, "line %d: not UTF-8",
				       line_at(text, i));
		if (c == '\0')
			return err_set(err, "line %d: a NUL byte",
				       line_at(text, i));
		if (quoted && c == '\\' && i + 1 < text.len)
			len = 2;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '{' || c == '['))
			depth++;
		else if (!quoted && (c == '}' || c == ']'))
			depth--;
		if (depth > DEPTH_MAX)
			return err_set(err, "line %d: nested deeper than %d",
				       line_at(text, i), DEPTH_MAX);
		i += len;
	}
	return 0;
}

/* Walks the text beside the tree, which cJSON has found valid already. */
struct walk {
	struct slice text;
	size_t at;
	int line;
};

static void skip_blank(struct walk *w)
{
	for (; w->at < w->text.len && (unsigned char)w->text.p[w->at] <= ' ';
	     w->at++)
		w->line += w->text.p[w->at] == '\n';
}

static void skip_string(struct walk *w)
{
	for (w->at++; w->at < w->text.len && w->text.p[w->at] != '"'; w->at++)
		if (w->text.p[w->at] == '\\')
			w->at++;
	w->at++;
}

static void skip_past(struct walk *w, char c)
{
	skip_blank(w);
	if (w->at < w->text.len && w->text.p[w->at] == c)
		w->at++;
}

static int check_twice(const cJSON *object, const cJSON *member, int line,
		       struct err *err)
{
	for (const cJSON *it = object->child; it != member; it = it->next)
		if (strcmp(it->string, member->string) == 0)
			return err_set(err, "line %d: duplicate key \"%s\"",
				       line, member->string);
	return 0;
}

static int mark(struct walk *w, cJSON *it, struct err *err)
{
	skip_blank(w);
	it->valueint = w->line;
	if (cJSON_IsString(it)) {
		skip_string(w);
		return 0;
	}
	if (!cJSON_IsObject(it) && !cJSON_IsArray(it)) {
		while (w->at < w->text.len &&
		       !strchr(",]} \t\r\n", w->text.p[w->at]))
			w->at++;
		return 0;
	}
	w->at++;
	for (cJSON *child = it->child; child; child = child->next) {
		if (cJSON_IsObject(it)) {
			skip_blank(w);
			if (check_twice(it, child, w->line, err) < 0)
				return -1;
			skip_string(w);
			skip_past(w, ':');
		}
		if (mark(w, child, err) < 0)
			return -1;
		skip_past(w, ',');
	}
	skip_blank(w);
	w->at++;
	return 0;
}

struct json *json_parse(struct slice text, struct err *err)
{
	struct walk walk = { .text = text, .line = 1 };
	const char *end = NULL;
	char *copy;
	cJSON *root;

	if (check_text(text, err) < 0)
		return NULL;
	copy = slice_dup(text);
	root = cJSON_ParseWithLengthOpts(copy, text.len + 1, &end, 1);
	if (!root)
		err_set(err, "line %d: not valid JSON here",
			line_at(text, end ? (size_t)(end - copy) : 0));
	free(copy);
	if (root && mark(&walk, root, err) < 0) {
		cJSON_Delete(root);
		return NULL;
	}
	return value_of(root);
}

void json_free(struct json *value)
{
	cJSON_Delete(item(value));
}

enum json_type json_type(const struct json *value)
{
	const cJSON *it = item(value);

	if (cJSON_IsBool(it))
		return JSON_BOOL;
	if (cJSON_IsNumber(it))
		return JSON_NUMBER;
	if (cJSON_IsString(it))
		return JSON_STRING;
	if (cJSON_IsArray(it))
		return JSON_ARRAY;
	if (cJSON_IsObject(it))
		return JSON_OBJECT;
	return JSON_NULL;
}

const char *json_type_name(enum json_type type)
{
	static const char *const names[] = {
		[JSON_NULL] = "null",	    [JSON_BOOL] = "true or false",
		[JSON_NUMBER] = "a number", [JSON_STRING] = "a string",
		[JSON_ARRAY] = "an array",  [JSON_OBJECT] = "an object",
	};

	return names[type];
}

int json_line(const struct json *value)
{
	return value ? item(value)->valueint : 0;
}

const struct json *json_get(const struct json *object, const char *key)
{
	return value_of(cJSON_GetObjectItemCaseSensitive(item(object), key));
}

const struct json *json_at(const struct json *array, size_t index)
{
	return value_of(cJSON_GetArrayItem(item(array), (int)index));
}

size_t json_count(const struct json *value)
{
	return value ? (size_t)cJSON_GetArraySize(item(value)) : 0;
}

const struct json *json_first(const struct json *value)
{
	return value ? value_of(item(value)->child) : NULL;
}

const struct json *json_next(const struct json *value)
{
	return value_of(item(value)->next);
}

const char *json_key(const struct json *member)
{
	return item(member)->string;
}

const char *json_text(const struct json *value)
{
	return cJSON_GetStringValue(item(value));
}

double json_number(const struct json *value)
{
	return cJSON_IsNumber(item(value)) ? item(value)->valuedouble : 0;
}

bool json_bool(const struct json *value)
{
	return cJSON_IsTrue(item(value));
}

const char *json_get_text(const struct json *object, const char *key)
{
	return json_text(json_get(object, key));
}

double json_get_number(const struct json *object, const char *key,
		       double fallback)
{
	const struct json *value = json_get(object, key);

	return cJSON_IsNumber(item(value)) ? json_number(value) : fallback;
}

bool json_get_bool(const struct json *object, const char *key)
{
	return json_bool(json_get(object, key));
}

static struct json *made(cJSON *it)
{
	if (!it)
		abort();
	it->valueint = 0;
	return value_of(it);
}

struct json *json_object(void)
{
	return made(cJSON_CreateObject());
}

struct json *json_array(void)
{
	return made(cJSON_CreateArray());
}

/* What a peer sent need not be UTF-8; a document must be. */
static struct json *new_text(struct slice text)
{
	struct buf clean = BUF_INIT;
	struct json *value;

	while (text.len > 0) {
		size_t len = utf8_len(text);

		if (len == 0 || text.p[0] == '\0')
			buf_adds(&clean, "\xef\xbf\xbd");
		else
			buf_add(&clean, slice_of(text.p, len));
		text = slice_from(text, len ? len : 1);
	}
	value = made(cJSON_CreateString(buf_text(&clean)));
	buf_release(&clean);
	return value;
}

struct json *json_new_text(const char *text)
{
	return new_text(slice(text));
}

struct json *json_new_number(double number)
{
	return value_of(cJSON_CreateNumber(isfinite(number) ? number : 0));
}

struct json *json_copy(const struct json *value)
{
	return value ? value_of(cJSON_Duplicate(item(value), 1)) : NULL;
}

void json_put(struct json *object, const char *key, struct json *value)
{
	cJSON *it = value ? item(value) : cJSON_CreateNull();

	cJSON_DeleteItemFromObjectCaseSensitive(item(object), key);
	if (!it || !cJSON_AddItemToObject(item(object), key, it))
		abort();
}

void json_put_text(struct json *object, const char *key, const char *text)
{
	json_put(object, key, text ? json_new_text(text) : NULL);
}

void json_put_slice(struct json *object, const char *key, struct slice text)
{
	json_put(object, key, new_text(text));
}

void json_put_number(struct json *object, const char *key, double number)
{
	json_put(object, key, json_new_number(number));
}

void json_put_bool(struct json *object, const char *key, bool value)
{
	json_put(object, key, value_of(cJSON_CreateBool(value)));
}

void json_put_time(struct json *object, const char *key, int64_t wall_ms)
{
	char text[CLOCK_TEXT];

	json_put_text(object, key,
		      wall_ms ? clock_format_ms(wall_ms, text) : NULL);
}

void json_put_u64_text(struct json *object, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	json_put_text(object, key, text);
}

void json_add(struct json *array, struct json *value)
{
	cJSON *it = value ? item(value) : cJSON_CreateNull();

	if (!it || !cJSON_AddItemToArray(item(array), it))
		abort();
}

void json_add_text(struct json *array, const char *text)
{
	json_add(array, json_new_text(text));
}

static void print_to(char *text, struct buf *out)
{
	if (!text)
		abort();
	buf_adds(out, text);
	cJSON_free(text);
}

void json_print(const struct json *value, struct buf *out)
{
	print_to(cJSON_PrintUnformatted(item(value)), out);
}

void json_print_pretty(const struct json *value, struct buf *out)
{
	print_to(cJSON_Print(item(value)), out);
	buf_addc(out, '\n');
}
