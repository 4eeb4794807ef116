#include "cutover/survey_tlsa.h"
#include "base/clock.h"
#include "base/list.h"
#include "dns/dns_tlsa.h"
#include <stdio.h>
#include <stdlib.h>

struct host {
	struct list link;
	struct survey_tlsa *all;
	char name[DNS_NAME]; /* "_25._tcp.mx.example" */
	struct dns_tlsa_ask *ask;
};

struct survey_tlsa {
	struct facts *facts;
	struct dns_validator *validator;
	struct list hosts;
	struct loop_timer *tell;
	loop_fn *done;
	void *ctx;
};

void survey_tlsa_of(const struct plan_system *system, char name[DNS_NAME])
{
	snprintf(name, DNS_NAME, "_%d._tcp.%.240s", system->deliver_port,
		 plan_deliver_host(system));
}

static void keep(const struct host *host, const struct dns_tlsa *found,
		 const char *error)
{
	struct record_answer kept = { .type = DNS_TLSA,
				      .asked_ms = clock_wall_ms() };

	snprintf(kept.name, sizeof(kept.name), "%s", host->name);
	snprintf(kept.error, sizeof(kept.error), "%.63s", error);
	snprintf(kept.from, sizeof(kept.from), "%.60s (validates)",
		 host->all->validator ?
			 dns_validator_name(host->all->validator) :
			 "nobody");
	kept.answered = found && found->state != DNS_TLSA_FAILED;
	if (found && found->answer)
		dns_answer_copy(&kept.answer, found->answer);
	else if (found)
		kept.answer.ad = found->state == DNS_TLSA_NONE;
	records_put(host->all->facts->records, &kept);
}

static void host_free(struct host *host)
{
	dns_tlsa_cancel(&host->ask);
	list_remove(&host->link);
	free(host);
}

static void came(void *ctx, const struct dns_tlsa *found)
{
	struct host *host = ctx;
	struct survey_tlsa *all = host->all;

	host->ask = NULL;
	keep(host, found, found->why ? found->why : "");
	host_free(host);
	if (list_is_empty(&all->hosts))
		loop_timer_arm(all->tell, 0);
}

static void add(struct survey_tlsa *all, const struct plan_system *system,
		const struct err *none)
{
	struct host *host = mem_alloc(sizeof(*host));

	host->all = all;
	survey_tlsa_of(system, host->name);
	list_append(&all->hosts, &host->link);
	if (records_get(all->facts->records, host->name, DNS_TLSA)) {
		host_free(host); /* another domain goes there as well */
		return;
	}
	keep(host, NULL, all->validator ? "timeout" : none->text);
	if (all->validator)
		host->ask =
			dns_tlsa_ask(all->validator, plan_deliver_host(system),
				     system->deliver_port, came, host);
	else
		host_free(host);
}

static void free_all(struct survey_tlsa *all)
{
	list_each (it, next, &all->hosts)
		host_free(list_entry(it, struct host, link));
	dns_validator_free(all->validator);
	loop_timer_free(all->tell);
	free(all);
}

static void tell(void *ctx)
{
	struct survey_tlsa *all = ctx;
	loop_fn *done = all->done;
	void *done_ctx = all->ctx;

	free_all(all);
	done(done_ctx);
}

struct survey_tlsa *survey_tlsa_start(struct loop *loop, struct facts *facts,
				      const struct addr *resolvers,
				      size_t count, loop_fn *done, void *ctx)
{
	const struct plan *plan = facts->plan;
	struct survey_tlsa *all = mem_alloc(sizeof(*all));
	struct err none = ERR_INIT;

	all->facts = facts;
	all->done = done;
	all->ctx = ctx;
	list_init(&all->hosts);
	all->tell = loop_timer_new(loop, tell, all);
	all->validator = dns_validator_new(loop, resolvers, count, &none);
	for (size_t i = 0; i < plan->domain_count; i++)
		for (int s = 0; s < (plan->plain ? 1 : 2); s++)
			add(all, &plan->domains[i].systems[s], &none);
	if (list_is_empty(&all->hosts))
		loop_timer_arm(all->tell, 0);
	return all;
}

void survey_tlsa_cancel(struct survey_tlsa *all)
{
	if (all)
		free_all(all);
}
