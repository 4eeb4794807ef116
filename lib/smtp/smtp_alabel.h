/*
 * smtp_alabel.h - a domain as DNS sees it
 *
 * Non-ASCII labels become A-labels (RFC 3492, RFC 5890), ASCII is
 * lower-cased, nothing else is mapped: IDNA2008 defines U-labels as already
 * lower-case and normalised, so another spelling is another name.
 */
#ifndef SMTP_ALABEL_H
#define SMTP_ALABEL_H

#include "base/buf.h"

/*
 * Takes one code point off *s.  False, with *s untouched, if the bytes are
 * not UTF-8 (overlong forms and surrogates included) or there are none.
 */
bool smtp_utf8_next(struct slice *s, uint32_t *point);
bool smtp_utf8_is_valid(struct slice s);
/* Appends; a label that is not UTF-8 is copied as it is. */
void smtp_domain_alabels(struct slice domain, struct buf *out);

#endif
