/*
 * job.h - what goes on for a plan after its request was read
 *
 * Work with a courier, the index or the disk that outlives a turn of the loop.
 * A plan with a job is not removed; a daemon that ends cancels what is left.
 */
#ifndef DAEMON_JOB_H
#define DAEMON_JOB_H

#include "base/buf.h"
#include "base/list.h"

struct job {
	struct list link;
	const char *what; /* "a resend" */
	char *plan;
	void (*cancel)(
		void *ctx); /* frees the job's owner, without an answer */
	void *ctx;
};

void job_begin(struct list *jobs, struct job *job, const char *what,
	       const char *plan, void (*cancel)(void *ctx), void *ctx);
void job_end(struct job *job);
/* A job of the plan that is called so (NULL: any), or NULL. */
const struct job *job_find(const struct list *jobs, const char *plan,
			   const char *what);
void jobs_cancel(struct list *jobs);

#endif
