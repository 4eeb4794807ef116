/*
 * smtp_command.h - one command line of an SMTP client
 *
 * The line comes without its CRLF.  Slices point into it.
 */
#ifndef SMTP_COMMAND_H
#define SMTP_COMMAND_H

#include "smtp/smtp_path.h"

/* RFC 5321, section 4.5.3.1.4, with the CRLF; MAIL and RCPT may be longer by
 * what their parameters need (RFC 1870, 6152 and 6531 add less). */
#define SMTP_COMMAND_MAX	  512
#define SMTP_COMMAND_EXTENDED_MAX 1024

enum smtp_verb {
	SMTP_HELO,
	SMTP_EHLO,
	SMTP_MAIL,
	SMTP_RCPT,
	SMTP_DATA,
	SMTP_BDAT,
	SMTP_RSET,
	SMTP_NOOP,
	SMTP_QUIT,
	SMTP_VRFY,
	SMTP_EXPN,
	SMTP_HELP,
	SMTP_STARTTLS,
	SMTP_ABSENT,
	SMTP_UNKNOWN
};

struct smtp_command {
	enum smtp_verb verb;   /* SMTP_ABSENT: a known one that is not here */
	struct slice argument; /* blanks around it trimmed */
};

struct smtp_command smtp_command_parse(struct slice line);
/*
 * Splits "FROM:<path> parameters" (`prefix` is "FROM:" or "TO:").  Blanks
 * between colon and path are taken as every large MTA takes them.
 */
int smtp_command_path(struct slice argument, const char *prefix,
		      struct slice *path, struct slice *params,
		      struct err *err);

/*
 * Reads the "size [LAST]" of BDAT (RFC 3030, section 2).  False if it is
 * anything else, or a size beyond 64 bits: nobody knows then how many of the
 * bytes that follow are the chunk's.
 */
bool smtp_command_chunk(struct slice argument, uint64_t *size, bool *last);

#endif
