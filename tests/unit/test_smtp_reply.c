#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtp/smtp_ehlo.h"
#include "smtp/smtp_reply.h"

static const struct {
	const char *in;
	int code;
	const char *enhanced, *text;
} whole[] = {
	{ "250 ok\r\n", 250, "", "ok" },
	{ "250\r\n", 250, "", "" },
	{ "250 \r\n", 250, "", "" },
	{ "250 2.1.5 ok\r\n", 250, "2.1.5", "ok" },
	{ "250 2.0.0\r\n", 250, "2.0.0", "" },
	{ "354 go\r\n", 354, "", "go" },
	{ "550-5.1.1 no such user\r\n550 5.1.1 see help\r\n", 550, "5.1.1",
	  "no such user / see help" },
	{ "550-\r\n550 b\r\n", 550, "", "b" },
	{ "550 5.7.606 Access denied\r\n", 550, "5.7.606", "Access denied" },
	/* A class that contradicts the code says nothing (RFC 3463). */
	{ "450 5.1.1 x\r\n", 450, "", "5.1.1 x" },
	{ "550 5.1 x\r\n", 550, "", "5.1 x" },
	{ "550 5.1.1.1 x\r\n", 550, "", "5.1.1.1 x" },
	{ "550 5.1234.1 x\r\n", 550, "", "5.1234.1 x" },
	/* Nothing that could steer a terminal or forge a line of a log. */
	{ "550 a\x1b[2Jb\x07\r\n", 550, "", "a?[2Jb?" },
	{ "550 a\rb\tc\r\n", 550, "", "a?b c" },
	{ "550 \xc3\xbc \xff \xc2\x9b\r\n", 550, "", "\xc3\xbc ? ??" },
};

static void a_reply_is_a_code_and_one_line_of_text(void **state)
{
	for (size_t i = 0; i < COUNT(whole); i++) {
		struct smtp_reply reply;
		struct err err = ERR_INIT;

		assert_int_equal(smtp_reply_parse(slice(whole[i].in), &reply,
						  NULL, NULL, &err),
				 strlen(whole[i].in));
		assert_int_equal(reply.code, whole[i].code);
		assert_string_equal(reply.enhanced, whole[i].enhanced);
		assert_string_equal(reply.text, whole[i].text);
	}
}

static void a_reply_is_taken_when_its_last_line_is_whole(void **state)
{
	static const char in[] = "250-a\r\n250-b\r\n250 c\r\n220 next";
	size_t end = strlen("250-a\r\n250-b\r\n250 c\r\n");
	struct smtp_reply reply;

	for (size_t len = 0; len < end; len++)
		assert_int_equal(smtp_reply_parse(slice_of(in, len), &reply,
						  NULL, NULL, NULL),
				 0);
	assert_int_equal(smtp_reply_parse(slice(in), &reply, NULL, NULL, NULL),
			 end);
	assert_string_equal(reply.text, "a / b / c");
}

static const struct {
	const char *in, *want;
} garbage[] = {
	{ "H", "the server does not speak SMTP" },
	{ "HTTP/1.1 400 Bad\r\n", "the server does not speak SMTP" },
	{ "\r\n", "the server does not speak SMTP" },
	{ "25", NULL },
	{ "25x", "the server does not speak SMTP" },
	{ "150 x\r\n", "the server does not speak SMTP" },
	{ "650 x\r\n", "the server does not speak SMTP" },
	{ "2500\r\n", "the server does not speak SMTP" },
	{ "250+x\r\n", "the server does not speak SMTP" },
	{ "250 x\n", "a reply line of the server does not end with "
		     "CRLF" },
	{ "250 x\n250 y\r\n", "a reply line of the server does not end with "
			      "CRLF" },
	{ "250-x\r\n550 y\r\n", "one reply has two codes" },
	{ "250-x\r\nhello\r\n", "the server does not speak SMTP" },
};

static void what_is_no_reply_is_refused(void **state)
{
	for (size_t i = 0; i < COUNT(garbage); i++) {
		struct smtp_reply reply;
		struct err err = ERR_INIT;

		assert_int_equal(smtp_reply_parse(slice(garbage[i].in), &reply,
						  NULL, NULL, &err),
				 garbage[i].want ? -1 : 0);
		assert_string_equal(err.text,
				    garbage[i].want ? garbage[i].want : "");
	}
}

static void a_zero_byte_is_no_separator(void **state)
{
	struct smtp_reply reply;

	assert_int_equal(smtp_reply_parse(slice_of("250\0x\r\n", 7), &reply,
					  NULL, NULL, NULL),
			 -1);
}

static void a_long_text_is_cut_and_an_endless_one_refused(void **state)
{
	struct buf in = BUF_INIT;
	struct smtp_reply reply;
	struct err err = ERR_INIT;

	buf_adds(&in, "550 ");
	for (int i = 0; i < 4000; i++)
		buf_adds(&in, "\xc3\xbc");
	buf_adds(&in, "\r\n");
	assert_int_equal(smtp_reply_parse(buf_slice(&in), &reply, NULL, NULL,
					  NULL),
			 in.len);
	/* 511 bytes would end in the middle of a character. */
	assert_int_equal(strlen(reply.text), 510);
	buf_clear(&in);
	while (in.len <= 65536)
		buf_adds(&in, "250-and on and on\r\n");
	assert_int_equal(
		smtp_reply_parse(buf_slice(&in), &reply, NULL, NULL, &err), -1);
	assert_string_equal(err.text, "the reply is larger than 65536 bytes");
	buf_release(&in);
}

static void ehlo_tells_what_is_offered(void **state)
{
	static const char in[] = "250-PIPELINING greets you\r\n"
				 "250-size 36700160\r\n"
				 "250-8BITMIME\r\n"
				 "250-STARTTLS\r\n"
				 "250-CHUNKINGX\r\n"
				 "250 SMTPUTF8\r\n";
	struct smtp_reply reply;
	struct smtp_ehlo ehlo;

	smtp_ehlo_begin(&ehlo);
	assert_int_equal(smtp_reply_parse(slice(in), &reply, smtp_ehlo_line,
					  &ehlo, NULL),
			 strlen(in));
	assert_true(ehlo.offers.esmtp);
	assert_true(ehlo.offers.size);
	assert_int_equal(ehlo.offers.max_size, 36700160);
	assert_true(ehlo.offers.eightbit);
	assert_true(ehlo.offers.starttls);
	assert_true(ehlo.offers.utf8);
	assert_false(ehlo.offers.chunking);
	/* The first line is a name, whatever it looks like. */
	assert_false(ehlo.offers.pipelining);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reply_is_a_code_and_one_line_of_text),
		cmocka_unit_test(a_reply_is_taken_when_its_last_line_is_whole),
		cmocka_unit_test(what_is_no_reply_is_refused),
		cmocka_unit_test(a_zero_byte_is_no_separator),
		cmocka_unit_test(a_long_text_is_cut_and_an_endless_one_refused),
		cmocka_unit_test(ehlo_tells_what_is_offered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
