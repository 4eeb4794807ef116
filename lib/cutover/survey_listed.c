#include "cutover/survey_listed.h"
#include "base/id.h"
#include "plan/plan_host.h"
#include "smtp/smtp_path.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	AT_ONCE = 4,
	PROBE_MS = 10000
};

/* One domain: whom to ask about, and how far that is. */
struct job {
	struct survey_listed *all;
	size_t domain;
	char *addresses[FACTS_LISTED_MAX];
	size_t count, next, session;
	struct probe *probe;
};

struct survey_listed {
	struct loop *loop;
	struct facts *facts;
	struct dns_desk *desk;
	enum plan_system_id of;
	size_t most;	  /* of a domain */
	struct job *jobs; /* one per domain */
	size_t next, open;
	struct loop_timer *tell;
	loop_fn *done;
	void *ctx;
};

static void listed_free(struct survey_listed *all)
{
	for (size_t i = 0; i < all->facts->plan->domain_count; i++) {
		probe_cancel(all->jobs[i].probe);
		for (size_t a = 0; a < all->jobs[i].count; a++)
			free(all->jobs[i].addresses[a]);
	}
	loop_timer_free(all->tell);
	free(all->jobs);
	free(all);
}

static void tell(void *ctx)
{
	struct survey_listed *all = ctx;
	loop_fn *done = all->done;
	void *done_ctx = all->ctx;

	listed_free(all);
	done(done_ctx);
}

/* The sample. */

static uint64_t chance(uint64_t under)
{
	uint64_t number;

	random_bytes(&number, sizeof(number));
	return number % under;
}

/* Of whom the new tenant's export lacks, `recipients` tells. */
static bool is_known_missing(const struct survey_listed *all, struct slice key)
{
	const struct tenant *tenant = &all->facts->tenant;

	return all->of == SYSTEM_NEW && tenant->of[TENANT_RECIPIENT] &&
	       !map_get(&tenant->addresses, key);
}

/* Each of the list has the same chance (algorithm R). */
static void draw(void *ctx, struct slice key, void *value)
{
	struct survey_listed *all = ctx;
	const struct plan *plan = all->facts->plan;
	ptrdiff_t at = slice_rfind(key, '@');
	const struct plan_domain *domain =
		at < 0 ? NULL : plan_domain(plan, slice_from(key, at + 1));
	struct facts_listed *kept;
	struct job *job;
	uint64_t place;

	if (!domain || is_known_missing(all, key))
		return;
	job = &all->jobs[domain - plan->domains];
	kept = &all->facts->domains[domain - plan->domains].listed;
	place = kept->listed++;
	if (place < all->most)
		job->addresses[job->count++] = slice_dup(key);
	else if ((place = chance(kept->listed)) < all->most) {
		free(job->addresses[place]);
		job->addresses[place] = slice_dup(key);
	}
}

/* Asking. */

static void start_jobs(struct survey_listed *all);
static void ask_next(struct job *job);

static void keep(struct facts_listed *kept, const struct probe_rcpt *rcpt)
{
	int code = rcpt->reply.code;

	if (code / 100 == 2)
		kept->accepted++;
	else if (code >= 500 && kept->refused++ < FACTS_NAMES_MAX)
		snprintf(kept->names[kept->refused - 1], sizeof(kept->names[0]),
			 "%.255s", rcpt->address);
}

static void came(void *ctx, const struct probe_result *result)
{
	struct job *job = ctx;
	struct facts_domain *domain = &job->all->facts->domains[job->domain];
	struct facts_listed *kept = &domain->listed;

	job->probe = NULL;
	snprintf(kept->of, sizeof(kept->of), "%s", result->target);
	kept->at_ms = result->at_ms;
	for (size_t i = 0; i < result->rcpt_count; i++)
		keep(kept, &result->rcpt[i]);
	/* Another front end may have answered than the probe's. */
	if (kept->refused > 0)
		facts_end_row(domain, job->all->of);
	job->next += job->session;
	ask_next(job);
}

static void ask_next(struct job *job)
{
	struct survey_listed *all = job->all;
	const struct plan *plan = all->facts->plan;
	const struct plan_system *system =
		&plan->domains[job->domain].systems[all->of];
	struct probe_spec spec = {
		.host = plan_deliver_host(system),
		.port = system->deliver_port,
		.helo = plan->queue_mx.host,
		.recipients = (const char *const *)job->addresses + job->next,
		.tls = all->facts->probe_tls,
		.desk = all->desk,
		.timeout_ms = PROBE_MS,
	};

	if (job->next == job->count) {
		all->open--;
		start_jobs(all);
		return;
	}
	job->session = job->count - job->next < PROBE_RCPT_MAX ?
			       job->count - job->next :
			       PROBE_RCPT_MAX;
	spec.recipient_count = job->session;
	job->probe = probe_start(all->loop, &spec, came, job);
}

static void start_jobs(struct survey_listed *all)
{
	while (all->open < AT_ONCE &&
	       all->next < all->facts->plan->domain_count) {
		all->open++;
		ask_next(&all->jobs[all->next++]);
	}
	if (all->open == 0)
		loop_timer_arm(all->tell, 0);
}

struct survey_listed *survey_listed_start(struct loop *loop,
					  struct facts *facts,
					  struct dns_desk *desk,
					  enum plan_system_id of, size_t most,
					  loop_fn *done, void *ctx)
{
	struct survey_listed *all = mem_alloc(sizeof(*all));
	size_t domains = facts->plan->domain_count;

	all->loop = loop;
	all->facts = facts;
	all->desk = desk;
	all->of = of;
	all->most = most;
	all->done = done;
	all->ctx = ctx;
	all->tell = loop_timer_new(loop, tell, all);
	all->jobs = mem_alloc(domains * sizeof(*all->jobs));
	for (size_t i = 0; i < domains; i++) {
		all->jobs[i].all = all;
		all->jobs[i].domain = i;
		facts->domains[i].listed =
			(struct facts_listed){ .asked = true, .system = of };
	}
	if (facts->listed)
		map_each(facts->listed, draw, all);
	for (size_t i = 0; i < domains; i++)
		facts->domains[i].listed.sampled = all->jobs[i].count;
	start_jobs(all);
	return all;
}

void survey_listed_cancel(struct survey_listed *listed)
{
	if (listed)
		listed_free(listed);
}
