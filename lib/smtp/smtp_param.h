/*
 * smtp_param.h - the ESMTP parameters of MAIL and RCPT
 *
 * SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531).  RCPT takes none.
 */
#ifndef SMTP_PARAM_H
#define SMTP_PARAM_H

#include "smtp/smtp_server.h"

struct smtp_params {
	uint64_t size; /* 0: not told */
	enum smtp_body body;
	bool utf8;
};

enum smtp_param_verdict {
	SMTP_PARAM_OK,
	SMTP_PARAM_UNKNOWN, /* 555 */
	SMTP_PARAM_INVALID, /* 501: known, but its value is wrong */
};

/* `in` is what follows the path; the result is untouched unless OK. */
enum smtp_param_verdict smtp_param_mail(struct slice in, bool take_utf8,
					struct smtp_params *params,
					struct err *err);
enum smtp_param_verdict smtp_param_rcpt(struct slice in, struct err *err);

#endif
