/*
 * clock.h - times and durations
 *
 * Times are milliseconds in an int64_t: `_ms` since 1970 (wall), or since some
 * start that only differences know (mono, boot).  Pure code is given the time
 * and never asks.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/err.h"
#include "base/slice.h"
#include <time.h>

int64_t clock_wall_ms(void);
int64_t clock_mono_ms(void);
/* So many microseconds from now, for a condition that waits on
 * CLOCK_MONOTONIC (pthread_cond_timedwait(3)). */
struct timespec clock_mono_after(int64_t us);
/* CLOCK_BOOTTIME: goes on while suspended, never steps. */
int64_t clock_boot_ms(void);

/*
 * How far the wall clock may be off, as the kernel knows it from whatever
 * disciplines it (chrony, ntpd, systemd-timesyncd, the host): its maximum error,
 * adjtimex(2).  -1 with err: nothing disciplines it, or it may not be asked.
 */
int clock_error_ms(int64_t *error_ms, struct err *err);

#define CLOCK_TEXT 40
/* RFC 3339, UTC, to the second: "2026-12-05T22:00:00Z". */
const char *clock_format(int64_t wall_ms, char text[CLOCK_TEXT]);
/* The same with milliseconds. */
const char *clock_format_ms(int64_t wall_ms, char text[CLOCK_TEXT]);
/* RFC 5322 date-time, UTC: "Sat, 05 Dec 2026 22:00:00 +0000". */
const char *clock_format_mail(int64_t wall_ms, char text[CLOCK_TEXT]);
/* RFC 3339 with "Z" or an offset. */
int clock_parse(struct slice text, int64_t *wall_ms, struct err *err);
/* "250ms", "60s", "15m", "72h", "30d"; a unit is required. */
int clock_parse_duration(struct slice text, int64_t *ms, struct err *err);
/* "1h 04m 05s", "3d 2h", "12s", "850ms": for people. */
const char *clock_format_duration(int64_t ms, char text[CLOCK_TEXT]);

#endif
