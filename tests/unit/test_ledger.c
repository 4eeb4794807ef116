#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "spool/ledger.h"

static const struct id one = { "00000000000000000001" };
static const struct id two = { "00000000000000000002" };

static void put(struct spool_ledger *ledger, enum record_kind kind,
		struct buf *payload)
{
	struct scan_record record = {
		.kind = kind,
		.segment = 1,
		.payload = buf_slice(payload),
	};

	spool_ledger_put(ledger, &record);
	buf_release(payload);
}

static void put_message(struct spool_ledger *ledger, const struct id *id,
			uint64_t sequence)
{
	struct slice paths[] = { slice("box1@acme.example"),
				 slice("box2@acme.example") };
	struct record_message message = {
		.id = *id,
		.sequence = sequence,
		.accepted_ms = 1000 + (int64_t)sequence,
		.plan = slice("acme"),
		.sha256 = { 7 },
		.body_bytes = 42,
		.envelope_count = COUNT(paths),
		.forward_paths = paths,
	};
	struct buf payload = BUF_INIT;

	record_message_encode(&message, &payload);
	put(ledger, RECORD_MESSAGE, &payload);
}

static void put_begin(struct spool_ledger *ledger, const struct id *id,
		      uint32_t envelope, uint32_t number)
{
	struct record_attempt attempt = {
		.id = *id,
		.envelope = envelope,
		.number = number,
		.begin = true,
	};
	struct buf payload = BUF_INIT;

	record_attempt_encode(&attempt, &payload);
	put(ledger, RECORD_ATTEMPT, &payload);
}

static void put_end(struct spool_ledger *ledger, const struct id *id,
		    uint32_t envelope, uint32_t number,
		    enum envelope_state outcome, bool uncertain)
{
	struct record_attempt attempt = {
		.id = *id,
		.envelope = envelope,
		.number = number,
		.at_ms = 5000 + number,
		.outcome = outcome,
		.uncertain = uncertain,
	};
	struct buf payload = BUF_INIT;

	record_attempt_encode(&attempt, &payload);
	put(ledger, RECORD_ATTEMPT, &payload);
}

static void put_state(struct spool_ledger *ledger, const struct id *id,
		      uint32_t envelope, enum envelope_state to)
{
	struct record_state state = {
		.id = *id,
		.envelope = envelope,
		.state = to,
		.by = slice("somebody"),
	};
	struct buf payload = BUF_INIT;

	record_state_encode(&state, &payload);
	put(ledger, RECORD_STATE, &payload);
}

static const struct ledger_envelope *at(const struct spool_ledger *ledger,
					const struct id *id, size_t n)
{
	const struct ledger_message *message = spool_ledger_find(ledger, id);

	assert_non_null(message);
	assert_true(n < message->envelope_count);
	return &message->envelopes[n];
}

static void a_message_keeps_what_its_record_says(void **state)
{
	struct spool_ledger *ledger = spool_ledger_new();
	const struct ledger_message *message;

	put_message(ledger, &one, 3);
	message = spool_ledger_find(ledger, &one);
	assert_non_null(message);
	assert_string_equal(message->plan, "acme");
	assert_int_equal(message->sequence, 3);
	assert_int_equal(message->accepted_ms, 1003);
	assert_int_equal(message->sha256[0], 7);
	assert_int_equal(message->body_bytes, 42);
	assert_int_equal(message->envelope_count, 2);
	assert_string_equal(message->envelopes[1].forward_path,
			    "box2@acme.example");
	assert_int_equal(message->envelopes[0].state, ENVELOPE_WAITING);
	assert_null(spool_ledger_find(ledger, &two));
	spool_ledger_free(ledger);
}

static void messages_come_in_the_order_of_acceptance(void **state)
{
	struct spool_ledger *ledger = spool_ledger_new();
	const struct ledger_message *const *messages;
	size_t count;

	spool_ledger_messages(ledger, &count);
	assert_int_equal(count, 0);
	put_message(ledger, &two, 2);
	put_message(ledger, &one, 1);
	messages = spool_ledger_messages(ledger, &count);
	assert_int_equal(count, 2);
	assert_true(id_equal(&messages[0]->id, &one));
	assert_true(id_equal(&messages[1]->id, &two));
	spool_ledger_free(ledger);
}

/* What happens to envelope 0, and what it is then. */
static const struct history {
	const char *name;
	struct {
		char what; /* Begin, End, State; 0: no more */
		uint32_t number;
		enum envelope_state state;
		bool uncertain;
	} steps[5];
	struct ledger_envelope want;
} histories[] = {
	{ "accepted", { { 0 } }, { .state = ENVELOPE_WAITING } },
	{ "held",
	  { { 'S', 0, ENVELOPE_HELD, false } },
	  { .state = ENVELOPE_HELD } },
	{ "held, released",
	  { { 'S', 0, ENVELOPE_HELD, false },
	    { 'S', 0, ENVELOPE_WAITING, false } },
	  { .state = ENVELOPE_WAITING } },
	{ "held, released, delivered",
	  { { 'S', 0, ENVELOPE_HELD, false },
	    { 'S', 0, ENVELOPE_WAITING, false },
	    { 'B', 1, ENVELOPE_WAITING, false },
	    { 'E', 1, ENVELOPE_DELIVERED, false } },
	  { .state = ENVELOPE_DELIVERED, .attempts = 1 } },
	{ "deferred, delivered",
	  { { 'B', 1, ENVELOPE_WAITING, false },
	    { 'E', 1, ENVELOPE_WAITING, false },
	    { 'B', 2, ENVELOPE_WAITING, false },
	    { 'E', 2, ENVELOPE_DELIVERED, false } },
	  { .state = ENVELOPE_DELIVERED, .attempts = 2 } },
	{ "a refusal needs no BEGIN",
	  { { 'E', 1, ENVELOPE_HELD, false } },
	  { .state = ENVELOPE_HELD, .attempts = 1 } },
	{ "BEGIN without END is uncertain",
	  { { 'B', 1, ENVELOPE_WAITING, false } },
	  { .state = ENVELOPE_WAITING, .is_open = true } },
	{ "uncertain, settled at the next start",
	  { { 'B', 1, ENVELOPE_WAITING, false },
	    { 'E', 0, ENVELOPE_WAITING, true } },
	  { .state = ENVELOPE_WAITING, .uncertain = 1 } },
	{ "the same END read twice counts once",
	  { { 'E', 1, ENVELOPE_WAITING, true },
	    { 'B', 2, ENVELOPE_WAITING, false },
	    { 'E', 1, ENVELOPE_WAITING, true } },
	  { .state = ENVELOPE_WAITING,
	    .attempts = 1,
	    .uncertain = 1,
	    .is_open = true } },
	{ "bounced",
	  { { 'S', 0, ENVELOPE_BOUNCED, false } },
	  { .state = ENVELOPE_BOUNCED } },
	{ "held, discarded",
	  { { 'S', 0, ENVELOPE_HELD, false },
	    { 'S', 0, ENVELOPE_DISCARDED, false } },
	  { .state = ENVELOPE_DISCARDED } },
};

static void replay(struct spool_ledger *ledger, const struct history *history)
{
	for (size_t i = 0; i < COUNT(history->steps) && history->steps[i].what;
	     i++) {
		uint32_t number = history->steps[i].number;
		enum envelope_state to = history->steps[i].state;

		switch (history->steps[i].what) {
		case 'B':
			put_begin(ledger, &one, 0, number);
			break;
		case 'E':
			put_end(ledger, &one, 0, number, to,
				history->steps[i].uncertain);
			break;
		default:
			put_state(ledger, &one, 0, to);
		}
	}
}

static void check(const struct spool_ledger *ledger,
		  const struct history *history)
{
	const struct ledger_envelope *got = at(ledger, &one, 0);
	const struct ledger_envelope *want = &history->want;

	if (got->state != want->state || got->attempts != want->attempts ||
	    got->uncertain != want->uncertain || got->is_open != want->is_open)
		fail_msg("%s: %s, %u attempts, %u uncertain, open %d",
			 history->name, envelope_state_name(got->state),
			 got->attempts, got->uncertain, got->is_open);
	/* What happens to one recipient is nothing to the other. */
	assert_int_equal(at(ledger, &one, 1)->state, ENVELOPE_WAITING);
	assert_false(at(ledger, &one, 1)->is_open);
}

static void the_latest_record_says_the_state(void **state)
{
	for (size_t i = 0; i < COUNT(histories); i++) {
		struct spool_ledger *ledger = spool_ledger_new();

		put_message(ledger, &one, 1);
		replay(ledger, &histories[i]);
		check(ledger, &histories[i]);
		spool_ledger_free(ledger);
	}
}

static void a_moved_message_keeps_its_states(void **state)
{
	for (size_t i = 0; i < COUNT(histories); i++) {
		struct spool_ledger *ledger = spool_ledger_new();
		size_t count;

		put_message(ledger, &one, 1);
		put_message(ledger, &two, 2);
		replay(ledger, &histories[i]);
		put_message(ledger, &one, 1);
		check(ledger, &histories[i]);
		spool_ledger_messages(ledger, &count);
		assert_int_equal(count, 2);
		spool_ledger_free(ledger);
	}
}

static void a_message_is_final_once_every_envelope_is(void **state)
{
	struct spool_ledger *ledger = spool_ledger_new();

	put_message(ledger, &one, 1);
	put_end(ledger, &one, 0, 1, ENVELOPE_DELIVERED, false);
	assert_false(ledger_message_is_final(spool_ledger_find(ledger, &one)));
	put_state(ledger, &one, 1, ENVELOPE_DISCARDED);
	assert_true(ledger_message_is_final(spool_ledger_find(ledger, &one)));
	spool_ledger_free(ledger);
}

static void records_about_a_lost_message_are_orphans(void **state)
{
	struct spool_ledger *ledger = spool_ledger_new();

	put_message(ledger, &one, 1);
	put_end(ledger, &two, 0, 1, ENVELOPE_DELIVERED, false);
	put_state(ledger, &one, 2, ENVELOPE_HELD);
	assert_int_equal(spool_ledger_orphans(ledger), 2);
	assert_int_equal(spool_ledger_unreadable(ledger), 0);
	assert_int_equal(at(ledger, &one, 0)->state, ENVELOPE_WAITING);
	spool_ledger_free(ledger);
}

static void a_payload_of_another_kind_is_unreadable(void **state)
{
	static const enum record_kind kinds[] = { RECORD_MESSAGE,
						  RECORD_ATTEMPT,
						  RECORD_STATE };
	struct spool_ledger *ledger = spool_ledger_new();

	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct buf payload = BUF_INIT;

		buf_adds(&payload, "no such record");
		put(ledger, kinds[i], &payload);
	}
	assert_int_equal(spool_ledger_unreadable(ledger), 3);
	spool_ledger_free(ledger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_keeps_what_its_record_says),
		cmocka_unit_test(messages_come_in_the_order_of_acceptance),
		cmocka_unit_test(the_latest_record_says_the_state),
		cmocka_unit_test(a_moved_message_keeps_its_states),
		cmocka_unit_test(a_message_is_final_once_every_envelope_is),
		cmocka_unit_test(records_about_a_lost_message_are_orphans),
		cmocka_unit_test(a_payload_of_another_kind_is_unreadable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
