/*
 * check.h - questions, answers, gates
 *
 * The catalogue is one table (check.c): a row is a check; the functions are in
 * check_*.c.  A check judges facts and asks nothing itself.
 *
 * What shuts a gate is a fail or an unknown, until somebody waives or attests.
 */
#ifndef CUTOVER_CHECK_H
#define CUTOVER_CHECK_H

#include "cutover/facts.h"

enum verdict {
	VERDICT_PASS,
	VERDICT_WARN,
	VERDICT_FAIL,
	VERDICT_UNKNOWN,
	VERDICT_WAIVED
};
const char *verdict_name(enum verdict verdict);

enum gate {
	GATE_PLAN = 1,
	GATE_START = 2,
	GATE_DETACH = 4,
	GATE_FINISH = 8,
	GATE_CLOSE = 16,
	GATE_ROLLBACK = 32
};
#define GATE_WATCHED 64
const char *gate_name(enum gate gate);
bool gate_parse(const char *name, enum gate *gate);

struct finding {
	const struct check *check;
	enum verdict verdict;
	char *summary;	       /* one sentence: what was found */
	char *remedy;	       /* what to do; "" when nothing */
	struct json *evidence; /* raw: asked what, of whom, answer, when */
	/* Every sentence that blocks, where the summary names but a few or the
	 * worst; NULL: the summary has it all. */
	char *blocks;
	/* A waiver (verdict waived) or NULL. */
	char *waived_by, *waived_reason;
	enum verdict before_waiver;
};

struct check {
	const char *id;	   /* "mx-baseline" */
	const char *title; /* "the MX set is what the plan calls old" */
	unsigned when;	   /* gates, and GATE_WATCHED */
	bool waivable;
	bool plain; /* asked for a plain standby plan too */
	/* Fills verdict, summary, remedy, evidence. */
	void (*run)(const struct facts *facts, enum gate gate,
		    struct finding *finding);
};

extern const struct check checks[]; /* ended by a NULL id */
const struct check *check_find(const char *id);
/* Where a finding of this gate is waived: no daemon has the plan at GATE_PLAN,
 * and nobody waits for what is watched. */
const char *check_waive_gate(const struct check *check, enum gate gate);
/* The command that attests it there, as a remedy ends: "tideover waive ..."; the
 * caller frees it. */
char *check_attest_command(const struct check *check, enum gate gate);

/* A waiver names the finding it was given for by its fingerprint. */
struct waiver {
	char check[40];
	enum gate gate;
	char fingerprint[DIGEST_TEXT];
	char *by, *reason;
	bool attest;
	int64_t at_ms; /* lapses after 24 h */
};

struct findings {
	struct finding *at;
	size_t count;
	enum gate gate;
	bool open; /* nothing blocks: finding_blocks() */
	int64_t at_ms;
	struct json *asked; /* as in the facts; NULL: DNS was not asked */
};

/*
 * Runs every row of the gate (or the one named `only`) over the facts and
 * applies the waivers that fit and have not lapsed.  `no-open-relay`,
 * `ledger-balance`, `mx-horizon` and a failing `queue-capacity` are never
 * waived.  Release with findings_release().
 */
void check_gate(const struct facts *facts, enum gate gate, const char *only,
		const struct waiver *waivers, size_t waiver_count,
		struct findings *findings);
void findings_release(struct findings *findings);
/* Whether this finding shuts its gate (see above). */
bool finding_blocks(const struct finding *finding);
/*
 * SHA-256 over check, verdict and what blocks: changes when the finding does,
 * also where the summary names only some of many.  So a summary holds no times, counts-down or texts of replies: those belong into
 * remedy and evidence.  Of a waived finding: what it was before.
 */
void finding_fingerprint(const struct finding *finding, char text[DIGEST_TEXT]);
/* 0 if a waiver for it may be given; else err says why not.  What does not
 * block needs none. */
int check_waivable(const struct finding *finding, struct err *err);
/*
 * Whether this one may be: as above.  One that attests answers what is not
 * known, or was not seen (a warning); it does not make good what was found to
 * be bad.
 */
int waiver_may(const struct waiver *waiver, const struct finding *finding,
	       struct err *err);
struct json *finding_json(const struct finding *finding);
/* {"gate":..,"open":..,"at":..,"findings":[..],"blocking":[ids],"asked":..},
 * as docs/control.md has it */
struct json *findings_json(const struct findings *findings);

/* What the plan expects to come in an hour, or what was measured: whichever
 * wants more room.  false: neither is known. */
bool check_inflow(const struct facts *facts, double *per_hour,
		  double *bytes_per_hour);
/* Since when mail that came to the queue keeps the gate close shut: the trail
 * goes back so far, but not before the phase began. */
int64_t check_trail_from(const struct facts *facts);

/* For the check functions.  In a remedy " PLAN" stands for the plan's name. */
void finding_set(struct finding *finding, enum verdict verdict,
		 const char *format, ...) __attribute__((format(printf, 3, 4)));
void finding_remedy(struct finding *finding, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
