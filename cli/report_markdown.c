#include "cli/report_markdown.h"

/* Text inside a table cell: foreign, and never markup. */
static void add_cell_text(const char *text, struct buf *out)
{
	for (; text && *text; text++) {
		if (*text == '\n')
			buf_adds(out, "<br>");
		else if (*text == '<')
			buf_adds(out, "&lt;");
		else if (*text == '>')
			buf_adds(out, "&gt;");
		else if (*text == '&')
			buf_adds(out, "&amp;");
		else if (strchr("\\`*_|[]", *text))
			buf_addf(out, "\\%c", *text);
		else if ((unsigned char)*text < ' ')
			buf_addc(out, ' ');
		else
			buf_addc(out, *text);
	}
}

static void add_cell(const struct report_cell *cell, struct buf *out)
{
	buf_adds(out, " ");
	if (cell->mark == MARK_BAD)
		buf_adds(out, "**");
	add_cell_text(cell->text, out);
	if (cell->mark == MARK_BAD)
		buf_adds(out, "**");
	buf_adds(out, " |");
}

static void add_head(const char *const *columns, struct buf *out)
{
	size_t count = 0;

	buf_adds(out, "|");
	for (; count < REPORT_COLUMNS && columns[count]; count++)
		buf_addf(out, " %s |", columns[count]);
	buf_adds(out, "\n|");
	while (count-- > 0)
		buf_adds(out, " --- |");
	buf_adds(out, "\n");
}

static void add_row(const char *const *columns, const struct report_row *row,
		    struct buf *out)
{
	buf_adds(out, "|");
	for (size_t i = 0; i < REPORT_COLUMNS && columns[i]; i++)
		add_cell(&row->cells[i], out);
	buf_adds(out, "\n");
}

static void add_details(const struct report_table *table, struct buf *out)
{
	for (size_t i = 0; i < table->row_count; i++) {
		const struct report_row *row = &table->rows[i];

		if (!row->detail)
			continue;
		buf_adds(out, "\nEvidence of ");
		add_cell_text(row->cells[0].text, out);
		buf_addf(out, ":\n\n```json\n%s```\n", row->detail);
	}
}

static void add_table(const struct report_table *table, struct buf *out)
{
	if (table->row_count == 0)
		return;
	if (table->caption) {
		buf_adds(out, "\n### ");
		add_cell_text(table->caption, out);
		buf_adds(out, "\n");
	}
	buf_adds(out, "\n");
	add_head(table->columns, out);
	for (size_t i = 0; i < table->row_count; i++)
		add_row(table->columns, &table->rows[i], out);
	add_details(table, out);
}

static void add_section(const struct report_section *section, struct buf *out)
{
	buf_addf(out, "\n## %s\n", section->title);
	if (section->text) {
		buf_adds(out, "\n");
		if (section->mark == MARK_BAD)
			buf_adds(out, "**Look at this.** ");
		add_cell_text(section->text, out);
		buf_adds(out, "\n");
	}
	for (size_t i = 0; i < section->table_count; i++)
		add_table(&section->tables[i], out);
}

static void begin(const struct report *report, struct buf *out)
{
	buf_adds(out, "# tideover report: ");
	add_cell_text(json_get_text(json_get(report->data, "plan"), "name"),
		      out);
	buf_adds(out, "\n");
	for (size_t i = 0; i <= report->messages_at; i++)
		add_section(&report->sections[i], out);
	buf_adds(out, "\n");
	add_head(report_message_columns, out);
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
	for (size_t i = report->messages_at + 1; i < report->section_count; i++)
		add_section(&report->sections[i], out);
}

const struct report_writer report_markdown = { "md", begin, message, end };
