#include "cutover/horizon_file.h"
#include "base/file.h"
#include <stdlib.h>

/* "mx1.old.example mx2.old.example, not hold.example.net" */
static char *kept_for(const struct plan *plan, size_t at)
{
	const struct plan_strings *mx =
		&plan->domains[at].systems[SYSTEM_OLD].mx;
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < mx->count; i++)
		buf_addf(&text, "%s%s", i ? " " : "", mx->at[i]);
	buf_addf(&text, ", not %s", plan->queue_mx.host);
	return buf_take(&text);
}

static bool is_of(const struct json *one, const struct plan *plan, size_t at)
{
	const char *had = json_get_text(one, "kept_for");
	char *is = kept_for(plan, at);
	bool same = had && strcmp(had, is) == 0 &&
		    json_get_bool(one, "rehearsal") == plan->rehearsal;

	free(is);
	return same;
}

void horizon_take_all(struct dns_horizon *horizon,
		      const struct dns_horizon *kept)
{
	*horizon = *kept;
}

/* The command and the daemon keep one each: the latest counts. */
static void take_sts(struct sts_kept *kept, const struct json *json)
{
	struct sts_kept fresh = { 0 };

	sts_kept_from_json(&fresh, json);
	if (fresh.at_ms > kept->at_ms) {
		struct sts_kept older = *kept;

		*kept = fresh;
		fresh = older;
	}
	sts_kept_release(&fresh);
}

void horizon_file_load(const char *path, struct facts *facts,
		       void (*take)(struct dns_horizon *horizon,
				    const struct dns_horizon *kept))
{
	const struct plan *plan = facts->plan;
	struct buf text = BUF_INIT;
	struct json *all = NULL;

	if (file_read(path, PLAN_MAX_BYTES, &text, NULL) == 0)
		all = json_parse(buf_slice(&text), NULL);
	for (size_t i = 0; all && i < plan->domain_count; i++) {
		const struct json *one = json_get(all, plan->domains[i].name);
		struct dns_horizon kept;

		if (!one || !is_of(one, plan, i))
			continue;
		dns_horizon_from_json(&kept, one);
		take(&facts->domains[i].horizon, &kept);
		take_sts(&facts->domains[i].sts.kept, json_get(one, "sts"));
	}
	json_free(all);
	buf_release(&text);
}

int horizon_file_save(const char *path, const struct facts *facts,
		      struct err *err)
{
	const struct plan *plan = facts->plan;
	struct json *all = json_object();
	struct buf text = BUF_INIT;
	int result;

	for (size_t i = 0; i < plan->domain_count; i++) {
		struct json *one = dns_horizon_json(&facts->domains[i].horizon);
		char *is = kept_for(plan, i);

		json_put_text(one, "kept_for", is);
		json_put(one, "sts",
			 sts_kept_json(&facts->domains[i].sts.kept));
		json_put_bool(one, "rehearsal", plan->rehearsal);
		json_put(all, plan->domains[i].name, one);
		free(is);
	}
	json_print(all, &text);
	result = file_write(path, buf_slice(&text), 0600, err);
	json_free(all);
	buf_release(&text);
	return result;
}
