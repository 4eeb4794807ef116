/*
 * sequences.h - a set of sequences
 *
 * A bit each, from the lowest to the highest that was ever in it.  Pure.
 */
#ifndef DAEMON_SEQUENCES_H
#define DAEMON_SEQUENCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sequences {
	uint64_t *bits;
	uint64_t base; /* of the first word, in words */
	size_t words;
	size_t count;
};

void sequences_release(struct sequences *set);
void sequences_add(struct sequences *set, uint64_t sequence);
/* Fine for one that is not in it. */
void sequences_remove(struct sequences *set, uint64_t sequence);
bool sequences_has(const struct sequences *set, uint64_t sequence);
/* The lowest that is not below `from`; false: there is none. */
bool sequences_next(const struct sequences *set, uint64_t from,
		    uint64_t *sequence);

#endif
