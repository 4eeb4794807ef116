#include "daemon/volume.h"

enum {
	MINUTE_MS = 60 * 1000,
	HOUR_MS = 60 * MINUTE_MS,
	DAY_MS = VOLUME_HOURS * HOUR_MS
};

/* Never below zero, of whatever a machine that is just up is told of its day
 * before. */
static int64_t hour_of(int64_t mono_ms)
{
	return (mono_ms + DAY_MS) / HOUR_MS;
}

static void advance(struct volume *volume, int64_t mono_ms)
{
	int64_t hour = hour_of(mono_ms);

	for (int i = 0; volume->hour < hour && i < VOLUME_HOURS; i++) {
		volume->hour++;
		volume->bucket[volume->hour % VOLUME_HOURS] = 0;
	}
	if (volume->hour < hour)
		volume->hour = hour; /* all of them are empty */
}

void volume_begin(struct volume *volume, int64_t mono_ms)
{
	*volume = (struct volume){ .hour = hour_of(mono_ms),
				   .begun_ms = mono_ms };
}

void volume_add(struct volume *volume, uint64_t bytes, int64_t mono_ms)
{
	advance(volume, mono_ms);
	volume->bucket[volume->hour % VOLUME_HOURS] += bytes;
}

void volume_remember(struct volume *volume, uint64_t bytes, int64_t age_ms,
		     int64_t mono_ms)
{
	/* Most of an hour of the clock is in one or the other of ours. */
	int64_t hour = hour_of(mono_ms - age_ms + HOUR_MS / 2);

	advance(volume, mono_ms);
	if (hour > volume->hour)
		hour = volume->hour;
	if (age_ms >= 0 && hour > volume->hour - VOLUME_HOURS)
		volume->bucket[hour % VOLUME_HOURS] += bytes;
}

void volume_known(struct volume *volume, int64_t age_ms, int64_t mono_ms)
{
	if (age_ms > DAY_MS)
		age_ms = DAY_MS;
	if (mono_ms - age_ms < volume->begun_ms)
		volume->begun_ms = mono_ms - age_ms;
}

double volume_per_hour(struct volume *volume, int64_t mono_ms)
{
	int64_t known = mono_ms - volume->begun_ms;
	int64_t kept =
		(VOLUME_HOURS - 1) * (int64_t)HOUR_MS + mono_ms % HOUR_MS;
	double sum = 0;

	advance(volume, mono_ms);
	for (int i = 0; i < VOLUME_HOURS; i++)
		sum += (double)volume->bucket[i];
	if (known > kept)
		known = kept;
	if (known < MINUTE_MS)
		known = MINUTE_MS;
	return sum * HOUR_MS / (double)known;
}
