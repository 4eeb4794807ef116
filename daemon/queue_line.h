/*
 * queue_line.h - the lines of mailboxes, and what the parts of the queue share
 *
 * A line has the envelopes of a mailbox that are here, in order; its head is the
 * one that may be claimed, and there is none while one that sleeps is before
 * it.  Whoever changes a line places its mailbox anew (queue_line_place()).  For
 * queue*.c alone.
 */
#ifndef DAEMON_QUEUE_LINE_H
#define DAEMON_QUEUE_LINE_H

#include "daemon/queue.h"

struct queue {
	struct map domains;	 /* "plan\0domain" */
	struct map messages;	 /* id */
	struct queue_live *live; /* by number of the segment */
	size_t live_count;
	uint64_t least;
	void (*thin)(void *ctx, struct queue_domain *domain);
	void *thin_ctx;
	void (*want)(void *ctx, struct queue_domain *domain);
	void *want_ctx;
	bool sleeping; /* queue_sleep() is at it */
	void (*gone)(void *ctx, const struct queue_message *message);
	void *gone_ctx;
};

/* NULL: the list, a mailbox's `line` or `held`, is empty. */
struct queue_envelope *queue_line_first(const struct list *line);
/* Whose turn it is; NULL: nobody's, or that of one that sleeps. */
struct queue_envelope *queue_line_head(const struct queue_mailbox *mailbox);
/* Whether one that sleeps is before it. */
bool queue_line_is_behind(const struct queue_envelope *envelope);
size_t queue_line_asleep(const struct queue_mailbox *mailbox,
			 enum dormant_kind kind);

/* Into the line, or among the held, at its place; out of where it is. */
void queue_line_enter(struct queue_envelope *envelope);
void queue_line_enter_held(struct queue_envelope *envelope);
void queue_line_leave(struct queue_envelope *envelope);
/* Puts the mailbox where its head belongs now. */
void queue_line_place(struct queue_mailbox *mailbox);
/* No limit stops it any more. */
void queue_line_unlimit(struct queue_mailbox *mailbox);

/* Whether it has little to do, and what sleeps is due. */
bool queue_line_is_hungry(const struct queue_domain *domain);
/* `want`, `thin` of the queue run if there is a need. */
void queue_line_tell_wanted(struct queue_domain *domain);
void queue_line_tell_thin(struct queue_domain *domain);

/* Found or made. */
struct queue_mailbox *queue_mailbox_of(struct queue_domain *domain,
				       struct slice forward_path);
void queue_mailbox_drop_empty(struct queue_mailbox *mailbox);
/* Frees one without envelopes. */
void queue_message_drop(struct queue *queue, struct queue_message *message);
/* It counts no more among what lives in its segment. */
void queue_leave_place(struct queue *queue, struct queue_message *message);

#endif
