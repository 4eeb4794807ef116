#include "cutover/sts.h"
#include "base/clock.h"
#include "cutover/sts_fetch.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	AT_ONCE = 8,
	CNAMES_MAX = 5 /* one more than the survey follows */
};

struct job {
	struct sts *sts;
	size_t domain;
	struct facts_sts found;
	struct sts_fetch *fetch;
	struct loop_timer *step; /* runs `then`, from the loop */
	loop_fn *then;
};

struct sts {
	struct loop *loop;
	struct facts *facts;
	struct dns_desk *desk;
	loop_fn *done;
	void *ctx;
	struct loop_timer *tell;
	struct job *jobs[AT_ONCE];
	size_t next, open;
};

static void job_free(struct job *job)
{
	sts_fetch_cancel(&job->fetch);
	loop_timer_free(job->step);
	free(job->found.policy);
	free(job);
}

static void sts_free(struct sts *sts)
{
	for (size_t i = 0; i < AT_ONCE; i++)
		if (sts->jobs[i])
			job_free(sts->jobs[i]);
	loop_timer_free(sts->tell);
	free(sts);
}

static void tell(void *ctx)
{
	struct sts *sts = ctx;
	loop_fn *done = sts->done;
	void *done_ctx = sts->ctx;

	sts_free(sts);
	done(done_ctx);
}

static void keep(struct facts_sts *kept, struct facts_sts *found)
{
	found->at_ms = clock_wall_ms();
	found->kept = kept->kept;
	/* One that cannot be fetched changes nothing for who has it. */
	if (found->policy || (found->asked && found->records == 0))
		sts_kept_see(&found->kept, found->policy, found->id,
			     found->at_ms);
	free(kept->policy);
	*kept = *found;
	found->policy = NULL;
}

static void start_jobs(struct sts *sts);

static void end_job(void *ctx)
{
	struct job *job = ctx;
	struct sts *sts = job->sts;

	keep(&sts->facts->domains[job->domain].sts, &job->found);
	for (size_t i = 0; i < AT_ONCE; i++)
		if (sts->jobs[i] == job)
			sts->jobs[i] = NULL;
	job_free(job);
	sts->open--;
	start_jobs(sts);
}

static void on_step(void *ctx)
{
	struct job *job = ctx;

	job->then(job);
}

/* Later, when nobody is in a callback of what will be freed. */
static void go(struct job *job, loop_fn *then)
{
	job->then = then;
	loop_timer_arm(job->step, 0);
}

static void fails(struct job *job, const char *what, const char *why)
{
	snprintf(job->found.error, sizeof(job->found.error), "%.100s: %.150s",
		 what, why ? why : "no answer");
	go(job, end_job);
}

/* The policy. */

static void fetched(void *ctx, const struct mta_sts *policy, const char *from,
		    const struct http_date *date, const char *why)
{
	struct job *job = ctx;

	job->fetch = NULL;
	job->found.date = *date;
	snprintf(job->found.from, sizeof(job->found.from), "%s", from);
	snprintf(job->found.error, sizeof(job->found.error), "%s",
		 why ? why : "");
	if (policy) {
		job->found.policy = mem_alloc(sizeof(*policy));
		*job->found.policy = *policy;
	}
	go(job, end_job);
}

static void find_policy(void *ctx)
{
	struct job *job = ctx;
	const struct facts *facts = job->sts->facts;

	job->fetch = sts_fetch_start(
		&(struct sts_fetch_spec){
			.loop = job->sts->loop,
			.desk = job->sts->desk,
			.domain = facts->plan->domains[job->domain].name,
			.port = facts->https_port,
			.ca_file = facts->https_ca_file,
		},
		fetched, job);
}

/* The record. */

/* Over CNAMEs that lead out of the zone, as the survey followed them. */
static const struct record_answer *answer_for(const struct job *job)
{
	const struct facts *facts = job->sts->facts;
	char name[DNS_NAME + 16];
	const struct record_answer *answer;

	snprintf(name, sizeof(name), "_mta-sts.%s",
		 facts->plan->domains[job->domain].name);
	answer = records_get(facts->records, name, DNS_TXT);
	for (int i = 0; i < CNAMES_MAX && answer && answer->answered &&
			!record_text(answer, 0) && *record_cname(answer);
	     i++)
		answer = records_get(facts->records, record_cname(answer),
				     DNS_TXT);
	return answer;
}

static void take_records(struct job *job)
{
	const struct record_answer *answer = answer_for(job);
	struct err err = ERR_INIT;
	const char *text;

	if (!answer || !answer->answered) {
		fails(job, "_mta-sts TXT", answer ? answer->error : NULL);
		return;
	}
	job->found.asked = true;
	for (size_t i = 0; (text = record_text(answer, i)); i++)
		job->found.records +=
			mta_sts_txt_parse(slice(text), job->found.id, &err) !=
			0;
	if (job->found.records == 1 && !job->found.id[0])
		fails(job, "_mta-sts TXT", err.text);
	else
		go(job, job->found.records == 1 ? find_policy : end_job);
}

/* Jobs. */

static void start_job(struct sts *sts, struct job **place)
{
	struct job *job = mem_alloc(sizeof(*job));

	*place = job;
	job->sts = sts;
	job->domain = sts->next++;
	job->step = loop_timer_new(sts->loop, on_step, job);
	sts->open++;
	take_records(job);
}

static void start_jobs(struct sts *sts)
{
	for (size_t i = 0; i < AT_ONCE; i++)
		if (!sts->jobs[i] && sts->next < sts->facts->plan->domain_count)
			start_job(sts, &sts->jobs[i]);
	if (sts->open == 0)
		loop_timer_arm(sts->tell, 0);
}

struct sts *sts_start(struct loop *loop, struct facts *facts,
		      struct dns_desk *desk, loop_fn *done, void *ctx)
{
	struct sts *sts = mem_alloc(sizeof(*sts));

	sts->loop = loop;
	sts->facts = facts;
	sts->done = done;
	sts->ctx = ctx;
	sts->desk = desk;
	sts->tell = loop_timer_new(loop, tell, sts);
	start_jobs(sts);
	return sts;
}

void sts_cancel(struct sts *sts)
{
	if (!sts)
		return;
	for (size_t i = 0; i < sts->facts->plan->domain_count; i++) {
		bool open = i >= sts->next;

		for (size_t j = 0; j < AT_ONCE; j++)
			open |= sts->jobs[j] && sts->jobs[j]->domain == i;
		if (open)
			sts->facts->domains[i].sts.asked = false;
	}
	sts_free(sts);
}
