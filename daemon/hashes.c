#include "daemon/hashes.h"
#include "base/buf.h"
#include <stdlib.h>

void hashes_release(struct hashes *set)
{
	free(set->at);
	*set = (struct hashes){ 0 };
}

static size_t find(const struct hashes *set, uint64_t hash)
{
	size_t at = hash & (set->cap - 1);

	while (set->at[at] && set->at[at] != hash)
		at = (at + 1) & (set->cap - 1);
	return at;
}

static void grow(struct hashes *set)
{
	struct hashes old = *set;

	set->cap = old.cap ? old.cap * 2 : 64;
	set->at = mem_alloc(set->cap * sizeof(*set->at));
	for (size_t i = 0; i < old.cap; i++)
		if (old.at[i])
			set->at[find(set, old.at[i])] = old.at[i];
	free(old.at);
}

bool hashes_add(struct hashes *set, uint64_t hash)
{
	size_t at;

	hash += hash == 0;
	if ((set->count + 1) * 4 > set->cap * 3)
		grow(set);
	at = find(set, hash);
	if (set->at[at])
		return false;
	set->at[at] = hash;
	set->count++;
	return true;
}
