/*
 * report_markdown.h - a report as Markdown, for tickets and wikis
 *
 * Tables with pipes and fenced JSON, as GitHub and GitLab read them.
 */
#ifndef CLI_REPORT_MARKDOWN_H
#define CLI_REPORT_MARKDOWN_H

#include "cli/report_model.h"

extern const struct report_writer report_markdown;

#endif
