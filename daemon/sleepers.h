/*
 * sleepers.h - envelopes of a line that are known and not in memory
 *
 * Which they are, in order: 8 bytes each, where one in memory takes hundreds.
 * Pure.
 */
#ifndef DAEMON_SLEEPERS_H
#define DAEMON_SLEEPERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sleepers {
	uint64_t *at; /* sequence and index, those from `first` to `end` */
	size_t first, end, cap;
};

void sleepers_release(struct sleepers *sleepers);
/* One that is not among them. */
void sleepers_add(struct sleepers *sleepers, uint64_t sequence, uint32_t index);
/* False: it is none of them. */
bool sleepers_take(struct sleepers *sleepers, uint64_t sequence,
		   uint32_t index);
size_t sleepers_count(const struct sleepers *sleepers);
/* The sequence of the i-th. */
uint64_t sleepers_sequence(const struct sleepers *sleepers, size_t i);
/* Whether the oldest of them is older than this one. */
bool sleepers_before(const struct sleepers *sleepers, uint64_t sequence,
		     uint32_t index);

#endif
