#include "daemon/dormant.h"
#include "base/buf.h"
#include "daemon/sleepers.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	KIND_BITS = 2,
	WAKE_EACH = 16, /* of a line at once */
	SECOND_MS = 1000
};

struct dormant_line {
	uint64_t hash;
	int64_t due_ms;
	uint64_t what; /* key and kind of the only one; or a pointer to the
			* sleepers of each kind, which has no bits of a kind */
	uint32_t call; /* place in the heap, from 1; 0: it is not called */
	uint32_t oldest_s;
};

/* The table of lines: open addressing, as base/map.c. */

static size_t slot_of(const struct dormant *dormant, uint64_t hash)
{
	size_t at = hash & (dormant->slot_count - 1);

	while (dormant->slots[at] &&
	       dormant->lines[dormant->slots[at] - 1].hash != hash)
		at = (at + 1) & (dormant->slot_count - 1);
	return at;
}

static struct dormant_line *find(const struct dormant *dormant, uint64_t hash)
{
	uint32_t place;

	if (dormant->count == 0)
		return NULL;
	place = dormant->slots[slot_of(dormant, hash)];
	return place ? &dormant->lines[place - 1] : NULL;
}

static void grow_slots(struct dormant *dormant)
{
	dormant->slot_count =
		dormant->slot_count ? dormant->slot_count * 2 : 16;
	free(dormant->slots);
	dormant->slots =
		mem_alloc(dormant->slot_count * sizeof(*dormant->slots));
	for (size_t i = 0; i < dormant->count; i++)
		dormant->slots[slot_of(dormant, dormant->lines[i].hash)] =
			(uint32_t)i + 1;
}

static struct dormant_line *line_new(struct dormant *dormant, uint64_t hash)
{
	struct dormant_line *line;

	if ((dormant->count + 1) * 4 > dormant->slot_count * 3)
		grow_slots(dormant);
	if (dormant->count == dormant->cap) {
		dormant->cap = dormant->cap ? dormant->cap * 2 : 16;
		dormant->lines =
			mem_grow(dormant->lines, dormant->cap * sizeof(*line));
		dormant->called =
			mem_grow(dormant->called,
				 dormant->cap * sizeof(*dormant->called));
	}
	dormant->slots[slot_of(dormant, hash)] = (uint32_t)dormant->count + 1;
	line = &dormant->lines[dormant->count++];
	*line = (struct dormant_line){ .hash = hash };
	return line;
}

static enum dormant_kind kind_of(uint64_t what)
{
	return (enum dormant_kind)(what & (DORMANT_KINDS - 1));
}

/* NULL: there is one alone, or none. */
static struct sleepers **kinds_of(const struct dormant_line *line)
{
	return kind_of(line->what) == DORMANT_NONE ?
		       (struct sleepers **)(uintptr_t)line->what :
		       NULL;
}

static void line_release(struct dormant_line *line)
{
	struct sleepers **kinds = kinds_of(line);

	for (size_t i = 0; kinds && i < DORMANT_KINDS; i++)
		free(kinds[i]);
	free(kinds);
}

void dormant_release(struct dormant *dormant)
{
	for (size_t i = 0; i < dormant->count; i++)
		line_release(&dormant->lines[i]);
	free(dormant->lines);
	free(dormant->slots);
	free(dormant->called);
	*dormant = (struct dormant){ 0 };
}

static void free_slot(struct dormant *dormant, uint64_t hash)
{
	size_t mask = dormant->slot_count - 1, at = slot_of(dormant, hash);
	size_t hole = at;

	for (;;) {
		size_t home;

		at = (at + 1) & mask;
		if (!dormant->slots[at])
			break;
		home = dormant->lines[dormant->slots[at] - 1].hash & mask;
		/* May it move back to the hole without passing its home? */
		if (((at - home) & mask) >= ((at - hole) & mask)) {
			dormant->slots[hole] = dormant->slots[at];
			hole = at;
		}
	}
	dormant->slots[hole] = 0;
}

/* The last line takes its place. */
static void line_drop(struct dormant *dormant, struct dormant_line *line)
{
	struct dormant_line *last = &dormant->lines[dormant->count - 1];

	if (line->oldest_s <= dormant->oldest_s)
		dormant->oldest_known = false;
	line_release(line);
	free_slot(dormant, line->hash);
	if (line != last) {
		uint32_t place = (uint32_t)(line - dormant->lines);

		dormant->slots[slot_of(dormant, last->hash)] = place + 1;
		*line = *last;
		if (line->call)
			dormant->called[line->call - 1] = place;
	}
	if (--dormant->count == 0)
		dormant_release(dormant);
}

/* What is in a line. */

static size_t count_of(const struct dormant_line *line, enum dormant_kind kind)
{
	struct sleepers **kinds = kinds_of(line);

	return kinds ? sleepers_count(kinds[kind]) :
		       kind_of(line->what) == kind;
}

/* The i-th of a kind. */
static uint64_t key_at(const struct dormant_line *line, enum dormant_kind kind,
		       size_t i)
{
	struct sleepers **kinds = kinds_of(line);

	return kinds ? sleepers_at(kinds[kind], i) : line->what >> KIND_BITS;
}

/* UINT64_MAX: nothing waits in it. */
static uint64_t first_waiting(const struct dormant_line *line)
{
	return count_of(line, DORMANT_WAITING) > 0 ?
		       key_at(line, DORMANT_WAITING, 0) :
		       UINT64_MAX;
}

static bool is_first(const struct dormant_line *line, uint64_t key)
{
	for (int kind = DORMANT_WAITING; kind < DORMANT_KINDS; kind++)
		if (count_of(line, (enum dormant_kind)kind) > 0 &&
		    key_at(line, (enum dormant_kind)kind, 0) < key)
			return false;
	return true;
}

static void add_key(struct dormant_line *line, enum dormant_kind kind,
		    uint64_t key)
{
	struct sleepers **kinds = kinds_of(line);
	uint64_t before = line->what;

	if (!before) {
		line->what = key << KIND_BITS | (uint64_t)kind;
		return;
	}
	if (!kinds) {
		kinds = mem_alloc(DORMANT_KINDS * sizeof(*kinds));
		line->what = (uint64_t)(uintptr_t)kinds;
		sleepers_add(&kinds[kind_of(before)], before >> KIND_BITS);
	}
	sleepers_add(&kinds[kind], key);
}

static enum dormant_kind take_key(struct dormant_line *line, uint64_t key)
{
	struct sleepers **kinds = kinds_of(line);
	enum dormant_kind kind = kind_of(line->what);

	if (!kinds) {
		if (line->what >> KIND_BITS != key)
			return DORMANT_NONE;
		line->what = 0;
		return kind;
	}
	for (int i = DORMANT_WAITING; i < DORMANT_KINDS; i++)
		if (sleepers_take(&kinds[i], key))
			return (enum dormant_kind)i;
	return DORMANT_NONE;
}

static bool is_empty(const struct dormant_line *line)
{
	for (int kind = DORMANT_WAITING; kind < DORMANT_KINDS; kind++)
		if (count_of(line, (enum dormant_kind)kind) > 0)
			return false;
	return true;
}

/* Falling asleep, and waking up. */

void dormant_add(struct dormant *dormant, uint64_t hash, enum dormant_kind kind,
		 uint64_t sequence, uint32_t index, int64_t due_ms,
		 int64_t accepted_ms)
{
	struct dormant_line *line = find(dormant, hash);
	uint64_t key = sleepers_key(sequence, index);
	uint32_t accepted_s = (uint32_t)(accepted_ms / SECOND_MS);

	if (!line) {
		line = line_new(dormant, hash);
		line->oldest_s = accepted_s;
	}
	assert(!line->call);
	if (kind == DORMANT_WAITING && key < first_waiting(line))
		line->due_ms = due_ms;
	add_key(line, kind, key);
	if (accepted_s < line->oldest_s)
		line->oldest_s = accepted_s;
	if (line->oldest_s < dormant->oldest_s)
		dormant->oldest_s = line->oldest_s;
}

enum dormant_kind dormant_take(struct dormant *dormant, uint64_t hash,
			       uint64_t sequence, uint32_t index,
			       int64_t accepted_ms, int64_t *due_ms)
{
	struct dormant_line *line = find(dormant, hash);
	uint64_t key = sleepers_key(sequence, index);
	enum dormant_kind kind;
	bool was_first;

	*due_ms = 0;
	if (!line)
		return DORMANT_NONE;
	assert(!line->call);
	was_first = is_first(line, key);
	if (key == first_waiting(line)) {
		*due_ms = line->due_ms;
		line->due_ms = 0;
	}
	kind = take_key(line, key);
	if (is_empty(line)) {
		line_drop(dormant, line);
	} else if (kind != DORMANT_NONE && was_first) {
		/* The others are younger. */
		if (line->oldest_s <= dormant->oldest_s)
			dormant->oldest_known = false;
		line->oldest_s = (uint32_t)(accepted_ms / SECOND_MS);
	}
	return kind;
}

size_t dormant_count(const struct dormant *dormant, uint64_t hash,
		     enum dormant_kind kind)
{
	const struct dormant_line *line = find(dormant, hash);

	return line ? count_of(line, kind) : 0;
}

bool dormant_before(const struct dormant *dormant, uint64_t hash,
		    uint64_t sequence, uint32_t index)
{
	const struct dormant_line *line = find(dormant, hash);

	return line && first_waiting(line) < sleepers_key(sequence, index);
}

static size_t sequences(const struct dormant_line *line, enum dormant_kind kind,
			uint64_t *out, size_t max)
{
	size_t count = count_of(line, kind);

	if (count > max)
		count = max;
	for (size_t i = 0; i < count; i++)
		out[i] = sleepers_sequence(key_at(line, kind, i));
	return count;
}

size_t dormant_sequences(const struct dormant *dormant, uint64_t hash,
			 enum dormant_kind kind, uint64_t *out, size_t max)
{
	const struct dormant_line *line = find(dormant, hash);

	return line ? sequences(line, kind, out, max) : 0;
}

int64_t dormant_due_ms(const struct dormant *dormant, uint64_t hash)
{
	const struct dormant_line *line = find(dormant, hash);

	return line ? line->due_ms : 0;
}

void dormant_set_due(struct dormant *dormant, uint64_t hash, int64_t due_ms)
{
	struct dormant_line *line = find(dormant, hash);

	if (line)
		line->due_ms = due_ms;
}

/* The heap of those that are called: by time, then the older first. */

static bool is_sooner(const struct dormant *dormant, uint32_t a, uint32_t b)
{
	const struct dormant_line *one = &dormant->lines[a];
	const struct dormant_line *other = &dormant->lines[b];

	if (one->due_ms != other->due_ms)
		return one->due_ms < other->due_ms;
	return first_waiting(one) < first_waiting(other);
}

static void heap_set(struct dormant *dormant, size_t at, uint32_t place)
{
	dormant->called[at] = place;
	dormant->lines[place].call = (uint32_t)at + 1;
}

static void heap_up(struct dormant *dormant, size_t at)
{
	uint32_t place = dormant->called[at];

	while (at > 0 &&
	       is_sooner(dormant, place, dormant->called[(at - 1) / 2])) {
		heap_set(dormant, at, dormant->called[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_set(dormant, at, place);
}

static void heap_down(struct dormant *dormant, size_t at)
{
	uint32_t place = dormant->called[at];

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= dormant->called_count)
			break;
		if (child + 1 < dormant->called_count &&
		    is_sooner(dormant, dormant->called[child + 1],
			      dormant->called[child]))
			child++;
		if (!is_sooner(dormant, dormant->called[child], place))
			break;
		heap_set(dormant, at, dormant->called[child]);
		at = child;
	}
	heap_set(dormant, at, place);
}

void dormant_call(struct dormant *dormant, uint64_t hash)
{
	struct dormant_line *line = find(dormant, hash);

	if (!line || line->call || count_of(line, DORMANT_WAITING) == 0)
		return;
	dormant->called[dormant->called_count++] =
		(uint32_t)(line - dormant->lines);
	heap_up(dormant, dormant->called_count - 1);
}

void dormant_uncall(struct dormant *dormant, uint64_t hash)
{
	struct dormant_line *line = find(dormant, hash);
	uint32_t last;
	size_t at;

	if (!line || !line->call)
		return;
	at = line->call - 1;
	line->call = 0;
	last = dormant->called[--dormant->called_count];
	if (at == dormant->called_count)
		return;
	heap_set(dormant, at, last);
	heap_up(dormant, at);
	heap_down(dormant, dormant->lines[last].call - 1);
}

int64_t dormant_next_ms(const struct dormant *dormant)
{
	return dormant->called_count > 0 ?
		       dormant->lines[dormant->called[0]].due_ms :
		       INT64_MAX;
}

/* Down the heap from its top, level by level: nothing below one that is not
 * due is due. */
size_t dormant_due(const struct dormant *dormant, int64_t now_ms, uint64_t *out,
		   size_t max)
{
	uint32_t *at = mem_alloc((max + 1) * sizeof(*at));
	size_t seen = 0, count = 0;

	if (dormant_next_ms(dormant) <= now_ms && max > 0)
		at[seen++] = 0;
	for (size_t i = 0; i < seen && count < max; i++) {
		size_t child = 2 * (size_t)at[i] + 1;

		for (size_t end = child + 2;
		     child < end && child < dormant->called_count && seen < max;
		     child++)
			if (dormant->lines[dormant->called[child]].due_ms <=
			    now_ms)
				at[seen++] = (uint32_t)child;
		count += sequences(&dormant->lines[dormant->called[at[i]]],
				   DORMANT_WAITING, out + count,
				   max - count < WAKE_EACH ? max - count :
							     WAKE_EACH);
	}
	free(at);
	return count;
}

void dormant_all_due(struct dormant *dormant)
{
	for (size_t i = 0; i < dormant->count; i++)
		dormant->lines[i].due_ms = 0;
	for (size_t i = dormant->called_count / 2; i-- > 0;)
		heap_down(dormant, i);
}

int64_t dormant_oldest_ms(struct dormant *dormant)
{
	if (!dormant->oldest_known && dormant->count > 0) {
		dormant->oldest_s = UINT32_MAX;
		for (size_t i = 0; i < dormant->count; i++)
			if (dormant->lines[i].oldest_s < dormant->oldest_s)
				dormant->oldest_s = dormant->lines[i].oldest_s;
		dormant->oldest_known = true;
	}
	return dormant->count > 0 ? (int64_t)dormant->oldest_s * SECOND_MS : 0;
}
