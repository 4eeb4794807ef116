#include "daemon/pace.h"

enum {
	QUIET_MIN_MS = 500,
	QUIET_MAX_MS = 60000,
	NARROW_EVERY_MS = 1000,
	SECOND_MS = 1000,
	MINUTE_MS = 60000,
	MANY = 5, /* deferrals in a second: it is the rate */
	RATE_MOST = 10000
};

/* Of the rate: below what was borne, after a deferral, and the growth of a calm
 * second, which doubles with each ten that were calm before. */
#define RATE_BORNE  0.98
#define RATE_LESS   0.97
#define RATE_GROWTH 0.01

/* Slow: so many times the quickest, and a second.  Then the flight is so much
 * of itself, and each minute this part. */
#define SLOW_TIMES  3
#define SLOW_NARROW 0.75
#define SLOW_SHRINK 8

void pace_init(struct pace *pace, int start, int most)
{
	*pace = (struct pace){ .flight = start < most ? start : most,
			       .most = most,
			       .slow_start = true };
}

/* The end of a second. */
static void judge_rate(struct pace *pace, int64_t now_ms)
{
	double seconds = (double)(now_ms - pace->second_ms) / SECOND_MS;
	double borne = pace->accepted / seconds;
	unsigned all = pace->accepted + pace->deferred;

	if (pace->accepted > 0 &&
	    (pace->deferred >= MANY ||
	     (pace->rate > 0 && pace->deferred * 10 > all)))
		pace->rate = borne * RATE_BORNE;
	else if (pace->deferred > 0)
		pace->rate *= RATE_LESS;
	else if (borne * 2 > pace->rate)
		/* It was made use of. */
		pace->rate *=
			1 +
			RATE_GROWTH * (1 + (double)(now_ms - pace->calm_ms) /
						   (10 * SECOND_MS));
	if (pace->deferred > 0)
		pace->calm_ms = now_ms;
	if (pace->rate > RATE_MOST)
		pace->rate = 0;
}

static void turn_second(struct pace *pace, int64_t now_ms)
{
	if (now_ms - pace->second_ms < SECOND_MS)
		return;
	judge_rate(pace, now_ms);
	pace->second_ms = now_ms;
	pace->accepted = pace->deferred = 0;
}

bool pace_may(const struct pace *pace, int64_t now_ms)
{
	return now_ms >= pace->quiet_until_ms &&
	       pace->in_flight < (int)pace->flight &&
	       (pace->rate == 0 || (double)now_ms >= pace->next_ms);
}

bool pace_may_follow(const struct pace *pace, int64_t now_ms)
{
	return now_ms >= pace->quiet_until_ms &&
	       pace->in_flight == (int)pace->flight && pace->rate == 0;
}

void pace_begin(struct pace *pace, int64_t now_ms)
{
	double apart = pace->rate > 0 ? SECOND_MS / pace->rate : 0;

	pace->in_flight++;
	/* Late by one is caught up with, idle time is not. */
	if (pace->next_ms < (double)now_ms - apart)
		pace->next_ms = (double)now_ms - apart;
	pace->next_ms += apart;
}

static int64_t quickest(const struct pace *pace)
{
	int64_t now = pace->quickest_ms, before = pace->quickest_before_ms;

	return before > 0 && before < now ? before : now;
}

/* What is quickest shows in a short flight alone: one that was slow shrinks
 * now and then, or it would get used to its own weight. */
static void turn_minute(struct pace *pace, int64_t now_ms)
{
	if (now_ms - pace->minute_ms < MINUTE_MS)
		return;
	pace->minute_ms = now_ms;
	pace->quickest_before_ms = pace->quickest_ms;
	pace->quickest_ms = 0;
	if (pace->was_slow)
		pace->flight = pace->flight / SLOW_SHRINK + 1;
	pace->was_slow = false;
}

/* True if it takes much longer than it could. */
static bool is_slow(struct pace *pace, int64_t now_ms, int64_t took_ms)
{
	turn_minute(pace, now_ms);
	if (pace->quickest_ms == 0 || took_ms < pace->quickest_ms)
		pace->quickest_ms = took_ms;
	pace->usual_ms += ((double)took_ms - pace->usual_ms) / 8;
	return pace->usual_ms >
	       (double)(SLOW_TIMES * quickest(pace) + SECOND_MS);
}

/* Not before what went out since then shows in what is usual. */
static void narrow_slowly(struct pace *pace, int64_t now_ms)
{
	pace->slow_start = false;
	pace->was_slow = true;
	if ((double)(now_ms - pace->narrowed_ms) < pace->usual_ms)
		return;
	pace->narrowed_ms = now_ms;
	pace->flight *= SLOW_NARROW;
	if (pace->flight < 1)
		pace->flight = 1;
}

void pace_accepted(struct pace *pace, int64_t now_ms, int64_t took_ms)
{
	turn_second(pace, now_ms);
	pace->accepted++;
	pace->in_flight--;
	pace->quiet_ms = 0;
	if (took_ms > 0 && is_slow(pace, now_ms, took_ms)) {
		narrow_slowly(pace, now_ms);
		return;
	}
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
	turn_second(pace, now_ms);
	pace->deferred++;
	pace->in_flight--;
	pace->slow_start = false;
	/* It bears so many in this second: the rest of it is quiet. */
	if (!slow && pace->accepted > 0 && pace->deferred >= MANY) {
		pace->quiet_until_ms = pace->second_ms + SECOND_MS;
		return;
	}
	if (!slow && pace->rate > 0 && pace->deferred < MANY)
		return;
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
	int64_t rated = pace->rate > 0 ? (int64_t)pace->next_ms + 1 : 0;

	if (pace->in_flight >= (int)pace->flight)
		return 0;
	return pace->quiet_until_ms > rated ? pace->quiet_until_ms : rated;
}
