#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtp/smtp_hops.h"
#include <string.h>

#define ID "01k9v3q2m7x4c8d5f6gh"
#define OURS                                               \
	"Received: from a.example ([192.0.2.1])\r\n"       \
	"\tby mx.us.example with ESMTPS\r\n"               \
	"\t(TLSv1.3 TLS_AES_256_GCM_SHA384) id " ID "\r\n" \
	"\tfor <b@b.example>;\r\n\tTue, 24 Nov 2026 02:00:00 +0000\r\n"
#define OTHERS "Received: from mx.us.example by mx.b.example id " ID "; x\r\n"

static const struct {
	const char *name, *message;
	unsigned received, own;
} messages[] = {
	{ "nothing", "", 0, 0 },
	{ "no field of ours", OTHERS OTHERS "\r\n", 2, 0 },
	{ "ours among others", OURS OTHERS "Subject: x\r\n" OURS "\r\n", 3, 2 },
	{ "nothing counts behind the header", OURS "\r\n" OURS, 1, 1 },
	{ "the folding of a field is no end of the header",
	  "Subject: x\r\n \r\n" OURS "\r\n", 1, 1 },
	{ "any case, any order of blanks",
	  "RECEIVED:FROM a\r\n\tBY  MX.US.Example\r\n  ID\t" ID ";x\r\n", 1,
	  1 },
	{ "a comment between",
	  "Received: by (a (b) ) mx.us.example (x) id (y) " ID " (z)\r\n", 1,
	  1 },
	{ "names in comments are nobody's",
	  "Received: from a (by mx.us.example id " ID ")\r\n"
	  "\tby mx.b.example (by mx.us.example) id " ID "\r\n",
	  1, 0 },
	{ "a comment that never ends ends with its field",
	  "Received: from a ((\r\n" OURS, 2, 1 },
	{ "another MTA of our host has other ids",
	  "Received: by mx.us.example (Postfix) id 4fXk2s1z8Qz3;\r\n"
	  "Received: by mx.us.example with local id 1abcde-0001-XY; x\r\n",
	  2, 0 },
	{ "no id", "Received: by mx.us.example with ESMTP; x\r\n", 1, 0 },
	{ "a longer name is another host",
	  "Received: by mx.us.example.b.example id " ID "; x\r\n", 1, 0 },
	{ "one field counts once",
	  "Received: by mx.us.example id " ID " id " ID "; x\r\n", 1, 1 },
	{ "a field whose name only begins so",
	  "Received-SPF: by mx.us.example id " ID "; x\r\n"
	  "X-Received: by mx.us.example id " ID "; x\r\n",
	  0, 0 },
};

static struct smtp_hops count(const char *message, size_t piece)
{
	struct slice rest = slice(message);
	struct smtp_hops hops;

	smtp_hops_begin(&hops, "mx.us.example");
	while (rest.len > 0) {
		size_t n = rest.len < piece ? rest.len : piece;

		smtp_hops_add(&hops, slice_of(rest.p, n));
		rest = slice_from(rest, n);
	}
	return hops;
}

static void fields_are_counted_however_they_are_cut(void **state)
{
	for (size_t i = 0; i < COUNT(messages); i++) {
		for (size_t piece = 1; piece < 400; piece++) {
			struct smtp_hops hops =
				count(messages[i].message, piece);

			if (hops.received == messages[i].received &&
			    hops.own == messages[i].own)
				continue;
			fail_msg("%s: %u and %u of ours", messages[i].name,
				 hops.received, hops.own);
		}
	}
}

static void times(struct smtp_hops *hops, const char *field, unsigned n)
{
	smtp_hops_begin(hops, "mx.us.example");
	while (n--)
		smtp_hops_add(hops, slice(field));
}

static void a_message_may_come_back_twice_and_pass_100_hosts(void **state)
{
	struct smtp_hops hops;
	const char *why = NULL;

	times(&hops, OURS, 2);
	assert_true(smtp_hops_are_few(&hops, &why));
	times(&hops, OURS, 3);
	assert_false(smtp_hops_are_few(&hops, &why));
	assert_string_equal(why, "5.4.6 it was here before, a mail loop");
	times(&hops, OTHERS, 100);
	assert_true(smtp_hops_are_few(&hops, &why));
	times(&hops, OTHERS, 101);
	assert_false(smtp_hops_are_few(&hops, &why));
	assert_string_equal(why, "5.4.6 too many hops, a mail loop");
}

static void a_word_of_any_length_is_bounded(void **state)
{
	struct smtp_hops hops;

	smtp_hops_begin(&hops, "mx.us.example");
	smtp_hops_add(&hops, slice("Received: by "));
	for (size_t i = 0; i < 10000; i++)
		smtp_hops_add(&hops, slice("mx.us.example"));
	smtp_hops_add(&hops, slice(" id " ID "; x\r\n"));
	assert_int_equal(hops.received, 1);
	assert_int_equal(hops.own, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_counted_however_they_are_cut),
		cmocka_unit_test(
			a_message_may_come_back_twice_and_pass_100_hosts),
		cmocka_unit_test(a_word_of_any_length_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
