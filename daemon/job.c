#include "daemon/job.h"
#include <stdlib.h>

void job_begin(struct list *jobs, struct job *job, const char *what,
	       const char *plan, void (*cancel)(void *ctx), void *ctx)
{
	job->what = what;
	job->plan = mem_dup(plan);
	job->cancel = cancel;
	job->ctx = ctx;
	list_append(jobs, &job->link);
}

void job_end(struct job *job)
{
	list_remove(&job->link);
	free(job->plan);
	job->plan = NULL;
}

const struct job *job_find(const struct list *jobs, const char *plan,
			   const char *what)
{
	for (const struct list *it = jobs->next; it != jobs; it = it->next) {
		const struct job *job = list_entry((struct list *)(uintptr_t)it,
						   struct job, link);

		if (strcmp(job->plan, plan) == 0 &&
		    (!what || strcmp(job->what, what) == 0))
			return job;
	}
	return NULL;
}

void jobs_cancel(struct list *jobs)
{
	while (!list_is_empty(jobs)) {
		struct job *job = list_entry(jobs->next, struct job, link);

		job->cancel(job->ctx); /* ends the job */
	}
}
