#include "cutover/check_view.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	RESOLVERS_MIN = 3 /* fewer are no sample of the world's caches */
};

/* The MX set that a gate wants to be everywhere. */
static unsigned set_for(const struct view *view, enum gate gate)
{
	enum phase phase = view->facts->phase;

	if (gate == GATE_DETACH)
		return IS_PARKED;
	if (view->plan->plain || phase == PHASE_RETURNING ||
	    phase == PHASE_RETURNED)
		return IS_OLD;
	if (gate == GATE_CLOSE || phase == PHASE_TRAILING ||
	    phase == PHASE_FINISHED)
		return IS_NEW;
	return IS_PARKED;
}

static void want_at_authorities(const struct view *view, unsigned is,
				enum verdict verdict, struct tally *tally)
{
	each_authority (view, at) {
		if (at->error[0])
			view_say_silent(view, tally, at);
		else if (!view_set_is(view, &at->mx, is))
			tally_add(tally, verdict,
				  mem_printf("%s: %s (%s) does not have the "
					     "%s MX set",
					     view->domain->name, at->name,
					     at->address, view_set_name(is)),
				  view_publish_remedy(view, is, at));
	}
}

/* Resolvers that still have another set, with what is left of its TTL. */
static void resolvers_lag(const struct view *view, unsigned is,
			  enum verdict verdict, struct tally *tally)
{
	each_resolver (view, at) {
		char has[512], left[CLOCK_TEXT];

		if (at->error[0] || view_set_is(view, &at->mx, is))
			continue;
		clock_format_duration((int64_t)at->mx.ttl * 1000, left);
		tally_add(tally, verdict,
			  mem_printf("%s: the resolver %s still has another MX "
				     "set",
				     view->domain->name, at->address),
			  mem_printf("%s has '%s' for %s more", at->address,
				     view_mx_text(&at->mx, has, sizeof(has)),
				     left));
	}
}

/* Two ways to write one address are one resolver. */
static bool answered_before(const struct view *view,
			    const struct dns_vantage *resolver)
{
	each_resolver (view, at) {
		if (at == resolver)
			return false;
		if (!at->error[0] &&
		    strcmp(at->address, resolver->address) == 0)
			return true;
	}
	return false;
}

static size_t resolvers_answering(const struct view *view)
{
	size_t count = 0;

	each_resolver (view, at)
		count += !at->error[0] && !answered_before(view, at);
	return count;
}

/*
 * Postfix returns mail at once when no host of the MX set has an address.  The
 * set may well be the right one all the same.
 */
static void want_address(const struct view *view, const char *name,
			 struct tally *tally)
{
	const struct dns_host *host = view_host(view, name);

	if (!host)
		return;
	if (!host->asked)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: no answer about the host %s",
				     view->domain->name, name),
			  mem_printf("asking for %s: %s", name, host->error));
	else if (host->addresses == 0 && !host->cname)
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: the host %s has no address",
				     view->domain->name, name),
			  mem_printf("publish '%s. A ADDRESS': mail for it "
				     "bounces",
				     name));
}

static void say_serials(const struct view *view, struct tally *tally)
{
	if (view_serials_differ(view))
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: its authoritative servers have "
				     "different serials",
				     view->domain->name),
			  mem_printf("wait for the zone transfer of %s, or "
				     "repair it",
				     view->domain->name));
}

/* Does the wanted set lack a host that old caches would still go to? */
static bool leaves_old(const struct view *view, unsigned is)
{
	struct dns_mx_set old = { 0 };

	if (is == IS_PARKED)
		return true;
	for (size_t i = 0; i < view->wanted.old_count && i < DNS_MX_MAX; i++)
		snprintf(old.at[old.count++].host, DNS_NAME, "%s",
			 view->wanted.old_mx[i]);
	return dns_set_has_old(&old, &view->wanted);
}

static void horizon_left(const struct view *view, struct tally *tally)
{
	const struct plan_timing *timing = &view->plan->timing;
	const struct dns_horizon *horizon = &view->known->horizon;
	const struct dns_now *now = &view->facts->now;
	char when[CLOCK_TEXT], left[CLOCK_TEXT];
	bool known;
	static const char gone[] =
		"; the delegation left a server that had it, and who knows "
		"that one from before still asks it: ";
	int64_t left_ms = dns_horizon_left(horizon, view->plan->dns.old_ttl,
					   timing->horizon_margin,
					   timing->observe, now, &known);

	if (!known) {
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: the old TTL is not known: neither "
				     "dns.old_ttl nor enough observations",
				     view->domain->name),
			  mem_printf("write the TTL that the MX records had "
				     "before into dns.old_ttl, or let tideover "
				     "observe for %s",
				     clock_format_duration(timing->observe,
							   left)));
	} else if (left_ms > 0) {
		check_time(now->wall_ms + left_ms, when);
		clock_format_duration(left_ms, left);
		tally_add(tally, VERDICT_FAIL,
			  mem_printf("%s: caches may still hold the old MX set",
				     view->domain->name),
			  mem_printf("wait until %s (%s)%s%s", when, left,
				     horizon->left_ms ? gone : "",
				     horizon->left_ms ? horizon->gone_at[0] :
							""));
	}
}

static void horizon_one(const struct view *view, enum gate gate,
			struct tally *tally)
{
	unsigned is = set_for(view, gate);

	want_at_authorities(view, is, VERDICT_FAIL, tally);
	say_serials(view, tally);
	if (is == IS_OLD) {
		/*
		 * On the way back (or out of a standby) the old set is the one
		 * to stay, and no horizon is kept of the others: what the
		 * resolvers have must do, and they must have been asked.
		 */
		resolvers_lag(view, is, VERDICT_FAIL, tally);
		if (resolvers_answering(view) == 0)
			tally_add(tally, VERDICT_UNKNOWN,
				  mem_printf("%s: no resolver answered",
					     view->domain->name),
				  NULL);
	} else if (leaves_old(view, is)) {
		horizon_left(view, tally);
	}
}

static void horizon_evidence(const struct facts *facts, struct json *evidence)
{
	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		struct json *json = json_object();

		json_put_text(json, "domain", facts->plan->domains[i].name);
		json_put(json, "horizon",
			 dns_horizon_json(&facts->domains[i].horizon));
		json_put_number(json, "old_ttl",
				(double)facts->plan->dns.old_ttl);
		json_put_number(json, "margin_ms",
				(double)facts->plan->timing.horizon_margin);
		json_put_time(json, "now", facts->now.wall_ms);
		json_add(evidence, json);
	}
}

void check_mx_horizon(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	view_each(facts, gate, finding, horizon_one,
		  "every authoritative server has the wanted MX set with one "
		  "serial, and no cache can hold the other any more");
	horizon_evidence(facts, finding->evidence);
}

static void parked_one(const struct view *view, enum gate gate,
		       struct tally *tally)
{
	want_at_authorities(view, IS_PARKED, VERDICT_FAIL, tally);
	want_address(view, view->plan->queue_mx.host, tally);
	resolvers_lag(view, IS_PARKED, VERDICT_WARN, tally);
	if (resolvers_answering(view) < RESOLVERS_MIN)
		tally_add(tally, VERDICT_UNKNOWN,
			  mem_printf("%s: fewer than %d resolvers answered",
				     view->domain->name, RESOLVERS_MIN),
			  mem_printf("name at least %d reachable resolvers in "
				     "dns.resolvers",
				     RESOLVERS_MIN));
}

void check_parked(const struct facts *facts, enum gate gate,
		  struct finding *finding)
{
	view_each(facts, gate, finding, parked_one,
		  "the queue is the only MX at every authoritative server "
		  "and resolver");
}

/* Parked and new are both fine: the release goes on either way. */
static bool is_past_old(const struct view *view, const struct dns_mx_set *set)
{
	return (dns_set_is(set, &view->wanted) & IS_PARKED) ||
	       view_set_is(view, set, IS_NEW);
}

static void say_not_past(const struct view *view, const struct dns_vantage *at,
			 struct tally *tally)
{
	bool old = dns_set_has_old(&at->mx, &view->wanted) ||
		   (dns_set_is(&at->mx, &view->wanted) & IS_OLD);
	char has[512];

	view_mx_text(&at->mx, has, sizeof(has));
	tally_add(
		tally, VERDICT_FAIL,
		old ? mem_printf("%s: %s (%s) still has the old MX",
				 view->domain->name, at->name, at->address) :
		      mem_printf(
			      "%s: the MX set of %s (%s) is neither parked nor "
			      "new",
			      view->domain->name, at->name, at->address),
		old && view->plan->strategy == STRATEGY_PARK ?
			mem_printf(
				"remove the old records from '%s' of %s: mail "
				"that falls back there bounces",
				has, view->domain->name) :
			view_publish_remedy(view,
					    view->plan->strategy ==
							    STRATEGY_PARK ?
						    IS_PARKED :
						    IS_NEW,
					    at));
}

static void not_old_one(const struct view *view, enum gate gate,
			struct tally *tally)
{
	each_authority (view, at) {
		if (at->error[0])
			view_say_silent(view, tally, at);
		else if (!is_past_old(view, &at->mx))
			say_not_past(view, at, tally);
	}
	each_resolver (view, at) {
		char has[512], left[CLOCK_TEXT];

		if (at->error[0] || is_past_old(view, &at->mx))
			continue;
		clock_format_duration((int64_t)at->mx.ttl * 1000, left);
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: the resolver %s still has another MX "
				     "set",
				     view->domain->name, at->address),
			  mem_printf("%s has '%s' for %s more", at->address,
				     view_mx_text(&at->mx, has, sizeof(has)),
				     left));
	}
}

void check_mx_not_old(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	view_each(facts, gate, finding, not_old_one,
		  "every authoritative server is parked, or has the new MX "
		  "set");
}

/* The queue's host comes after every other. */
static bool queue_is_last(const struct view *view, const struct dns_mx_set *set)
{
	unsigned queue = 0, last = 0;
	bool there = false;

	for (size_t i = 0; i < set->count; i++) {
		if (slice_is_nocase(slice(set->at[i].host),
				    view->plan->queue_mx.host)) {
			queue = set->at[i].preference;
			there = true;
		} else if (set->at[i].preference > last) {
			last = set->at[i].preference;
		}
	}
	return !there || queue > last;
}

/* A plan that ends leaves nobody behind the queue's name.  After a cutover it is
 * the new system's spare and ends by itself; a plain standby plan does not. */
static bool leaves_queue(const struct view *view, const struct dns_mx_set *set)
{
	for (size_t i = 0; view->plan->plain && i < set->count; i++)
		if (slice_is_nocase(slice(set->at[i].host),
				    view->plan->queue_mx.host))
			return true;
	return false;
}

static void final_one(const struct view *view, enum gate gate,
		      struct tally *tally)
{
	unsigned is = set_for(view, GATE_CLOSE);
	const struct plan_system *system =
		&view->domain->systems[is == IS_NEW ? SYSTEM_NEW : SYSTEM_OLD];

	want_at_authorities(view, is, VERDICT_FAIL, tally);
	for (size_t i = 0; i < system->mx.count; i++)
		want_address(view, system->mx.at[i], tally);
	each_authority (view, at)
		if (!at->error[0] && view_set_is(view, &at->mx, is) &&
		    !queue_is_last(view, &at->mx))
			tally_add(tally, VERDICT_FAIL,
				  mem_printf("%s: the queue is not the last MX "
					     "at %s (%s)",
					     view->domain->name, at->name,
					     at->address),
				  view_publish_remedy(view, is, at));
	each_authority (view, at)
		if (!at->error[0] && leaves_queue(view, &at->mx))
			tally_add(
				tally, VERDICT_FAIL,
				mem_printf("%s: the queue is still an MX at "
					   "%s (%s), and protects the domain",
					   view->domain->name, at->name,
					   at->address),
				mem_printf("remove the MX record of %s first, "
					   "if the protection is to end; the "
					   "queue takes no more mail then",
					   view->plan->queue_mx.host));
	resolvers_lag(view, is, VERDICT_WARN, tally);
	if (resolvers_answering(view) == 0)
		tally_add(tally, VERDICT_WARN,
			  mem_printf("%s: no resolver answered",
				     view->domain->name),
			  NULL);
}

void check_mx_final(const struct facts *facts, enum gate gate,
		    struct finding *finding)
{
	view_each(facts, gate, finding, final_one,
		  "every authoritative server has the MX set to stay");
}
