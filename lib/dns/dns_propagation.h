/*
 * dns_propagation.h - what an MX set means for a cutover, and since when
 *
 * Pure.  Classification compares sets of hosts (priorities aside); old and new
 * may name the same host, then a set can be both.  The horizon says when no
 * cache may hold the old set any more:
 *
 *   last sighting of the old set at an authority (or, its TTL running, at a
 *   resolver) + horizon TTL + margin
 *
 * where a set with any host that is neither the queue nor the new system's is
 * as good as the old one.
 *
 * Horizon TTL = the largest of dns.old_ttl, every authority TTL on record and
 * every remaining TTL that a resolver showed.  Seeing the old set again
 * restarts it; a resolver's entry that counts down is one sighting, placed a
 * second after what its answer says, since TTLs are rounded.  An authority that
 * had it and then was not looked at, or was silent, may have served it until the
 * answer that first has another.  One that had it and is no authority any more
 * may serve it for one TTL of the NS records longer, to caches that know it
 * still, unless it comes back.  Elapsed time is the lesser of what the wall
 * clock and CLOCK_BOOTTIME say, so a stepped clock cannot open anything early;
 * over a restart with another boot only the wall clock counts.
 */
#ifndef DNS_DNS_PROPAGATION_H
#define DNS_DNS_PROPAGATION_H

#include "base/json.h"
#include "dns/dns_mx.h"

struct dns_wanted {
	const char *const *old_mx;
	size_t old_count;
	const char *const *new_mx;
	size_t new_count;
	const char *queue_host;
};

enum {
	IS_OLD = 1,
	IS_PARKED = 2,
	IS_NEW = 4
};
/*
 * IS_OLD: exactly the old hosts; IS_NEW: exactly the new; IS_PARKED: the
 * queue's host alone.  0: none of them (see dns_view_of for standby/mixed/
 * other).
 */
unsigned dns_set_is(const struct dns_mx_set *set,
		    const struct dns_wanted *wanted);
/* The one word for people; `prefer` wins where a set is both old and new. */
enum dns_view dns_view_of(const struct dns_mx_set *set,
			  const struct dns_wanted *wanted, unsigned prefer);
/* True if any host of the old set that the new set and queue lack is in it. */
bool dns_set_has_old(const struct dns_mx_set *set,
		     const struct dns_wanted *wanted);

enum {
	DNS_OLD_AT = 64 /* as many authorities as a survey asks */
};

/* What is kept per domain over restarts. */
struct dns_horizon {
	uint32_t max_ttl;    /* seconds, largest seen of an old set */
	int64_t first_ms;    /* wall, first observation at all; 0 none */
	int64_t old_seen_ms; /* wall, last sighting of the old set; 0 never */
	int64_t old_seen_boot_ms; /* CLOCK_BOOTTIME of it */
	char boot_id[40];	  /* which boot that was */
	/* Authorities whose latest answer was the old set. */
	char old_at[DNS_OLD_AT][ADDR_TEXT];
	size_t old_at_count;
	/* Those that were authorities no more, and had it to the last: caches
	 * that know them still may ask them, and get it anew. */
	char gone_at[DNS_OLD_AT][ADDR_TEXT];
	size_t gone_count;
	uint32_t ns_ttl; /* seconds, largest seen of the zone's NS */
	int64_t left_ms; /* wall, when the last of them went; 0: none did */
	int64_t left_boot_ms;
	char left_boot_id[40];
	/* The authorities' TTLs: how long they have all been low. */
	uint32_t high_ttl;    /* seconds, largest seen above the low one */
	int64_t low_since_ms; /* wall, since when none was higher; 0: is */
	int64_t low_since_boot_ms;
	char low_boot_id[40];
};

struct dns_now {
	int64_t wall_ms, boot_ms;
	char boot_id[40];
};
void dns_now(struct dns_now *now);

/* Takes one survey of one domain into account. */
void dns_horizon_observe(struct dns_horizon *horizon,
			 const struct dns_domain *domain,
			 const struct dns_wanted *wanted,
			 const struct dns_now *now);
/*
 * Milliseconds until the horizon has passed (0: passed).  `old_ttl_s` -1: not
 * in the plan.  *known is false with no old_ttl and fewer than `observe_ms`
 * of observations.
 */
int64_t dns_horizon_left(const struct dns_horizon *horizon, int64_t old_ttl_s,
			 int64_t margin_ms, int64_t observe_ms,
			 const struct dns_now *now, bool *known);
/*
 * The MX TTL at the authorities, from the same survey: one above `low_ttl_s`
 * ends the row of low answers, a survey in which every authority answers and is
 * at most that begins it: a silent one may still serve the higher.  Later on
 * silence and empty sets change nothing.
 */
void dns_ttl_observe(struct dns_horizon *horizon,
		     const struct dns_domain *domain, int64_t low_ttl_s,
		     const struct dns_now *now);
/* Takes over the TTLs of another record where this one has no row of its own
 * yet. */
void dns_ttl_adopt(struct dns_horizon *horizon, const struct dns_horizon *from);
/*
 * Milliseconds until the low TTL has been served for the largest TTL before it
 * (`old_ttl_s`, -1: not in the plan; or what was seen) + margin.  *known is
 * false while no row of low answers is on record, and without any TTL to wait
 * for until `observe_ms` of it.
 */
int64_t dns_ttl_left(const struct dns_horizon *horizon, int64_t old_ttl_s,
		     int64_t margin_ms, int64_t observe_ms,
		     const struct dns_now *now, bool *known);
struct json *dns_horizon_json(const struct dns_horizon *horizon);
void dns_horizon_from_json(struct dns_horizon *horizon,
			   const struct json *value);

#endif
