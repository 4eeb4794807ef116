#include "daemon/pace.h"

enum {
	QUIET_MIN_MS = 500,
	QUIET_MAX_MS = 60000,
	NARROW_EVERY_MS = 1000
};

void pace_init(struct pace *pace, int start, int most)
{
	*pace = (struct pace){ .flight = start < most ? start : most,
			       .most = most,
			       .slow_start = true };
}

bool pace_may(const struct pace *pace, int64_t now_ms)
{
	return now_ms >= pace->quiet_until_ms &&
	       pace->in_flight < (int)pace->flight;
}

void pace_begin(struct pace *pace)
{
	pace->in_flight++;
}

void pace_accepted(struct pace *pace)
{
	pace->in_flight--;
	pace->quiet_ms = 0;
	/* Slow start doubles per round of the flight, later one per round. */
	pace->flight += pace->slow_start ? 1 : 1 / pace->flight;
	if (pace->flight > pace->most)
		pace->flight = pace->most;
}

void pace_neutral(struct pace *pace)
{
	pace->in_flight--;
}

void pace_deferred(struct pace *pace, int64_t now_ms, bool slow)
{
	pace->in_flight--;
	pace->slow_start = false;
	if (now_ms - pace->narrowed_ms < NARROW_EVERY_MS)
		return; /* one bad moment answers many deliveries */
	pace->narrowed_ms = now_ms;
	if (pace->flight > 1 && !slow) {
		pace->flight /= 2;
		if (pace->flight < 1)
			pace->flight = 1;
		return;
	}
	/* One at a time is still too much, or we were told to go away. */
	pace->flight = 1;
	pace->quiet_ms = pace->quiet_ms ? pace->quiet_ms * 2 : QUIET_MIN_MS;
	if (slow)
		pace->quiet_ms *= 10;
	if (pace->quiet_ms > QUIET_MAX_MS)
		pace->quiet_ms = QUIET_MAX_MS;
	pace->quiet_until_ms = now_ms + pace->quiet_ms;
}

void pace_again(struct pace *pace)
{
	pace->quiet_until_ms = pace->quiet_ms = 0;
}

int64_t pace_wake_ms(const struct pace *pace)
{
	return pace->in_flight < (int)pace->flight ? pace->quiet_until_ms : 0;
}
