/* The control interface: what is asked of envelopes, and done to them. */

#include "base/clock.h"
#include "base/log.h"
#include "daemon/act.h"
#include "daemon/bounce.h"
#include "daemon/control_call.h"
#include "daemon/resend.h"
#include "daemon/selection.h"
#include <stdio.h>
#include <stdlib.h>

#define LOG_MODULE "control"

enum {
	LISTED_MAX = 10000, /* envelopes in an answer */
	NOTED_MAX = 1000,   /* ids in a line of the journal */
	BOUNCED_MAX = 10000 /* at once */
};

/* An envelope that was selected; it may be gone by now. */
struct key {
	struct id id;
	uint32_t envelope;
};

/* One verb on its way: the selection first, then what is done. */
struct verb;
struct work {
	struct call *call;
	struct job job;
	const struct verb *verb;
	struct selection selection;
	bool dry_run, is_streaming;
	size_t selected;
	uint64_t youngest; /* the last sequence of what was selected */
	struct key *keys;
	size_t key_count;
	struct queue_envelope **envelopes;
	size_t count, cap;
	struct json *rows; /* of a bounce: its evidence */
	struct json *refused;
	struct act *act;
	struct bounce *bounce;
	struct resend *resend;
	struct json *answer;
};

struct verb {
	const char *name, *what;
	enum envelope_state state; /* what envelopes become */
	bool needs_reason;
	bool reaches; /* what is not in memory (backlog.h) as well */
	bool (*is_possible)(const struct queue_envelope *envelope,
			    enum envelope_state state);
	/* Everything is selected, looked at and journalled. */
	void (*run)(struct work *work);
};

static void work_free(struct work *work)
{
	job_end(&work->job);
	backlog_reach_cancel(work->call->daemon->backlog, work);
	act_cancel(&work->act);
	bounce_cancel(work->bounce);
	resend_free(work->resend);
	selection_release(&work->selection);
	json_free(work->rows);
	json_free(work->refused);
	json_free(work->answer);
	free(work->envelopes);
	free(work->keys);
	call_free(work->call);
	free(work);
}

static void work_reply(struct work *work, int status, const char *error)
{
	struct json *answer = work->answer;

	work->answer = NULL;
	if (error)
		call_error(work->call->request, status, error);
	else
		call_reply(work->call->request, status, answer);
	if (error)
		json_free(answer);
	work_free(work);
}

/* The daemon ends. */
static void work_cancel(void *ctx)
{
	struct work *work = ctx;

	if (!work->is_streaming) {
		work_reply(work, 503,
			   "tideoverd ends: look at the journal and the queue "
			   "for what was done");
		return;
	}
	http_stream_end(work->call->request);
	work_free(work);
}

/* Words of a selection. */

static const char *query_word(const void *ctx, const char *word)
{
	return http_request_query(ctx, word);
}

static const char *body_word(const void *ctx, const char *word)
{
	return json_get_text(ctx, word);
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
	selection_rows(call->daemon->store.index, &selection,
		       SELECTION_ENVELOPES, queue_row, queue_end, call);
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

/* Which envelopes it is about, as the queue has them now. */

static struct queue_envelope *find_key(const struct work *work,
				       const struct key *key)
{
	struct queue_envelope *envelope = queue_find_envelope(
		work->call->daemon->queue, &key->id, key->envelope);

	return envelope && strcmp(envelope->mailbox->domain->plan,
				  work->call->plan) == 0 ?
		       envelope :
		       NULL;
}

static void add_envelope(struct work *work, struct queue_envelope *envelope)
{
	if (work->count == work->cap) {
		work->cap = work->cap ? work->cap * 2 : 64;
		work->envelopes =
			mem_grow(work->envelopes,
				 work->cap * sizeof(struct queue_envelope *));
	}
	/* Taken once, though its line brings it again. */
	envelope->acting = true;
	work->envelopes[work->count++] = envelope;
}

/* One released envelope of a held mailbox frees the whole line behind it. */
static void add_line(struct work *work, struct queue_envelope *envelope)
{
	if (work->verb->state != ENVELOPE_WAITING || !envelope->mailbox_held) {
		add_envelope(work, envelope);
		return;
	}
	list_each (it, next, &envelope->mailbox->held) {
		struct queue_envelope *one =
			list_entry(it, struct queue_envelope, line);

		if (one->mailbox_held && act_is_possible(one, ENVELOPE_WAITING))
			add_envelope(work, one);
	}
}

static struct json *key_json(const struct queue_envelope *envelope)
{
	char key[ID_LEN + 16];

	snprintf(key, sizeof(key), "%s:%u", envelope->message->id.text,
		 envelope->index);
	return json_new_text(key);
}

static struct json *envelope_json(const struct queue_envelope *envelope)
{
	struct json *row = json_object();

	json_put_text(row, "id", envelope->message->id.text);
	json_put_number(row, "envelope", envelope->index);
	json_put_text(row, "state", envelope->held ? "held" : "waiting");
	json_put_text(row, "reverse_path", envelope->message->reverse_path);
	json_put_text(row, "forward_path", envelope->forward_path);
	json_put_number(row, "bytes", (double)envelope->message->body_bytes);
	json_put_time(row, "accepted", envelope->message->accepted_ms);
	return row;
}

/* The answer, as far as it is known before anything is done. */
static void begin_answer(struct work *work)
{
	struct json *answer = json_object(), *listed = json_array();
	size_t chosen = work->count + json_count(work->refused);

	for (size_t i = 0; i < work->count; i++) {
		work->envelopes[i]->acting = false;
		if (i < LISTED_MAX)
			json_add(listed, envelope_json(work->envelopes[i]));
	}
	json_put_text(answer, "verb", work->verb->name);
	json_put_bool(answer, "dry_run", work->dry_run);
	json_put_number(answer, "count", (double)work->count);
	/* A release may bring more than was named: whole lines. */
	json_put_number(answer, "skipped",
			work->selected > chosen ?
				(double)(work->selected - chosen) :
				0);
	json_put(answer, "envelopes", listed);
	json_put(answer, "refused", json_copy(work->refused));
	work->answer = answer;
}

/* Whose order it is, and about what: before anything happens. */
static int note(struct work *work, size_t count, struct err *err)
{
	const struct json *body = work->call->body;
	struct json *data = json_copy(work->selection.as_said);
	struct json *ids = json_array();

	for (size_t i = 0; i < work->count && i < NOTED_MAX; i++)
		json_add(ids, key_json(work->envelopes[i]));
	json_put(data, "ids", ids);
	json_put_number(data, "count", (double)count);
	json_put_text(data, "by", call_by(work->call));
	json_put_text(data, "reason", json_get_text(body, "reason"));
	if (json_get_text(body, "to"))
		json_put_text(data, "to", json_get_text(body, "to"));
	return cutover_note(work->call->cutover, work->verb->name, data, err);
}

static bool take_row(void *ctx, const struct json *row)
{
	struct work *work = ctx;
	struct key *key;
	uint64_t sequence;

	work->selected++;
	if (work->rows && work->selected > BOUNCED_MAX)
		return false;
	if (work->rows)
		json_add(work->rows, json_copy(row));
	if ((work->key_count & (work->key_count - 1)) == 0)
		work->keys =
			mem_grow(work->keys,
				 (work->key_count ? work->key_count * 2 : 1) *
					 sizeof(*work->keys));
	if (slice_u64(slice(json_get_text(row, "sequence")), &sequence) &&
	    sequence > work->youngest)
		work->youngest = sequence;
	key = &work->keys[work->key_count++];
	key->envelope = (uint32_t)json_get_number(row, "envelope", 0);
	if (!id_parse(slice(json_get_text(row, "id")), &key->id))
		work->key_count--;
	return true;
}

/* RFC 5321 section 4.5.5: no notification about a notification. */
static bool is_refused(struct work *work, const struct queue_envelope *envelope)
{
	struct json *one;

	if (work->verb->state != ENVELOPE_BOUNCED ||
	    *envelope->message->reverse_path)
		return false;
	one = json_object();
	json_put_text(one, "id", envelope->message->id.text);
	json_put_number(one, "envelope", envelope->index);
	json_put_text(one, "error",
		      "its sender is <>, to whom nothing is ever returned: "
		      "discard it instead");
	json_add(work->refused, one);
	return true;
}

static void choose(struct work *work)
{
	work->refused = json_array();
	for (size_t i = 0; i < work->key_count; i++) {
		struct queue_envelope *envelope =
			find_key(work, &work->keys[i]);

		if (envelope &&
		    work->verb->is_possible(envelope, work->verb->state) &&
		    !is_refused(work, envelope))
			add_line(work, envelope);
	}
	begin_answer(work);
}

/* A released mailbox frees its whole line, wherever it is. */
static bool has_held_rest(const struct work *work)
{
	const struct cutover *cutover = work->call->cutover;

	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct queue_domain *domain = cutover->domains[i].queue;

		if (domain->ledger.held > domain->here_held)
			return true;
	}
	return false;
}

static void reached(void *ctx, const struct err *failed)
{
	struct work *work = ctx;
	struct err err = ERR_INIT;

	if (failed) {
		work_reply(work, 500, failed->text);
		return;
	}
	choose(work);
	if (work->dry_run || work->count == 0)
		work_reply(work, 200, NULL);
	else if (note(work, work->count, &err) < 0)
		work_reply(work, 500, err.text);
	else
		work->verb->run(work);
}

static void gathered(void *ctx, const struct err *failed)
{
	struct work *work = ctx;
	bool is_release =
		work->verb->state == ENVELOPE_WAITING && work->verb->reaches;

	if (failed) {
		work_reply(work, 500, failed->text);
		return;
	}
	if (work->rows && work->selected > BOUNCED_MAX) {
		work_reply(work, 400,
			   "these are more than 10,000 envelopes: bounce them "
			   "in parts");
		return;
	}
	if (work->verb->reaches)
		backlog_reach(work->call->daemon->backlog, work->call->plan,
			      is_release && has_held_rest(work) ?
				      UINT64_MAX :
				      work->youngest,
			      reached, work);
	else
		reached(work, NULL);
}

/* The verbs. */

static void acted(void *ctx, const struct err *err)
{
	struct work *work = ctx;

	work->act = NULL;
	cutover_look(work->call->cutover);
	if (err)
		work_reply(work, 500, err->text);
	else
		work_reply(work, 200, NULL);
}

static void run_act(struct work *work)
{
	work->act =
		act_begin(&work->call->daemon->store, work->envelopes,
			  work->count, work->verb->state, call_by(work->call),
			  json_get_text(work->call->body, "reason"), acted,
			  work);
}

static bool may_retry(const struct queue_envelope *envelope,
		      enum envelope_state state)
{
	return !envelope->held && !envelope->claimed && !envelope->acting;
}

static void run_retry(struct work *work)
{
	for (size_t i = 0; i < work->count; i++)
		queue_retry(work->envelopes[i]);
	for (size_t i = 0; i < work->call->cutover->target_count; i++)
		replay_kick(work->call->cutover->targets[i]->replay);
	work_reply(work, 200, NULL);
}

static void bounced(void *ctx, size_t count, const struct json *failed)
{
	struct work *work = ctx;

	work->bounce = NULL;
	json_put_number(work->answer, "bounced", (double)count);
	json_put(work->answer, "failed", json_copy(failed));
	cutover_look(work->call->cutover);
	work_reply(work, 200, NULL);
}

static struct bounce_spec bounce_spec(const struct call *call)
{
	return (struct bounce_spec){
		.store = &call->daemon->store,
		.queue = call->daemon->queue,
		.cutover = call->cutover,
		.relay = json_get_text(call->body, "relay"),
		.by = call_by(call),
		.reason = json_get_text(call->body, "reason"),
	};
}

/* The rows of those that were chosen: their evidence. */
static struct json *chosen_rows(const struct work *work)
{
	struct json *rows = json_array();
	size_t at = 0;

	for (const struct json *row = json_first(work->rows);
	     row && at < work->count; row = json_next(row)) {
		const struct queue_envelope *envelope = work->envelopes[at];

		if (strcmp(json_get_text(row, "id"),
			   envelope->message->id.text) != 0 ||
		    (uint32_t)json_get_number(row, "envelope", 0) !=
			    envelope->index)
			continue;
		json_add(rows, json_copy(row));
		at++;
	}
	return rows;
}

static void run_bounce(struct work *work)
{
	struct bounce_spec spec = bounce_spec(work->call);
	struct json *rows = chosen_rows(work);
	struct err err = ERR_INIT;

	work->bounce = bounce_begin(&spec, rows, bounced, work, &err);
	json_free(rows);
	if (!work->bounce)
		work_reply(work, 500, err.text);
}

static const struct verb verb_release = {
	"release", "a release",	    ENVELOPE_WAITING, true,
	true,	   act_is_possible, run_act
};
static const struct verb verb_hold = { "hold", "a hold", ENVELOPE_HELD,
				       true,   true,	 act_is_possible,
				       run_act };
/* What is not in memory is due anyway. */
static const struct verb verb_retry = { "retry",  "a retry", ENVELOPE_WAITING,
					false,	  false,     may_retry,
					run_retry };
static const struct verb verb_discard = {
	"discard",	 "a discard", ENVELOPE_DISCARDED, true, true,
	act_is_possible, run_act
};
static const struct verb verb_bounce = {
	"bounce", "a bounce",	   ENVELOPE_BOUNCED, true,
	true,	  act_is_possible, run_bounce
};
static const struct verb verb_resend = { .name = "resend", .what = "a resend" };

static struct work *work_new(struct call *call, const struct verb *verb)
{
	struct work *work = mem_alloc(sizeof(*work));

	work->call = call;
	work->verb = verb;
	work->dry_run = json_get_bool(call->body, "dry_run");
	job_begin(&call->daemon->jobs, &work->job, verb->what, call->plan,
		  work_cancel, work);
	return work;
}

static void post_act(struct call *call, const struct verb *verb)
{
	const char *reason = json_get_text(call->body, "reason");
	struct work *work = work_new(call, verb);
	struct err err = ERR_INIT;

	if (verb->needs_reason && !work->dry_run && (!reason || !*reason)) {
		work_reply(work, 400, "say why: a reason is needed");
		return;
	}
	if (selection_read(&work->selection, call->cutover,
			   json_get(call->body, "ids"), body_word, call->body,
			   clock_wall_ms(), &err) < 0) {
		work_reply(work, 400, err.text);
		return;
	}
	if (!work->selection.is_given && !json_get_bool(call->body, "all")) {
		work_reply(work, 400,
			   "say which: ids, or a condition, or all: true");
		return;
	}
	/* Final mail is worth a word only where it was named. */
	work->selection.select.is_live = !work->selection.select.ids;
	if (verb->state == ENVELOPE_BOUNCED)
		work->rows = json_array();
	selection_rows(call->daemon->store.index, &work->selection,
		       SELECTION_ENVELOPES, take_row, gathered, work);
}

void control_post_release(struct call *call)
{
	post_act(call, &verb_release);
}

void control_post_hold(struct call *call)
{
	post_act(call, &verb_hold);
}

void control_post_retry(struct call *call)
{
	post_act(call, &verb_retry);
}

void control_post_discard(struct call *call)
{
	post_act(call, &verb_discard);
}

void control_post_bounce(struct call *call)
{
	struct bounce_spec spec = bounce_spec(call);
	struct err err = ERR_INIT;

	if (bounce_check(&spec, &err) < 0) {
		call_error(call->request, 409, err.text);
		call_free(call);
		return;
	}
	post_act(call, &verb_bounce);
}

/* resend: a line per attempt, as it is made. */

static bool take_copy(void *ctx, const struct json *row)
{
	struct work *work = ctx;

	resend_add(work->resend, row);
	return true;
}

static void resend_attempt(void *ctx, const struct json *attempt)
{
	struct work *work = ctx;

	if (!work->call->gone)
		call_line(work->call, attempt);
}

/* Whoever ends the command means to end it. */
static bool resend_wanted(void *ctx)
{
	const struct work *work = ctx;

	return !work->call->gone;
}

static void resend_ends(struct work *work, const struct json *result)
{
	struct json *line = json_copy(result);

	json_put_bool(line, "end", true);
	json_put_bool(line, "dry_run", work->dry_run);
	if (!work->call->gone)
		call_line(work->call, line);
	json_free(line);
	http_stream_end(work->call->request);
	work_free(work);
}

static void resend_end(void *ctx, const struct json *result)
{
	struct work *work = ctx;

	work->resend = NULL; /* frees itself */
	resend_ends(work, result);
}

static const struct resend_owner resend_owner = {
	.on_attempt = resend_attempt,
	.is_wanted = resend_wanted,
	.on_end = resend_end,
};

static void copies_gathered(void *ctx, const struct err *failed)
{
	struct work *work = ctx;
	size_t count = resend_count(work->resend);
	struct err err = ERR_INIT;
	struct json *result;

	if (failed) {
		work_reply(work, 500, failed->text);
		return;
	}
	if (!work->dry_run && note(work, count, &err) < 0) {
		work_reply(work, 500, err.text);
		return;
	}
	work->is_streaming = true;
	http_stream_begin(work->call->request, 200, "application/x-ndjson",
			  call_gone, work->call);
	if (!work->dry_run) {
		resend_run(work->resend);
		return;
	}
	resend_each(work->resend, resend_attempt, work);
	result = json_object();
	json_put_number(result, "sent", 0);
	json_put_number(result, "left", (double)count);
	json_put_number(result, "gone",
			(double)(count - resend_kept(work->resend)));
	resend_ends(work, result);
	json_free(result);
}

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
	};
	bool is_busy = job_find(&call->daemon->jobs, call->plan,
				verb_resend.what) != NULL;
	struct work *work = work_new(call, &verb_resend);
	struct err err = ERR_INIT;

	if (!to || (strcmp(to, "old") != 0 && strcmp(to, "new") != 0))
		work_reply(work, 400, "to is old or new");
	else if (!json_get_text(call->body, "since"))
		work_reply(work, 400,
			   "say since when: resend sends what was delivered "
			   "at that time or later");
	else if (is_busy)
		work_reply(work, 409, "a resend of this plan is under way");
	else if (selection_read(&work->selection, call->cutover,
				json_get(call->body, "ids"), resend_word, call,
				clock_wall_ms(), &err) < 0)
		work_reply(work, 400, err.text);
	else {
		work->resend = resend_new(&spec, &resend_owner, work);
		selection_rows(call->daemon->store.index, &work->selection,
			       SELECTION_COPIES, take_copy, copies_gathered,
			       work);
	}
}
