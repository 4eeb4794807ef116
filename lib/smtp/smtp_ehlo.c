#include "smtp/smtp_ehlo.h"

static const struct {
	const char *keyword;
	size_t offer;
} keywords[] = {
	{ "PIPELINING", offsetof(struct smtp_offers, pipelining) },
	{ "SIZE", offsetof(struct smtp_offers, size) },
	{ "8BITMIME", offsetof(struct smtp_offers, eightbit) },
	{ "STARTTLS", offsetof(struct smtp_offers, starttls) },
	{ "CHUNKING", offsetof(struct smtp_offers, chunking) },
	{ "SMTPUTF8", offsetof(struct smtp_offers, utf8) },
};

void smtp_ehlo_begin(struct smtp_ehlo *ehlo)
{
	*ehlo = (struct smtp_ehlo){ .offers.esmtp = true };
}

void smtp_ehlo_line(void *ctx, struct slice line)
{
	struct smtp_ehlo *ehlo = ctx;
	struct slice rest = slice_trim(line);
	struct slice word = slice_split(&rest, ' ');

	if (!ehlo->named) {
		ehlo->named = true;
		return;
	}
	for (size_t i = 0; i < COUNT(keywords); i++) {
		bool *offer = (bool *)(void *)((char *)&ehlo->offers +
					       keywords[i].offer);

		if (slice_is_nocase(word, keywords[i].keyword))
			*offer = true;
	}
	/* A size that cannot be read is none told (RFC 1870, section 4). */
	if (slice_is_nocase(word, "SIZE") &&
	    !slice_u64(slice_trim(rest), &ehlo->offers.max_size))
		ehlo->offers.max_size = 0;
}
