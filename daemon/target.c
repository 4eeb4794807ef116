#include "daemon/target.h"
#include "base/clock.h"
#include <stdio.h>
#include <stdlib.h>

void target_init(struct target *target, const struct plan_system *system)
{
	*target = (struct target){ .port = system->deliver_port,
				   .provider = system->provider };
	target->host = mem_dup(plan_deliver_host(system));
	target->name = mem_printf("%s:%d", target->host, target->port);
}

void target_release(struct target *target)
{
	free(target->host);
	free(target->name);
	*target = (struct target){ 0 };
}

bool target_seen(struct target *target, bool healthy, const char *error,
		 int64_t wall_ms, int64_t mono_ms)
{
	enum health now = healthy ? HEALTH_HEALTHY : HEALTH_UNHEALTHY;

	target->probed_ms = wall_ms;
	if (!healthy)
		snprintf(target->error, sizeof(target->error), "%s",
			 error ? error : "");
	if (now == target->health)
		return false;
	target->health = now;
	target->since_ms = wall_ms;
	target->since_mono_ms = mono_ms;
	return true;
}

bool target_recovered(const struct target *target, int64_t recover_after_ms,
		      int64_t mono_ms)
{
	return target->health == HEALTH_HEALTHY &&
	       mono_ms - target->since_mono_ms >= recover_after_ms;
}

const char *health_name(enum health health)
{
	static const char *const names[] = {
		[HEALTH_UNKNOWN] = "unknown",
		[HEALTH_HEALTHY] = "healthy",
		[HEALTH_UNHEALTHY] = "unhealthy",
	};

	return names[health];
}

void target_describe(const struct target *target, int64_t recover_after_ms,
		     int64_t mono_ms, char *text, size_t size)
{
	char is[CLOCK_TEXT], wants[CLOCK_TEXT];

	switch (target->health) {
	case HEALTH_UNKNOWN:
		snprintf(text, size, "%s was not probed yet", target->name);
		break;
	case HEALTH_UNHEALTHY:
		snprintf(text, size, "%s: %s", target->name, target->error);
		break;
	case HEALTH_HEALTHY:
		clock_format_duration(mono_ms - target->since_mono_ms, is);
		clock_format_duration(recover_after_ms, wants);
		snprintf(text, size, "%s healthy for %s of %s%s%s",
			 target->name, is, wants,
			 target->error[0] ? "; before: " : "", target->error);
		break;
	}
}

struct json *target_json(const struct target *target)
{
	struct json *json = json_object();

	json_put_text(json, "target", target->name);
	json_put_text(json, "state", health_name(target->health));
	json_put_time(json, "since", target->since_ms);
	json_put_text(json, "last_error",
		      target->error[0] ? target->error : NULL);
	json_put_time(json, "last_probe", target->probed_ms);
	return json;
}
