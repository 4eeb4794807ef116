/*
 * The survey of dns_mx.h: for each domain the authorities are found and asked,
 * then the resolvers; when all domains are through, the MX hosts.  What has no
 * answer yet carries the error "timeout" from the start, so that the deadline
 * has nothing to do but to end it.
 */
#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "dns/dns_vantage.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEADLINE_MS 28000
#define IN_FLIGHT 64
#define NS_MAX 16
#define VANTAGES_MAX 64
#define DNS_PORT 53

struct server {
	struct list link;
	struct addr addr;
	struct dns_resolver *resolver;
};

struct ask;
typedef void ask_fn(struct ask *ask, const struct dns_answer *answer,
		    const char *why);

/* One question, waiting for its turn or in flight. */
struct ask {
	struct list link;
	struct dns_survey *survey;
	struct addr server;
	char name[DNS_NAME];
	unsigned type;
	bool recurse;
	ask_fn *fn;
	size_t domain;		/* which one it is about */
	size_t at;		/* which vantage, name server or host of it */
};

struct name_server {
	char name[DNS_NAME];
	char why[64];		/* it has no address */
};

/* What one domain needs while it is under way. */
struct work {
	char zone[DNS_NAME];	/* "" while it is not known */
	struct name_server servers[NS_MAX];
	size_t server_count;
	size_t pending;		/* questions of the present step */
};

struct host {
	struct dns_host found;
	size_t domain;		/* where it was seen first */
	unsigned pending;
};

struct dns_survey {
	struct loop *loop;
	struct loop_timer *pump, *end;
	struct list servers, waiting, flying;
	size_t in_flight;
	struct addr *resolvers, *authorities;
	size_t resolver_count, authority_count;
	char queue_host[DNS_NAME];
	struct dns_domain *domains;
	struct work *works;
	size_t domain_count, domains_left;
	struct map host_of;	/* name to 1 + its place in `hosts` */
	struct host *hosts;
	size_t host_count, hosts_left;
	bool ended;
	dns_survey_fn *done;
	void *ctx;
};

/* The questions. */

static struct dns_resolver *server_at(struct dns_survey *survey,
				      const struct addr *addr, struct err *err)
{
	struct server *server;
	struct dns_resolver *resolver;

	list_each(it, next, &survey->servers) {
		server = list_entry(it, struct server, link);
		if (addr_equal(&server->addr, addr))
			return server->resolver;
	}
	resolver = dns_resolver_new(survey->loop, addr, err);
	if (!resolver)
		return NULL;
	server = mem_alloc(sizeof(*server));
	server->addr = *addr;
	server->resolver = resolver;
	list_append(&survey->servers, &server->link);
	return resolver;
}

static void ask(struct dns_survey *survey, const struct addr *server,
		bool recurse, const char *name, unsigned type, ask_fn *fn,
		size_t domain, size_t at)
{
	struct ask *made = mem_alloc(sizeof(*made));

	made->survey = survey;
	made->server = *server;
	snprintf(made->name, sizeof(made->name), "%s", name);
	made->type = type;
	made->recurse = recurse;
	made->fn = fn;
	made->domain = domain;
	made->at = at;
	list_append(&survey->waiting, &made->link);
	loop_timer_arm(survey->pump, 0);
}

static void on_answer(void *ctx, const struct dns_answer *answer,
		      const char *why)
{
	struct ask *asked = ctx;
	struct dns_survey *survey = asked->survey;

	list_remove(&asked->link);
	survey->in_flight--;
	if (!list_is_empty(&survey->waiting))
		loop_timer_arm(survey->pump, 0);
	asked->fn(asked, answer, why);
	free(asked);
}

static void on_pump(void *ctx)
{
	struct dns_survey *survey = ctx;

	while (survey->in_flight < IN_FLIGHT &&
	       !list_is_empty(&survey->waiting)) {
		struct ask *next = list_entry(survey->waiting.next, struct ask,
					      link);
		struct err err = ERR_INIT;
		struct dns_resolver *resolver =
			server_at(survey, &next->server, &err);

		list_remove(&next->link);
		list_append(&survey->flying, &next->link);
		survey->in_flight++;
		if (resolver)
			dns_resolver_ask(resolver, next->name, next->type,
					 next->recurse, on_answer, next);
		else
			on_answer(next, NULL, err.text);
	}
}

/* The MX hosts, when all domains are through. */

static void end_soon(struct dns_survey *survey)
{
	loop_timer_arm(survey->end, 0);
}

static void host_ended(struct dns_survey *survey, struct host *host)
{
	if (--host->pending > 0)
		return;
	/* An address is enough; to say that there is none takes both. */
	if (host->found.addresses > 0 || host->found.cname)
		host->found.error[0] = '\0';
	host->found.asked = host->found.error[0] == '\0' ||
		strcmp(host->found.error, "NXDOMAIN") == 0;
	if (--survey->hosts_left == 0)
		end_soon(survey);
}

static void host_cut_off(struct host *host)
{
	host->found.asked = host->found.addresses > 0;
	if (!host->found.asked)
		snprintf(host->found.error, sizeof(host->found.error),
			 "timeout");
}

static void host_error(struct host *host, const char *why)
{
	snprintf(host->found.error, sizeof(host->found.error), "%.159s", why);
}

static void take_host(struct host *host, const struct dns_answer *answer)
{
	struct dns_host *found = &host->found;

	if (answer->rcode != DNS_NOERROR) {
		host_error(host, dns_rcode_name(answer->rcode));
		return;
	}
	for (size_t i = 0; i < answer->answer_count; i++) {
		const struct dns_record *record = &answer->answers[i];

		if (record->type == DNS_CNAME &&
		    strcmp(record->name, found->name) == 0)
			found->cname = true;
		if (!record->address[0])
			continue;
		if (found->addresses++ == 0)
			snprintf(found->first, sizeof(found->first), "%s",
				 record->address);
	}
}

static void on_host_resolved(struct ask *asked,
			     const struct dns_answer *answer, const char *why)
{
	struct host *host = &asked->survey->hosts[asked->at];

	if (answer)
		take_host(host, answer);
	else
		host_error(host, why);
	host_ended(asked->survey, host);
}

/* An authority knows only its own zones; for the rest there is the resolver. */
static void on_host_authority(struct ask *asked,
			      const struct dns_answer *answer, const char *why)
{
	struct dns_survey *survey = asked->survey;
	struct host *host = &survey->hosts[asked->at];
	bool told = answer && answer->aa && (answer->rcode == DNS_NOERROR ||
					     answer->rcode == DNS_NXDOMAIN);

	if (!told && survey->resolver_count > 0) {
		ask(survey, &survey->resolvers[0], true, asked->name,
		    asked->type, on_host_resolved, asked->domain, asked->at);
		return;
	}
	if (told)
		take_host(host, answer);
	else
		host_error(host, answer ? "no authority of its zone, and no "
			   "resolver to ask" : why);
	host_ended(survey, host);
}

/* An authority that answered for the domain, if the host may be its own. */
static bool authority_for(const struct dns_survey *survey, size_t domain,
			  const char *host, struct addr *addr)
{
	const struct dns_domain *asked = &survey->domains[domain];
	const char *zone = survey->works[domain].zone;

	if (survey->authority_count == 0 &&
	    (!zone[0] || !dns_name_is_in(host, zone)))
		return false;
	for (size_t i = 0; i < asked->vantage_count; i++)
		if (asked->vantages[i].authority && asked->vantages[i].aa &&
		    addr_parse(slice(asked->vantages[i].address), DNS_PORT,
			       addr, NULL) == 0)
			return true;
	return false;
}

static void ask_host(struct dns_survey *survey, size_t at)
{
	static const unsigned types[] = { DNS_A, DNS_AAAA };
	struct host *host = &survey->hosts[at];
	struct addr server;
	bool own = authority_for(survey, host->domain, host->found.name,
				 &server);

	for (size_t i = 0; !own && i < survey->domain_count &&
	     strcmp(host->found.name, survey->queue_host) == 0; i++)
		own = authority_for(survey, i, host->found.name, &server);
	host->pending = COUNT(types);
	if (!own && survey->resolver_count == 0) {
		host_error(host, "no resolver to ask");
		host->pending = 1;
		host_ended(survey, host);
		return;
	}
	host->found.error[0] = '\0';
	for (size_t i = 0; i < COUNT(types); i++)
		ask(survey, own ? &server : &survey->resolvers[0], !own,
		    host->found.name, types[i],
		    own ? on_host_authority : on_host_resolved, host->domain,
		    at);
}

static void add_host(struct dns_survey *survey, const char *name,
		     size_t domain)
{
	struct host *host;

	if (!name[0] || map_get(&survey->host_of, slice(name)))
		return;
	survey->hosts = mem_grow(survey->hosts, (survey->host_count + 1) *
				 sizeof(*survey->hosts));
	host = &survey->hosts[survey->host_count++];
	*host = (struct host){ .domain = domain };
	snprintf(host->found.name, sizeof(host->found.name), "%s", name);
	snprintf(host->found.error, sizeof(host->found.error), "timeout");
	map_put(&survey->host_of, slice(name),
		(void *)(uintptr_t)survey->host_count);
}

static void ask_hosts(struct dns_survey *survey)
{
	for (size_t d = 0; d < survey->domain_count; d++) {
		const struct dns_domain *domain = &survey->domains[d];

		for (size_t v = 0; v < domain->vantage_count; v++)
			for (size_t i = 0; i < domain->vantages[v].mx.count;
			     i++)
				add_host(survey, domain->vantages[v].mx.at[i]
					 .host, d);
		add_host(survey, survey->queue_host, d);
	}
	survey->hosts_left = survey->host_count;
	for (size_t i = 0; i < survey->host_count; i++)
		ask_host(survey, i);
	if (survey->host_count == 0)
		end_soon(survey);
}

/* The resolvers, when the authorities have spoken. */

static struct dns_vantage *add_vantage(struct dns_domain *domain,
				       const char *name,
				       const struct addr *addr)
{
	struct dns_vantage *vantage;

	domain->vantages = mem_grow(domain->vantages,
				    (domain->vantage_count + 1) *
				    sizeof(*domain->vantages));
	vantage = &domain->vantages[domain->vantage_count++];
	*vantage = (struct dns_vantage){ .asked_ms = clock_wall_ms() };
	snprintf(vantage->name, sizeof(vantage->name), "%s", name);
	snprintf(vantage->error, sizeof(vantage->error), "timeout");
	if (addr)
		addr_format(addr, vantage->address);
	return vantage;
}

static void domain_ended(struct dns_survey *survey)
{
	if (--survey->domains_left == 0)
		ask_hosts(survey);
}

static void on_resolver_mx(struct ask *asked, const struct dns_answer *answer,
			   const char *why)
{
	struct dns_domain *domain = &asked->survey->domains[asked->domain];

	dns_vantage_take_mx(&domain->vantages[asked->at], domain->name, answer,
			    why);
	if (--asked->survey->works[asked->domain].pending == 0)
		domain_ended(asked->survey);
}

/*
 * Where the authorities have no MX, asking a resolver would plant that in its
 * cache for the SOA minimum, and the MX published next would not be seen.
 */
static bool would_plant_nothing(const struct dns_domain *domain)
{
	bool nothing = false;

	for (size_t i = 0; i < domain->vantage_count; i++) {
		const struct dns_vantage *vantage = &domain->vantages[i];

		if (!vantage->error[0] && vantage->mx.count > 0)
			return false;
		if (vantage->aa && (!vantage->error[0] ||
				    vantage->rcode == DNS_NXDOMAIN))
			nothing = true;
	}
	return nothing;
}

static void ask_resolvers(struct dns_survey *survey, size_t at)
{
	struct dns_domain *domain = &survey->domains[at];
	struct work *work = &survey->works[at];
	bool plants = would_plant_nothing(domain);

	work->pending = 0;
	for (size_t i = 0; i < survey->resolver_count; i++) {
		struct dns_vantage *vantage =
			add_vantage(domain, "resolver", &survey->resolvers[i]);

		if (plants) {
			snprintf(vantage->error, sizeof(vantage->error),
				 "not asked: no authority has an MX, and its "
				 "cache would keep that");
			continue;
		}
		work->pending++;
		ask(survey, &survey->resolvers[i], true, domain->name, DNS_MX,
		    on_resolver_mx, at, domain->vantage_count - 1);
	}
	if (work->pending == 0)
		domain_ended(survey);
}

/* The authorities. */

static void authority_ended(struct dns_survey *survey, size_t domain)
{
	if (--survey->works[domain].pending == 0)
		ask_resolvers(survey, domain);
}

static void on_authority_mx(struct ask *asked, const struct dns_answer *answer,
			    const char *why)
{
	struct dns_domain *domain = &asked->survey->domains[asked->domain];

	dns_vantage_take_mx(&domain->vantages[asked->at], domain->name, answer,
			    why);
	authority_ended(asked->survey, asked->domain);
}

static void on_authority_soa(struct ask *asked,
			     const struct dns_answer *answer, const char *why)
{
	struct dns_domain *domain = &asked->survey->domains[asked->domain];

	dns_vantage_take_soa(&domain->vantages[asked->at], domain->name,
			     answer,
			     asked->survey->works[asked->domain].zone);
	authority_ended(asked->survey, asked->domain);
}

static void ask_authorities(struct dns_survey *survey, size_t at)
{
	struct dns_domain *domain = &survey->domains[at];
	struct work *work = &survey->works[at];

	/* One more than asked: it falls when all of them are under way. */
	work->pending = 1;
	for (size_t i = 0; i < domain->vantage_count; i++) {
		struct addr addr;

		if (strcmp(domain->vantages[i].error, "timeout") != 0 ||
		    addr_parse(slice(domain->vantages[i].address), DNS_PORT,
			       &addr, NULL) < 0)
			continue;
		work->pending += 2;
		ask(survey, &addr, false, domain->name, DNS_SOA,
		    on_authority_soa, at, i);
		ask(survey, &addr, false, domain->name, DNS_MX,
		    on_authority_mx, at, i);
	}
	authority_ended(survey, at);
}

static struct dns_vantage *add_authority(struct dns_domain *domain,
					 const char *name,
					 const struct addr *addr)
{
	struct dns_vantage *vantage;

	if (domain->vantage_count == VANTAGES_MAX) {
		snprintf(domain->error, sizeof(domain->error), "more than %d "
			 "authority addresses: not all were asked",
			 VANTAGES_MAX);
		return NULL;
	}
	vantage = add_vantage(domain, name, addr);
	vantage->authority = true;
	return vantage;
}

/* Connecting a datagram socket asks the routing table and sends nothing. */
static bool has_route(const char *address)
{
	struct addr addr;
	bool has;
	int fd;

	if (addr_parse(slice(address), DNS_PORT, &addr, NULL) < 0)
		return false;
	fd = socket(addr.sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	has = connect(fd, (const struct sockaddr *)&addr.sa, addr.len) == 0;
	close(fd);
	return has;
}

static int compare(const void *left, const void *right)
{
	const struct dns_vantage *a = left, *b = right;
	int by_name = strcmp(a->name, b->name);

	return by_name ? by_name : strcmp(a->address, b->address);
}

/*
 * A host without IPv6 cannot ask an IPv6 address.  That is no evidence against
 * a name server that can be asked at another of its addresses.
 */
static void drop_unreachable(struct dns_domain *domain)
{
	size_t kept = 0;

	for (size_t i = 0; i < domain->vantage_count; i++) {
		struct dns_vantage *vantage = &domain->vantages[i];
		bool other = false;

		if (!has_route(vantage->address))
			snprintf(vantage->error, sizeof(vantage->error),
				 "no route to it from here");
		for (size_t j = 0; j < domain->vantage_count; j++)
			if (j != i && strcmp(domain->vantages[j].name,
					     vantage->name) == 0 &&
			    has_route(domain->vantages[j].address))
				other = true;
		if (strcmp(vantage->error, "timeout") == 0 || !other)
			domain->vantages[kept++] = *vantage;
	}
	domain->vantage_count = kept;
}

static void have_addresses(struct dns_survey *survey, size_t at)
{
	struct dns_domain *domain = &survey->domains[at];
	struct work *work = &survey->works[at];

	if (strcmp(domain->error, "timeout") == 0)
		domain->error[0] = '\0';
	qsort(domain->vantages, domain->vantage_count,
	      sizeof(*domain->vantages), compare);
	drop_unreachable(domain);
	for (size_t i = 0; i < work->server_count; i++) {
		struct dns_vantage *vantage;
		bool has = false;

		for (size_t v = 0; v < domain->vantage_count; v++)
			if (strcmp(domain->vantages[v].name,
				   work->servers[i].name) == 0)
				has = true;
		vantage = has ? NULL :
			add_authority(domain, work->servers[i].name, NULL);
		if (vantage)
			snprintf(vantage->error, sizeof(vantage->error),
				 "no address: %s", work->servers[i].why);
	}
	ask_authorities(survey, at);
}

static void on_server_address(struct ask *asked,
			      const struct dns_answer *answer, const char *why)
{
	struct dns_survey *survey = asked->survey;
	struct work *work = &survey->works[asked->domain];
	struct name_server *server = &work->servers[asked->at];

	if (!answer || answer->rcode != DNS_NOERROR)
		snprintf(server->why, sizeof(server->why), "%.63s",
			 answer ? dns_rcode_name(answer->rcode) : why);
	for (size_t i = 0; answer && i < answer->answer_count; i++) {
		struct addr addr;

		if (answer->answers[i].address[0] &&
		    addr_from_ip(slice(answer->answers[i].address), DNS_PORT,
				 &addr, NULL) == 0)
			add_authority(&survey->domains[asked->domain],
				      server->name, &addr);
	}
	if (--work->pending == 0)
		have_addresses(survey, asked->domain);
}

/* Finding the authorities through the first resolver. */

static void not_found(struct dns_survey *survey, size_t at, const char *name,
		      const char *why)
{
	struct dns_domain *domain = &survey->domains[at];

	snprintf(domain->error, sizeof(domain->error),
		 "no authority was found: NS of %.80s: %.40s",
		 name[0] ? name : ".", why);
	ask_resolvers(survey, at);
}

static void add_server(struct dns_survey *survey, size_t at, const char *name)
{
	struct work *work = &survey->works[at];
	struct dns_domain *domain = &survey->domains[at];

	for (size_t i = 0; i < work->server_count; i++)
		if (strcmp(work->servers[i].name, name) == 0)
			return;
	if (work->server_count == NS_MAX) {
		snprintf(domain->error, sizeof(domain->error),
			 "more than %d name servers: not all were asked",
			 NS_MAX);
		return;
	}
	snprintf(work->servers[work->server_count].name, DNS_NAME, "%s", name);
	snprintf(work->servers[work->server_count].why,
		 sizeof(work->servers[0].why), "no A or AAAA record");
	work->server_count++;
}

/* Up to the zone that holds the name, or one label if no SOA says where. */
static const char *parent_of(const char *name, const struct dns_answer *answer)
{
	const char *dot = strchr(name, '.');

	for (size_t i = 0; i < answer->authority_count; i++) {
		const struct dns_record *record = &answer->authority[i];

		if (record->type == DNS_SOA && strcmp(record->name, name) &&
		    dns_name_is_in(name, record->name))
			return record->name;
	}
	return dot ? dot + 1 : "";
}

static void on_ns(struct ask *asked, const struct dns_answer *answer,
		  const char *why)
{
	struct dns_survey *survey = asked->survey;
	size_t at = asked->domain;
	struct work *work = &survey->works[at];

	if (!answer || (answer->rcode != DNS_NOERROR &&
			answer->rcode != DNS_NXDOMAIN)) {
		not_found(survey, at, asked->name,
			  answer ? dns_rcode_name(answer->rcode) : why);
		return;
	}
	for (size_t i = 0; i < answer->answer_count; i++)
		if (answer->answers[i].type == DNS_NS &&
		    strcmp(answer->answers[i].name, asked->name) == 0)
			add_server(survey, at, answer->answers[i].target);
	if (work->server_count == 0) {
		const char *parent = parent_of(asked->name, answer);

		/* The root's servers know nothing of anybody's MX. */
		if (!parent[0])
			not_found(survey, at, asked->name,
				  answer->rcode ? "NXDOMAIN" : "none");
		else
			ask(survey, &survey->resolvers[0], true, parent,
			    DNS_NS, on_ns, at, 0);
		return;
	}
	snprintf(work->zone, sizeof(work->zone), "%s", asked->name);
	for (size_t i = 0; i < work->server_count; i++) {
		work->pending += 2;
		ask(survey, &survey->resolvers[0], true, work->servers[i].name,
		    DNS_A, on_server_address, at, i);
		ask(survey, &survey->resolvers[0], true, work->servers[i].name,
		    DNS_AAAA, on_server_address, at, i);
	}
}

static void start_domain(struct dns_survey *survey, size_t at)
{
	struct dns_domain *domain = &survey->domains[at];

	for (size_t i = 0; i < survey->authority_count; i++)
		add_authority(domain, "authority", &survey->authorities[i]);
	if (survey->authority_count > 0) {
		ask_authorities(survey, at);
	} else if (survey->resolver_count > 0) {
		snprintf(domain->error, sizeof(domain->error), "timeout");
		ask(survey, &survey->resolvers[0], true, domain->name, DNS_NS,
		    on_ns, at, 0);
	} else {
		snprintf(domain->error, sizeof(domain->error),
			 "no resolver to find the authorities with");
		ask_resolvers(survey, at);
	}
}

/* Beginning and end. */

static void free_asks(struct list *asks)
{
	list_each(it, next, asks) {
		struct ask *asked = list_entry(it, struct ask, link);

		list_remove(it);
		free(asked);
	}
}

static void survey_free(struct dns_survey *survey)
{
	list_each(it, next, &survey->servers) {
		struct server *server = list_entry(it, struct server, link);

		dns_resolver_free(server->resolver);
		free(server);
	}
	free_asks(&survey->waiting);
	free_asks(&survey->flying);
	for (size_t i = 0; i < survey->domain_count; i++)
		dns_domain_release(&survey->domains[i]);
	loop_timer_free(survey->pump);
	loop_timer_free(survey->end);
	map_release(&survey->host_of);
	free(survey->hosts);
	free(survey->domains);
	free(survey->works);
	free(survey->resolvers);
	free(survey->authorities);
	free(survey);
}

static void domain_add_host(struct dns_survey *survey,
			    struct dns_domain *domain, const char *name)
{
	uintptr_t at = (uintptr_t)map_get(&survey->host_of, slice(name));

	for (size_t i = 0; i < domain->host_count; i++)
		if (strcmp(domain->hosts[i].name, name) == 0)
			return;
	if (at == 0)
		return;
	domain->hosts = mem_grow(domain->hosts, (domain->host_count + 1) *
				 sizeof(*domain->hosts));
	domain->hosts[domain->host_count++] = survey->hosts[at - 1].found;
}

static void on_end(void *ctx)
{
	struct dns_survey *survey = ctx;

	survey->ended = true;
	for (size_t i = 0; i < survey->host_count; i++)
		if (survey->hosts[i].pending > 0)
			host_cut_off(&survey->hosts[i]);
	/* Cut off by the deadline before the hosts' turn: named, not asked. */
	for (size_t d = 0; d < survey->domain_count; d++) {
		struct dns_domain *domain = &survey->domains[d];

		for (size_t v = 0; v < domain->vantage_count; v++)
			for (size_t i = 0; i < domain->vantages[v].mx.count;
			     i++) {
				const char *host =
					domain->vantages[v].mx.at[i].host;

				add_host(survey, host, d);
				domain_add_host(survey, domain, host);
			}
		add_host(survey, survey->queue_host, d);
		domain_add_host(survey, domain, survey->queue_host);
	}
	survey->done(survey->ctx, survey->domains, survey->domain_count);
	survey_free(survey);
}

static int parse_servers(const char *const *texts, size_t count,
			 struct addr **addrs, size_t *parsed, struct err *err)
{
	*addrs = mem_alloc((count + 1) * sizeof(**addrs));
	for (size_t i = 0; i < count; i++) {
		int rc = strcmp(texts[i], "system") == 0 ?
			dns_system_server(&(*addrs)[i], err) :
			addr_parse(slice(texts[i]), DNS_PORT, &(*addrs)[i],
				   err);

		if (rc < 0)
			return -1;
		(*parsed)++;
	}
	return 0;
}

static int take_plan(struct dns_survey *survey,
		     const struct dns_survey_plan *plan, struct err *err)
{
	if (parse_servers(plan->resolvers, plan->resolver_count,
			  &survey->resolvers, &survey->resolver_count, err) < 0)
		return err_prefix(err, "resolver");
	if (parse_servers(plan->authorities, plan->authority_count,
			  &survey->authorities, &survey->authority_count,
			  err) < 0)
		return err_prefix(err, "authority");
	if (plan->queue_host &&
	    !dns_name_normal(slice(plan->queue_host), survey->queue_host))
		return err_set(err, "'%s' is no DNS name", plan->queue_host);
	survey->domains = mem_alloc((plan->domain_count + 1) *
				    sizeof(*survey->domains));
	survey->works = mem_alloc((plan->domain_count + 1) *
				  sizeof(*survey->works));
	for (size_t i = 0; i < plan->domain_count; i++) {
		if (!dns_name_normal(slice(plan->domains[i]),
				     survey->domains[i].name))
			return err_set(err, "'%s' is no DNS name",
				       plan->domains[i]);
		survey->domain_count++;
	}
	return 0;
}

struct dns_survey *dns_survey_start(struct loop *loop,
				    const struct dns_survey_plan *plan,
				    dns_survey_fn *done, void *ctx,
				    struct err *err)
{
	struct dns_survey *survey = mem_alloc(sizeof(*survey));

	survey->loop = loop;
	survey->done = done;
	survey->ctx = ctx;
	list_init(&survey->servers);
	list_init(&survey->waiting);
	list_init(&survey->flying);
	survey->pump = loop_timer_new(loop, on_pump, survey);
	survey->end = loop_timer_new(loop, on_end, survey);
	if (take_plan(survey, plan, err) < 0) {
		survey_free(survey);
		return NULL;
	}
	loop_timer_arm(survey->end, DEADLINE_MS);
	/* One more, so that the hosts wait for the last to be started. */
	survey->domains_left = survey->domain_count + 1;
	for (size_t i = 0; i < survey->domain_count; i++)
		start_domain(survey, i);
	domain_ended(survey);
	return survey;
}

void dns_survey_cancel(struct dns_survey *survey)
{
	/* From within `done` it is over already. */
	if (survey && !survey->ended)
		survey_free(survey);
}
