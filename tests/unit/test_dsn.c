#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "mail/dsn.h"

#define HEADER "Received: x\r\nSubject: hello\r\nFrom: a@b.example\r\n"

static const struct dsn_recipient refused = {
	.forward_path = "nobody@acme.example",
	.code = 550,
	.enhanced = "5.1.1",
	.reply = "no such user",
	.stage = "rcpt",
	.target = "mx.new.example:25",
	.attempt_ms = 1796511600000,
};

static void write_one(const struct dsn_recipient *to, struct slice header,
		      const char *reverse_path, struct buf *out)
{
	const struct dsn dsn = {
		.host = "hold.example.net",
		.from = "postmaster@example.net",
		.reverse_path = reverse_path,
		.id = "the-message",
		.own_id = "the-report",
		.arrival_ms = 1796508000123,
		.now_ms = 1796515200000,
		.header = header,
		.recipients = to,
		.count = 1,
	};

	dsn_write(&dsn, out);
}

static bool has(const struct buf *out, const char *text)
{
	return memmem(buf_text(out), out->len, text, strlen(text)) != NULL;
}

static void a_notification_reads_as_rfc_3464_says(void **state)
{
	static const char *const parts[] = {
		"Date: Sun, 06 Dec 2026 00:00:00 +0000\r\n"
		"From: Mail Delivery System <postmaster@example.net>\r\n"
		"To: <a@b.example>\r\n",
		"Auto-Submitted: auto-replied\r\n",
		"Content-Type: multipart/report; "
		"report-type=delivery-status;\r\n"
		"\tboundary=\"the-report.0/hold.example.net\"\r\n\r\n"
		"--the-report.0/hold.example.net\r\n"
		"Content-Type: text/plain; charset=us-ascii\r\n",
		"\r\n<nobody@acme.example>\r\n"
		"    mx.new.example:25 answered 550 5.1.1 no such user "
		"(to rcpt)\r\n",
		"\r\n--the-report.0/hold.example.net\r\n"
		"Content-Type: message/delivery-status\r\n"
		"Content-Description: Delivery report\r\n"
		"\r\n"
		"Reporting-MTA: dns; hold.example.net\r\n"
		"X-Tideover-ID: the-message\r\n"
		"Arrival-Date: Sat, 05 Dec 2026 22:00:00 +0000\r\n"
		"\r\n"
		"Final-Recipient: rfc822; nobody@acme.example\r\n"
		"Action: failed\r\n"
		"Status: 5.1.1\r\n"
		"Remote-MTA: dns; mx.new.example\r\n"
		"Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
		"Last-Attempt-Date: Sat, 05 Dec 2026 23:00:00 +0000\r\n"
		"\r\n--the-report.0/hold.example.net\r\n"
		"Content-Type: text/rfc822-headers\r\n",
		"\r\n\r\n" HEADER "\r\n--the-report.0/hold.example.net--\r\n",
	};
	struct buf out = BUF_INIT;

	write_one(&refused, slice(HEADER), "a@b.example", &out);
	for (size_t i = 0; i < COUNT(parts); i++)
		assert_true(has(&out, parts[i]));
	buf_release(&out);
}

static const struct {
	struct dsn_recipient to;
	const char *want;
} statuses[] = {
	{ { .code = 550, .enhanced = "5.7.606" }, "5.7.606" },
	{ { .code = 452, .enhanced = "4.3.1" }, "4.3.1" },
	{ { .code = 550, .enhanced = "" }, "5.0.0" },
	{ { .code = 550 }, "5.0.0" },
	{ { .code = 550, .enhanced = "2.1.5" }, "5.0.0" },
	{ { .code = 550, .enhanced = "5.1" }, "5.0.0" },
	{ { .code = 550, .enhanced = "5.1.1\r\nX" }, "5.0.0" },
	{ { .code = 451 }, "4.0.0" },
	{ { .code = 0 }, "4.4.7" },
	/* An older attempt's words do not count without its code. */
	{ { .code = 0, .enhanced = "5.1.1" }, "4.4.7" },
};

static void a_status_is_what_the_last_reply_said(void **state)
{
	for (size_t i = 0; i < COUNT(statuses); i++) {
		char status[DSN_STATUS];

		assert_string_equal(dsn_status(&statuses[i].to, status),
				    statuses[i].want);
	}
}

static void what_was_never_tried_claims_no_reply(void **state)
{
	const struct dsn_recipient never = { .forward_path = "x@acme.example" };
	struct buf out = BUF_INIT;

	write_one(&never, slice(HEADER), "a@b.example", &out);
	assert_true(has(&out, "Status: 4.4.7\r\n"));
	assert_false(has(&out, "Diagnostic-Code"));
	assert_false(has(&out, "Remote-MTA"));
	assert_false(has(&out, "Last-Attempt-Date"));
	buf_release(&out);
}

static void a_remote_host_is_written_by_its_kind(void **state)
{
	static const struct {
		const char *target, *want;
	} hosts[] = {
		{ "mx.example:2525", "Remote-MTA: dns; mx.example\r\n" },
		{ "192.0.2.1:25", "Remote-MTA: dns; [192.0.2.1]\r\n" },
		{ "[2001:db8::1]:25",
		  "Remote-MTA: dns; [IPv6:2001:db8::1]\r\n" },
	};

	for (size_t i = 0; i < COUNT(hosts); i++) {
		struct dsn_recipient to = refused;
		struct buf out = BUF_INIT;

		to.target = hosts[i].target;
		write_one(&to, slice(HEADER), "a@b.example", &out);
		assert_true(has(&out, hosts[i].want));
		buf_release(&out);
	}
}

/* Only 7-bit bytes, CRLF lines, and none longer than 998. */
static void is_plain(const struct buf *out)
{
	size_t line = 0;

	for (size_t i = 0; i < out->len; i++) {
		unsigned char c = (unsigned char)out->p[i];

		assert_true(c < 0x80);
		assert_true(c != '\n' || (i > 0 && out->p[i - 1] == '\r'));
		assert_true(c != '\r' ||
			    (i + 1 < out->len && out->p[i + 1] == '\n'));
		line = c == '\n' ? 0 : line + 1;
		assert_true(line <= 999); /* with its CR */
	}
	assert_int_equal(line, 0);
}

static void nothing_a_stranger_wrote_breaks_the_form(void **state)
{
	char longest[2000], header[6000];
	struct dsn_recipient to = refused;
	struct buf out = BUF_INIT;

	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	to.reply = "no\r\nStatus: 2.0.0\r\n\r\nFinal-Recipient: \xfc\x1b[2J";
	write_one(&to, slice(HEADER), "a@b.example", &out);
	is_plain(&out);
	assert_true(has(&out, "smtp; 550 5.1.1 no  Status: 2.0.0    Final"));
	buf_clear(&out);

	to.reply = longest;
	snprintf(header, sizeof(header),
		 "Subject: gr\xc3\xbc\xc3\x9f"
		 "e=\r\nX: %s\r\nY: z \r\n",
		 longest);
	write_one(&to, slice(header), "a@b.example", &out);
	is_plain(&out);
	assert_true(has(&out, "Content-Transfer-Encoding: quoted-printable"));
	assert_true(has(&out, "Subject: gr=C3=BC=C3=9Fe=3D\r\nX: xxx"));
	assert_true(has(&out, "Y: z=20\r\n"));
	buf_release(&out);
}

static void a_header_cannot_end_the_part_it_is_in(void **state)
{
	static const char header[] =
		"Subject: x\r\nX: --the-report.0/hold.example.net--\r\n";
	struct buf out = BUF_INIT;

	write_one(&refused, slice(header), "a@b.example", &out);
	assert_true(has(&out, "boundary=\"the-report.1/hold.example.net\""));
	assert_true(has(&out, "\r\n--the-report.1/hold.example.net--\r\n"));
	buf_release(&out);
}

static void addresses_beyond_ascii_are_escaped(void **state)
{
	struct dsn_recipient to = refused;
	struct buf out = BUF_INIT;

	to.forward_path = "j\xc3\xbcrgen@acme.example";
	write_one(&to, slice(HEADER), "\xe4\xb8\xad@b.example", &out);
	is_plain(&out);
	assert_true(has(&out, "Final-Recipient: utf-8; "
			      "j\\x{FC}rgen@acme.example\r\n"));
	assert_true(has(&out, "To: undisclosed-recipients:;\r\n"));
	buf_release(&out);
}

static void a_header_ends_at_the_empty_line(void **state)
{
	static const struct {
		const char *in, *want;
	} messages[] = {
		{ "A: b\r\nC: d\r\n\r\nbody\r\n", "A: b\r\nC: d\r\n" },
		{ "\r\nbody\r\n", "" },
		{ "A: b\r\ncut in the mid", "A: b\r\n" },
		{ "", "" },
	};

	for (size_t i = 0; i < COUNT(messages); i++)
		assert_true(slice_is(dsn_header(slice(messages[i].in)),
				     messages[i].want));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_notification_reads_as_rfc_3464_says),
		cmocka_unit_test(a_status_is_what_the_last_reply_said),
		cmocka_unit_test(what_was_never_tried_claims_no_reply),
		cmocka_unit_test(a_remote_host_is_written_by_its_kind),
		cmocka_unit_test(nothing_a_stranger_wrote_breaks_the_form),
		cmocka_unit_test(a_header_cannot_end_the_part_it_is_in),
		cmocka_unit_test(addresses_beyond_ascii_are_escaped),
		cmocka_unit_test(a_header_ends_at_the_empty_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
