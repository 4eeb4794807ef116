/*
 * smtp_hops.h - how often a message has been passed on, and how often by us
 *
 * Counts the Received fields of a header as it streams by (RFC 5321, section
 * 6.3), and among them our own: the BY clause names our host and the ID clause
 * has one of our ids (section 4.4), outside of comments.  The id is asked for
 * because another MTA of the same host has the same name.
 *
 * How the bytes are cut into pieces never changes the result.
 */
#ifndef SMTP_HOPS_H
#define SMTP_HOPS_H

#include "base/slice.h"

/* Where mail stops that comes back to us: others forward to us for a reason
 * once or twice, and 100 hops are 100 copies of a large message. */
#define SMTP_HOPS_MAX	  100 /* RFC 5321, section 6.3: at least 100 */
#define SMTP_HOPS_OWN_MAX 2

struct smtp_hops {
	unsigned received, own;
	/* What follows is the module's own. */
	const char *hostname;
	bool over;     /* the header has ended */
	bool in_field; /* of a Received field, behind its colon */
	bool at_start; /* of a line */
	char name[9];  /* of a field, lower case, as far as it fits */
	size_t name_len;
	unsigned depth; /* of comments */
	char word[256]; /* what does not fit is not ours */
	size_t word_len;
	enum {
		SMTP_HOPS_OTHER,
		SMTP_HOPS_BY,
		SMTP_HOPS_ID
	} clause; /* what the word is the value of */
	bool by_us;
};

/* `hostname` is borrowed. */
void smtp_hops_begin(struct smtp_hops *hops, const char *hostname);
/* Bytes of the message with CRLF lines; those behind the header do nothing. */
void smtp_hops_add(struct smtp_hops *hops, struct slice bytes);
/* False if the message goes round in a circle; `why` is for the reply. */
bool smtp_hops_are_few(const struct smtp_hops *hops, const char **why);

#endif
