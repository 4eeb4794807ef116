/*
 * target.h - a mail system as the daemon sees it: where, and is it healthy
 *
 * Health has hysteresis: one failure makes it unhealthy, and only
 * `recover_after` of nothing but good probes make it count as recovered.  Pure
 * but for the texts it keeps.
 */
#ifndef DAEMON_TARGET_H
#define DAEMON_TARGET_H

#include "base/json.h"
#include "plan/plan.h"

enum health {
	HEALTH_UNKNOWN,
	HEALTH_HEALTHY,
	HEALTH_UNHEALTHY
};

struct target {
	char *host;
	int port;
	char *name; /* "host:port" */
	const struct provider *provider;
	enum health health;
	int64_t since_ms; /* wall: in this state */
	int64_t since_mono_ms;
	int64_t probed_ms; /* wall: last probe's end */
	char error[256];   /* the last failure */
};

void target_init(struct target *target, const struct plan_system *system);
void target_release(struct target *target);
/* A probe or a delivery showed it; true if the health changed. */
bool target_seen(struct target *target, bool healthy, const char *error,
		 int64_t wall_ms, int64_t mono_ms);
/* Healthy for at least `recover_after_ms` by the monotonic clock. */
bool target_recovered(const struct target *target, int64_t recover_after_ms,
		      int64_t mono_ms);
const char *health_name(enum health health);
/* "healthy for 12 s of 60 s", "connection refused": why a valve is shut. */
void target_describe(const struct target *target, int64_t recover_after_ms,
		     int64_t mono_ms, char *text, size_t size);
struct json *target_json(const struct target *target);

#endif
