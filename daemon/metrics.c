#include "daemon/metrics.h"
#include "base/clock.h"
#include <stdlib.h>

#define TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum scope {
	OF_NODE,
	OF_LIMITS, /* each member of what is at `path` of the node */
	OF_PLAN,
	OF_DOMAIN,
	OF_SYSTEMS /* each member of what is at `path` of the domain */
};

/* One family: what it is, and where in a document of docs/control.md. */
static const struct family {
	enum scope scope;
	const char *name, *type, *path;
	const char *is; /* 1 where the text is this, else 0; NULL: its value */
	const char *help;
} families[] = {
	{ OF_NODE, "tideover_ready", "gauge", "ready", NULL,
	  "The queue is loaded and plans go on." },
	{ OF_NODE, "tideover_start_time_seconds", "gauge", "started", NULL,
	  "When tideoverd started." },
	{ OF_NODE, "tideover_spool_bytes_written_total", "counter",
	  "spool.bytes", NULL, "Bytes appended to the spool." },
	{ OF_NODE, "tideover_spool_records_total", "counter", "spool.appends",
	  NULL, "Records appended to the spool." },
	{ OF_NODE, "tideover_spool_syncs_total", "counter", "spool.batches",
	  NULL, "Batches of them, each synced once." },
	{ OF_NODE, "tideover_space_bytes", "gauge", "space.bytes_left", NULL,
	  "Disk space above the reserve." },
	{ OF_NODE, "tideover_space_short", "gauge", "space.short", NULL,
	  "New mail is answered 452." },
	{ OF_NODE, "tideover_space_hours", "gauge", "space.hours_left", NULL,
	  "Until it is, at the rate of the last day." },
	{ OF_NODE, "tideover_sessions", "gauge", "sessions.open", NULL,
	  "SMTP sessions that are open." },
	{ OF_NODE, "tideover_networks", "gauge", "sessions.networks", NULL,
	  "Networks that they come from." },
	{ OF_NODE, "tideover_sessions_total", "counter", "sessions.accepted",
	  NULL, "SMTP sessions that were begun." },
	{ OF_NODE, "tideover_answer_seconds", "gauge",
	  "sessions.overload.answer_ms", NULL,
	  "How long a sender waits for an answer now." },
	{ OF_LIMITS, "tideover_turned_away_total", "counter",
	  "sessions.turned_away", NULL,
	  "Sessions and transactions that a limit ended." },
	{ OF_PLAN, "tideover_drained", "gauge", "drained", NULL,
	  "All that waited has gone to its target." },
	{ OF_PLAN, "tideover_queue_bytes", "gauge", "queue.bytes", NULL,
	  "Bytes that wait or are held, per envelope." },
	{ OF_PLAN, "tideover_queue_oldest_seconds", "gauge",
	  "queue.oldest_age_ms", NULL, "Age of the oldest of them." },
	{ OF_PLAN, "tideover_in_flight", "gauge", "queue.in_flight", NULL,
	  "Envelopes on their way to a target." },
	{ OF_PLAN, "tideover_alerts", "gauge", "alerts", NULL,
	  "Alerts that tideover status shows." },
	{ OF_DOMAIN, "tideover_accepted_total", "counter", "ledger.accepted",
	  NULL, "Envelopes that were answered 250." },
	{ OF_DOMAIN, "tideover_waiting", "gauge", "ledger.waiting", NULL,
	  "Envelopes that wait." },
	{ OF_DOMAIN, "tideover_held", "gauge", "ledger.held", NULL,
	  "Envelopes that are held." },
	{ OF_DOMAIN, "tideover_delivered_total", "counter", "ledger.delivered",
	  NULL, "Envelopes that a target took." },
	{ OF_DOMAIN, "tideover_bounced_total", "counter", "ledger.bounced",
	  NULL, "Envelopes that an operator bounced." },
	{ OF_DOMAIN, "tideover_discarded_total", "counter", "ledger.discarded",
	  NULL, "Envelopes that an operator discarded." },
	{ OF_DOMAIN, "tideover_ledger_balances", "gauge", "ledger.balances",
	  NULL, "Accepted is waiting, held or final." },
	{ OF_DOMAIN, "tideover_valve_open", "gauge", "valve.state", "open",
	  "Mail goes to the target." },
	{ OF_SYSTEMS, "tideover_target_healthy", "gauge", "health", "healthy",
	  "The last probe of the mail system was good." },
};

static const struct json *find(const struct json *document, const char *path)
{
	struct slice rest = slice(path);

	while (document && rest.len > 0) {
		char *key = slice_dup(slice_split(&rest, '.'));

		document = json_get(document, key);
		free(key);
	}
	return document;
}

static bool ends(const char *text, const char *with)
{
	return slice_ends_nocase(slice(text), with);
}

/* False: it is not known now, and has no sample. */
static bool value_of(const struct family *family, const struct json *json,
		     double *value)
{
	int64_t at_ms;

	switch (json_type(json)) {
	case JSON_BOOL:
		*value = json_bool(json);
		return true;
	case JSON_NUMBER:
		*value = json_number(json);
		if (ends(family->path, "_ms"))
			*value /= 1000;
		return true;
	case JSON_ARRAY:
		*value = (double)json_count(json);
		return true;
	case JSON_STRING:
		if (family->is)
			*value = strcmp(json_text(json), family->is) == 0;
		else if (clock_parse(slice(json_text(json)), &at_ms, NULL) == 0)
			*value = (double)at_ms / 1000;
		else
			return false;
		return true;
	case JSON_NULL:
	case JSON_OBJECT:
		break;
	}
	return false;
}

static void put_label(struct buf *labels, const char *name, const char *value)
{
	buf_addf(labels, "%s%s=\"", labels->len ? "," : "", name);
	for (; value && *value; value++) {
		if (*value == '\\' || *value == '"')
			buf_addc(labels, '\\');
		if (*value == '\n')
			buf_adds(labels, "\\n");
		else
			buf_addc(labels, *value);
	}
	buf_addc(labels, '"');
}

static void put_sample(const struct family *family, const struct buf *labels,
		       const struct json *json, struct buf *out)
{
	double value;

	if (!value_of(family, json, &value))
		return;
	buf_adds(out, family->name);
	if (labels->len)
		buf_addf(out, "{%.*s}", (int)labels->len, labels->p);
	buf_addf(out, " %.16g\n", value);
}

/* Of each member, with the label that names it. */
static void put_members(const struct family *family, const struct buf *labels,
			const char *label, const struct json *members,
			struct buf *out)
{
	for (const struct json *one = json_first(members); one;
	     one = json_next(one)) {
		struct buf all = BUF_INIT;

		buf_add(&all, buf_slice(labels));
		put_label(&all, label, json_key(one));
		if (json_get_text(one, "target"))
			put_label(&all, "target", json_get_text(one, "target"));
		put_sample(family, &all,
			   family->is ? json_get(one, "state") : one, out);
		buf_release(&all);
	}
}

static void put_domains(const struct family *family, const struct json *plan,
			struct buf *out)
{
	for (const struct json *domain = json_first(json_get(plan, "domains"));
	     domain; domain = json_next(domain)) {
		const struct json *json = find(domain, family->path);
		struct buf labels = BUF_INIT;

		put_label(&labels, "plan", json_get_text(plan, "plan"));
		put_label(&labels, "domain", json_get_text(domain, "name"));
		if (family->scope == OF_SYSTEMS)
			put_members(family, &labels, "system", json, out);
		else
			put_sample(family, &labels, json, out);
		buf_release(&labels);
	}
}

static void put_plan(const struct family *family, const struct json *plan,
		     struct buf *out)
{
	struct buf labels = BUF_INIT;

	put_label(&labels, "plan", json_get_text(plan, "plan"));
	put_sample(family, &labels, find(plan, family->path), out);
	buf_release(&labels);
}

static void put_family(const struct family *family, const struct json *node,
		       const struct json *plans, struct buf *out)
{
	static const struct buf none = BUF_INIT;

	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name,
		 family->help, family->name, family->type);
	if (family->scope == OF_NODE)
		put_sample(family, &none, find(node, family->path), out);
	else if (family->scope == OF_LIMITS)
		put_members(family, &none, "limit", find(node, family->path),
			    out);
	for (const struct json *plan = json_first(plans); plan;
	     plan = json_next(plan)) {
		if (family->scope == OF_PLAN)
			put_plan(family, plan, out);
		else if (family->scope == OF_DOMAIN ||
			 family->scope == OF_SYSTEMS)
			put_domains(family, plan, out);
	}
}

/* In which phase each plan is: always 1. */
static void put_phases(const struct json *plans, struct buf *out)
{
	buf_adds(out, "# HELP tideover_plan_info A plan, and its phase.\n"
		      "# TYPE tideover_plan_info gauge\n");
	for (const struct json *plan = json_first(plans); plan;
	     plan = json_next(plan)) {
		struct buf labels = BUF_INIT;

		put_label(&labels, "plan", json_get_text(plan, "plan"));
		put_label(&labels, "strategy", json_get_text(plan, "strategy"));
		put_label(&labels, "phase", json_get_text(plan, "phase"));
		buf_addf(out, "tideover_plan_info{%s} 1\n", buf_text(&labels));
		buf_release(&labels);
	}
}

void metrics_print(const struct json *node, const struct json *plans,
		   struct buf *out)
{
	struct buf labels = BUF_INIT;

	put_label(&labels, "version", json_get_text(node, "version"));
	buf_addf(out,
		 "# HELP tideover_build_info The version that runs.\n"
		 "# TYPE tideover_build_info gauge\n"
		 "tideover_build_info{%s} 1\n",
		 buf_text(&labels));
	put_phases(plans, out);
	for (size_t i = 0; i < COUNT(families); i++)
		put_family(&families[i], node, plans, out);
	buf_release(&labels);
}

static void get_metrics(struct daemon *daemon, struct http_request *request)
{
	struct json *node = control_daemon_json(daemon), *plans = json_array();
	struct buf text = BUF_INIT;

	/* Before then nobody knows what waits. */
	for (size_t i = 0; daemon->ready && i < daemon->cutover_count; i++)
		json_add(plans, cutover_status(daemon->cutovers[i], NULL));
	metrics_print(node, plans, &text);
	http_answer(request, 200, TEXT_TYPE, buf_slice(&text));
	buf_release(&text);
	json_free(plans);
	json_free(node);
}

static void get_health(struct daemon *daemon, struct http_request *request)
{
	struct acceptance_answer answer;
	struct buf text = BUF_INIT;

	daemon->acceptance.admit(daemon->acceptance.ctx, 0, &answer);
	buf_addf(&text, "%s\n", answer.code == 250 ? "ok" : answer.text);
	http_answer(request, answer.code == 250 ? 200 : 503, TEXT_TYPE,
		    buf_slice(&text));
	buf_release(&text);
}

void metrics_handle(void *ctx, struct http_request *request)
{
	const char *path = http_request_path(request);

	if (strcmp(http_request_method(request), "GET") != 0)
		http_answer(request, 405, TEXT_TYPE, slice("GET only\n"));
	else if (strcmp(path, "/metrics") == 0)
		get_metrics(ctx, request);
	else if (strcmp(path, "/healthz") == 0)
		get_health(ctx, request);
	else
		http_answer(request, 404, TEXT_TYPE,
			    slice("/metrics or /healthz\n"));
}
