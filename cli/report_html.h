/*
 * report_html.h - a report as one HTML file, charts and all
 *
 * No script, no font, nothing to fetch: it can be mailed, archived and
 * printed.  Light or dark as the reader's system is.
 */
#ifndef CLI_REPORT_HTML_H
#define CLI_REPORT_HTML_H

#include "cli/report_model.h"

extern const struct report_writer report_html;

#endif
