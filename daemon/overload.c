#include "daemon/overload.h"

/* What an answer may take on the way back, and the time of a step. */
static int64_t quarter_ms(const struct overload *overload)
{
	return overload->most_ms / 4;
}

void overload_init(struct overload *overload, int64_t most_ms)
{
	*overload = (struct overload){
		.most_ms = most_ms,
		.bound = SIZE_MAX,
	};
}

/* By so much that it is over in four times `most_ms`. */
static bool becomes_less(const struct overload *overload, size_t waiting)
{
	return waiting < overload->waiting - overload->waiting / 16;
}

static void widen(struct overload *overload, size_t largest)
{
	/* The largest may have left meanwhile. */
	overload->bound =
		(largest < overload->bound ? largest : overload->bound) / 2;
	overload->on = true;
}

static void narrow(struct overload *overload, size_t largest)
{
	overload->bound = overload->bound ? overload->bound * 2 : 1;
	overload->on = overload->bound < largest;
	if (!overload->on)
		overload->bound = SIZE_MAX;
}

bool overload_look(struct overload *overload, int64_t answer_ms, size_t waiting,
		   size_t largest, int64_t now_ms)
{
	bool was_on = overload->on;

	if (overload->most_ms == 0 ||
	    (was_on && now_ms - overload->judged_ms < quarter_ms(overload)))
		return false;
	if (answer_ms >= overload->most_ms &&
	    !(was_on && becomes_less(overload, waiting)))
		widen(overload, largest);
	else if (was_on && answer_ms <= quarter_ms(overload))
		narrow(overload, largest);
	overload->judged_ms = now_ms;
	overload->waiting = waiting;
	return overload->on != was_on;
}
