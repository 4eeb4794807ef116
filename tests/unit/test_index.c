#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/json.h"
#include "daemon/index.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * The counters of the index against a history that the test knows: they are
 * summed up in memory and written with the transaction.
 */

enum {
	GIVE_UP_MS = 300000,
	PLANS = 2,
	DOMAINS = 3, /* of each plan */
	STATES = 5,
	MESSAGES = 3000,
	EACH = 2 /* envelopes of a message */
};

static const char *const state_names[STATES] = { "waiting", "held", "delivered",
						 "bounced", "discarded" };

struct scene {
	struct loop *loop;
	struct loop_timer *late;
	struct index *index;
	char dir[64];
	uint64_t records;
	uint32_t random;
	struct one {
		struct id id;
		unsigned plan;
		struct {
			unsigned domain;
			enum envelope_state state;
		} envelopes[EACH];
	} messages[MESSAGES];
	unsigned answers;
	unsigned checking; /* plan */
};

static const char *plan_name(unsigned plan)
{
	return plan == 0 ? "first" : "second";
}

static unsigned draw(struct scene *scene, unsigned below)
{
	scene->random = scene->random * 1664525u + 1013904223u;
	return (scene->random >> 8) % below;
}

static void give_up(void *ctx)
{
	fail_msg("no answer from the index");
}

static int setup(void **state)
{
	struct scene *scene = mem_alloc(sizeof(*scene));
	struct err err = ERR_INIT;
	bool rebuilt;

	snprintf(scene->dir, sizeof(scene->dir), "/tmp/tideover-index-XXXXXX");
	assert_non_null(mkdtemp(scene->dir));
	scene->loop = loop_new(&err);
	scene->late = loop_timer_new(scene->loop, give_up, NULL);
	loop_timer_arm(scene->late, GIVE_UP_MS);
	scene->index =
		index_open(scene->loop, scene->dir, NULL, &rebuilt, &err);
	assert_non_null(scene->index);
	scene->random = 7;
	*state = scene;
	return 0;
}

static int teardown(void **state)
{
	struct scene *scene = *state;
	char *remove = mem_printf("rm -rf %s", scene->dir);

	index_close(scene->index);
	loop_timer_free(scene->late);
	loop_free(scene->loop);
	assert_int_equal(system(remove), 0);
	free(remove);
	free(scene);
	return 0;
}

static void put(struct scene *scene, enum record_kind kind, struct buf *payload)
{
	struct scan_record record = {
		.kind = kind,
		.segment = 1,
		.offset = 64 * ++scene->records,
		.payload = buf_slice(payload),
	};

	index_put(scene->index, &record);
	buf_release(payload);
}

static void arrive(struct scene *scene, unsigned n)
{
	struct one *one = &scene->messages[n];
	char text[EACH][40];
	struct slice paths[EACH];
	struct record_message message = {
		.id = id_new(1000),
		.sequence = n + 1,
		.accepted_ms = 1000,
		.reverse_path = slice("s@c.example"),
		.forward_paths = paths,
		.envelope_count = EACH,
	};
	struct buf payload = BUF_INIT;

	one->id = message.id;
	one->plan = draw(scene, PLANS);
	message.plan = slice(plan_name(one->plan));
	for (unsigned i = 0; i < EACH; i++) {
		unsigned domain = draw(scene, DOMAINS);

		one->envelopes[i].domain = domain;
		one->envelopes[i].state = ENVELOPE_WAITING;
		snprintf(text[i], sizeof(text[i]), "box%u@d%u.%s.example", i,
			 domain, plan_name(one->plan));
		paths[i] = slice(text[i]);
	}
	record_message_encode(&message, &payload);
	put(scene, RECORD_MESSAGE, &payload);
}

static void change(struct scene *scene, unsigned n)
{
	struct one *one = &scene->messages[n];
	unsigned i = draw(scene, EACH);
	struct record_state record = {
		.id = one->id,
		.envelope = i,
		.state = (enum envelope_state)draw(scene, STATES),
		.at_ms = 2000,
	};
	struct buf payload = BUF_INIT;

	one->envelopes[i].state = record.state;
	record_state_encode(&record, &payload);
	put(scene, RECORD_STATE, &payload);
}

static int64_t counted(const struct scene *scene, unsigned plan,
		       const char *domain, int state)
{
	int64_t count = 0;
	char name[40];

	for (unsigned n = 0; n < MESSAGES; n++)
		for (unsigned i = 0; i < EACH; i++) {
			const struct one *one = &scene->messages[n];

			snprintf(name, sizeof(name), "d%u.%s.example",
				 one->envelopes[i].domain,
				 plan_name(one->plan));
			count += one->id.text[0] && one->plan == plan &&
				 strcmp(name, domain) == 0 &&
				 (int)one->envelopes[i].state == state;
		}
	return count;
}

static void compare(void *ctx, struct json *rows, const struct err *err)
{
	struct scene *scene = ctx;

	assert_null(err);
	assert_int_equal(json_count(rows), DOMAINS);
	for (size_t i = 0; i < DOMAINS; i++) {
		const struct json *row = json_at(rows, i);

		for (int state = 0; state < STATES; state++)
			assert_int_equal(
				json_number(json_get(row, state_names[state])),
				counted(scene, scene->checking,
					json_text(json_get(row, "domain")),
					state));
	}
	scene->answers++;
	json_free(rows);
	loop_stop(scene->loop);
}

static void none(void *ctx, struct json *rows, const struct err *err)
{
	struct scene *scene = ctx;

	assert_null(err);
	assert_int_equal(json_count(rows), 0);
	scene->answers++;
	json_free(rows);
	loop_stop(scene->loop);
}

static void ask(struct scene *scene, unsigned plan, index_json_fn *answer)
{
	scene->checking = plan;
	index_ledger(scene->index, plan_name(plan), answer, scene);
	loop_run(scene->loop);
}

static void test_counters_are_the_history(void **state)
{
	struct scene *scene = *state;

	for (unsigned n = 0; n < MESSAGES; n++) {
		arrive(scene, n);
		/* Often in the transaction in which it came. */
		change(scene, draw(scene, n + 1));
		if (n % 500 == 499)
			ask(scene, n / 500 % PLANS, compare);
	}
	ask(scene, 0, compare);
	ask(scene, 1, compare);
	assert_int_equal(scene->answers, MESSAGES / 500 + 2);
}

static void test_a_removed_plan_leaves_no_count(void **state)
{
	struct scene *scene = *state;

	for (unsigned n = 0; n < 100; n++)
		arrive(scene, n);
	/* In the same transaction: nothing of it may be written afterwards. */
	index_remove_plan(scene->index, plan_name(0));
	ask(scene, 0, none);
	ask(scene, 1, compare);
	assert_int_equal(scene->answers, 2);
}

static void refuse(struct scene *scene, uint32_t envelope, bool mailbox)
{
	struct record_attempt attempt = {
		.id = scene->messages[0].id,
		.envelope = envelope,
		.number = 1,
		.at_ms = 2000,
		.outcome = ENVELOPE_HELD,
		.mailbox = mailbox,
	};
	struct buf payload = BUF_INIT;

	record_attempt_encode(&attempt, &payload);
	put(scene, RECORD_ATTEMPT, &payload);
}

static void first_holds_its_mailbox(void *ctx, const struct index_page *page,
				    const struct err *err)
{
	struct scene *scene = ctx;

	assert_null(err);
	assert_int_equal(page->count, EACH);
	for (size_t i = 0; i < EACH; i++) {
		assert_int_equal(page->at[i].state, ENVELOPE_HELD);
		assert_int_equal(page->at[i].mailbox_held, i == 0);
	}
	loop_stop(scene->loop);
}

/* The record that names the reason comes behind it, and a kill between. */
static void test_a_refusal_alone_holds_the_mailbox(void **state)
{
	struct scene *scene = *state;

	arrive(scene, 0);
	refuse(scene, 0, true);
	refuse(scene, 1, false);
	index_page(scene->index, plan_name(scene->messages[0].plan), 0, 10,
		   first_holds_its_mailbox, scene);
	loop_run(scene->loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_counters_are_the_history,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_removed_plan_leaves_no_count, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_refusal_alone_holds_the_mailbox, setup,
			teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
