#include "cutover/timeline.h"
#include "cutover/check_parts.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	TTL_UNKNOWN_S = 86400,
	TTL_LATER_S = 3600
};

struct timeline {
	const struct facts *facts;
	const struct plan *plan;
	struct json *steps;
	int64_t at_ms; /* earliest time of the step at hand; 0: open */
};

static struct json *step(struct timeline *timeline, const char *title,
			 const char *who, int64_t earliest_ms)
{
	struct json *json = json_object();

	json_put_number(json, "step", (double)json_count(timeline->steps) + 1);
	json_put_text(json, "title", title);
	json_put_text(json, "who", who);
	json_put_time(json, "earliest", earliest_ms);
	json_put_text(json, "after", "");
	json_put(json, "records", json_array());
	json_put(json, "commands", json_array());
	json_put_text(json, "confirm", "");
	json_put_text(json, "way_back", "");
	json_put_bool(json, "no_return", false);
	json_add(timeline->steps, json);
	return json;
}

/* Strings of a step; takes `text`. */
static void add(struct json *json, const char *list, char *text)
{
	json_add_text((struct json *)(uintptr_t)json_get(json, list), text);
	free(text);
}

static void command(struct timeline *timeline, struct json *json,
		    const char *verb)
{
	const char *path = timeline->plan->path;

	add(json, "commands",
	    mem_printf("tideover %s %s", verb,
		       path ? path : timeline->plan->name));
}

/* Records, in zone-file form. */

static void record(struct json *json, const char *domain, int64_t ttl,
		   unsigned preference, const char *host)
{
	add(json, "records",
	    mem_printf("%s. %lld IN MX %u %s.", domain, (long long)ttl,
		       preference, host));
}

/* What the authority says now, or the provider's usual numbers. */
static unsigned preference_of(const struct timeline *timeline, size_t domain,
			      int system, size_t i)
{
	const struct dns_domain *dns = &timeline->facts->domains[domain].dns;
	const struct plan_system *from =
		&timeline->plan->domains[domain].systems[system];

	for (size_t v = 0; v < dns->vantage_count; v++) {
		const struct dns_vantage *vantage = &dns->vantages[v];

		for (size_t m = 0; vantage->authority && m < vantage->mx.count;
		     m++)
			if (slice_is_nocase(slice(vantage->mx.at[m].host),
					    from->mx.at[i]))
				return vantage->mx.at[m].preference;
	}
	return check_mx_preference(from, i);
}

static unsigned system_records(const struct timeline *timeline,
			       struct json *json, size_t domain, int system,
			       int64_t ttl)
{
	const struct plan_domain *d = &timeline->plan->domains[domain];
	unsigned last = 0;

	for (size_t i = 0; i < d->systems[system].mx.count; i++) {
		unsigned preference =
			preference_of(timeline, domain, system, i);

		record(json, d->name, ttl, preference,
		       d->systems[system].mx.at[i]);
		if (preference > last)
			last = preference;
	}
	return last;
}

/* As an extra MX the queue must come after all others. */
static void queue_record(const struct timeline *timeline, struct json *json,
			 size_t domain, int64_t ttl, unsigned after)
{
	unsigned preference = (unsigned)timeline->plan->queue_mx.priority;

	if (preference <= after)
		preference = after + 10;
	record(json, timeline->plan->domains[domain].name, ttl, preference,
	       timeline->plan->queue_mx.host);
}

enum set {
	SET_OLD,
	SET_NEW,
	SET_QUEUE,
	SET_OLD_QUEUE,
	SET_NEW_QUEUE
};

static void records(const struct timeline *timeline, struct json *json,
		    enum set set, int64_t ttl)
{
	for (size_t i = 0; i < timeline->plan->domain_count; i++) {
		unsigned last = 0;

		if (set == SET_OLD || set == SET_OLD_QUEUE)
			last = system_records(timeline, json, i, SYSTEM_OLD,
					      ttl);
		if (set == SET_NEW || set == SET_NEW_QUEUE)
			last = system_records(timeline, json, i, SYSTEM_NEW,
					      ttl);
		if (set == SET_QUEUE)
			record(json, timeline->plan->domains[i].name, ttl,
			       (unsigned)timeline->plan->queue_mx.priority,
			       timeline->plan->queue_mx.host);
		if (set == SET_OLD_QUEUE || set == SET_NEW_QUEUE)
			queue_record(timeline, json, i, ttl, last);
	}
}

/* TTLs. */

/* The largest that an authority serves now; 0: none was seen. */
static int64_t ttl_now(const struct facts *facts)
{
	int64_t ttl = 0;

	for (size_t i = 0; i < facts->plan->domain_count; i++) {
		const struct dns_domain *dns = &facts->domains[i].dns;

		for (size_t v = 0; v < dns->vantage_count; v++)
			if (dns->vantages[v].authority &&
			    !dns->vantages[v].error[0] &&
			    dns->vantages[v].mx.count > 0 &&
			    dns->vantages[v].mx.ttl > ttl)
				ttl = dns->vantages[v].mx.ttl;
	}
	return ttl;
}

/* What a cache may still hold it for; *guessed if nobody could say. */
static int64_t old_ttl(const struct facts *facts, bool *guessed)
{
	int64_t ttl = facts->plan->dns.old_ttl;
	int64_t now = ttl_now(facts);

	for (size_t i = 0; i < facts->plan->domain_count; i++)
		if (facts->domains[i].horizon.max_ttl > ttl)
			ttl = facts->domains[i].horizon.max_ttl;
	if (now > ttl)
		ttl = now;
	*guessed = ttl <= 0;
	return *guessed ? TTL_UNKNOWN_S : ttl;
}

static int64_t later(int64_t a_ms, int64_t b_ms)
{
	return a_ms > b_ms ? a_ms : b_ms;
}

/* Milliseconds until every domain's horizon has passed; -1: not known. */
static int64_t horizon_left(const struct facts *facts)
{
	const struct plan *plan = facts->plan;
	int64_t most = 0;

	for (size_t i = 0; i < plan->domain_count; i++) {
		bool known;
		int64_t left = dns_horizon_left(&facts->domains[i].horizon,
						plan->dns.old_ttl,
						plan->timing.horizon_margin,
						plan->timing.observe,
						&facts->now, &known);

		if (!known)
			return -1;
		most = later(most, left);
	}
	return most;
}

/* Steps that several strategies share. */

/* Lowering comes first, and costs one old TTL. */
static void lower_ttl(struct timeline *timeline)
{
	const struct plan *plan = timeline->plan;
	int64_t now_ms = timeline->facts->now.wall_ms;
	int64_t ttl = ttl_now(timeline->facts);
	char text[160], wait[CLOCK_TEXT];
	struct json *json;
	bool guessed;
	int64_t old = old_ttl(timeline->facts, &guessed);

	timeline->at_ms = now_ms;
	if (ttl > 0 && ttl <= plan->dns.ttl) {
		/* Low already; since when is for the observations to tell. */
		return;
	}
	json = step(timeline, "Lower the TTL of the MX records", "DNS operator",
		    now_ms);
	snprintf(text, sizeof(text),
		 "now; it takes effect one old TTL later "
		 "(%s%s)",
		 clock_format_duration(old * 1000, wait),
		 guessed ? ", assumed: no MX record was seen" : "");
	json_put_text(json, "after", text);
	records(timeline, json, SET_OLD, plan->dns.ttl);
	command(timeline, json, "plan");
	json_put_text(json, "confirm", "ttl-lowered");
	json_put_text(json, "way_back", "none needed");
	timeline->at_ms = now_ms + old * 1000;
}

static void start(struct timeline *timeline, const char *after)
{
	int64_t at_ms = later(timeline->at_ms, timeline->plan->opens_ms);
	struct json *json =
		step(timeline, "Start the queue", "migration engineer", at_ms);
	char *back;

	json_put_text(json, "after", after);
	command(timeline, json, "start");
	json_put_text(json, "confirm", "no-open-relay");
	back = mem_printf("tideover start %s --abort, as long as nothing was "
			  "accepted",
			  timeline->plan->path);
	json_put_text(json, "way_back", back);
	free(back);
	timeline->at_ms = at_ms;
}

/*
 * As the check mx-horizon counts: a cache may have been filled with the old TTL
 * just before it was lowered, or keep to it against the rules.
 */
static int64_t horizon_ms(const struct timeline *timeline)
{
	bool guessed;

	return old_ttl(timeline->facts, &guessed) * 1000 +
	       timeline->plan->timing.horizon_margin;
}

static void finish(struct timeline *timeline, const char *after,
		   const char *way_back)
{
	struct json *json = step(timeline,
				 "Release the queue to the new "
				 "system",
				 "migration engineer", timeline->at_ms);

	json_put_text(json, "after", after);
	/* To look into the inbox before everything goes there. */
	if (timeline->plan->canary.recipients.count > 0)
		command(timeline, json, "canary");
	command(timeline, json, "finish");
	json_put_text(json, "confirm", "rcpt-probe");
	json_put_text(json, "way_back", way_back);
}

static void close_plan(struct timeline *timeline)
{
	struct json *json;
	char text[120], trail[CLOCK_TEXT];
	int64_t trail_ms = timeline->plan->timing.trail;

	snprintf(text, sizeof(text),
		 "the new MX set was everywhere for %s; "
		 "stragglers still reach the queue",
		 clock_format_duration(trail_ms, trail));
	json = step(timeline, "End the trail", "migration engineer",
		    timeline->at_ms ? timeline->at_ms + trail_ms : 0);
	json_put_text(json, "after", text);
	command(timeline, json, "finish");
	json_put_text(json, "confirm", "ledger-balance");
	json_put_text(json, "way_back",
		      "none: afterwards the queue answers "
		      "451 and the sender finds the new MX");
}

static void raise_ttl(struct timeline *timeline, enum set set)
{
	struct json *json =
		step(timeline, "Raise the TTL again", "DNS operator", 0);

	json_put_text(json, "after", "the plan is finished");
	records(timeline, json, set, TTL_LATER_S);
	json_put_text(json, "confirm", "mx-final");
	json_put_text(json, "way_back", "none needed");
}

/* Park: the domain changes tenant. */

static void park_move(struct timeline *timeline)
{
	const struct plan *plan = timeline->plan;
	const char *old = plan->domains[0].systems[SYSTEM_OLD].provider->title;
	const char *new = plan->domains[0].systems[SYSTEM_NEW].provider->title;
	char text[200];
	struct json *json;

	json = step(timeline, "Make the queue the only MX", "DNS operator",
		    timeline->at_ms);
	json_put_text(json, "after",
		      "the phase is holding; remove every other "
		      "MX record");
	records(timeline, json, SET_QUEUE, plan->dns.ttl);
	command(timeline, json, "status");
	json_put_text(json, "confirm", "parked");
	json_put_text(json, "way_back",
		      "publish the old MX records, then "
		      "tideover rollback");
	if (timeline->at_ms)
		timeline->at_ms += horizon_ms(timeline);

	json = step(timeline, "Is the gate detach open?", "migration engineer",
		    timeline->at_ms);
	json_put_text(json, "after",
		      "no cache can hold the old MX set any "
		      "more, and no mail arrives at the old system");
	add(json, "commands",
	    mem_printf("tideover check %s --gate detach",
		       plan->path ? plan->path : plan->name));
	json_put_text(json, "confirm", "mx-horizon");
	json_put_text(json, "way_back",
		      "publish the old MX records, then "
		      "tideover rollback");

	json = step(timeline, "Detach the domain from the old tenant",
		    "tenant administrator", timeline->at_ms);
	snprintf(text, sizeof(text),
		 "the gate detach is open; in %s remove "
		 "every reference to the domain, then the domain",
		 old);
	json_put_text(json, "after", text);
	json_put_text(json, "confirm", "detach-safe");
	json_put_text(json, "way_back",
		      "none at once: the domain would have "
		      "to be attached to the old tenant again; parked mail is "
		      "safe meanwhile");
	json_put_bool(json, "no_return", true);

	json = step(timeline, "Attach the domain to the new tenant",
		    "tenant administrator", 0);
	snprintf(text, sizeof(text),
		 "the old tenant has let go (minutes to a "
		 "day or more); in %s verify the domain and give every mailbox "
		 "its address",
		 new);
	json_put_text(json, "after", text);
	json_put_text(json, "confirm", "rcpt-probe");
	json_put_text(json, "way_back",
		      "stay parked, or attach it to the old "
		      "tenant again");
	timeline->at_ms = 0;
}

static void flip(struct timeline *timeline, enum set set, const char *after)
{
	struct json *json = step(timeline, "Publish the new MX records",
				 "DNS operator", timeline->at_ms);

	json_put_text(json, "after", after);
	records(timeline, json, set, timeline->plan->dns.ttl);
	command(timeline, json, "status");
	json_put_text(json, "confirm",
		      set == SET_NEW ? "mx-final" : "mx-not-old");
	json_put_text(json, "way_back",
		      "publish the MX records of the step "
		      "before");
}

static void park(struct timeline *timeline)
{
	lower_ttl(timeline);
	start(timeline, "the low TTL has been served for one old TTL");
	park_move(timeline);
	finish(timeline,
	       "the gate finish is open: the new system accepts the "
	       "domain's recipients; new mail still comes through the queue, "
	       "behind the older",
	       "tideover rollback, if the old system has the domain again");
	flip(timeline, SET_NEW, "the queue is drained");
	close_plan(timeline);
	raise_ttl(timeline, SET_NEW);
}

/* Standby: both systems accept; the queue stands behind them. */

static void standby(struct timeline *timeline)
{
	struct json *json;

	lower_ttl(timeline);
	start(timeline, "the low TTL has been served for one old TTL");
	json = step(timeline, "Add the queue as an extra MX", "DNS operator",
		    timeline->at_ms);
	json_put_text(json, "after", "the phase is holding");
	records(timeline, json, SET_OLD_QUEUE, timeline->plan->dns.ttl);
	command(timeline, json, "status");
	json_put_text(json, "confirm", "mx-sanity");
	json_put_text(json, "way_back",
		      "remove the queue's record, then "
		      "tideover rollback");
	flip(timeline, SET_NEW_QUEUE,
	     "the new system has every mailbox; both "
	     "accept the domain, so the MX changes before the release");
	if (timeline->at_ms)
		timeline->at_ms += horizon_ms(timeline);
	finish(timeline,
	       "the gate finish is open: no old MX is published and "
	       "the new system accepts the domain's recipients",
	       "publish the old MX records, then tideover rollback");
	close_plan(timeline);
	raise_ttl(timeline, SET_NEW);
}

/* A plain standby has one system and no end of its own. */

static void plain(struct timeline *timeline)
{
	int64_t ttl = timeline->plan->dns.ttl;
	struct json *json;

	timeline->at_ms = timeline->facts->now.wall_ms;
	start(timeline, "");
	json = step(timeline, "Add the queue as an extra MX", "DNS operator",
		    timeline->at_ms);
	json_put_text(json, "after", "the phase is standing");
	records(timeline, json, SET_OLD_QUEUE, ttl);
	command(timeline, json, "status");
	json_put_text(json, "confirm", "mx-sanity");
	json_put_text(json, "way_back", "remove the queue's record");
	json = step(timeline,
		    "For maintenance: let the primary refuse "
		    "connections",
		    "primary's operator", 0);
	json_put_text(json, "after",
		      "the queue's record was published for one "
		      "TTL; close its port 25: a 5xx greeting would bounce "
		      "mail");
	command(timeline, json, "status");
	json_put_text(json, "confirm", "standby-health");
	json_put_text(json, "way_back",
		      "open the port again: the queue drains "
		      "by itself");
	json = step(timeline, "To end it: remove the queue's MX record",
		    "DNS operator", 0);
	json_put_text(json, "after", "the queue is empty");
	records(timeline, json, SET_OLD, ttl);
	json_put_text(json, "confirm", "mx-final");
	json_put_text(json, "way_back", "publish it again");
	json = step(timeline, "Finish", "migration engineer", 0);
	json_put_text(json, "after", "one TTL has passed since");
	command(timeline, json, "finish");
	json_put_text(json, "confirm", "ledger-balance");
	json_put_text(json, "way_back", "tideover start, under a new name");
}

/* Parked already: what is left of the horizon is known better than planned. */
static void correct_detach(struct timeline *timeline)
{
	const struct facts *facts = timeline->facts;
	int64_t left = horizon_left(facts);

	if (facts->phase != PHASE_HOLDING)
		return;
	for (const struct json *it = json_first(timeline->steps); it;
	     it = json_next(it)) {
		struct json *json = (struct json *)(uintptr_t)it;

		if (!json_get_bool(it, "no_return") &&
		    strcmp(json_get_text(it, "confirm"), "mx-horizon") != 0)
			continue;
		json_put_time(json, "earliest",
			      left < 0 ? 0 : facts->now.wall_ms + left);
	}
}

struct json *timeline_json(const struct facts *facts)
{
	struct timeline timeline = {
		.facts = facts,
		.plan = facts->plan,
		.steps = json_array(),
	};

	if (facts->plan->plain) {
		plain(&timeline);
	} else if (facts->plan->strategy == STRATEGY_PARK) {
		park(&timeline);
		correct_detach(&timeline);
	} else {
		standby(&timeline);
	}
	return timeline.steps;
}
