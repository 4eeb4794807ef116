#include "cutover/zone.h"
#include "base/clock.h"
#include <stdlib.h>

#define AHEAD_MAX_MS ((int64_t)26 * 3600 * 1000)

static int64_t ahead(const struct zone *zone, int64_t utc_ms)
{
	size_t i = zone->count;

	while (i > 1 && zone->at[i - 1].from_ms > utc_ms)
		i--;
	return i > 0 ? zone->at[i - 1].ahead_ms : 0;
}

int64_t zone_local_ms(const struct zone *zone, int64_t utc_ms)
{
	return utc_ms + ahead(zone, utc_ms);
}

int64_t zone_utc_ms(const struct zone *zone, int64_t local_ms)
{
	int64_t earliest = 0;

	if (zone->count == 0)
		return local_ms;
	/* From the first change on: the first moment that is late enough. */
	for (size_t i = 0; i < zone->count; i++) {
		int64_t utc = local_ms - zone->at[i].ahead_ms;

		if (i > 0 && utc < zone->at[i].from_ms)
			utc = zone->at[i].from_ms;
		if (i == zone->count - 1 || utc < zone->at[i + 1].from_ms) {
			earliest = utc;
			break;
		}
	}
	return earliest;
}

void zone_put(const struct zone *zone, struct json *json)
{
	struct json *changes = json_array();

	json_put_text(json, "zone", zone->name);
	for (size_t i = 0; i < zone->count; i++) {
		struct json *one = json_object();

		json_put_time(one, "from", zone->at[i].from_ms);
		json_put_number(one, "ahead_ms", (double)zone->at[i].ahead_ms);
		json_add(changes, one);
	}
	json_put(json, "changes", changes);
}

int zone_get(struct zone *zone, const struct json *json, struct err *err)
{
	const char *name = json_get_text(json, "zone");
	struct zone got = { 0 };

	for (const struct json *one = json_first(json_get(json, "changes"));
	     one; one = json_next(one)) {
		const char *from = json_get_text(one, "from");
		struct zone_change *change = &got.at[got.count];

		if (got.count == ZONE_CHANGES || !from ||
		    clock_parse(slice(from), &change->from_ms, NULL) < 0 ||
		    (got.count > 0 && change->from_ms <= change[-1].from_ms))
			return err_set(err, "changes of the zone: not in order "
					    "of time, or too many");
		change->ahead_ms = (int64_t)json_get_number(one, "ahead_ms", 0);
		if (change->ahead_ms > AHEAD_MAX_MS ||
		    change->ahead_ms < -AHEAD_MAX_MS)
			return err_set(err, "changes of the zone: no clock is "
					    "so far ahead");
		got.count++;
	}
	if (!name != (got.count == 0))
		return err_set(err, "a zone needs its name and its changes");
	got.name = mem_dup(name);
	*zone = got;
	return 0;
}

void zone_copy(struct zone *zone, const struct zone *from)
{
	*zone = *from;
	zone->name = mem_dup(from->name);
}

void zone_release(struct zone *zone)
{
	free(zone->name);
	*zone = (struct zone){ 0 };
}
