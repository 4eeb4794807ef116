/*
 * horizon_file.h - what was seen of a plan's domains, kept over restarts
 *
 * One JSON file: per domain its horizon, its MTA-STS policies, and what it was
 * kept for: the old MX
 * set, the queue's host, whether it was a rehearsal.  What was kept for another
 * plan proves nothing for this one (a rehearsal of the same name, an old set
 * that was corrected since) and counts as never seen.
 */
#ifndef CUTOVER_HORIZON_FILE_H
#define CUTOVER_HORIZON_FILE_H

#include "cutover/facts.h"

/* Calls `take` for every domain of the plan that the file has. */
void horizon_file_load(const char *path, struct facts *facts,
		       void (*take)(struct dns_horizon *horizon,
				    const struct dns_horizon *kept));
/* For horizon_file_load(): the file's whole. */
void horizon_take_all(struct dns_horizon *horizon,
		      const struct dns_horizon *kept);
int horizon_file_save(const char *path, const struct facts *facts,
		      struct err *err);

#endif
