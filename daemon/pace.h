/*
 * pace.h - how hard the replay may push one target
 *
 * A pace is the number of deliveries one target may have in flight.  It grows
 * while the target accepts and narrows at once when the target defers, because
 * a tired MX recovers faster from silence than from retries.  It narrows as
 * well when deliveries take much longer than the quickest of the last minutes:
 * what the target cannot do at once waits in there, and would be deferred next.
 * A target that always takes its time is not slower than itself.
 *
 * A target that bears so many a second, and answers at once, is too fast for a
 * flight of one.  One that accepts some and defers others in the same second
 * shows what it bears: that is the rate from then on, a little less after each
 * second with a deferral, a little more after each without, and faster the
 * longer that lasts.
 *
 * Pure arithmetic: no clock, no sockets, no allocation.  The caller passes the
 * time.
 */
#ifndef DAEMON_PACE_H
#define DAEMON_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
	double flight; /* may be in flight at once */
	double most;
	int in_flight;
	bool slow_start;	/* doubling until the first deferral */
	int64_t quiet_until_ms; /* nothing goes before */
	int64_t quiet_ms;	/* the last pause, doubled by the next */
	int64_t narrowed_ms;	/* at most one halving per second */
	double usual_ms;	/* a delivery takes, lately */
	bool was_slow;		/* this minute */
	int64_t quickest_ms, quickest_before_ms; /* this minute, the last */
	int64_t minute_ms;
	double rate;	   /* learned, per second; 0: none */
	double next_ms;	   /* the next may begin then, by the rate */
	int64_t calm_ms;   /* the last second with a deferral */
	int64_t second_ms; /* this second, and what it brought */
	unsigned accepted, deferred;
};

void pace_init(struct pace *pace, int start, int most);
/* True if one more delivery may begin now. */
bool pace_may(const struct pace *pace, int64_t now_ms);
/* True if the flight is full, and nothing but an end is waited for: the next
 * delivery may be announced where one of these ends. */
bool pace_may_follow(const struct pace *pace, int64_t now_ms);
void pace_begin(struct pace *pace, int64_t now_ms);
/* One delivery is over: accepted, or refused for a reason that is not the
 * target's pace.  `took_ms` from its begin, 0: it says nothing (a large body). */
void pace_accepted(struct pace *pace, int64_t now_ms, int64_t took_ms);
void pace_neutral(struct pace *pace);
/* It was deferred; `slow`: the provider asked for much less. */
void pace_deferred(struct pace *pace, int64_t now_ms, bool slow);
/* Somebody opened the way again: no pause is waited for; what was learned of
 * the flight stays. */
void pace_again(struct pace *pace);
/* When pace_may() can become true by time alone; 0: now or by an end. */
int64_t pace_wake_ms(const struct pace *pace);

#endif
