/*
 * report_json.h - a report as one JSON document
 *
 * The daemon's data as it is, with "balances", "total" and "order_exceptions"
 * beside it, and "messages": an array with each message and its attempts.
 */
#ifndef CLI_REPORT_JSON_H
#define CLI_REPORT_JSON_H

#include "cli/report_model.h"

extern const struct report_writer report_json;

#endif
