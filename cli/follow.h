/*
 * follow.h - wait for a phase, or for a release to be drained
 */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

#include "cli/output.h"

/*
 * Polls until the plan reaches `phase` (name).  EXIT_DONE, EXIT_TIMEOUT, or
 * what went wrong.  *last (may be NULL) is the last status document.
 */
int follow_phase(struct command_call *call, const char *plan, const char *phase,
		 struct json **last);
/*
 * Follows a release with a progress line until it is drained: EXIT_DONE,
 * EXIT_BLOCKED when mail is held or a breaker closed, EXIT_FAILED when the
 * ledger does not balance, EXIT_TIMEOUT.  Prints the outcome, or with --json
 * the last status document.
 */
int follow_release(struct command_call *call, const char *plan);

#endif
