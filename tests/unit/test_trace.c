#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "cutover/trace.h"

#define AT 1780000000000 /* 2026-05-28T20:26:40Z */

static const struct {
	const char *promise, *text, *has, *has_not;
	uint64_t rows, undated;
	int64_t first_ms, last_ms;
} accepted[] = {
	{ "Get-MessageTrace",
	  "\"RecipientAddress\",\"Status\",\"Received\"\r\n"
	  "\"Anna@Acme.example\",\"Delivered\",\"2026-05-20T10:00:00.1234567Z\""
	  "\r\n\"gone@acme.example\",\"Failed\",\"2026-05-21T10:00:00Z\"\r\n",
	  "anna@acme.example", "gone@acme.example", 1, 0, 1779271200123,
	  1779271200123 },
	{ "Windows PowerShell's first line, and its mark of UTF-8",
	  "\xef\xbb\xbf#TYPE Selected.PSObject\r\nRecipientAddress\r\n"
	  "a@b.example\r\n",
	  "a@b.example", "b@b.example", 1, 1, 0, 0 },
	{ "semicolons of other cultures",
	  "Subject;RecipientAddress;Received\n"
	  "\"a;b, \"\"c\"\"\nd\";a@b.example;2026-05-20T10:00:00\n",
	  "a@b.example", "b@b.example", 1, 0, 1779271200000, 1779271200000 },
	{ "Google's log, several recipients in one field",
	  "Message ID\tStart date\tRecipient address\n"
	  "<1>\t2026/05/20 10:00:00 UTC\ta@b.example, b@b.example\n"
	  "<2>\t2026/05/21 10:00:00 UTC\tc@b.example\n",
	  "b@b.example", "d@b.example", 2, 0, 1779271200000, 1779357600000 },
	{ "a time of a zone that it names, and that is not UTC",
	  "Start date\tRecipient address\n"
	  "2026/05/20 10:00:00 PST\ta@b.example\n",
	  "a@b.example", "b@b.example", 1, 1, 0, 0 },
	{ "what is no address is passed over",
	  "recipient_address\nx@@y\na@b.example\n", "a@b.example", "x@@y", 2, 2,
	  0, 0 },
	{ "the last line without its end", "Recipient Address\na@b.example",
	  "a@b.example", "b@b.example", 1, 1, 0, 0 },
};

static void a_trace_tells_whom_mail_was_for(void **state)
{
	for (size_t i = 0; i < COUNT(accepted); i++) {
		struct trace trace = { 0 };
		struct err err = ERR_INIT;

		if (trace_read(&trace, slice(accepted[i].text), AT, &err) < 0)
			fail_msg("%s: %s", accepted[i].promise, err.text);
		if (!map_get(&trace.addresses, slice(accepted[i].has)) ||
		    map_get(&trace.addresses, slice(accepted[i].has_not)) ||
		    trace.rows != accepted[i].rows ||
		    trace.delivered.undated != accepted[i].undated ||
		    trace.delivered.first_ms != accepted[i].first_ms ||
		    trace.delivered.last_ms != accepted[i].last_ms)
			fail_msg("%s: %llu rows, %llu undated, %lld to %lld",
				 accepted[i].promise,
				 (unsigned long long)trace.rows,
				 (unsigned long long)trace.delivered.undated,
				 (long long)trace.delivered.first_ms,
				 (long long)trace.delivered.last_ms);
		assert_true(trace.read);
		trace_release(&trace);
	}
}

static const struct {
	const char *text, *want;
} rejected[] = {
	{ "", "no column RecipientAddress" },
	{ "Sender,Subject\na@b.example,x\n", "no column RecipientAddress" },
	{ "Recipients,Date\na@b.example,x\n", "no column RecipientAddress" },
	{ "RecipientAddress\n", "it lists nothing" },
	{ "RecipientAddress,Status\na@b.example,Failed\n", "it lists nothing" },
	{ "RecipientAddress\n\"a@b.example\n", "line 2: a quote is open" },
	{ "\xff\xfeR", "UTF-16" },
	{ "[{\"RecipientAddress\":1}]", "no column RecipientAddress" },
};

static void what_is_no_trace_is_refused_whole(void **state)
{
	for (size_t i = 0; i < COUNT(rejected); i++) {
		struct trace trace = { 0 };
		struct err err = ERR_INIT;

		assert_int_equal(trace_read(&trace, slice(rejected[i].text), AT,
					    &err),
				 -1);
		if (!strstr(err.text, rejected[i].want))
			fail_msg("case %zu: %s", i, err.text);
		assert_false(trace.read);
		assert_int_equal(trace.addresses.count, 0);
		trace_release(&trace);
	}
}

static void files_add_up(void **state)
{
	struct trace trace = { 0 };

	assert_int_equal(
		trace_read(&trace,
			   slice("RecipientAddress,Received\na@b.example,"
				 "2026-05-20T10:00:00Z\n"),
			   AT, NULL),
		0);
	assert_int_equal(
		trace_read(&trace,
			   slice("RecipientAddress,Received\nb@b.example,"
				 "2026-05-10T10:00:00Z\n"),
			   AT - 5, NULL),
		0);
	assert_int_equal(trace.addresses.count, 2);
	assert_int_equal(trace.delivered.first_ms, 1778407200000);
	assert_int_equal(trace.delivered.last_ms, 1779271200000);
	assert_int_equal(trace.at_ms, AT - 5);
	trace_release(&trace);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_trace_tells_whom_mail_was_for),
		cmocka_unit_test(what_is_no_trace_is_refused_whole),
		cmocka_unit_test(files_add_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
