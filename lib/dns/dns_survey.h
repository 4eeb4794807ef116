/*
 * dns_survey.h - a survey under way, for the files that share it
 *
 * The survey of dns_mx.h.  For each domain the authorities are found
 * (dns_survey_find) and asked, then the resolvers (dns_survey_vantage); when
 * all domains are through, the MX hosts (dns_survey_host).  What has no answer
 * yet carries the error "timeout" from the start, so that the deadline has
 * nothing to do but to end it.
 *
 * Domains are named by their place: the arrays in them grow.
 */
#ifndef DNS_DNS_SURVEY_H
#define DNS_DNS_SURVEY_H

#include "base/list.h"
#include "base/map.h"
#include "dns/dns_mx.h"

#define DNS_PORT      53
#define SURVEY_NS_MAX 16

struct survey_ask;
typedef void survey_ask_fn(struct survey_ask *ask,
			   const struct dns_answer *answer, const char *why);

/* One question to the desk; gone after its `fn`. */
struct survey_ask {
	struct list link;
	struct dns_survey *survey;
	struct dns_call *call;
	char name[DNS_NAME];
	unsigned type;
	survey_ask_fn *fn;
	size_t domain; /* which one it is about */
	size_t at;     /* which vantage, name server or host of it */
};

struct survey_server {
	char name[DNS_NAME];
	char why[64]; /* it has no address */
};

/* What one domain needs while it is under way. */
struct survey_work {
	char zone[DNS_NAME]; /* "" while it is not known */
	struct survey_server servers[SURVEY_NS_MAX];
	size_t server_count;
	size_t pending; /* questions of the present step */
};

struct survey_host {
	struct dns_host found;
	size_t domain; /* where it was seen first */
	unsigned pending;
};

struct dns_survey {
	struct loop *loop;
	struct dns_desk *desk, *own_desk; /* the latter: ours to free */
	struct loop_timer *end;
	struct list open;    /* questions */
	struct list parents; /* delegations being looked at */
	struct addr *resolvers, *authorities;
	size_t resolver_count, authority_count;
	char queue_host[DNS_NAME];
	struct dns_domain *domains;
	struct survey_work *works;
	size_t domain_count, domains_left;
	struct map host_of; /* name to 1 + its place in `hosts` */
	struct survey_host *hosts;
	size_t host_count, hosts_left;
	bool ended;
	dns_survey_fn *done;
	void *ctx;
};

/* One server, `recurse` as in dns_resolver_ask(): `fn` never runs before this
 * returns. */
void survey_ask(struct dns_survey *survey, const struct addr *server,
		bool recurse, const char *name, unsigned type,
		survey_ask_fn *fn, size_t domain, size_t at);
/* Whichever resolver has its turn. */
void survey_resolve(struct dns_survey *survey, const char *name, unsigned type,
		    survey_ask_fn *fn, size_t domain, size_t at);
/* Every question is answered. */
void survey_end_soon(struct dns_survey *survey);
/* One domain is through; after the last come the hosts. */
void survey_domain_ended(struct dns_survey *survey);

/* Finds the authorities of a domain, then goes on to ask them. */
void survey_find(struct dns_survey *survey, size_t at);
/* Adds one to ask; NULL (and the domain's error) when they are too many. */
struct dns_vantage *survey_add_authority(struct dns_domain *domain,
					 const char *name,
					 const struct addr *addr);
/* Asks those that were added, then the resolvers. */
void survey_ask_authorities(struct dns_survey *survey, size_t at);
void survey_ask_resolvers(struct dns_survey *survey, size_t at);

/* The zone above a name that has no NS, by the SOA of the answer, or one label
 * up; "" is the root.  Borrowed from either. */
const char *survey_above(const char *name, const struct dns_answer *answer);
/* Compares the delegation, once the authorities have answered; the domain ends
 * after it. */
void survey_ask_parent(struct dns_survey *survey, size_t at);
/* One authority's NS set of the zone. */
void survey_take_own_ns(struct dns_survey *survey, size_t at,
			const struct dns_answer *answer);
void survey_parents_free(struct dns_survey *survey);

void survey_ask_hosts(struct dns_survey *survey);
/* At the end: gives each domain its hosts, asked or not. */
void survey_give_hosts(struct dns_survey *survey);

#endif
