#include "daemon/valve.h"
#include <stdio.h>

const char *valve_state_name(enum valve_state state)
{
	static const char *const names[] = {
		[VALVE_CLOSED] = "closed",
		[VALVE_RAMP] = "ramp",
		[VALVE_OPEN] = "open",
	};

	return names[state];
}

static void set(struct valve *valve, enum valve_state state, const char *what,
		const char *why)
{
	valve->state = state;
	snprintf(valve->reason, sizeof(valve->reason), "%s%s%s", what,
		 why ? ": " : "", why ? why : "");
}

/*
 * Two live systems: a window or the target's health closes the valve, without
 * a ramp.  False: neither does.
 */
static bool standby_closes(const struct valve_facts *facts, struct valve *valve)
{
	if (facts->window)
		set(valve, VALVE_CLOSED, "planned maintenance", facts->window);
	else if (!facts->healthy)
		set(valve, VALVE_CLOSED, "the target is not healthy",
		    facts->health);
	return facts->window || !facts->healthy;
}

static void standby(const struct valve_facts *facts, struct valve *valve)
{
	if (!standby_closes(facts, valve))
		set(valve, VALVE_OPEN, "the target is healthy", NULL);
}

static void release(const struct valve_facts *facts, struct valve *valve,
		    const char *what)
{
	if (facts->strategy == STRATEGY_STANDBY && standby_closes(facts, valve))
		return;
	if (facts->ramp_left)
		set(valve, VALVE_RAMP, what, "in stages");
	else
		set(valve, VALVE_OPEN, what, NULL);
}

void valve_decide(const struct valve_facts *facts, struct valve *valve)
{
	if (facts->broken) {
		set(valve, VALVE_CLOSED, "the spool cannot write",
		    facts->broken);
		return;
	}
	if (facts->paused) {
		set(valve, VALVE_CLOSED, "paused by an operator",
		    facts->paused);
		return;
	}
	if (facts->breaker) {
		set(valve, VALVE_CLOSED, "the breaker closed", facts->breaker);
		return;
	}
	switch (facts->phase) {
	case PHASE_PLANNED:
		set(valve, VALVE_CLOSED, "the plan has not started", NULL);
		break;
	case PHASE_OPENING:
		set(valve, VALVE_CLOSED, "the gate start is not passed", NULL);
		break;
	case PHASE_HOLDING:
		if (facts->strategy == STRATEGY_PARK)
			set(valve, VALVE_CLOSED, "holding",
			    "parked until "
			    "finish or rollback");
		else
			standby(facts, valve);
		break;
	case PHASE_RELEASING:
		release(facts, valve, "releasing to the new system");
		break;
	case PHASE_RETURNING:
		release(facts, valve, "returning to the old system");
		break;
	case PHASE_TRAILING:
	case PHASE_RETURNED:
		if (facts->strategy == STRATEGY_STANDBY)
			standby(facts, valve);
		else
			set(valve, VALVE_OPEN, "the queue is released", NULL);
		break;
	case PHASE_STANDING:
		standby(facts, valve);
		break;
	case PHASE_FINISHED:
		set(valve, VALVE_CLOSED, "the plan is finished", NULL);
		break;
	}
}
