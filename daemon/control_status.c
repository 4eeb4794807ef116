/*
 * The control interface: the status of a plan.
 *
 * It costs the same at ten and at a million envelopes, but for one thing:
 * counting the replies reads through all that lives, of very much for seconds,
 * while acts and pages wait for the index.  So one count at a time is under
 * way, its result is used for a while, and nobody waits long for it who did not
 * ask for it: a status has the counts of before then, and says of when.
 */

#include "base/clock.h"
#include "base/log.h"
#include "daemon/control_call.h"
#include <stdlib.h>

#define LOG_MODULE "control"

enum {
	WAIT_MS = 15,
	SLOW_MS = 100,
	SLOW_TIMES = 20 /* as long as it took, its result is used */
};

/* A count that is under way. */
struct reply_count {
	struct daemon *daemon;
	char *plan;
	int64_t asked_ms; /* mono */
	struct list waiting;
};

/* Who waits for it; not beyond the timer, if there is one. */
struct waiting {
	struct list link;
	struct call *call;
	struct loop_timer *timer;
};

static void reply_status(struct call *call, struct cutover *cutover,
			 bool counted)
{
	struct json *status = cutover_status(
		cutover, counted ? json_copy(cutover->replies) : NULL);

	json_put_time(status, "replies_at",
		      counted ? cutover->replies_at_ms : 0);
	json_put(status, "sessions", listeners_json(call->daemon->listeners));
	json_put(status, "space", control_space_json(call->daemon));
	call_reply(call->request, 200, status);
	call_free(call);
}

static void waiting_end(struct waiting *waiting)
{
	list_remove(&waiting->link);
	loop_timer_free(waiting->timer);
	job_end(&waiting->call->job);
	free(waiting);
}

/* With what is known by now.  The plan may have been removed. */
static void answer(void *ctx)
{
	struct waiting *waiting = ctx;
	struct call *call = waiting->call;
	struct cutover *cutover = daemon_find(call->daemon, call->plan);

	waiting_end(waiting);
	if (cutover) {
		reply_status(call, cutover, true);
		return;
	}
	call_error(call->request, 404, "the plan was removed");
	call_free(call);
}

/* The daemon ends. */
static void cancel(void *ctx)
{
	struct waiting *waiting = ctx;
	struct call *call = waiting->call;

	waiting_end(waiting);
	call_error(call->request, 503, "tideoverd ends");
	call_free(call);
}

/* Takes `replies`. */
static void keep(struct cutover *cutover, const struct reply_count *count,
		 struct json *replies)
{
	int64_t now = clock_mono_ms(), took = now - count->asked_ms;

	json_free(cutover->replies);
	cutover->replies = replies;
	cutover->replies_at_ms = clock_wall_ms();
	cutover->replies_until_ms =
		took >= SLOW_MS ? now + SLOW_TIMES * took : now;
}

static void counted(void *ctx, struct json *result, const struct err *err)
{
	struct reply_count *count = ctx;
	struct cutover *cutover = daemon_find(count->daemon, count->plan);
	bool is_ours = cutover && cutover->reply_count == count;

	if (is_ours)
		cutover->reply_count = NULL;
	if (err)
		log_error("counting replies: %s", err->text);
	if (is_ours && !err)
		keep(cutover, count, result);
	else
		json_free(result);
	list_each (it, next, &count->waiting)
		answer(list_entry(it, struct waiting, link));
	free(count->plan);
	free(count);
}

static struct reply_count *count_replies(struct call *call)
{
	struct cutover *cutover = call->cutover;
	struct reply_count *count = cutover->reply_count;

	if (count)
		return count;
	count = mem_alloc(sizeof(*count));
	count->daemon = call->daemon;
	count->plan = mem_dup(call->plan);
	count->asked_ms = clock_mono_ms();
	list_init(&count->waiting);
	cutover->reply_count = count;
	index_replies(call->daemon->store.index, call->plan, counted, count);
	return count;
}

static void wait_for_count(struct call *call, bool asked)
{
	struct reply_count *count = count_replies(call);
	struct waiting *waiting = mem_alloc(sizeof(*waiting));

	waiting->call = call;
	list_append(&count->waiting, &waiting->link);
	job_begin(&call->daemon->jobs, &call->job, "a status", call->plan,
		  cancel, waiting);
	if (asked)
		return;
	waiting->timer = loop_timer_new(call->daemon->loop, answer, waiting);
	loop_timer_arm(waiting->timer, WAIT_MS);
}

void control_get_status(struct call *call)
{
	const struct cutover *cutover = call->cutover;
	bool asked = http_request_query(call->request, "replies") != NULL;
	uint64_t held = 0;

	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		held += cutover->domains[i].queue->ledger.held;
	/* Only what is held, or asked for, is worth a look into the index. */
	if (held == 0 && !asked)
		reply_status(call, call->cutover, false);
	else if (cutover->replies &&
		 clock_mono_ms() < cutover->replies_until_ms)
		reply_status(call, call->cutover, true);
	else
		wait_for_count(call, asked);
}
