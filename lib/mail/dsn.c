#include "mail/dsn.h"
#include "base/clock.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	LINE_MAX_BYTES = 998, /* RFC 5322 section 2.1.1, without CRLF */
	FIELD_MAX_BYTES = 900,
	QUOTED_LINE = 76 /* RFC 2045 section 6.7 */
};

struct slice dsn_header(struct slice message)
{
	size_t whole = 0;

	for (size_t i = 0; i + 1 < message.len; i++) {
		if (message.p[i] != '\r' || message.p[i + 1] != '\n')
			continue;
		if (i == whole)
			break;
		whole = i + 2;
	}
	return slice_of(message.p, whole);
}

static bool is_digits(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!isdigit((unsigned char)text.p[i]))
			return false;
	return text.len >= 1 && text.len <= 3;
}

/* RFC 3463 section 2: class "." subject "." detail. */
static bool is_refusal(const char *enhanced)
{
	struct slice rest = slice(enhanced);
	struct slice class = slice_split(&rest, '.');
	struct slice subject = slice_split(&rest, '.');

	return (slice_is(class, "4") || slice_is(class, "5")) &&
	       is_digits(subject) && is_digits(rest);
}

const char *dsn_status(const struct dsn_recipient *recipient,
		       char status[DSN_STATUS])
{
	const char *text = "4.4.7";

	if (recipient->code > 0 && is_refusal(recipient->enhanced))
		text = recipient->enhanced;
	else if (recipient->code >= 500)
		text = "5.0.0";
	else if (recipient->code > 0)
		text = "4.0.0";
	snprintf(status, DSN_STATUS, "%s", text);
	return status;
}

/*
 * An address inside a field.  What is not ASCII is written as RFC 6533
 * section 3 says (utf-8-addr-xtext): \x{FC}.
 */
static void add_address(struct buf *out, const char *address)
{
	const unsigned char *p = (const unsigned char *)address;

	while (*p) {
		unsigned point = *p, more;

		if (*p < 0x80) {
			buf_addc(out, *p < ' ' || *p == 0x7f ? '?' : (char)*p);
			p++;
			continue;
		}
		more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc0 ? 1 : 0;
		point &= more ? 0x3fu >> more : 0x3fu;
		for (p++; more > 0 && (*p & 0xc0) == 0x80; more--)
			point = point << 6 | (*p++ & 0x3f);
		buf_addf(out, "\\x{%X}", point);
	}
}

static bool is_ascii(const char *text)
{
	return !slice_has_8bit(slice(text));
}

/* RFC 3464 section 2.1.2: an address with its type. */
static void add_typed(struct buf *out, const char *address)
{
	buf_adds(out, is_ascii(address) ? "rfc822; " : "utf-8; ");
	add_address(out, address);
}

/* What others said: one line, printable, bounded. */
static void add_said(struct buf *out, const char *text)
{
	for (size_t i = 0; text && text[i] && i < FIELD_MAX_BYTES; i++) {
		unsigned char c = (unsigned char)text[i];

		buf_addc(out, c < ' ' || c == 0x7f ? ' ' :
			      c >= 0x80		   ? '?' :
						     (char)c);
	}
}

/* Where it was tried, without the port: RFC 3464 section 2.3.5. */
static void add_host(struct buf *out, const char *target)
{
	struct slice host = slice(target);
	ptrdiff_t colon = slice_rfind(host, ':');

	if (colon >= 0)
		host.len = (size_t)colon;
	slice_unwrap(&host, '[', ']');
	if (slice_find(host, ':') >= 0)
		buf_addf(out, "dns; [IPv6:%.*s]", (int)host.len, host.p);
	else if (host.len > 0 && isdigit((unsigned char)host.p[host.len - 1]))
		buf_addf(out, "dns; [%.*s]", (int)host.len, host.p);
	else
		buf_addf(out, "dns; %.*s", (int)host.len, host.p);
}

static void add_date(struct buf *out, const char *field, int64_t at_ms)
{
	char text[CLOCK_TEXT];

	if (at_ms > 0)
		buf_addf(out, "%s: %s\r\n", field,
			 clock_format_mail(at_ms, text));
}

static void write_head(const struct dsn *dsn, const char *boundary,
		       struct buf *out)
{
	add_date(out, "Date", dsn->now_ms);
	buf_adds(out, "From: Mail Delivery System <");
	add_address(out, dsn->from);
	/* A header of ASCII cannot name the others; the envelope does. */
	if (is_ascii(dsn->reverse_path)) {
		buf_adds(out, ">\r\nTo: <");
		add_address(out, dsn->reverse_path);
		buf_adds(out, ">\r\n");
	} else {
		buf_adds(out, ">\r\nTo: undisclosed-recipients:;\r\n");
	}
	buf_addf(out,
		 "Subject: Undelivered mail returned to sender\r\n"
		 "Message-ID: <%s@%s>\r\n"
		 /* RFC 3834 section 5: nobody answers it by machine. */
		 "Auto-Submitted: auto-replied\r\n"
		 "MIME-Version: 1.0\r\n"
		 "Content-Type: multipart/report; report-type=delivery-status;"
		 "\r\n\tboundary=\"%s\"\r\n\r\n",
		 dsn->own_id, dsn->host, boundary);
}

static void write_words(const struct dsn *dsn, struct buf *out)
{
	char arrived[CLOCK_TEXT];

	buf_addf(out,
		 "Content-Type: text/plain; charset=us-ascii\r\n"
		 "Content-Description: Notification\r\n\r\n"
		 "This is the mail system at %s.\r\n\r\n"
		 "Your message that arrived here at\r\n%s\r\n"
		 "could not be delivered to the recipients below.  It was kept "
		 "and tried\r\nuntil the people who run this system gave it "
		 "up; it will not be tried again.\r\n",
		 dsn->host, clock_format_mail(dsn->arrival_ms, arrived));
	for (size_t i = 0; i < dsn->count; i++) {
		const struct dsn_recipient *to = &dsn->recipients[i];

		buf_adds(out, "\r\n<");
		add_address(out, to->forward_path);
		buf_adds(out, ">\r\n");
		if (to->code == 0) {
			buf_adds(out, "    no mail system took it\r\n");
			continue;
		}
		buf_adds(out, "    ");
		add_said(out, to->target);
		buf_addf(out, " answered %d ", to->code);
		if (to->enhanced && *to->enhanced)
			buf_addf(out, "%s ", to->enhanced);
		add_said(out, to->reply);
		if (to->stage)
			buf_addf(out, " (to %s)", to->stage);
		buf_adds(out, "\r\n");
	}
	buf_adds(out, "\r\nThe header of your message is attached.  If you "
		      "need help, forward this\r\nnotification to <");
	add_address(out, dsn->from);
	buf_adds(out, ">.\r\n");
}

/* RFC 3464 section 2: fields of the message, then a block per recipient. */
static void write_status(const struct dsn *dsn, struct buf *out)
{
	buf_addf(out,
		 "Content-Type: message/delivery-status\r\n"
		 "Content-Description: Delivery report\r\n\r\n"
		 "Reporting-MTA: dns; %s\r\n"
		 "X-Tideover-ID: %s\r\n",
		 dsn->host, dsn->id);
	add_date(out, "Arrival-Date", dsn->arrival_ms);
	for (size_t i = 0; i < dsn->count; i++) {
		const struct dsn_recipient *to = &dsn->recipients[i];
		char status[DSN_STATUS];

		buf_adds(out, "\r\nFinal-Recipient: ");
		add_typed(out, to->forward_path);
		buf_addf(out, "\r\nAction: failed\r\nStatus: %s\r\n",
			 dsn_status(to, status));
		if (to->code > 0 && to->target) {
			buf_adds(out, "Remote-MTA: ");
			add_host(out, to->target);
			buf_addf(out, "\r\nDiagnostic-Code: smtp; %d ",
				 to->code);
			if (to->enhanced && *to->enhanced)
				buf_addf(out, "%s ", to->enhanced);
			add_said(out, to->reply);
			buf_adds(out, "\r\n");
		}
		add_date(out, "Last-Attempt-Date", to->attempt_ms);
	}
}

static bool needs_quoting(struct slice text)
{
	while (text.len > 0)
		if (slice_split(&text, '\n').len > LINE_MAX_BYTES)
			return true;
	return false;
}

/* RFC 2045 section 6.7; RFC 6522 section 4 allows it for this part. */
static void add_quoted(struct buf *out, struct slice text)
{
	size_t column = 0;

	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.p[i];
		bool line_end =
			i + 1 < text.len && c == '\r' && text.p[i + 1] == '\n';
		bool last = i + 2 < text.len && text.p[i + 1] == '\r' &&
			    text.p[i + 2] == '\n';
		bool plain = (c > ' ' && c < 0x7f && c != '=') ||
			     ((c == ' ' || c == '\t') && !last);

		if (line_end) {
			buf_adds(out, "\r\n");
			column = 0;
			i++;
			continue;
		}
		if (column + (plain ? 1 : 3) > QUOTED_LINE - 1) {
			buf_adds(out, "=\r\n");
			column = 0;
		}
		if (plain)
			buf_addc(out, (char)c);
		else
			buf_addf(out, "=%02X", c);
		column += plain ? 1 : 3;
	}
}

static void write_header(const struct dsn *dsn, struct buf *out)
{
	bool quoted = slice_has_8bit(dsn->header) || needs_quoting(dsn->header);

	buf_adds(out, "Content-Type: text/rfc822-headers\r\n"
		      "Content-Description: Undelivered message header\r\n");
	if (quoted)
		buf_adds(out, "Content-Transfer-Encoding: quoted-printable"
			      "\r\n");
	buf_adds(out, "\r\n");
	if (quoted)
		add_quoted(out, dsn->header);
	else
		buf_add(out, dsn->header);
}

/* The same bytes must not stand in what comes back. */
static char *pick_boundary(const struct dsn *dsn)
{
	struct slice header = dsn->header;

	for (unsigned turn = 0;; turn++) {
		char *boundary =
			mem_printf("%s.%u/%s", dsn->own_id, turn, dsn->host);

		if (header.len == 0 ||
		    !memmem(header.p, header.len, boundary, strlen(boundary)))
			return boundary;
		free(boundary);
	}
}

void dsn_write(const struct dsn *dsn, struct buf *out)
{
	static void (*const parts[])(const struct dsn *, struct buf *) = {
		write_words, write_status, write_header
	};
	char *boundary = pick_boundary(dsn);

	write_head(dsn, boundary, out);
	for (size_t i = 0; i < COUNT(parts); i++) {
		buf_addf(out, "%s--%s\r\n", i ? "\r\n" : "", boundary);
		parts[i](dsn, out);
	}
	buf_addf(out, "\r\n--%s--\r\n", boundary);
	free(boundary);
}
