#include "daemon/sleepers.h"
#include "base/buf.h"
#include "spool/record.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_BITS 10

static uint64_t key(uint64_t sequence, uint32_t index)
{
	static_assert(RECORD_MAX_ENVELOPES <= 1 << INDEX_BITS,
		      "an index needs more bits");
	return sequence << INDEX_BITS | index;
}

void sleepers_release(struct sleepers *sleepers)
{
	free(sleepers->at);
	*sleepers = (struct sleepers){ 0 };
}

/* Where it is, or would be. */
static size_t find(const struct sleepers *sleepers, uint64_t wanted)
{
	size_t low = sleepers->first, high = sleepers->end;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sleepers->at[middle] < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* What was taken from the front leaves room there. */
static void make_room(struct sleepers *sleepers)
{
	size_t count = sleepers_count(sleepers);

	if (sleepers->end < sleepers->cap)
		return;
	if (sleepers->first > sleepers->cap / 2) {
		memmove(sleepers->at, sleepers->at + sleepers->first,
			count * sizeof(*sleepers->at));
		sleepers->first = 0;
		sleepers->end = count;
		return;
	}
	sleepers->cap = sleepers->cap ? sleepers->cap * 2 : 8;
	sleepers->at =
		mem_grow(sleepers->at, sleepers->cap * sizeof(*sleepers->at));
}

void sleepers_add(struct sleepers *sleepers, uint64_t sequence, uint32_t index)
{
	size_t at;

	make_room(sleepers);
	at = find(sleepers, key(sequence, index));
	memmove(sleepers->at + at + 1, sleepers->at + at,
		(sleepers->end - at) * sizeof(*sleepers->at));
	sleepers->at[at] = key(sequence, index);
	sleepers->end++;
}

bool sleepers_take(struct sleepers *sleepers, uint64_t sequence, uint32_t index)
{
	size_t at = find(sleepers, key(sequence, index));

	if (at == sleepers->end || sleepers->at[at] != key(sequence, index))
		return false;
	if (at == sleepers->first) {
		sleepers->first++;
	} else {
		memmove(sleepers->at + at, sleepers->at + at + 1,
			(sleepers->end - at - 1) * sizeof(*sleepers->at));
		sleepers->end--;
	}
	if (sleepers->first == sleepers->end)
		sleepers_release(sleepers);
	return true;
}

size_t sleepers_count(const struct sleepers *sleepers)
{
	return sleepers->end - sleepers->first;
}

uint64_t sleepers_sequence(const struct sleepers *sleepers, size_t i)
{
	return sleepers->at[sleepers->first + i] >> INDEX_BITS;
}

bool sleepers_before(const struct sleepers *sleepers, uint64_t sequence,
		     uint32_t index)
{
	return sleepers_count(sleepers) > 0 &&
	       sleepers->at[sleepers->first] < key(sequence, index);
}
