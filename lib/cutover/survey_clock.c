#include "cutover/survey_clock.h"
#include "net/fetch.h"
#include "plan/plan_host.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	FETCH_MS = 10000
};

struct job {
	struct survey_clock *clock;
	struct facts_date *kept;
	struct plan_endpoint server;
	char *path;
	struct dns_desk_host *finding;
	struct fetch *fetch;
};

struct survey_clock {
	struct loop *loop;
	struct facts *facts;
	struct dns_desk *desk;
	struct job jobs[FACTS_DATES];
	size_t open;
	struct loop_timer *tell;
	loop_fn *done;
	void *ctx;
};

static void clock_free(struct survey_clock *clock)
{
	for (size_t i = 0; i < clock->facts->date_count; i++) {
		fetch_cancel(&clock->jobs[i].fetch);
		dns_desk_host_cancel(&clock->jobs[i].finding);
		free(clock->jobs[i].path);
	}
	loop_timer_free(clock->tell);
	free(clock);
}

static void tell(void *ctx)
{
	struct survey_clock *clock = ctx;
	loop_fn *done = clock->done;
	void *done_ctx = clock->ctx;

	clock_free(clock);
	done(done_ctx);
}

/* `why`: NULL, or what kept its Date from us. */
static void end_job(struct job *job, const char *why)
{
	snprintf(job->kept->error, sizeof(job->kept->error), "%.150s",
		 why ? why : "");
	if (--job->clock->open == 0)
		loop_timer_arm(job->clock->tell, 0);
}

static void on_fetched(void *ctx, enum http_result result,
		       struct slice document, const struct http_date *date,
		       const char *why)
{
	struct job *job = ctx;

	job->fetch = NULL;
	job->kept->date = *date;
	end_job(job, result != HTTP_OK	? why :
		     date->date_ms == 0 ? "it says no Date" :
					  NULL);
}

static void on_address(void *ctx, const struct addr *addrs, size_t count,
		       const char *why)
{
	struct job *job = ctx;
	const struct facts *facts = job->clock->facts;
	struct err err = ERR_INIT;
	char address[ADDR_TEXT];

	job->finding = NULL;
	if (count == 0) {
		end_job(job, why ? why : "it has no address");
		return;
	}
	addr_ip(&addrs[0], address);
	snprintf(job->kept->of, sizeof(job->kept->of), "%.220s at %.63s",
		 job->server.host, address);
	job->fetch = fetch_start(job->clock->loop,
				 &(struct http_fetch){
					 .host = job->server.host,
					 .path = job->path,
					 .port = job->server.port,
					 .address = address,
					 .ca_file = facts->https_ca_file,
					 .timeout_ms = FETCH_MS,
				 },
				 on_fetched, job, &err);
	if (!job->fetch)
		end_job(job, err.text);
}

static void start_job(struct survey_clock *clock, size_t at)
{
	struct job *job = &clock->jobs[at];
	struct facts_date *kept = &clock->facts->dates[at];
	struct slice path = slice("");

	*kept = (struct facts_date){ .error = "timeout" };
	job->clock = clock;
	job->kept = kept;
	/* The plan accepted it. */
	plan_https_parse(slice(clock->facts->plan->clocks.at[at]), &job->server,
			 &path, NULL);
	job->path = path.len > 0 ? slice_dup(path) : mem_dup("/");
	snprintf(kept->of, sizeof(kept->of), "%s", job->server.host);
	clock->open++;
	job->finding = dns_desk_host(clock->desk, clock->loop, job->server.host,
				     job->server.port, on_address, job);
}

struct survey_clock *survey_clock_start(struct loop *loop, struct facts *facts,
					struct dns_desk *desk, loop_fn *done,
					void *ctx)
{
	struct survey_clock *clock = mem_alloc(sizeof(*clock));

	clock->loop = loop;
	clock->facts = facts;
	clock->desk = desk;
	clock->done = done;
	clock->ctx = ctx;
	clock->tell = loop_timer_new(loop, tell, clock);
	facts->date_count = facts->plan->clocks.count;
	for (size_t i = 0; i < facts->date_count; i++)
		start_job(clock, i);
	if (clock->open == 0)
		loop_timer_arm(clock->tell, 0);
	return clock;
}

void survey_clock_cancel(struct survey_clock *clock)
{
	if (clock)
		clock_free(clock);
}
