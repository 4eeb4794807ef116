#include "dns/dns_survey.h"
#include <stdio.h>
#include <stdlib.h>

#define DEADLINE_MS 28000

/* The questions. */

static void came(void *ctx, const struct dns_answer *answer, const char *why,
		 const struct addr *from)
{
	struct survey_ask *asked = ctx;

	list_remove(&asked->link);
	asked->fn(asked, answer, why);
	free(asked);
}

static struct survey_ask *add(struct dns_survey *survey, const char *name,
			      unsigned type, survey_ask_fn *fn, size_t domain,
			      size_t at)
{
	struct survey_ask *made = mem_alloc(sizeof(*made));

	made->survey = survey;
	snprintf(made->name, sizeof(made->name), "%s", name);
	made->type = type;
	made->fn = fn;
	made->domain = domain;
	made->at = at;
	list_append(&survey->open, &made->link);
	return made;
}

void survey_ask(struct dns_survey *survey, const struct addr *server,
		bool recurse, const char *name, unsigned type,
		survey_ask_fn *fn, size_t domain, size_t at)
{
	struct survey_ask *made = add(survey, name, type, fn, domain, at);

	made->call = dns_desk_ask(survey->desk, server, name, type,
				  recurse ? DNS_ASK_RECURSE : 0, came, made);
}

void survey_resolve(struct dns_survey *survey, const char *name, unsigned type,
		    survey_ask_fn *fn, size_t domain, size_t at)
{
	struct survey_ask *made = add(survey, name, type, fn, domain, at);

	made->call = dns_desk_resolve(survey->desk, name, type, came, made);
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

static void survey_free(struct dns_survey *survey)
{
	list_each (it, next, &survey->open) {
		struct survey_ask *asked =
			list_entry(it, struct survey_ask, link);

		dns_call_cancel(&asked->call);
		list_remove(it);
		free(asked);
	}
	survey_parents_free(survey);
	dns_desk_free(survey->own_desk);
	for (size_t i = 0; i < survey->domain_count; i++)
		dns_domain_release(&survey->domains[i]);
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
	survey->desk = plan->desk;
	if (!survey->desk) {
		survey->desk = survey->own_desk = dns_desk_new(survey->loop);
		dns_desk_set_resolvers(survey->desk, survey->resolvers,
				       survey->resolver_count);
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
	list_init(&survey->open);
	list_init(&survey->parents);
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
