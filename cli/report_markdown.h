/*
 * report_markdown.h - a report as Markdown, for tickets and wikis
 */
#ifndef CLI_REPORT_MARKDOWN_H
#define CLI_REPORT_MARKDOWN_H

#include "cli/report_model.h"

void report_markdown_begin(const struct report *report, struct buf *out);
void report_markdown_message(const struct report *report,
			     const struct json *row, struct buf *out);
void report_markdown_end(const struct report *report, struct buf *out);

#endif
