/*
 * spawn.h - start tideoverd when none runs
 */
#ifndef CLI_SPAWN_H
#define CLI_SPAWN_H

#include "cli/output.h"

/* The path of the tideoverd beside this tideover, else "tideoverd". */
char *spawn_daemon_path(void);
/*
 * Makes sure that a tideoverd answers at the call's socket, starting one in
 * the background if need be (its log goes to STATE/tideoverd.log).  -1 with
 * err: why it did not come up, in the daemon's own words.
 */
int spawn_daemon(const struct command_call *call, struct err *err);

#endif
