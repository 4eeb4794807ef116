#include "daemon/sleepers.h"
#include "base/buf.h"
#include "spool/record.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_BITS 10

struct sleepers {
	uint32_t first, end, cap; /* those from `first` to `end` */
	uint64_t at[];
};

uint64_t sleepers_key(uint64_t sequence, uint32_t index)
{
	static_assert(RECORD_MAX_ENVELOPES <= 1 << INDEX_BITS,
		      "an index needs more bits");
	return sequence << INDEX_BITS | index;
}

uint64_t sleepers_sequence(uint64_t key)
{
	return key >> INDEX_BITS;
}

/* Where it is, or would be. */
static uint32_t find(const struct sleepers *sleepers, uint64_t wanted)
{
	uint32_t low = sleepers->first, high = sleepers->end;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (sleepers->at[middle] < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* What was taken from the front leaves room there. */
static struct sleepers *make_room(struct sleepers *sleepers)
{
	uint32_t count = sleepers ? sleepers->end - sleepers->first : 0;
	uint32_t cap = sleepers ? sleepers->cap : 0;

	if (sleepers && sleepers->end < cap)
		return sleepers;
	if (sleepers && sleepers->first > cap / 2) {
		memmove(sleepers->at, sleepers->at + sleepers->first,
			count * sizeof(*sleepers->at));
		sleepers->first = 0;
		sleepers->end = count;
		return sleepers;
	}
	cap = cap ? cap * 2 : 2;
	sleepers = mem_grow(sleepers,
			    sizeof(*sleepers) + cap * sizeof(*sleepers->at));
	if (count == 0)
		sleepers->first = sleepers->end = 0;
	sleepers->cap = cap;
	return sleepers;
}

void sleepers_add(struct sleepers **sleepers, uint64_t key)
{
	struct sleepers *room = *sleepers = make_room(*sleepers);
	uint32_t at = find(room, key);

	memmove(room->at + at + 1, room->at + at,
		(room->end - at) * sizeof(*room->at));
	room->at[at] = key;
	room->end++;
}

bool sleepers_take(struct sleepers **sleepers, uint64_t key)
{
	struct sleepers *from = *sleepers;
	uint32_t at = from ? find(from, key) : 0;

	if (!from || at == from->end || from->at[at] != key)
		return false;
	if (at == from->first) {
		from->first++;
	} else {
		memmove(from->at + at, from->at + at + 1,
			(from->end - at - 1) * sizeof(*from->at));
		from->end--;
	}
	if (from->first == from->end) {
		free(from);
		*sleepers = NULL;
	}
	return true;
}

size_t sleepers_count(const struct sleepers *sleepers)
{
	return sleepers ? sleepers->end - sleepers->first : 0;
}

uint64_t sleepers_at(const struct sleepers *sleepers, size_t i)
{
	return sleepers->at[sleepers->first + i];
}
