#include "dns/dns_vantage.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

const char *dns_view_name(enum dns_view view)
{
	static const char *const names[] = {
		[VIEW_ERROR] = "error",	    [VIEW_OLD] = "old",
		[VIEW_PARKED] = "parked",   [VIEW_NEW] = "new",
		[VIEW_MIXED] = "mixed",	    [VIEW_OTHER] = "other",
		[VIEW_STANDBY] = "standby",
	};

	assert((size_t)view < COUNT(names));
	return names[view];
}

void dns_domain_release(struct dns_domain *domain)
{
	free(domain->vantages);
	free(domain->hosts);
	free(domain->delegation.delegated);
	free(domain->delegation.own);
	free(domain->delegation.lame);
	*domain = (struct dns_domain){ 0 };
}

static void *copy_of(const void *from, size_t bytes)
{
	void *to = bytes ? mem_alloc(bytes) : NULL;

	if (to)
		memcpy(to, from, bytes);
	return to;
}

void dns_domain_copy(struct dns_domain *to, const struct dns_domain *from)
{
	*to = *from;
	to->vantages = copy_of(from->vantages,
			       from->vantage_count * sizeof(*to->vantages));
	to->hosts = copy_of(from->hosts, from->host_count * sizeof(*to->hosts));
	to->delegation.delegated = mem_dup(from->delegation.delegated);
	to->delegation.own = mem_dup(from->delegation.own);
	to->delegation.lame = mem_dup(from->delegation.lame);
}

void dns_mx_set_text(const struct dns_mx_set *set, struct buf *out)
{
	if (set->count == 0)
		buf_adds(out, "none");
	for (size_t i = 0; i < set->count; i++)
		buf_addf(out, "%s%u %s", i ? ", " : "", set->at[i].preference,
			 set->at[i].host[0] ? set->at[i].host : ".");
}

bool dns_mx_set_has(const struct dns_mx_set *set, const char *host)
{
	for (size_t i = 0; i < set->count; i++)
		if (strcasecmp(set->at[i].host, host) == 0)
			return true;
	return false;
}

bool dns_name_is_in(const char *name, const char *zone)
{
	size_t name_len = strlen(name), zone_len = strlen(zone);

	if (zone_len == 0)
		return true;
	if (name_len < zone_len ||
	    strcmp(name + name_len - zone_len, zone) != 0)
		return false;
	return name_len == zone_len || name[name_len - zone_len - 1] == '.';
}

static int compare(const void *left, const void *right)
{
	const struct dns_mx *a = left, *b = right;

	if (a->preference != b->preference)
		return a->preference < b->preference ? -1 : 1;
	return strcmp(a->host, b->host);
}

static int set_add(struct dns_mx_set *set, const struct dns_record *record)
{
	struct dns_mx *mx = &set->at[set->count];

	if (set->count == 0 || record->ttl < set->ttl)
		set->ttl = record->ttl;
	for (size_t i = 0; i < set->count; i++)
		if (set->at[i].preference == record->preference &&
		    strcmp(set->at[i].host, record->target) == 0)
			return 0;
	if (set->count == DNS_MX_MAX)
		return -1;
	mx->preference = record->preference;
	memcpy(mx->host, record->target, DNS_NAME);
	set->count++;
	return 0;
}

static int read_set(struct dns_mx_set *set, const char *domain,
		    const struct dns_answer *answer, struct err *err)
{
	struct dns_mx_set read = { 0 };

	for (size_t i = 0; i < answer->answer_count; i++) {
		const struct dns_record *record = &answer->answers[i];

		if (strcmp(record->name, domain) != 0)
			continue;
		if (record->type == DNS_CNAME)
			return err_set(err, "CNAME at %.120s", domain);
		if (record->type == DNS_MX && set_add(&read, record) < 0)
			return err_set(err, "more than %d MX", DNS_MX_MAX);
	}
	qsort(read.at, read.count, sizeof(read.at[0]), compare);
	*set = read;
	return 0;
}

static int judge(struct dns_vantage *vantage, const char *domain,
		 const struct dns_answer *answer, const char *why,
		 struct err *err)
{
	if (!answer)
		return err_set(err, "%s", why);
	vantage->came_ms = answer->came_ms;
	vantage->took_ms = answer->took_ms;
	vantage->rcode = answer->rcode;
	vantage->aa = answer->aa;
	vantage->ad = answer->ad;
	if (answer->rcode != DNS_NOERROR && answer->rcode != DNS_NXDOMAIN)
		return err_set(err, "%s", dns_rcode_name(answer->rcode));
	if (vantage->authority && !answer->aa)
		return err_set(err, "not authoritative (lame)");
	if (answer->tc)
		return err_set(err, "the answer is truncated");
	if (answer->rcode == DNS_NXDOMAIN)
		return err_set(err, "NXDOMAIN: %.120s does not exist", domain);
	return read_set(&vantage->mx, domain, answer, err);
}

void dns_vantage_take_mx(struct dns_vantage *vantage, const char *domain,
			 const struct dns_answer *answer, const char *why)
{
	struct err err = ERR_INIT;

	vantage->error[0] = '\0';
	if (judge(vantage, domain, answer, why, &err) == 0)
		return;
	snprintf(vantage->error, sizeof(vantage->error), "%.159s", err.text);
}

static const struct dns_record *find_soa(const struct dns_record *records,
					 size_t count, const char *domain)
{
	for (size_t i = 0; i < count; i++)
		if (records[i].type == DNS_SOA &&
		    dns_name_is_in(domain, records[i].name))
			return &records[i];
	return NULL;
}

void dns_vantage_take_soa(struct dns_vantage *vantage, const char *domain,
			  const struct dns_answer *answer, char zone[DNS_NAME])
{
	const struct dns_record *soa;

	if (!answer || !answer->aa)
		return;
	soa = find_soa(answer->answers, answer->answer_count, domain);
	/* The domain may lie below its zone's top: NODATA brings the SOA. */
	if (!soa)
		soa = find_soa(answer->authority, answer->authority_count,
			       domain);
	if (!soa)
		return;
	vantage->has_serial = true;
	vantage->serial = soa->serial;
	vantage->soa_minimum = soa->minimum;
	vantage->soa_ttl = soa->ttl;
	memcpy(zone, soa->name, DNS_NAME);
}
