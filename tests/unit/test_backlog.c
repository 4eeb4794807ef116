#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "daemon/backlog.h"
#include "spool/segment.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	GIVE_UP_MS = 300000,
	MOST = 24, /* a page is of 3, and 5 that move are enough */
	PAGE = 3,
	BOXES = 6,
	CLAIMS = 10,
	FEW = 10,
	LINES = 1000,
	HISTORY = 3000,
	HELD_MAX = 40000
};

struct scene {
	struct loop *loop;
	struct loop_timer *step, *late;
	struct index *index;
	struct queue *queue;
	struct queue_domain *domains[2];
	struct backlog *backlog;
	char dir[64];
	uint64_t sequence, records;
	bool (*turn)(struct scene *scene); /* false: it is over */
	unsigned pages, errors, firsts;
	/* The history. */
	int64_t now_ms;
	unsigned steps;
	uint64_t accepted, delivered, most_here;
	unsigned naps; /* looks at a domain of which something slept */
	uint64_t last[2][BOXES]; /* sequence of the last that was claimed */
	struct held {
		struct id id;
		uint64_t sequence;
		uint32_t index;
	} held[HELD_MAX];
	size_t held_count, tried;
	bool reaching;
	struct queue_domain *line_domain; /* that is released */
	char line[40];
};

static const char *const names[] = { "a.example", "b.example" };

static void hold(struct scene *scene, struct queue_envelope *envelope);

static void on_envelope(void *ctx, struct queue_envelope *envelope,
			const struct index_live *live)
{
	struct scene *scene = ctx;
	uint64_t here = queue_here(scene->queue, "acme");

	if (live && live->next_ms > 0 && !envelope->held)
		queue_defer(envelope, live->next_ms);
	if (live)
		envelope->attempts = live->attempts;
	if (!envelope->held && envelope->mailbox->is_held)
		hold(scene, envelope);
	if (here > scene->most_here)
		scene->most_here = here;
}

static void on_page(void *ctx, const char *plan)
{
	struct scene *scene = ctx;

	assert_string_equal(plan, "acme");
	scene->pages++;
}

static void on_error(void *ctx, const char *plan, bool first,
		     const struct err *err)
{
	struct scene *scene = ctx;

	scene->errors++;
	scene->firsts += first;
}

static const struct backlog_owner owner = { on_envelope, on_page, on_error };

static void too_late(void *ctx)
{
	fail_msg("it did not come to pass in time");
}

static void step(void *ctx)
{
	struct scene *scene = ctx;

	if (scene->turn(scene))
		loop_timer_arm(scene->step, 0);
	else
		loop_stop(scene->loop);
}

static void run(struct scene *scene, bool (*turn)(struct scene *scene))
{
	scene->turn = turn;
	loop_timer_arm(scene->step, 0);
	loop_timer_arm(scene->late, GIVE_UP_MS);
	loop_run(scene->loop);
}

static void open_all(struct scene *scene)
{
	struct err err = ERR_INIT;
	bool rebuilt;

	scene->index =
		index_open(scene->loop, scene->dir, NULL, &rebuilt, &err);
	assert_non_null(scene->index);
	if (rebuilt)
		index_evidence_is_read(scene->index);
	scene->queue = queue_new();
	for (size_t i = 0; i < COUNT(names); i++)
		scene->domains[i] =
			queue_domain(scene->queue, "acme", names[i]);
	scene->backlog = backlog_new(scene->loop, scene->index, scene->queue,
				     MOST, &owner, scene);
	for (size_t i = 0; i < COUNT(names); i++)
		queue_set_open(scene->domains[i], true);
}

static void close_all(struct scene *scene)
{
	index_close(scene->index);
	backlog_free(scene->backlog);
	queue_free(scene->queue);
}

static int scene_new(void **state)
{
	struct scene *scene = mem_alloc(sizeof(*scene));
	struct err err = ERR_INIT;

	snprintf(scene->dir, sizeof(scene->dir),
		 "/tmp/tideover-backlog-XXXXXX");
	assert_non_null(mkdtemp(scene->dir));
	scene->loop = loop_new(&err);
	scene->step = loop_timer_new(scene->loop, step, scene);
	scene->late = loop_timer_new(scene->loop, too_late, NULL);
	scene->now_ms = 1000;
	open_all(scene);
	*state = scene;
	return 0;
}

static int scene_free(void **state)
{
	struct scene *scene = *state;
	char *remove = mem_printf("rm -rf %s", scene->dir);

	close_all(scene);
	loop_timer_free(scene->step);
	loop_timer_free(scene->late);
	loop_free(scene->loop);
	assert_int_equal(system(remove), 0);
	free(remove);
	free(scene);
	return 0;
}

/* To the index, as store.c does. */
static struct spool_place put(struct scene *scene, enum record_kind kind,
			      struct buf *payload)
{
	struct scan_record record = {
		.kind = kind,
		.segment = 1,
		.offset = 64 * ++scene->records,
		.payload = buf_slice(payload),
	};
	struct spool_place place = { .segment = 1, .offset = record.offset };

	index_put(scene->index, &record);
	buf_release(payload);
	return place;
}

/* "box@domain" for each bit of `boxes` below BOXES in a, above in b. */
static void arrive_as(struct scene *scene, uint64_t sequence, unsigned boxes)
{
	char text[2 * BOXES][40];
	struct slice paths[2 * BOXES];
	struct record_message message = {
		.id = id_new(scene->now_ms),
		.sequence = sequence,
		.accepted_ms = scene->now_ms,
		.plan = slice("acme"),
		.reverse_path = slice("s@c.example"),
		.forward_paths = paths,
	};
	struct buf payload = BUF_INIT;
	struct spool_place place;

	for (unsigned i = 0; i < 2 * BOXES; i++) {
		size_t n = message.envelope_count;

		if (!(boxes & (1u << i)))
			continue;
		snprintf(text[n], sizeof(text[n]), "box%u@%s", i % BOXES,
			 names[i / BOXES]);
		paths[n] = slice(text[n]);
		message.envelope_count++;
	}
	record_message_encode(&message, &payload);
	place = put(scene, RECORD_MESSAGE, &payload);
	backlog_accept(scene->backlog, &message, &place);
	scene->accepted += message.envelope_count;
}

static void arrive(struct scene *scene, unsigned boxes)
{
	arrive_as(scene, ++scene->sequence, boxes);
}

static void end_attempt(struct scene *scene, struct queue_envelope *envelope,
			enum envelope_state outcome, int64_t next_ms)
{
	struct record_attempt attempt = {
		.id = envelope->message->id,
		.envelope = envelope->index,
		.number = ++envelope->attempts,
		.at_ms = scene->now_ms,
		.outcome = outcome,
		.next_ms = next_ms,
	};
	struct buf payload = BUF_INIT;

	record_attempt_encode(&attempt, &payload);
	put(scene, RECORD_ATTEMPT, &payload);
}

static void change(struct scene *scene, struct queue_envelope *envelope,
		   enum envelope_state state)
{
	struct record_state record = {
		.id = envelope->message->id,
		.envelope = envelope->index,
		.state = state,
		.mailbox = state == ENVELOPE_HELD,
		.at_ms = scene->now_ms,
	};
	struct buf payload = BUF_INIT;

	record_state_encode(&record, &payload);
	put(scene, RECORD_STATE, &payload);
}

/* With its mailbox. */
static void hold(struct scene *scene, struct queue_envelope *envelope)
{
	change(scene, envelope, ENVELOPE_HELD);
	queue_hold(envelope, true);
	assert_true(scene->held_count < HELD_MAX);
	scene->held[scene->held_count++] =
		(struct held){ envelope->message->id,
			       envelope->message->sequence, envelope->index };
}

static void deliver(struct scene *scene, struct queue_envelope *envelope)
{
	end_attempt(scene, envelope, ENVELOPE_DELIVERED, 0);
	queue_final(envelope, ENVELOPE_DELIVERED);
	scene->delivered++;
}

static void check_order(struct scene *scene, size_t domain,
			const struct queue_envelope *envelope)
{
	unsigned box = (unsigned)(envelope->forward_path[3] - '0');
	uint64_t *last = &scene->last[domain][box];

	if (envelope->message->sequence < *last)
		fail_msg("box%u@%s: %llu after %llu", box, names[domain],
			 (unsigned long long)envelope->message->sequence,
			 (unsigned long long)*last);
	*last = envelope->message->sequence;
}

/* All that is due; `deferred` of 100 wait, `held` of 100 are held. */
static void work(struct scene *scene, size_t domain, int deferred, int held)
{
	struct queue_envelope *claims[CLAIMS];
	size_t count = queue_claim(scene->domains[domain], scene->now_ms,
				   claims, CLAIMS);

	for (size_t i = 0; i < count; i++) {
		int dice = rand() % 100;

		check_order(scene, domain, claims[i]);
		if (dice < deferred) {
			int64_t next = scene->now_ms + 1 + rand() % 400;

			end_attempt(scene, claims[i], ENVELOPE_WAITING, next);
			queue_defer(claims[i], next);
		} else if (dice < deferred + held) {
			hold(scene, claims[i]);
		} else {
			deliver(scene, claims[i]);
		}
	}
}

static void reached(void *ctx, const struct err *err)
{
	struct scene *scene = ctx;

	assert_null(err);
	scene->reaching = false;
}

/* Then what sleeps of its line, until nothing does. */
static void fetched(void *ctx, const struct err *err)
{
	struct scene *scene = ctx;
	const struct held *last = &scene->held[scene->held_count - 1];
	const struct queue_envelope *envelope =
		queue_find_envelope(scene->queue, &last->id, last->index);
	struct queue_mailbox *mailbox;
	uint64_t more[FEW];
	size_t count;

	assert_null(err);
	if (!*scene->line && (!envelope || !envelope->held)) {
		scene->held_count--; /* with another, and meanwhile */
		scene->reaching = false;
		return;
	}
	if (!*scene->line) {
		scene->line_domain = envelope->mailbox->domain;
		snprintf(scene->line, sizeof(scene->line), "%s",
			 envelope->forward_path);
	}
	mailbox = queue_find_mailbox(scene->line_domain, slice(scene->line));
	assert_non_null(mailbox);
	list_each (it, next, &mailbox->held) {
		struct queue_envelope *one =
			list_entry(it, struct queue_envelope, line);

		change(scene, one, ENVELOPE_WAITING);
		queue_release(one, 0);
	}
	count = queue_asleep(scene->line_domain, slice(scene->line),
			     DORMANT_HOLDING, more, FEW);
	if (count > 0) {
		backlog_fetch(scene->backlog, "acme", 0, more,
			      count < FEW ? count : FEW, fetched, scene);
		return;
	}
	*scene->line = '\0';
	scene->held_count--;
	scene->reaching = false;
}

/* Those of a mailbox that were held together are released together, so that
 * nobody passes; the last that was held first. */
static void release(struct scene *scene)
{
	const struct held *last;
	const struct queue_envelope *envelope;

	if (scene->held_count == 0 || scene->reaching)
		return;
	last = &scene->held[scene->held_count - 1];
	envelope = queue_find_envelope(scene->queue, &last->id, last->index);
	if (envelope && !envelope->held) {
		scene->held_count--; /* with another of its line */
		return;
	}
	if (!envelope && backlog_has(scene->backlog, "acme", last->sequence)) {
		scene->held_count--; /* the same, and it is gone */
		return;
	}
	scene->reaching = true;
	backlog_fetch(scene->backlog, "acme", UINT64_MAX, &last->sequence, 1,
		      fetched, scene);
}

static bool is_done(const struct scene *scene)
{
	return scene->delivered == scene->accepted;
}

static void check_end(const struct scene *scene)
{
	assert_int_equal(queue_here(scene->queue, "acme"), 0);
	for (size_t i = 0; i < COUNT(names); i++) {
		assert_int_equal(scene->domains[i]->ledger.waiting, 0);
		assert_int_equal(scene->domains[i]->moving, 0);
		assert_int_equal(scene->domains[i]->here_held, 0);
		assert_int_equal(scene->domains[i]->asleep, 0);
		assert_int_equal(scene->domains[i]->mailboxes.count, 0);
	}
}

/* Few of them, mostly. */
static unsigned some_boxes(void)
{
	unsigned boxes = (unsigned)rand() & 0x7df & ~1u;

	if (rand() % 8 > 0)
		boxes &= (unsigned)rand() & (unsigned)rand();
	return boxes ? boxes : 2u << rand() % (BOXES - 1);
}

/* Mail comes and goes; what is late has a mailbox of its own. */
static bool history(struct scene *scene)
{
	static uint64_t late_sequence;
	bool ending = scene->steps >= HISTORY;

	scene->now_ms++;
	if (!ending && rand() % 3 > 0) {
		for (int burst = rand() % 8; burst > 0; burst--)
			arrive(scene, some_boxes());
		scene->steps++;
	}
	if (late_sequence) {
		arrive_as(scene, late_sequence, 1);
		late_sequence = 0;
	} else if (!ending && rand() % 10 == 0) {
		late_sequence = ++scene->sequence;
	}
	if (rand() % 50 == 0)
		queue_set_open(scene->domains[1],
			       !scene->domains[1]->open || ending);
	for (size_t i = 0; i < COUNT(names); i++)
		scene->naps += !ending && scene->domains[i]->asleep > 0;
	work(scene, 0, ending ? 0 : 20, ending ? 0 : 3);
	if (scene->domains[1]->open)
		work(scene, 1, ending ? 0 : 5, 0);
	if (ending || rand() % 200 == 0)
		release(scene);
	if (ending)
		queue_set_open(scene->domains[1], true);
	return !ending || late_sequence || !is_done(scene);
}

static void any_history_is_delivered_once_and_in_order(void **state)
{
	struct scene *scene = *state;

	srand(7);
	/* The late mailbox has no order to keep. */
	memset(scene->last, 0, sizeof(scene->last));
	run(scene, history);
	assert_true(scene->pages > 50);
	assert_true(scene->naps > 100);
	assert_int_equal(scene->errors, 0);
	check_end(scene);
}

static bool drain(struct scene *scene)
{
	scene->now_ms++;
	work(scene, 0, 0, 0);
	work(scene, 1, 0, 0);
	return !is_done(scene);
}

static void little_mail_has_no_edge(void **state)
{
	struct scene *scene = *state;

	for (int i = 0; i < MOST - 2; i++)
		arrive(scene, 2);
	assert_true(backlog_is_whole(scene->backlog));
	assert_int_equal(queue_here(scene->queue, "acme"), MOST - 2);
	run(scene, drain);
	assert_int_equal(scene->pages, 0);
	check_end(scene);
}

static void much_mail_costs_bounded_memory(void **state)
{
	struct scene *scene = *state;

	for (int i = 0; i < 1000; i++)
		arrive(scene, 2u << i % 4);
	assert_false(backlog_is_whole(scene->backlog));
	assert_int_equal(scene->domains[0]->ledger.waiting, 1000);
	run(scene, drain);
	assert_true(scene->most_here <= MOST);
	assert_true(backlog_is_whole(scene->backlog));
	check_end(scene);
}

/* One mailbox has more mail than fits, and waits. */
static bool all_but_the_first(struct scene *scene)
{
	struct queue_envelope *claims[CLAIMS];
	size_t count =
		queue_claim(scene->domains[0], scene->now_ms, claims, CLAIMS);

	for (size_t i = 0; i < count; i++) {
		if (strncmp(claims[i]->forward_path, "box1@", 5) == 0)
			queue_defer(claims[i], scene->now_ms + 1000000);
		else
			deliver(scene, claims[i]);
	}
	return scene->delivered < 5;
}

static void a_line_that_waits_keeps_nobody_behind_it(void **state)
{
	struct scene *scene = *state;

	for (int i = 0; i < 100 * MOST; i++)
		arrive(scene, 2);
	for (int i = 0; i < 5; i++)
		arrive(scene, 4);
	run(scene, all_but_the_first);
	assert_true(scene->most_here <= MOST + PAGE);
	scene->now_ms += 2000000;
	run(scene, drain);
	assert_true(scene->most_here <= MOST + PAGE);
	check_end(scene);
}

/* Nor does a mailbox that nobody has. */
static bool first_is_nobody(struct scene *scene)
{
	struct queue_envelope *claims[CLAIMS];
	size_t count =
		queue_claim(scene->domains[0], scene->now_ms, claims, CLAIMS);

	for (size_t i = 0; i < count; i++) {
		if (strncmp(claims[i]->forward_path, "box1@", 5) != 0) {
			deliver(scene, claims[i]);
			continue;
		}
		end_attempt(scene, claims[i], ENVELOPE_WAITING, 0);
		hold(scene, claims[i]);
		list_each (it, next, &claims[i]->mailbox->line)
			hold(scene,
			     list_entry(it, struct queue_envelope, line));
	}
	return scene->delivered < 5;
}

static bool release_all(struct scene *scene)
{
	release(scene);
	return scene->held_count > 0;
}

static void a_line_that_is_held_keeps_nobody_behind_it(void **state)
{
	struct scene *scene = *state;

	for (int i = 0; i < 100 * MOST; i++)
		arrive(scene, 2);
	for (int i = 0; i < 5; i++)
		arrive(scene, 4);
	run(scene, first_is_nobody);
	assert_true(scene->most_here <= MOST + PAGE);
	assert_int_equal(scene->domains[0]->ledger.held, 100 * MOST);
	run(scene, release_all);
	run(scene, drain);
	check_end(scene);
}

/* Nor does a domain whose valve is shut. */
static bool only_b(struct scene *scene)
{
	work(scene, 1, 0, 0);
	return scene->delivered < 5;
}

static void a_shut_domain_keeps_nobody_behind_it(void **state)
{
	struct scene *scene = *state;

	queue_set_open(scene->domains[0], false);
	for (int i = 0; i < 100 * MOST; i++)
		arrive(scene, 2);
	for (int i = 0; i < 5; i++)
		arrive(scene, 2u << BOXES);
	run(scene, only_b);
	assert_true(scene->most_here <= MOST + PAGE);
	queue_set_open(scene->domains[0], true);
	run(scene, drain);
	check_end(scene);
}

/* Each has a mailbox of its own, and each waits. */
static void arrive_alone(struct scene *scene)
{
	char text[40];
	struct slice path;
	struct record_message message = {
		.id = id_new(scene->now_ms),
		.sequence = ++scene->sequence,
		.accepted_ms = scene->now_ms,
		.plan = slice("acme"),
		.reverse_path = slice("s@c.example"),
		.forward_paths = &path,
		.envelope_count = 1,
	};
	struct buf payload = BUF_INIT;
	struct spool_place place;

	snprintf(text, sizeof(text), "one%llu@%s",
		 (unsigned long long)scene->sequence, names[0]);
	path = slice(text);
	record_message_encode(&message, &payload);
	place = put(scene, RECORD_MESSAGE, &payload);
	backlog_accept(scene->backlog, &message, &place);
	scene->accepted++;
}

static bool defer_each_once(struct scene *scene)
{
	struct queue_envelope *claims[CLAIMS];
	size_t count =
		queue_claim(scene->domains[0], scene->now_ms, claims, CLAIMS);

	for (size_t i = 0; i < count; i++) {
		int64_t next = scene->now_ms + 100000;

		assert_int_equal(claims[i]->attempts, 0);
		end_attempt(scene, claims[i], ENVELOPE_WAITING, next);
		queue_defer(claims[i], next);
		scene->tried++;
	}
	return scene->tried < LINES;
}

/* Before its time comes nothing of it is claimed again. */
static bool second_try(struct scene *scene)
{
	struct queue_envelope *claims[CLAIMS];
	size_t count =
		queue_claim(scene->domains[0], scene->now_ms, claims, CLAIMS);

	for (size_t i = 0; i < count; i++) {
		assert_true(scene->now_ms >= 101000);
		assert_int_equal(claims[i]->attempts, 1);
		deliver(scene, claims[i]);
	}
	if (queue_next_due(scene->domains[0]) > scene->now_ms &&
	    scene->now_ms < 101000)
		scene->now_ms += 1000;
	return !is_done(scene);
}

static void many_lines_that_wait_cost_bounded_memory(void **state)
{
	struct scene *scene = *state;

	for (int i = 0; i < LINES; i++)
		arrive_alone(scene);
	run(scene, defer_each_once);
	assert_true(scene->domains[0]->asleep > LINES - MOST - PAGE);
	assert_true(scene->domains[0]->mailboxes.count <= MOST + PAGE);
	assert_int_equal(queue_oldest_ms(scene->domains[0]), 1000);
	run(scene, second_try);
	assert_true(scene->most_here <= MOST + PAGE);
	check_end(scene);
}

static bool hold_each(struct scene *scene)
{
	struct queue_envelope *claims[CLAIMS];
	size_t count =
		queue_claim(scene->domains[0], scene->now_ms, claims, CLAIMS);

	for (size_t i = 0; i < count; i++) {
		end_attempt(scene, claims[i], ENVELOPE_WAITING, 0);
		hold(scene, claims[i]);
	}
	return scene->held_count < LINES;
}

static bool deliver_due(struct scene *scene)
{
	struct queue_envelope *claims[CLAIMS];
	size_t count =
		queue_claim(scene->domains[0], scene->now_ms, claims, CLAIMS);

	for (size_t i = 0; i < count; i++)
		deliver(scene, claims[i]);
	return !is_done(scene);
}

static void many_lines_that_are_held_cost_bounded_memory(void **state)
{
	struct scene *scene = *state;

	for (int i = 0; i < LINES; i++)
		arrive_alone(scene);
	run(scene, hold_each);
	assert_true(scene->most_here <= MOST + PAGE);
	assert_int_equal(scene->domains[0]->ledger.held, LINES);
	assert_true(scene->domains[0]->asleep_held > LINES - MOST - PAGE);
	run(scene, release_all);
	run(scene, deliver_due);
	assert_true(scene->most_here <= MOST + PAGE);
	check_end(scene);
}

static bool first_page(struct scene *scene)
{
	return backlog_loading(scene->backlog) > 0;
}

static void ledger_came(void *ctx, struct json *result, const struct err *err)
{
	struct scene *scene = ctx;

	assert_null(err);
	for (const struct json *row = json_first(result); row;
	     row = json_next(row)) {
		struct queue_domain *domain = queue_domain(
			scene->queue, "acme", json_get_text(row, "domain"));

		domain->ledger.waiting +=
			(uint64_t)json_get_number(row, "waiting", 0);
		domain->ledger.held +=
			(uint64_t)json_get_number(row, "held", 0);
	}
	json_free(result);
}

static void restart(struct scene *scene)
{
	close_all(scene);
	open_all(scene);
	index_ledger(scene->index, "acme", ledger_came, scene);
	backlog_load(scene->backlog, "acme", scene->sequence);
	assert_int_equal(backlog_loading(scene->backlog), 1);
}

static void a_restart_begins_with_the_oldest(void **state)
{
	struct scene *scene = *state;

	for (int i = 0; i < 500; i++)
		arrive(scene, 2u << i % 4);
	restart(scene);
	/* Before anything is back, and younger than all of it. */
	arrive(scene, 2);
	run(scene, first_page);
	assert_true(queue_here(scene->queue, "acme") < MOST);
	assert_true(backlog_has(scene->backlog, "acme", 1));
	assert_false(backlog_has(scene->backlog, "acme", 500));
	run(scene, drain);
	assert_int_equal(scene->delivered, 501);
	check_end(scene);
}

/* By a start whose index could not be written. */
static void a_sequence_given_twice_loses_no_message(void **state)
{
	struct scene *scene = *state;

	for (uint64_t i = 1; i <= 10; i++)
		arrive_as(scene, i, 2);
	for (uint64_t i = 6; i <= 12; i++)
		arrive_as(scene, i, 2);
	restart(scene);
	run(scene, first_page);
	run(scene, drain);
	assert_int_equal(scene->delivered, 17);
	check_end(scene);
}

static bool reaches(struct scene *scene)
{
	return scene->reaching;
}

static const uint64_t these[] = { 1, 100, 150 };

static void found(void *ctx, const struct err *err)
{
	struct scene *scene = ctx;

	for (size_t i = 0; i < COUNT(these); i++)
		assert_true(backlog_has(scene->backlog, "acme", these[i]));
	reached(ctx, err);
}

static void an_operator_reaches_what_is_outside(void **state)
{
	struct scene *scene = *state;

	for (int i = 0; i < 200; i++)
		arrive(scene, 2);
	scene->reaching = true;
	backlog_fetch(scene->backlog, "acme", 150, these, COUNT(these), found,
		      scene);
	run(scene, reaches);
	assert_true(queue_here(scene->queue, "acme") <= MOST + 2 * PAGE);
	scene->reaching = true;
	backlog_fetch(scene->backlog, "acme", UINT64_MAX, NULL, 0, reached,
		      scene);
	run(scene, reaches);
	/* It knows of all, and most of it sleeps. */
	assert_int_equal(queue_here(scene->queue, "acme") +
				 scene->domains[0]->asleep,
			 200);
	assert_true(queue_here(scene->queue, "acme") <= MOST + 2 * PAGE);
	/* At once, and for a plan that nobody knows as well. */
	scene->reaching = true;
	backlog_fetch(scene->backlog, "acme", 200, NULL, 0, reached, scene);
	assert_false(scene->reaching);
	scene->reaching = true;
	backlog_fetch(scene->backlog, "other", 1, NULL, 0, reached, scene);
	assert_false(scene->reaching);
	run(scene, drain);
	check_end(scene);
}

struct recalled {
	struct scene *scene;
	uint64_t after;
	size_t count, pages;
	bool over;
};

static void recall_came(void *ctx, struct json *result, const struct err *err)
{
	struct recalled *recalled = ctx;
	size_t count = 0;

	assert_null(err);
	recalled->pages++;
	for (const struct json *row = json_first(result); row;
	     row = json_next(row), count++) {
		uint64_t sequence =
			(uint64_t)json_get_number(row, "sequence", 0);

		assert_true(sequence >= recalled->after);
		recalled->after = sequence;
	}
	json_free(result);
	recalled->count += count;
	if (count >= INDEX_RECENT_PAGE)
		index_recent(recalled->scene->index, "acme", 0, recalled->after,
			     recall_came, recalled);
	else
		recalled->over = true;
	if (recalled->over)
		loop_stop(recalled->scene->loop);
}

/* Limits are kept over a restart, however much was delivered. */
static void what_was_delivered_comes_back_page_by_page(void **state)
{
	struct scene *scene = *state;
	struct recalled recalled = { .scene = scene };

	for (int i = 0; i < INDEX_RECENT_PAGE / 2; i++)
		arrive(scene, 2 | 4 | 8u << BOXES);
	run(scene, drain);
	index_recent(scene->index, "acme", 0, 0, recall_came, &recalled);
	loop_run(scene->loop);
	assert_int_equal(recalled.count, scene->delivered);
	assert_int_equal(recalled.pages, 2);
}

static bool no_error_yet(struct scene *scene)
{
	return scene->errors == 0;
}

static void a_page_that_cannot_be_read_is_an_error(void **state)
{
	struct scene *scene = *state;
	char *path = mem_printf("%s/index.sqlite", scene->dir);
	char *sql = mem_printf("import sqlite3; d = sqlite3.connect('%s'); "
			       "d.execute('ALTER TABLE envelope RENAME TO x'); "
			       "d.commit()",
			       path);
	char *command = mem_printf("python3 -c \"%s\"", sql);

	for (int i = 0; i < 200; i++)
		arrive(scene, 2);
	restart(scene);
	run(scene, first_page);
	assert_int_equal(system(command), 0);
	while (scene->delivered < MOST / 2) {
		struct queue_envelope *claim;

		assert_int_equal(queue_claim(scene->domains[0], scene->now_ms,
					     &claim, 1),
				 1);
		queue_final(claim, ENVELOPE_DELIVERED);
		scene->delivered++;
		if (queue_next_due(scene->domains[0]) == INT64_MAX)
			break;
	}
	run(scene, no_error_yet);
	assert_int_equal(scene->firsts, 0);
	/* Nobody takes what could not be read for delivered. */
	assert_false(backlog_is_whole(scene->backlog));
	assert_false(backlog_has(scene->backlog, "acme", 200));
	free(command);
	free(sql);
	free(path);
}

#define scene_test(f) cmocka_unit_test_setup_teardown(f, scene_new, scene_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(little_mail_has_no_edge),
		scene_test(much_mail_costs_bounded_memory),
		scene_test(a_line_that_waits_keeps_nobody_behind_it),
		scene_test(a_line_that_is_held_keeps_nobody_behind_it),
		scene_test(many_lines_that_wait_cost_bounded_memory),
		scene_test(many_lines_that_are_held_cost_bounded_memory),
		scene_test(a_shut_domain_keeps_nobody_behind_it),
		scene_test(a_restart_begins_with_the_oldest),
		scene_test(a_sequence_given_twice_loses_no_message),
		scene_test(an_operator_reaches_what_is_outside),
		scene_test(what_was_delivered_comes_back_page_by_page),
		scene_test(a_page_that_cannot_be_read_is_an_error),
		scene_test(any_history_is_delivered_once_and_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
