/*
 * report_redact.h - take the people out of a text
 *
 * The local part of every "local@domain" becomes "x-" and 12 hex digits of
 * SHA-256 over salt, local part and domain in lower case.  Without the salt
 * nobody can try names against it.
 */
#ifndef CLI_REPORT_REDACT_H
#define CLI_REPORT_REDACT_H

#include "base/json.h"

void report_redact_text(const char *salt, struct slice text, struct buf *out);
/* A copy with every string redacted; keys stay.  The caller's. */
struct json *report_redact_json(const char *salt, const struct json *value);

#endif
