/*
 * supervisor.h - who restarts tideoverd, and whether it will
 *
 * A service of systemd comes back after a crash if its Restart= says so, and
 * after a reboot if it is enabled.  Both are read where systemd reads them
 * (systemd.unit(5), "Unit File Load Path"), as tideoverd may run no other
 * program: the unit of its own cgroup, the drop-ins, the links of `enable`.
 * What was changed after tideoverd began may not be what systemd goes by.
 */
#ifndef CUTOVER_SUPERVISOR_H
#define CUTOVER_SUPERVISOR_H

#include "base/json.h"

enum supervisor_kind {
	SUPERVISOR_NONE,
	SUPERVISOR_SYSTEMD,
	SUPERVISOR_OTHER /* which has no files that we could read */
};

enum {
	SUPERVISOR_PATH = 640
};

struct supervisor {
	enum supervisor_kind kind;
	char cgroup[256]; /* of tideoverd */
	char unit[256];	  /* "tideoverd.service" */
	char why[SUPERVISOR_PATH +
		 80];		    /* why the rest is not known; "" it is */
	char file[SUPERVISOR_PATH]; /* of the unit */
	/* "always"; "" where nothing sets it, and where that stands. */
	char restart[40], restart_from[SUPERVISOR_PATH];
	char enabled[SUPERVISOR_PATH]; /* the link; "" it is not */
};

/* By the environment of this process. */
enum supervisor_kind supervisor_kind(void);
/* `root` is "", or another root's folder; began: wall, of this process. */
void supervisor_read(enum supervisor_kind kind, const char *root,
		     int64_t began_ms, struct supervisor *supervisor);
/* Whether it is started again after a crash and after a failure alike. */
bool supervisor_restarts(const struct supervisor *supervisor);
struct json *supervisor_json(const struct supervisor *supervisor);

#endif
