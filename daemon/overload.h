/*
 * overload.h - who is put off while we do not keep up
 *
 * We do not keep up when an answer takes too long: `most_ms`.  From then on
 * those networks are put off that have more sessions than `bound`, which is
 * half of what the largest has, and half of that a quarter of `most_ms` later,
 * down to 0, which is everybody.  Once an answer takes no more than that quarter
 * the bound doubles each time it has passed, until nobody has more.  Between
 * the two nothing changes, so that it does not swing.
 *
 * Who waits already goes on to wait, whoever is put off, so that it takes a
 * while until a step shows in the time.  It shows at once in how many wait: as
 * long as those become fewer nobody else is put off, or it would be everybody
 * when one network alone was too much.
 *
 * Pure arithmetic: no clock, no sockets, no allocation.  The caller passes the
 * time, now and then.
 */
#ifndef DAEMON_OVERLOAD_H
#define DAEMON_OVERLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct overload {
	int64_t most_ms;
	bool on;
	size_t bound;	   /* SIZE_MAX: nobody is put off */
	int64_t judged_ms; /* the last step, or a quarter without */
	size_t waiting;	   /* then */
};

/* 0: there is no overload. */
void overload_init(struct overload *overload, int64_t most_ms);
/* How long an answer takes now, how many wait for one, and what the largest
 * network has; true if it began or ended with that. */
bool overload_look(struct overload *overload, int64_t answer_ms, size_t waiting,
		   size_t largest, int64_t now_ms);

#endif
