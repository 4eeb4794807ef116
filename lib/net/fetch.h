/*
 * fetch.h - a document by HTTPS, for the loop
 *
 * http_fetch() waits, so it runs on a thread of its own; the loop is told when
 * it has ended.
 */
#ifndef NET_FETCH_H
#define NET_FETCH_H

#include "net/http.h"
#include "net/loop.h"

struct fetch;

/* `document` is borrowed for the call; `why` says what went wrong unless the
 * result is HTTP_OK. */
typedef void fetch_fn(void *ctx, enum http_result result, struct slice document,
		      const struct http_date *date, const char *why);
/*
 * `what` is copied, its strings too; its `stop` is ours.  `done` runs exactly
 * once, from the loop, never before this returns, and the fetch is gone when it
 * returns.  NULL with err: there is no thread to be had.
 */
struct fetch *fetch_start(struct loop *loop, const struct http_fetch *what,
			  fetch_fn *done, void *ctx, struct err *err);
/* Waits up to a second for the thread.  *fetch becomes NULL; NULL is fine. */
void fetch_cancel(struct fetch **fetch);

#endif
