/*
 * watch.h - the checks that are asked all along, and when one turns
 *
 * Between a plan's start and its end the watched rows of the catalogue are
 * judged again and again.  Which are asked depends on the phase.  Some hold
 * from the start (the queue's certificate): what is bad there is an alert at
 * once.  Others arrive (every resolver sees the queue alone): until they have
 * been good once in the phase they are only not there yet; from then on a bad
 * verdict is an alert.  What only a person can say is not watched; what a file
 * shows is, and that nobody has exported it lately is no alert.
 *
 * Pure: the caller passes findings and the time, and journals what turned.
 */
#ifndef CUTOVER_WATCH_H
#define CUTOVER_WATCH_H

#include "cutover/check.h"

enum {
	WATCH_MAX = 32
};

struct watch_row {
	const struct check *check;
	enum verdict verdict;
	bool was_good; /* passed or warned in this phase */
	bool alert;    /* bad, where it should be good */
	char *summary, *remedy;
	int64_t since_ms; /* wall: this verdict */
};

struct watch {
	enum phase phase;
	struct watch_row rows[WATCH_MAX];
	size_t count;
};

void watch_release(struct watch *watch);
/* Whether a row is watched in this phase of this plan. */
bool watch_wants(const struct check *check, const struct plan *plan,
		 enum phase phase);
/*
 * `turned` runs for every row whose verdict is another one than before, and at
 * its first look when that is an alert; `from` is then NULL.
 */
typedef void watch_turn_fn(void *ctx, const struct watch_row *row,
			   const char *from);
/* Judges every wanted row over the facts and keeps what came of it.  A new
 * phase begins anew. */
void watch_look(struct watch *watch, const struct facts *facts,
		watch_turn_fn *turned, void *ctx);
/*
 * From the journal, in its order: a phase begins anew, and a row turned
 * ("check" event) at a time.  What is no such event changes nothing.
 */
void watch_restore_phase(struct watch *watch, enum phase phase);
void watch_restore_turn(struct watch *watch, const struct json *data,
			int64_t at_ms);
/* The next look: `every_ms` give or take a fifth, by 8 bits of chance, so that
 * many plans do not ask at once. */
int64_t watch_next_ms(int64_t now_ms, int64_t every_ms, unsigned char chance);

#endif
