#include "smtp/smtp_reply.h"
#include "smtp/smtp_alabel.h"
#include <stdio.h>

#define REPLY_MAX 65536

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* As much of "NNN[- ]" as is there must be right: a stranger shows at once. */
static bool line_begins_well(struct slice line)
{
	if (line.len > 0 && (line.p[0] < '2' || line.p[0] > '5'))
		return false;
	for (size_t i = 1; i < 3 && i < line.len; i++)
		if (!is_digit(line.p[i]))
			return false;
	return line.len <= 3 || line.p[3] == '-' || line.p[3] == ' ' ||
	       line.p[3] == '\r';
}

/* The length of the enhanced code at the front of a text, or 0. */
static size_t enhanced_length(struct slice text, char class)
{
	size_t at = 1;

	if (text.len < 5 || text.p[0] != class)
		return 0;
	for (int part = 0; part < 2; part++) {
		size_t digits = 0;

		if (at == text.len || text.p[at++] != '.')
			return 0;
		while (at < text.len && digits < 4 && is_digit(text.p[at]))
			at++, digits++;
		if (digits == 0 || digits > 3)
			return 0;
	}
	return at == text.len || text.p[at] == ' ' ? at : 0;
}

/* Only what a terminal and a report can show; whole UTF-8 or nothing. */
static void add_printable(struct smtp_reply *reply, size_t *len,
			  struct slice text)
{
	while (text.len > 0) {
		struct slice rest = text;
		uint32_t point;
		size_t size = 1;
		const char *from = text.p;

		if (smtp_utf8_next(&rest, &point))
			size = text.len - rest.len;
		else
			point = 0;
		if (point < ' ' || (point >= 0x7f && point < 0xa0))
			from = "?????";
		if (point == '\t')
			from = " ";
		if (*len + size >= sizeof(reply->text))
			return;
		memcpy(reply->text + *len, from, size);
		*len += size;
		text = slice_from(text, size);
	}
}

static void add_line(struct smtp_reply *reply, size_t *len, struct slice text,
		     bool first)
{
	size_t enhanced =
		enhanced_length(text, (char)('0' + reply->code / 100));

	if (first && enhanced > 0)
		memcpy(reply->enhanced, text.p, enhanced);
	text = slice_trim(slice_from(text, enhanced));
	if (text.len == 0)
		return;
	if (*len > 0)
		add_printable(reply, len, slice(" / "));
	add_printable(reply, len, text);
}

/* The length of the line at the front with its CRLF, 0 if it is not whole. */
static ptrdiff_t line_length(struct slice in, struct err *err)
{
	const char *lf = memchr(in.p, '\n', in.len);

	if (!line_begins_well(in))
		return err_set(err, "the server does not speak SMTP");
	if (!lf)
		return 0;
	if (lf - in.p < 4 || lf[-1] != '\r')
		return err_set(err, "a reply line of the server does not end "
				    "with CRLF");
	return lf - in.p + 1;
}

/* The length of the whole reply, 0 if it is not there yet. */
static ptrdiff_t reply_length(struct slice in, struct err *err)
{
	size_t at = 0;

	while (at < in.len) {
		struct slice line = slice_from(in, at);
		ptrdiff_t len = line_length(line, err);

		if (len < 0)
			return -1;
		if (at > 0 && line.len >= 3 && memcmp(line.p, in.p, 3) != 0)
			return err_set(err, "one reply has two codes");
		if (len == 0)
			break;
		at += (size_t)len;
		if (at > REPLY_MAX)
			break;
		if (line.p[3] != '-')
			return (ptrdiff_t)at;
	}
	if (in.len > REPLY_MAX)
		return err_set(err, "the reply is larger than %d bytes",
			       REPLY_MAX);
	return 0;
}

ptrdiff_t smtp_reply_parse(struct slice in, struct smtp_reply *reply,
			   void (*each)(void *ctx, struct slice line),
			   void *ctx, struct err *err)
{
	ptrdiff_t total = reply_length(in, err);
	struct smtp_reply parsed = { 0 };
	size_t text_len = 0;

	if (total <= 0)
		return total;
	parsed.code =
		(in.p[0] - '0') * 100 + (in.p[1] - '0') * 10 + (in.p[2] - '0');
	for (size_t at = 0; at < (size_t)total;) {
		const char *lf = memchr(in.p + at, '\n', (size_t)total - at);
		size_t len = (size_t)(lf + 1 - in.p) - at;
		struct slice text = slice_of(in.p + at + 3, len - 5);

		/* "250" alone is a line too (RFC 5321, section 4.2). */
		if (text.len > 0)
			text = slice_from(text, 1);
		if (each)
			each(ctx, text);
		add_line(&parsed, &text_len, text, at == 0);
		at += len;
	}
	*reply = parsed;
	return total;
}

void smtp_reply_code(const struct smtp_reply *reply, char text[SMTP_REPLY_CODE])
{
	snprintf(text, SMTP_REPLY_CODE, "%d%s%s", reply->code,
		 reply->enhanced[0] ? " " : "", reply->enhanced);
}
