/*
 * queue_heap.h - mailboxes of a domain, the one whose turn is first on top
 *
 * A binary heap; each mailbox knows its place, so that it can leave from the
 * middle.  A part of the queue, for queue*.c alone.
 */
#ifndef DAEMON_QUEUE_HEAP_H
#define DAEMON_QUEUE_HEAP_H

#include "daemon/queue.h"

/* One that is in no heap. */
void queue_heap_add(struct queue_heap *heap, struct queue_mailbox *mailbox,
		    uint64_t turn);
/* Nothing for one that is in none. */
void queue_heap_remove(struct queue_mailbox *mailbox);

#endif
