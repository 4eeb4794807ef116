/*
 * heap.h - how much freed memory the process keeps
 *
 * glibc gives back what is free at the end of its heap from 128 KiB on, and
 * takes it again, page by page, with each batch of messages: that costs more
 * than the batch.  And what lies free below something that lives it never gives
 * back: a second in which the disk was slow would show for days.  So the end of
 * the heap stays, and every HEAP_LOOK_MS somebody looks whether much has been
 * free for a while.
 */
#ifndef DAEMON_HEAP_H
#define DAEMON_HEAP_H

#include "net/loop.h"

struct heap;

enum {
	HEAP_LOOK_MS = 5000,
	HEAP_SPARE = 8 * 1024 * 1024 /* free bytes that are kept */
};

/* Before the first thread is there. */
void heap_keep(void);
/* Gives back what two looks in a row found free. */
struct heap *heap_new(struct loop *loop);
void heap_free(struct heap *heap); /* NULL is fine */

#endif
