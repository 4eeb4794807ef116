#include "plan/plan.h"

#include <stdlib.h>
#include <string.h>

/*
 * The two texts are compared as JSON, so that a new key of the language needs
 * nothing here.  Both were accepted: they parse, and no deeper than a plan is.
 */

static void diff_value(struct buf *path, const struct json *before,
		       const struct json *after, struct buf *out);

/* "'a:25'", "300", "{...}" */
static void show(const struct json *value, struct buf *out)
{
	if (json_type(value) == JSON_STRING)
		buf_addf(out, "'%s'", json_text(value));
	else
		json_print(value, out);
}

static bool is_remark(const struct json *member)
{
	return json_key(member) && json_key(member)[0] == '$';
}

/* Compares what stands at one key or index; NULL: nothing stands there. */
static void diff_at(struct buf *path, const char *step,
		    const struct json *before, const struct json *after,
		    struct buf *out)
{
	size_t len = path->len;

	buf_addf(path, "%s%s", len > 0 && *step != '[' ? "." : "", step);
	if (before && after) {
		diff_value(path, before, after, out);
	} else {
		buf_addf(out, "%s: ", buf_text(path));
		show(before ? before : after, out);
		buf_addf(out, " %s\n", before ? "is gone" : "is new");
	}
	path->len = len;
	path->p[len] = '\0';
}

static void diff_objects(struct buf *path, const struct json *before,
			 const struct json *after, struct buf *out)
{
	const struct json *m;

	for (m = json_first(before); m; m = json_next(m))
		if (!is_remark(m))
			diff_at(path, json_key(m), m,
				json_get(after, json_key(m)), out);
	for (m = json_first(after); m; m = json_next(m))
		if (!is_remark(m) && !json_get(before, json_key(m)))
			diff_at(path, json_key(m), NULL, m, out);
}

/* The entry of that name, so that a domain added on top changes one line. */
static const struct json *named(const struct json *array, const char *name)
{
	for (const struct json *m = json_first(array); m; m = json_next(m)) {
		const char *other = json_get_text(m, "name");

		if (other && strcmp(other, name) == 0)
			return m;
	}
	return NULL;
}

static void diff_named(struct buf *path, const struct json *before,
		       const struct json *after, struct buf *out)
{
	for (int turn = 0; turn < 2; turn++) {
		const struct json *m = json_first(turn ? after : before);

		for (; m; m = json_next(m)) {
			const char *name = json_get_text(m, "name");
			char *step = mem_printf("[%s]", name);

			if (!turn)
				diff_at(path, step, m, named(after, name), out);
			else if (!named(before, name))
				diff_at(path, step, NULL, m, out);
			free(step);
		}
	}
}

static void diff_arrays(struct buf *path, const struct json *before,
			const struct json *after, struct buf *out)
{
	const struct json *b = json_first(before), *a = json_first(after);

	if (json_get_text(b, "name") && json_get_text(a, "name")) {
		diff_named(path, before, after, out);
		return;
	}
	for (size_t i = 0; b || a; i++) {
		char *step = mem_printf("[%zu]", i);

		diff_at(path, step, b, a, out);
		free(step);
		b = b ? json_next(b) : NULL;
		a = a ? json_next(a) : NULL;
	}
}

static void diff_value(struct buf *path, const struct json *before,
		       const struct json *after, struct buf *out)
{
	enum json_type type = json_type(before);
	struct buf was = BUF_INIT, is = BUF_INIT;

	if (type == json_type(after) && type == JSON_OBJECT) {
		diff_objects(path, before, after, out);
		return;
	}
	if (type == json_type(after) && type == JSON_ARRAY) {
		diff_arrays(path, before, after, out);
		return;
	}
	show(before, &was);
	show(after, &is);
	if (!slice_equal(buf_slice(&was), buf_slice(&is)))
		buf_addf(out, "%s: %s became %s\n", buf_text(path),
			 buf_text(&was), buf_text(&is));
	buf_release(&was);
	buf_release(&is);
}

void plan_diff(const struct plan *before, const struct plan *after,
	       struct buf *out)
{
	struct json *b = json_parse(slice(before->text), NULL);
	struct json *a = json_parse(slice(after->text), NULL);
	struct buf path = BUF_INIT;

	buf_adds(&path, "");
	diff_value(&path, b, a, out);
	buf_release(&path);
	json_free(a);
	json_free(b);
}
