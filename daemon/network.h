/*
 * network.h - how many sessions a network may have
 *
 * Pure: it is told of comings and goings and given the time.  A network is the
 * /24 of an IPv4 address, the /64 of an IPv6 one.  One network may have a
 * bounded number of sessions, and bounded new ones per minute (a bucket that
 * holds a minute's worth).  As sessions run out in all, each network's share
 * shrinks to half of what is still free, so that those with the most are turned
 * away first and a newcomer still finds room.
 *
 * 127.0.0.1 and ::1 are this machine (a proxy, a filter, a test) and are bound
 * by the limit in all alone.
 */
#ifndef DAEMON_NETWORK_H
#define DAEMON_NETWORK_H

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
	NETWORK_VERDICTS
};

struct networks *networks_new(const struct network_limits *limits);
void networks_free(struct networks *networks); /* NULL is fine */
/* Only NETWORK_OK counts a session, which networks_leave() ends. */
enum network_verdict networks_enter(struct networks *networks,
				    const struct addr *peer, int64_t mono_ms);
void networks_leave(struct networks *networks, const struct addr *peer,
		    int64_t mono_ms);
size_t networks_sessions(const struct networks *networks);
/* Those with a session or connects of the last minute. */
size_t networks_count(const struct networks *networks);

#endif
