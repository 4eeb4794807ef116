#include "daemon/health.h"
#include "base/clock.h"
#include <stdio.h>

bool health_seen(struct health *health, const char *error, int64_t wall_ms,
		 int64_t mono_ms)
{
	enum health_state now = error ? HEALTH_UNHEALTHY : HEALTH_HEALTHY;

	health->seen_ms = wall_ms;
	if (error)
		snprintf(health->error, sizeof(health->error), "%s", error);
	if (now == health->state)
		return false;
	health->state = now;
	health->since_ms = wall_ms;
	health->since_mono_ms = mono_ms;
	return true;
}

bool health_recovered(const struct health *health, int64_t recover_after_ms,
		      int64_t mono_ms)
{
	return health->state == HEALTH_HEALTHY &&
	       mono_ms - health->since_mono_ms >= recover_after_ms;
}

const char *health_name(enum health_state state)
{
	static const char *const names[] = {
		[HEALTH_UNKNOWN] = "unknown",
		[HEALTH_HEALTHY] = "healthy",
		[HEALTH_UNHEALTHY] = "unhealthy",
	};

	return names[state];
}

void health_describe(const struct health *health, const char *of,
		     int64_t recover_after_ms, int64_t mono_ms, char *text,
		     size_t size)
{
	char is[CLOCK_TEXT], wants[CLOCK_TEXT];

	switch (health->state) {
	case HEALTH_UNKNOWN:
		snprintf(text, size, "%s%s%s", of,
			 health->error[0] ? ": " : " was not probed yet",
			 health->error);
		break;
	case HEALTH_UNHEALTHY:
		snprintf(text, size, "%s: %s", of, health->error);
		break;
	case HEALTH_HEALTHY:
		clock_format_duration(mono_ms - health->since_mono_ms, is);
		clock_format_duration(recover_after_ms, wants);
		snprintf(text, size, "%s healthy for %s of %s%s%s", of, is,
			 wants, health->error[0] ? "; before: " : "",
			 health->error);
		break;
	}
}

struct json *health_json(const struct health *health, const char *of)
{
	struct json *json = json_object();

	json_put_text(json, "target", of);
	json_put_text(json, "state", health_name(health->state));
	json_put_time(json, "since", health->since_ms);
	json_put_text(json, "last_error",
		      health->error[0] ? health->error : NULL);
	json_put_time(json, "last_probe", health->seen_ms);
	return json;
}
