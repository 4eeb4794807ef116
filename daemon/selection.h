/*
 * selection.h - which envelopes an operator means
 *
 * The same words for every verb, from a request's body or its query: ids,
 * state, recipient, sender, domain, older_than, reply, since, delivered_to.
 * They narrow each other; no word at all is no selection, so that "everything"
 * is never meant by accident (`all` says it).
 *
 * Whoever acts looks again at each envelope in the queue: the index tells what
 * was, the queue what is.
 */
#ifndef DAEMON_SELECTION_H
#define DAEMON_SELECTION_H

#include "daemon/cutover.h"
#include "daemon/index.h"

struct selection {
	struct index_select select; /* points into `texts` and the plan */
	char *texts[8];
	size_t count;
	bool is_given;	      /* at least one word */
	struct json *as_said; /* for the journal */
};

/* A word's text, or NULL; `ids` come apart. */
typedef const char *selection_word_fn(const void *ctx, const char *word);

/*
 * `ids` is a JSON array of "ID" and "ID:ENVELOPE", or NULL.  -1 with err when a
 * word makes no sense; released either way by the caller.
 */
int selection_read(struct selection *selection, const struct cutover *cutover,
		   const struct json *ids, selection_word_fn *word,
		   const void *ctx, int64_t now_ms, struct err *err);
void selection_release(struct selection *selection);

enum selection_rows {
	SELECTION_ENVELOPES, /* index_list() */
	SELECTION_COPIES     /* index_copies() */
};

/*
 * The envelopes of a selection, a page at a time, each as the index has it when
 * the page is asked for.  The selection is copied.
 */
struct selection_walk;
enum {
	SELECTION_PAGE = 1000
};
struct selection_walk *selection_walk_new(struct index *index,
					  const struct selection *selection,
					  enum selection_rows kind);
/* `page` runs from the loop, never before this returns, unless the walk is freed
 * before: rows are borrowed, and `more` pages may follow. */
typedef void selection_page_fn(void *ctx, const struct json *rows, bool more,
			       const struct err *err);
void selection_walk_on(struct selection_walk *walk, selection_page_fn *page,
		       void *ctx);
/* NULL is fine. */
void selection_walk_free(struct selection_walk *walk);

/*
 * All of them, as index_list() has them: `each` per row, then `done` once; both from the loop, never
 * before this returns.  `each` returns false to stop early (done comes all the
 * same).
 */
typedef bool selection_row_fn(void *ctx, const struct json *row);
typedef void selection_done_fn(void *ctx, const struct err *err);
void selection_rows(struct index *index, const struct selection *selection,
		    selection_row_fn *each, selection_done_fn *done, void *ctx);

#endif
