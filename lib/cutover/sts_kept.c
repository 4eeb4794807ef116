#include "cutover/sts_kept.h"
#include <stdio.h>
#include <stdlib.h>

static struct mta_sts *copy_of(const struct mta_sts *policy)
{
	struct mta_sts *copy = mem_alloc(sizeof(*copy));

	*copy = *policy;
	return copy;
}

static bool is_same(const struct mta_sts *a, const struct mta_sts *b)
{
	if (a->mode != b->mode || a->max_age_s != b->max_age_s ||
	    a->mx_count != b->mx_count)
		return false;
	for (size_t i = 0; i < a->mx_count; i++)
		if (strcmp(a->mx[i], b->mx[i]) != 0)
			return false;
	return true;
}

void sts_kept_release(struct sts_kept *kept)
{
	free(kept->policy);
	free(kept->before);
	*kept = (struct sts_kept){ 0 };
}

static void put_away(struct sts_kept *kept)
{
	if (!kept->policy)
		return;
	free(kept->before);
	kept->before = kept->policy;
	kept->before_ms = kept->at_ms;
	kept->policy = NULL;
}

void sts_kept_see(struct sts_kept *kept, const struct mta_sts *policy,
		  const char *id, int64_t now_ms)
{
	if (!policy) {
		put_away(kept);
		return;
	}
	/* Every sender sees another id. */
	if (strcmp(kept->id, id) != 0)
		sts_kept_release(kept);
	if (kept->policy && !is_same(kept->policy, policy))
		put_away(kept);
	if (kept->before && is_same(kept->before, policy)) {
		free(kept->before);
		kept->before = NULL;
	}
	if (!kept->policy) {
		kept->policy = copy_of(policy);
		kept->since_ms = now_ms;
	}
	snprintf(kept->id, sizeof(kept->id), "%s", id);
	kept->at_ms = now_ms;
}

/* As JSON. */

static struct json *policy_json(const struct mta_sts *policy)
{
	struct json *json, *mx;

	if (!policy)
		return NULL;
	json = json_object();
	mx = json_array();
	json_put_text(json, "mode", mta_sts_mode_name(policy->mode));
	json_put_number(json, "max_age", (double)policy->max_age_s);
	for (size_t i = 0; i < policy->mx_count; i++)
		json_add_text(mx, policy->mx[i]);
	json_put(json, "mx", mx);
	return json;
}

struct json *sts_kept_json(const struct sts_kept *kept)
{
	struct json *json = json_object();

	json_put_text(json, "id", kept->id);
	json_put(json, "policy", policy_json(kept->policy));
	json_put_number(json, "since_ms", (double)kept->since_ms);
	json_put_number(json, "at_ms", (double)kept->at_ms);
	json_put(json, "before", policy_json(kept->before));
	json_put_number(json, "before_ms", (double)kept->before_ms);
	return json;
}

static struct mta_sts *policy_of(const struct json *json)
{
	static const enum mta_sts_mode modes[] = { MTA_STS_NONE,
						   MTA_STS_TESTING,
						   MTA_STS_ENFORCE };
	const char *mode = json_get_text(json, "mode");
	struct mta_sts *policy;

	if (json_type(json) != JSON_OBJECT || !mode)
		return NULL;
	policy = mem_alloc(sizeof(*policy));
	for (size_t i = 0; i < COUNT(modes); i++)
		if (strcmp(mta_sts_mode_name(modes[i]), mode) == 0)
			policy->mode = modes[i];
	policy->max_age_s = (int64_t)json_get_number(json, "max_age", 0);
	for (const struct json *it = json_first(json_get(json, "mx"));
	     it && policy->mx_count < MTA_STS_MX_MAX; it = json_next(it))
		if (json_text(it))
			snprintf(policy->mx[policy->mx_count++], DNS_NAME, "%s",
				 json_text(it));
	return policy;
}

void sts_kept_from_json(struct sts_kept *kept, const struct json *json)
{
	const char *id = json_get_text(json, "id");

	sts_kept_release(kept);
	if (!id)
		return;
	snprintf(kept->id, sizeof(kept->id), "%s", id);
	kept->policy = policy_of(json_get(json, "policy"));
	kept->since_ms = (int64_t)json_get_number(json, "since_ms", 0);
	kept->at_ms = (int64_t)json_get_number(json, "at_ms", 0);
	kept->before = policy_of(json_get(json, "before"));
	kept->before_ms = (int64_t)json_get_number(json, "before_ms", 0);
}
