#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "daemon/spool_space.h"
#include "spool/segment.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	GIVE_UP_MS = 300000,
	POLL_MS = 10,
	BODY = 250 * 1000,
	/* More than one segment, less than two. */
	MESSAGES = 300,
	WAITING = 40
};

struct scene {
	struct loop *loop;
	struct loop_timer *poll, *late;
	struct store store;
	struct queue *queue;
	struct queue_domain *domain;
	struct backlog *backlog; /* of plans without an edge */
	struct spool_space *space;
	char dir[64], *spool, *evidence;
	uint64_t sequence;
	unsigned open;
	bool keeps;
	unsigned asked, dropped_segment, drops;
	uint64_t dropped;
	bool was_there; /* the segment, when its copies were announced to go */
	bool (*until)(struct scene *scene);
	struct id last;
};

static bool is_there(const struct scene *scene, const char *name)
{
	char *path = mem_printf("%s/%s", scene->spool, name);
	bool there = file_exists(path);

	free(path);
	return there;
}

static bool keeps(void *ctx, const char *plan, int64_t delivered_ms)
{
	struct scene *scene = ctx;

	assert_string_equal(plan, "acme");
	assert_true(delivered_ms > 0);
	scene->asked++;
	return scene->keeps;
}

static void drops(void *ctx, const char *plan, uint64_t count, uint32_t segment)
{
	struct scene *scene = ctx;

	scene->drops++;
	scene->dropped = count;
	scene->dropped_segment = segment;
	scene->was_there = is_there(scene, "00000001.seg");
}

static const struct spool_space_owner owner = { keeps, drops };

static void on_envelope(void *ctx, struct queue_envelope *envelope,
			const struct index_live *live)
{
}

static void on_page(void *ctx, const char *plan)
{
}

static void on_error(void *ctx, const char *plan, bool first,
		     const struct err *err)
{
	fail_msg("%s", err->text);
}

static const struct backlog_owner backlog_owner = { on_envelope, on_page,
						    on_error };

static void too_late(void *ctx)
{
	fail_msg("it did not come to pass in time");
}

static void poll(void *ctx)
{
	struct scene *scene = ctx;

	if (scene->until(scene))
		loop_stop(scene->loop);
	else
		loop_timer_arm(scene->poll, POLL_MS);
}

static void run_until(struct scene *scene, bool (*until)(struct scene *scene))
{
	scene->until = until;
	loop_timer_arm(scene->poll, 0);
	loop_timer_arm(scene->late, GIVE_UP_MS);
	loop_run(scene->loop);
}

static void space_begin(struct scene *scene)
{
	scene->space = spool_space_new(&scene->store, scene->queue,
				       scene->backlog, scene->spool,
				       scene->evidence, false, &owner, scene);
	spool_space_begin(scene->space);
}

static int scene_new(void **state)
{
	struct scene *scene = mem_alloc(sizeof(*scene));
	struct err err = ERR_INIT;
	bool rebuilt;

	snprintf(scene->dir, sizeof(scene->dir), "/tmp/tideover-space-XXXXXX");
	assert_non_null(mkdtemp(scene->dir));
	scene->spool = mem_printf("%s/spool", scene->dir);
	scene->evidence = mem_printf("%s/evidence", scene->dir);
	scene->loop = loop_new(&err);
	scene->poll = loop_timer_new(scene->loop, poll, scene);
	scene->late = loop_timer_new(scene->loop, too_late, NULL);
	scene->store.loop = scene->loop;
	scene->store.spool = spool_writer_new(scene->loop, scene->spool,
					      &(struct scan_result){ 0 }, &err);
	scene->store.index =
		index_open(scene->loop, scene->dir, NULL, &rebuilt, &err);
	assert_non_null(scene->store.spool);
	assert_non_null(scene->store.index);
	scene->queue = queue_new();
	scene->domain = queue_domain(scene->queue, "acme", "acme.example");
	scene->backlog =
		backlog_new(scene->loop, scene->store.index, scene->queue,
			    1000000, &backlog_owner, scene);
	scene->keeps = true;
	space_begin(scene);
	*state = scene;
	return 0;
}

static int scene_free(void **state)
{
	struct scene *scene = *state;
	char *remove = mem_printf("rm -rf %s", scene->dir);

	spool_writer_free(scene->store.spool);
	index_close(scene->store.index);
	spool_space_free(scene->space);
	backlog_free(scene->backlog);
	queue_free(scene->queue);
	loop_timer_free(scene->poll);
	loop_timer_free(scene->late);
	loop_free(scene->loop);
	assert_int_equal(system(remove), 0);
	free(remove);
	free(scene->spool);
	free(scene->evidence);
	free(scene);
	return 0;
}

struct kept {
	struct scene *scene;
	struct id id;
	uint64_t sequence, bytes;
};

static void delivered(void *ctx, const struct spool_place *place,
		      const struct err *err)
{
	struct kept *kept = ctx;
	struct queue_envelope *envelope =
		queue_find_envelope(kept->scene->queue, &kept->id, 0);

	assert_null(err);
	queue_final(envelope, ENVELOPE_DELIVERED);
	kept->scene->open--;
	free(kept);
}

/* Accepted, and delivered at once. */
static void accepted(void *ctx, const struct spool_place *place,
		     const struct err *err)
{
	struct kept *kept = ctx;
	struct scene *scene = kept->scene;
	struct queue_message *message;
	struct record_attempt attempt = {
		.id = kept->id,
		.number = 1,
		.at_ms = 1000,
		.outcome = ENVELOPE_DELIVERED,
	};

	assert_null(err);
	message = queue_add_message(scene->queue, &kept->id, kept->sequence,
				    1000, slice("s@b.example"));
	message->body_bytes = kept->bytes;
	queue_set_place(scene->queue, message, place);
	/* Its outcome is on its way: it does not sleep. */
	queue_add_envelope(scene->domain, message, 0, slice("a@acme.example"))
		->acting = true;
	queue_count_accepted(scene->domain, kept->bytes);
	store_attempt(&scene->store, "acme", &attempt, delivered, kept);
}

/* For its record; empty with a file of its own. */
static struct buf body_of(struct scene *scene, const struct id *id,
			  size_t bytes, bool side)
{
	struct buf body = BUF_INIT;
	struct err err = ERR_INIT;
	struct spool_side *file;

	buf_reserve(&body, bytes);
	memset(body.p, 'x', bytes);
	body.len = bytes;
	if (!side)
		return body;
	file = spool_side_new(scene->store.spool, id, &err);
	assert_non_null(file);
	spool_side_write_take(file, &body);
	spool_side_end(file);
	return (struct buf)BUF_INIT;
}

static void arrive(struct scene *scene, size_t bytes, bool side)
{
	struct slice path = slice("a@acme.example");
	struct kept *kept = mem_alloc(sizeof(*kept));
	struct record_message message = {
		.id = id_new(1000),
		.sequence = ++scene->sequence,
		.accepted_ms = 1000,
		.plan = slice("acme"),
		.reverse_path = slice("s@b.example"),
		.body_bytes = bytes,
		.envelope_count = 1,
		.forward_paths = &path,
		.side_file = side,
	};
	struct buf body = body_of(scene, &message.id, bytes, side);

	scene->open++;
	scene->last = message.id;
	*kept = (struct kept){ scene, message.id, message.sequence, bytes };
	store_message(&scene->store, &message, &body, accepted, kept);
}

struct waiting {
	struct scene *scene;
	struct record_message message;
	struct slice path;
};

static void waits(void *ctx, const struct spool_place *place,
		  const struct err *err)
{
	struct waiting *waiting = ctx;

	assert_null(err);
	backlog_accept(waiting->scene->backlog, &waiting->message, place);
	waiting->scene->open--;
	free(waiting);
}

/* Accepted, and waits in a line of its own. */
static void arrive_to_wait(struct scene *scene, bool side)
{
	struct waiting *waiting = mem_alloc(sizeof(*waiting));
	struct buf body;

	waiting->scene = scene;
	waiting->path = slice("w@acme.example");
	waiting->message = (struct record_message){
		.id = id_new(1000),
		.sequence = ++scene->sequence,
		.accepted_ms = 1000,
		.plan = slice("acme"),
		.reverse_path = slice("s@b.example"),
		.body_bytes = 1,
		.envelope_count = 1,
		.forward_paths = &waiting->path,
		.side_file = side,
	};
	scene->open++;
	scene->last = waiting->message.id;
	body = body_of(scene, &waiting->message.id, 1, side);
	store_message(&scene->store, &waiting->message, &body, waits, waiting);
}

static bool nothing_is_open(struct scene *scene)
{
	return scene->open == 0;
}

static bool was_asked_again(struct scene *scene)
{
	return scene->asked >= 2;
}

static bool first_is_gone(struct scene *scene)
{
	return !is_there(scene, "00000001.seg");
}

static void fill(struct scene *scene)
{
	/* Not all at once: memory. */
	for (int i = 0; i < MESSAGES; i++) {
		arrive(scene, BODY, false);
		if (i % 20 == 19)
			run_until(scene, nothing_is_open);
	}
	run_until(scene, nothing_is_open);
	assert_true(spool_writer_head(scene->store.spool) > 1);
	scene->asked = 0;
}

static void delivered_mail_stays_while_it_is_kept(void **state)
{
	struct scene *scene = *state;

	fill(scene);
	run_until(scene, was_asked_again);
	assert_true(is_there(scene, "00000001.seg"));
	scene->keeps = false;
	run_until(scene, first_is_gone);
	assert_int_equal(scene->drops, 0);
}

static void a_short_disk_takes_copies_and_says_so_first(void **state)
{
	struct scene *scene = *state;

	fill(scene);
	run_until(scene, was_asked_again);
	assert_true(spool_space_can_free(scene->space));
	spool_space_is_short(scene->space, true);
	run_until(scene, first_is_gone);
	assert_int_equal(scene->drops, 1);
	assert_true(scene->was_there);
	assert_int_equal(scene->dropped_segment, 1);
	assert_in_range(scene->dropped, SEGMENT_BYTES / BODY - 10,
			SEGMENT_BYTES / BODY);
	/* The head never goes: now only a 452 helps. */
	assert_false(spool_space_can_free(scene->space));
}

static char *side_name(const struct id *id)
{
	return mem_printf("%s.msg", id->text);
}

static bool most_sleep(struct scene *scene)
{
	return scene->domain->asleep > WAITING / 2 &&
	       backlog_has(scene->backlog, "acme", UINT64_MAX);
}

static void fetched(void *ctx, const struct err *err)
{
	struct scene *scene = ctx;

	assert_null(err);
	assert_int_equal(scene->domain->asleep, 0);
	assert_int_equal(queue_here(scene->queue, "acme"), WAITING);
	list_each (it, next, &scene->domain->waiting) {
		const struct queue_envelope *one =
			list_entry(it, struct queue_envelope, all);

		assert_true(one->message->place.segment > 1);
	}
	scene->open = 0;
}

/* Its only line does not move, and memory has no room for it. */
static void what_sleeps_in_a_segment_moves_like_the_rest(void **state)
{
	struct scene *scene = *state;
	uint64_t sequences[WAITING];
	char *large = NULL;

	scene->keeps = false;
	spool_space_free(scene->space);
	backlog_free(scene->backlog);
	scene->backlog = backlog_new(scene->loop, scene->store.index,
				     scene->queue, 10, &backlog_owner, scene);
	space_begin(scene);
	for (int i = 0; i < WAITING; i++) {
		bool is_large = i == WAITING / 2;

		arrive_to_wait(scene, is_large);
		if (is_large)
			large = side_name(&scene->last);
	}
	run_until(scene, nothing_is_open);
	queue_defer(list_entry(scene->domain->waiting.next,
			       struct queue_envelope, all),
		    1);
	queue_set_open(scene->domain, true);
	run_until(scene, most_sleep);
	fill(scene);
	run_until(scene, first_is_gone);
	assert_true(is_there(scene, large));
	free(large);

	scene->open = 1;
	for (uint64_t i = 0; i < WAITING; i++)
		sequences[i] = i + 1;
	backlog_fetch(scene->backlog, "acme", UINT64_MAX, sequences, WAITING,
		      fetched, scene);
	run_until(scene, nothing_is_open);
}

/* A byte of the last one's body, in the segment that it came to. */
static void spoil(const struct scene *scene)
{
	const struct queue_message *message =
		queue_find(scene->queue, &scene->last);
	char *path =
		mem_printf("%s/%08u.seg", scene->spool, message->place.segment);
	int fd = open(path, O_WRONLY);

	assert_int_equal(pwrite(fd, "y", 1, (off_t)message->place.body), 1);
	close(fd);
	free(path);
}

static bool the_others_moved(struct scene *scene)
{
	return queue_segment_live(scene->queue, 1).messages == 1;
}

static void flushed(void *ctx)
{
	struct scene *scene = ctx;

	scene->open = 0;
}

/* No evidence has it, and nothing moved it. */
static void what_lives_and_is_damaged_keeps_its_segment(void **state)
{
	struct scene *scene = *state;
	struct id damaged;

	scene->keeps = false;
	for (int i = 0; i < WAITING; i++)
		arrive_to_wait(scene, false);
	run_until(scene, nothing_is_open);
	damaged = scene->last;
	spoil(scene);
	fill(scene);
	run_until(scene, the_others_moved);

	/* Behind the flush that the unlink waits for. */
	scene->open = 1;
	index_flush(scene->store.index, flushed, scene);
	run_until(scene, nothing_is_open);
	assert_true(is_there(scene, "00000001.seg"));

	/* Somebody gives it up. */
	queue_final(queue_find_envelope(scene->queue, &damaged, 0),
		    ENVELOPE_DISCARDED);
	spool_space_is_short(scene->space, true);
	run_until(scene, first_is_gone);
}

static struct id stray = { "00000000000000000000" };

static bool stray_is_gone(struct scene *scene)
{
	char *name = side_name(&stray);
	bool gone = !is_there(scene, name);

	free(name);
	return gone;
}

static void a_side_file_is_kept_as_long_as_its_copy(void **state)
{
	struct scene *scene = *state;
	char *path = mem_printf("%s/%s.msg", scene->spool, stray.text), *name;
	struct spool_place place = { .segment = 1 };
	struct err err = ERR_INIT;

	arrive(scene, 2 * RECORD_BODY_INLINE, true);
	run_until(scene, nothing_is_open);
	name = side_name(&scene->last);
	assert_true(is_there(scene, name));
	assert_true(spool_space_has(scene->space, &scene->last, &place));

	/* The next start: what nobody knows goes, the copy does not. */
	assert_int_equal(file_write(path, slice("x"), 0600, &err), 0);
	spool_space_free(scene->space);
	space_begin(scene);
	run_until(scene, stray_is_gone);
	assert_true(is_there(scene, name));

	/* Not wanted any more at the next one. */
	scene->keeps = false;
	assert_int_equal(file_write(path, slice("x"), 0600, &err), 0);
	spool_space_free(scene->space);
	space_begin(scene);
	run_until(scene, stray_is_gone);
	assert_false(is_there(scene, name));
	assert_false(spool_space_has(scene->space, &scene->last, &place));
	free(name);

	/* Without a wish to keep it goes with the delivery. */
	arrive(scene, 2 * RECORD_BODY_INLINE, true);
	run_until(scene, nothing_is_open);
	name = side_name(&scene->last);
	assert_false(is_there(scene, name));
	free(name);
	free(path);
}

/* A session writes its side file while the old mail is still read back. */
static void a_side_file_on_its_way_in_is_nobodys_to_remove(void **state)
{
	struct scene *scene = *state;
	char *path = mem_printf("%s/%s.msg", scene->spool, stray.text), *name;
	struct id coming = id_new(1000);
	struct err err = ERR_INIT;
	char *incoming = mem_printf("%s/%s.msg", scene->spool, coming.text);

	scene->keeps = false;
	assert_int_equal(file_write(path, slice("x"), 0600, &err), 0);
	spool_space_free(scene->space);
	scene->space = spool_space_new(&scene->store, scene->queue,
				       scene->backlog, scene->spool,
				       scene->evidence, false, &owner, scene);
	/* Nothing goes before the queue is loaded, not even on a full disk. */
	assert_int_equal(file_write(incoming, slice("x"), 0600, &err), 0);
	spool_space_is_short(scene->space, true);
	assert_false(spool_space_can_free(scene->space));
	arrive(scene, 1000, false);
	run_until(scene, nothing_is_open);
	name = side_name(&stray);
	assert_true(is_there(scene, name));
	free(name);

	spool_space_begin(scene->space);
	run_until(scene, stray_is_gone);
	name = side_name(&coming);
	assert_true(is_there(scene, name));
	free(name);
	free(path);
	free(incoming);
}

#define scene_test(f) cmocka_unit_test_setup_teardown(f, scene_new, scene_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(delivered_mail_stays_while_it_is_kept),
		scene_test(a_short_disk_takes_copies_and_says_so_first),
		scene_test(what_sleeps_in_a_segment_moves_like_the_rest),
		scene_test(what_lives_and_is_damaged_keeps_its_segment),
		scene_test(a_side_file_is_kept_as_long_as_its_copy),
		scene_test(a_side_file_on_its_way_in_is_nobodys_to_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
