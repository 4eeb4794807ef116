#include "daemon/heap.h"
#include "base/buf.h"
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	HEAP_STEP = 1024 * 1024
};

struct heap {
	struct loop_timer *timer;
	int statm;  /* open: no sandbox keeps us from our own figures */
	bool spare; /* at the last look too */
};

void heap_keep(void)
{
	mallopt(M_TRIM_THRESHOLD, HEAP_SPARE);
	mallopt(M_TOP_PAD, HEAP_STEP);
	/* Setting one of them ends that this one adapts itself. */
	mallopt(M_MMAP_THRESHOLD, HEAP_STEP);
}

/* proc(5): size, resident, shared ..., in pages.  0: not known. */
static uint64_t resident(const struct heap *heap)
{
	char text[128];
	ssize_t got = pread(heap->statm, text, sizeof(text) - 1, 0);
	unsigned long long size, pages, shared;

	if (got <= 0)
		return 0;
	text[got] = '\0';
	if (sscanf(text, "%llu %llu %llu", &size, &pages, &shared) != 3 ||
	    pages < shared)
		return 0;
	return (pages - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What malloc holds, its free chunks counted once they are resident. */
static bool has_spare(const struct heap *heap)
{
	uint64_t here = resident(heap);
	struct mallinfo2 info;

	/* The walk over what is free is worth it from then on. */
	if (here < 2 * (uint64_t)HEAP_SPARE)
		return false;
	info = mallinfo2();
	return here > info.uordblks + info.hblkhd + HEAP_SPARE;
}

static void look(void *ctx)
{
	struct heap *heap = ctx;
	bool spare = has_spare(heap);

	if (spare && heap->spare) {
		mem_trim();
		spare = false;
	}
	heap->spare = spare;
	loop_timer_arm(heap->timer, HEAP_LOOK_MS);
}

struct heap *heap_new(struct loop *loop)
{
	struct heap *heap = mem_alloc(sizeof(*heap));

	heap->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	heap->timer = loop_timer_new(loop, look, heap);
	loop_timer_arm(heap->timer, HEAP_LOOK_MS);
	return heap;
}

void heap_free(struct heap *heap)
{
	if (!heap)
		return;
	loop_timer_free(heap->timer);
	if (heap->statm >= 0)
		close(heap->statm);
	free(heap);
}
