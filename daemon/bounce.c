#include "daemon/bounce.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/act.h"
#include "daemon/courier.h"
#include "mail/dsn.h"
#include "plan/plan_host.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "bounce"

enum {
	REASON_MAX = 1500,
	/* RFC 5321 section 4.5.3.2.6, whatever the plan's own targets need. */
	DATA_REPLY_MS = 600000
};

struct bounce {
	struct bounce_spec spec;
	char *by, *reason, *from, *relay; /* relay: "host:port" */
	struct plan_endpoint to;
	struct json *rows, *failed;
	const struct json *at; /* the first row of this message */
	bounce_done_fn *done;
	void *ctx;
	size_t bounced;
	struct tls_client *tls;
	struct courier *courier;
	struct loop_timer *next;
	/* The message at hand. */
	struct queue_envelope *envelopes[RECORD_MAX_ENVELOPES];
	const struct json *evidence[RECORD_MAX_ENVELOPES];
	size_t count;
	struct act *act;
	struct spool_read *read;
	struct buf notice;
	struct smtp_reply reply;
	char why[REASON_MAX];
};

static const struct queue_message *message(const struct bounce *bounce)
{
	return bounce->envelopes[0]->message;
}

static void add_failed(struct bounce *bounce, const struct json *row,
		       const char *error)
{
	struct json *one = json_object();

	json_put_text(one, "id", json_get_text(row, "id"));
	json_put_number(one, "envelope", json_get_number(row, "envelope", 0));
	json_put_text(one, "error", error);
	json_add(bounce->failed, one);
}

static void next_message(struct bounce *bounce)
{
	loop_timer_arm(bounce->next, 0);
}

/* While the envelopes are there: what the relay said, or why it was not heard. */
static void note(struct bounce *bounce, const char *event, const char *error)
{
	struct json *data = json_object(), *envelopes = json_array();
	struct err err = ERR_INIT;

	for (size_t i = 0; i < bounce->count; i++)
		json_add(envelopes,
			 json_new_number(json_get_number(bounce->evidence[i],
							 "envelope", 0)));
	json_put_text(data, "id", message(bounce)->id.text);
	json_put(data, "envelopes", envelopes);
	json_put_text(data, "reverse_path", message(bounce)->reverse_path);
	json_put_text(data, "relay", bounce->relay);
	if (error) {
		json_put_text(data, "error", error);
	} else {
		json_put_number(data, "code", bounce->reply.code);
		json_put_text(data, "reply", bounce->reply.text);
	}
	json_put_text(data, "by", bounce->by);
	if (cutover_note(bounce->spec.cutover, event, data, &err) < 0)
		log_error("journal: %s", err.text);
}

/* Nothing was promised to anybody: it stays held, and says why. */

static void gave_back(void *ctx, size_t done, const struct err *err)
{
	struct bounce *bounce = ctx;

	bounce->act = NULL;
	if (err)
		log_error("a failed bounce could not be kept: %s", err->text);
	next_message(bounce);
}

static void give_back(struct bounce *bounce, const char *error)
{
	for (size_t i = 0; i < bounce->count; i++)
		add_failed(bounce, bounce->evidence[i], error);
	note(bounce, "not-bounced", error);
	snprintf(bounce->why, sizeof(bounce->why), "not bounced: %s", error);
	bounce->act = act_begin(bounce->spec.store, bounce->envelopes,
				bounce->count, ENVELOPE_HELD, bounce->by,
				bounce->why, gave_back, bounce);
}

/* 3. The relay took it: bounced. */

static void is_bounced(void *ctx, size_t done, const struct err *err)
{
	struct bounce *bounce = ctx;

	bounce->act = NULL;
	if (err)
		log_error("the sender was told, but that could not be kept: %s",
			  err->text);
	next_message(bounce);
}

static void carried(void *ctx, enum smtp_stage stage,
		    const struct smtp_reply *reply)
{
	struct bounce *bounce = ctx;
	char error[REASON_MAX];
	char code[16] = ""; /* none: the session failed, and text says how */

	if (reply->code / 100 != 2) {
		if (reply->code)
			snprintf(code, sizeof(code), "%d ", reply->code);
		snprintf(error, sizeof(error),
			 "the relay %s said to the notification, at %s: %s%s%s",
			 bounce->relay, smtp_stage_name(stage), code,
			 reply->text,
			 reply->code == 0 && stage == SMTP_STAGE_DOT ?
				 " (it may have taken it)" :
				 "");
		give_back(bounce, error);
		return;
	}
	bounce->reply = *reply;
	note(bounce, "bounced", NULL);
	bounce->bounced += bounce->count;
	snprintf(bounce->why, sizeof(bounce->why),
		 "%s (the sender was told: %s answered %d %s)", bounce->reason,
		 bounce->relay, reply->code, reply->text);
	bounce->act = act_begin(bounce->spec.store, bounce->envelopes,
				bounce->count, ENVELOPE_BOUNCED, bounce->by,
				bounce->why, is_bounced, bounce);
}

/* 2. The notification, with the message's header. */

static void fill_recipient(const struct json *row, struct dsn_recipient *to)
{
	const struct json *last = json_get(row, "last_reply");
	const char *at = json_get_text(last, "at");

	*to = (struct dsn_recipient){
		.forward_path = json_get_text(row, "forward_path"),
		.code = (int)json_get_number(last, "code", 0),
		.enhanced = json_get_text(last, "enhanced"),
		.reply = json_get_text(last, "text"),
		.stage = json_get_text(last, "stage"),
		.target = json_get_text(last, "target"),
	};
	if (at)
		clock_parse(slice(at), &to->attempt_ms, NULL);
}

static void header_came(void *ctx, struct slice bytes, const struct err *err)
{
	struct bounce *bounce = ctx;
	struct dsn_recipient recipients[RECORD_MAX_ENVELOPES];
	struct courier_parcel parcel = { 0 };
	struct dsn dsn;

	bounce->read = NULL;
	if (err) {
		give_back(bounce, err->text);
		return;
	}
	for (size_t i = 0; i < bounce->count; i++)
		fill_recipient(bounce->evidence[i], &recipients[i]);
	dsn = (struct dsn){
		.host = bounce->spec.cutover->plan->queue_mx.host,
		.from = bounce->from,
		.reverse_path = message(bounce)->reverse_path,
		.id = message(bounce)->id.text,
		.own_id = "",
		.arrival_ms = message(bounce)->accepted_ms,
		.now_ms = clock_wall_ms(),
		.header = dsn_header(bytes),
		.recipients = recipients,
		.count = bounce->count,
	};
	parcel.id = id_new(dsn.now_ms);
	dsn.own_id = parcel.id.text;
	buf_clear(&bounce->notice);
	dsn_write(&dsn, &bounce->notice);
	parcel.reverse_path = "";
	parcel.forward_path = message(bounce)->reverse_path;
	parcel.utf8 = slice_has_8bit(slice(parcel.forward_path));
	parcel.text = buf_text(&bounce->notice);
	parcel.bytes = bounce->notice.len;
	courier_carry(bounce->courier, &parcel, carried, bounce);
}

static void is_held(void *ctx, size_t done, const struct err *err)
{
	struct bounce *bounce = ctx;

	bounce->act = NULL;
	if (err) {
		for (size_t i = 0; i < bounce->count; i++)
			add_failed(bounce, bounce->evidence[i], err->text);
		next_message(bounce);
		return;
	}
	/* Nobody else acts on them until the sender is told. */
	for (size_t i = 0; i < bounce->count; i++)
		bounce->envelopes[i]->acting = true;
	bounce->read =
		spool_read_body(bounce->spec.store->reader,
				&message(bounce)->id, &message(bounce)->place,
				message(bounce)->body_bytes, 0, DSN_HEADER_MAX,
				header_came, bounce);
}

/* 1. One message after another. */

static void take(struct bounce *bounce, const struct json *row)
{
	struct queue_envelope *envelope = NULL;
	struct id id;

	if (id_parse(slice(json_get_text(row, "id")), &id))
		envelope = queue_find_envelope(
			bounce->spec.queue, &id,
			(uint32_t)json_get_number(row, "envelope", 0));
	if (!envelope || !act_is_possible(envelope, ENVELOPE_BOUNCED)) {
		add_failed(bounce, row,
			   "it is on its way, or final, or somebody else acts "
			   "on it");
		return;
	}
	bounce->evidence[bounce->count] = row;
	bounce->envelopes[bounce->count++] = envelope;
}

static void is_here(void *ctx, const struct err *err)
{
	struct bounce *bounce = ctx;
	const struct json *first = bounce->at;

	bounce->count = 0;
	for (; bounce->at && strcmp(json_get_text(bounce->at, "id"),
				    json_get_text(first, "id")) == 0;
	     bounce->at = json_next(bounce->at))
		if (err)
			add_failed(bounce, bounce->at, err->text);
		else
			take(bounce, bounce->at);
	if (bounce->count == 0) {
		next_message(bounce);
		return;
	}
	snprintf(bounce->why, sizeof(bounce->why),
		 "a bounce by %s is under way, the sender may know already: %s",
		 bounce->by, bounce->reason);
	bounce->act = act_begin(bounce->spec.store, bounce->envelopes,
				bounce->count, ENVELOPE_HELD, bounce->by,
				bounce->why, is_held, bounce);
}

/* It may have fallen asleep meanwhile. */
static void begin_message(void *ctx)
{
	struct bounce *bounce = ctx;
	uint64_t sequence = 0;

	if (!bounce->at) {
		bounce->done(bounce->ctx, bounce->bounced, bounce->failed);
		bounce_cancel(bounce);
		return;
	}
	slice_u64(slice(json_get_text(bounce->at, "sequence")), &sequence);
	backlog_fetch(bounce->spec.backlog, bounce->spec.cutover->plan->name,
		      sequence, &sequence, 1, is_here, bounce);
}

static bool open_courier(struct bounce *bounce, struct err *err)
{
	const struct plan *plan = bounce->spec.cutover->plan;
	enum tls_policy policy =
		plan->bounce.tls == PLAN_TLS_OPPORTUNISTIC ? TLS_OPPORTUNISTIC :
		plan->bounce.tls == PLAN_TLS_REQUIRED	   ? TLS_REQUIRED :
							     TLS_VERIFIED;
	struct courier_spec spec;

	bounce->tls = tls_client_new(policy, NULL, NULL, NULL, err);
	if (!bounce->tls)
		return false;
	spec = (struct courier_spec){
		.loop = bounce->spec.store->loop,
		.reader = bounce->spec.store->reader,
		.resolver = bounce->spec.cutover->resolver,
		.tls = bounce->tls,
		.policy = plan->bounce.tls,
		.host = bounce->to.host,
		.port = bounce->to.port,
		.helo = plan->queue_mx.host,
		.data_reply_ms = DATA_REPLY_MS,
	};
	bounce->courier = courier_new(&spec);
	return true;
}

static int find_relay(const struct bounce_spec *spec, struct plan_endpoint *to,
		      struct err *err)
{
	const struct plan *plan = spec->cutover->plan;

	if (spec->relay)
		return plan_endpoint_parse(slice(spec->relay), 25, to, err);
	if (!plan->bounce.host)
		return err_set(err,
			       "plan '%s' names no relay for notifications: "
			       "give --relay HOST:PORT (or \"bounce\": "
			       "{\"deliver_to\": \"HOST:PORT\"} in the plan "
			       "before its start), or discard the mail",
			       plan->name);
	snprintf(to->host, sizeof(to->host), "%s", plan->bounce.host);
	to->port = plan->bounce.port;
	return 0;
}

int bounce_check(const struct bounce_spec *spec, struct err *err)
{
	struct plan_endpoint to;

	return find_relay(spec, &to, err);
}

struct bounce *bounce_begin(const struct bounce_spec *spec,
			    const struct json *rows, bounce_done_fn *done,
			    void *ctx, struct err *err)
{
	const struct plan *plan = spec->cutover->plan;
	struct plan_endpoint to;
	struct bounce *bounce;

	if (find_relay(spec, &to, err) < 0)
		return NULL;
	bounce = mem_alloc(sizeof(*bounce));
	bounce->spec = *spec;
	bounce->spec.by = bounce->spec.reason = bounce->spec.relay = NULL;
	bounce->to = to;
	bounce->relay = mem_printf("%s:%d", to.host, to.port);
	bounce->by = mem_dup(spec->by);
	bounce->reason = mem_dup(spec->reason);
	bounce->from = plan->bounce.from ? mem_dup(plan->bounce.from) :
					   mem_printf("MAILER-DAEMON@%s",
						      plan->queue_mx.host);
	bounce->rows = json_copy(rows);
	bounce->failed = json_array();
	bounce->at = json_first(bounce->rows);
	bounce->done = done;
	bounce->ctx = ctx;
	bounce->next = loop_timer_new(spec->store->loop, begin_message, bounce);
	if (!open_courier(bounce, err)) {
		bounce_cancel(bounce);
		return NULL;
	}
	next_message(bounce);
	return bounce;
}

void bounce_cancel(struct bounce *bounce)
{
	if (!bounce)
		return;
	backlog_fetch_cancel(bounce->spec.backlog, bounce);
	act_cancel(&bounce->act);
	spool_read_cancel(&bounce->read);
	courier_free(bounce->courier);
	tls_client_free(bounce->tls);
	loop_timer_free(bounce->next);
	buf_release(&bounce->notice);
	json_free(bounce->rows);
	json_free(bounce->failed);
	free(bounce->by);
	free(bounce->reason);
	free(bounce->from);
	free(bounce->relay);
	free(bounce);
}
