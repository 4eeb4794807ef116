#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "cutover/journal.h"
#include "cutover/journal_hide.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void no_local_part_is_left(void **state)
{
	static const struct {
		const char *in, *want;
	} texts[] = {
		{ "nothing to hide", "nothing to hide" },
		{ "anna@acme.example", "(hidden)@acme.example" },
		{ "550 5.1.1 <anna.b@acme.example>: unknown",
		  "550 5.1.1 <(hidden)@acme.example>: unknown" },
		{ "anna@a.example,bert+x@b.example",
		  "(hidden)@a.example,(hidden)@b.example" },
		{ "\"anna b\"@acme.example left",
		  "(hidden)@acme.example left" },
		{ "<\"a@b\"@acme.example>", "<(hidden)@acme.example>" },
		{ "a \"@acme.example", "a \"@acme.example" },
		{ "m\xc3\xbcller@acme.example", "(hidden)@acme.example" },
		{ "@acme.example", "@acme.example" },
		{ "<\"a\\\"b c\"@acme.example>", "<(hidden)@acme.example>" },
		{ "a@b@c", "(hidden)@(hidden)@c" },
	};

	for (size_t i = 0; i < COUNT(texts); i++) {
		struct json *text = json_new_text(texts[i].in);
		struct json *hidden = journal_hide(text);

		assert_string_equal(json_text(hidden), texts[i].want);
		json_free(text);
		json_free(hidden);
	}
}

static void everything_else_stays_and_who_acted_too(void **state)
{
	static const char in[] =
		"{\"by\":\"anna@acme.example\",\"n\":12,\"yes\":true,"
		"\"none\":null,\"list\":[{\"to\":\"bert@acme.example\"},7]}";
	static const char want[] =
		"{\"by\":\"anna@acme.example\",\"n\":12,\"yes\":true,"
		"\"none\":null,\"list\":[{\"to\":\"(hidden)@acme.example\"},7]"
		"}";
	struct json *value = json_parse(slice(in), NULL);
	struct json *hidden = journal_hide(value);
	struct buf text = BUF_INIT;

	json_print(hidden, &text);
	assert_string_equal(buf_text(&text), want);
	buf_release(&text);
	json_free(value);
	json_free(hidden);
}

static void a_journal_that_hides_writes_none(void **state)
{
	char dir[] = "/tmp/tideover-hide-XXXXXX";
	struct buf text = BUF_INIT;
	struct journal *journal;
	char *path, head[65];
	uint64_t count;

	assert_non_null(mkdtemp(dir));
	path = mem_printf("%s/journal", dir);
	journal = journal_open(path, NULL);
	journal_hide_addresses(journal);
	for (int i = 0; i < 2; i++) {
		struct json *data = json_object();

		json_put_text(data, "reason", "anna@acme.example asked");
		assert_int_equal(journal_add(journal, "pause", data, NULL), 0);
	}
	journal_close(journal);
	assert_int_equal(file_read(path, 4u << 20, &text, NULL), 0);
	assert_null(memmem(text.p, text.len, "anna", 4));
	assert_non_null(memmem(text.p, text.len, "(hidden)@acme", 13));
	assert_int_equal(journal_read(path, NULL, NULL, head, &count, NULL), 0);
	assert_int_equal(count, 2);
	unlink(path);
	rmdir(dir);
	buf_release(&text);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_local_part_is_left),
		cmocka_unit_test(everything_else_stays_and_who_acted_too),
		cmocka_unit_test(a_journal_that_hides_writes_none),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
