/*
 * map.h - from bytes to a pointer
 *
 * A hash table with keys of any bytes (copied) and values that the caller
 * owns.  The hash is seeded at random per process, so a peer cannot choose
 * keys that collide.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/slice.h"

struct map_slot;

struct map {
	struct map_slot *slots;
	size_t count;
	size_t cap;
};

/* clang-format off */
#define MAP_INIT { 0 }
/* clang-format on */

/* Frees the table and the keys, never the values. */
void map_release(struct map *map);
/* The value, or NULL. */
void *map_get(const struct map *map, struct slice key);
/* Adds or replaces; returns the value that was there before, or NULL. */
void *map_put(struct map *map, struct slice key, void *value);
/* Removes; returns the value that was there, or NULL. */
void *map_remove(struct map *map, struct slice key);
/* The hash of a key, for a table that keeps none: that two of a million keys
 * share one has a chance of one in thirty million. */
uint64_t map_hash(struct slice key);
/* Calls `each` for every pair in no order; the map may not change meanwhile. */
void map_each(const struct map *map,
	      void (*each)(void *ctx, struct slice key, void *value),
	      void *ctx);

#endif
