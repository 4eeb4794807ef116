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
	size_t waiting, largest;
	bool turns; /* it begins or ends here */
	size_t bound;
} night[] = {
	{ 1000, 0, 0, 40, false, SIZE_MAX },
	{ 2000, 9999, 32, 40, false, SIZE_MAX },
	/* The largest first, and at once. */
	{ 3000, 10000, 32, 40, true, 20 },
	{ 3500, 10500, 32, 40, false, 20 },
	{ 5499, 12499, 32, 40, false, 20 },
	/* It lasts: a quarter of the 10 s each. */
	{ 5500, 12500, 32, 40, false, 10 },
	{ 8000, 15000, 32, 40, false, 5 },
	/* Not enough to go back. */
	{ 10500, 9999, 32, 40, false, 5 },
	{ 20000, 2501, 32, 40, false, 5 },
	/* A quarter each on the way back. */
	{ 22500, 2500, 32, 40, false, 10 },
	{ 24999, 0, 0, 40, false, 10 },
	{ 25000, 0, 0, 40, false, 20 },
	/* Again. */
	{ 27500, 10000, 32, 40, false, 10 },
	{ 30000, 10000, 32, 40, false, 5 },
	/* The largest left as it was put off: who is the largest now? */
	{ 32500, 10000, 32, 4, false, 2 },
	{ 35000, 10000, 32, 4, false, 1 },
	/* Fewer wait: that may do. */
	{ 37500, 12000, 29, 4, false, 1 },
	{ 40000, 14000, 20, 4, false, 1 },
	/* Hardly fewer: it would take minutes. */
	{ 42500, 16000, 19, 4, false, 0 },
	/* Everybody, and there it stays. */
	{ 47500, 60000, 32, 4, false, 0 },
	/* Nobody has more than four: it is over. */
	{ 50000, 0, 0, 4, false, 1 },
	{ 52500, 0, 0, 4, false, 2 },
	{ 55000, 0, 0, 4, true, SIZE_MAX },
	{ 65000, 0, 0, 4, false, SIZE_MAX },
	/* All are alike. */
	{ 69500, 10000, 32, 1, true, 0 },
	{ 72000, 0, 0, 1, true, SIZE_MAX },
	/* Nobody is there. */
	{ 79500, 10000, 32, 0, true, 0 },
	{ 82000, 0, 0, 0, true, SIZE_MAX },
};

static void those_with_the_most_are_put_off_first(void **state)
{
	struct overload overload;

	overload_init(&overload, MOST_MS);
	for (size_t i = 0; i < COUNT(night); i++) {
		size_t bound = night[i].bound;

		assert_int_equal(overload_look(&overload, night[i].answer_ms,
					       night[i].waiting,
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
	assert_false(overload_look(&overload, 3600000, 100, 1000, 5000));
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
