/*
 * rate.h - how many per minute, over the last minute
 *
 * Pure: the caller passes the monotonic time.
 */
#ifndef DAEMON_RATE_H
#define DAEMON_RATE_H

#include <stdint.h>

enum {
	RATE_SECONDS = 60
};

struct rate {
	uint32_t bucket[RATE_SECONDS];
	int64_t second; /* of the newest bucket */
	int64_t first_ms;
};

void rate_add(struct rate *rate, uint32_t count, int64_t mono_ms);
/* Per minute; scaled up while less than a minute is known. */
double rate_per_minute(struct rate *rate, int64_t mono_ms);

#endif
