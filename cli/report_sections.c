/* The sections of a report, in the order in which they are read. */

#include "base/clock.h"
#include "cli/report_model.h"
#include "cutover/timeline.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	SECTIONS_MAX = 16
};

/* Building. */

static struct report_section *add_section(struct report *report, const char *id,
					  const char *title)
{
	struct report_section *section;

	if (!report->sections)
		report->sections =
			mem_alloc(SECTIONS_MAX * sizeof(*report->sections));
	section = &report->sections[report->section_count++];
	section->id = id;
	section->title = title;
	return section;
}

static void say(struct report_section *section, enum report_mark mark,
		const char *format, ...) __attribute__((format(printf, 3, 4)));

static void say(struct report_section *section, enum report_mark mark,
		const char *format, ...)
{
	struct buf text = BUF_INIT;
	va_list args;

	if (section->text)
		buf_addf(&text, "%s\n", section->text);
	va_start(args, format);
	buf_vaddf(&text, format, args);
	va_end(args);
	free(section->text);
	section->text = buf_take(&text);
	if (mark > section->mark)
		section->mark = mark;
}

static struct report_table *add_table(struct report_section *section,
				      const char *caption,
				      const char *const *columns)
{
	struct report_table *table;

	section->tables =
		mem_grow(section->tables,
			 (section->table_count + 1) * sizeof(*section->tables));
	table = &section->tables[section->table_count++];
	*table = (struct report_table){ .caption = mem_dup(caption) };
	for (size_t i = 0; columns[i]; i++)
		table->columns[i] = columns[i];
	return table;
}

static struct report_row *add_row(struct report_table *table)
{
	if ((table->row_count & (table->row_count - 1)) == 0)
		table->rows =
			mem_grow(table->rows,
				 (table->row_count ? table->row_count * 2 : 1) *
					 sizeof(*table->rows));
	table->rows[table->row_count] = (struct report_row){ 0 };
	return &table->rows[table->row_count++];
}

static void put(struct report_row *row, size_t at, enum report_mark mark,
		const char *text)
{
	row->cells[at].text = mem_dup(text);
	row->cells[at].mark = mark;
}

static void put_number(struct report_row *row, size_t at, double number)
{
	row->cells[at].text = mem_printf("%.0f", number);
}

static const char *text_of(const struct json *object, const char *key)
{
	const char *text = json_get_text(object, key);

	return text ? text : "";
}

static void put_time(struct report_row *row, size_t at,
		     const struct json *object, const char *key)
{
	put(row, at, MARK_NONE, text_of(object, key));
	for (char *c = row->cells[at].text; *c; c++)
		if (*c == 'T')
			*c = ' ';
}

static void put_detail(struct report_row *row, const struct json *value)
{
	struct buf text = BUF_INIT;

	if (!value || json_type(value) == JSON_NULL)
		return;
	json_print_pretty(value, &text);
	row->detail = buf_take(&text);
}

static void add_fact(struct report_table *table, const char *name,
		     enum report_mark mark, const char *text)
{
	struct report_row *row = add_row(table);

	put(row, 0, MARK_NONE, name);
	put(row, 1, mark, text);
}

/* The ledger. */

static void take_ledger(const struct json *row, struct report_ledger *ledger)
{
	ledger->accepted = json_get_number(row, "accepted", 0);
	ledger->waiting = json_get_number(row, "waiting", 0);
	ledger->held = json_get_number(row, "held", 0);
	ledger->delivered = json_get_number(row, "delivered", 0);
	ledger->bounced = json_get_number(row, "bounced", 0);
	ledger->discarded = json_get_number(row, "discarded", 0);
}

static double sum_of(const struct report_ledger *ledger)
{
	return ledger->waiting + ledger->held + ledger->delivered +
	       ledger->bounced + ledger->discarded;
}

/* The daemon counts for itself and the index counts rows: both must agree. */
static const struct json *live_ledger(const struct report *report,
				      const char *domain)
{
	const struct json *status = json_get(report->data, "status");

	for (const struct json *it = json_first(json_get(status, "domains"));
	     it; it = json_next(it))
		if (strcmp(text_of(it, "name"), domain) == 0)
			return json_get(it, "ledger");
	return NULL;
}

static bool domain_balances(const struct report *report, const struct json *row)
{
	const struct json *live = live_ledger(report, text_of(row, "domain"));
	struct report_ledger ledger, other;

	take_ledger(row, &ledger);
	if (ledger.accepted != sum_of(&ledger))
		return false;
	if (!live)
		return true;
	take_ledger(live, &other);
	return other.accepted == sum_of(&other);
}

static void sum_ledger(struct report *report)
{
	struct report_ledger *total = &report->total;

	report->balances = true;
	for (const struct json *row =
		     json_first(json_get(report->data, "ledger"));
	     row; row = json_next(row)) {
		struct report_ledger one;

		take_ledger(row, &one);
		total->accepted += one.accepted;
		total->waiting += one.waiting;
		total->held += one.held;
		total->delivered += one.delivered;
		total->bounced += one.bounced;
		total->discarded += one.discarded;
		if (!domain_balances(report, row))
			report->balances = false;
	}
	if (total->accepted != sum_of(total))
		report->balances = false;
	/* Mail may arrive between the two questions, but none may go. */
	if (report->listed.accepted < total->accepted)
		report->balances = false;
}

static void put_ledger(struct report_row *row, const struct report_ledger *one,
		       bool balances)
{
	put_number(row, 1, one->accepted);
	put_number(row, 2, one->waiting);
	put_number(row, 3, one->held);
	put_number(row, 4, one->delivered);
	put_number(row, 5, one->bounced);
	put_number(row, 6, one->discarded);
	put(row, 7, balances ? MARK_GOOD : MARK_BAD,
	    balances ? "balances" : "DOES NOT BALANCE");
}

static void build_ledger(struct report *report)
{
	static const char *const columns[] = {
		"domain",  "accepted",	"waiting", "held", "delivered",
		"bounced", "discarded", "",	   NULL
	};
	struct report_section *section =
		add_section(report, "ledger", "Ledger");
	struct report_table *table = add_table(section, NULL, columns);
	struct report_row *row;

	for (const struct json *it =
		     json_first(json_get(report->data, "ledger"));
	     it; it = json_next(it)) {
		struct report_ledger one;

		take_ledger(it, &one);
		row = add_row(table);
		put(row, 0, MARK_NONE, text_of(it, "domain"));
		put_ledger(row, &one, domain_balances(report, it));
	}
	row = add_row(table);
	put(row, 0, MARK_NONE, "all domains");
	put_ledger(row, &report->total, report->balances);
	if (report->balances)
		say(section, MARK_GOOD,
		    "It balances: each envelope that was "
		    "answered 250 is waiting, held, delivered, bounced or "
		    "discarded.");
	else
		say(section, MARK_BAD,
		    "IT DOES NOT BALANCE: accepted is not "
		    "waiting + held + delivered + bounced + discarded, or the "
		    "list of messages is short.  Do not sign.");
	say(section, MARK_NONE,
	    "The list of messages below has %.0f "
	    "envelopes; the ledger counts %.0f.",
	    report->listed.accepted, report->total.accepted);
}

/* Summary. */

static void build_summary(struct report *report)
{
	static const char *const columns[] = { "", "", NULL };
	const struct json *plan = json_get(report->data, "plan");
	const struct json *journal = json_get(report->data, "journal");
	const struct report_ledger *total = &report->total;
	struct report_section *section =
		add_section(report, "summary", "Summary");
	struct report_table *table = add_table(section, NULL, columns);
	struct buf domains = BUF_INIT;
	bool intact = json_get_bool(journal, "intact");

	for (const struct json *it = json_first(json_get(plan, "domains")); it;
	     it = json_next(it))
		buf_addf(&domains, "%s%s", domains.len ? ", " : "",
			 json_text(it));
	add_fact(table, "plan", MARK_NONE, text_of(plan, "name"));
	add_fact(table, "domains", MARK_NONE, buf_text(&domains));
	add_fact(table, "strategy", MARK_NONE, text_of(plan, "strategy"));
	add_fact(table, "queue's host", MARK_NONE, text_of(plan, "queue_host"));
	add_fact(table, "plan SHA-256", MARK_CODE, text_of(plan, "hash"));
	add_fact(table, "phase", MARK_NONE, text_of(report->data, "phase"));
	add_fact(table, "generated", MARK_NONE,
		 text_of(report->data, "generated"));
	add_fact(table, "tideover", MARK_NONE,
		 text_of(report->data, "version"));
	add_fact(table, "journal", intact ? MARK_GOOD : MARK_BAD,
		 intact ? "intact" : text_of(journal, "error"));
	if (json_get_bool(plan, "rehearsal"))
		add_fact(table, "rehearsal", MARK_WARN,
			 "this was a rehearsal: "
			 "no evidence for a real gate");
	if (report->salt)
		add_fact(table, "redacted", MARK_NONE,
			 "local parts are hashed "
			 "with a salt that is not kept; the plan's hash is of "
			 "the original");
	say(section, report->balances ? MARK_NONE : MARK_BAD,
	    "%.0f envelopes accepted: %.0f delivered, %.0f waiting, %.0f held, "
	    "%.0f bounced, %.0f discarded.  The ledger %s.",
	    total->accepted, total->delivered, total->waiting, total->held,
	    total->bounced, total->discarded,
	    report->balances ? "balances" : "DOES NOT BALANCE");
	buf_release(&domains);
}

/* Timeline. */

static void planned_steps(struct report_section *section, const char *text)
{
	static const char *const columns[] = {
		"", "step", "who", "records", "confirmed by", NULL
	};
	struct plan *plan = plan_parse(slice(text), NULL, NULL);
	struct facts *facts;
	struct json *steps;
	struct report_table *table;

	if (!plan)
		return;
	facts = facts_new(plan);
	steps = timeline_json(facts);
	table = add_table(section, "As planned", columns);
	for (const struct json *it = json_first(steps); it;
	     it = json_next(it)) {
		struct report_row *row = add_row(table);
		struct buf records = BUF_INIT;

		for (const struct json *r = json_first(json_get(it, "records"));
		     r; r = json_next(r))
			buf_addf(&records, "%s%s", records.len ? "\n" : "",
				 json_text(r));
		put_number(row, 0, json_get_number(it, "step", 0));
		put(row, 1,
		    json_get_bool(it, "no_return") ? MARK_WARN : MARK_NONE,
		    text_of(it, "title"));
		put(row, 2, MARK_NONE, text_of(it, "who"));
		put(row, 3, MARK_CODE, buf_text(&records));
		put(row, 4, MARK_NONE, text_of(it, "confirm"));
		buf_release(&records);
	}
	json_free(steps);
	facts_free(facts);
	plan_free(plan);
}

static void build_timeline(struct report *report)
{
	static const char *const columns[] = { "at", "phase", "from", "by",
					       NULL };
	const struct json *plan = json_get(report->data, "plan");
	const char *opens = json_get_text(plan, "opens");
	const char *closes = json_get_text(plan, "closes");
	struct report_section *section =
		add_section(report, "timeline", "Timeline");
	struct report_table *table;

	if (opens || closes)
		say(section, MARK_NONE, "Scheduled from %s to %s.",
		    opens ? opens : "(open)", closes ? closes : "(open)");
	table = add_table(section, "As it was", columns);
	for (const struct json *it =
		     json_first(json_get(report->data, "phases"));
	     it; it = json_next(it)) {
		struct report_row *row = add_row(table);

		put_time(row, 0, it, "at");
		put(row, 1, MARK_NONE, text_of(it, "to"));
		put(row, 2, MARK_NONE, text_of(it, "from"));
		put(row, 3, MARK_NONE, text_of(it, "by"));
	}
	planned_steps(section, json_get_text(plan, "text"));
}

/* Checks. */

static enum report_mark mark_of_verdict(const char *verdict)
{
	if (strcmp(verdict, "pass") == 0)
		return MARK_GOOD;
	return strcmp(verdict, "fail") == 0 ? MARK_BAD : MARK_WARN;
}

static void add_gate(struct report_section *section, const struct json *gate)
{
	static const char *const columns[] = { "check",	 "verdict", "finding",
					       "remedy", "waived",  NULL };
	char *caption =
		mem_printf("Gate %s, %s: %s", text_of(gate, "gate"),
			   text_of(gate, "at"),
			   json_get_bool(gate, "open") ? "open" : "shut");
	struct report_table *table = add_table(section, caption, columns);

	free(caption);
	for (const struct json *it = json_first(json_get(gate, "findings")); it;
	     it = json_next(it)) {
		struct report_row *row = add_row(table);
		const char *by = json_get_text(it, "waived_by");

		put(row, 0, MARK_CODE, text_of(it, "check"));
		put(row, 1, mark_of_verdict(text_of(it, "verdict")),
		    text_of(it, "verdict"));
		put(row, 2, MARK_NONE, text_of(it, "summary"));
		put(row, 3, MARK_NONE, text_of(it, "remedy"));
		if (by)
			row->cells[4].text = mem_printf(
				"%s: %s", by, text_of(it, "waived_reason"));
		put_detail(row, json_get(it, "evidence"));
	}
}

/* The last judgement of a gate carries the evidence; the earlier are named. */
static bool is_last(const struct json *gate)
{
	const char *name = text_of(gate, "gate");

	while ((gate = json_next(gate)))
		if (strcmp(text_of(gate, "gate"), name) == 0)
			return false;
	return true;
}

static void add_judgements(struct report_section *section,
			   const struct json *gates)
{
	static const char *const columns[] = { "at", "gate", "", "blocking",
					       NULL };
	struct report_table *table =
		add_table(section, "Every judgement", columns);

	for (const struct json *it = json_first(gates); it;
	     it = json_next(it)) {
		struct report_row *row = add_row(table);
		bool open = json_get_bool(it, "open");
		struct buf names = BUF_INIT;

		for (const struct json *b =
			     json_first(json_get(it, "blocking"));
		     b; b = json_next(b))
			buf_addf(&names, "%s%s", names.len ? ", " : "",
				 json_text(b));
		put_time(row, 0, it, "at");
		put(row, 1, MARK_NONE, text_of(it, "gate"));
		put(row, 2, open ? MARK_GOOD : MARK_BAD,
		    open ? "open" : "shut");
		put(row, 3, MARK_NONE, buf_text(&names));
		buf_release(&names);
	}
}

/* What turned by itself, between the gates. */
static void add_watched(struct report_section *section,
			const struct json *watched)
{
	static const char *const columns[] = { "at", "check",	"from",
					       "to", "finding", NULL };
	struct report_table *table;

	if (json_count(watched) == 0)
		return;
	table = add_table(section, "Watched checks, as they turned", columns);
	for (const struct json *it = json_first(watched); it;
	     it = json_next(it)) {
		struct report_row *row = add_row(table);

		put_time(row, 0, it, "at");
		put(row, 1, MARK_CODE, text_of(it, "check"));
		put(row, 2, MARK_NONE, text_of(it, "from"));
		put(row, 3, json_get_bool(it, "alert") ? MARK_BAD : MARK_NONE,
		    text_of(it, "to"));
		put(row, 4, MARK_NONE, text_of(it, "summary"));
		put_detail(row, it);
	}
}

static void build_checks(struct report *report)
{
	static const char *const columns[] = { "at", "check",  "gate",
					       "by", "reason", "finding",
					       NULL };
	const struct json *gates = json_get(report->data, "gates");
	const struct json *waivers = json_get(report->data, "waivers");
	struct report_section *section =
		add_section(report, "checks", "Gates and checks");
	struct report_table *table;

	add_judgements(section, gates);
	for (const struct json *it = json_first(gates); it; it = json_next(it))
		if (is_last(it))
			add_gate(section, it);
	add_watched(section, json_get(report->data, "watched"));
	if (json_count(waivers) == 0) {
		say(section, MARK_NONE, "No finding was waived.");
		return;
	}
	table = add_table(section, "Waivers", columns);
	for (const struct json *it = json_first(waivers); it;
	     it = json_next(it)) {
		struct report_row *row = add_row(table);

		put_time(row, 0, it, "at");
		put(row, 1, MARK_CODE, text_of(it, "check"));
		put(row, 2, MARK_NONE, text_of(it, "gate"));
		put(row, 3, MARK_NONE, text_of(it, "by"));
		put(row, 4, MARK_NONE, text_of(it, "reason"));
		put(row, 5, MARK_NONE, text_of(it, "finding"));
	}
}

/* DNS, queue, valves. */

static void build_mx(struct report *report)
{
	static const char *const columns[] = { "at",	  "domain", "vantage",
					       "address", "view",   "MX",
					       "TTL",	  NULL };
	struct report_section *section =
		add_section(report, "mx", "MX sets, as each vantage saw them");
	struct report_table *table;

	section->chart = CHART_MX;
	table = add_table(section, "Every change", columns);
	for (const struct json *it =
		     json_first(json_get(report->data, "observations"));
	     it; it = json_next(it)) {
		struct report_row *row = add_row(table);
		const char *error = json_get_text(it, "error");

		put_time(row, 0, it, "at");
		put(row, 1, MARK_NONE, text_of(it, "domain"));
		put(row, 2, MARK_NONE, text_of(it, "vantage"));
		put(row, 3, MARK_CODE, text_of(it, "address"));
		put(row, 4, error ? MARK_BAD : MARK_NONE, text_of(it, "view"));
		put(row, 5, MARK_CODE, error ? error : text_of(it, "mx"));
		put_number(row, 6, json_get_number(it, "ttl", 0));
	}
}

static void build_queue(struct report *report)
{
	static const char *const columns[] = { "", "", "at", NULL };
	struct report_section *section =
		add_section(report, "queue", "Queue and rates over time");
	const struct json *samples = json_get(report->data, "samples");
	const struct json *peak = NULL, *before = NULL, *fast = NULL;
	double rate = 0;
	struct report_table *table;
	struct report_row *row;

	section->chart = CHART_QUEUE;
	for (const struct json *it = json_first(samples); it;
	     before = it, it = json_next(it)) {
		int64_t from, to;
		double per_min;

		if (!peak || json_get_number(it, "waiting", 0) >
				     json_get_number(peak, "waiting", 0))
			peak = it;
		if (!before ||
		    clock_parse(slice(text_of(before, "at")), &from, NULL) <
			    0 ||
		    clock_parse(slice(text_of(it, "at")), &to, NULL) < 0 ||
		    to <= from)
			continue;
		per_min = (json_get_number(it, "delivered", 0) -
			   json_get_number(before, "delivered", 0)) *
			  60000 / (double)(to - from);
		if (per_min > rate) {
			rate = per_min;
			fast = it;
		}
	}
	if (!peak) {
		say(section, MARK_NONE, "No samples were taken.");
		return;
	}
	table = add_table(section, NULL, columns);
	row = add_row(table);
	put(row, 0, MARK_NONE, "most envelopes waiting");
	put_number(row, 1, json_get_number(peak, "waiting", 0));
	put_time(row, 2, peak, "at");
	if (!fast)
		return;
	row = add_row(table);
	put(row, 0, MARK_NONE, "fastest delivery, envelopes a minute");
	put_number(row, 1, rate);
	put_time(row, 2, fast, "at");
}

static void build_valves(struct report *report)
{
	static const char *const columns[] = { "at",	"event", "of",
					       "state", "why",	 NULL };
	struct report_section *section =
		add_section(report, "valves", "Valves, breakers and health");
	struct report_table *table = add_table(section, NULL, columns);

	for (const struct json *it =
		     json_first(json_get(report->data, "valves"));
	     it; it = json_next(it)) {
		struct report_row *row = add_row(table);
		const char *of = json_get_text(it, "domain");
		const char *why = json_get_text(it, "reason");

		put_time(row, 0, it, "at");
		put(row, 1, MARK_NONE, text_of(it, "event"));
		put(row, 2, MARK_NONE, of ? of : text_of(it, "target"));
		put(row, 3, MARK_NONE, text_of(it, "state"));
		put(row, 4, MARK_NONE, why ? why : text_of(it, "last_error"));
	}
}

/* Canaries: each as it left, and what came of it. */

static void put_canary_reply(struct report_row *row, const struct json *data)
{
	const char *state = json_get_text(data, "state");
	double code = json_get_number(data, "code", 0);

	put(row, 1,
	    !state			   ? MARK_NONE :
	    strcmp(state, "accepted") == 0 ? MARK_GOOD :
					     MARK_BAD,
	    state ? state : "sent");
	if (!state)
		return;
	row->cells[5].text =
		code > 0 ? mem_printf("%s: %.0f %s", text_of(data, "stage"),
				      code, text_of(data, "text")) :
			   mem_printf("%s: %s", text_of(data, "stage"),
				      text_of(data, "text"));
	put(row, 6, MARK_NONE, text_of(data, "tls"));
}

static void build_canaries(struct report *report)
{
	static const char *const columns[] = { "at",  "",	"id",
					       "to",  "target", "reply",
					       "TLS", "by",	NULL };
	const struct json *list = json_get(report->data, "canaries");
	struct report_section *section;
	struct report_table *table;

	if (json_count(list) == 0)
		return;
	section = add_section(report, "canaries",
			      "Canaries: messages of our own");
	table = add_table(section, NULL, columns);
	for (const struct json *it = json_first(list); it; it = json_next(it)) {
		struct report_row *row = add_row(table);
		const char *peer = json_get_text(it, "peer");

		put_time(row, 0, it, "at");
		put_canary_reply(row, it);
		put(row, 2, MARK_CODE, text_of(it, "id"));
		put(row, 3, MARK_NONE, text_of(it, "address"));
		row->cells[4].text =
			mem_printf("%s%s%s", text_of(it, "target"),
				   peer ? "\n" : "", peer ? peer : "");
		put(row, 7, MARK_NONE, text_of(it, "by"));
	}
}

/* Exceptions. */

static void add_order(struct report *report, struct report_section *section)
{
	static const char *const columns[] = { "mailbox", "earlier", "later",
					       "what happened", NULL };
	struct report_table *table;

	if (report->order_count == 0) {
		say(section, MARK_GOOD,
		    "Order: each mailbox got its mail in "
		    "the order in which it was accepted.");
		return;
	}
	say(section, MARK_WARN, "Order: %zu exceptions%s.", report->order_count,
	    report->order_count > REPORT_ORDER_MAX ? "; the first are listed" :
						     "");
	table = add_table(section, "Exceptions to order", columns);
	for (const struct json *it = json_first(report->order); it;
	     it = json_next(it)) {
		struct report_row *row = add_row(table);

		put(row, 0, MARK_NONE, text_of(it, "mailbox"));
		put(row, 1, MARK_CODE, text_of(it, "earlier"));
		put(row, 2, MARK_CODE, text_of(it, "later"));
		put(row, 3, MARK_NONE, text_of(it, "text"));
	}
}

static void add_uncertain(struct report *report, struct report_section *section)
{
	static const char *const columns[] = { "message", "forward-path",
					       "times", "state", NULL };
	const struct json *list =
		json_get(json_get(report->data, "exceptions"), "uncertain");
	struct report_table *table;

	if (json_count(list) == 0) {
		say(section, MARK_GOOD, "Possible duplicates: none.");
		return;
	}
	say(section, MARK_WARN,
	    "Possible duplicates: %zu envelopes lost their "
	    "connection between the final dot and the reply.",
	    json_count(list));
	table = add_table(section, "Possible duplicates", columns);
	for (const struct json *it = json_first(list); it; it = json_next(it)) {
		struct report_row *row = add_row(table);

		row->cells[0].text =
			mem_printf("%s:%.0f", text_of(it, "id"),
				   json_get_number(it, "envelope", 0));
		row->cells[0].mark = MARK_CODE;
		put(row, 1, MARK_NONE, text_of(it, "forward_path"));
		put_number(row, 2, json_get_number(it, "uncertain", 0));
		put(row, 3, MARK_NONE, text_of(it, "state"));
	}
}

static void add_damage(struct report *report, struct report_section *section)
{
	double damaged = 0, torn = 0;

	for (const struct json *it =
		     json_first(json_get(report->data, "daemon_starts"));
	     it; it = json_next(it)) {
		damaged += json_get_number(it, "damaged_ranges", 0);
		torn += json_get_number(it, "torn_ranges", 0);
	}
	if (damaged > 0)
		say(section, MARK_BAD,
		    "Damage: %.0f ranges of the spool that "
		    "were synced could not be read again; copies are in "
		    "quarantine.",
		    damaged);
	else
		say(section, MARK_GOOD, "Damage: none.");
	if (torn > 0)
		say(section, MARK_NONE,
		    "%.0f unfinished writes were found after a crash. Such a "
		    "write was not answered 250; but the end of what was kept "
		    "looks the same if the disk spoiled it before the next "
		    "start.",
		    torn);
}

/* Of the daemon that answers, and of those before it. */
static void add_sandbox(struct report *report, struct report_section *section)
{
	const char *now = text_of(report->data, "sandbox"), *weak = NULL;
	unsigned without = 0;

	for (const struct json *it =
		     json_first(json_get(report->data, "daemon_starts"));
	     it; it = json_next(it)) {
		const char *text = text_of(it, "sandbox");

		if (!strstr(text, "off"))
			continue;
		weak = text;
		without++;
	}
	say(section, strstr(now, "off") ? MARK_BAD : MARK_GOOD,
	    "Sandbox of tideoverd: %s.", now);
	if (weak)
		say(section, MARK_BAD,
		    "%u starts had not all of it; the last of them: %s.",
		    without, weak);
}

static void add_replies(struct report *report, struct report_section *section)
{
	static const char *const columns[] = { "envelopes",	"state",
					       "stage",		"reply",
					       "what it means", NULL };
	const struct json *list =
		json_get(json_get(report->data, "status"), "replies");
	struct report_table *table;

	if (json_count(list) == 0)
		return;
	table = add_table(section, "Replies to what waits or is held", columns);
	for (const struct json *it = json_first(list); it; it = json_next(it)) {
		struct report_row *row = add_row(table);

		put_number(row, 0, json_get_number(it, "count", 0));
		put(row, 1, MARK_NONE, text_of(it, "state"));
		put(row, 2, MARK_NONE, text_of(it, "stage"));
		row->cells[3].text =
			mem_printf("%.0f %s %s", json_get_number(it, "code", 0),
				   text_of(it, "enhanced"),
				   text_of(it, "text"));
		put(row, 4, MARK_NONE, text_of(it, "reason"));
	}
}

static void build_exceptions(struct report *report)
{
	struct report_section *section =
		add_section(report, "exceptions", "Exceptions");

	add_order(report, section);
	add_uncertain(report, section);
	add_damage(report, section);
	add_sandbox(report, section);
	add_replies(report, section);
}

static void build_actions(struct report *report)
{
	static const char *const columns[] = { "at", "what", "by", "reason",
					       NULL };
	struct report_section *section =
		add_section(report, "actions", "Operator actions");
	struct report_table *table = add_table(section, NULL, columns);

	for (const struct json *it =
		     json_first(json_get(report->data, "operator_actions"));
	     it; it = json_next(it)) {
		struct report_row *row = add_row(table);

		put_time(row, 0, it, "at");
		put(row, 1, MARK_NONE, text_of(it, "event"));
		put(row, 2, MARK_NONE, text_of(it, "by"));
		put(row, 3, MARK_NONE, text_of(it, "reason"));
		put_detail(row, it);
	}
	if (table->row_count == 0)
		say(section, MARK_NONE,
		    "None beside the phases and waivers "
		    "above.");
}

static void build_journal(struct report *report)
{
	const struct json *journal = json_get(report->data, "journal");
	struct report_section *section =
		add_section(report, "journal", "Journal");

	if (json_get_bool(journal, "intact"))
		say(section, MARK_GOOD,
		    "%.0f lines, the chain of hashes is "
		    "intact.",
		    json_get_number(journal, "lines", 0));
	else
		say(section, MARK_BAD, "THE CHAIN IS BROKEN: %s",
		    text_of(journal, "error"));
	say(section, MARK_NONE, "Head: %s", text_of(journal, "head"));
}

static void build_sign_off(struct report *report)
{
	static const char *const columns[] = { "role", "name", "date",
					       "signature", NULL };
	static const char *const roles[] = { "change id", "migration engineer",
					     "owner of the domains" };
	struct report_table *table = add_table(
		add_section(report, "sign-off", "Sign-off"), NULL, columns);

	for (size_t i = 0; i < COUNT(roles); i++)
		put(add_row(table), 0, MARK_NONE, roles[i]);
}

void report_build(struct report *report)
{
	sum_ledger(report);
	build_summary(report);
	build_ledger(report);
	build_exceptions(report);
	build_timeline(report);
	build_checks(report);
	build_mx(report);
	build_queue(report);
	build_valves(report);
	build_canaries(report);
	build_actions(report);
	report->messages_at = report->section_count;
	add_section(report, "messages", "Messages");
	build_journal(report);
	build_sign_off(report);
}
