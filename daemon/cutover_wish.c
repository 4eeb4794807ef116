#include "daemon/cutover.h"
#include "base/clock.h"
#include "daemon/canary_sender.h"
#include <stdio.h>
#include <stdlib.h>

/* An operator's wish that needs a gate first. */
struct wish {
	struct list link;
	struct cutover *cutover;
	enum phase next;
	enum gate gate;
	bool from_breaker; /* finish again: the breaker reopens */
	char *by;
	cutover_gate_fn *done;
	void *ctx;
	struct err err;
};

static void wish_free(struct wish *wish)
{
	list_remove(&wish->link);
	free(wish->by);
	free(wish);
}

void cutover_wish_cancel(struct cutover *cutover)
{
	list_each (it, next, &cutover->wishes)
		wish_free(list_entry(it, struct wish, link));
}

static struct wish *wish_new(struct cutover *cutover, const char *by,
			     cutover_gate_fn *done, void *ctx)
{
	struct wish *wish = mem_alloc(sizeof(*wish));

	wish->cutover = cutover;
	wish->by = mem_dup(by);
	wish->done = done;
	wish->ctx = ctx;
	list_append(&cutover->wishes, &wish->link);
	return wish;
}

static void wish_end(struct wish *wish, const struct findings *findings)
{
	wish->done(wish->ctx, wish->cutover, findings,
		   wish->err.text[0] ? &wish->err : NULL);
	wish_free(wish);
}

/* Answers from the loop, as a gate would. */
static void wish_now(void *ctx)
{
	wish_end(ctx, NULL);
}

/* Opens: it is journalled first. */
static void clear_breakers(struct cutover *cutover, const char *by,
			   struct err *err)
{
	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		struct cutover_domain *domain = &cutover->domains[i];
		struct json *data;

		if (!domain->breaker)
			continue;
		data = json_object();
		json_put_text(data, "by", by);
		json_put_text(data, "domain", domain->plan->name);
		json_put_text(data, "reason", "the gate is open");
		if (journal_add(cutover->journal, "breaker-open", data, err) <
		    0)
			return;
		cutover_stop_clear_breaker(domain);
	}
	cutover_look(cutover);
}

static void wish_judged(void *ctx, struct cutover *cutover,
			const struct findings *findings, const struct err *err)
{
	struct wish *wish = ctx;

	if (err)
		wish->err = *err;
	else if (findings->open && wish->from_breaker)
		clear_breakers(cutover, wish->by, &wish->err);
	else if (findings->open && cutover->phase != wish->next)
		cutover_enter(cutover, wish->next, wish->by, &wish->err);
	wish_end(wish, findings);
}

static void wish_judge(void *ctx)
{
	struct wish *wish = ctx;

	cutover_judge(wish->cutover, wish->gate, NULL, wish_judged, wish);
}

/* Who goes through a gate sends its canaries before; who only looks does not. */
static void pass_gate(struct wish *wish, enum gate gate)
{
	wish->gate = gate;
	if (gate == GATE_START || gate == GATE_FINISH)
		canary_sender_for_gate(wish->cutover->canary_sender, gate,
				       wish->by, wish_judge, wish);
	else
		wish_judge(wish);
}

static void refuse(struct wish *wish, const char *verb)
{
	err_set(&wish->err, "cannot %s: the plan is %s", verb,
		phase_name(wish->cutover->phase));
	loop_post(wish->cutover->env.loop, wish_now, wish);
}

void cutover_start(struct cutover *cutover, const char *by,
		   cutover_gate_fn *done, void *ctx)
{
	struct wish *wish = wish_new(cutover, by, done, ctx);

	if (cutover->phase == PHASE_PLANNED &&
	    cutover_enter(cutover, PHASE_OPENING, by, &wish->err) < 0) {
		loop_post(cutover->env.loop, wish_now, wish);
		return;
	}
	if (cutover->phase == PHASE_OPENING) {
		wish->next =
			cutover->plan->plain ? PHASE_STANDING : PHASE_HOLDING;
		pass_gate(wish, GATE_START);
		return;
	}
	if (cutover->phase == PHASE_FINISHED) {
		err_set(&wish->err,
			"plan %s is finished: tideover remove %s first, or "
			"start it under another name",
			cutover->plan->name, cutover->plan->name);
		loop_post(cutover->env.loop, wish_now, wish);
		return;
	}
	loop_post(cutover->env.loop, wish_now, wish); /* done before */
}

static bool breaker_is_closed(const struct cutover *cutover)
{
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		if (cutover->domains[i].breaker)
			return true;
	return false;
}

void cutover_finish(struct cutover *cutover, const char *by, bool now,
		    cutover_gate_fn *done, void *ctx)
{
	struct wish *wish = wish_new(cutover, by, done, ctx);

	switch (cutover->phase) {
	case PHASE_HOLDING:
		wish->next = PHASE_RELEASING;
		pass_gate(wish, GATE_FINISH);
		return;
	case PHASE_RELEASING:
	case PHASE_RETURNING:
		if (!breaker_is_closed(cutover))
			break;
		wish->from_breaker = true;
		pass_gate(wish, cutover->phase == PHASE_RELEASING ?
					GATE_FINISH :
					GATE_ROLLBACK);
		return;
	case PHASE_TRAILING:
	case PHASE_RETURNED:
	case PHASE_STANDING:
		wish->next = PHASE_FINISHED;
		if (now) {
			cutover_enter(cutover, PHASE_FINISHED, by, &wish->err);
			break;
		}
		pass_gate(wish, GATE_CLOSE);
		return;
	case PHASE_FINISHED:
		break;
	case PHASE_PLANNED:
	case PHASE_OPENING:
		refuse(wish, "finish");
		return;
	}
	loop_post(cutover->env.loop, wish_now, wish);
}

void cutover_rollback(struct cutover *cutover, const char *by,
		      cutover_gate_fn *done, void *ctx)
{
	struct wish *wish = wish_new(cutover, by, done, ctx);

	if (cutover->phase == PHASE_RETURNING ||
	    cutover->phase == PHASE_RETURNED) {
		loop_post(cutover->env.loop, wish_now, wish);
		return;
	}
	if (phase_may_enter(cutover->phase, PHASE_RETURNING, cutover->plan,
			    NULL) < 0) {
		refuse(wish, "roll back");
		return;
	}
	wish->next = PHASE_RETURNING;
	pass_gate(wish, GATE_ROLLBACK);
}

int cutover_abort(struct cutover *cutover, const char *by, struct err *err)
{
	if (cutover->phase == PHASE_PLANNED)
		return 0;
	if (cutover->phase != PHASE_OPENING)
		return err_set(err,
			       "the plan is %s: tideover rollback is the way "
			       "back, where there is one",
			       phase_name(cutover->phase));
	for (size_t i = 0; i < cutover->plan->domain_count; i++)
		if (cutover->domains[i].queue->ledger.accepted > 0)
			return err_set(err,
				       "mail was accepted already: let it go "
				       "on, tideover start until the gate "
				       "opens, then tideover rollback");
	return cutover_enter(cutover, PHASE_PLANNED, by, err);
}

struct waive {
	struct cutover *cutover;
	char *check, *by, *reason;
	enum gate gate;
	bool attest;
	cutover_gate_fn *done;
	void *ctx;
};

static int waive_found(struct waive *waive, const struct findings *findings,
		       struct err *err)
{
	struct waiver waiver = { .gate = waive->gate, .attest = waive->attest };
	const struct finding *finding;
	struct json *data;

	if (findings->count == 0)
		return err_set(err, "the gate %s does not ask the check %s",
			       gate_name(waive->gate), waive->check);
	finding = &findings->at[0];
	if (waiver_may(&waiver, finding, err) < 0)
		return -1;
	snprintf(waiver.check, sizeof(waiver.check), "%s", waive->check);
	finding_fingerprint(finding, waiver.fingerprint);
	data = json_object();
	json_put_text(data, "check", waive->check);
	json_put_text(data, "gate", gate_name(waive->gate));
	json_put_text(data, "by", waive->by);
	json_put_text(data, "reason", waive->reason);
	json_put_bool(data, "attest", waive->attest);
	json_put_text(data, "finding", finding->summary);
	json_put_text(data, "fingerprint", waiver.fingerprint);
	if (journal_add(waive->cutover->journal, "waive", data, err) < 0)
		return -1;
	waiver.at_ms = clock_wall_ms();
	waiver.by = mem_dup(waive->by);
	waiver.reason = mem_dup(waive->reason);
	cutover_add_waiver(waive->cutover, &waiver);
	return 0;
}

static void waive_judged(void *ctx, struct cutover *cutover,
			 const struct findings *findings, const struct err *err)
{
	struct waive *waive = ctx;
	struct err own = ERR_INIT;

	if (err)
		own = *err;
	else
		waive_found(waive, findings, &own);
	waive->done(waive->ctx, cutover, findings, own.text[0] ? &own : NULL);
	free(waive->check);
	free(waive->by);
	free(waive->reason);
	free(waive);
}

void cutover_waive(struct cutover *cutover, const char *check, enum gate gate,
		   const char *by, const char *reason, bool attest,
		   cutover_gate_fn *done, void *ctx)
{
	struct waive *waive = mem_alloc(sizeof(*waive));

	waive->cutover = cutover;
	waive->check = mem_dup(check);
	waive->by = mem_dup(by);
	waive->reason = mem_dup(reason);
	waive->gate = gate;
	waive->attest = attest;
	waive->done = done;
	waive->ctx = ctx;
	cutover_judge(cutover, gate, check, waive_judged, waive);
}
