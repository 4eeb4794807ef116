/*
 * queue.h - the envelopes that still wait, mailbox by mailbox, in order
 *
 * The loop's own picture of what is waiting or held, in memory: all of a plan,
 * or the oldest of it (backlog.h), whole messages either way.  A message whose
 * envelopes cannot go now may sleep, and so may the youngest of too many: their
 * lines know of them (dormant.h), and nobody younger passes.  A mailbox has a
 * line of waiting envelopes in the order of their sequence; only its first may
 * be claimed, and nobody else of that mailbox until its claim is settled.  That
 * is the whole of the promise of order.
 *
 * The queue decides nothing about targets: who may be claimed is asked per
 * domain, by whoever knows the valve.  It keeps the ledger's counters as well.
 * No I/O; all functions run on the loop.
 */
#ifndef DAEMON_QUEUE_H
#define DAEMON_QUEUE_H

#include "base/list.h"
#include "base/map.h"
#include "daemon/dormant.h"
#include "daemon/spool_writer.h"

struct queue_message {
	struct id id;
	uint64_t sequence;
	int64_t accepted_ms;
	char *reverse_path;
	bool eightbit, utf8;
	uint64_t body_bytes;
	struct spool_place place; /* see queue_set_place() */
	bool placed;
	size_t envelope_count; /* that are alive */
	size_t envelope_room;  /* length of `envelopes` */
	struct queue_envelope **envelopes;
};

struct queue_envelope {
	struct queue_message *message;
	struct queue_mailbox *mailbox;
	struct list line; /* in its mailbox: waiting or held */
	struct list all;  /* in its domain: waiting or held */
	char *forward_path;
	int64_t next_ms;	/* wall; 0: now */
	int64_t stuck_since_ms; /* first data deferral after RCPT 250 */
	uint32_t index;		/* in the message */
	uint32_t attempts;
	uint32_t uncertain;
	uint32_t data_deferrals;
	bool held, mailbox_held, claimed;
	bool acting; /* an operator's act on it is on its way to the disk */
};

struct queue_mailbox {
	struct queue_domain *domain;
	struct list line;	 /* waiting, by sequence */
	struct list held;	 /* held, by sequence */
	size_t heap_at;		 /* place in a heap of the domain */
	struct queue_heap *heap; /* or NULL: empty, busy or held */
	uint64_t turn;		 /* what the heap sorts by */
	uint32_t waiting;	 /* length of `line` */
	bool moves;		 /* neither held nor to wait for a time */
	bool busy;		 /* a claim is open */
	bool is_held;		 /* the mailbox itself is held */
	bool admitted;		 /* by the ramp */
	uint64_t hash;		 /* of its key: what of it sleeps is found by */
	struct list wanted;	 /* linked while its line needs some of that */
	/* Its first may not go before then, and why: 0 is now. */
	struct list limited;
	int64_t limited_until_ms;
	int limited_by;
	char key[];
};

struct queue_heap {
	struct queue_mailbox **at;
	size_t count, cap;
};

/*
 * Asked before an envelope is claimed: 0 if it may go, else when (wall) to ask
 * again.  Until then its mailbox's line stands still.  `why` is the asked one's
 * own.
 */
typedef int64_t queue_may_fn(void *ctx, const struct queue_envelope *envelope,
			     int64_t now_ms, int *why);

/* All of the plan and domain, in memory or not. */
struct queue_ledger {
	uint64_t accepted, waiting, held, delivered, bounced, discarded;
};

struct queue_domain {
	struct queue *queue;
	char *plan, *name;
	struct map mailboxes;
	struct queue_heap ready; /* by sequence of the first in line */
	struct queue_heap later; /* by next_ms of the first in line */
	struct list waiting;	 /* envelopes by sequence */
	struct list held;
	/* Where the last of them came in, or NULL. */
	struct list *waiting_hint, *held_hint;
	struct queue_ledger ledger;
	uint64_t bytes; /* of waiting and held, per envelope, here or not */
	/* In memory: envelopes in lines, of them in lines that move, and held. */
	uint64_t here, moving, here_held;
	struct dormant dormant;
	uint64_t asleep, asleep_held; /* envelopes in there, by state */
	int64_t looked_ms;  /* what of it was due by then was asked for */
	struct list wanted; /* mailboxes that need some of it now */
	bool open;	    /* somebody claims of it */
	bool rest;	    /* younger mail of its plan may not be here */
	int64_t rest_ms;    /* and was accepted no earlier than this */
	bool ramp;	    /* only admitted mailboxes are claimed */
	queue_may_fn *may;  /* or NULL: whatever is due */
	void *may_ctx;
	struct list limited; /* mailboxes that it stopped */
	size_t limited_count;
};

struct queue;

struct queue *queue_new(void);
void queue_free(struct queue *queue);

/* Finds or makes the domain of a plan. */
struct queue_domain *queue_domain(struct queue *queue, const char *plan,
				  const char *domain);
void queue_remove_plan(struct queue *queue, const char *plan);

/*
 * Whoever fetches the rest: `thin` runs whenever a domain that is open, and has
 * mail that is not here, changes with fewer than `least` envelopes left that
 * move.  It may not change the queue before it returns.
 */
void queue_on_thin(struct queue *queue, uint64_t least,
		   void (*thin)(void *ctx, struct queue_domain *domain),
		   void *ctx);
/* Whether claims are made of it. */
void queue_set_open(struct queue_domain *domain, bool open);
/* Whether younger mail of the plan is not here, accepted at `rest_ms` or
 * later. */
void queue_set_rest(struct queue *queue, const char *plan, bool rest,
		    int64_t rest_ms);
/* Envelopes in memory, waiting or held, of all domains of the plan. */
uint64_t queue_here(const struct queue *queue, const char *plan);
/* Whether the ledger counts more that wait, or are held, than are here. */
bool queue_has_rest(const struct queue_domain *domain);

/*
 * Sleep.  All messages of the plan that cannot go now leave memory, and if still
 * `most` envelopes or more are there, the youngest that could, down to `least`.
 * `slept` runs for each; whoever wakes one tells and then adds it, as ever.
 * `thin` and `want` run after it.
 */
void queue_sleep(struct queue *queue, const char *plan, uint64_t most,
		 uint64_t least, void (*slept)(void *ctx, uint64_t sequence),
		 void *ctx);
/* Before a message is added that slept, and before each envelope of it: how it
 * slept, whatever the index said meanwhile, and when it may go. */
void queue_wake(struct queue *queue, const struct spool_place *place,
		uint64_t body_bytes);
/* The record of one that sleeps was moved. */
void queue_move_asleep(struct queue *queue, uint32_t from_segment,
		       const struct spool_place *place, uint64_t body_bytes);
/* `thin` and `want` run where they are due. */
void queue_tell(struct queue *queue, const char *plan);
struct queue_woken {
	enum dormant_kind kind; /* DORMANT_NONE: it did not */
	int64_t due_ms;
};
struct queue_woken queue_wake_envelope(struct queue_domain *domain,
				       struct slice forward_path,
				       uint64_t sequence, uint32_t index,
				       int64_t accepted_ms);
/* Of a mailbox: sequences of what sleeps, the first `max`; how many there are. */
size_t queue_asleep(const struct queue_domain *domain,
		    struct slice forward_path, enum dormant_kind kind,
		    uint64_t *sequences, size_t max);
/* `want` runs when an open domain needs what sleeps; it may not change the queue
 * before it returns. */
void queue_on_want(struct queue *queue,
		   void (*want)(void *ctx, struct queue_domain *domain),
		   void *ctx);
/* Sequences of what mailboxes in memory need, a few for each, at most `max`; how
 * many. */
size_t queue_wanted(const struct queue *queue, const char *plan,
		    uint64_t *sequences, size_t max);
/* The same of what is due in open domains that are thin. */
size_t queue_due(const struct queue *queue, const char *plan,
		 uint64_t *sequences, size_t max);

/* A message whose record is durable; takes over nothing. */
struct queue_message *queue_add_message(struct queue *queue,
					const struct id *id, uint64_t sequence,
					int64_t accepted_ms,
					struct slice reverse_path);
/* One envelope of it, waiting.  It is counted neither in the ledger nor in the
 * bytes: queue_count_accepted() does so once, be it here or not. */
struct queue_envelope *queue_add_envelope(struct queue_domain *domain,
					  struct queue_message *message,
					  uint32_t index,
					  struct slice forward_path);
/* The same, but it is held, and was so before. */
struct queue_envelope *queue_add_held(struct queue_domain *domain,
				      struct queue_message *message,
				      uint32_t index, struct slice forward_path,
				      bool mailbox);
/* One more envelope was accepted and waits. */
void queue_count_accepted(struct queue_domain *domain, uint64_t bytes);
/* Where its record lies, now or after it was moved. */
void queue_set_place(struct queue *queue, struct queue_message *message,
		     const struct spool_place *place);
/* Messages of the queue whose record lies in this segment, asleep or not, and
 * their bytes. */
struct queue_live {
	uint64_t messages, bytes;
};
struct queue_live queue_segment_live(const struct queue *queue,
				     uint32_t segment);
/* `gone` runs for a message whose last envelope becomes final, before it goes
 * (not when the queue itself is freed). */
void queue_on_gone(struct queue *queue,
		   void (*gone)(void *ctx, const struct queue_message *message),
		   void *ctx);
struct queue_message *queue_find(struct queue *queue, const struct id *id);
struct queue_envelope *queue_find_envelope(struct queue *queue,
					   const struct id *id, uint32_t index);

/* NULL: nothing of it is in memory. */
struct queue_mailbox *queue_find_mailbox(const struct queue_domain *domain,
					 struct slice forward_path);
uint64_t queue_mailbox_hash(struct slice forward_path);

/*
 * The oldest envelope of the domain that may go now, claimed together with the
 * other envelopes of its message in this domain whose turn it is too (at most
 * `max`).  Returns how many are in `claims`; 0: none.
 */
size_t queue_claim(struct queue_domain *domain, int64_t now_ms,
		   struct queue_envelope **claims, size_t max);
/* Who is asked before a claim, from now on; NULL: nobody. */
void queue_on_claim(struct queue_domain *domain, queue_may_fn *may, void *ctx);
/* It is now (wall): what waited until then goes, or is woken for that. */
void queue_look(struct queue_domain *domain, int64_t now_ms);
/* When the next envelope of the domain is due; INT64_MAX: none. */
int64_t queue_next_due(const struct queue_domain *domain);

/* Settling a claim, each exactly once per claimed envelope. */
void queue_defer(struct queue_envelope *envelope, int64_t next_ms);
/* Final: the envelope is gone (and its message with its last). */
void queue_final(struct queue_envelope *envelope, enum envelope_state state);
/* Out of the line; `mailbox` holds the whole line behind it as well.  Also for
 * an envelope that is not claimed. */
void queue_hold(struct queue_envelope *envelope, bool mailbox);
/* Back into the line at its place. */
void queue_release(struct queue_envelope *envelope, int64_t next_ms);

/* Its line is due now, the first of the line as ever first; nothing for one
 * that is held, or while an attempt for its mailbox is under way. */
void queue_retry(struct queue_envelope *envelope);
/* Everything due again now (the target came back). */
void queue_retry_now(struct queue_domain *domain);
/* Opens the ramp for `count` more mailboxes, oldest first; returns how many
 * were admitted. */
size_t queue_admit(struct queue_domain *domain, size_t count);
/* Admitted mailboxes that still have mail waiting, up to the edge. */
size_t queue_admitted_left(const struct queue_domain *domain);
size_t queue_waiting_mailboxes(const struct queue_domain *domain);
/* Ends the ramp: every mailbox may be claimed. */
void queue_ramp_end(struct queue_domain *domain);

/* When the oldest was accepted (wall), at the earliest; 0: there is none. */
uint64_t queue_oldest_ms(struct queue_domain *domain);

#endif
