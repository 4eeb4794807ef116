#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/queue.h"
#include "base/id.h"
#include <stdio.h>
#include <stdlib.h>

enum {
	CLAIMS = 10
};

struct scene {
	struct queue *queue;
	struct queue_domain *domain;
	uint64_t sequence;
	struct queue_envelope *claims[CLAIMS];
	size_t count;
};

static int scene_new(void **state)
{
	struct scene *scene = mem_alloc(sizeof(*scene));

	scene->queue = queue_new();
	scene->domain = queue_domain(scene->queue, "acme", "acme.example");
	*state = scene;
	return 0;
}

static int scene_free(void **state)
{
	struct scene *scene = *state;

	queue_free(scene->queue);
	free(scene);
	return 0;
}

/* A message to these local parts ("a b"); returns its sequence. */
static uint64_t arrive(struct scene *scene, const char *boxes)
{
	struct id id = id_new(1000);
	struct slice rest = slice(boxes);
	struct queue_message *message;
	uint32_t index = 0;

	message = queue_add_message(scene->queue, &id, ++scene->sequence, 1000,
				    slice("s@b.example"));
	while (rest.len > 0) {
		struct slice box = slice_split(&rest, ' ');
		char *path =
			mem_printf("%.*s@acme.example", (int)box.len, box.p);

		queue_add_envelope(scene->domain, message, index++,
				   slice(path));
		queue_count_accepted(scene->domain, 0);
		free(path);
	}
	return scene->sequence;
}

static int by_index(const void *a, const void *b)
{
	const struct queue_envelope *const *one = a, *const *other = b;

	return (int)(*one)->index - (int)(*other)->index;
}

/* What a claim at `now` takes, as "sequence:box box"; "-": nothing. */
static const char *claim(struct scene *scene, int64_t now)
{
	static char text[200];
	size_t at;

	scene->count = queue_claim(scene->domain, now, scene->claims, CLAIMS);
	if (scene->count == 0)
		return "-";
	qsort(scene->claims, scene->count, sizeof(*scene->claims), by_index);
	at = (size_t)snprintf(
		text, sizeof(text), "%llu:",
		(unsigned long long)scene->claims[0]->message->sequence);
	for (size_t i = 0; i < scene->count; i++)
		at += (size_t)snprintf(
			text + at, sizeof(text) - at, "%s%.*s", i ? " " : "",
			(int)strcspn(scene->claims[i]->forward_path, "@"),
			scene->claims[i]->forward_path);
	return text;
}

static void deliver(struct scene *scene)
{
	for (size_t i = 0; i < scene->count; i++)
		queue_final(scene->claims[i], ENVELOPE_DELIVERED);
}

static void a_mailbox_gets_one_message_at_a_time_in_order(void **state)
{
	struct scene *scene = *state;

	arrive(scene, "anna");
	arrive(scene, "anna");
	assert_string_equal(claim(scene, 5000), "1:anna");
	{
		struct queue_envelope *first = scene->claims[0];

		/* The second waits for the outcome of the first. */
		assert_string_equal(claim(scene, 5000), "-");
		queue_final(first, ENVELOPE_DELIVERED);
	}
	assert_string_equal(claim(scene, 5000), "2:anna");
	deliver(scene);
	assert_string_equal(claim(scene, 5000), "-");
}

/* Case of the local part does not make another mailbox. */
static void case_does_not_split_a_mailbox(void **state)
{
	struct scene *scene = *state;

	arrive(scene, "Anna");
	arrive(scene, "anna");
	assert_string_equal(claim(scene, 5000), "1:Anna");
	assert_string_equal(claim(scene, 5000), "-");
}

static void a_deferral_stops_its_own_line_alone(void **state)
{
	struct scene *scene = *state;
	struct queue_envelope *first;

	arrive(scene, "anna");
	arrive(scene, "anna");
	arrive(scene, "bert");
	assert_string_equal(claim(scene, 5000), "1:anna");
	first = scene->claims[0];
	queue_defer(first, 60000);
	assert_string_equal(claim(scene, 5000), "3:bert");
	deliver(scene);
	assert_string_equal(claim(scene, 59999), "-");
	assert_int_equal(queue_next_due(scene->domain), 60000);
	assert_string_equal(claim(scene, 60000), "1:anna");
	deliver(scene);
	assert_string_equal(claim(scene, 60000), "2:anna");
}

static void a_retry_makes_a_line_due_and_keeps_its_order(void **state)
{
	struct scene *scene = *state;
	struct queue_envelope *first;

	arrive(scene, "anna");
	arrive(scene, "anna");
	assert_string_equal(claim(scene, 5000), "1:anna");
	first = scene->claims[0];
	/* Under way: nothing to hurry. */
	queue_retry(first);
	assert_string_equal(claim(scene, 5000), "-");
	queue_defer(first, 60000);
	assert_string_equal(claim(scene, 5000), "-");
	/* The second is meant; the first goes before it. */
	queue_retry(list_entry(first->line.next, struct queue_envelope, line));
	assert_string_equal(claim(scene, 5000), "1:anna");
	deliver(scene);
	assert_string_equal(claim(scene, 5000), "2:anna");
	queue_hold(scene->claims[0], true);
	queue_retry(scene->claims[0]);
	assert_string_equal(claim(scene, 5000), "-");
}

static void recipients_whose_turn_it_is_go_together(void **state)
{
	struct scene *scene = *state;

	arrive(scene, "anna");
	arrive(scene, "anna bert carl");
	assert_string_equal(claim(scene, 5000), "1:anna");
	{
		struct queue_envelope *first = scene->claims[0];

		/* Anna's is not yet: she follows alone. */
		assert_string_equal(claim(scene, 5000), "2:bert carl");
		deliver(scene);
		queue_final(first, ENVELOPE_DELIVERED);
	}
	assert_string_equal(claim(scene, 5000), "2:anna");
	deliver(scene);
	assert_int_equal(scene->domain->ledger.delivered, 4);
	assert_int_equal(scene->domain->ledger.waiting, 0);
}

static void a_held_message_leaves_the_line(void **state)
{
	struct scene *scene = *state;
	struct queue_envelope *held;

	arrive(scene, "anna");
	arrive(scene, "anna");
	claim(scene, 5000);
	held = scene->claims[0];
	queue_hold(held, false);
	assert_int_equal(scene->domain->ledger.held, 1);
	assert_string_equal(claim(scene, 5000), "2:anna");
	deliver(scene);
	queue_release(held, 0);
	assert_int_equal(scene->domain->ledger.held, 0);
	assert_string_equal(claim(scene, 5000), "1:anna");
}

static void a_held_mailbox_keeps_what_comes_later_too(void **state)
{
	struct scene *scene = *state;
	struct queue_envelope *held;

	arrive(scene, "anna");
	claim(scene, 5000);
	held = scene->claims[0];
	queue_hold(held, true);
	arrive(scene, "anna");
	arrive(scene, "bert");
	assert_string_equal(claim(scene, 5000), "3:bert");
	deliver(scene);
	assert_string_equal(claim(scene, 5000), "-");
	/* Released in sequence. */
	queue_release(held, 0);
	assert_string_equal(claim(scene, 5000), "1:anna");
	deliver(scene);
	assert_string_equal(claim(scene, 5000), "2:anna");
}

static void a_released_message_takes_its_old_place(void **state)
{
	struct scene *scene = *state;
	struct queue_envelope *held;

	arrive(scene, "anna");
	claim(scene, 5000);
	held = scene->claims[0];
	queue_hold(held, false);
	arrive(scene, "anna");
	arrive(scene, "anna");
	queue_release(held, 0);
	assert_string_equal(claim(scene, 5000), "1:anna");
	deliver(scene);
	assert_string_equal(claim(scene, 5000), "2:anna");
}

static void the_ramp_takes_whole_mailboxes_oldest_first(void **state)
{
	struct scene *scene = *state;

	arrive(scene, "anna");
	arrive(scene, "bert");
	arrive(scene, "anna");
	arrive(scene, "carl");
	assert_int_equal(queue_admit(scene->domain, 0), 0);
	assert_string_equal(claim(scene, 5000), "-");
	assert_int_equal(queue_admit(scene->domain, 1), 1);
	assert_int_equal(queue_admitted_left(scene->domain), 1);
	assert_string_equal(claim(scene, 5000), "1:anna");
	deliver(scene);
	assert_string_equal(claim(scene, 5000), "3:anna");
	deliver(scene);
	assert_int_equal(queue_admitted_left(scene->domain), 0);
	assert_string_equal(claim(scene, 5000), "-");
	assert_int_equal(queue_admit(scene->domain, 1), 1);
	assert_string_equal(claim(scene, 5000), "2:bert");
	deliver(scene);
	queue_ramp_end(scene->domain);
	assert_string_equal(claim(scene, 5000), "4:carl");
}

static void when_the_target_is_back_everything_is_due(void **state)
{
	struct scene *scene = *state;

	arrive(scene, "anna");
	arrive(scene, "bert");
	claim(scene, 5000);
	queue_defer(scene->claims[0], 900000);
	claim(scene, 5000);
	queue_defer(scene->claims[0], 800000);
	assert_string_equal(claim(scene, 5000), "-");
	queue_retry_now(scene->domain);
	assert_string_equal(claim(scene, 5000), "1:anna");
	deliver(scene);
	assert_string_equal(claim(scene, 5000), "2:bert");
}

/*
 * Thousands of random steps: whatever happens, a mailbox's envelopes become
 * final in the order of their sequence unless a hold took one out, never two
 * of one mailbox are claimed, and the ledger balances.
 */
/* Stops mailbox "a" until 5000. */
static int64_t a_waits(void *ctx, const struct queue_envelope *envelope,
		       int64_t now_ms, int *why)
{
	if (now_ms >= 5000 || envelope->mailbox->key[0] != 'a')
		return 0;
	*why = 7;
	return 5000;
}

static void a_limit_stops_one_line_and_nobody_passes_in_it(void **state)
{
	struct scene *scene = *state;
	struct queue_mailbox *stopped;

	queue_on_claim(scene->domain, a_waits, NULL);
	arrive(scene, "a b");
	arrive(scene, "a");
	arrive(scene, "c");
	assert_string_equal(claim(scene, 2000), "1:b");
	deliver(scene);
	assert_string_equal(claim(scene, 2000), "3:c");
	deliver(scene);
	assert_string_equal(claim(scene, 2000), "-");
	assert_int_equal(scene->domain->limited_count, 1);
	stopped = list_entry(scene->domain->limited.next, struct queue_mailbox,
			     limited);
	assert_string_equal(stopped->key, "a@acme.example");
	assert_int_equal(stopped->limited_by, 7);
	assert_int_equal(stopped->limited_until_ms, 5000);
	assert_int_equal(queue_next_due(scene->domain), 5000);
	/* Neither a retry nor older mail gets around it. */
	queue_retry_now(scene->domain);
	assert_string_equal(claim(scene, 3000), "-");
	assert_string_equal(claim(scene, 5000), "1:a");
	assert_int_equal(scene->domain->limited_count, 0);
	deliver(scene);
	assert_string_equal(claim(scene, 5000), "2:a");
	deliver(scene);
}

static void order_and_ledger_survive_any_history(void **state)
{
	struct scene *scene = *state;
	uint64_t last[8] = { 0 };
	struct queue_envelope *open[8] = { 0 };
	unsigned dice = 20260501;
	int64_t now = 1000;

	for (int step = 0; step < 20000; step++) {
		struct queue_ledger *ledger = &scene->domain->ledger;
		char box[2] = "a";

		dice = dice * 1103515245 + 12345;
		box[0] = (char)('a' + (dice >> 16) % 8);
		now += 10;
		switch ((dice >> 24) % 4) {
		case 0:
			arrive(scene, box);
			break;
		case 1:
			if (strcmp(claim(scene, now), "-") == 0)
				break;
			for (size_t i = 0; i < scene->count; i++) {
				int at =
					scene->claims[i]->forward_path[0] - 'a';

				assert_null(open[at]);
				open[at] = scene->claims[i];
			}
			break;
		default:
			if (!open[box[0] - 'a'])
				break;
			if ((dice >> 20) % 3 == 0) {
				queue_defer(open[box[0] - 'a'], now + 50);
			} else {
				uint64_t sequence =
					open[box[0] - 'a']->message->sequence;

				assert_true(sequence > last[box[0] - 'a']);
				last[box[0] - 'a'] = sequence;
				queue_final(open[box[0] - 'a'],
					    ENVELOPE_DELIVERED);
			}
			open[box[0] - 'a'] = NULL;
			break;
		}
		assert_true(ledger->accepted ==
			    ledger->waiting + ledger->held + ledger->delivered);
	}
}

#define SCENE_TEST(test) \
	cmocka_unit_test_setup_teardown(test, scene_new, scene_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(a_mailbox_gets_one_message_at_a_time_in_order),
		SCENE_TEST(case_does_not_split_a_mailbox),
		SCENE_TEST(a_deferral_stops_its_own_line_alone),
		SCENE_TEST(a_retry_makes_a_line_due_and_keeps_its_order),
		SCENE_TEST(recipients_whose_turn_it_is_go_together),
		SCENE_TEST(a_held_message_leaves_the_line),
		SCENE_TEST(a_held_mailbox_keeps_what_comes_later_too),
		SCENE_TEST(a_released_message_takes_its_old_place),
		SCENE_TEST(the_ramp_takes_whole_mailboxes_oldest_first),
		SCENE_TEST(when_the_target_is_back_everything_is_due),
		SCENE_TEST(a_limit_stops_one_line_and_nobody_passes_in_it),
		SCENE_TEST(order_and_ledger_survive_any_history),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
