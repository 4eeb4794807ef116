/*
 * journal_hide.h - a line of the journal without anybody's address
 *
 * The journal of a plan that encrypts must stay readable without a key, and is
 * never rewritten; so addresses do not get in.  They would in texts of others:
 * what a system replied, a reason that somebody gave.
 */
#ifndef CUTOVER_JOURNAL_HIDE_H
#define CUTOVER_JOURNAL_HIDE_H

#include "base/json.h"

/*
 * A copy in which "(hidden)" stands for what is before an '@' in each text, but
 * for the member "by" of an object: who acted must be known.
 */
struct json *journal_hide(const struct json *value);

#endif
