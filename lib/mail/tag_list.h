/*
 * tag_list.h - "v=DMARC1; p=none; rua=mailto:..." as DKIM, DMARC and TLS-RPT
 * write it (RFC 6376 section 3.2)
 *
 * Pure; borrows from the text.
 */
#ifndef MAIL_TAG_LIST_H
#define MAIL_TAG_LIST_H

#include "base/slice.h"
#include "dns/dns_record.h"

/* The value of a tag, trimmed; empty if it is not there. */
struct slice tag_list_get(struct slice text, const char *tag);
/*
 * Takes the next URI off the value of "rua" (RFC 7489 section 6.2); false:
 * there is none.  `domain` is that of a mailto:, normal, without the size that
 * may follow ("!10m"); "" of any other URI.
 */
bool tag_list_next_uri(struct slice *rua, struct slice *uri,
		       char domain[DNS_NAME]);

#endif
