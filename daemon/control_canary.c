/* POST canary: a message of our own to each mailbox that the plan names. */

#include "base/clock.h"
#include "daemon/canary_sender.h"
#include "daemon/control_call.h"
#include <stdlib.h>

struct ask {
	struct call *call;
	struct job job;
	bool initial;
	int64_t since_ms;
};

static void ask_free(struct ask *ask)
{
	job_end(&ask->job);
	call_free(ask->call);
	free(ask);
}

static void answered(void *ctx)
{
	struct ask *ask = ctx;
	const struct canaries *canaries = &ask->call->cutover->canaries;
	struct json *body = json_object(), *all = json_array();

	for (size_t i = 0; i < canaries->count; i++) {
		const struct canary *canary = &canaries->at[i];
		struct json *one;

		if (canary->initial != ask->initial)
			continue;
		one = canary_json(canary, canaries->plan);
		json_put_bool(one, "sent_now",
			      canary->sent_ms >= ask->since_ms);
		json_add(all, one);
	}
	json_put(body, "canaries", all);
	call_reply(ask->call->request, 200, body);
	ask_free(ask);
}

static void cancel(void *ctx)
{
	struct ask *ask = ctx;

	canary_sender_forget(ask->call->cutover->canary_sender, ask);
	call_error(ask->call->request, 503, "tideoverd ends");
	ask_free(ask);
}

void control_post_canary(struct call *call)
{
	const struct cutover *cutover = call->cutover;
	bool initial = json_get_bool(call->body, "initial");
	size_t count = initial ? cutover->plan->canary.initial.count :
				 cutover->plan->canary.recipients.count;
	struct ask *ask;

	if (count == 0 || cutover->phase == PHASE_FINISHED) {
		call_error(call->request, 409,
			   count > 0 ? "the plan is finished" :
			   initial   ? "the plan names no mailbox in "
				       "canary.initial" :
				       "the plan names no mailbox in "
				       "canary.recipients");
		call_free(call);
		return;
	}
	ask = mem_alloc(sizeof(*ask));
	ask->call = call;
	ask->initial = initial;
	ask->since_ms = clock_wall_ms();
	job_begin(&call->daemon->jobs, &ask->job, "a canary", call->plan,
		  cancel, ask);
	canary_sender_now(cutover->canary_sender, initial, call_by(call),
			  answered, ask);
}
