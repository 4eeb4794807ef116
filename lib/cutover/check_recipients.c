/* The list of recipients: whole, fresh, and the same in both systems. */

#include "cutover/check_parts.h"
#include <stdlib.h>

#define HOUR_MS ((int64_t)3600 * 1000)
#define DAY_MS	(24 * HOUR_MS)

enum {
	NAMES_MAX = 10
};

struct missing {
	const struct facts *facts;
	struct buf *names;
	struct json *all;
	size_t count;
};

static void look_for(void *ctx, struct slice key, void *value)
{
	struct missing *missing = ctx;

	if (map_get(&missing->facts->tenant.addresses, key))
		return;
	if (missing->names && missing->count < NAMES_MAX)
		buf_addf(missing->names, "%s%.*s", missing->count ? ", " : "",
			 (int)key.len, key.p);
	if (missing->all) {
		struct json *one = json_object();

		json_put_slice(one, "missing", key);
		json_add(missing->all, one);
	}
	missing->count++;
}

size_t check_missing(const struct facts *facts, struct buf *names,
		     struct json *all)
{
	struct missing missing = { facts, names, all, 0 };

	if (facts->listed && facts->tenant.of[TENANT_RECIPIENT])
		map_each(facts->listed, look_for, &missing);
	return missing.count;
}

static bool has_initial(const struct facts *facts, enum plan_system_id id,
			bool *known)
{
	bool has = false;
	char name[DNS_NAME];

	*known = false;
	for (size_t i = 0; i < facts->plan->domain_count; i++)
		if (check_initial(&facts->plan->domains[i].systems[id], name)) {
			*known = true;
			has |= map_get(&facts->tenant.domains, slice(name)) !=
			       NULL;
		}
	return has;
}

/*
 * The old tenant has everybody on its own list.  Either tenant may forward to
 * addresses of the other, so that both in one export tell nothing.
 */
enum check_whose check_whose_recipients(const struct facts *facts)
{
	bool known, old_known;
	bool is_new = has_initial(facts, SYSTEM_NEW, &known);
	bool is_old = has_initial(facts, SYSTEM_OLD, &old_known);

	if (is_old && !is_new)
		return WHOSE_OLD;
	if (is_old)
		return WHOSE_BOTH;
	return known && !is_new ? WHOSE_NEITHER : WHOSE_NEW;
}

static void whose_is_unclear(const struct facts *facts, struct finding *finding)
{
	static const char what[] = "of which tenant the recipients under "
				   "\"evidence\" are, cannot be told";
	bool any_old = false;

	for (size_t i = 0; i < facts->plan->domain_count; i++)
		any_old |= strcmp(facts->plan->domains[i]
					  .systems[SYSTEM_OLD]
					  .provider->name,
				  "m365") == 0;
	/* Only a tenant of the same kind exports the same. */
	if (any_old && check_whose_recipients(facts) == WHOSE_NEITHER)
		check_not_known(facts, finding, "%s", what);
	else
		finding_set(finding, VERDICT_WARN, "%s", what);
	finding_remedy(finding, "export all recipients of the new one: their "
				"addresses in its initial domain tell");
}

bool check_recipients_are_stale(const struct facts *facts)
{
	const struct tenant *tenant = &facts->tenant;
	int64_t age_ms = facts->now.wall_ms - tenant->at_ms[TENANT_RECIPIENT];

	/* An hour is what clocks and their zones are wrong by. */
	return tenant->of[TENANT_RECIPIENT] &&
	       (age_ms > 7 * DAY_MS || age_ms < -HOUR_MS);
}

struct json *check_list_json(const struct facts *facts)
{
	struct json *json = json_object();

	json_put_text(json, "asked",
		      facts->ledger_known ?
			      "the plan's list of recipients, as tideoverd "
			      "has it" :
			      "the plan's list of recipients, from the file");
	json_put_text(json, "file", facts->plan->recipients.file);
	json_put_time(json, "at", facts->now.wall_ms);
	json_put_bool(json, "listed", facts->plan->recipients.listed);
	json_put_time(json, "changed", facts->listed_at_ms);
	json_put_number(json, "count",
			facts->listed ? (double)facts->listed->count : 0);
	json_put_number(json, "in_the_new_tenant",
			(double)facts->tenant.addresses.count);
	json_put_time(json, "exported", facts->tenant.at_ms[TENANT_RECIPIENT]);
	return json;
}

/* Which domains of the plan the list has anybody of. */
struct listing {
	const struct plan *plan;
	bool *any; /* a domain each */
};

static void mark_domain(void *ctx, struct slice key, void *value)
{
	struct listing *listing = ctx;
	const struct plan *plan = listing->plan;
	ptrdiff_t at = slice_rfind(key, '@');
	const struct plan_domain *domain =
		at < 0 ? NULL : plan_domain(plan, slice_from(key, at + 1));

	if (domain)
		listing->any[domain - plan->domains] = true;
}

/* "acme.example, acme.net": nobody of them is listed. */
static void name_unlisted(const struct facts *facts, struct buf *names)
{
	const struct plan *plan = facts->plan;
	struct listing listing = {
		.plan = plan,
		.any = mem_alloc(plan->domain_count * sizeof(bool)),
	};

	map_each(facts->listed, mark_domain, &listing);
	for (size_t i = 0; i < plan->domain_count; i++)
		if (!listing.any[i])
			buf_addf(names, "%s%s", names->len ? ", " : "",
				 plan->domains[i].name);
	free(listing.any);
}

/* Whether it is whole, and of these days. */
static bool judge_list(const struct facts *facts, struct finding *finding)
{
	int64_t age_ms = facts->now.wall_ms - facts->listed_at_ms;
	struct buf unlisted = BUF_INIT;

	name_unlisted(facts, &unlisted);
	if (facts->listed->count == 0) {
		finding_set(finding, VERDICT_FAIL,
			    "the list of recipients is empty");
		finding_remedy(finding, "export it from the old system");
	} else if (unlisted.len > 0) {
		finding_set(finding, VERDICT_FAIL,
			    "nobody of %s is listed, so none of its mail would "
			    "be taken",
			    buf_text(&unlisted));
		finding_remedy(finding, "add its recipients to the list");
	} else if (age_ms < -HOUR_MS) {
		finding_set(finding, VERDICT_UNKNOWN,
			    "the list of recipients is of a time to come");
		finding_remedy(finding, "so its age is not known: export it "
					"again, or fix the clock");
	} else if (age_ms > 7 * DAY_MS) {
		finding_set(finding, VERDICT_FAIL,
			    "the list of recipients is older than 7 days");
		finding_remedy(finding, "export it again");
	}
	buf_release(&unlisted);
	return finding->verdict == VERDICT_PASS;
}

/* Against what the new tenant has. */
static void compare_list(const struct facts *facts, struct finding *finding)
{
	int64_t age_ms = facts->now.wall_ms - facts->listed_at_ms;
	struct buf names = BUF_INIT;
	size_t missing = check_missing(facts, &names, finding->evidence);

	if (check_recipients_are_stale(facts)) {
		check_not_known(facts, finding,
				"the recipients under \"evidence\" are of last "
				"week, or of a time to come");
		finding_remedy(finding, "export Get-Recipient again");
	} else if (check_whose_recipients(facts) == WHOSE_OLD) {
		check_not_known(facts, finding,
				"the recipients under \"evidence\" are those "
				"of the old tenant");
		finding_remedy(finding, "export Get-Recipient in the new one");
	} else if (missing > 0) {
		finding_set(finding, VERDICT_FAIL,
			    "%zu listed recipients are missing in the new "
			    "system",
			    missing);
		finding_remedy(finding, "missing in the target: %s%s",
			       buf_text(&names),
			       missing > NAMES_MAX ? ", ..." : "");
	} else if (!facts->tenant.of[TENANT_RECIPIENT]) {
		finding_set(finding, VERDICT_WARN,
			    "the list was not compared with the new system");
		finding_remedy(finding, "name the JSON of Get-Recipient under "
					"\"evidence\" in the plan");
	} else if (check_whose_recipients(facts) != WHOSE_NEW) {
		whose_is_unclear(facts, finding);
	} else if (age_ms > DAY_MS) {
		finding_set(finding, VERDICT_WARN,
			    "the list of recipients is older than a day");
		finding_remedy(finding, "export it again before the start");
	} else {
		finding_set(finding, VERDICT_PASS,
			    "the list is of today, and the new system has "
			    "everybody on it");
	}
	buf_release(&names);
}

void check_recipients(const struct facts *facts, enum gate gate,
		      struct finding *finding)
{
	finding->evidence = json_array();
	json_add(finding->evidence, check_list_json(facts));
	if (!facts->plan->recipients.listed) {
		finding_set(finding, VERDICT_WARN,
			    "there is no list: mail for anybody is kept");
		finding_remedy(finding, "what the new system then refuses is "
					"held; set recipients.policy to "
					"listed to refuse or defer it here");
	} else if (facts->tenant.error[0]) {
		check_not_known(facts, finding,
				"an evidence file cannot be read");
		finding_remedy(finding, "%s", facts->tenant.error);
	} else if (!facts->listed) {
		check_not_known(facts, finding, "the list was not read here");
		finding_remedy(finding, "%s",
			       facts->listed_why[0] ?
				       facts->listed_why :
				       "the daemon reads it: tideover check "
				       "PLAN --gate start");
	} else if (facts->listed_why[0]) {
		check_not_known(facts, finding,
				"the list of recipients was changed, and not "
				"taken over");
		finding_remedy(finding, "%s", facts->listed_why);
	} else if (judge_list(facts, finding)) {
		compare_list(facts, finding);
	}
}
