/*
 * window.h - the planned maintenance of a primary
 *
 * While a window is active, mail for the plan's domains is held even if the
 * primary happens to answer: it may be half installed.  After it the valve
 * follows the primary's health again, and nobody has to log in.
 *
 * Pure: the caller passes the time.  A weekly window begins when the clocks of
 * its zone show the same, or at the same moment of UTC where it has none.
 */
#ifndef CUTOVER_WINDOW_H
#define CUTOVER_WINDOW_H

#include "base/err.h"
#include "base/json.h"
#include "cutover/zone.h"

struct window {
	unsigned id; /* counts up within a plan */
	int64_t from_ms, to_ms;
	bool weekly;
	struct zone zone;  /* of a weekly one */
	char *by, *reason; /* reason may be NULL */
};

struct windows {
	struct window *at;
	size_t count;
	unsigned last_id;
};

void windows_release(struct windows *windows);
/*
 * Adds one, copying the strings; returns it, borrowed.  NULL with err when it
 * ends before it begins, is over already, lasts longer than a year (weekly: a
 * week), or overlaps another.
 */
const struct window *windows_add(struct windows *windows,
				 const struct window *window, int64_t now_ms,
				 struct err *err);
/* NULL with err where there is none of that number. */
const struct window *windows_find(const struct windows *windows, unsigned id,
				  struct err *err);
/* Takes it out, if it is there. */
void windows_cancel(struct windows *windows, unsigned id);
/* The active one, or NULL; *until_ms is when this turn of it ends. */
const struct window *windows_active(const struct windows *windows,
				    int64_t now_ms, int64_t *until_ms);
/* When its present or next turn begins; 0: it is over. */
int64_t window_next_ms(const struct window *window, int64_t now_ms);

/* {"id","from","to","weekly","zone","changes","by","reason"} */
struct json *window_json(const struct window *window);
/* A turn of it begins at this moment: when it ends. */
int64_t window_end_ms(const struct window *window, int64_t from_ms);
/* From the journal: puts it back as it was, over or not. */
void windows_restore(struct windows *windows, const struct json *value);

#endif
