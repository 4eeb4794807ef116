#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "cutover/journal.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static char path[128], torn_path[160];

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/test_journal.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/journal.ndjson", dir);
	snprintf(torn_path, sizeof(torn_path), "%s.torn", path);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	unlink(torn_path);
	return rmdir(dir);
}

static void write_lines(unsigned count)
{
	struct err err = ERR_INIT;
	struct journal *journal = journal_open(path, &err);

	assert_non_null(journal);
	for (unsigned i = 0; i < count; i++) {
		struct json *data = json_object();

		json_put_number(data, "i", i);
		json_put_text(data, "text", "line\nfeed \"quoted\"");
		assert_int_equal(journal_add(journal, "phase", data, &err), 0);
	}
	journal_close(journal);
}

/* Bytes of the lines, without the reserve. */
static size_t lines_len(void)
{
	struct buf text = BUF_INIT;
	size_t len;

	assert_int_equal(file_read(path, 1 << 24, &text, NULL), 0);
	len = strlen(buf_text(&text));
	buf_release(&text);
	return len;
}

static void patch(off_t at, const void *bytes, size_t len)
{
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len, at), len);
	close(fd);
}

static int verify(uint64_t *count, struct err *err)
{
	char head[65];

	return journal_read(path, NULL, NULL, head, count, err);
}

static int add_up(void *ctx, const struct json *line)
{
	double *sum = ctx;

	assert_string_equal(json_get_text(line, "event"), "phase");
	*sum += json_get_number(json_get(line, "data"), "i", -1000);
	return 0;
}

static void what_was_added_is_read_back_in_order(void **state)
{
	char head[65], zeros[65];
	uint64_t count = 0;
	struct err err = ERR_INIT;
	double sum = 0;

	write_lines(0);
	memset(zeros, '0', 64);
	zeros[64] = '\0';
	assert_int_equal(journal_read(path, NULL, NULL, head, &count, &err), 0);
	assert_string_equal(head, zeros);
	assert_int_equal(count, 0);
	write_lines(5);
	assert_int_equal(journal_read(path, add_up, &sum, head, &count, &err),
			 0);
	assert_int_equal(count, 5);
	assert_true(sum == 10);
}

static void the_chain_goes_on_after_a_reopen(void **state)
{
	struct err err = ERR_INIT;
	struct journal *journal;
	char head[65];
	uint64_t count = 0;

	write_lines(3);
	assert_int_equal(journal_read(path, NULL, NULL, head, &count, &err), 0);
	journal = journal_open(path, &err);
	assert_non_null(journal);
	assert_int_equal(journal_count(journal), 3);
	assert_string_equal(journal_head(journal), head);
	assert_int_equal(journal_add(journal, "phase", NULL, &err), 0);
	assert_string_not_equal(journal_head(journal), head);
	journal_close(journal);
	assert_int_equal(verify(&count, &err), 0);
	assert_int_equal(count, 4);
}

static void one_writer_at_a_time(void **state)
{
	struct err err = ERR_INIT;
	struct journal *journal = journal_open(path, &err);

	assert_non_null(journal);
	assert_null(journal_open(path, &err));
	assert_non_null(strstr(err.text, "another process writes it"));
	journal_close(journal);
}

static void the_space_is_taken_in_advance(void **state)
{
	struct stat before, after;

	write_lines(0);
	assert_int_equal(stat(path, &before), 0);
	assert_true(before.st_size >= 1024 * 1024);
	assert_true(before.st_blocks * 512 >= 1024 * 1024);
	write_lines(10);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_size - (off_t)lines_len() >= 512 * 1024);
}

static void the_reserve_grows_with_the_lines(void **state)
{
	struct err err = ERR_INIT;
	struct journal *journal = journal_open(path, &err);
	char *large = mem_alloc(300001);
	struct stat st;
	uint64_t count = 0;

	memset(large, 'x', 300000);
	for (unsigned i = 0; i < 6; i++) {
		struct json *data = json_object();

		json_put_text(data, "large", large);
		assert_int_equal(journal_add(journal, "gate", data, &err), 0);
	}
	free(large);
	journal_close(journal);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > 1800000 + 256 * 1024);
	assert_int_equal(verify(&count, &err), 0);
	assert_int_equal(count, 6);
}

/* Any byte of any line: one bit of it, or all of it gone. */
static void damage_is_found(char (*change)(char))
{
	struct buf text = BUF_INIT;
	size_t end, line = 1;

	write_lines(2);
	end = lines_len();
	assert_int_equal(file_read(path, 1 << 24, &text, NULL), 0);
	for (size_t i = 0; i < end; i++) {
		char flipped = change(text.p[i]), want[24];
		struct err err = ERR_INIT;
		uint64_t count;

		patch((off_t)i, &flipped, 1);
		assert_int_equal(verify(&count, &err), -1);
		snprintf(want, sizeof(want), ": line %zu: ", line);
		if (!strstr(err.text, want))
			fail_msg("byte %zu: %s", i, err.text);
		if (i % 64 == 0)
			assert_null(journal_open(path, &err));
		patch((off_t)i, text.p + i, 1);
		if (text.p[i] == '\n')
			line++;
	}
	buf_release(&text);
}

static char flip(char c)
{
	return (char)(c ^ 0x04);
}

static char zero(char c)
{
	return '\0';
}

static void a_flipped_byte_is_found_and_its_line_named(void **state)
{
	damage_is_found(flip);
}

static void a_zeroed_byte_is_found_and_its_line_named(void **state)
{
	damage_is_found(zero);
}

static void a_missing_line_is_found(void **state)
{
	struct buf text = BUF_INIT;
	struct err err = ERR_INIT;
	uint64_t count;
	size_t first, second;

	write_lines(3);
	assert_int_equal(file_read(path, 1 << 24, &text, NULL), 0);
	first = (size_t)slice_find(buf_slice(&text), '\n') + 1;
	second = first + 1 +
		 (size_t)slice_find(slice_from(buf_slice(&text), first), '\n');
	/* The second line is replaced by the third, which is as long. */
	patch((off_t)first, text.p + second, lines_len() - second);
	assert_int_equal(verify(&count, &err), -1);
	assert_non_null(strstr(err.text, "line 2: it does not follow"));
	buf_release(&text);
}

static void a_line_cut_off_by_a_crash_is_set_aside(void **state)
{
	static const struct {
		const char *bytes;
		int sector; /* that the bytes begin with; -1: at once */
	} tails[] = {
		{ "{\"n\":3,\"at\":\"20", -1 },
		{ "{", -1 },
		/* A later sector of the line came first. */
		{ "event\":{}}\n", 1 },
		{ "event\":{}}\n", 3 },
	};

	for (size_t i = 0; i < COUNT(tails); i++) {
		struct err err = ERR_INIT;
		struct buf torn = BUF_INIT;
		struct journal *journal;
		uint64_t count = 0;
		off_t at;

		write_lines(2);
		at = (off_t)lines_len();
		if (tails[i].sector >= 0)
			at = (at / 512 + tails[i].sector) * 512;
		patch(at, tails[i].bytes, strlen(tails[i].bytes));
		if (verify(&count, &err) < 0)
			fail_msg("tail %zu: %s", i, err.text);
		assert_int_equal(count, 2);
		journal = journal_open(path, &err);
		assert_non_null(journal);
		assert_int_equal(journal_add(journal, "phase", NULL, &err), 0);
		journal_close(journal);
		assert_int_equal(verify(&count, &err), 0);
		assert_int_equal(count, 3);
		assert_int_equal(file_read(torn_path, 65536, &torn, &err), 0);
		assert_true(torn.len >= 2);
		buf_release(&torn);
		unlink(path);
		unlink(torn_path);
	}
	/* teardown() wants nothing of them. */
	write_lines(0);
}

/* Of a line as long as one may be: zeros are written a piece at a time. */
static void
a_start_cut_off_while_it_sets_a_line_aside_is_made_good(void **state)
{
	struct err err = ERR_INIT;
	struct journal *journal;
	char line[300];
	uint64_t count;
	off_t at;

	memset(line, 'x', sizeof(line));
	memcpy(line, "{\"n\":3,", 7);
	write_lines(2);
	at = (off_t)lines_len();
	patch(at, line, sizeof(line));
	journal_close(journal_open(path, &err));
	assert_int_equal(verify(&count, &err), 0);
	for (size_t cut = 1; cut < sizeof(line); cut++) {
		/* As if that start had come as far as here. */
		patch(at, line, sizeof(line));
		memset(line, 0, cut);
		patch(at, line, cut);
		if (verify(&count, &err) < 0)
			fail_msg("cut at %zu: %s", cut, err.text);
	}
	journal = journal_open(path, &err);
	assert_non_null(journal);
	assert_int_equal(journal_add(journal, "phase", NULL, &err), 0);
	journal_close(journal);
	assert_int_equal(verify(&count, &err), 0);
	assert_int_equal(count, 3);
}

static void a_journal_that_is_not_there_is_named(void **state)
{
	struct err err = ERR_INIT;

	assert_int_equal(journal_read("/nonexistent/journal", NULL, NULL,
				      (char[65]){ "" }, &(uint64_t){ 0 }, &err),
			 -1);
	assert_non_null(strstr(err.text, "/nonexistent/journal"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_was_added_is_read_back_in_order),
		TEST(the_chain_goes_on_after_a_reopen),
		TEST(one_writer_at_a_time),
		TEST(the_space_is_taken_in_advance),
		TEST(the_reserve_grows_with_the_lines),
		TEST(a_flipped_byte_is_found_and_its_line_named),
		TEST(a_zeroed_byte_is_found_and_its_line_named),
		TEST(a_missing_line_is_found),
		TEST(a_line_cut_off_by_a_crash_is_set_aside),
		TEST(a_start_cut_off_while_it_sets_a_line_aside_is_made_good),
		cmocka_unit_test(a_journal_that_is_not_there_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
