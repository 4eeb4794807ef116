/*
 * volume.h - how many bytes an hour, over the last day
 *
 * Pure: the caller passes the monotonic time.
 */
#ifndef DAEMON_VOLUME_H
#define DAEMON_VOLUME_H

#include <stdint.h>

enum {
	VOLUME_HOURS = 24
};

struct volume {
	uint64_t bucket[VOLUME_HOURS];
	int64_t hour; /* of the newest bucket */
	int64_t begun_ms;
};

void volume_begin(struct volume *volume, int64_t mono_ms);
/* From before: what came in an hour that began so long ago... */
void volume_remember(struct volume *volume, uint64_t bytes, int64_t age_ms,
		     int64_t mono_ms);
/* ... and that what came is known for so long; longer than a day is a day. */
void volume_known(struct volume *volume, int64_t age_ms, int64_t mono_ms);
void volume_add(struct volume *volume, uint64_t bytes, int64_t mono_ms);
/* Of the last 23 hours and the one under way, or since the beginning. */
double volume_per_hour(struct volume *volume, int64_t mono_ms);

#endif
