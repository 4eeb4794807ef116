/*
 * The whole cutover on this machine: the plan's own zones, hosts and phases,
 * with a DNS authority, three caching resolvers, an old and a new mail system
 * and senders from lib/lab, and the real tideover and tideoverd as programs of
 * their own.  What the senders were told is held against what arrived.
 */

#include "base/clock.h"
#include "base/file.h"
#include "cli/rehearsal.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void say(const struct rehearsal *r, const char *text)
{
	char spent[16];

	snprintf(spent, sizeof(spent), "%5.1fs",
		 (double)(clock_mono_ms() - r->began_ms) / 1000);
	fprintf(r->out, "%s  %s\n", ink(INK_DIM, spent), text);
	fflush(r->out);
}

/* The steps of a cutover.  `begin` starts something; `over` says when the
 * next may come: 1 yes, 0 not yet, -1 it failed (r->err). */
struct step {
	const char *title;
	int (*begin)(struct rehearsal *r);
	int (*over)(struct rehearsal *r);
};

static int child_over(struct rehearsal *r, int wanted)
{
	int status = rehearsal_child(r);

	if (status < 0)
		return 0;
	if (status == wanted)
		return 1;
	return err_set(&r->err, "exit status %d instead of %d: %s", status,
		       wanted, buf_text(&r->child_output));
}

static int child_done(struct rehearsal *r)
{
	return child_over(r, EXIT_DONE);
}

static int run_plan(struct rehearsal *r)
{
	return rehearsal_run(r, "plan", r->plan_path, (char *)NULL);
}

static int run_start(struct rehearsal *r)
{
	return rehearsal_run(r, "start", r->plan_path, (char *)NULL);
}

static int run_finish(struct rehearsal *r)
{
	return rehearsal_run(r, "finish", r->plan->name, (char *)NULL);
}

static int run_attest(struct rehearsal *r)
{
	return rehearsal_run(r, "waive", r->plan->name, "straggler-rate",
			     "--gate", "detach", "--attest", "--reason",
			     "the lab's old system got nothing any more",
			     (char *)NULL);
}

static int detach_opens(struct rehearsal *r)
{
	return rehearsal_gate_opens(r, "detach");
}

static int finish_blocks(struct rehearsal *r)
{
	int over = child_over(r, EXIT_BLOCKED);

	if (over == 1)
		rehearsal_show_blocking(r);
	return over;
}

static int senders_begin(struct rehearsal *r)
{
	return rehearsal_send(r);
}

static int old_has_mail(struct rehearsal *r)
{
	return r->old->arrival_count >= 20;
}

static int publish_queue(struct rehearsal *r)
{
	return rehearsal_publish(r, REHEARSAL_MX_QUEUE);
}

static int publish_new(struct rehearsal *r)
{
	return rehearsal_publish(r, REHEARSAL_MX_NEW);
}

static int all_parked(struct rehearsal *r)
{
	return rehearsal_converged(r, "parked", true);
}

static int all_new(struct rehearsal *r)
{
	return rehearsal_converged(r, "new", true);
}

static int detach(struct rehearsal *r)
{
	rehearsal_behave(r, SYSTEM_OLD, "-detached");
	rehearsal_behave(r, SYSTEM_NEW, "-detached");
	r->mark = rehearsal_queued(r);
	return 0;
}

static int some_held(struct rehearsal *r)
{
	return rehearsal_queued(r) >= r->mark + 30;
}

static int attach(struct rehearsal *r)
{
	rehearsal_behave(r, SYSTEM_NEW, "");
	return 0;
}

/* A canary that was refused too early goes once more, before the gate. */
static int new_is_ready(struct rehearsal *r)
{
	int over = rehearsal_canaries_accepted(r);

	return over == 1 ? rehearsal_gate_opens(r, "finish") : over;
}

static int stop_senders(struct rehearsal *r)
{
	lab_sender_stop(r->sender);
	return 0;
}

static int senders_idle(struct rehearsal *r)
{
	return lab_sender_is_idle(r->sender) && rehearsal_queued(r) == 0;
}

static int nothing(struct rehearsal *r)
{
	return 0;
}

static int close_opens(struct rehearsal *r)
{
	return rehearsal_gate_opens(r, "close");
}

static int fetch_report(struct rehearsal *r)
{
	return rehearsal_run(r, "report", r->plan->name, "--output",
			     r->report_path, (char *)NULL);
}

static const struct step park_steps[] = {
	{ "the world goes on: mail arrives at the old system", senders_begin,
	  old_has_mail },
	{ "tideover plan: DNS and both systems are verified", run_plan,
	  child_done },
	{ "tideover start: the queue opens", run_start, child_done },
	{ "the MX set becomes the queue alone", publish_queue, all_parked },
	{ "parked everywhere; the old system's trace is quiet: attested",
	  run_attest, child_done },
	{ "tideover check --gate detach: the point of no return", nothing,
	  detach_opens },
	{ "the domain is detached: both systems answer 5xx now, mail is held",
	  detach, some_held },
	{ "tideover finish, too early: the gate must block", run_finish,
	  finish_blocks },
	{ "the new system has the domain", attach, new_is_ready },
	{ "tideover finish: the queue is replayed, in order", run_finish,
	  child_done },
	{ "the MX set becomes the new system's", publish_new, all_new },
	{ "the senders stop", stop_senders, senders_idle },
	{ "the trail: no cache knows the queue any more", nothing,
	  close_opens },
	{ "tideover finish: the gate close", run_finish, child_done },
	{ "tideover report", fetch_report, child_done },
	{ 0 },
};

/* The queue joins the MX set, behind the old system. */
static int publish_both(struct rehearsal *r)
{
	return rehearsal_publish(r, REHEARSAL_MX_BOTH);
}

static int all_mixed(struct rehearsal *r)
{
	return rehearsal_converged(r, "mixed", false);
}

static int all_standby(struct rehearsal *r)
{
	return rehearsal_converged(r, "standby", false);
}

static int old_down(struct rehearsal *r)
{
	lab_mx_play_preset(r->old, "down");
	r->mark = rehearsal_queued(r);
	return 0;
}

static int old_up(struct rehearsal *r)
{
	rehearsal_behave(r, SYSTEM_OLD, "");
	return 0;
}

static int queue_is_empty(struct rehearsal *r)
{
	return rehearsal_queued(r) == 0;
}

/* Coexistence: both systems have the domain, the old one fails meanwhile. */
static const struct step standby_steps[] = {
	{ "the world goes on: mail arrives at the old system", senders_begin,
	  old_has_mail },
	{ "tideover plan: DNS and both systems are verified", run_plan,
	  child_done },
	{ "tideover start: the queue opens", run_start, child_done },
	{ "the queue joins the MX set, behind the old system", publish_both,
	  all_mixed },
	{ "the old system is lost; mail comes to the queue and is held",
	  old_down, some_held },
	{ "tideover finish, too early: the gate must block", run_finish,
	  finish_blocks },
	{ "the MX set becomes the new system's", publish_new, all_new },
	{ "the new system is ready", nothing, new_is_ready },
	{ "tideover finish: the queue is replayed, in order", run_finish,
	  child_done },
	{ "the senders stop", stop_senders, senders_idle },
	{ "the trail: no cache knows the queue any more", nothing,
	  close_opens },
	{ "tideover finish: the gate close", run_finish, child_done },
	{ "tideover report", fetch_report, child_done },
	{ 0 },
};

static const struct step plain_steps[] = {
	{ "the world goes on: mail arrives at the primary", senders_begin,
	  old_has_mail },
	{ "tideover plan: DNS and the primary are verified", run_plan,
	  child_done },
	{ "tideover start: the standby is armed", run_start, child_done },
	{ "the queue joins the MX set, behind the primary", publish_both,
	  all_standby },
	{ "the primary is lost; mail comes to the queue and is held", old_down,
	  some_held },
	{ "the primary is back; nobody logs in, the queue drains by itself",
	  old_up, queue_is_empty },
	{ "the senders stop", stop_senders, senders_idle },
	{ "tideover report", fetch_report, child_done },
	{ 0 },
};

static const struct step *steps_of(const struct plan *plan)
{
	if (plan->plain)
		return plain_steps;
	return plan->strategy == STRATEGY_PARK ? park_steps : standby_steps;
}

static void drive(void *ctx)
{
	struct rehearsal *r = ctx;
	const struct step *step = &r->steps[r->at];
	int over = 0;

	if (!r->begun) {
		r->begun = true;
		r->step_ms = clock_mono_ms();
		say(r, step->title);
		over = step->begin(r);
	}
	if (over == 0)
		over = step->over(r);
	if (over == 0 && clock_mono_ms() - r->step_ms > REHEARSAL_STEP_MS)
		over = err_set(&r->err, "this step did not end in %d s",
			       REHEARSAL_STEP_MS / 1000);
	if (over < 0) {
		err_prefix(&r->err, "%s", step->title);
		loop_stop(r->loop);
		return;
	}
	rehearsal_show_status(r);
	if (over == 1) {
		r->begun = false;
		if (!r->steps[++r->at].title) {
			loop_stop(r->loop);
			return;
		}
	}
	loop_timer_arm(r->timer, over == 1 ? 0 : REHEARSAL_POLL_MS);
}

static int finish(struct rehearsal *r, struct command_call *call)
{
	struct json *document = json_object();
	struct rehearsal_verdict verdict;
	bool good;

	rehearsal_judge(r, &verdict);
	good = !r->err.text[0] && verdict.lost == 0 && verdict.changed == 0 &&
	       verdict.reordered == 0 && verdict.copies == 0 &&
	       verdict.bounced == 0;
	json_put_bool(document, "passed", good);
	json_put_number(document, "sent", (double)verdict.sent);
	json_put_number(document, "through_queue", (double)verdict.queued);
	json_put_number(document, "lost", (double)verdict.lost);
	json_put_number(document, "changed", (double)verdict.changed);
	json_put_number(document, "reordered", (double)verdict.reordered);
	json_put_number(document, "copies", (double)verdict.copies);
	json_put_number(document, "bounced", (double)verdict.bounced);
	json_put_number(document, "canaries", (double)r->canaries);
	json_put_number(document, "ms",
			(double)(clock_mono_ms() - r->began_ms));
	json_put_text(document, "report", r->report_path);
	json_put_text(document, "error", r->err.text[0] ? r->err.text : NULL);
	if (call->json)
		output_json(document);
	json_free(document);
	fprintf(r->out,
		"\n%llu messages were answered 250, %llu of them by "
		"the queue: %llu lost, %llu changed,\n%llu out of order, %llu "
		"twice, %llu bounced\n",
		(unsigned long long)verdict.sent,
		(unsigned long long)verdict.queued,
		(unsigned long long)verdict.lost,
		(unsigned long long)verdict.changed,
		(unsigned long long)verdict.reordered,
		(unsigned long long)verdict.copies,
		(unsigned long long)verdict.bounced);
	if (r->err.text[0])
		fprintf(stderr, "tideover: rehearsal: %s\n", r->err.text);
	else {
		rehearsal_show_ledger(r);
		fprintf(r->out, "report: %s\n", r->report_path);
	}
	fprintf(r->out, "%s\n",
		good ? ink(INK_GOOD, "the rehearsal passed") :
		       ink(INK_BAD, "the rehearsal FAILED"));
	return good ? EXIT_DONE : EXIT_FAILED;
}

int cmd_rehearse(struct command_call *call)
{
	struct rehearsal *r;
	struct err err = ERR_INIT;
	int status;

	r = rehearsal_new(call, call->arguments[0], &err);
	if (!r)
		return output_error(call,
				    err_is_set(&err) ? EXIT_USAGE : EXIT_FAILED,
				    "%s", err.text);
	r->steps = steps_of(r->plan);
	r->timer = loop_timer_new(r->loop, drive, r);
	loop_timer_arm(r->timer, 0);
	loop_run(r->loop);
	status = finish(r, call);
	rehearsal_free(r);
	return status;
}
