/*
 * smtp_ehlo.h - what a server offers in its reply to EHLO
 */
#ifndef SMTP_EHLO_H
#define SMTP_EHLO_H

#include "smtp/smtp_client.h"

struct smtp_ehlo {
	struct smtp_offers offers;
	bool named; /* the first line, the server's name, has passed */
};

void smtp_ehlo_begin(struct smtp_ehlo *ehlo);
/* One line of the reply; made for smtp_reply_parse(), `ctx` is the ehlo. */
void smtp_ehlo_line(void *ctx, struct slice line);

#endif
