/* The control interface, request by request: docs/control.md. */

#include "base/clock.h"
#include "base/log.h"
#include "daemon/control_call.h"
#include "daemon/shred.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_MODULE "control"

/* Answering. */

void call_reply(struct http_request *request, int status, struct json *body)
{
	struct buf text = BUF_INIT;

	json_print(body, &text);
	buf_addc(&text, '\n');
	http_answer(request, status, "application/json", buf_slice(&text));
	buf_release(&text);
	json_free(body);
}

void call_error(struct http_request *request, int status, const char *error)
{
	struct json *body = json_object();

	json_put_text(body, "error", error);
	call_reply(request, status, body);
}

void call_free(struct call *call)
{
	json_free(call->body);
	free(call->plan);
	free(call);
}

const char *call_by(const struct call *call)
{
	const char *name = json_get_text(call->body, "by");

	return name && *name ? name : http_request_user(call->request);
}

void call_gone(void *ctx)
{
	struct call *call = ctx;

	call->gone = true;
}

void call_line(struct call *call, const struct json *line)
{
	struct buf text = BUF_INIT;

	json_print(line, &text);
	buf_addc(&text, '\n');
	http_stream_chunk(call->request, buf_slice(&text));
	buf_release(&text);
}

void call_stream_end(struct call *call, const struct err *err)
{
	struct json *line = json_object();

	if (err) {
		json_put_text(line, "error", err->text);
		call_line(call, line);
	}
	json_free(line);
	http_stream_end(call->request);
	call_free(call);
}

/* The daemon itself. */

/* Until new mail is answered 452, at the rate of the last day. */
struct json *control_space_json(struct daemon *daemon)
{
	struct json *json = json_object();
	double per_hour = volume_per_hour(&daemon->arrivals, clock_mono_ms());

	json_put_number(json, "bytes_left", (double)daemon->space_left);
	json_put_number(json, "reserve", (double)daemon->reserve_bytes);
	json_put_bool(json, "short", daemon->space_short);
	if (per_hour > 0)
		json_put_number(json, "hours_left",
				(double)daemon->space_left / per_hour);
	else
		json_put(json, "hours_left", NULL);
	return json;
}

struct json *control_daemon_json(struct daemon *daemon)
{
	struct json *body = json_object(), *plans = json_array();
	struct json *spool = json_object();
	struct spool_stats stats;
	const char *broken = spool_writer_broken(daemon->store.spool);

	for (size_t i = 0; i < daemon->cutover_count; i++)
		json_add_text(plans, daemon->cutovers[i]->plan->name);
	spool_writer_stats(daemon->store.spool, &stats);
	json_put_number(spool, "bytes", (double)stats.bytes);
	json_put_number(spool, "appends", (double)stats.appends);
	json_put_number(spool, "batches", (double)stats.batches);
	json_put_text(spool, "broken", broken);
	json_put_text(body, "version", TIDEOVER_VERSION);
	json_put_number(body, "pid", getpid());
	json_put_text(body, "state_dir", daemon->state_dir);
	json_put_time(body, "started", daemon->started_ms);
	json_put_bool(body, "ready", daemon->ready);
	json_put_bool(body, "supervised",
		      daemon->supervisor != SUPERVISOR_NONE);
	json_put_text(body, "sandbox", daemon->sandbox);
	json_put(body, "sessions", listeners_json(daemon->listeners));
	json_put(body, "space", control_space_json(daemon));
	json_put(body, "plans", plans);
	json_put(body, "spool", spool);
	return body;
}

static void get_daemon(struct call *call)
{
	call_reply(call->request, 200, control_daemon_json(call->daemon));
	call_free(call);
}

static void post_stop(struct call *call)
{
	struct json *body = json_object();

	json_put_bool(body, "stopping", true);
	call_reply(call->request, 200, body);
	daemon_stop(call->daemon);
	call_free(call);
}

static void get_plans(struct call *call)
{
	struct json *all = json_array();

	for (size_t i = 0; i < call->daemon->cutover_count; i++) {
		const struct cutover *cutover = call->daemon->cutovers[i];
		struct json *one = json_object(), *domains = json_array();

		json_put_text(one, "name", cutover->plan->name);
		json_put_text(one, "phase", phase_name(cutover->phase));
		json_put_text(one, "strategy",
			      plan_strategy_name(cutover->plan->strategy));
		for (size_t d = 0; d < cutover->plan->domain_count; d++)
			json_add_text(domains, cutover->plan->domains[d].name);
		json_put(one, "domains", domains);
		json_add(all, one);
	}
	call_reply(call->request, 200, all);
	call_free(call);
}

static void post_plans(struct call *call)
{
	const char *text = json_get_text(call->body, "text");
	const char *path = json_get_text(call->body, "path");
	struct err err = ERR_INIT;
	struct cutover *cutover;
	struct json *body;
	bool known;
	int status = 400;

	if (!text || !path) {
		call_error(call->request, 400, "text and path are required");
		call_free(call);
		return;
	}
	cutover = daemon_load(call->daemon, slice(text), path, &known, &status,
			      &err);
	if (!cutover) {
		call_error(call->request, status, err.text);
		call_free(call);
		return;
	}
	body = json_object();
	json_put_text(body, "name", cutover->plan->name);
	json_put_text(body, "phase", phase_name(cutover->phase));
	json_put_bool(body, "known", known);
	call_reply(call->request, 200, body);
	call_free(call);
}

/* Status and report. */

static void report_ledger(void *ctx, struct json *result, const struct err *err)
{
	struct call *call = ctx;
	struct cutover *cutover = daemon_find(call->daemon, call->plan);

	if (cutover) {
		call_reply(call->request, 200,
			   cutover_report(cutover, call->uncertain,
					  call->replies, result));
	} else {
		call_error(call->request, 404, "the plan was removed");
		json_free(call->uncertain);
		json_free(call->replies);
		json_free(result);
	}
	call_free(call);
}

static void report_replies(void *ctx, struct json *result,
			   const struct err *err)
{
	struct call *call = ctx;

	call->replies = result;
	index_ledger(call->daemon->store.index, call->plan, report_ledger,
		     call);
}

static void report_uncertain(void *ctx, struct json *result,
			     const struct err *err)
{
	struct call *call = ctx;

	call->uncertain = result;
	index_replies(call->daemon->store.index, call->plan, report_replies,
		      call);
}

static void get_report(struct call *call)
{
	index_uncertain(call->daemon->store.index, call->plan, report_uncertain,
			call);
}

/* What needs a gate: it may wait for servers that do not answer. */

static void gate_cancel(void *ctx)
{
	struct call *call = ctx;

	job_end(&call->job);
	call_error(call->request, 503,
		   "tideoverd ends before the gate was judged");
	call_free(call);
}

static struct call *gate_begin(struct call *call)
{
	job_begin(&call->daemon->jobs, &call->job, "a gate", call->plan,
		  gate_cancel, call);
	return call;
}

static void gate_done(void *ctx, struct cutover *cutover,
		      const struct findings *findings, const struct err *err)
{
	struct call *call = ctx;
	struct json *body;

	job_end(&call->job);
	if (err) {
		call_error(call->request, 409, err->text);
	} else {
		body = json_object();
		json_put_text(body, "phase", phase_name(cutover->phase));
		json_put(body, "gate",
			 findings ? findings_json(findings) : NULL);
		call_reply(call->request, 200, body);
	}
	call_free(call);
}

static void post_start(struct call *call)
{
	cutover_start(call->cutover, call_by(call), gate_done,
		      gate_begin(call));
}

static void post_finish(struct call *call)
{
	cutover_finish(call->cutover, call_by(call),
		       json_get_bool(call->body, "now"), gate_done,
		       gate_begin(call));
}

static void post_rollback(struct call *call)
{
	cutover_rollback(call->cutover, call_by(call), gate_done,
			 gate_begin(call));
}

static void reply_phase(struct call *call, int result, const struct err *err)
{
	struct json *body;

	if (result < 0) {
		call_error(call->request, 409, err->text);
	} else {
		body = json_object();
		json_put_text(body, "phase", phase_name(call->cutover->phase));
		call_reply(call->request, 200, body);
	}
	call_free(call);
}

static void post_abort(struct call *call)
{
	struct err err = ERR_INIT;
	int result = cutover_abort(call->cutover, call_by(call), &err);

	reply_phase(call, result, &err);
}

static void post_pause(struct call *call)
{
	struct err err = ERR_INIT;
	int result = cutover_pause(call->cutover,
				   json_get_text(call->body, "domain"),
				   call_by(call),
				   json_get_text(call->body, "reason"), &err);

	reply_phase(call, result, &err);
}

static void post_resume(struct call *call)
{
	struct err err = ERR_INIT;
	int result = cutover_resume(call->cutover,
				    json_get_text(call->body, "domain"),
				    call_by(call), &err);

	reply_phase(call, result, &err);
}

static bool time_in(struct call *call, const char *key, int64_t *at_ms)
{
	const char *text = json_get_text(call->body, key);
	char error[200];

	if (text && clock_parse(slice(text), at_ms, NULL) == 0)
		return true;
	snprintf(error, sizeof(error),
		 "%s is a time with its zone: 2026-12-05T22:00:00+01:00", key);
	call_error(call->request, 400, error);
	call_free(call);
	return false;
}

static void post_window(struct call *call)
{
	struct window window = {
		.weekly = json_get_bool(call->body, "weekly"),
		.by = (char *)(uintptr_t)call_by(call),
		.reason =
			(char *)(uintptr_t)json_get_text(call->body, "reason"),
	};
	struct err err = ERR_INIT;
	const struct window *added;

	if (!time_in(call, "from", &window.from_ms) ||
	    !time_in(call, "to", &window.to_ms))
		return;
	added = zone_get(&window.zone, call->body, &err) < 0 ?
			NULL :
			cutover_window_add(call->cutover, &window, &err);
	if (added)
		call_reply(call->request, 200, window_json(added));
	else
		call_error(call->request, 409, err.text);
	zone_release(&window.zone);
	call_free(call);
}

static void post_window_cancel(struct call *call)
{
	struct err err = ERR_INIT;
	int result = cutover_window_cancel(
		call->cutover, (unsigned)json_get_number(call->body, "id", 0),
		call_by(call), &err);

	reply_phase(call, result, &err);
}

/* Whether the gate has this row; else the request is answered. */
static bool is_asked(struct call *call, enum gate gate, const char *name)
{
	const struct check *check = check_find(name);
	const struct plan *plan = call->cutover->plan;
	char text[160];

	if (check && (check->when & (unsigned)gate) &&
	    (check->plain || !plan->plain))
		return true;
	if (!check)
		snprintf(text, sizeof(text),
			 "no check is called '%.60s': tideover check names "
			 "those of a gate",
			 name);
	else
		snprintf(text, sizeof(text),
			 "the gate %s of plan %s does not ask %s: tideover "
			 "check names those of a gate",
			 gate_name(gate), plan->name, name);
	call_error(call->request, 400, text);
	call_free(call);
	return false;
}

static void check_done(void *ctx, struct cutover *cutover,
		       const struct findings *findings, const struct err *err)
{
	struct call *call = ctx;

	job_end(&call->job);
	if (err)
		call_error(call->request, 409, err->text);
	else
		call_reply(call->request, 200, findings_json(findings));
	call_free(call);
}

static bool gate_of(struct call *call, enum gate *gate)
{
	const char *name = json_get_text(call->body, "gate");

	if (name && gate_parse(name, gate))
		return true;
	call_error(call->request, 400,
		   "gate is one of plan, start, detach, "
		   "finish, close, rollback");
	call_free(call);
	return false;
}

/* What the next finish, start or rollback would judge. */
static enum gate next_gate(enum phase phase)
{
	switch (phase) {
	case PHASE_PLANNED:
	case PHASE_OPENING:
		return GATE_START;
	case PHASE_HOLDING:
	case PHASE_RELEASING:
		return GATE_FINISH;
	case PHASE_RETURNING:
		return GATE_ROLLBACK;
	case PHASE_TRAILING:
	case PHASE_RETURNED:
	case PHASE_STANDING:
	case PHASE_FINISHED:
		break;
	}
	return GATE_CLOSE;
}

static void post_check(struct call *call)
{
	const char *only = json_get_text(call->body, "only");
	enum gate gate = next_gate(call->cutover->phase);

	if (json_get_text(call->body, "gate") && !gate_of(call, &gate))
		return;
	if (only && !is_asked(call, gate, only))
		return;
	cutover_judge(call->cutover, gate, only, check_done, gate_begin(call));
}

static void waive_done(void *ctx, struct cutover *cutover,
		       const struct findings *findings, const struct err *err)
{
	struct call *call = ctx;
	struct json *body;

	job_end(&call->job);
	if (err) {
		call_error(call->request, 409, err->text);
	} else {
		body = json_object();
		json_put(body, "waived", finding_json(&findings->at[0]));
		call_reply(call->request, 200, body);
	}
	call_free(call);
}

static void post_waive(struct call *call)
{
	const char *check = json_get_text(call->body, "check");
	const char *reason = json_get_text(call->body, "reason");
	enum gate gate;

	if (!gate_of(call, &gate))
		return;
	if (!check || !reason || !*reason) {
		call_error(call->request, 400,
			   "a waiver needs the name of a check and a reason");
		call_free(call);
		return;
	}
	if (!is_asked(call, gate, check))
		return;
	cutover_waive(call->cutover, check, gate, call_by(call), reason,
		      json_get_bool(call->body, "attest"), waive_done,
		      gate_begin(call));
}

/* The journal, and the end of a plan. */

static int journal_line(void *ctx, const struct json *line)
{
	call_line(ctx, line);
	return 0;
}

static void get_journal(struct call *call)
{
	char *path = mem_printf("%s/journal.ndjson", call->cutover->dir);
	struct err err = ERR_INIT;
	char head[65];
	uint64_t count;

	http_stream_begin(call->request, 200, "application/x-ndjson", call_gone,
			  call);
	if (journal_read(path, journal_line, call, head, &count, &err) < 0)
		log_error("journal of %s: %s", call->plan, err.text);
	call_stream_end(call, err_is_set(&err) ? &err : NULL);
	free(path);
}

static void post_shred(struct call *call)
{
	const char *reason = json_get_text(call->body, "reason");
	const struct job *job = job_find(&call->daemon->jobs, call->plan, NULL);
	struct err err = ERR_INIT;
	struct json *body;
	bool again;
	int status;

	if (!reason || !*reason) {
		call_error(call->request, 400, "say why: a reason is needed");
	} else if (job) {
		err_set(&err, "%s of plan '%s' is under way", job->what,
			call->plan);
		call_error(call->request, 409, err.text);
	} else if (shred_plan(call->cutover, call_by(call), reason, &again,
			      &status, &err) < 0) {
		call_error(call->request, status, err.text);
	} else {
		body = json_object();
		json_put_text(body, "shredded", call->plan);
		json_put_bool(body, "again", again);
		json_put_text(body, "proves", shred_proves);
		json_put_text(body, "leaves", shred_leaves);
		call_reply(call->request, 200, body);
	}
	call_free(call);
}

static void delete_plan(struct call *call)
{
	struct err err = ERR_INIT;
	struct json *body;

	if (daemon_remove(call->daemon, call->cutover, &err) < 0) {
		call_error(call->request, 409, err.text);
	} else {
		body = json_object();
		json_put_text(body, "removed", call->plan);
		call_reply(call->request, 200, body);
	}
	call_free(call);
}

/* Which request is which. */

static const struct verb {
	const char *method, *path;
	verb_fn *fn;
} node_verbs[] = {
	{ "GET", "/v1/daemon", get_daemon },
	{ "POST", "/v1/stop", post_stop },
	{ "GET", "/v1/plans", get_plans },
	{ "POST", "/v1/plans", post_plans },
}, plan_verbs[] = {
	{ "GET", "status", control_get_status },
	{ "POST", "start", post_start },
	{ "POST", "abort", post_abort },
	{ "POST", "finish", post_finish },
	{ "POST", "rollback", post_rollback },
	{ "POST", "check", post_check },
	{ "POST", "waive", post_waive },
	{ "POST", "canary", control_post_canary },
	{ "POST", "pause", post_pause },
	{ "POST", "resume", post_resume },
	{ "POST", "window", post_window },
	{ "POST", "window-cancel", post_window_cancel },
	{ "GET", "queue", control_get_queue },
	{ "GET", "count", control_get_count },
	{ "GET", "message", control_get_message },
	{ "POST", "release", control_post_release },
	{ "POST", "hold", control_post_hold },
	{ "POST", "retry", control_post_retry },
	{ "POST", "discard", control_post_discard },
	{ "POST", "bounce", control_post_bounce },
	{ "POST", "resend", control_post_resend },
	{ "POST", "shred", post_shred },
	{ "GET", "report", get_report },
	{ "GET", "journal", get_journal },
	{ "DELETE", "", delete_plan },
};

static verb_fn *find_verb(const struct verb *verbs, size_t count,
			  const char *method, struct slice path)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(verbs[i].method, method) == 0 &&
		    slice_is(path, verbs[i].path))
			return verbs[i].fn;
	return NULL;
}

static bool read_body(struct call *call)
{
	struct slice text = http_request_body(call->request);
	struct err err = ERR_INIT;

	if (text.len == 0)
		return true;
	call->body = json_parse(text, &err);
	if (call->body && json_type(call->body) == JSON_OBJECT)
		return true;
	call_error(call->request, 400,
		   call->body ? "the body is not an object" : err.text);
	return false;
}

static verb_fn *find_plan_verb(struct call *call, const char *method,
			       struct slice path)
{
	struct slice name;

	if (!slice_starts(path, "/v1/plans/"))
		return NULL;
	path = slice_from(path, strlen("/v1/plans/"));
	name = slice_split(&path, '/');
	call->plan = slice_dup(name);
	call->cutover = daemon_find(call->daemon, call->plan);
	return find_verb(plan_verbs, COUNT(plan_verbs), method, path);
}

static void no_plan(struct call *call)
{
	const struct daemon *daemon = call->daemon;
	struct buf text = BUF_INIT;

	buf_addf(&text, "plan '%s' is not under way here", call->plan);
	for (size_t i = 0; i < daemon->cutover_count; i++)
		buf_addf(&text, "%s %s", i ? "," : ", but",
			 daemon->cutovers[i]->plan->name);
	buf_adds(&text, ": tideover start begins one");
	call_error(call->request, 404, buf_text(&text));
	buf_release(&text);
	call_free(call);
}

void control_stopped(struct http_request *request)
{
	call_error(request, 503, "tideoverd stops before it was ready");
}

static bool waits(struct daemon *daemon, struct http_request *request)
{
	const char *path = http_request_path(request);

	if (daemon->ready || strcmp(path, "/v1/daemon") == 0 ||
	    strcmp(path, "/v1/stop") == 0)
		return false;
	daemon->asked = mem_grow(daemon->asked,
				 (daemon->asked_count + 1) * sizeof(request));
	daemon->asked[daemon->asked_count++] = request;
	return true;
}

void control_handle(void *ctx, struct http_request *request)
{
	struct call *call;
	const char *method = http_request_method(request);
	struct slice path = slice(http_request_path(request));
	verb_fn *fn;

	if (waits(ctx, request))
		return;
	call = mem_alloc(sizeof(*call));
	call->daemon = ctx;
	call->request = request;
	if (!read_body(call)) {
		call_free(call);
		return;
	}
	fn = find_verb(node_verbs, COUNT(node_verbs), method, path);
	if (!fn) {
		fn = find_plan_verb(call, method, path);
		if (fn && !call->cutover) {
			no_plan(call);
			return;
		}
	}
	if (!fn) {
		call_error(request, 404,
			   "no such request: docs/control.md "
			   "lists them");
		call_free(call);
		return;
	}
	fn(call);
}
