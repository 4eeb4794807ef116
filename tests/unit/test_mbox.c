#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mail/mbox.h"

#define AT_MS 1796508000123 /* 2026-12-05T22:00:00Z */
#define LINE  "From a@b.example Sat Dec  5 22:00:00 2026\n"

static const struct {
	const char *in, *want;
} cases[] = {
	{ "A: b\r\n\r\nhi\r\n", "A: b\n\nhi\n\n" },
	{ "", "\n" },
	{ "no end", "no end\n\n" },
	{ "cr\r", "cr\r\n\n" },
	{ "a\rb\r\r\n", "a\rb\r\n\n" },
	{ "From me\r\n", ">From me\n\n" },
	{ ">From me\r\n", ">>From me\n\n" },
	{ ">>>From me\r\n", ">>>>From me\n\n" },
	{ "From: me\r\nFro\r\nFrom\r\n>Fr>From \r\n",
	  "From: me\nFro\nFrom\n>Fr>From \n\n" },
	{ "a From b\r\n> From c\r\n", "a From b\n> From c\n\n" },
	{ "x\r\nFrom ", "x\n>From \n\n" },
	{ "Fro", "Fro\n\n" },
	{ ">", ">\n\n" },
};

static void every_line_that_could_be_a_separator_is_quoted(void **state)
{
	for (size_t i = 0; i < COUNT(cases); i++) {
		/* In pieces of every size. */
		for (size_t piece = 1; piece <= 12; piece++) {
			struct slice rest = slice(cases[i].in);
			struct mbox_state mbox = { 0 };
			struct buf out = BUF_INIT;

			while (rest.len > 0) {
				size_t n = rest.len < piece ? rest.len : piece;

				mbox_add(&mbox, slice_of(rest.p, n), &out);
				rest = slice_from(rest, n);
			}
			mbox_end(&mbox, &out);
			assert_string_equal(buf_text(&out), cases[i].want);
			buf_release(&out);
		}
	}
}

/* What a reader of mboxrd does. */
static void unquote(struct slice text, struct buf *out)
{
	while (text.len > 0) {
		struct slice line = slice_split(&text, '\n');
		size_t quotes = 0;

		while (quotes < line.len && line.p[quotes] == '>')
			quotes++;
		if (quotes > 0 &&
		    slice_starts(slice_from(line, quotes), "From "))
			line = slice_from(line, 1);
		buf_add(out, line);
		buf_adds(out, "\r\n");
	}
}

static void the_quoting_can_be_undone(void **state)
{
	static const char in[] = "From a\r\n>From b\r\n>>x\r\n\r\nFrom: c\r\n";
	struct mbox_state mbox = { 0 };
	struct buf out = BUF_INIT, back = BUF_INIT;

	mbox_add(&mbox, slice(in), &out);
	mbox_end(&mbox, &out);
	out.len--; /* the empty line between messages */
	unquote(buf_slice(&out), &back);
	assert_string_equal(buf_text(&back), in);
	buf_release(&out);
	buf_release(&back);
}

static void a_separator_is_one_line(void **state)
{
	static const struct {
		const char *sender, *want;
	} senders[] = {
		{ "a@b.example", LINE },
		{ "", "From MAILER-DAEMON Sat Dec  5 22:00:00 2026\n" },
		{ "\"a b\"@c\n.example",
		  "From \"a-b\"@c-.example Sat Dec  5 22:00:00 2026\n" },
	};

	for (size_t i = 0; i < COUNT(senders); i++) {
		struct buf out = BUF_INIT;

		mbox_begin(senders[i].sender, AT_MS, &out);
		assert_string_equal(buf_text(&out), senders[i].want);
		buf_release(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			every_line_that_could_be_a_separator_is_quoted),
		cmocka_unit_test(the_quoting_can_be_undone),
		cmocka_unit_test(a_separator_is_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
