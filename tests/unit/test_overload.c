#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "daemon/overload.h"

enum {
	MOST_MS = 10000
};

/* One night: an answer may take 10 s. */
static const struct {
	int64_t at_ms, answer_ms;
	size_t largest;
	bool turns; /* it begins or ends here */
	size_t bound;
} night[] = {
	{ 1000, 0, 40, false, SIZE_MAX },
	{ 2000, 9999, 40, false, SIZE_MAX },
	/* The largest first, and at once. */
	{ 3000, 10000, 40, true, 20 },
	{ 3500, 10500, 40, false, 20 },
	{ 5499, 12499, 40, false, 20 },
	/* It lasts: a quarter of the 10 s each. */
	{ 5500, 12500, 40, false, 10 },
	{ 8000, 15000, 40, false, 5 },
	/* Not enough to go back. */
	{ 10500, 9999, 40, false, 5 },
	{ 20000, 2501, 40, false, 5 },
	/* A quarter each on the way back. */
	{ 20500, 2500, 40, false, 10 },
	{ 22999, 0, 40, false, 10 },
	{ 23000, 0, 40, false, 20 },
	/* Again. */
	{ 25500, 10000, 40, false, 10 },
	{ 28000, 10000, 40, false, 5 },
	/* The largest left as it was put off: who is the largest now? */
	{ 30500, 10000, 4, false, 2 },
	{ 33000, 10000, 4, false, 1 },
	/* Everybody, and there it stays. */
	{ 35500, 10000, 4, false, 0 },
	{ 38000, 60000, 4, false, 0 },
	/* Nobody has more than four: it is over. */
	{ 40500, 0, 4, false, 1 },
	{ 43000, 0, 4, false, 2 },
	{ 45500, 0, 4, true, SIZE_MAX },
	{ 55500, 0, 4, false, SIZE_MAX },
	/* All are alike. */
	{ 60000, 10000, 1, true, 0 },
	{ 62500, 0, 1, true, SIZE_MAX },
	/* Nobody is there. */
	{ 70000, 10000, 0, true, 0 },
	{ 72500, 0, 0, true, SIZE_MAX },
};

static void those_with_the_most_are_put_off_first(void **state)
{
	struct overload overload;

	overload_init(&overload, MOST_MS);
	for (size_t i = 0; i < COUNT(night); i++) {
		size_t bound = night[i].bound;

		assert_int_equal(overload_look(&overload, night[i].answer_ms,
					       night[i].largest,
					       night[i].at_ms),
				 night[i].turns);
		assert_int_equal(overload.bound, bound);
		assert_int_equal(overload.on, bound != SIZE_MAX);
	}
}

static void without_a_limit_nobody_is(void **state)
{
	struct overload overload;

	overload_init(&overload, 0);
	assert_false(overload_look(&overload, 3600000, 1000, 5000));
	assert_int_equal(overload.bound, SIZE_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(those_with_the_most_are_put_off_first),
		cmocka_unit_test(without_a_limit_nobody_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
