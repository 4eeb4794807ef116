/*
 * spf_record.h - the terms of an SPF record (RFC 7208)
 *
 * Pure.  Enough to say whether a record is one, which other records it calls
 * and how many lookups it costs; it evaluates nobody's address.
 */
#ifndef MAIL_SPF_RECORD_H
#define MAIL_SPF_RECORD_H

#include "base/err.h"
#include "base/slice.h"

enum {
	SPF_TERMS_MAX = 256,
	SPF_LOOKUPS_MAX = 10, /* RFC 7208 section 4.6.4 */
	SPF_VOIDS_MAX = 2
};

enum spf_kind {
	SPF_ALL,
	SPF_INCLUDE,
	SPF_A,
	SPF_MX,
	SPF_PTR,
	SPF_IP4,
	SPF_IP6,
	SPF_EXISTS,
	SPF_REDIRECT,
	SPF_EXP,
	SPF_OTHER /* a modifier that RFC 7208 does not know */
};

struct spf_term {
	enum spf_kind kind;
	char qualifier;	     /* '+', '-', '~', '?'; of a mechanism */
	struct slice domain; /* behind ':' or '=', without a prefix length */
	bool macro;	     /* the domain depends on the mail */
	bool looks_up;	     /* counts against the ten */
};

struct spf_record {
	struct spf_term terms[SPF_TERMS_MAX];
	size_t count;
	bool has_all; /* redirect= does nothing then */
};

/* Whether a TXT is an SPF record at all: "v=spf1", alone or before a space. */
bool spf_is_record(struct slice text);
/* -1 with err: a syntax error, which is a permerror (section 4.6).  Slices
 * point into `text`. */
int spf_record_parse(struct slice text, struct spf_record *record,
		     struct err *err);

#endif
