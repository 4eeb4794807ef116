#include "cutover/phase.h"

/*
 * `next` are the phases that may follow; `reached_by` those that end a wait
 * for this one: itself, and what can only come after it.  A rollback leaves
 * the way of a release, so returning ends no wait for releasing.
 */
struct rule {
	const char *name;
	unsigned next;
	unsigned reached_by;
	bool accepts;
	enum plan_system_id target;
};

#define FORTH (BIT(PHASE_RELEASING) | BIT(PHASE_TRAILING))
#define BACK  (BIT(PHASE_RETURNING) | BIT(PHASE_RETURNED))
#define END   BIT(PHASE_FINISHED)
#define BEGUN (BIT(PHASE_HOLDING) | FORTH | BACK | END)

static const struct rule rules[PHASE_COUNT] = {
	[PHASE_PLANNED] = {
		"planned", BIT(PHASE_OPENING),
		~0u, false, SYSTEM_OLD,
	},
	[PHASE_OPENING] = {
		"opening", BIT(PHASE_HOLDING) | BIT(PHASE_STANDING) |
			   BIT(PHASE_PLANNED),
		BIT(PHASE_OPENING) | BIT(PHASE_STANDING) | BEGUN,
		true, SYSTEM_OLD,
	},
	[PHASE_HOLDING] = {
		"holding", BIT(PHASE_RELEASING) | BIT(PHASE_RETURNING),
		BEGUN, true, SYSTEM_OLD,
	},
	[PHASE_RELEASING] = {
		"releasing", BIT(PHASE_TRAILING) | BIT(PHASE_RETURNING),
		FORTH | END, true, SYSTEM_NEW,
	},
	[PHASE_TRAILING] = {
		"trailing", BIT(PHASE_FINISHED) | BIT(PHASE_RETURNING),
		BIT(PHASE_TRAILING) | END, true, SYSTEM_NEW,
	},
	[PHASE_RETURNING] = {
		"returning", BIT(PHASE_RETURNED),
		BACK | END, true, SYSTEM_OLD,
	},
	[PHASE_RETURNED] = {
		"returned", BIT(PHASE_FINISHED),
		BIT(PHASE_RETURNED) | END, true, SYSTEM_OLD,
	},
	[PHASE_STANDING] = {
		"standing", BIT(PHASE_FINISHED),
		BIT(PHASE_STANDING) | END, true, SYSTEM_OLD,
	},
	[PHASE_FINISHED] = {
		"finished", 0,
		END, false, SYSTEM_NEW,
	},
};

const char *phase_name(enum phase phase)
{
	return rules[phase].name;
}

bool phase_parse(const char *name, enum phase *phase)
{
	for (size_t i = 0; name && i < PHASE_COUNT; i++) {
		if (strcmp(rules[i].name, name) == 0) {
			*phase = (enum phase)i;
			return true;
		}
	}
	return false;
}

int phase_may_enter(enum phase from, enum phase to, const struct plan *plan,
		    struct err *err)
{
	if (!(rules[from].next & BIT(to)))
		return err_set(err, "cannot go from %s to %s", rules[from].name,
			       rules[to].name);
	/* Only what moves from one system to another has anything to hold. */
	if (to == PHASE_STANDING && !plan->plain)
		return err_set(err, "only a plan with a primary can be "
				    "standing; this one goes from opening to "
				    "holding");
	if (to == PHASE_HOLDING && plan->plain)
		return err_set(err, "a plan with a primary goes from opening "
				    "to standing");
	return 0;
}

bool phase_accepts(enum phase phase)
{
	return rules[phase].accepts;
}

enum plan_system_id phase_target(enum phase phase, const struct plan *plan)
{
	return plan->plain ? SYSTEM_OLD : rules[phase].target;
}

bool phase_reached(enum phase now, enum phase wanted)
{
	return rules[wanted].reached_by & BIT(now);
}
