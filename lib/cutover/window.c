#include "cutover/window.h"
#include "base/clock.h"
#include <stdlib.h>

#define DAY_MS	((int64_t)24 * 3600 * 1000)
#define WEEK_MS (7 * DAY_MS)
#define YEAR_MS (366 * DAY_MS)

enum {
	YEAR_WEEKS = 54
};

static void window_release(struct window *window)
{
	free(window->by);
	free(window->reason);
	zone_release(&window->zone);
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
	zone_copy(&kept->zone, &window->zone);
	kept->by = mem_dup(window->by);
	kept->reason = mem_dup(window->reason);
	if (kept->id > windows->last_id)
		windows->last_id = kept->id;
	return kept;
}

/* A moment of the window, so many weeks later by the clocks there. */
static int64_t weeks_later(const struct window *window, int64_t ms,
			   int64_t weeks)
{
	return zone_utc_ms(&window->zone,
			   zone_local_ms(&window->zone, ms) + weeks * WEEK_MS);
}

/* The turn that is active at `at_ms` or comes next begins here. */
static int64_t turn_at(const struct window *window, int64_t at_ms)
{
	int64_t weeks = (at_ms - window->to_ms) / WEEK_MS - 1;

	if (!window->weekly || weeks < 0)
		weeks = 0;
	while (window->weekly &&
	       weeks_later(window, window->to_ms, weeks) <= at_ms)
		weeks++;
	return weeks_later(window, window->from_ms, weeks);
}

int64_t window_end_ms(const struct window *window, int64_t from_ms)
{
	int64_t weeks = (from_ms - window->from_ms + WEEK_MS / 2) / WEEK_MS;

	return weeks_later(window, window->to_ms, weeks);
}

int64_t window_next_ms(const struct window *window, int64_t now_ms)
{
	if (!window->weekly && window->to_ms <= now_ms)
		return 0;
	return turn_at(window, now_ms);
}

/* Whether the turn of `a` that begins there meets one of `b`. */
static bool turn_meets(const struct window *a, int64_t from,
		       const struct window *b)
{
	int64_t other = turn_at(b, from);

	return other < window_end_ms(a, from) && from < window_end_ms(b, other);
}

/* Turns of two series may meet in summer alone. */
static bool windows_overlap(const struct window *a, const struct window *b)
{
	const struct window *series = a->weekly ? a : b;
	const struct window *other = a->weekly ? b : a;
	int64_t from;

	if (!other->weekly)
		return turn_meets(other, other->from_ms, series);
	from = series->from_ms > other->from_ms ? series->from_ms :
						  other->from_ms;
	for (int64_t i = 0; i < YEAR_WEEKS; i++)
		if (turn_meets(series, turn_at(series, from + i * WEEK_MS),
			       other))
			return true;
	return false;
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
		*until_ms = window_end_ms(window, from);
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
	if (window->zone.name) {
		zone_put(&window->zone, json);
	} else {
		json_put(json, "zone", NULL);
		json_put(json, "changes", NULL);
	}
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
	    clock_parse(slice(to), &window.to_ms, NULL) == 0 &&
	    zone_get(&window.zone, value, NULL) == 0)
		append(windows, &window);
	zone_release(&window.zone);
}
