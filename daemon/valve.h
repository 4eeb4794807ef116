/*
 * valve.h - whether a domain's mail may go to its target now, and why
 *
 * Pure: a function of what is known, whose truth table is a test.  Closed wins
 * over ramp, ramp over open.  Acceptance never depends on it.
 */
#ifndef DAEMON_VALVE_H
#define DAEMON_VALVE_H

#include "cutover/phase.h"

enum valve_state {
	VALVE_CLOSED,
	VALVE_RAMP,
	VALVE_OPEN
};

struct valve_facts {
	enum phase phase;
	enum plan_strategy strategy;
	bool plain;
	const char *broken;  /* the spool cannot write: why; or NULL */
	const char *paused;  /* an operator's reason, or NULL */
	const char *breaker; /* why the breaker closed, or NULL */
	const char *window;  /* the active one in words, or NULL */
	bool healthy;	     /* the target, for at least recover_after */
	const char *health;  /* in words, for the reason */
	bool ramp_left;	     /* stages of the ramp are still to pass */
};

struct valve {
	enum valve_state state;
	char reason[256];
};

const char *valve_state_name(enum valve_state state);
void valve_decide(const struct valve_facts *facts, struct valve *valve);

#endif
