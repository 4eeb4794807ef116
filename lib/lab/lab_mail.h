/*
 * lab_mail.h - a handful of messages as they come in real life
 *
 * Written for the rehearsal: plain text with lines that begin with dots, MIME
 * with an attachment, a bounce, a newsletter with long lines, UTF-8, an empty
 * body.  CRLF lines, whole.
 */
#ifndef LAB_LAB_MAIL_H
#define LAB_LAB_MAIL_H

#include "base/slice.h"

extern const struct slice lab_mail[];
extern const size_t lab_mail_count;

#endif
