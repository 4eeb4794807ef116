#include "plan/plan_value.h"

#include "base/clock.h"
#include "plan/plan_host.h"
#include "smtp/smtp_path.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#define TEXT_MAX_BYTES 4096

/* ---- saying what is wrong ---- */

size_t reader_enter(struct plan_reader *r, const char *key)
{
	size_t before = r->path.len;

	buf_addf(&r->path, "%s%s", before ? "." : "", key);
	return before;
}

size_t reader_enter_index(struct plan_reader *r, size_t index)
{
	size_t before = r->path.len;

	buf_addf(&r->path, "[%zu]", index);
	return before;
}

void reader_leave(struct plan_reader *r, size_t before)
{
	r->path.len = before;
	r->path.p[before] = '\0';
}

/* A key as a message may show it: it is foreign text. */
static void key_show(const char *key, char out[64])
{
	size_t n = 0;

	for (; n < 63 && key[n]; n++)
		out[n] = isgraph((unsigned char)key[n]) ? key[n] : '?';
	out[n] = '\0';
	if (n == 0)
		memcpy(out, "\"\"", 3);
}

bool value_is(struct plan_reader *r, const struct json *value,
	      enum json_type type)
{
	if (json_type(value) == type)
		return true;
	wrong(r, value, "must be %s, not %s", json_type_name(type),
	      json_type_name(json_type(value)));
	return false;
}

static bool names_secret(const char *key)
{
	static const char *const secrets[] = {
		"password", "passwd", "passphrase", "secret",	   "token",
		"key",	    "apikey", "credential", "credentials",
	};

	for (size_t i = 0; i < COUNT(secrets); i++) {
		struct slice k = slice(key), s = slice(secrets[i]);

		if (slice_ends_nocase(k, secrets[i]) &&
		    (k.len == s.len || k.p[k.len - s.len - 1] == '_' ||
		     k.p[k.len - s.len - 1] == '-'))
			return true;
	}
	return false;
}

/* NULL after saying why. */
static const char *text_of(struct plan_reader *r, const struct json *value)
{
	const char *text;

	if (!value_is(r, value, JSON_STRING))
		return NULL;
	text = json_text(value);
	if (strstr(text, "-----BEGIN")) {
		wrong(r, value,
		      "a secret may not stand in a plan; keep it in "
		      "a file");
		return NULL;
	}
	if (*text == '\0') {
		wrong(r, value, "is empty");
		return NULL;
	}
	if (strlen(text) > TEXT_MAX_BYTES) {
		wrong(r, value, "is longer than %d bytes", TEXT_MAX_BYTES);
		return NULL;
	}
	for (const char *p = text; *p; p++)
		if (iscntrl((unsigned char)*p)) {
			wrong(r, value, "holds a control character");
			return NULL;
		}
	return text;
}

/* ---- objects and lists ---- */

static bool is_remark(struct plan_reader *r, const struct json *member)
{
	if (strcmp(json_key(member), "$comment") != 0 &&
	    strcmp(json_key(member), "$schema") != 0)
		return false;
	value_is(r, member, JSON_STRING);
	return true;
}

static void read_member(struct plan_reader *r, const struct json *member,
			const struct plan_field *fields, void *into)
{
	const char *key = json_key(member);
	char shown[64];
	size_t before;

	key_show(key, shown);
	before = reader_enter(r, shown);
	if (is_remark(r, member))
		goto out;
	for (; fields->name; fields++)
		if (strcmp(fields->name, key) == 0)
			break;
	if (fields->name)
		fields->read(r, member, (char *)into + fields->offset, fields);
	else if (names_secret(key) && json_type(member) == JSON_STRING)
		wrong(r, member,
		      "a secret may not stand in a plan; keep it in "
		      "a file or the environment");
	else
		wrong(r, member, "unknown key");
out:
	reader_leave(r, before);
}

void value_fields(struct plan_reader *r, const struct json *value,
		  const struct plan_field *fields, void *into)
{
	if (!value_is(r, value, JSON_OBJECT))
		return;
	for (const struct json *m = json_first(value); m; m = json_next(m))
		read_member(r, m, fields, into);
	for (; fields->name; fields++) {
		size_t before;

		if (!fields->required || json_get(value, fields->name))
			continue;
		before = reader_enter(r, fields->name);
		wrong(r, value, "is missing");
		reader_leave(r, before);
	}
}

void value_object(struct plan_reader *r, const struct json *value, void *into,
		  const struct plan_field *field)
{
	value_fields(r, value, field->members, into);
}

bool value_is_list(struct plan_reader *r, const struct json *value,
		   const struct plan_field *field)
{
	size_t max = (size_t)field->max;

	if (!value_is(r, value, JSON_ARRAY))
		return false;
	if (json_count(value) < (size_t)field->min) {
		wrong(r, value, "needs at least one entry");
		return false;
	}
	if (json_count(value) > max) {
		wrong(r, value, "has %zu entries, %zu are possible",
		      json_count(value), max);
		return false;
	}
	return true;
}

/* Objects whose shape alone counts: this version does not use them. */
void value_shapes(struct plan_reader *r, const struct json *value, void *into,
		  const struct plan_field *field)
{
	size_t i = 0;

	if (!value_is_list(r, value, field))
		return;
	for (const struct json *m = json_first(value); m; m = json_next(m)) {
		size_t before = reader_enter_index(r, i++);

		value_fields(r, m, field->members, into);
		reader_leave(r, before);
	}
}

void value_strings(struct plan_reader *r, const struct json *value, void *into,
		   const struct plan_field *field)
{
	struct plan_strings *strings = into;
	size_t i = 0;

	if (!value_is_list(r, value, field))
		return;
	for (const struct json *m = json_first(value); m; m = json_next(m)) {
		size_t before = reader_enter_index(r, i++);
		const char *text = text_of(r, m);
		struct err err = ERR_INIT;
		char *kept = text ? field->item(text, &err) : NULL;

		if (text && !kept)
			wrong(r, m, "%s", err.text);
		for (size_t j = 0; kept && j < strings->count; j++)
			if (strcmp(strings->at[j], kept) == 0)
				wrong(r, m, "stands here twice");
		if (kept)
			plan_strings_add(strings, kept);
		free(kept);
		reader_leave(r, before);
	}
}

/* ---- single values ---- */

static void keep(char **into, const char *text)
{
	mem_replace(into, text);
}

void value_text(struct plan_reader *r, const struct json *value, void *into,
		const struct plan_field *field)
{
	const char *text = text_of(r, value);

	if (text)
		keep(into, text);
}

/* Absolute, as the daemon has another working folder. */
void value_file(struct plan_reader *r, const struct json *value, void *into,
		const struct plan_field *field)
{
	const char *text = text_of(r, value);
	const char *slash = strrchr(r->plan->path, '/');
	char **file = into;

	if (!text)
		return;
	if (*text == '/' || !slash) {
		keep(file, text);
		return;
	}
	free(*file);
	*file = mem_printf("%.*s/%s", (int)(slash - r->plan->path),
			   r->plan->path, text);
}

void value_plan_name(struct plan_reader *r, const struct json *value,
		     void *into, const struct plan_field *field)
{
	const char *text = text_of(r, value);

	if (!text)
		return;
	if (strlen(text) > 63 || text[strspn(text, "abcdefghijklmnopqrstuvwxyz"
						   "0123456789-")])
		wrong(r, value, "a plan's name is 1 to 63 of a-z, 0-9 and -");
	else
		keep(into, text);
}

void value_host(struct plan_reader *r, const struct json *value, void *into,
		const struct plan_field *field)
{
	const char *text = text_of(r, value);
	char host[PLAN_HOST];
	struct err err = ERR_INIT;

	if (!text)
		return;
	if (plan_host_parse(slice(text), host, &err) < 0)
		wrong(r, value, "%s", err.text);
	else
		keep(into, host);
}

void value_endpoint(struct plan_reader *r, const struct json *value, void *into,
		    const struct plan_field *field)
{
	const char *text = text_of(r, value);
	struct plan_endpoint endpoint;
	struct err err = ERR_INIT;

	if (!text)
		return;
	if (plan_endpoint_parse(slice(text), 25, &endpoint, &err) < 0)
		wrong(r, value, "%s", err.text);
	else
		keep(into, text);
}

/* Which may hold no user and password (RFC 3986, 3.2.1). */
void value_url(struct plan_reader *r, const struct json *value, void *into,
	       const struct plan_field *field)
{
	const char *text = text_of(r, value), *host;

	if (!text)
		return;
	host = strstr(text, "://");
	if (!host || (strncmp(text, "http://", 7) != 0 &&
		      strncmp(text, "https://", 8) != 0)) {
		wrong(r, value, "must begin with http:// or https://");
		return;
	}
	host += 3;
	if (host[strcspn(host, "/?#")] == '\0' ?
		    strchr(host, '@') != NULL :
		    memchr(host, '@', strcspn(host, "/?#")) != NULL)
		wrong(r, value,
		      "a secret may not stand in a plan; write the "
		      "URL without user and password");
	else if (strcspn(host, "/?#") == 0)
		wrong(r, value, "the host is missing");
}

static bool number_of(struct plan_reader *r, const struct json *value,
		      const struct plan_field *field, double *number)
{
	if (!value_is(r, value, JSON_NUMBER))
		return false;
	*number = json_number(value);
	if (isfinite(*number) && *number >= field->min && *number <= field->max)
		return true;
	wrong(r, value, "must be a number from %.15g to %.15g", field->min,
	      field->max);
	return false;
}

static bool whole_of(struct plan_reader *r, const struct json *value,
		     const struct plan_field *field, int64_t *whole)
{
	double number;

	if (!number_of(r, value, field, &number))
		return false;
	if (number != floor(number)) {
		wrong(r, value, "must be a whole number");
		return false;
	}
	*whole = (int64_t)number;
	return true;
}

void value_number(struct plan_reader *r, const struct json *value, void *into,
		  const struct plan_field *field)
{
	double number;

	if (number_of(r, value, field, &number))
		*(double *)into = number;
}

/* A number whose shape alone counts. */
void value_score(struct plan_reader *r, const struct json *value, void *into,
		 const struct plan_field *field)
{
	double number;

	number_of(r, value, field, &number);
}

void value_int(struct plan_reader *r, const struct json *value, void *into,
	       const struct plan_field *field)
{
	int64_t whole;

	if (whole_of(r, value, field, &whole))
		*(int *)into = (int)whole;
}

void value_int64(struct plan_reader *r, const struct json *value, void *into,
		 const struct plan_field *field)
{
	int64_t whole;

	if (whole_of(r, value, field, &whole))
		*(int64_t *)into = whole;
}

void value_bool(struct plan_reader *r, const struct json *value, void *into,
		const struct plan_field *field)
{
	if (value_is(r, value, JSON_BOOL))
		*(bool *)into = json_bool(value);
}

void value_duration(struct plan_reader *r, const struct json *value, void *into,
		    const struct plan_field *field)
{
	const char *text = text_of(r, value);
	struct err err = ERR_INIT;
	int64_t ms;

	if (!text)
		return;
	if (clock_parse_duration(slice(text), &ms, &err) < 0)
		wrong(r, value,
		      "must be a duration such as \"60s\", \"15m\", "
		      "\"72h\" or \"30d\"");
	else if ((double)ms < field->min)
		wrong(r, value, "must be longer than nothing");
	else if ((double)ms > field->max)
		wrong(r, value, "must be at most 3650d");
	else
		*(int64_t *)into = ms;
}

void value_time(struct plan_reader *r, const struct json *value, void *into,
		const struct plan_field *field)
{
	const char *text = text_of(r, value);
	int64_t ms;

	if (!text)
		return;
	if (clock_parse(slice(text), &ms, NULL) < 0 || ms <= 0)
		wrong(r, value,
		      "must be a time such as "
		      "\"2026-12-05T22:00:00Z\" (RFC 3339)");
	else
		*(int64_t *)into = ms;
}

/* The index of the word, or -1 after saying which there are. */
int value_word_index(struct plan_reader *r, const struct json *value,
		     const char *const *words)
{
	const char *text = text_of(r, value);
	struct buf known = BUF_INIT;

	if (!text)
		return -1;
	for (int i = 0; words[i]; i++)
		if (strcmp(text, words[i]) == 0)
			return i;
	for (int i = 0; words[i]; i++)
		buf_addf(&known, "%s\"%s\"",
			 i == 0	      ? "" :
			 words[i + 1] ? ", " :
					" or ",
			 words[i]);
	wrong(r, value, "must be %s", buf_text(&known));
	buf_release(&known);
	return -1;
}

/* Into an enum whose values are numbered as the words are. */
void value_word(struct plan_reader *r, const struct json *value, void *into,
		const struct plan_field *field)
{
	int index = value_word_index(r, value, field->words);

	if (index >= 0)
		*(unsigned *)into = (unsigned)index;
}

void value_one_of(struct plan_reader *r, const struct json *value, void *into,
		  const struct plan_field *field)
{
	int index = value_word_index(r, value, field->words);

	if (index >= 0)
		keep(into, field->words[index]);
}

/* ---- items of lists ---- */

char *item_host(const char *text, struct err *err)
{
	char host[PLAN_HOST];

	return plan_host_parse(slice(text), host, err) < 0 ? NULL :
							     mem_dup(host);
}

char *item_selector(const char *text, struct err *err)
{
	char name[PLAN_HOST];
	char *below = mem_printf("%s.test", text);
	int rc = plan_host_parse(slice(below), name, err);

	free(below);
	return rc < 0 ? NULL : mem_dup(text);
}

char *item_listen(const char *text, struct err *err)
{
	struct plan_endpoint endpoint;

	return plan_address_parse(slice(text), 0, &endpoint, err) < 0 ?
		       NULL :
		       mem_dup(text);
}

char *item_server(const char *text, struct err *err)
{
	struct plan_endpoint endpoint;

	return plan_address_parse(slice(text), 53, &endpoint, err) < 0 ?
		       NULL :
		       mem_dup(text);
}

char *item_resolver(const char *text, struct err *err)
{
	return strcmp(text, "system") == 0 ? mem_dup(text) :
					     item_server(text, err);
}

char *item_mailbox(const char *text, struct err *err)
{
	struct smtp_mailbox mailbox;

	return smtp_mailbox_parse(slice(text), &mailbox, err) < 0 ?
		       NULL :
		       mem_dup(text);
}

char *item_event(const char *text, struct err *err)
{
	if (strcmp(text, "phase") == 0 || strcmp(text, "gate") == 0 ||
	    strcmp(text, "alert") == 0)
		return mem_dup(text);
	err_set(err, "must be \"phase\", \"gate\" or \"alert\"");
	return NULL;
}

char *item_https(const char *text, struct err *err)
{
	struct plan_endpoint endpoint;
	struct slice path;

	return plan_https_parse(slice(text), &endpoint, &path, err) < 0 ?
		       NULL :
		       mem_dup(text);
}
