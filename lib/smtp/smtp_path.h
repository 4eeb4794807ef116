/*
 * smtp_path.h - reverse-path, forward-path and mailbox (RFC 5321, 4.1.2)
 *
 * Rejects what the standard rejects and repairs nothing.  Source routes are
 * recognised and dropped (RFC 5321 appendix C).  Slices point into the input.
 */
#ifndef SMTP_PATH_H
#define SMTP_PATH_H

#include "base/buf.h"
#include "base/err.h"

#define SMTP_LOCAL_MAX 64
#define SMTP_PATH_MAX  254
#define SMTP_DOMAIN    256 /* text of a domain with its NUL */

struct smtp_mailbox {
	struct slice local;  /* as written, quotes included */
	struct slice domain; /* as written; "[...]" for a literal */
};

enum smtp_path_kind {
	SMTP_REVERSE_PATH,
	SMTP_FORWARD_PATH
};

struct smtp_path {
	enum smtp_path_kind kind;
	struct smtp_mailbox mailbox; /* both empty: the null reverse-path */
	bool postmaster;	     /* <postmaster> without a domain */
	bool utf8;		     /* holds bytes above 127 (RFC 6531) */
};

/*
 * `in` is "<...>".  Only a reverse-path may be null, and its local part may
 * fill the path: senders that write the recipient into it (VERP, SRS) pass 64
 * bytes in daily life, and RFC 5321 section 4.5.3.1 asks for no limit where
 * none is needed.
 */
int smtp_path_parse(struct slice in, enum smtp_path_kind kind,
		    struct smtp_path *path, struct err *err);
/* local@domain without brackets. */
int smtp_mailbox_parse(struct slice in, struct smtp_mailbox *mailbox,
		       struct err *err);
/*
 * Whether a local part names a further hop of its own: user%host, host!user,
 * "user@host".  A backup MX that passes it on makes its primary, which trusts
 * it, relay to that host (Postfix, postconf(5), allow_untrusted_routing).
 */
bool smtp_local_routes(struct slice local);
/* "local@domain" ("" for the null path, "postmaster" for the bare one). */
void smtp_path_address(const struct smtp_path *path, struct buf *out);
/*
 * The domain of a mailbox as DNS and plans have it: A-labels, lower case.
 * false, and "" : an address literal, or what is too long for DNS.
 */
bool smtp_domain_normal(struct slice domain, char name[SMTP_DOMAIN]);
/*
 * The key that order is kept by: local part unquoted and lower-cased, tag
 * kept, domain as lower-case A-label.
 */
void smtp_mailbox_key(struct slice address, struct buf *out);

#endif
