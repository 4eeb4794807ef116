/*
 * target.h - a mail system as the daemon sees it: where, and is it healthy
 */
#ifndef DAEMON_TARGET_H
#define DAEMON_TARGET_H

#include "daemon/health.h"
#include "plan/plan.h"

struct target {
	char *host;
	int port;
	char *name; /* "host:port" */
	const struct provider *provider;
	struct health health;
};

void target_init(struct target *target, const struct plan_system *system);
void target_release(struct target *target);

#endif
