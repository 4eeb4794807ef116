/*
 * sandbox.h - what the kernel keeps from us, should a peer ever own us
 *
 * Landlock: writing, making and removing only below the state folder, and no
 * program can be run.  Reading is left to file permissions: certificates and
 * keys are named by plans that come later.
 *
 * seccomp: the calls that a mail queue makes, and no other; of clone() threads
 * and no processes, of socket() the families of IP, of UNIX and netlink.  The
 * rest fails as on a kernel that lacks it.
 *
 * Both hold for this thread and those it starts: call before any other runs,
 * and after the last change of user.
 */
#ifndef DAEMON_SANDBOX_H
#define DAEMON_SANDBOX_H

#include "base/err.h"

struct sandbox {
	bool landlock, seccomp;
	char text[512]; /* "landlock, seccomp", or what is off and why */
};

/*
 * As much of both as this kernel has; *sandbox says what that is.  Makes the
 * state folder if it is missing.
 */
void sandbox_enter(const char *state_dir, struct sandbox *sandbox);
/* The operator does not want it. */
void sandbox_none(struct sandbox *sandbox);

/* The two halves.  -1: off, and err says why. */
int sandbox_landlock(const char *state_dir, struct err *err);
int sandbox_seccomp(struct err *err);

#endif
