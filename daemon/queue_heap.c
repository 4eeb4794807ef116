#include "daemon/queue_heap.h"

static void heap_set(struct queue_heap *heap, size_t at,
		     struct queue_mailbox *mailbox)
{
	heap->at[at] = mailbox;
	mailbox->heap_at = at;
}

static void heap_up(struct queue_heap *heap, size_t at)
{
	struct queue_mailbox *mailbox = heap->at[at];

	while (at > 0 && heap->at[(at - 1) / 2]->turn > mailbox->turn) {
		heap_set(heap, at, heap->at[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(heap, at, mailbox);
}

static void heap_down(struct queue_heap *heap, size_t at)
{
	struct queue_mailbox *mailbox = heap->at[at];

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count &&
		    heap->at[child + 1]->turn < heap->at[child]->turn)
			child++;
		if (heap->at[child]->turn >= mailbox->turn)
			break;
		heap_set(heap, at, heap->at[child]);
		at = child;
	}
	heap_set(heap, at, mailbox);
}

void queue_heap_add(struct queue_heap *heap, struct queue_mailbox *mailbox,
		    uint64_t turn)
{
	if (heap->count == heap->cap) {
		heap->cap = heap->cap ? heap->cap * 2 : 16;
		heap->at = mem_grow(heap->at, heap->cap * sizeof(*heap->at));
	}
	mailbox->turn = turn;
	mailbox->heap = heap;
	heap_set(heap, heap->count++, mailbox);
	heap_up(heap, heap->count - 1);
}

void queue_heap_remove(struct queue_mailbox *mailbox)
{
	struct queue_heap *heap = mailbox->heap;
	struct queue_mailbox *last;
	size_t at = mailbox->heap_at;

	if (!heap)
		return;
	mailbox->heap = NULL;
	last = heap->at[--heap->count];
	if (last == mailbox)
		return;
	heap_set(heap, at, last);
	heap_up(heap, at);
	heap_down(heap, last->heap_at);
}
