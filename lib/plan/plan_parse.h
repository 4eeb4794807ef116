/*
 * plan_parse.h - between the files that read a plan; nobody else includes it
 *
 * Language first (plan_parse.c: keys, types, formats), then sense
 * (plan_check.c: how values fit together), the latter only of a plan without
 * errors of the former.  Both collect into one report, so that an engineer
 * corrects a plan once.
 */
#ifndef PLAN_PLAN_PARSE_H
#define PLAN_PLAN_PARSE_H

#include "plan/plan.h"

/* A plan of noise is not worth more lines than an engineer reads. */
#define PLAN_ERRORS_MAX 100

struct plan_error {
	int line;
	char *sentence; /* "old.mx[0]: ..." */
};

struct plan_report {
	struct plan_error *at;
	size_t count;
};

/*
 * Adds one, in the order of lines.  An empty path is left out, a line of 0 too.
 * The same sentence twice (two domains, one cause) counts
 * once.
 */
void plan_report_add(struct plan_report *report, int line, const char *path,
		     const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void plan_report_release(struct plan_report *report);

/* Fills `plan`, whose path is set; what is wrong goes to `report`. */
void plan_read(struct plan *plan, const struct json *root,
	       struct plan_report *report);
/* `plan` was read from `root` without an error. */
void plan_check(const struct plan *plan, const struct json *root,
		struct plan_report *report);

void plan_strings_add(struct plan_strings *strings, const char *text);
void plan_strings_release(struct plan_strings *strings);
void plan_system_release(struct plan_system *system);

#endif
