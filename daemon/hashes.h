/*
 * hashes.h - a set of hashes
 *
 * 8 to 16 bytes each: a million fit where a map of keys does not.  Pure.
 */
#ifndef DAEMON_HASHES_H
#define DAEMON_HASHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hashes {
	uint64_t *at; /* open addressing; 0: free */
	size_t count, cap;
};

void hashes_release(struct hashes *set);
/* False: it was in there. */
bool hashes_add(struct hashes *set, uint64_t hash);

#endif
