/*
 * sleepers.h - envelopes of a line that are known and not in memory
 *
 * Which they are, in order: 8 bytes each, where one in memory takes hundreds.
 * NULL is the empty set.  Pure.
 */
#ifndef DAEMON_SLEEPERS_H
#define DAEMON_SLEEPERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sleepers;

/* An envelope as one number, in the order of lines; its sequence is below
 * 2^52, so that two bits are left. */
uint64_t sleepers_key(uint64_t sequence, uint32_t index);
uint64_t sleepers_sequence(uint64_t key);

/* One that is not among them. */
void sleepers_add(struct sleepers **sleepers, uint64_t key);
/* False: it is none of them.  NULL again without the last. */
bool sleepers_take(struct sleepers **sleepers, uint64_t key);
size_t sleepers_count(const struct sleepers *sleepers);
/* The i-th. */
uint64_t sleepers_at(const struct sleepers *sleepers, size_t i);

#endif
