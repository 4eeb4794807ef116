/*
 * phase.h - the phases of a plan and the rules between them
 *
 * Pure: a table that can be read beside the manual.  Who changes a phase
 * journals it first (journal.h).
 */
#ifndef CUTOVER_PHASE_H
#define CUTOVER_PHASE_H

#include "base/err.h"
#include "plan/plan.h"

enum phase {
	PHASE_PLANNED,
	PHASE_OPENING,
	PHASE_HOLDING,
	PHASE_RELEASING,
	PHASE_TRAILING,
	PHASE_RETURNING,
	PHASE_RETURNED,
	PHASE_STANDING,
	PHASE_FINISHED
};
#define PHASE_COUNT 9

const char *phase_name(enum phase phase);
bool phase_parse(const char *name, enum phase *phase);
/* 0 if the plan may go from one to the other; else why not. */
int phase_may_enter(enum phase from, enum phase to, const struct plan *plan,
		    struct err *err);
/* RCPT for the plan's domains is answered 250 in this phase (else 451). */
bool phase_accepts(enum phase phase);
/* Which system the queue's mail goes to in this phase. */
enum plan_system_id phase_target(enum phase phase, const struct plan *plan);
/* The phase that ends a wait for `wanted`: it, or any that comes after it. */
bool phase_reached(enum phase now, enum phase wanted);

#endif
