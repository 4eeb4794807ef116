#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtp/smtp_data.h"

struct got {
	struct buf bytes;
	size_t runs;
};

static void sink(void *ctx, struct slice bytes)
{
	struct got *got = ctx;

	buf_add(&got->bytes, bytes);
	got->runs++;
}

#define OPEN SIZE_MAX /* the message does not end */

/* `used` is how much belongs to the message; `bad` is why it is refused. */
static const struct row {
	const char *in, *bytes, *bad;
	size_t used;
	uint64_t max_size;
} rows[] = {
	/* What RFC 5321 section 4.5.2 describes. */
	{ ".\r\n", "", NULL, 3, 0 },
	{ "a\r\n.\r\n", "a\r\n", NULL, 6, 0 },
	{ "a\r\n.\r\nQUIT\r\n", "a\r\n", NULL, 6, 0 },
	{ "..\r\n.\r\n", ".\r\n", NULL, 7, 0 },
	{ ".a\r\n.\r\n", "a\r\n", NULL, 7, 0 },
	{ "a.\r\n.\r\n", "a.\r\n", NULL, 7, 0 },
	{ "a\r\n..\r\n...\r\n.\r\n", "a\r\n.\r\n..\r\n", NULL, 15, 0 },
	{ "\r\n\r\n.\r\n", "\r\n\r\n", NULL, 7, 0 },
	{ "a\r\n", "a\r\n", NULL, OPEN, 0 },
	{ "a\r\n.\r", "a\r\n", NULL, OPEN, 0 },
	{ "a\r\n.", "a\r\n", NULL, OPEN, 0 },
	/* Ends that only a lax server believes (SMTP smuggling). */
	{ "a\n.\nMAIL\r\n.\r\n", "a", "bare LF", 13, 0 },
	{ "a\n.\r\nMAIL\r\n.\r\n", "a", "bare LF", 14, 0 },
	{ "a\r\n.\nMAIL\r\n.\r\n", "a\r\n", "bare LF", 14, 0 },
	{ "a\r.\rMAIL\r\n.\r\n", "a\r", "bare CR", 13, 0 },
	{ "a\r.\r\nMAIL\r\n.\r\n", "a\r", "bare CR", 14, 0 },
	{ "a\r\n.\rMAIL\r\n.\r\n", "a\r\n", "bare CR", 14, 0 },
	{ "a\r\r\n.\r\n", "a\r", "bare CR", 7, 0 },
	{ "a\r\n\r.\r\n\r\n.\r\n", "a\r\n\r", "bare CR", 12, 0 },
	{ "a\r\n.\r\r\nMAIL\r\n.\r\n", "a\r\n", "bare CR", 16, 0 },
	{ "a\n\r\n.\r\n", "a", "bare LF", 7, 0 },
	{ "a\r\n\n.\r\n\r\n.\r\n", "a\r\n", "bare LF", 12, 0 },
	{ "\n.\r\n", "", "bare LF", OPEN, 0 },
	{ ".\n\r\n.\r\n", "", "bare LF", 7, 0 },
	{ "\r.\r\n.\r\n", "\r", "bare CR", 7, 0 },
	/* The first reason stands. */
	{ "a\nb\rc\r\n.\r\n", "a", "bare LF", 10, 0 },
	{ "a\rb\nc\r\n.\r\n", "a\r", "bare CR", 10, 0 },
	/* Size counts what would be kept. */
	{ "abc\r\n.\r\n", "abc\r\n", NULL, 8, 5 },
	{ "..bc\r\n.\r\n", ".bc\r\n", NULL, 9, 5 },
	{ "abcd\r\n.\r\n", "abcd\r", "too big", 9, 5 },
	{ "abcdefgh\nijk\r\n.\r\n", "abcde", "too big", 17, 5 },
	{ "ab\nefghijk\r\n.\r\n", "ab", "bare LF", 15, 5 },
};

/* Gives `in` in pieces that end at the two cuts. */
static void check(const struct row *row, size_t first, size_t second)
{
	size_t len = strlen(row->in);
	size_t cuts[] = { first, second, len }, from = 0, used = 0;
	struct smtp_data data;
	struct got got = { 0 };

	smtp_data_begin(&data, row->max_size);
	for (size_t i = 0; i < COUNT(cuts); i++) {
		size_t n = smtp_data_receive(
			&data, slice_of(row->in + from, cuts[i] - from), sink,
			&got);

		used += n;
		if (n < cuts[i] - from)
			break;
		from = cuts[i];
	}
	if (row->used == OPEN) {
		assert_false(smtp_data_is_whole(&data));
		assert_int_equal(used, len);
	} else {
		assert_true(smtp_data_is_whole(&data));
		assert_int_equal(used, row->used);
	}
	if (row->bad)
		assert_string_equal(data.bad, row->bad);
	else
		assert_null(data.bad);
	assert_string_equal(buf_text(&got.bytes), row->bytes);
	assert_int_equal(data.size, strlen(row->bytes));
	buf_release(&got.bytes);
}

static void only_crlf_dot_crlf_ends_a_message(void **state)
{
	for (size_t i = 0; i < COUNT(rows); i++)
		check(&rows[i], strlen(rows[i].in), strlen(rows[i].in));
}

static void how_the_bytes_are_cut_changes_nothing(void **state)
{
	for (size_t i = 0; i < COUNT(rows); i++)
		for (size_t a = 0; a <= strlen(rows[i].in); a++)
			for (size_t b = a; b <= strlen(rows[i].in); b++)
				check(&rows[i], a, b);
}

static void byte_by_byte_is_the_same(void **state)
{
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct smtp_data data;
		struct got got = { 0 };

		smtp_data_begin(&data, rows[i].max_size);
		for (const char *p = rows[i].in; *p; p++)
			smtp_data_receive(&data, slice_of(p, 1), sink, &got);
		assert_true(smtp_data_is_whole(&data) ==
			    (rows[i].used != OPEN));
		if (rows[i].bad)
			assert_string_equal(data.bad, rows[i].bad);
		else
			assert_null(data.bad);
		assert_string_equal(buf_text(&got.bytes), rows[i].bytes);
		buf_release(&got.bytes);
	}
}

/* Some drop NULs, and then see the end of the message (SMTP smuggling). */
#define BYTES(text) text, sizeof(text) - 1
static const struct {
	const char *in;
	size_t len;
	bool chunks;
	const char *bad;
} nuls[] = {
	{ BYTES("a\r\n\0.\r\nMAIL\r\n.\r\n"), false, "lone dot behind NUL" },
	{ BYTES("\0.\r\n.\r\n"), false, "lone dot behind NUL" },
	{ BYTES("a\r\n\0\0.\0\r\n.\r\n"), false, "lone dot behind NUL" },
	{ BYTES("a\r\n.\0.\r\n.\r\n"), false, "lone dot behind NUL" },
	{ BYTES("a\r\n\0.\n.\r\n.\r\n"), false, "bare LF" },
	{ BYTES("a\r\n.\r\0\n.\r\n.\r\n"), false, "bare CR" },
	{ BYTES("a\r\n\0.\r\n"), true, "lone dot behind NUL" },
	{ BYTES("a\r\n\0.\0"), true, "lone dot behind NUL" },
	/* These are stuffed on their way out, or no end without their NULs. */
	{ BYTES("a\r\n.\0\r\n.\r\n"), false, NULL },
	{ BYTES("a\r\n..\0\r\n.\r\n"), false, NULL },
	{ BYTES("a\r\n.\0\r\n"), true, NULL },
	{ BYTES("a\r\n\0.a\r\n\0..\r\n\0\r\na\0.\r\n.\r\n"), false, NULL },
};

static void a_dot_behind_nul_is_not_passed_on(void **state)
{
	for (size_t i = 0; i < COUNT(nuls); i++) {
		for (size_t cut = 0; cut <= nuls[i].len; cut++) {
			struct slice in = slice_of(nuls[i].in, nuls[i].len);
			struct smtp_data data;
			struct got got = { 0 };
			size_t used;

			smtp_data_begin(&data, 0);
			data.chunks = nuls[i].chunks;
			used = smtp_data_receive(&data, slice_of(in.p, cut),
						 sink, &got);
			used += smtp_data_receive(&data, slice_from(in, cut),
						  sink, &got);
			assert_int_equal(used, in.len);
			if (nuls[i].chunks)
				smtp_data_end_chunks(&data);
			assert_true(smtp_data_is_whole(&data));
			if (nuls[i].bad)
				assert_string_equal(data.bad, nuls[i].bad);
			else
				assert_null(data.bad);
			assert_int_equal(data.size, got.bytes.len);
			buf_release(&got.bytes);
		}
	}
}

static const struct {
	size_t line;
	const char *bad;
} lines[] = {
	{ 998, NULL },
	{ 5000, NULL },
	{ SMTP_DATA_LINE_MAX, NULL },
	{ SMTP_DATA_LINE_MAX + 1, "line too long" },
};

static void a_line_may_have_64_kib(void **state)
{
	static const size_t steps[] = { 1, 7, 4096, SIZE_MAX };

	for (size_t i = 0; i < COUNT(lines) * COUNT(steps); i++) {
		size_t step = steps[i % COUNT(steps)];
		struct buf in = BUF_INIT;
		struct smtp_data data;
		struct got got = { 0 };

		buf_adds(&in, "Subject: x\r\n");
		for (size_t n = 0; n < lines[i / COUNT(steps)].line; n++)
			buf_addc(&in, 'x');
		buf_adds(&in, "\r\n.\r\n");
		smtp_data_begin(&data, 0);
		for (size_t at = 0, n; at < in.len; at += n) {
			n = in.len - at < step ? in.len - at : step;
			smtp_data_receive(&data, slice_of(in.p + at, n), sink,
					  &got);
		}
		assert_true(smtp_data_is_whole(&data));
		if (lines[i / COUNT(steps)].bad)
			assert_string_equal(data.bad,
					    lines[i / COUNT(steps)].bad);
		else
			assert_int_equal(got.bytes.len, in.len - 3);
		buf_release(&got.bytes);
		buf_release(&in);
	}
}

static void ordinary_mail_comes_in_one_run(void **state)
{
	struct buf in = BUF_INIT;
	struct smtp_data data;
	struct got got = { 0 };

	for (int i = 0; i < 50; i++)
		buf_adds(&in,
			 "a line of text as mail has it, seventy bytes\r\n");
	buf_adds(&in, ".\r\n");
	smtp_data_begin(&data, 0);
	smtp_data_receive(&data, buf_slice(&in), sink, &got);
	assert_int_equal(got.runs, 1);
	buf_release(&got.bytes);
	buf_release(&in);
}

static const struct {
	const char *in, *want;
} stuffed[] = {
	{ "", ".\r\n" },
	{ "a\r\n", "a\r\n.\r\n" },
	{ "a", "a\r\n.\r\n" },
	{ "a\r", "a\r\r\n.\r\n" },
	{ ".\r\n", "..\r\n.\r\n" },
	{ "..a\r\n.b\r\nc.\r\n", "...a\r\n..b\r\nc.\r\n.\r\n" },
	{ "\r\n.\r\n.", "\r\n..\r\n..\r\n.\r\n" },
	{ "a\n.\r\n", "a\n..\r\n.\r\n" },
};

static void dots_are_stuffed_in_every_split(void **state)
{
	for (size_t i = 0; i < COUNT(stuffed); i++) {
		struct slice in = slice(stuffed[i].in);

		for (size_t cut = 0; cut <= in.len; cut++) {
			struct smtp_data_out data = { 0 };
			struct buf out = BUF_INIT;

			smtp_data_stuff(&data, slice_of(in.p, cut), &out);
			smtp_data_stuff(&data, slice_from(in, cut), &out);
			smtp_data_finish(&data, &out);
			assert_string_equal(buf_text(&out), stuffed[i].want);
			buf_release(&out);
		}
	}
}

static void what_is_stuffed_is_received_as_it_was(void **state)
{
	static const char *const messages[] = {
		"",
		"\r\n",
		".\r\n",
		"..\r\n.\r\n",
		"a\r\n.b\r\n\r\n.\r\n",
		"From: x\r\n\r\n.hidden\r\n",
	};

	for (size_t i = 0; i < COUNT(messages); i++) {
		struct smtp_data_out out = { 0 };
		struct smtp_data data;
		struct buf wire = BUF_INIT;
		struct got got = { 0 };

		smtp_data_stuff(&out, slice(messages[i]), &wire);
		smtp_data_finish(&out, &wire);
		smtp_data_begin(&data, 0);
		assert_int_equal(smtp_data_receive(&data, buf_slice(&wire),
						   sink, &got),
				 wire.len);
		assert_true(smtp_data_is_whole(&data));
		assert_null(data.bad);
		assert_string_equal(buf_text(&got.bytes), messages[i]);
		buf_release(&got.bytes);
		buf_release(&wire);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_crlf_dot_crlf_ends_a_message),
		cmocka_unit_test(how_the_bytes_are_cut_changes_nothing),
		cmocka_unit_test(byte_by_byte_is_the_same),
		cmocka_unit_test(a_dot_behind_nul_is_not_passed_on),
		cmocka_unit_test(a_line_may_have_64_kib),
		cmocka_unit_test(ordinary_mail_comes_in_one_run),
		cmocka_unit_test(dots_are_stuffed_in_every_split),
		cmocka_unit_test(what_is_stuffed_is_received_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
