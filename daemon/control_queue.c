/* The control interface: what is asked of envelopes, and resend. */

#include "base/clock.h"
#include "base/log.h"
#include "daemon/control_call.h"
#include "daemon/resend.h"
#include "daemon/selection.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "control"

#define RESEND "a resend" /* the job */

/* Words of a selection. */

static const char *query_word(const void *ctx, const char *word)
{
	return http_request_query(ctx, word);
}

static bool read_query(struct call *call, struct selection *selection)
{
	const char *id = http_request_query(call->request, "id");
	struct json *ids = NULL;
	struct err err = ERR_INIT;
	int result;

	if (id) {
		ids = json_array();
		json_add_text(ids, id);
	}
	result = selection_read(selection, call->cutover, ids, query_word,
				call->request, clock_wall_ms(), &err);
	json_free(ids);
	if (result == 0)
		return true;
	selection_release(selection);
	call_error(call->request, 400, err.text);
	call_free(call);
	return false;
}

/* list, show, count. */

static bool queue_row(void *ctx, const struct json *row)
{
	struct call *call = ctx;

	if (!call->gone)
		call_line(call, row);
	return !call->gone;
}

static void queue_end(void *ctx, const struct err *err)
{
	struct call *call = ctx;

	if (err)
		log_error("a list of envelopes: %s", err->text);
	call_stream_end(call, err);
}

void control_get_queue(struct call *call)
{
	struct selection selection;

	if (!read_query(call, &selection))
		return;
	selection.select.attempts =
		http_request_query(call->request, "attempts") != NULL;
	http_stream_begin(call->request, 200, "application/x-ndjson", call_gone,
			  call);
	selection_rows(call->daemon->store.index, &selection, queue_row,
		       queue_end, call);
	selection_release(&selection);
}

static void counted(void *ctx, struct json *result, const struct err *err)
{
	struct call *call = ctx;
	struct json *body = json_object();

	json_put_number(body, "count", json_get_number(result, "count", 0));
	json_put_time(body, "first",
		      (int64_t)json_get_number(result, "first_ms", 0));
	json_free(result);
	if (err) {
		json_free(body);
		call_error(call->request, 500, err->text);
	} else {
		call_reply(call->request, 200, body);
	}
	call_free(call);
}

void control_get_count(struct call *call)
{
	struct selection selection;

	if (!read_query(call, &selection))
		return;
	index_count(call->daemon->store.index, &selection.select, counted,
		    call);
	selection_release(&selection);
}

/* The bytes of a message, as they leave: of the queue, or a kept copy. */

struct message_read {
	struct call *call;
	struct id id;
	struct spool_place place;
	uint64_t bytes, at;
};

static void message_bytes(void *ctx, struct slice bytes, const struct err *err);

static void message_more(struct message_read *read)
{
	spool_read_body(read->call->daemon->store.reader, &read->id,
			&read->place, read->bytes, read->at, RECORD_BODY_INLINE,
			message_bytes, read);
}

static void message_bytes(void *ctx, struct slice bytes, const struct err *err)
{
	struct message_read *read = ctx;
	struct call *call = read->call;

	if (!err)
		http_stream_chunk(call->request, bytes);
	else
		log_error("message %s: %s", read->id.text, err->text);
	read->at += bytes.len;
	if (!err && !call->gone && read->at < read->bytes) {
		message_more(read);
		return;
	}
	http_stream_end(call->request);
	call_free(call);
	free(read);
}

static void message_send(struct call *call, const struct id *id,
			 const struct spool_place *place, uint64_t bytes)
{
	struct message_read *read = mem_alloc(sizeof(*read));

	read->call = call;
	read->id = *id;
	read->place = *place;
	read->bytes = bytes;
	http_stream_begin(call->request, 200, "message/rfc822", call_gone,
			  call);
	message_more(read);
}

static void copy_came(void *ctx, struct json *result, const struct err *err)
{
	struct call *call = ctx;
	const struct json *row = json_first(result);
	struct spool_place place = {
		.segment = (uint32_t)json_get_number(row, "segment", 0),
		.offset = (uint64_t)json_get_number(row, "offset", 0),
		.body = (uint64_t)json_get_number(row, "body", 0),
		.sealed = json_get_bool(row, "sealed"),
	};
	struct id id;

	if (row && id_parse(slice(json_get_text(row, "id")), &id) &&
	    spool_space_has(call->daemon->space, &id, &place)) {
		message_send(call, &id, &place,
			     (uint64_t)json_get_number(row, "bytes", 0));
	} else {
		call_error(call->request, 404,
			   "no message that waits or is held has that id, and "
			   "no copy of it is kept");
		call_free(call);
	}
	json_free(result);
}

void control_get_message(struct call *call)
{
	const char *text = http_request_query(call->request, "id");
	const struct queue_message *message;
	struct selection selection;
	struct id id;

	if (!text || !id_parse(slice(text), &id)) {
		call_error(call->request, 400, "id names no message");
		call_free(call);
		return;
	}
	message = queue_find(call->daemon->queue, &id);
	if (message) {
		message_send(call, &id, &message->place, message->body_bytes);
		return;
	}
	if (!read_query(call, &selection))
		return;
	index_copies(call->daemon->store.index, &selection.select, copy_came,
		     call);
	selection_release(&selection);
}

/* resend: a line per attempt, as it is made. */

struct sending {
	struct call *call;
	struct job job;
	struct selection selection;
	bool dry_run, is_streaming;
	struct resend *resend;
};

static void sending_free(struct sending *sending)
{
	job_end(&sending->job);
	resend_free(sending->resend);
	selection_release(&sending->selection);
	call_free(sending->call);
	free(sending);
}

static void sending_fail(struct sending *sending, int status, const char *error)
{
	call_error(sending->call->request, status, error);
	sending_free(sending);
}

/* The daemon ends. */
static void sending_cancel(void *ctx)
{
	struct sending *sending = ctx;

	if (!sending->is_streaming) {
		sending_fail(sending, 503,
			     "tideoverd ends: nothing was resent");
		return;
	}
	http_stream_end(sending->call->request);
	sending_free(sending);
}

/* Whose order it is, and about what: before anything happens. */
static int note_resend(const struct sending *sending, size_t count,
		       struct err *err)
{
	const struct json *body = sending->call->body;
	struct json *data = json_copy(sending->selection.as_said);

	json_put_number(data, "count", (double)count);
	json_put_text(data, "by", call_by(sending->call));
	json_put_text(data, "reason", json_get_text(body, "reason"));
	json_put_text(data, "to", json_get_text(body, "to"));
	return cutover_note(sending->call->cutover, "resend", data, err);
}

static bool resend_counted(void *ctx, size_t count, const struct err *failed)
{
	struct sending *sending = ctx;
	struct err err = ERR_INIT;

	if (failed)
		err = *failed;
	else if (!sending->dry_run)
		note_resend(sending, count, &err);
	if (err.text[0]) {
		sending_fail(sending, 500, err.text);
		return false;
	}
	sending->is_streaming = true;
	http_stream_begin(sending->call->request, 200, "application/x-ndjson",
			  call_gone, sending->call);
	return true;
}

static void resend_attempt(void *ctx, const struct json *attempt)
{
	struct sending *sending = ctx;

	if (!sending->call->gone)
		call_line(sending->call, attempt);
}

/* Whoever ends the command means to end it. */
static bool resend_wanted(void *ctx)
{
	const struct sending *sending = ctx;

	return !sending->call->gone;
}

static void resend_end(void *ctx, const struct json *result)
{
	struct sending *sending = ctx;
	struct json *line = json_copy(result);

	sending->resend = NULL; /* frees itself */
	json_put_bool(line, "end", true);
	json_put_bool(line, "dry_run", sending->dry_run);
	if (!sending->call->gone)
		call_line(sending->call, line);
	json_free(line);
	http_stream_end(sending->call->request);
	sending_free(sending);
}

static const struct resend_owner resend_owner = {
	.on_count = resend_counted,
	.on_attempt = resend_attempt,
	.is_wanted = resend_wanted,
	.on_end = resend_end,
};

/* Delivered mail, and (unless said) what the other system has: a system does
 * not get twice what it has already. */
static const char *resend_word(const void *ctx, const char *word)
{
	const struct call *call = ctx;
	const char *text = json_get_text(call->body, word);

	if (strcmp(word, "state") == 0)
		return "delivered";
	if (text || strcmp(word, "delivered_to") != 0 ||
	    call->cutover->plan->plain)
		return text;
	return strcmp(json_get_text(call->body, "to"), "old") == 0 ? "new" :
								     "old";
}

void control_post_resend(struct call *call)
{
	const char *to = json_get_text(call->body, "to");
	struct resend_spec spec = {
		.store = &call->daemon->store,
		.space = call->daemon->space,
		.cutover = call->cutover,
		.by = call_by(call),
		.to = to && strcmp(to, "new") == 0 ? SYSTEM_NEW : SYSTEM_OLD,
		.dry_run = json_get_bool(call->body, "dry_run"),
	};
	bool is_busy =
		job_find(&call->daemon->jobs, call->plan, RESEND) != NULL;
	struct sending *sending = mem_alloc(sizeof(*sending));
	struct err err = ERR_INIT;

	sending->call = call;
	sending->dry_run = spec.dry_run;
	job_begin(&call->daemon->jobs, &sending->job, RESEND, call->plan,
		  sending_cancel, sending);
	if (!to || (strcmp(to, "old") != 0 && strcmp(to, "new") != 0))
		sending_fail(sending, 400, "to is old or new");
	else if (!json_get_text(call->body, "since"))
		sending_fail(sending, 400,
			     "say since when: resend sends what was delivered "
			     "at that time or later");
	else if (is_busy)
		sending_fail(sending, 409,
			     "a resend of this plan is under way");
	else if (selection_read(&sending->selection, call->cutover,
				json_get(call->body, "ids"), resend_word, call,
				clock_wall_ms(), &err) < 0)
		sending_fail(sending, 400, err.text);
	else {
		sending->selection.select.ended_before_ms = clock_wall_ms();
		spec.selection = &sending->selection;
		sending->resend = resend_begin(&spec, &resend_owner, sending);
	}
}
