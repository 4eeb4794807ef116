/*
 * plan_system.h - a mail system as the plan words it
 *
 * A domain may override any key of the plan's "old", "new" or "primary".  So
 * the words are kept as they stand and made into a struct plan_system per
 * domain once all of them are known.
 */
#ifndef PLAN_PLAN_SYSTEM_H
#define PLAN_PLAN_SYSTEM_H

#include "plan/plan_parse.h"

struct plan_words { /* what is not given is NULL, 0, -1 */
	char *provider;
	struct plan_strings mx;
	char *deliver_to;
	int64_t max_bytes;
	int64_t mailbox_per_hour; /* -1: not given; 0 is "no limit" */
	char *spf_include;
	struct plan_strings dkim_selectors;
	char *verify_txt;
};

/* clang-format off */
#define PLAN_WORDS_INIT { .mailbox_per_hour = -1 }
/* clang-format on */

/*
 * `over` wins over `base`.  Facts that `base` overrides belong to its provider:
 * they do not carry over to another one.
 */
void plan_system_build(struct plan_system *system,
		       const struct plan_words *base,
		       const struct plan_words *over);
void plan_words_release(struct plan_words *words);

#endif
