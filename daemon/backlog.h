/*
 * backlog.h - how much of the queue is in memory
 *
 * A plan's mail is in the queue (queue.h) up to its edge, a sequence: whole
 * messages, the oldest.  What is younger waits in the spool and the index alone
 * until its turn comes near; then a page of it is read.  A plan with little
 * mail has no edge: all of it is in memory, and stays so whatever happens to
 * the index.
 *
 *   - more than `most` envelopes in memory, and new mail stays outside
 *   - fewer than `least` that could move now (in lines that neither are held
 *     nor wait for a time), in a domain that has more: the next page comes
 *   - more than `most` all the same: what cannot move falls asleep (queue.h), and
 *     if that is not enough the youngest: they leave memory, and come back when
 *     they are due and little else could move, or their line needs them
 *
 * So memory is bounded, but for about 50 bytes a line that sleeps and 8 for each
 * other envelope of it, and mail that cannot move keeps nobody behind
 * it.  Order is safe because pages come in order, only what is in memory is
 * ever claimed, and never before one of its line that sleeps; a page never has
 * what is in memory already, as only new mail can be younger than the edge.
 * All functions run on the loop.
 */
#ifndef DAEMON_BACKLOG_H
#define DAEMON_BACKLOG_H

#include "daemon/index.h"
#include "daemon/queue.h"

struct backlog;

struct backlog_owner {
	/* An envelope has come into memory, from acceptance or a page (then
	 * with what the index says of it, else NULL). */
	void (*on_envelope)(void *ctx, struct queue_envelope *envelope,
			    const struct index_live *live);
	/* A page of this plan is in: something may be due. */
	void (*on_page)(void *ctx, const char *plan);
	/* The next page cannot be read; it is tried again after a while.  With
	 * `first` nothing of the plan is in memory. */
	void (*on_error)(void *ctx, const char *plan, bool first,
			 const struct err *err);
};

/* `most`: envelopes of a plan in memory before new mail stays outside. */
struct backlog *backlog_new(struct loop *loop, struct index *index,
			    struct queue *queue, size_t most,
			    const struct backlog_owner *owner, void *ctx);
/* Once the index is closed, before the queue goes.  NULL is fine. */
void backlog_free(struct backlog *backlog);

/* Takes up a plan whose mail is in the index, none younger than `last`: pages
 * are read from now on. */
void backlog_load(struct backlog *backlog, const char *plan, uint64_t last);
/* Its page, if one is on its way, comes to nothing. */
void backlog_forget(struct backlog *backlog, const char *plan);
/* Plans that were loaded and whose first page is not in yet. */
size_t backlog_loading(const struct backlog *backlog);

/* A message is durable, and the index was told; it is counted in its domains'
 * ledgers, and comes into memory, now or later. */
void backlog_accept(struct backlog *backlog,
		    const struct record_message *message,
		    const struct spool_place *place);

/* Whether it was loaded or has accepted anything. */
bool backlog_knows(const struct backlog *backlog, const char *plan);
/* Whether all mail of all plans that it knows is in memory. */
bool backlog_is_whole(const struct backlog *backlog);
/* Whether the message of this sequence is in memory, asleep or final. */
bool backlog_reaches(const struct backlog *backlog, const char *plan,
		     uint64_t sequence);
/* The same, but for those asleep. */
bool backlog_has(const struct backlog *backlog, const char *plan,
		 uint64_t sequence);
/* Whether it is one of those asleep. */
bool backlog_sleeps(const struct backlog *backlog, const char *plan,
		    uint64_t sequence);
/* Nothing is read any more, falls asleep or wakes until it thaws: somebody moves
 * what lives.  False: some is on its way yet, ask again soon. */
bool backlog_freeze(struct backlog *backlog);
void backlog_thaw(struct backlog *backlog);
/*
 * Looks at everything up to this sequence (UINT64_MAX: all that is accepted by
 * now): it is in memory, or sleeps.  Then those of `sequences` that sleep come
 * into memory, and are there while `done` runs; an operator acts on them.
 * `done` runs exactly once, perhaps before this returns; with err if they cannot
 * be read.  On a free of the backlog, or when the plan is forgotten, it never
 * runs.
 */
void backlog_fetch(struct backlog *backlog, const char *plan, uint64_t sequence,
		   const uint64_t *sequences, size_t count,
		   void (*done)(void *ctx, const struct err *err), void *ctx);
/* No answer is wanted any more, by this ctx. */
void backlog_fetch_cancel(struct backlog *backlog, const void *ctx);

#endif
