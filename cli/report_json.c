#include "cli/report_json.h"
#include "cli/report_redact.h"

static struct json *total_json(const struct report_ledger *total)
{
	struct json *json = json_object();

	json_put_number(json, "accepted", total->accepted);
	json_put_number(json, "waiting", total->waiting);
	json_put_number(json, "held", total->held);
	json_put_number(json, "delivered", total->delivered);
	json_put_number(json, "bounced", total->bounced);
	json_put_number(json, "discarded", total->discarded);
	return json;
}

/* The object is left open: its last member is the list, written as it comes. */
static void begin(const struct report *report, struct buf *out)
{
	struct json *document = json_copy(report->data);
	struct buf text = BUF_INIT;

	json_put_bool(document, "balances", report->balances);
	json_put_bool(document, "redacted", report->salt != NULL);
	json_put(document, "total", total_json(&report->total));
	json_put_number(document, "order_exception_count",
			(double)report->order_count);
	json_put(document, "order_exceptions", json_copy(report->order));
	json_print(document, &text);
	buf_add(out, slice_of(text.p, text.len - 1));
	buf_adds(out, ",\"messages\":[");
	buf_release(&text);
	json_free(document);
}

static void message(const struct report *report, const struct json *row,
		    bool first, struct buf *out)
{
	buf_adds(out, first ? "\n" : ",\n");
	if (report->salt) {
		struct json *redacted = report_redact_json(report->salt, row);

		json_print(redacted, out);
		json_free(redacted);
	} else {
		json_print(row, out);
	}
}

static void end(const struct report *report, struct buf *out)
{
	buf_adds(out, "\n]}\n");
}

const struct report_writer report_json = { "json", begin, message, end };
