#include "dns/dns_propagation.h"
#include "base/clock.h"
#include "base/file.h"
#include <math.h>
#include <stdio.h>
#include <strings.h>

#define SECOND_MS 1000

static bool names_have(const char *const *names, size_t count, const char *host)
{
	for (size_t i = 0; i < count; i++)
		if (strcasecmp(names[i], host) == 0)
			return true;
	return false;
}

/* The same hosts, whatever their priorities; nothing equals nothing never. */
static bool set_equals(const struct dns_mx_set *set, const char *const *names,
		       size_t count)
{
	if (set->count == 0 || count == 0)
		return false;
	for (size_t i = 0; i < set->count; i++)
		if (!names_have(names, count, set->at[i].host))
			return false;
	for (size_t i = 0; i < count; i++)
		if (!dns_mx_set_has(set, names[i]))
			return false;
	return true;
}

unsigned dns_set_is(const struct dns_mx_set *set,
		    const struct dns_wanted *wanted)
{
	unsigned is = 0;

	if (set_equals(set, wanted->old_mx, wanted->old_count))
		is |= IS_OLD;
	if (set_equals(set, wanted->new_mx, wanted->new_count))
		is |= IS_NEW;
	if (wanted->queue_host && set_equals(set, &wanted->queue_host, 1))
		is |= IS_PARKED;
	return is;
}

static bool is_old_host(const struct dns_wanted *wanted, const char *host)
{
	return names_have(wanted->old_mx, wanted->old_count, host);
}

static bool is_kept_host(const struct dns_wanted *wanted, const char *host)
{
	return names_have(wanted->new_mx, wanted->new_count, host) ||
	       (wanted->queue_host &&
		strcasecmp(wanted->queue_host, host) == 0);
}

/*
 * The one system's hosts, and behind them the queue.  Where another system is
 * to come, old and queue have to be told from new and queue: both are mixed.
 */
static bool is_standby(const struct dns_mx_set *set,
		       const struct dns_wanted *wanted)
{
	const struct dns_mx *last = &set->at[set->count - 1];

	if (wanted->new_count > 0 || !wanted->queue_host || set->count < 2 ||
	    strcasecmp(last->host, wanted->queue_host) != 0 ||
	    last->preference == last[-1].preference)
		return false;
	for (size_t i = 0; i < wanted->old_count; i++)
		if (!dns_mx_set_has(set, wanted->old_mx[i]))
			return false;
	for (size_t i = 0; i + 1 < set->count; i++)
		if (!is_old_host(wanted, set->at[i].host))
			return false;
	return true;
}

enum dns_view dns_view_of(const struct dns_mx_set *set,
			  const struct dns_wanted *wanted, unsigned prefer)
{
	unsigned is = dns_set_is(set, wanted);

	if (is & prefer)
		is &= prefer;
	/* Old first: what may be the old set is not to be called gone. */
	if (is & IS_OLD)
		return VIEW_OLD;
	if (is & IS_PARKED)
		return VIEW_PARKED;
	if (is & IS_NEW)
		return VIEW_NEW;
	if (set->count == 0)
		return VIEW_OTHER;
	if (is_standby(set, wanted))
		return VIEW_STANDBY;
	for (size_t i = 0; i < set->count; i++)
		if (!is_old_host(wanted, set->at[i].host) &&
		    !is_kept_host(wanted, set->at[i].host))
			return VIEW_OTHER;
	return VIEW_MIXED;
}

bool dns_set_has_old(const struct dns_mx_set *set,
		     const struct dns_wanted *wanted)
{
	for (size_t i = 0; i < set->count; i++)
		if (is_old_host(wanted, set->at[i].host) &&
		    !is_kept_host(wanted, set->at[i].host))
			return true;
	return false;
}

/*
 * Does a cache that holds this set send mail to the old system?  Any old host
 * will do, also one that the new system shares, unless the set is the new one
 * and not the old one: a mixture of old and queue keeps caches at the old
 * host as long as the old set does.  So does a host that the plan does not
 * know: it may be the old system by another name, of which providers have
 * several, and a plan that names one of them must not open anything early.
 */
static bool sights_old(const struct dns_mx_set *set,
		       const struct dns_wanted *wanted)
{
	unsigned is = dns_set_is(set, wanted);

	if (is & IS_OLD)
		return true;
	if (is & (IS_NEW | IS_PARKED))
		return false;
	for (size_t i = 0; i < set->count; i++)
		if (is_old_host(wanted, set->at[i].host) ||
		    (set->at[i].host[0] &&
		     !is_kept_host(wanted, set->at[i].host)))
			return true;
	return false;
}

void dns_now(struct dns_now *now)
{
	struct buf text = BUF_INIT;
	struct slice id = { "", 0 };

	*now = (struct dns_now){ .wall_ms = clock_wall_ms(),
				 .boot_ms = clock_boot_ms() };
	if (file_read("/proc/sys/kernel/random/boot_id", 4096, &text, NULL) ==
	    0)
		id = slice_trim(buf_slice(&text));
	while (id.len > 0 && id.p[id.len - 1] == '\n')
		id.len--;
	if (id.len < sizeof(now->boot_id))
		memcpy(now->boot_id, id.p, id.len);
	buf_release(&text);
}

/*
 * The lesser of what both clocks say.  Where the boot cannot be told (no
 * /proc), CLOCK_BOOTTIME counts as long as it has not fallen back.  Less than
 * nothing by what a rounded TTL may put ahead; more is a clock that stepped.
 */
static int64_t elapsed_ms(int64_t wall_ms, int64_t boot_ms, const char *boot_id,
			  const struct dns_now *now)
{
	int64_t elapsed = now->wall_ms - wall_ms;
	int64_t by_boot = now->boot_ms - boot_ms;

	if (strcmp(boot_id, now->boot_id) == 0 && by_boot < elapsed &&
	    (boot_id[0] || by_boot >= 0))
		elapsed = by_boot;
	return elapsed >= -SECOND_MS ? elapsed : 0;
}

static void stamp(struct dns_horizon *horizon, const struct dns_now *now,
		  int64_t ago_ms)
{
	horizon->old_seen_boot_ms = now->boot_ms - ago_ms;
	snprintf(horizon->boot_id, sizeof(horizon->boot_id), "%s",
		 now->boot_id);
}

/* Between these two; known is a sighting that is not before the first. */
static void sight_between(struct dns_horizon *horizon,
			  const struct dns_now *now, int64_t first_ago_ms,
			  int64_t last_ago_ms)
{
	if (horizon->old_seen_ms &&
	    elapsed_ms(horizon->old_seen_ms, horizon->old_seen_boot_ms,
		       horizon->boot_id, now) < first_ago_ms)
		return;
	horizon->old_seen_ms = now->wall_ms - last_ago_ms;
	stamp(horizon, now, last_ago_ms);
}

static void sight(struct dns_horizon *horizon, const struct dns_now *now)
{
	sight_between(horizon, now, 0, 0);
}

/*
 * A resolver drops the old set when its remaining TTL has run down, as if it
 * had been seen at the authority that much earlier.  When that was is known no
 * better than a second, as a TTL is in whole ones, and the time that the answer
 * took: the same entry, asked again, would seem a bit later, and a trace that
 * was read in between would no longer count.  So the latest that it can have
 * been is kept, until an entry cannot but be a later one.
 */
static void sight_cached(struct dns_horizon *horizon, const struct dns_now *now,
			 const struct dns_vantage *at)
{
	int64_t ago_ms = ((int64_t)horizon->max_ttl - at->mx.ttl) * SECOND_MS +
			 now->boot_ms - at->came_ms;

	sight_between(horizon, now, ago_ms + at->took_ms, ago_ms - SECOND_MS);
}

static const struct dns_vantage *authority_at(const struct dns_domain *domain,
					      const char *address)
{
	for (size_t i = 0; i < domain->vantage_count; i++)
		if (domain->vantages[i].authority &&
		    strcmp(domain->vantages[i].address, address) == 0)
			return &domain->vantages[i];
	return NULL;
}

static bool any_authority_answers(const struct dns_domain *domain)
{
	for (size_t i = 0; i < domain->vantage_count; i++)
		if (domain->vantages[i].authority &&
		    !domain->vantages[i].error[0])
			return true;
	return false;
}

/* Sets of addresses. */

static void add_at(char (*set)[ADDR_TEXT], size_t *count, const char *address)
{
	for (size_t i = 0; i < *count; i++)
		if (strcmp(set[i], address) == 0)
			return;
	if (*count < DNS_OLD_AT)
		snprintf(set[(*count)++], ADDR_TEXT, "%s", address);
}

static void drop_at(char (*set)[ADDR_TEXT], size_t *count, size_t i)
{
	memmove(set[i], set[--*count], sizeof(set[i]));
}

static void begin_old(struct dns_horizon *horizon, const char *address)
{
	add_at(horizon->old_at, &horizon->old_at_count, address);
}

static void leave_old(struct dns_horizon *horizon, const char *address,
		      const struct dns_now *now)
{
	add_at(horizon->gone_at, &horizon->gone_count, address);
	horizon->left_ms = now->wall_ms;
	horizon->left_boot_ms = now->boot_ms;
	snprintf(horizon->left_boot_id, sizeof(horizon->left_boot_id), "%s",
		 now->boot_id);
}

/* A name that was not found for once, say. */
static void come_back(struct dns_horizon *horizon,
		      const struct dns_domain *domain)
{
	for (size_t i = horizon->gone_count; i-- > 0;)
		if (authority_at(domain, horizon->gone_at[i]))
			drop_at(horizon->gone_at, &horizon->gone_count, i);
	if (horizon->gone_count == 0)
		horizon->left_ms = 0;
}

/*
 * Between two looks hours may have passed, and nobody saw when the old set
 * went.  One that is no authority any more served it until now, too.
 */
static void end_old(struct dns_horizon *horizon,
		    const struct dns_domain *domain,
		    const struct dns_wanted *wanted, const struct dns_now *now)
{
	bool answers = any_authority_answers(domain);

	for (size_t i = horizon->old_at_count; i-- > 0;) {
		const struct dns_vantage *at =
			authority_at(domain, horizon->old_at[i]);

		if (at ? at->error[0] || sights_old(&at->mx, wanted) : !answers)
			continue;
		if (!at)
			leave_old(horizon, horizon->old_at[i], now);
		drop_at(horizon->old_at, &horizon->old_at_count, i);
		sight(horizon, now);
	}
}

void dns_horizon_observe(struct dns_horizon *horizon,
			 const struct dns_domain *domain,
			 const struct dns_wanted *wanted,
			 const struct dns_now *now)
{
	for (size_t i = 0; i < domain->vantage_count; i++) {
		const struct dns_vantage *at = &domain->vantages[i];

		if (at->error[0])
			continue;
		if (!horizon->first_ms) {
			/*
			 * Until the old set is seen, the stamp says when we
			 * began to look: a stepped clock may not stretch
			 * that either.
			 */
			horizon->first_ms = now->wall_ms;
			stamp(horizon, now, 0);
		}
		if (sights_old(&at->mx, wanted) &&
		    at->mx.ttl > horizon->max_ttl)
			horizon->max_ttl = at->mx.ttl;
	}
	if (domain->delegation.ttl > horizon->ns_ttl)
		horizon->ns_ttl = domain->delegation.ttl;
	come_back(horizon, domain);
	end_old(horizon, domain, wanted, now);
	for (size_t i = 0; i < domain->vantage_count; i++) {
		const struct dns_vantage *at = &domain->vantages[i];

		if (at->error[0] || !sights_old(&at->mx, wanted))
			continue;
		if (!at->authority) {
			sight_cached(horizon, now, at);
			continue;
		}
		/* An authority hands the old set out for a whole TTL more. */
		begin_old(horizon, at->address);
		sight(horizon, now);
	}
}

int64_t dns_horizon_left(const struct dns_horizon *horizon, int64_t old_ttl_s,
			 int64_t margin_ms, int64_t observe_ms,
			 const struct dns_now *now, bool *known)
{
	/* Never seen: it may have gone just before we began to look. */
	int64_t since_ms =
		horizon->old_seen_ms ? horizon->old_seen_ms : horizon->first_ms;
	int64_t ttl_s = horizon->max_ttl, total, elapsed, left, observed = 0;

	if (old_ttl_s > ttl_s)
		ttl_s = old_ttl_s;
	total = ttl_s * SECOND_MS + margin_ms;
	if (horizon->first_ms)
		observed = now->wall_ms - horizon->first_ms;
	*known =
		old_ttl_s >= 0 || (horizon->first_ms && observed >= observe_ms);
	if (!since_ms)
		return total;
	elapsed = elapsed_ms(since_ms, horizon->old_seen_boot_ms,
			     horizon->boot_id, now);
	left = elapsed < total ? total - elapsed : 0;
	if (!horizon->left_ms)
		return left;
	total += horizon->ns_ttl * (int64_t)SECOND_MS;
	elapsed = elapsed_ms(horizon->left_ms, horizon->left_boot_ms,
			     horizon->left_boot_id, now);
	return total - elapsed > left ? total - elapsed : left;
}

/* A server that answers at another of its addresses is not silent. */
static bool is_silent(const struct dns_domain *domain, size_t i)
{
	const struct dns_vantage *silent = &domain->vantages[i];

	if (!silent->authority || !silent->error[0])
		return false;
	for (size_t v = 0; v < domain->vantage_count; v++)
		if (domain->vantages[v].authority &&
		    !domain->vantages[v].error[0] &&
		    strcmp(domain->vantages[v].name, silent->name) == 0)
			return false;
	return true;
}

void dns_ttl_observe(struct dns_horizon *horizon,
		     const struct dns_domain *domain, int64_t low_ttl_s,
		     const struct dns_now *now)
{
	uint32_t high = 0;
	bool low = false, silent = false;

	for (size_t i = 0; i < domain->vantage_count; i++) {
		const struct dns_vantage *at = &domain->vantages[i];

		silent |= is_silent(domain, i);
		if (!at->authority || at->error[0] || at->mx.count == 0)
			continue;
		if ((int64_t)at->mx.ttl <= low_ttl_s)
			low = true;
		else if (at->mx.ttl > high)
			high = at->mx.ttl;
	}
	if (high > 0) {
		if (high > horizon->high_ttl)
			horizon->high_ttl = high;
		horizon->low_since_ms = 0;
	} else if (low && !silent && !horizon->low_since_ms) {
		horizon->low_since_ms = now->wall_ms;
		horizon->low_since_boot_ms = now->boot_ms;
		snprintf(horizon->low_boot_id, sizeof(horizon->low_boot_id),
			 "%s", now->boot_id);
	}
}

void dns_ttl_adopt(struct dns_horizon *horizon, const struct dns_horizon *from)
{
	if (horizon->low_since_ms || horizon->high_ttl)
		return;
	horizon->high_ttl = from->high_ttl;
	horizon->low_since_ms = from->low_since_ms;
	horizon->low_since_boot_ms = from->low_since_boot_ms;
	memcpy(horizon->low_boot_id, from->low_boot_id,
	       sizeof(horizon->low_boot_id));
}

int64_t dns_ttl_left(const struct dns_horizon *horizon, int64_t old_ttl_s,
		     int64_t margin_ms, int64_t observe_ms,
		     const struct dns_now *now, bool *known)
{
	int64_t ttl_s = horizon->high_ttl, total, elapsed;

	if (old_ttl_s > ttl_s)
		ttl_s = old_ttl_s;
	total = ttl_s * SECOND_MS + margin_ms;
	*known = false;
	if (!horizon->low_since_ms)
		return total;
	elapsed = elapsed_ms(horizon->low_since_ms, horizon->low_since_boot_ms,
			     horizon->low_boot_id, now);
	*known = old_ttl_s >= 0 || horizon->high_ttl > 0 ||
		 elapsed >= observe_ms;
	return elapsed < total ? total - elapsed : 0;
}

struct json *dns_horizon_json(const struct dns_horizon *horizon)
{
	struct json *json = json_object(), *old_at = json_array();
	struct json *gone_at = json_array();

	for (size_t i = 0; i < horizon->old_at_count; i++)
		json_add_text(old_at, horizon->old_at[i]);
	json_put(json, "old_at", old_at);
	for (size_t i = 0; i < horizon->gone_count; i++)
		json_add_text(gone_at, horizon->gone_at[i]);
	json_put(json, "gone_at", gone_at);
	json_put_number(json, "max_ttl", horizon->max_ttl);
	json_put_number(json, "first_ms", (double)horizon->first_ms);
	json_put_number(json, "old_seen_ms", (double)horizon->old_seen_ms);
	json_put_number(json, "old_seen_boot_ms",
			(double)horizon->old_seen_boot_ms);
	json_put_text(json, "boot_id", horizon->boot_id);
	json_put_number(json, "ns_ttl", horizon->ns_ttl);
	json_put_number(json, "left_ms", (double)horizon->left_ms);
	json_put_number(json, "left_boot_ms", (double)horizon->left_boot_ms);
	json_put_text(json, "left_boot_id", horizon->left_boot_id);
	json_put_number(json, "high_ttl", horizon->high_ttl);
	json_put_number(json, "low_since_ms", (double)horizon->low_since_ms);
	json_put_number(json, "low_since_boot_ms",
			(double)horizon->low_since_boot_ms);
	json_put_text(json, "low_boot_id", horizon->low_boot_id);
	return json;
}

/* A number outside of what a double counts exactly is no time of ours. */
static int64_t get_ms(const struct json *json, const char *key)
{
	double number = json_get_number(json, key, 0);

	return fabs(number) <= 9007199254740992.0 ? (int64_t)number : 0;
}

static uint32_t get_ttl(const struct json *json, const char *key)
{
	int64_t ttl = get_ms(json, key);

	return ttl > 0 && ttl <= UINT32_MAX ? (uint32_t)ttl : 0;
}

void dns_horizon_from_json(struct dns_horizon *horizon,
			   const struct json *value)
{
	const char *boot_id = json_get_text(value, "boot_id");
	const char *low_boot_id = json_get_text(value, "low_boot_id");
	const char *left_boot_id = json_get_text(value, "left_boot_id");

	*horizon = (struct dns_horizon){
		.max_ttl = get_ttl(value, "max_ttl"),
		.first_ms = get_ms(value, "first_ms"),
		.old_seen_ms = get_ms(value, "old_seen_ms"),
		.old_seen_boot_ms = get_ms(value, "old_seen_boot_ms"),
		.ns_ttl = get_ttl(value, "ns_ttl"),
		.left_ms = get_ms(value, "left_ms"),
		.left_boot_ms = get_ms(value, "left_boot_ms"),
		.high_ttl = get_ttl(value, "high_ttl"),
		.low_since_ms = get_ms(value, "low_since_ms"),
		.low_since_boot_ms = get_ms(value, "low_since_boot_ms"),
	};
	for (const struct json *at = json_first(json_get(value, "old_at")); at;
	     at = json_next(at))
		if (json_type(at) == JSON_STRING)
			begin_old(horizon, json_text(at));
	for (const struct json *at = json_first(json_get(value, "gone_at")); at;
	     at = json_next(at))
		if (json_type(at) == JSON_STRING)
			add_at(horizon->gone_at, &horizon->gone_count,
			       json_text(at));
	snprintf(horizon->low_boot_id, sizeof(horizon->low_boot_id), "%s",
		 low_boot_id ? low_boot_id : "");
	snprintf(horizon->boot_id, sizeof(horizon->boot_id), "%s",
		 boot_id ? boot_id : "");
	snprintf(horizon->left_boot_id, sizeof(horizon->left_boot_id), "%s",
		 left_boot_id ? left_boot_id : "");
}
