/*
 * The control interface: hold, release, retry, discard and bounce.
 *
 * A selection may be a million envelopes: they are taken a page at a time, in
 * the order of acceptance.  Each page comes into memory, is acted on, and is
 * durable before the next is asked for; in between the loop serves everybody
 * else.  A bounce is bounded, and taken as one page.
 */

#include "base/clock.h"
#include "base/log.h"
#include "daemon/act.h"
#include "daemon/bounce.h"
#include "daemon/control_call.h"
#include "daemon/hashes.h"
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
	uint64_t sequence;
};

/* A held mailbox of which something was released. */
struct line {
	struct queue_domain *domain;
	char *forward_path;
};

struct verb;
struct work {
	struct call *call;
	struct job job;
	const struct verb *verb;
	struct selection selection;
	struct selection_walk *walk;
	bool dry_run, more;
	bool noted, in_parts; /* the journal has the order, and wants its end */
	size_t selected, done; /* of all pages; `done` durably, or would be */
	size_t listed_count;
	/* This page. */
	struct key *keys;
	size_t key_count, key_room;
	struct queue_envelope **envelopes;
	size_t count, room;
	struct line *lines;
	size_t line_count, line_at;
	struct hashes seen; /* lines that a dry run has counted */
	struct json *rows;  /* of a bounce: its evidence */
	struct json *refused, *listed;
	struct act *act;
	struct bounce *bounce;
	struct json *answer;
};

struct verb {
	const char *name, *what;
	enum envelope_state state; /* what envelopes become */
	bool needs_reason;
	bool (*is_possible)(const struct queue_envelope *envelope,
			    enum envelope_state state);
	/* The page is in memory, looked at and journalled. */
	void (*run)(struct work *work);
};

static void forget_lines(struct work *work)
{
	for (size_t i = 0; i < work->line_count; i++)
		free(work->lines[i].forward_path);
	work->line_count = work->line_at = 0;
}

static void work_free(struct work *work)
{
	job_end(&work->job);
	backlog_fetch_cancel(work->call->daemon->backlog, work);
	selection_walk_free(work->walk);
	act_cancel(&work->act);
	bounce_cancel(work->bounce);
	selection_release(&work->selection);
	forget_lines(work);
	hashes_release(&work->seen);
	json_free(work->rows);
	json_free(work->refused);
	json_free(work->listed);
	json_free(work->answer);
	free(work->lines);
	free(work->envelopes);
	free(work->keys);
	call_free(work->call);
	free(work);
}

/* Of an order that takes several pages the journal hears the end as well. */
static void note_end(struct work *work, const char *error)
{
	struct json *data;
	struct err err = ERR_INIT;

	if (!work->in_parts)
		return;
	data = json_object();
	json_put_text(data, "verb", work->verb->name);
	json_put_number(data, "count", (double)work->done);
	json_put_text(data, "by", call_by(work->call));
	if (error)
		json_put_text(data, "error", error);
	if (cutover_note(work->call->cutover, "acted", data, &err) < 0)
		log_error("journal: %s", err.text);
}

static void work_fail(struct work *work, int status, const char *error)
{
	char *text;

	note_end(work, error);
	text = work->done > 0 && !work->dry_run ?
		       mem_printf("%s; %s: %zu envelopes are done, run it "
				  "again for the rest",
				  error, work->verb->name, work->done) :
		       mem_dup(error);
	call_error(work->call->request, status, text);
	free(text);
	work_free(work);
}

/* The daemon ends. */
static void work_cancel(void *ctx)
{
	struct work *work = ctx;

	work_fail(work, 503,
		  "tideoverd ends: look at the journal and the queue for what "
		  "was done");
}

static void answer(struct work *work)
{
	struct json *body = work->answer ? work->answer : json_object();
	size_t chosen = work->done + json_count(work->refused);

	work->answer = NULL;
	json_put_text(body, "verb", work->verb->name);
	json_put_bool(body, "dry_run", work->dry_run);
	json_put_number(body, "count", (double)work->done);
	/* A release may bring more than was named: whole lines. */
	json_put_number(body, "skipped",
			work->selected > chosen ?
				(double)(work->selected - chosen) :
				0);
	json_put(body, "envelopes", work->listed);
	json_put(body, "refused", work->refused);
	work->listed = work->refused = NULL;
	note_end(work, NULL);
	if (!work->dry_run)
		cutover_look(work->call->cutover);
	call_reply(work->call->request, 200, body);
	work_free(work);
}

/* Which envelopes it is about, as the queue has them now. */

static struct queue_envelope *find(struct work *work, const struct id *id,
				   uint32_t index)
{
	struct queue_envelope *envelope =
		queue_find_envelope(work->call->daemon->queue, id, index);

	return envelope && strcmp(envelope->mailbox->domain->plan,
				  work->call->plan) == 0 ?
		       envelope :
		       NULL;
}

static struct json *listed_json(const char *id, double envelope, bool held,
				const char *reverse_path,
				const char *forward_path, double bytes)
{
	struct json *row = json_object();

	json_put_text(row, "id", id);
	json_put_number(row, "envelope", envelope);
	json_put_text(row, "state", held ? "held" : "waiting");
	json_put_text(row, "reverse_path", reverse_path);
	json_put_text(row, "forward_path", forward_path);
	json_put_number(row, "bytes", bytes);
	return row;
}

static void list_envelope(struct work *work,
			  const struct queue_envelope *envelope)
{
	const struct queue_message *message = envelope->message;
	struct json *row;

	if (work->listed_count++ >= LISTED_MAX)
		return;
	row = listed_json(message->id.text, envelope->index, envelope->held,
			  message->reverse_path, envelope->forward_path,
			  (double)message->body_bytes);
	json_put_time(row, "accepted", message->accepted_ms);
	json_add(work->listed, row);
}

static bool releases_lines(const struct work *work)
{
	return work->verb->state == ENVELOPE_WAITING &&
	       work->verb->needs_reason;
}

static void add_envelope(struct work *work, struct queue_envelope *envelope)
{
	if (work->count == work->room) {
		work->room = work->room ? work->room * 2 : 64;
		work->envelopes =
			mem_grow(work->envelopes,
				 work->room * sizeof(struct queue_envelope *));
	}
	list_envelope(work, envelope);
	/* Taken once, though its line brings it again. */
	envelope->acting = true;
	work->envelopes[work->count++] = envelope;
}

/* One released envelope of a held mailbox frees the whole line behind it: what
 * is in memory of it first. */
static void add_line(struct work *work, const struct queue_mailbox *mailbox)
{
	list_each (it, next, (struct list *)&mailbox->held) {
		struct queue_envelope *one =
			list_entry(it, struct queue_envelope, line);

		if (one->mailbox_held && act_is_possible(one, ENVELOPE_WAITING))
			add_envelope(work, one);
	}
}

static void remember_line(struct work *work,
			  const struct queue_envelope *envelope)
{
	struct line *line;

	if ((work->line_count & (work->line_count - 1)) == 0)
		work->lines =
			mem_grow(work->lines,
				 (work->line_count ? work->line_count * 2 : 1) *
					 sizeof(*work->lines));
	line = &work->lines[work->line_count++];
	line->domain = envelope->mailbox->domain;
	line->forward_path = mem_dup(envelope->forward_path);
}

/* RFC 5321 section 4.5.5: no notification about a notification. */
static bool is_refused(struct work *work, const struct key *key,
		       const char *reverse_path)
{
	struct json *one;

	if (work->verb->state != ENVELOPE_BOUNCED || *reverse_path)
		return false;
	one = json_object();
	json_put_text(one, "id", key->id.text);
	json_put_number(one, "envelope", key->envelope);
	json_put_text(one, "error",
		      "its sender is <>, to whom nothing is ever returned: "
		      "discard it instead");
	json_add(work->refused, one);
	return true;
}

static void choose(struct work *work)
{
	work->count = 0;
	for (size_t i = 0; i < work->key_count; i++) {
		const struct key *key = &work->keys[i];
		struct queue_envelope *envelope =
			find(work, &key->id, key->envelope);

		if (!envelope ||
		    !work->verb->is_possible(envelope, work->verb->state) ||
		    is_refused(work, key, envelope->message->reverse_path))
			continue;
		if (!releases_lines(work) || !envelope->mailbox_held) {
			add_envelope(work, envelope);
			continue;
		}
		if (queue_asleep(envelope->mailbox->domain,
				 slice(envelope->forward_path), DORMANT_HOLDING,
				 NULL, 0) > 0)
			remember_line(work, envelope);
		add_line(work, envelope->mailbox);
	}
	for (size_t i = 0; i < work->count; i++)
		work->envelopes[i]->acting = false;
}

/* Whose order it is, and about what: before anything happens. */
static int note(struct work *work, struct err *err)
{
	const struct json *body = work->call->body;
	struct json *data, *ids;

	if (work->noted)
		return 0;
	data = json_copy(work->selection.as_said);
	ids = json_array();
	for (size_t i = 0; i < work->count && i < NOTED_MAX; i++) {
		const struct queue_envelope *one = work->envelopes[i];
		char key[ID_LEN + 16];

		snprintf(key, sizeof(key), "%s:%u", one->message->id.text,
			 one->index);
		json_add_text(ids, key);
	}
	json_put(data, "ids", ids);
	work->in_parts = work->more || work->line_count > 0;
	if (work->in_parts)
		json_put_bool(data, "in_parts", true);
	else
		json_put_number(data, "count", (double)work->count);
	json_put_text(data, "by", call_by(work->call));
	json_put_text(data, "reason", json_get_text(body, "reason"));
	work->noted = true;
	return cutover_note(work->call->cutover, work->verb->name, data, err);
}

/* A dry run looks and touches nothing: what is not in memory is as the index
 * says. */

static bool row_is_possible(const struct work *work, const struct json *row)
{
	bool held = strcmp(json_get_text(row, "state"), "held") == 0;
	bool waits = strcmp(json_get_text(row, "state"), "waiting") == 0;

	switch (work->verb->state) {
	case ENVELOPE_WAITING:
		return work->verb->needs_reason ? held : waits;
	case ENVELOPE_HELD:
		return waits;
	default:
		return held || waits;
	}
}

static void count_row(struct work *work, const struct json *row)
{
	struct json *one;

	work->done++;
	if (work->listed_count++ >= LISTED_MAX)
		return;
	one = listed_json(json_get_text(row, "id"),
			  json_get_number(row, "envelope", 0),
			  strcmp(json_get_text(row, "state"), "held") == 0,
			  json_get_text(row, "reverse_path"),
			  json_get_text(row, "forward_path"),
			  json_get_number(row, "bytes", 0));
	json_put_text(one, "accepted", json_get_text(row, "accepted"));
	json_add(work->listed, one);
}

static void count_line(struct work *work, const struct json *row)
{
	struct queue_domain *domain =
		queue_domain(work->call->daemon->queue, work->call->plan,
			     json_get_text(row, "domain"));
	struct slice path = slice(json_get_text(row, "forward_path"));
	struct queue_mailbox *mailbox;

	if (!hashes_add(&work->seen, queue_mailbox_hash(path)))
		return;
	mailbox = queue_find_mailbox(domain, path);
	if (mailbox)
		add_line(work, mailbox);
	work->done += queue_asleep(domain, path, DORMANT_HOLDING, NULL, 0);
}

static void count_rows(struct work *work, const struct json *rows)
{
	work->count = 0;
	for (const struct json *row = json_first(rows); row;
	     row = json_next(row)) {
		struct key key = { .envelope = (uint32_t)json_get_number(
					   row, "envelope", 0) };
		const struct queue_envelope *envelope;

		if (!id_parse(slice(json_get_text(row, "id")), &key.id))
			continue;
		envelope = find(work, &key.id, key.envelope);
		if (envelope ? !work->verb->is_possible(envelope,
							work->verb->state) :
			       !row_is_possible(work, row))
			continue;
		if (is_refused(work, &key, json_get_text(row, "reverse_path")))
			continue;
		if (releases_lines(work) && json_get_bool(row, "mailbox_held"))
			count_line(work, row);
		else
			count_row(work, row);
	}
	for (size_t i = 0; i < work->count; i++)
		work->envelopes[i]->acting = false;
	work->done += work->count;
}

/* Page by page. */

static void take_row(struct work *work, const struct json *row)
{
	struct key *key;

	if (work->rows)
		json_add(work->rows, json_copy(row));
	if (work->key_count == work->key_room) {
		work->key_room = work->key_room ? work->key_room * 2 : 64;
		work->keys = mem_grow(work->keys,
				      work->key_room * sizeof(*work->keys));
	}
	key = &work->keys[work->key_count];
	key->envelope = (uint32_t)json_get_number(row, "envelope", 0);
	if (id_parse(slice(json_get_text(row, "id")), &key->id) &&
	    slice_u64(slice(json_get_text(row, "sequence")), &key->sequence))
		work->key_count++;
}

static void page(void *ctx, const struct json *rows, bool more,
		 const struct err *err);

static void page_is_over(struct work *work)
{
	if (work->more)
		selection_walk_on(work->walk, page, work);
	else
		answer(work);
}

/* What was chosen is journalled, and then done. */
static void run(struct work *work)
{
	struct err err = ERR_INIT;

	if (note(work, &err) < 0)
		work_fail(work, 500, err.text);
	else
		work->verb->run(work);
}

static void page_is_here(void *ctx, const struct err *failed)
{
	struct work *work = ctx;

	if (failed) {
		work_fail(work, 500, failed->text);
		return;
	}
	choose(work);
	if (work->count > 0)
		run(work);
	else
		page_is_over(work);
}

static void fetch_page(struct work *work)
{
	uint64_t *sequences =
		mem_alloc((work->key_count + 1) * sizeof(*sequences));
	uint64_t last = 0;

	for (size_t i = 0; i < work->key_count; i++) {
		sequences[i] = work->keys[i].sequence;
		if (sequences[i] > last)
			last = sequences[i];
	}
	backlog_fetch(work->call->daemon->backlog, work->call->plan, last,
		      sequences, work->key_count, page_is_here, work);
	free(sequences);
}

static void page(void *ctx, const struct json *rows, bool more,
		 const struct err *err)
{
	struct work *work = ctx;
	bool bounces = work->rows != NULL;

	if (err) {
		work_fail(work, 500, err->text);
		return;
	}
	work->more = more;
	work->selected += json_count(rows);
	if (bounces && work->selected > BOUNCED_MAX) {
		work_fail(work, 400,
			  "these are more than 10,000 envelopes: bounce them "
			  "in parts");
		return;
	}
	if (work->dry_run) {
		count_rows(work, rows);
		page_is_over(work);
		return;
	}
	if (!bounces)
		work->key_count = 0;
	for (const struct json *row = json_first(rows); row;
	     row = json_next(row))
		take_row(work, row);
	if (bounces && more)
		selection_walk_on(work->walk, page, work);
	else
		fetch_page(work);
}

/* Lines: what of them sleeps is released a page at a time as well.  They stay
 * held until the last of it is, so that nobody passes. */

static void next_of_lines(struct work *work);

static void lines_are_here(void *ctx, const struct err *failed)
{
	struct work *work = ctx;

	if (failed) {
		work_fail(work, 500, failed->text);
		return;
	}
	work->count = 0;
	for (size_t i = work->line_at; i < work->line_count; i++) {
		const struct queue_mailbox *mailbox =
			queue_find_mailbox(work->lines[i].domain,
					   slice(work->lines[i].forward_path));

		if (mailbox)
			add_line(work, mailbox);
	}
	for (size_t i = 0; i < work->count; i++)
		work->envelopes[i]->acting = false;
	if (work->count > 0)
		run(work);
	else
		next_of_lines(work);
}

static size_t asleep_of(const struct line *line, uint64_t *sequences,
			size_t max)
{
	size_t all = queue_asleep(line->domain, slice(line->forward_path),
				  DORMANT_HOLDING, sequences, max);

	return all < max ? all : max;
}

static void next_of_lines(struct work *work)
{
	uint64_t sequences[SELECTION_PAGE];
	size_t count = 0;

	for (size_t i = work->line_at; i < work->line_count; i++) {
		size_t took = asleep_of(&work->lines[i], sequences + count,
					SELECTION_PAGE - count);

		count += took;
		if (count == 0)
			work->line_at = i + 1;
		if (count == SELECTION_PAGE)
			break;
	}
	if (count > 0) {
		backlog_fetch(work->call->daemon->backlog, work->call->plan, 0,
			      sequences, count, lines_are_here, work);
		return;
	}
	forget_lines(work);
	page_is_over(work);
}

/* Those of this page are done, durably. */
static void page_is_done(struct work *work, size_t done)
{
	work->done += done;
	next_of_lines(work);
}

/* A released mailbox frees its whole line, wherever it is. */
static bool has_held_rest(const struct work *work)
{
	const struct cutover *cutover = work->call->cutover;

	for (size_t i = 0; i < cutover->plan->domain_count; i++) {
		const struct queue_domain *domain = cutover->domains[i].queue;

		if (domain->ledger.held >
		    domain->here_held + domain->asleep_held)
			return true;
	}
	return false;
}

static void begin(void *ctx, const struct err *failed)
{
	struct work *work = ctx;

	if (failed)
		work_fail(work, 500, failed->text);
	else
		selection_walk_on(work->walk, page, work);
}

/* The verbs. */

static void acted(void *ctx, size_t done, const struct err *err)
{
	struct work *work = ctx;

	work->act = NULL;
	if (!err) {
		page_is_done(work, done);
		return;
	}
	work->done += done;
	work_fail(work, 500, err->text);
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
	page_is_done(work, work->count);
}

static void bounced(void *ctx, size_t count, const struct json *failed)
{
	struct work *work = ctx;

	work->bounce = NULL;
	json_put_number(work->answer, "bounced", (double)count);
	json_put(work->answer, "failed", json_copy(failed));
	page_is_done(work, work->count);
}

static struct bounce_spec bounce_spec(const struct call *call)
{
	return (struct bounce_spec){
		.store = &call->daemon->store,
		.queue = call->daemon->queue,
		.backlog = call->daemon->backlog,
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
		work_fail(work, 500, err.text);
}

static const struct verb verb_release = { "release",	    "a release",
					  ENVELOPE_WAITING, true,
					  act_is_possible,  run_act };
static const struct verb verb_hold = { "hold", "a hold",	ENVELOPE_HELD,
				       true,   act_is_possible, run_act };
static const struct verb verb_retry = { "retry", "a retry", ENVELOPE_WAITING,
					false,	 may_retry, run_retry };
static const struct verb verb_discard = { "discard",	      "a discard",
					  ENVELOPE_DISCARDED, true,
					  act_is_possible,    run_act };
static const struct verb verb_bounce = { "bounce",	   "a bounce",
					 ENVELOPE_BOUNCED, true,
					 act_is_possible,  run_bounce };

static const char *body_word(const void *ctx, const char *word)
{
	return json_get_text(ctx, word);
}

static struct work *work_new(struct call *call, const struct verb *verb)
{
	struct work *work = mem_alloc(sizeof(*work));

	work->call = call;
	work->verb = verb;
	work->dry_run = json_get_bool(call->body, "dry_run");
	work->refused = json_array();
	work->listed = json_array();
	if (verb->state == ENVELOPE_BOUNCED) {
		work->rows = json_array();
		work->answer = json_object();
		json_put_number(work->answer, "bounced", 0);
		json_put(work->answer, "failed", json_array());
	}
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
		work_fail(work, 400, "say why: a reason is needed");
		return;
	}
	if (selection_read(&work->selection, call->cutover,
			   json_get(call->body, "ids"), body_word, call->body,
			   clock_wall_ms(), &err) < 0) {
		work_fail(work, 400, err.text);
		return;
	}
	if (!work->selection.is_given && !json_get_bool(call->body, "all")) {
		work_fail(work, 400,
			  "say which: ids, or a condition, or all: true");
		return;
	}
	/* Final mail is worth a word only where it was named. */
	work->selection.select.is_live = !work->selection.select.ids;
	work->walk = selection_walk_new(call->daemon->store.index,
					&work->selection, SELECTION_ENVELOPES);
	if (releases_lines(work) && has_held_rest(work))
		backlog_fetch(call->daemon->backlog, call->plan, UINT64_MAX,
			      NULL, 0, begin, work);
	else
		begin(work, NULL);
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
