#include "dns/dns_survey.h"
#include <stdio.h>
#include <stdlib.h>

#define DEADLINE_MS 28000
#define IN_FLIGHT   64

struct server {
	struct list link;
	struct addr addr;
	struct dns_resolver *resolver;
};

/* The questions. */

static struct dns_resolver *server_at(struct dns_survey *survey,
				      const struct addr *addr, struct err *err)
{
	struct server *server;
	struct dns_resolver *resolver;

	list_each (it, next, &survey->servers) {
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

void survey_ask(struct dns_survey *survey, const struct addr *server,
		bool recurse, const char *name, unsigned type,
		survey_ask_fn *fn, size_t domain, size_t at)
{
	struct survey_ask *made = mem_alloc(sizeof(*made));

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
	struct survey_ask *asked = ctx;
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
		struct survey_ask *next = list_entry(survey->waiting.next,
						     struct survey_ask, link);
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

void survey_end_soon(struct dns_survey *survey)
{
	loop_timer_arm(survey->end, 0);
}

void survey_domain_ended(struct dns_survey *survey)
{
	if (--survey->domains_left == 0)
		survey_ask_hosts(survey);
}

/* Beginning and end. */

static void free_asks(struct list *asks)
{
	list_each (it, next, asks) {
		struct survey_ask *asked =
			list_entry(it, struct survey_ask, link);

		list_remove(it);
		free(asked);
	}
}

static void survey_free(struct dns_survey *survey)
{
	list_each (it, next, &survey->servers) {
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

static void on_end(void *ctx)
{
	struct dns_survey *survey = ctx;

	survey->ended = true;
	survey_give_hosts(survey);
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
				 addr_parse(slice(texts[i]), DNS_PORT,
					    &(*addrs)[i], err);

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
	survey->domains =
		mem_alloc((plan->domain_count + 1) * sizeof(*survey->domains));
	survey->works =
		mem_alloc((plan->domain_count + 1) * sizeof(*survey->works));
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
		survey_find(survey, i);
	survey_domain_ended(survey);
	return survey;
}

void dns_survey_cancel(struct dns_survey *survey)
{
	/* From within `done` it is over already. */
	if (survey && !survey->ended)
		survey_free(survey);
}
