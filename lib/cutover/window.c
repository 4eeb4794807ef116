#include "cutover/window.h"
#include "base/clock.h"
#include <stdlib.h>

#define DAY_MS	((int64_t)24 * 3600 * 1000)
#define WEEK_MS (7 * DAY_MS)
#define YEAR_MS (366 * DAY_MS)

static void window_release(struct window *window)
{
	free(window->by);
	free(window->reason);
}

void windows_release(struct windows *windows)
{
	for (size_t i = 0; i < windows->count; i++)
		window_release(&windows->at[i]);
	free(windows->at);
	*windows = (struct windows){ 0 };
}

static struct window *append(struct windows *windows,
			     const struct window *window)
{
	struct window *kept;

	windows->at = mem_grow(windows->at,
			       (windows->count + 1) * sizeof(*windows->at));
	kept = &windows->at[windows->count++];
	*kept = *window;
	kept->by = mem_dup(window->by);
	kept->reason = mem_dup(window->reason);
	if (kept->id > windows->last_id)
		windows->last_id = kept->id;
	return kept;
}

/* The turn that is active at `at_ms` or comes next begins here. */
static int64_t turn_at(const struct window *window, int64_t at_ms)
{
	int64_t passed = at_ms - window->to_ms;

	if (!window->weekly || passed < 0)
		return window->from_ms;
	return window->from_ms + (passed / WEEK_MS + 1) * WEEK_MS;
}

int64_t window_next_ms(const struct window *window, int64_t now_ms)
{
	if (!window->weekly && window->to_ms <= now_ms)
		return 0;
	return turn_at(window, now_ms);
}

static bool overlap(int64_t from, int64_t to, int64_t other_from,
		    int64_t other_to)
{
	return from < other_to && other_from < to;
}

static bool windows_overlap(const struct window *a, const struct window *b)
{
	const struct window *once = a->weekly ? b : a;
	const struct window *weekly = a->weekly ? a : b;
	int64_t from;

	if (!weekly->weekly)
		return overlap(a->from_ms, a->to_ms, b->from_ms, b->to_ms);
	if (once->weekly) {
		/* Two series: one turn of one against the turns around it,
		 * once both have begun. */
		from = turn_at(weekly, once->from_ms > weekly->from_ms ?
					       once->from_ms :
					       weekly->from_ms);
		for (int64_t turn = turn_at(once, from) - WEEK_MS, i = 0; i < 3;
		     i++, turn += WEEK_MS)
			if (overlap(turn, turn + once->to_ms - once->from_ms,
				    from,
				    from + weekly->to_ms - weekly->from_ms))
				return true;
		return false;
	}
	from = turn_at(weekly, once->from_ms);
	return overlap(once->from_ms, once->to_ms, from,
		       from + weekly->to_ms - weekly->from_ms);
}

static int check_window(const struct windows *windows,
			const struct window *window, int64_t now_ms,
			struct err *err)
{
	char from[CLOCK_TEXT], to[CLOCK_TEXT];

	clock_format(window->from_ms, from);
	clock_format(window->to_ms, to);
	if (window->to_ms <= window->from_ms)
		return err_set(err,
			       "the window ends (%s) before it begins "
			       "(%s)",
			       to, from);
	if (!window->weekly && window->to_ms <= now_ms)
		return err_set(err, "the window is over already: it ended %s",
			       to);
	if (window->to_ms - window->from_ms >
	    (window->weekly ? WEEK_MS : YEAR_MS))
		return err_set(err, "a window of %lld days is too long",
			       (long long)((window->to_ms - window->from_ms) /
					   DAY_MS));
	for (size_t i = 0; i < windows->count; i++) {
		const struct window *other = &windows->at[i];

		if (window_next_ms(other, now_ms) == 0 ||
		    !windows_overlap(window, other))
			continue;
		clock_format(other->from_ms, from);
		clock_format(other->to_ms, to);
		return err_set(err,
			       "it overlaps window %u, %s to %s%s: cancel that "
			       "one first",
			       other->id, from, to,
			       other->weekly ? ", weekly" : "");
	}
	return 0;
}

const struct window *windows_add(struct windows *windows,
				 const struct window *window, int64_t now_ms,
				 struct err *err)
{
	struct window fresh = *window;

	if (check_window(windows, window, now_ms, err) < 0)
		return NULL;
	fresh.id = windows->last_id + 1;
	return append(windows, &fresh);
}

const struct window *windows_find(const struct windows *windows, unsigned id,
				  struct err *err)
{
	for (size_t i = 0; i < windows->count; i++)
		if (windows->at[i].id == id)
			return &windows->at[i];
	err_set(err,
		"there is no window %u: tideover window list PLAN shows them",
		id);
	return NULL;
}

void windows_cancel(struct windows *windows, unsigned id)
{
	for (size_t i = 0; i < windows->count; i++) {
		if (windows->at[i].id != id)
			continue;
		window_release(&windows->at[i]);
		memmove(&windows->at[i], &windows->at[i + 1],
			(windows->count - i - 1) * sizeof(*windows->at));
		windows->count--;
		return;
	}
}

const struct window *windows_active(const struct windows *windows,
				    int64_t now_ms, int64_t *until_ms)
{
	for (size_t i = 0; i < windows->count; i++) {
		const struct window *window = &windows->at[i];
		int64_t from = window_next_ms(window, now_ms);

		if (from == 0 || from > now_ms)
			continue;
		*until_ms = from + window->to_ms - window->from_ms;
		return window;
	}
	return NULL;
}

struct json *window_json(const struct window *window)
{
	struct json *json = json_object();

	json_put_number(json, "id", window->id);
	json_put_time(json, "from", window->from_ms);
	json_put_time(json, "to", window->to_ms);
	json_put_bool(json, "weekly", window->weekly);
	json_put_text(json, "by", window->by);
	json_put_text(json, "reason", window->reason);
	return json;
}

void windows_restore(struct windows *windows, const struct json *value)
{
	struct window window = {
		.id = (unsigned)json_get_number(value, "id", 0),
		.weekly = json_get_bool(value, "weekly"),
		.by = (char *)(uintptr_t)json_get_text(value, "by"),
		.reason = (char *)(uintptr_t)json_get_text(value, "reason"),
	};
	const char *from = json_get_text(value, "from");
	const char *to = json_get_text(value, "to");

	if (from && to &&
	    clock_parse(slice(from), &window.from_ms, NULL) == 0 &&
	    clock_parse(slice(to), &window.to_ms, NULL) == 0)
		append(windows, &window);
}
