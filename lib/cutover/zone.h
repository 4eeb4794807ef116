/*
 * zone.h - how far a place's clocks are ahead of UTC, and from when on
 *
 * A list of changes, made where the names of zones are known and kept with what
 * depends on it: whoever reads it later needs no time zones of its own, and
 * sees what was meant.  What is not told changes no more.  Pure.
 */
#ifndef CUTOVER_ZONE_H
#define CUTOVER_ZONE_H

#include "base/err.h"
#include "base/json.h"

enum {
	ZONE_CHANGES = 64
};

struct zone {
	char *name; /* NULL: it is UTC */
	struct zone_change {
		int64_t from_ms;
		int64_t ahead_ms;
	} at[ZONE_CHANGES];
	size_t count;
};

/* What a clock there shows, as if it were UTC. */
int64_t zone_local_ms(const struct zone *zone, int64_t utc_ms);
/* The moment at which a clock there shows this; what it shows twice is the
 * first of both, what it never shows the moment that it jumps over it. */
int64_t zone_utc_ms(const struct zone *zone, int64_t local_ms);

/* {"zone": name, "changes": [{"from", "ahead_ms"}]}, into and out of `json`;
 * -1 with err when the changes are none. */
void zone_put(const struct zone *zone, struct json *json);
int zone_get(struct zone *zone, const struct json *json, struct err *err);
void zone_copy(struct zone *zone, const struct zone *from);
void zone_release(struct zone *zone);

#endif
