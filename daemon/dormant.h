/*
 * dormant.h - lines of a domain that sleep, or whose end does
 *
 * A line is known by the hash of its mailbox, and costs about 45 bytes while
 * one envelope of it sleeps, 8 more for each other: a million mailboxes that
 * wait fit beside what moves.  Two mailboxes of the same hash would wait for
 * each other, and nothing worse.
 *
 * A line that is called is to wake by itself when it is due.  One that is not
 * belongs to a mailbox in memory, which knows when it needs it, or is held.
 * Pure.
 */
#ifndef DAEMON_DORMANT_H
#define DAEMON_DORMANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dormant_kind {
	DORMANT_NONE,
	DORMANT_WAITING,
	DORMANT_HELD,
	DORMANT_HOLDING, /* held with its mailbox */
	DORMANT_KINDS
};

struct dormant_line;

struct dormant {
	struct dormant_line *lines;
	size_t count, cap;
	uint32_t *slots; /* of a hash: place in `lines`, from 1 */
	size_t slot_count;
	uint32_t *called; /* a heap of places in `lines` */
	size_t called_count;
	uint32_t oldest_s;
	bool oldest_known;
};

/* Empty, as a zeroed one is. */
void dormant_release(struct dormant *dormant);

/* One falls asleep, in a line that is not called.  `due_ms`: when it may go,
 * for the first of those that wait. */
void dormant_add(struct dormant *dormant, uint64_t hash, enum dormant_kind kind,
		 uint64_t sequence, uint32_t index, int64_t due_ms,
		 int64_t accepted_ms);
/* One wakes up; DORMANT_NONE: it does not sleep.  `due_ms` as above, else 0. */
enum dormant_kind dormant_take(struct dormant *dormant, uint64_t hash,
			       uint64_t sequence, uint32_t index,
			       int64_t accepted_ms, int64_t *due_ms);

size_t dormant_count(const struct dormant *dormant, uint64_t hash,
		     enum dormant_kind kind);
/* Whether one that waits in there is before this one. */
bool dormant_before(const struct dormant *dormant, uint64_t hash,
		    uint64_t sequence, uint32_t index);
/* Sequences of a kind, the first `max`; how many. */
size_t dormant_sequences(const struct dormant *dormant, uint64_t hash,
			 enum dormant_kind kind, uint64_t *sequences,
			 size_t max);
/* When the first that waits in there may go; 0: now. */
int64_t dormant_due_ms(const struct dormant *dormant, uint64_t hash);
void dormant_set_due(struct dormant *dormant, uint64_t hash, int64_t due_ms);

/* Calls a line in which something waits; nothing for one that is called. */
void dormant_call(struct dormant *dormant, uint64_t hash);
void dormant_uncall(struct dormant *dormant, uint64_t hash);
/* When the first of those that are called is due; INT64_MAX: none is. */
int64_t dormant_next_ms(const struct dormant *dormant);
/* Sequences of those that are due by then, a few of each line, at most `max`;
 * how many. */
size_t dormant_due(const struct dormant *dormant, int64_t now_ms,
		   uint64_t *sequences, size_t max);
/* All lines may go now. */
void dormant_all_due(struct dormant *dormant);

/* No envelope of it was accepted before (wall); 0: there is none. */
int64_t dormant_oldest_ms(struct dormant *dormant);

#endif
