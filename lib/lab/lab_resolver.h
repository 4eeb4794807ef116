/*
 * lab_resolver.h - a caching resolver, for rehearsals and tests
 *
 * Forwards what it does not know to one authority (lab_dns) and keeps the
 * answer for its TTL, a negative one for its SOA minimum.  Answers carry RA and
 * the TTL that remains, never AA.  `min_ttl_ms` makes it stubborn, as about one
 * resolver in eleven is: no answer is kept for less.
 *
 * Each has its own cache, so several of them see a change at different times.
 */
#ifndef LAB_LAB_RESOLVER_H
#define LAB_LAB_RESOLVER_H

#include "net/addr.h"
#include "net/loop.h"

struct lab_resolver;

/* `listen` with port 0 takes a free port: see lab_resolver_addr(). */
struct lab_resolver *lab_resolver_new(struct loop *loop,
				      const struct addr *listen,
				      const struct addr *authority,
				      int64_t min_ttl_ms, struct err *err);
void lab_resolver_free(struct lab_resolver *lab); /* NULL is fine */
const struct addr *lab_resolver_addr(const struct lab_resolver *lab);
void lab_resolver_flush(struct lab_resolver *lab);
/* Queries answered from the cache, and those that went to the authority. */
size_t lab_resolver_hits(const struct lab_resolver *lab);
size_t lab_resolver_misses(const struct lab_resolver *lab);

#endif
