#include "daemon/sequences.h"
#include "base/buf.h"
#include <stdlib.h>
#include <string.h>

enum {
	WORD = 64,
	AHEAD = 1024 /* words */
};

void sequences_release(struct sequences *set)
{
	free(set->bits);
	*set = (struct sequences){ 0 };
}

/* So that the word is there; `set` has room at its end for the next. */
static void cover(struct sequences *set, uint64_t word)
{
	uint64_t base = set->words ? set->base : word;
	uint64_t end = base + set->words;
	uint64_t *bits;

	if (set->words && word >= base && word < end)
		return;
	if (word < base)
		base = word;
	if (word >= end)
		end = word + AHEAD;
	bits = mem_alloc((size_t)(end - base) * sizeof(*bits));
	if (set->words)
		memcpy(bits + (set->base - base), set->bits,
		       set->words * sizeof(*bits));
	free(set->bits);
	set->bits = bits;
	set->base = base;
	set->words = (size_t)(end - base);
}

static uint64_t bit(uint64_t sequence)
{
	return (uint64_t)1 << sequence % WORD;
}

void sequences_add(struct sequences *set, uint64_t sequence)
{
	if (sequences_has(set, sequence))
		return;
	cover(set, sequence / WORD);
	set->bits[sequence / WORD - set->base] |= bit(sequence);
	set->count++;
}

void sequences_remove(struct sequences *set, uint64_t sequence)
{
	if (!sequences_has(set, sequence))
		return;
	set->bits[sequence / WORD - set->base] &= ~bit(sequence);
	if (--set->count == 0)
		sequences_release(set);
}

bool sequences_has(const struct sequences *set, uint64_t sequence)
{
	uint64_t word = sequence / WORD;

	return word >= set->base && word - set->base < set->words &&
	       (set->bits[word - set->base] & bit(sequence));
}

bool sequences_next(const struct sequences *set, uint64_t from,
		    uint64_t *sequence)
{
	uint64_t word = from / WORD, mask = ~(bit(from) - 1);

	if (word < set->base) {
		word = set->base;
		mask = UINT64_MAX;
	}
	for (; word - set->base < set->words; word++, mask = UINT64_MAX) {
		uint64_t left = set->bits[word - set->base] & mask;

		if (!left)
			continue;
		*sequence = word * WORD + (uint64_t)__builtin_ctzll(left);
		return true;
	}
	return false;
}
