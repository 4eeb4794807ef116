/*
 * health.h - whether something is well, since when, and why it was not
 *
 * With hysteresis: one failure makes it unhealthy, and only `recover_after` of
 * nothing but good news make it count as recovered.  Pure but for the text it
 * keeps.
 */
#ifndef DAEMON_HEALTH_H
#define DAEMON_HEALTH_H

#include "base/json.h"

enum health_state {
	HEALTH_UNKNOWN,
	HEALTH_HEALTHY,
	HEALTH_UNHEALTHY
};

struct health {
	enum health_state state;
	int64_t since_ms; /* wall: in this state */
	int64_t since_mono_ms;
	int64_t seen_ms; /* wall: last news of it */
	char error[400]; /* the last failure; unknown: what is waited for */
};

/* Somebody looked; `error` NULL: it is well.  True if the state changed. */
bool health_seen(struct health *health, const char *error, int64_t wall_ms,
		 int64_t mono_ms);
/* Healthy for at least `recover_after_ms` by the monotonic clock. */
bool health_recovered(const struct health *health, int64_t recover_after_ms,
		      int64_t mono_ms);
const char *health_name(enum health_state state);
/* "mx:25 healthy for 12s of 1m 00s", "mx:25: connection refused": why a valve
 * is shut. */
void health_describe(const struct health *health, const char *of,
		     int64_t recover_after_ms, int64_t mono_ms, char *text,
		     size_t size);
struct json *health_json(const struct health *health, const char *of);

#endif
