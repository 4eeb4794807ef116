#include "daemon/policies.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "cutover/sts_fetch.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "policies"

enum {
	KEPT_MAX_BYTES = 16 * 1024 * 1024,
	TTL_MIN_S = 1,
	TTL_MAX_S = 3600, /* a new id is seen within the hour */
	TTL_NONE_S = 300, /* an absence without a SOA */
	RETRY_DNS_S = 60,
	RETRY_FETCH_S = 300, /* RFC 8461 section 3.3 */
	DAY_S = 86400
};

struct entry {
	struct list link;
	struct policies *all;
	char domain[DNS_NAME];
	int64_t looked_until_ms; /* mono: the TXT record holds */
	struct dns_desk *desk;	 /* while it is being asked for */
	struct dns_call *call;
	struct sts_fetch *fetch;
	int64_t ttl_s;
	char id[MTA_STS_ID]; /* of the record that was seen last */
	/* What is kept, or NULL. */
	struct mta_sts *policy;
	char kept_id[MTA_STS_ID];
	int64_t fetched_ms; /* wall: it must outlive us */
};

struct policies {
	struct loop *loop;
	char *path;
	struct addr *resolvers;
	size_t resolver_count;
	loop_fn *changed;
	void *ctx;
	struct list entries;
	struct map by_domain;
	struct loop_timer *step; /* after an answer, outside its callback */
};

/* A clock that was set back makes no policy invalid. */
static bool is_valid(const struct entry *entry)
{
	return entry->policy && clock_wall_ms() - entry->fetched_ms <
					entry->policy->max_age_s * 1000;
}

static bool is_due(const struct entry *entry)
{
	int64_t age_ms = clock_wall_ms() - entry->fetched_ms;
	int64_t half_s = entry->policy->max_age_s / 2;

	return age_ms < 0 || age_ms >= (half_s < DAY_S ? half_s : DAY_S) * 1000;
}

/* The file: each policy in the form in which it is published. */

static void policy_text(const struct mta_sts *policy, struct buf *out)
{
	buf_addf(out, "version: STSv1\nmode: %s\nmax_age: %lld\n",
		 mta_sts_mode_name(policy->mode), (long long)policy->max_age_s);
	for (size_t i = 0; i < policy->mx_count; i++)
		buf_addf(out, "mx: %s\n", policy->mx[i]);
}

static void save(const struct policies *policies)
{
	struct json *all = json_object();
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;

	list_each (it, next, &policies->entries) {
		const struct entry *entry = list_entry(it, struct entry, link);
		struct json *one;

		if (!is_valid(entry))
			continue;
		one = json_object();
		json_put_text(one, "id", entry->kept_id);
		json_put_time(one, "fetched", entry->fetched_ms);
		policy_text(entry->policy, &text);
		json_put_text(one, "policy", buf_text(&text));
		buf_release(&text);
		json_put(all, entry->domain, one);
	}
	json_print(all, &text);
	if (file_write(policies->path, buf_slice(&text), 0600, &err) < 0)
		log_error("%s", err.text);
	buf_release(&text);
	json_free(all);
}

static struct entry *entry_for(struct policies *policies, const char *domain)
{
	struct entry *entry = map_get(&policies->by_domain, slice(domain));

	if (entry)
		return entry;
	entry = mem_alloc(sizeof(*entry));
	entry->all = policies;
	snprintf(entry->domain, sizeof(entry->domain), "%s", domain);
	list_append(&policies->entries, &entry->link);
	map_put(&policies->by_domain, slice(domain), entry);
	return entry;
}

static void keep(struct entry *entry, const struct mta_sts *policy,
		 const char *id, int64_t fetched_ms)
{
	free(entry->policy);
	entry->policy = mem_alloc(sizeof(*policy));
	*entry->policy = *policy;
	entry->fetched_ms = fetched_ms;
	snprintf(entry->kept_id, sizeof(entry->kept_id), "%s", id);
}

static void load(struct policies *policies)
{
	struct buf text = BUF_INIT;
	struct mta_sts *policy = mem_alloc(sizeof(*policy));
	struct json *all = NULL;

	if (file_read(policies->path, KEPT_MAX_BYTES, &text, NULL) == 0)
		all = json_parse(buf_slice(&text), NULL);
	for (const struct json *it = json_first(all); it; it = json_next(it)) {
		const char *id = json_get_text(it, "id");
		const char *at = json_get_text(it, "fetched");
		const char *kept = json_get_text(it, "policy");
		int64_t at_ms;

		if (id && at && kept &&
		    clock_parse(slice(at), &at_ms, NULL) == 0 &&
		    mta_sts_policy_parse(slice(kept), policy, NULL) == 0)
			keep(entry_for(policies, json_key(it)), policy, id,
			     at_ms);
	}
	json_free(all);
	free(policy);
	buf_release(&text);
}

/* Asking. */

static void settle(struct entry *entry, int64_t ttl_s)
{
	entry->looked_until_ms = clock_mono_ms() + ttl_s * 1000;
	loop_timer_arm(entry->all->step, 0);
}

static void fetched(void *ctx, const struct mta_sts *policy, const char *from,
		    const struct http_date *date, const char *why)
{
	struct entry *entry = ctx;

	entry->fetch = NULL;
	if (!policy) {
		log_warn("MTA-STS policy of %s: %s%s", entry->domain, why,
			 is_valid(entry) ? "; the one that is kept counts" :
					   "");
		settle(entry, RETRY_FETCH_S);
		return;
	}
	keep(entry, policy, entry->id, clock_wall_ms());
	log_info("MTA-STS policy of %s from %s: %s", entry->domain, from,
		 mta_sts_mode_name(policy->mode));
	save(entry->all);
	settle(entry, entry->ttl_s);
}

/* The id of the one record of MTA-STS; false: there is none that counts. */
static bool find_id(struct entry *entry, const struct dns_answer *answer)
{
	size_t records = 0;

	entry->ttl_s = answer->answer_count > 0 ? TTL_MAX_S : TTL_NONE_S;
	entry->id[0] = '\0';
	for (size_t i = 0; i < answer->answer_count; i++) {
		const struct dns_record *record = &answer->answers[i];

		if (record->ttl < entry->ttl_s)
			entry->ttl_s = record->ttl;
		if (record->type == DNS_TXT && record->text)
			records += mta_sts_txt_parse(slice(record->text),
						     entry->id, NULL) != 0;
	}
	for (size_t i = 0; i < answer->authority_count; i++)
		if (answer->authority[i].type == DNS_SOA &&
		    answer->authority[i].minimum < entry->ttl_s)
			entry->ttl_s = answer->authority[i].minimum;
	if (entry->ttl_s < TTL_MIN_S)
		entry->ttl_s = TTL_MIN_S;
	return records == 1 && entry->id[0];
}

static void txt_came(void *ctx, const struct dns_answer *answer,
		     const char *why, const struct addr *from)
{
	struct entry *entry = ctx;

	entry->call = NULL;
	if (!answer ||
	    (answer->rcode != DNS_NOERROR && answer->rcode != DNS_NXDOMAIN)) {
		settle(entry, RETRY_DNS_S);
		return;
	}
	if (!find_id(entry, answer) ||
	    (is_valid(entry) && !is_due(entry) &&
	     strcmp(entry->id, entry->kept_id) == 0)) {
		settle(entry, entry->ttl_s);
		return;
	}
	entry->fetch = sts_fetch_start(
		&(struct sts_fetch_spec){ .loop = entry->all->loop,
					  .desk = entry->desk,
					  .domain = entry->domain },
		fetched, entry);
}

static void ask(struct entry *entry)
{
	struct policies *policies = entry->all;
	char name[DNS_NAME + 16];

	snprintf(name, sizeof(name), "_mta-sts.%s", entry->domain);
	entry->desk = dns_desk_new(policies->loop);
	dns_desk_set_resolvers(entry->desk, policies->resolvers,
			       policies->resolver_count);
	entry->call =
		dns_desk_resolve(entry->desk, name, DNS_TXT, txt_came, entry);
}

static void stop_asking(struct entry *entry)
{
	sts_fetch_cancel(&entry->fetch);
	dns_call_cancel(&entry->call);
	dns_desk_free(entry->desk);
	entry->desk = NULL;
}

static void on_step(void *ctx)
{
	struct policies *policies = ctx;

	list_each (it, next, &policies->entries) {
		struct entry *entry = list_entry(it, struct entry, link);

		if (entry->desk && !entry->call && !entry->fetch)
			stop_asking(entry);
	}
	policies->changed(policies->ctx);
}

bool policies_look(struct policies *policies, const char *domain,
		   const struct mta_sts **policy)
{
	struct entry *entry = entry_for(policies, domain);
	bool known = clock_mono_ms() < entry->looked_until_ms;

	if (!known && !entry->desk)
		ask(entry);
	*policy = is_valid(entry) ? entry->policy : NULL;
	return known || *policy;
}

struct policies *policies_new(struct loop *loop, const char *path,
			      const struct addr *resolvers, size_t count,
			      loop_fn *changed, void *ctx)
{
	struct policies *policies = mem_alloc(sizeof(*policies));

	policies->loop = loop;
	policies->path = mem_dup(path);
	policies->resolvers = mem_alloc((count + 1) * sizeof(*resolvers));
	for (size_t i = 0; i < count; i++)
		policies->resolvers[i] = resolvers[i];
	policies->resolver_count = count;
	policies->changed = changed;
	policies->ctx = ctx;
	list_init(&policies->entries);
	policies->step = loop_timer_new(loop, on_step, policies);
	load(policies);
	return policies;
}

void policies_free(struct policies *policies)
{
	if (!policies)
		return;
	list_each (it, next, &policies->entries) {
		struct entry *entry = list_entry(it, struct entry, link);

		stop_asking(entry);
		list_remove(&entry->link);
		free(entry->policy);
		free(entry);
	}
	map_release(&policies->by_domain);
	loop_timer_free(policies->step);
	free(policies->resolvers);
	free(policies->path);
	free(policies);
}
