/*
 * dns_mx.h - the MX set of a domain as every vantage point sees it
 *
 * Vantage points: every address of every authoritative server of the zone
 * (asked directly, RD=0, authority first so that no negative answer is
 * planted), and the plan's resolvers.  One survey asks them all once: SOA and
 * MX at the authorities, MX at the resolvers, A/AAAA/CNAME of each MX host and
 * of the queue's host.  What any resolver may say (who the authorities are) is
 * asked of one of them, which one goes by the name (dns_desk.h).
 */
#ifndef DNS_DNS_MX_H
#define DNS_DNS_MX_H

#include "dns/dns_desk.h"

#define DNS_MX_MAX 16

struct dns_mx {
	unsigned preference;
	char host[DNS_NAME]; /* "" is a null MX (RFC 7505) */
};

struct dns_mx_set {
	size_t count; /* sorted by preference, then host */
	struct dns_mx at[DNS_MX_MAX];
	uint32_t ttl; /* smallest of the answer */
};

/* What a set is, held against the plan's: see dns_propagation.h. */
enum dns_view {
	VIEW_ERROR,
	VIEW_OLD,
	VIEW_PARKED,
	VIEW_NEW,
	VIEW_STANDBY,
	VIEW_MIXED,
	VIEW_OTHER
};
const char *dns_view_name(enum dns_view view);

struct dns_vantage {
	bool authority;
	char name[DNS_NAME];	 /* ns1.example.net, or "resolver" */
	char address[ADDR_TEXT]; /* 192.0.2.53:53 */
	char error[160];	 /* "" if an MX answer (or NODATA) came */
	unsigned rcode;
	bool aa, ad;
	bool has_serial;
	uint32_t serial, soa_minimum, soa_ttl;
	struct dns_mx_set mx;
	int64_t asked_ms;	  /* wall */
	int64_t came_ms, took_ms; /* of the MX answer, as in dns_record.h */
};

struct dns_host {
	char name[DNS_NAME];
	bool asked; /* an answer came */
	bool cname;
	size_t addresses;
	char first[48];
	char error[160];
};

/*
 * Whom the parent delegates the domain's zone to, and whom the zone names
 * itself (RFC 1034 section 4.2.2: they are to be the same).  Sets of names are
 * sorted, with a space between; owned.
 */
struct dns_delegation {
	char zone[DNS_NAME];   /* that holds the domain; "" not known */
	char parent[DNS_NAME]; /* the zone above; "" not known */
	char from[300];	       /* of whom: "a.nic.example (192.0.2.1:53)" */
	char *delegated;       /* by the parent; NULL: not known */
	char *own;	       /* by all its authorities; NULL: not known */
	uint32_t ttl;	       /* seconds, the largest of both NS sets */
	char *lame; /* delegated, not among its own, and without authority for
		     * it; NULL: none */
	char error[160]; /* why `delegated` is not known; "" */
};
/* Whether a name is in such a set (NULL: empty). */
bool dns_names_has(const char *names, const char *name);

struct dns_domain {
	char name[DNS_NAME];
	struct dns_delegation delegation;
	struct dns_vantage *vantages; /* authorities first */
	size_t vantage_count;
	struct dns_host *hosts; /* every MX host seen, and the queue's */
	size_t host_count;
	char error[160]; /* authorities could not be found: why */
};

struct dns_survey;
/* Runs once; the result is borrowed for the call, copy what is kept. */
typedef void dns_survey_fn(void *ctx, const struct dns_domain *domains,
			   size_t count);

struct dns_survey_plan {
	const char *const *domains;
	size_t domain_count;
	const char *const *resolvers; /* "system" or "ip[:port]" */
	size_t resolver_count;
	const char *const
		*authorities; /* "ip[:port]", instead of NS; or none */
	size_t authority_count;
	const char *queue_host; /* may be NULL */
	/* Where the rest of the survey asks as well, with its resolvers set
	 * (dns_desk_set_resolvers); NULL: one of its own. */
	struct dns_desk *desk;
};

/* Strings are copied.  Bounded queries in flight; ends within 30 s. */
struct dns_survey *dns_survey_start(struct loop *loop,
				    const struct dns_survey_plan *plan,
				    dns_survey_fn *done, void *ctx,
				    struct err *err);
void dns_survey_cancel(struct dns_survey *survey); /* NULL is fine */

void dns_domain_release(struct dns_domain *domain);
void dns_domain_copy(struct dns_domain *to, const struct dns_domain *from);
/* "10 mx1.example, 20 mx2.example" or "none". */
void dns_mx_set_text(const struct dns_mx_set *set, struct buf *out);
bool dns_mx_set_has(const struct dns_mx_set *set, const char *host);

#endif
