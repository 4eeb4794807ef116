#include "daemon/resend.h"
#include "daemon/courier.h"
#include <stdio.h>
#include <stdlib.h>

struct copy {
	struct id id;
	uint32_t envelope;
	struct spool_place place;
	uint64_t bytes;
	bool eightbit, utf8;
	char *reverse_path, *forward_path, *domain;
};

struct resend {
	struct resend_spec spec;
	char *by;
	const struct resend_owner *owner;
	void *ctx;
	struct copy *copies;
	size_t count, cap, at;
	size_t sent, refused, gone;
	struct courier *courier;
	const struct cutover_target *target; /* the courier's */
	struct loop_timer *next;
	char error[1024]; /* why it ends early; as long as an err */
};

struct resend *resend_new(const struct resend_spec *spec,
			  const struct resend_owner *owner, void *ctx)
{
	struct resend *resend = mem_alloc(sizeof(*resend));

	resend->spec = *spec;
	resend->by = mem_dup(spec->by);
	resend->spec.by = resend->by;
	resend->owner = owner;
	resend->ctx = ctx;
	return resend;
}

void resend_free(struct resend *resend)
{
	if (!resend)
		return;
	for (size_t i = 0; i < resend->count; i++) {
		free(resend->copies[i].reverse_path);
		free(resend->copies[i].forward_path);
		free(resend->copies[i].domain);
	}
	free(resend->copies);
	courier_free(resend->courier);
	loop_timer_free(resend->next);
	free(resend->by);
	free(resend);
}

void resend_add(struct resend *resend, const struct json *row)
{
	struct copy *copy;

	if (resend->count == resend->cap) {
		resend->cap = resend->cap ? resend->cap * 2 : 64;
		resend->copies = mem_grow(
			resend->copies, resend->cap * sizeof(*resend->copies));
	}
	copy = &resend->copies[resend->count++];
	*copy = (struct copy){
		.envelope = (uint32_t)json_get_number(row, "envelope", 0),
		.place.segment = (uint32_t)json_get_number(row, "segment", 0),
		.place.offset = (uint64_t)json_get_number(row, "offset", 0),
		.place.body = (uint64_t)json_get_number(row, "body", 0),
		.place.sealed = json_get_bool(row, "sealed"),
		.bytes = (uint64_t)json_get_number(row, "bytes", 0),
		.eightbit = json_get_bool(row, "eightbit"),
		.utf8 = json_get_bool(row, "utf8"),
		.reverse_path = mem_dup(json_get_text(row, "reverse_path")),
		.forward_path = mem_dup(json_get_text(row, "forward_path")),
		.domain = mem_dup(json_get_text(row, "domain")),
	};
	id_parse(slice(json_get_text(row, "id")), &copy->id);
}

size_t resend_count(const struct resend *resend)
{
	return resend->count;
}

static bool is_kept(const struct resend *resend, const struct copy *copy)
{
	return spool_space_has(resend->spec.space, &copy->id, &copy->place);
}

size_t resend_kept(const struct resend *resend)
{
	size_t kept = 0;

	for (size_t i = 0; i < resend->count; i++)
		kept += is_kept(resend, &resend->copies[i]);
	return kept;
}

static const struct cutover_target *target_of(const struct resend *resend,
					      const struct copy *copy)
{
	struct cutover_domain *domain =
		cutover_domain(resend->spec.cutover, slice(copy->domain));

	return domain ? domain->targets[resend->spec.to] : NULL;
}

static struct json *copy_json(const struct resend *resend,
			      const struct copy *copy)
{
	const struct cutover_target *target = target_of(resend, copy);
	struct json *row = json_object();

	json_put_text(row, "id", copy->id.text);
	json_put_number(row, "envelope", copy->envelope);
	json_put_text(row, "reverse_path", copy->reverse_path);
	json_put_text(row, "forward_path", copy->forward_path);
	json_put_number(row, "bytes", (double)copy->bytes);
	json_put_text(row, "target", target ? target->target.name : NULL);
	return row;
}

void resend_each(const struct resend *resend,
		 void (*each)(void *ctx, const struct json *row), void *ctx)
{
	for (size_t i = 0; i < resend->count; i++) {
		struct json *row = copy_json(resend, &resend->copies[i]);

		json_put_bool(row, "copy", is_kept(resend, &resend->copies[i]));
		each(ctx, row);
		json_free(row);
	}
}

static void end(struct resend *resend)
{
	struct json *result = json_object(), *data;
	struct err err = ERR_INIT;

	json_put_number(result, "sent", (double)resend->sent);
	json_put_number(result, "refused", (double)resend->refused);
	json_put_number(result, "gone", (double)resend->gone);
	json_put_number(result, "left", (double)(resend->count - resend->at));
	json_put_text(result, "error", resend->error[0] ? resend->error : NULL);
	data = json_copy(result);
	json_put_text(data, "by", resend->by);
	if (cutover_note(resend->spec.cutover, "resend-end", data, &err) < 0)
		json_put_text(result, "error", err.text);
	resend->owner->on_end(resend->ctx, result);
	json_free(result);
	resend_free(resend);
}

/* The evidence first; whoever waits hears of it second. */
static bool tell(struct resend *resend, const struct copy *copy,
		 const char *stage, const struct smtp_reply *reply, bool sent)
{
	struct json *attempt = copy_json(resend, copy), *data;
	struct err err = ERR_INIT;
	int result;

	json_put_text(attempt, "stage", stage);
	json_put_number(attempt, "code", reply->code);
	json_put_text(attempt, "enhanced", reply->enhanced);
	json_put_text(attempt, "text", reply->text);
	json_put_bool(attempt, "sent", sent);
	json_put_text(attempt, "tls",
		      resend->courier ? courier_tls(resend->courier) : "");
	data = json_copy(attempt);
	json_put_text(data, "by", resend->by);
	result = cutover_note(resend->spec.cutover, "resend-attempt", data,
			      &err);
	if (result < 0)
		snprintf(resend->error, sizeof(resend->error), "%s", err.text);
	resend->owner->on_attempt(resend->ctx, attempt);
	json_free(attempt);
	return result == 0;
}

static void carried(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct resend *resend = ctx;
	const struct copy *copy = &resend->copies[resend->at++];
	bool sent = reply->code / 100 == 2;

	if (sent)
		resend->sent++;
	else
		resend->refused++;
	if (courier_is_unreachable(resend->courier))
		snprintf(resend->error, sizeof(resend->error),
			 "%s is not there: %d %.200s",
			 resend->target->target.name, reply->code, reply->text);
	if (!tell(resend, copy, smtp_stage_name(stage), reply, sent) ||
	    resend->error[0])
		end(resend);
	else
		loop_timer_arm(resend->next, 0);
}

/* The system's policy is that of the replay; pace is one at a time. */
static void use_target(struct resend *resend,
		       const struct cutover_target *target)
{
	const struct cutover *cutover = resend->spec.cutover;

	if (resend->target == target)
		return;
	courier_free(resend->courier);
	resend->target = target;
	resend->courier = courier_new(&(struct courier_spec){
		.loop = resend->spec.store->loop,
		.reader = resend->spec.store->reader,
		.resolver = cutover->resolver,
		.tls = cutover->tls,
		.policy = cutover->plan->replay.tls,
		.trust = target->trust,
		.host = target->target.host,
		.port = target->target.port,
		.helo = cutover->plan->queue_mx.host,
		.data_reply_ms = cutover->plan->timing.data_reply,
	});
}

static void send_next(void *ctx)
{
	struct resend *resend = ctx;
	const struct cutover_target *target;
	const struct copy *copy;
	struct courier_parcel parcel;

	if (resend->at == resend->count ||
	    !resend->owner->is_wanted(resend->ctx)) {
		end(resend);
		return;
	}
	copy = &resend->copies[resend->at];
	target = target_of(resend, copy);
	if (!target || !is_kept(resend, copy)) {
		const struct smtp_reply none = { .text = "no copy is kept" };

		resend->at++;
		resend->gone++;
		if (tell(resend, copy, NULL, &none, false))
			loop_timer_arm(resend->next, 0);
		else
			end(resend);
		return;
	}
	use_target(resend, target);
	parcel = (struct courier_parcel){
		.reverse_path = copy->reverse_path,
		.forward_path = copy->forward_path,
		.domain = copy->domain,
		.eightbit = copy->eightbit,
		.utf8 = copy->utf8,
		.bytes = copy->bytes,
		.id = copy->id,
		.place = copy->place,
	};
	courier_carry(resend->courier, &parcel, carried, resend);
}

void resend_run(struct resend *resend)
{
	resend->next =
		loop_timer_new(resend->spec.store->loop, send_next, resend);
	loop_timer_arm(resend->next, 0);
}
