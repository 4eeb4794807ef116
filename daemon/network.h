/*
 * network.h - how many sessions a network may have
 *
 * Pure: it is told of comings and goings and given the time.  A network is the
 * /24 of an IPv4 address, the /64 of an IPv6 one.  One network may have a
 * bounded number of sessions, and bounded new ones per minute (a bucket that
 * holds a minute's worth).  As sessions run out in all, each network's share
 * shrinks to half of what is still free, so that those with the most are turned
 * away first and a newcomer still finds room.  When none is left, a newcomer
 * gets the place of an idle session, the longest idle one of the network that
 * has the most, as long as that network still has no fewer than its own then.
 *
 * 127.0.0.1 and ::1 are this machine (a proxy, a filter, a test): nobody knows
 * whose sessions those are.  They are bound by the limit in all alone, give up
 * no place, and count as one where networks are compared.
 */
#ifndef DAEMON_NETWORK_H
#define DAEMON_NETWORK_H

#include "base/list.h"
#include "net/addr.h"
#include <stdint.h>

struct networks;

struct network_limits {	   /* 0: no limit */
	unsigned sessions; /* in all */
	unsigned sessions_per_network;
	unsigned connects_per_minute; /* of one network */
};

enum network_verdict {
	NETWORK_OK,
	NETWORK_SESSIONS, /* too many in all */
	NETWORK_SHARE,	  /* too many of this network */
	NETWORK_RATE,	  /* too many of this network in a minute */
	NETWORK_PUT_OFF,  /* more of this network than networks_bound() */
	NETWORK_VERDICTS
};

/* Of one session, in what its owner keeps of it; zeroed before. */
struct network_place {
	struct list link; /* of its network's idle ones */
	struct network *network;
};

struct networks *networks_new(const struct network_limits *limits);
void networks_free(struct networks *networks); /* NULL is fine */
/*
 * Only NETWORK_OK counts a session, idle at first, until networks_leave().
 * *instead is NULL, or whose place it has, which has left already: end it.
 */
enum network_verdict networks_enter(struct networks *networks,
				    const struct addr *peer, int64_t mono_ms,
				    struct network_place *place,
				    struct network_place **instead);
/* Twice is fine. */
void networks_leave(struct networks *networks, struct network_place *place,
		    int64_t mono_ms);
/* It may not be ended now, or may be again; nothing if it has left. */
void networks_busy(struct networks *networks, struct network_place *place);
void networks_idle(struct networks *networks, struct network_place *place);
/* From now on networks with more sessions than this are put off; SIZE_MAX: none
 * is. */
void networks_bound(struct networks *networks, size_t bound);
bool networks_puts_off(const struct networks *networks,
		       const struct network_place *place);
/* What the largest has.  Looks at all of them: not for each message. */
size_t networks_largest(const struct networks *networks);
size_t networks_sessions(const struct networks *networks);
/* Those with a session or connects of the last minute. */
size_t networks_count(const struct networks *networks);

#endif
