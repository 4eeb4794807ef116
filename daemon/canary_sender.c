#include "daemon/canary_sender.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/courier.h"
#include "mail/canary_mail.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "canary"

enum {
	PATIENCE_MS = 30000 /* of a gate, for the next answer */
};

/* The way to one target. */
struct lane {
	struct canary_sender *sender;
	const struct cutover_target *target;
	struct courier *courier; /* NULL: no session */
	struct loop_timer *next, *late;
	struct canary *canary; /* under way, or NULL */
	struct buf from, text;
};

/* Somebody who is told when those of a kind are answered. */
struct waiter {
	struct list link;
	struct canary_sender *sender;
	bool initial;
	struct loop_timer *timer;
	loop_fn *done;
	void *ctx;
};

struct canary_sender {
	struct cutover *cutover;
	char **wanted; /* as the canaries: who wants it to go now, or NULL */
	struct lane *lanes; /* as the targets */
	struct list waiters;
};

/* Who waits. */

static bool is_open(const struct canary_sender *sender, bool initial)
{
	const struct canaries *canaries = &sender->cutover->canaries;

	for (size_t i = 0; i < canaries->count; i++)
		if (canaries->at[i].initial == initial &&
		    (sender->wanted[i] ||
		     canaries->at[i].state == CANARY_UNDER_WAY))
			return true;
	return false;
}

static int64_t patience_ms(const struct canary_sender *sender)
{
	int64_t wait_ms = sender->cutover->plan->timing.canary_wait;

	return wait_ms < PATIENCE_MS ? wait_ms : PATIENCE_MS;
}

static void waiter_free(struct waiter *waiter)
{
	list_remove(&waiter->link);
	loop_timer_free(waiter->timer);
	free(waiter);
}

static void tell(void *ctx)
{
	struct waiter *waiter = ctx;
	loop_fn *done = waiter->done;
	void *done_ctx = waiter->ctx;

	waiter_free(waiter);
	done(done_ctx);
}

/* Its end, or patience for one answer more. */
static void look_again(struct waiter *waiter)
{
	loop_timer_arm(waiter->timer, is_open(waiter->sender, waiter->initial) ?
					      patience_ms(waiter->sender) :
					      0);
}

static void tell_waiters(struct canary_sender *sender)
{
	list_each (it, next, &sender->waiters)
		look_again(list_entry(it, struct waiter, link));
}

static void wait_for(struct canary_sender *sender, bool initial, loop_fn *done,
		     void *ctx)
{
	struct waiter *waiter = mem_alloc(sizeof(*waiter));

	waiter->sender = sender;
	waiter->initial = initial;
	waiter->done = done;
	waiter->ctx = ctx;
	waiter->timer = loop_timer_new(sender->cutover->env.loop, tell, waiter);
	list_append(&sender->waiters, &waiter->link);
	look_again(waiter);
}

void canary_sender_forget(struct canary_sender *sender, const void *ctx)
{
	list_each (it, next, &sender->waiters) {
		struct waiter *waiter = list_entry(it, struct waiter, link);

		if (waiter->ctx == ctx)
			waiter_free(waiter);
	}
}

/* One after another. */

static void next_one(struct lane *lane)
{
	lane->canary = NULL;
	loop_timer_arm(lane->next, 0);
	tell_waiters(lane->sender);
}

/* The line first: an answer that is not on record opens nothing. */
static void note_answer(struct lane *lane, struct json *data)
{
	struct cutover *cutover = lane->sender->cutover;
	struct err err = ERR_INIT;

	if (cutover_note(cutover, "canary-reply", json_copy(data), &err) < 0) {
		log_error("journal: %s", err.text);
		json_put_text(data, "state", NULL);
		json_put_number(data, "code", 0);
		json_put_text(data, "text", err.text);
	}
	canaries_take(&cutover->canaries, "canary-reply", data,
		      clock_wall_ms());
}

static void carried(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct lane *lane = ctx;
	const struct canary_answer answer = {
		.stage = stage,
		.reply = reply,
		.lacks_tls = courier_lacks_tls(lane->courier),
		.peer = courier_peer(lane->courier),
		.tls = courier_tls(lane->courier),
	};
	struct json *data = canary_reply_json(lane->canary, &answer);

	loop_timer_stop(lane->late);
	log_info("a canary of plan %s at %s: %s: %d %s",
		 lane->sender->cutover->plan->name, lane->canary->target,
		 json_get_text(data, "state"), reply->code, reply->enhanced);
	note_answer(lane, data);
	json_free(data);
	next_one(lane);
}

static void late(void *ctx)
{
	struct lane *lane = ctx;
	char why[80], wait[CLOCK_TEXT];

	clock_format_duration(lane->sender->cutover->plan->timing.canary_wait,
			      wait);
	snprintf(why, sizeof(why), "no answer in %s", wait);
	courier_give_up(lane->courier, why);
}

static void use_courier(struct lane *lane)
{
	const struct cutover *cutover = lane->sender->cutover;

	if (lane->courier)
		return;
	lane->courier = courier_new(&(struct courier_spec){
		.loop = cutover->env.loop,
		.reader = cutover->env.store->reader,
		.resolver = cutover->resolver,
		.tls = cutover->tls,
		.policy = cutover->plan->replay.tls,
		.trust = lane->target->trust,
		.host = lane->target->target.host,
		.port = lane->target->target.port,
		.helo = cutover->plan->queue_mx.host,
		.data_reply_ms = cutover->plan->timing.data_reply,
	});
}

static void carry(struct lane *lane, const struct id *id, int64_t now_ms)
{
	const struct cutover *cutover = lane->sender->cutover;
	const char *host = cutover->plan->queue_mx.host;
	const struct canary_mail mail = {
		.host = host,
		.plan = cutover->plan->name,
		.id = id->text,
		.to = lane->canary->address,
		.target = lane->canary->target,
		.now_ms = now_ms,
	};
	struct courier_parcel parcel = {
		.forward_path = lane->canary->address,
		.domain = lane->canary->domain->name,
		.utf8 = slice_has_8bit(slice(lane->canary->address)),
		.id = *id,
	};

	buf_clear(&lane->from);
	buf_clear(&lane->text);
	canary_mail_sender(host, &lane->from);
	canary_mail_write(&mail, &lane->text);
	parcel.reverse_path = buf_text(&lane->from);
	parcel.text = buf_text(&lane->text);
	parcel.bytes = lane->text.len;
	use_courier(lane);
	loop_timer_arm(lane->late, cutover->plan->timing.canary_wait);
	courier_carry(lane->courier, &parcel, carried, lane);
}

/* The first that is wanted and goes this way; its place, or -1. */
static ptrdiff_t find_wanted(const struct lane *lane)
{
	const struct canaries *canaries = &lane->sender->cutover->canaries;

	for (size_t i = 0; i < canaries->count; i++)
		if (lane->sender->wanted[i] &&
		    strcmp(canaries->at[i].target, lane->target->target.name) ==
			    0)
			return (ptrdiff_t)i;
	return -1;
}

static void send_next(void *ctx)
{
	struct lane *lane = ctx;
	struct canary_sender *sender = lane->sender;
	ptrdiff_t at = find_wanted(lane);
	int64_t now_ms = clock_wall_ms();
	struct id id = id_new(now_ms);
	struct err err = ERR_INIT;
	struct canary *canary;
	struct json *data;

	if (at < 0) {
		courier_free(lane->courier);
		lane->courier = NULL;
		return;
	}
	canary = &sender->cutover->canaries.at[at];
	data = canary_sent_json(canary, &id, sender->wanted[at]);
	free(sender->wanted[at]);
	sender->wanted[at] = NULL;
	if (cutover_note(sender->cutover, "canary", json_copy(data), &err) <
	    0) {
		log_error("no canary leaves: journal: %s", err.text);
		next_one(lane);
	} else {
		canaries_take(&sender->cutover->canaries, "canary", data,
			      now_ms);
		lane->canary = canary;
		carry(lane, &id, now_ms);
	}
	json_free(data);
}

static void want(struct canary_sender *sender, size_t at, const char *by)
{
	if (!sender->wanted[at])
		sender->wanted[at] = mem_dup(by);
}

static void go(struct canary_sender *sender)
{
	for (size_t i = 0; i < sender->cutover->target_count; i++)
		if (!sender->lanes[i].canary)
			loop_timer_arm(sender->lanes[i].next, 0);
}

void canary_sender_for_gate(struct canary_sender *sender, enum gate gate,
			    const char *by, loop_fn *done, void *ctx)
{
	const struct canaries *canaries = &sender->cutover->canaries;
	bool initial = gate == GATE_START;
	int64_t now_ms = clock_wall_ms();

	for (size_t i = 0; i < canaries->count; i++) {
		const struct canary *canary = &canaries->at[i];

		if (canary->initial == initial &&
		    canary_may_go(canary, canaries->plan, now_ms) &&
		    !canary_stands(canary, canaries->plan, now_ms))
			want(sender, i, by);
	}
	go(sender);
	wait_for(sender, initial, done, ctx);
}

void canary_sender_now(struct canary_sender *sender, bool initial,
		       const char *by, loop_fn *done, void *ctx)
{
	const struct canaries *canaries = &sender->cutover->canaries;

	for (size_t i = 0; i < canaries->count; i++)
		if (canaries->at[i].initial == initial &&
		    canary_may_go(&canaries->at[i], canaries->plan,
				  clock_wall_ms()))
			want(sender, i, by);
	go(sender);
	wait_for(sender, initial, done, ctx);
}

struct canary_sender *canary_sender_new(struct cutover *cutover)
{
	struct canary_sender *sender = mem_alloc(sizeof(*sender));

	sender->cutover = cutover;
	sender->wanted =
		mem_alloc(cutover->canaries.count * sizeof(*sender->wanted));
	sender->lanes =
		mem_alloc(cutover->target_count * sizeof(*sender->lanes));
	list_init(&sender->waiters);
	for (size_t i = 0; i < cutover->target_count; i++) {
		struct lane *lane = &sender->lanes[i];

		lane->sender = sender;
		lane->target = cutover->targets[i];
		lane->next = loop_timer_new(cutover->env.loop, send_next, lane);
		lane->late = loop_timer_new(cutover->env.loop, late, lane);
	}
	return sender;
}

void canary_sender_free(struct canary_sender *sender)
{
	if (!sender)
		return;
	list_each (it, next, &sender->waiters)
		waiter_free(list_entry(it, struct waiter, link));
	for (size_t i = 0; i < sender->cutover->target_count; i++) {
		struct lane *lane = &sender->lanes[i];

		courier_free(lane->courier);
		loop_timer_free(lane->next);
		loop_timer_free(lane->late);
		buf_release(&lane->from);
		buf_release(&lane->text);
	}
	for (size_t i = 0; i < sender->cutover->canaries.count; i++)
		free(sender->wanted[i]);
	free(sender->wanted);
	free(sender->lanes);
	free(sender);
}
