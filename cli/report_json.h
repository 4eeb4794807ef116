/*
 * report_json.h - a report as one JSON document
 *
 * The daemon's data as it is, with "balances", "total" and "order_exceptions"
 * beside it, and "messages": an array with each message and its attempts.
 */
#ifndef CLI_REPORT_JSON_H
#define CLI_REPORT_JSON_H

#include "cli/report_model.h"

void report_json_begin(const struct report *report, struct buf *out);
/* `first` is true for the first row alone: commas stand between. */
void report_json_message(const struct report *report, const struct json *row,
			 bool first, struct buf *out);
void report_json_end(const struct report *report, struct buf *out);

#endif
