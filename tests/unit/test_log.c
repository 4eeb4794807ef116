#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/log.h"
#include <stdio.h>
#include <unistd.h>

#define LOG_MODULE "test"

/* What the line says behind time and program. */
static struct slice logged(char line[4096], const char *text)
{
	int ends[2], own = dup(STDERR_FILENO);
	ssize_t len;
	struct slice said;

	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	log_info("%s", text);
	dup2(own, STDERR_FILENO);
	close(own);
	close(ends[1]);
	len = read(ends[0], line, 4096);
	close(ends[0]);
	assert_true(len > 0);
	said = slice_of(line, (size_t)len);
	return slice_from(said, (size_t)slice_find(said, ' ') + 1);
}

static const struct {
	const char *text, *hidden;
} rows[] = {
	{ "ready: 1 plans", "ready: 1 plans" },
	{ "550 5.1.1 <Ann.Lee+x@a.example>: no",
	  "550 5.1.1 <***@a.example>: no" },
	{ "ann@a.example", "***@a.example" },
	{ "rcpt:ann@a.example,bob@b.example",
	  "rcpt:***@a.example,***@b.example" },
	{ "<\"ann lee\"@a.example>", "<***@a.example>" },
	{ "<\"a@b\\\"c\"@a.example>", "<\"******@a.example>" },
	{ "<j\xc3\xb6rg@a.example>", "<***@a.example>" },
	{ "\"@a", "\"@a" },
	{ "from @ to @ and <@>", "from @ to @ and <@>" },
};

static void a_line_names_no_recipient(void **state)
{
	for (size_t i = 0; i < COUNT(rows); i++) {
		char line[4096], want[256];
		struct slice said = logged(line, rows[i].text);

		snprintf(want, sizeof(want), "test info: test: %s\n",
			 rows[i].hidden);
		if (!slice_is(said, want))
			print_error("%.*s", (int)said.len, said.p);
		assert_true(slice_is(said, want));
	}
}

static void unless_the_operator_asked_for_it(void **state)
{
	char line[4096];

	log_setup("test", LOG_LEVEL_INFO, true);
	assert_true(slice_is(logged(line, rows[1].text),
			     "test info: test: 550 5.1.1 "
			     "<Ann.Lee+x@a.example>: no\n"));
	log_setup("test", LOG_LEVEL_INFO, false);
}

static void one_event_is_one_line(void **state)
{
	char line[4096];

	assert_true(slice_is(logged(line, "250 ok\r\nforged\x1b[2J"),
			     "test info: test: 250 ok??forged?[2J\n"));
}

static int setup(void **state)
{
	log_setup("test", LOG_LEVEL_INFO, false);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_names_no_recipient),
		cmocka_unit_test(unless_the_operator_asked_for_it),
		cmocka_unit_test(one_event_is_one_line),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
