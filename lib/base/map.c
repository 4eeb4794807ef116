#include "base/map.h"
#include "base/buf.h"
#include "base/id.h"
#include <stdlib.h>

/* Open addressing with backward-shift deletion: no tombstones to sweep. */
struct map_slot {
	char *key;
	size_t len;
	uint64_t hash;
	void *value;
};

static uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

/* SipHash-1-3 would do as well; this is SipHash-2-4 (Aumasson, Bernstein). */
uint64_t map_hash(struct slice key)
{
	static uint64_t seed[2];
	uint64_t v0, v1, v2, v3, m;
	size_t left = key.len;
	const char *p = key.p;

	if (!seed[1]) {
		uint64_t fresh[2];

		random_bytes(fresh, sizeof(fresh));
		seed[0] = fresh[0];
		seed[1] = fresh[1] | 1;
	}
	v0 = seed[0] ^ 0x736f6d6570736575u;
	v1 = seed[1] ^ 0x646f72616e646f6du;
	v2 = seed[0] ^ 0x6c7967656e657261u;
	v3 = seed[1] ^ 0x7465646279746573u;
#define ROUND()                           \
	do {                              \
		v0 += v1;                 \
		v1 = rotate(v1, 13) ^ v0; \
		v0 = rotate(v0, 32);      \
		v2 += v3;                 \
		v3 = rotate(v3, 16) ^ v2; \
		v0 += v3;                 \
		v3 = rotate(v3, 21) ^ v0; \
		v2 += v1;                 \
		v1 = rotate(v1, 17) ^ v2; \
		v2 = rotate(v2, 32);      \
	} while (0)
	for (; left >= 8; left -= 8, p += 8) {
		memcpy(&m, p, 8);
		v3 ^= m;
		ROUND();
		ROUND();
		v0 ^= m;
	}
	m = (uint64_t)key.len << 56;
	for (size_t i = 0; i < left; i++)
		m |= (uint64_t)(unsigned char)p[i] << (8 * i);
	v3 ^= m;
	ROUND();
	ROUND();
	v0 ^= m;
	v2 ^= 0xff;
	ROUND();
	ROUND();
	ROUND();
	ROUND();
#undef ROUND
	return v0 ^ v1 ^ v2 ^ v3;
}

static struct map_slot *find(const struct map *map, struct slice key,
			     uint64_t hash)
{
	size_t at = hash & (map->cap - 1);

	while (map->slots[at].key) {
		struct map_slot *slot = &map->slots[at];

		if (slot->hash == hash &&
		    slice_equal(slice_of(slot->key, slot->len), key))
			return slot;
		at = (at + 1) & (map->cap - 1);
	}
	return &map->slots[at];
}

static void grow(struct map *map)
{
	struct map old = *map;

	map->cap = old.cap ? old.cap * 2 : 16;
	map->slots = mem_alloc(map->cap * sizeof(*map->slots));
	for (size_t i = 0; i < old.cap; i++) {
		size_t at = old.slots[i].hash & (map->cap - 1);

		if (!old.slots[i].key)
			continue;
		while (map->slots[at].key)
			at = (at + 1) & (map->cap - 1);
		map->slots[at] = old.slots[i];
	}
	free(old.slots);
}

void map_release(struct map *map)
{
	for (size_t i = 0; i < map->cap; i++)
		free(map->slots[i].key);
	free(map->slots);
	*map = (struct map)MAP_INIT;
}

void *map_get(const struct map *map, struct slice key)
{
	struct map_slot *slot;

	if (map->count == 0)
		return NULL;
	slot = find(map, key, map_hash(key));
	return slot->key ? slot->value : NULL;
}

void *map_put(struct map *map, struct slice key, void *value)
{
	uint64_t hash = map_hash(key);
	struct map_slot *slot;
	void *before;

	if ((map->count + 1) * 4 > map->cap * 3)
		grow(map);
	slot = find(map, key, hash);
	before = slot->key ? slot->value : NULL;
	if (!slot->key) {
		slot->key = slice_dup(key);
		slot->len = key.len;
		slot->hash = hash;
		map->count++;
	}
	slot->value = value;
	return before;
}

void *map_remove(struct map *map, struct slice key)
{
	struct map_slot *slot;
	size_t hole, at;
	void *value;

	if (map->count == 0)
		return NULL;
	slot = find(map, key, map_hash(key));
	if (!slot->key)
		return NULL;
	value = slot->value;
	free(slot->key);
	map->count--;
	hole = at = (size_t)(slot - map->slots);
	for (;;) {
		size_t home;

		at = (at + 1) & (map->cap - 1);
		if (!map->slots[at].key)
			break;
		home = map->slots[at].hash & (map->cap - 1);
		/* May it move back to the hole without passing its home? */
		if (((at - home) & (map->cap - 1)) >=
		    ((at - hole) & (map->cap - 1))) {
			map->slots[hole] = map->slots[at];
			hole = at;
		}
	}
	map->slots[hole] = (struct map_slot){ 0 };
	return value;
}

void map_each(const struct map *map,
	      void (*each)(void *ctx, struct slice key, void *value), void *ctx)
{
	for (size_t i = 0; i < map->cap; i++)
		if (map->slots[i].key)
			each(ctx,
			     slice_of(map->slots[i].key, map->slots[i].len),
			     map->slots[i].value);
}
