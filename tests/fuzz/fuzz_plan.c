/*
 * A plan of any bytes: refused with a sentence, or accepted; what is accepted
 * rehearses, and differs from itself in nothing.
 */
#include "plan/plan.h"

#include <stdlib.h>

static void count(void *ctx, const char *sentence)
{
	if (*sentence == '\0')
		abort();
	++*(size_t *)ctx;
}

static void rehearse(const struct plan *plan)
{
	static const char *const resolvers[] = { "127.0.0.1:5302" };
	const struct plan_rehearsal world = {
		.listen = "127.0.0.1:2525",
		.authority = "127.0.0.1:5301",
		.resolvers = resolvers,
		.resolver_count = COUNT(resolvers),
		.deliver_to = { "127.0.0.1:2601", "127.0.0.1:2602" },
	};
	char *text = plan_rehearsal_text(plan, &world);
	struct plan *twin = plan_parse(slice(text), "/r.json", NULL);

	if (!twin && strlen(text) <= PLAN_MAX_BYTES)
		abort();
	plan_free(twin);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_of(data, size);
	struct err err = ERR_INIT;
	struct buf diff = BUF_INIT;
	size_t told = 0, errors;
	struct plan *plan;

	errors = plan_errors(text, "/p.json", count, &told);
	plan = plan_parse(text, "/p.json", &err);
	if (told != errors || !plan != (errors > 0) ||
	    !plan != err_is_set(&err))
		abort();
	if (plan) {
		plan_diff(plan, plan, &diff);
		if (diff.len > 0)
			abort();
		rehearse(plan);
	}
	buf_release(&diff);
	plan_free(plan);
	return 0;
}
