/*
 * limit.h - how many messages a mailbox may get, in all and from one sender
 *
 * Providers refuse a mailbox that gets too much in an hour or a minute
 * (plan/provider.c has their numbers), and some block it for a day.  So the
 * replay stays below, mailbox by mailbox.  A limit never lets younger mail pass:
 * while the first of a line may not go, nobody of that line does.
 *
 * Exact: in no span of time more than the number.  Counts deliveries, certain
 * and uncertain, by the wall clock, as that is what the index has over a
 * restart.  Bounded by the numbers: 16 bytes for each delivery of the last span,
 * and a mailbox that got nothing within it costs nothing.
 *
 * Pure: no clock, no I/O; the caller passes the time.
 */
#ifndef DAEMON_LIMIT_H
#define DAEMON_LIMIT_H

#include "base/slice.h"
#include "plan/provider.h"

enum limit_kind {
	LIMIT_NONE,
	LIMIT_MAILBOX, /* the mailbox in all */
	LIMIT_PAIR     /* this reverse-path to the mailbox */
};

struct limit;

/* A number of 0 is no limit. */
struct limit *limit_new(struct provider_rate mailbox,
			struct provider_rate pair);
void limit_free(struct limit *limit); /* NULL is fine */
/* False: there is nothing to ask or to count. */
bool limit_is_set(const struct limit *limit);
/* The longest span: what is older than this matters no more. */
int64_t limit_span_ms(const struct limit *limit);
/*
 * When a message from this reverse-path may go to this mailbox: 0 is now, else
 * milliseconds since 1970, and `kind` (may be NULL) says which limit it is.
 * `mailbox` is a key of the queue.
 */
int64_t limit_until_ms(struct limit *limit, const char *mailbox,
		       const char *reverse_path, int64_t now_ms,
		       enum limit_kind *kind);
/* One was delivered at this time, or perhaps; `now_ms` is not before. */
void limit_count(struct limit *limit, const char *mailbox,
		 const char *reverse_path, int64_t at_ms, int64_t now_ms);
/* Mailboxes that are remembered: bounded by what the last span saw. */
size_t limit_mailboxes(const struct limit *limit);
struct provider_rate limit_rate(const struct limit *limit,
				enum limit_kind kind);

#endif
