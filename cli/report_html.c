#include "cli/report_html.h"
#include "base/encode.h"
#include "cli/report_chart.h"

static const char style[] =
	":root{color-scheme:light dark;--ink:#1c2330;--dim:#5b6577;"
	"--page:#fff;--line:#d5dae3;--band:#f4f6f9;--good:#1a7f4b;"
	"--warn:#9a6700;--bad:#c22f2f;--old:#8a6fc8;--mixed:#d29a2e;"
	"--parked:#2f7fc2;--standby:#2f7fc2;--new:#1a9c62;"
	"--other:#a3a9b4;--error:#c22f2f}"
	"@media(prefers-color-scheme:dark){:root{--ink:#dfe4ec;--dim:#98a2b3;"
	"--page:#12161d;--line:#303847;--band:#1a202a;--good:#4cc38a;"
	"--warn:#e0ac48;--bad:#f2777a;--old:#a993e0;--mixed:#e0ac48;"
	"--parked:#5aa6e6;--standby:#5aa6e6;--new:#4cc38a;"
	"--other:#6b7484;--error:#f2777a}}"
	"body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);"
	"background:var(--page);max-width:1100px;margin:2em auto;"
	"padding:0 1em}h1{font-size:1.6em}h2{font-size:1.2em;"
	"border-bottom:2px solid var(--line);padding-bottom:.2em;"
	"margin-top:2em}nav{display:flex;flex-wrap:wrap;gap:.3em 1em}"
	"a{color:inherit}.wide{overflow-x:auto}"
	"table{border-collapse:collapse;margin:.8em 0;font-size:.88em;"
	"width:100%}caption{text-align:left;font-weight:600;"
	"padding:.3em 0}th,td{text-align:left;vertical-align:top;"
	"padding:.3em .6em;border-bottom:1px solid var(--line)}"
	"th{color:var(--dim);font-weight:600}"
	"tbody tr:nth-child(even){background:var(--band)}"
	"code,pre{font:.92em ui-monospace,monospace;word-break:break-all}"
	"pre{white-space:pre-wrap;background:var(--band);padding:.6em;"
	"margin:.3em 0}.good{color:var(--good)}.warn{color:var(--warn)}"
	".bad{color:var(--bad);font-weight:600}summary{cursor:pointer;"
	"color:var(--dim)}svg{width:100%;height:auto}"
	"svg text{fill:var(--dim);font:11px system-ui,sans-serif}"
	".sign td{height:2.2em}"
	"@media print{body{max-width:none;margin:0}h2{break-after:avoid}"
	"tr{break-inside:avoid}}";

static const char *const classes[] = {
	[MARK_NONE] = NULL, [MARK_GOOD] = "good", [MARK_WARN] = "warn",
	[MARK_BAD] = "bad", [MARK_CODE] = NULL,
};

/* Lines of foreign text; control characters have no place in HTML. */
static void add_text(const char *text, struct buf *out)
{
	struct slice rest = slice(text ? text : "");

	while (rest.len > 0) {
		struct slice line = slice_split(&rest, '\n');
		size_t from = 0;

		for (size_t i = 0; i <= line.len; i++) {
			if (i < line.len && (unsigned char)line.p[i] >= ' ')
				continue;
			encode_html(slice_of(line.p + from, i - from), out);
			from = i + 1;
		}
		if (rest.len > 0)
			buf_adds(out, "<br>");
	}
}

static void add_cell(const struct report_cell *cell, struct buf *out)
{
	if (classes[cell->mark])
		buf_addf(out, "<td class=%s>", classes[cell->mark]);
	else
		buf_adds(out, "<td>");
	if (cell->mark == MARK_CODE)
		buf_adds(out, "<code>");
	add_text(cell->text, out);
	if (cell->mark == MARK_CODE)
		buf_adds(out, "</code>");
}

static void add_row(const char *const *columns, const struct report_row *row,
		    struct buf *out)
{
	size_t count = 0;

	buf_adds(out, "<tr>");
	for (; count < REPORT_COLUMNS && columns[count]; count++)
		add_cell(&row->cells[count], out);
	buf_adds(out, "</tr>\n");
	if (!row->detail)
		return;
	buf_addf(out,
		 "<tr><td colspan=%zu><details><summary>evidence</summary>"
		 "<pre>",
		 count);
	encode_html(slice(row->detail), out);
	buf_adds(out, "</pre></details></tr>\n");
}

static void add_head(const char *caption, const char *const *columns,
		     struct buf *out)
{
	bool named = false;

	buf_adds(out, "<div class=wide><table>");
	if (caption) {
		buf_adds(out, "<caption>");
		add_text(caption, out);
		buf_adds(out, "</caption>");
	}
	for (size_t i = 0; i < REPORT_COLUMNS && columns[i]; i++)
		named |= columns[i][0] != '\0';
	if (named) {
		buf_adds(out, "<thead><tr>");
		for (size_t i = 0; i < REPORT_COLUMNS && columns[i]; i++)
			buf_addf(out, "<th>%s", columns[i]);
		buf_adds(out, "</tr></thead>");
	}
	buf_adds(out, "<tbody>\n");
}

static void end_table(struct buf *out)
{
	buf_adds(out, "</tbody></table></div>\n");
}

static void add_section(const struct report *report,
			const struct report_section *section, struct buf *out)
{
	const char *class = classes[section->mark];

	buf_addf(out, "<section id=%s><h2>%s</h2>\n", section->id,
		 section->title);
	if (section->text) {
		buf_addf(out, "<p%s%s>", class ? " class=" : "",
			 class ? class : "");
		add_text(section->text, out);
		buf_adds(out, "</p>\n");
	}
	if (section->chart == CHART_QUEUE)
		report_chart_queue(report, out);
	else if (section->chart == CHART_MX)
		report_chart_mx(report, out);
	for (size_t i = 0; i < section->table_count; i++) {
		const struct report_table *table = &section->tables[i];

		if (table->row_count == 0)
			continue;
		add_head(table->caption, table->columns, out);
		for (size_t r = 0; r < table->row_count; r++)
			add_row(table->columns, &table->rows[r], out);
		end_table(out);
	}
}

static void begin(const struct report *report, struct buf *out)
{
	const char *name =
		json_get_text(json_get(report->data, "plan"), "name");

	buf_adds(out, "<!doctype html>\n<html lang=en><head>"
		      "<meta charset=utf-8><meta name=viewport "
		      "content=\"width=device-width\"><meta name=referrer "
		      "content=no-referrer><title>tideover report: ");
	add_text(name, out);
	buf_addf(out, "</title><style>%s</style></head><body>\n<h1>", style);
	add_text(name, out);
	buf_adds(out, "</h1>\n<nav>");
	for (size_t i = 0; i < report->section_count; i++)
		buf_addf(out, "<a href=\"#%s\">%s</a> ", report->sections[i].id,
			 report->sections[i].title);
	buf_adds(out, "</nav>\n");
	for (size_t i = 0; i <= report->messages_at; i++) {
		add_section(report, &report->sections[i], out);
		if (i < report->messages_at)
			buf_adds(out, "</section>\n");
	}
	add_head(NULL, report_message_columns, out);
}

static void message(const struct report *report, const struct json *row,
		    bool first, struct buf *out)
{
	struct report_row cells;

	report_message(report, row, &cells);
	add_row(report_message_columns, &cells, out);
	report_row_release(&cells);
}

static void end(const struct report *report, struct buf *out)
{
	end_table(out);
	buf_adds(out, "</section>\n");
	for (size_t i = report->messages_at + 1; i < report->section_count;
	     i++) {
		add_section(report, &report->sections[i], out);
		buf_adds(out, "</section>\n");
	}
	buf_adds(out, "</body></html>\n");
}

const struct report_writer report_html = { "html", begin, message, end };
