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

/* Of a domain. */
struct unsent {
	char *why; /* its copies cannot go, or NULL */
	size_t count;
};

/* The index is asked how many they are. */
struct counting {
	struct resend *resend; /* NULL: it is gone */
};

struct resend {
	struct resend_spec spec;
	char *by;
	const struct resend_owner *owner;
	void *ctx;
	struct counting *counting;
	struct selection_walk *walk;
	size_t total;
	bool over; /* all pages are through */
	/* This page. */
	struct copy *copies;
	size_t count, room, at;
	bool more;
	size_t good; /* with a copy: sent, refused, unsent, or would be tried */
	size_t sent, refused, gone;
	struct unsent *unsent; /* per domain of the plan */
	struct courier *courier;
	const struct cutover_target *target; /* the courier's */
	struct loop_timer *next;
	char error[1024]; /* why it ends early; as long as an err */
};

static void forget_page(struct resend *resend)
{
	for (size_t i = 0; i < resend->count; i++) {
		free(resend->copies[i].reverse_path);
		free(resend->copies[i].forward_path);
		free(resend->copies[i].domain);
	}
	resend->count = resend->at = 0;
}

void resend_free(struct resend *resend)
{
	if (!resend)
		return;
	if (resend->counting)
		resend->counting->resend = NULL;
	selection_walk_free(resend->walk);
	forget_page(resend);
	free(resend->copies);
	for (size_t i = 0; i < resend->spec.cutover->plan->domain_count; i++)
		free(resend->unsent[i].why);
	free(resend->unsent);
	courier_free(resend->courier);
	loop_timer_free(resend->next);
	free(resend->by);
	free(resend);
}

static void take_copy(struct resend *resend, const struct json *row)
{
	struct copy *copy = &resend->copies[resend->count++];

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

static void take_page(struct resend *resend, const struct json *rows)
{
	size_t count = json_count(rows);

	forget_page(resend);
	if (count > resend->room) {
		resend->room = count;
		resend->copies =
			mem_grow(resend->copies, count * sizeof(struct copy));
	}
	for (const struct json *row = json_first(rows); row;
	     row = json_next(row))
		take_copy(resend, row);
}

static bool is_kept(const struct resend *resend, const struct copy *copy)
{
	return spool_space_has(resend->spec.space, &copy->id, &copy->place);
}

static struct cutover_domain *domain_of(const struct resend *resend,
					const struct copy *copy)
{
	return cutover_domain(resend->spec.cutover, slice(copy->domain));
}

static const struct cutover_target *target_of(const struct resend *resend,
					      const struct copy *copy)
{
	const struct cutover_domain *domain = domain_of(resend, copy);

	return domain ? domain->targets[resend->spec.to] : NULL;
}

static struct unsent *unsent_of(const struct resend *resend,
				const struct copy *copy)
{
	return &resend->unsent[domain_of(resend, copy) -
			       resend->spec.cutover->domains];
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

static struct json *unsent_json(const struct resend *resend)
{
	const struct cutover *cutover = resend->spec.cutover;
	struct json *all = json_array();

	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct unsent *unsent = &resend->unsent[i];
		const struct cutover_domain *domain = &cutover->domains[i];
		struct json *one;

		if (unsent->count == 0)
			continue;
		one = json_object();
		json_put_text(one, "domain", domain->plan->name);
		json_put_text(one, "target",
			      domain->targets[resend->spec.to]->target.name);
		json_put_number(one, "count", (double)unsent->count);
		json_put_text(one, "error", unsent->why);
		json_add(all, one);
	}
	return all;
}

static void end(struct resend *resend)
{
	struct json *result = json_object(), *data;
	struct err err = ERR_INIT;
	size_t done;

	/* What was counted and did not come has no copy any more. */
	if (resend->over && resend->total > resend->good)
		resend->gone = resend->total - resend->good;
	done = resend->spec.dry_run ?
		       0 :
		       resend->sent + resend->refused + resend->gone;
	json_put_number(result, "sent", (double)resend->sent);
	json_put_number(result, "refused", (double)resend->refused);
	json_put_number(result, "gone", (double)resend->gone);
	json_put_number(result, "left",
			resend->total > done ? (double)(resend->total - done) :
					       0);
	json_put(result, "unsent", unsent_json(resend));
	json_put_text(result, "error", resend->error[0] ? resend->error : NULL);
	if (!resend->spec.dry_run) {
		data = json_copy(result);
		json_put_text(data, "by", resend->by);
		if (cutover_note(resend->spec.cutover, "resend-end", data,
				 &err) < 0)
			json_put_text(result, "error", err.text);
	}
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

/* Nor will the next ones go: of this domain, or of all that go there. */
static void give_up(struct resend *resend, const struct copy *copy,
		    const struct smtp_reply *reply)
{
	const struct cutover *cutover = resend->spec.cutover;
	const struct cutover_domain *domain = domain_of(resend, copy);
	bool alone = courier_fails_domain_alone(resend->courier);
	char *why = mem_printf("no session with %s: %.0d%s%s",
			       resend->target->target.name, reply->code,
			       reply->code ? " " : "", reply->text);

	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct cutover_domain *other = &cutover->domains[i];

		if (other == domain ||
		    (!alone &&
		     other->targets[resend->spec.to] == resend->target))
			mem_replace(&resend->unsent[i].why, why);
	}
	free(why);
}

static void carried(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct resend *resend = ctx;
	const struct copy *copy = &resend->copies[resend->at++];
	bool sent = reply->code / 100 == 2;

	resend->good++;
	if (sent) {
		resend->sent++;
	} else if (courier_is_unreachable(resend->courier)) {
		give_up(resend, copy, reply);
		unsent_of(resend, copy)->count++;
	} else {
		resend->refused++;
	}
	if (tell(resend, copy, smtp_stage_name(stage), reply, sent))
		loop_timer_arm(resend->next, 0);
	else
		end(resend);
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

static void page(void *ctx, const struct json *rows, bool more,
		 const struct err *err);

static void page_is_over(struct resend *resend)
{
	if (resend->more) {
		selection_walk_on(resend->walk, page, resend);
		return;
	}
	resend->over = true;
	end(resend);
}

/* Past those that cannot go. */
static void leave_unsent(struct resend *resend)
{
	for (; resend->at < resend->count; resend->at++) {
		const struct copy *copy = &resend->copies[resend->at];

		if (!target_of(resend, copy) || !is_kept(resend, copy) ||
		    !unsent_of(resend, copy)->why)
			return;
		resend->good++;
		unsent_of(resend, copy)->count++;
	}
}

static void send_next(void *ctx)
{
	struct resend *resend = ctx;
	const struct cutover_target *target;
	const struct copy *copy;
	struct courier_parcel parcel;

	if (!resend->owner->is_wanted(resend->ctx)) {
		end(resend);
		return;
	}
	leave_unsent(resend);
	if (resend->at == resend->count) {
		page_is_over(resend);
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

static void tell_page(struct resend *resend)
{
	for (size_t i = 0; i < resend->count; i++) {
		const struct copy *copy = &resend->copies[i];
		struct json *row = copy_json(resend, copy);
		bool kept = is_kept(resend, copy);

		resend->good += kept;
		resend->gone += !kept;
		json_put_bool(row, "copy", kept);
		resend->owner->on_attempt(resend->ctx, row);
		json_free(row);
	}
	if (resend->owner->is_wanted(resend->ctx))
		page_is_over(resend);
	else
		end(resend);
}

static void page(void *ctx, const struct json *rows, bool more,
		 const struct err *err)
{
	struct resend *resend = ctx;

	if (err) {
		snprintf(resend->error, sizeof(resend->error), "%s", err->text);
		end(resend);
		return;
	}
	take_page(resend, rows);
	resend->more = more;
	if (resend->spec.dry_run)
		tell_page(resend);
	else
		send_next(resend);
}

static void counted(void *ctx, struct json *result, const struct err *err)
{
	struct counting *counting = ctx;
	struct resend *resend = counting->resend;
	size_t total = (size_t)json_get_number(result, "count", 0);

	free(counting);
	json_free(result);
	if (!resend)
		return;
	resend->counting = NULL;
	resend->total = total;
	if (resend->owner->on_count(resend->ctx, total, err))
		selection_walk_on(resend->walk, page, resend);
}

struct resend *resend_begin(const struct resend_spec *spec,
			    const struct resend_owner *owner, void *ctx)
{
	struct resend *resend = mem_alloc(sizeof(*resend));
	struct index *index = spec->store->index;

	resend->spec = *spec;
	resend->by = mem_dup(spec->by);
	resend->owner = owner;
	resend->ctx = ctx;
	resend->unsent = mem_alloc(spec->cutover->plan->domain_count *
				   sizeof(*resend->unsent));
	resend->next = loop_timer_new(spec->store->loop, send_next, resend);
	resend->walk =
		selection_walk_new(index, spec->selection, SELECTION_COPIES);
	resend->counting = mem_alloc(sizeof(*resend->counting));
	resend->counting->resend = resend;
	index_count(index, &spec->selection->select, counted, resend->counting);
	return resend;
}
