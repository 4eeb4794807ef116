#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/act.h"
#include "daemon/spool_io.h"
#include "spool/scan.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	GIVE_UP_MS = 30000,
	ENVELOPES = 300 /* more than a batch of the spool */
};

/* So many writes fail from now on. */
static _Atomic int fail_writes;

static int disk_write(int fd, struct iovec *iov, size_t count, uint64_t offset)
{
	if (fail_writes == 0)
		return spool_io_kernel.write_at(fd, iov, count, offset);
	fail_writes--;
	errno = EIO;
	return -1;
}

static int disk_sync(int fd)
{
	return spool_io_kernel.sync(fd);
}

static const struct spool_io test_disk = { disk_write, disk_sync };

struct scene {
	struct loop *loop;
	struct loop_timer *late;
	struct store store;
	struct queue *queue;
	struct queue_domain *domain;
	char dir[64], *spool;
	struct queue_envelope *envelopes[ENVELOPES];
	bool failed;
	size_t done;
	size_t records; /* of a state, on disk */
};

static void too_late(void *ctx)
{
	fail_msg("it did not come to pass in time");
}

static int scene_new(void **state)
{
	struct scene *scene = mem_alloc(sizeof(*scene));
	struct err err = ERR_INIT;
	bool rebuilt;

	snprintf(scene->dir, sizeof(scene->dir), "/tmp/tideover-act-XXXXXX");
	assert_non_null(mkdtemp(scene->dir));
	scene->spool = mem_printf("%s/spool", scene->dir);
	scene->loop = loop_new(&err);
	scene->late = loop_timer_new(scene->loop, too_late, NULL);
	loop_timer_arm(scene->late, GIVE_UP_MS);
	spool_io_set(&test_disk);
	scene->store.loop = scene->loop;
	scene->store.spool = spool_writer_new(scene->loop, scene->spool,
					      &(struct scan_result){ 0 }, &err);
	scene->store.index =
		index_open(scene->loop, scene->dir, NULL, &rebuilt, &err);
	assert_non_null(scene->store.spool);
	assert_non_null(scene->store.index);
	scene->queue = queue_new();
	scene->domain = queue_domain(scene->queue, "acme", "acme.example");
	*state = scene;
	return 0;
}

static int scene_free(void **state)
{
	struct scene *scene = *state;
	char *remove = mem_printf("rm -rf %s", scene->dir);

	if (scene->store.spool)
		spool_writer_free(scene->store.spool);
	index_close(scene->store.index);
	queue_free(scene->queue);
	loop_timer_free(scene->late);
	loop_free(scene->loop);
	spool_io_set(&spool_io_kernel);
	assert_int_equal(system(remove), 0);
	free(remove);
	free(scene->spool);
	free(scene);
	return 0;
}

static void fill(struct scene *scene)
{
	for (size_t i = 0; i < ENVELOPES; i++) {
		struct id id = id_new(1000);
		struct queue_message *message = queue_add_message(
			scene->queue, &id, i + 1, 1000, slice("s@b.example"));
		char *path = mem_printf("box%zu@acme.example", i);

		scene->envelopes[i] = queue_add_envelope(scene->domain, message,
							 0, slice(path));
		queue_count_accepted(scene->domain, 0);
		free(path);
	}
}

static void acted(void *ctx, size_t done, const struct err *err)
{
	struct scene *scene = ctx;

	scene->failed = err != NULL;
	scene->done = done;
	loop_stop(scene->loop);
}

static int count_states(void *ctx, const struct scan_record *record,
			struct err *err)
{
	struct scene *scene = ctx;

	scene->records += record->kind == RECORD_STATE;
	return 0;
}

static void discard_all(struct scene *scene)
{
	static const struct scan_visitor visitor = { .on_record =
							     count_states };
	struct scan_result result;

	act_begin(&scene->store, scene->envelopes, ENVELOPES,
		  ENVELOPE_DISCARDED, "test", "no", acted, scene);
	loop_run(scene->loop);
	assert_int_equal(scan_dir(scene->spool, 0, 0, &visitor, scene, &result,
				  NULL),
			 0);
}

/* What the disk has is done, whatever became of the rest: the next start would
 * say so, and the queue must not say otherwise until then. */
static void what_is_durable_is_done_though_other_records_fail(void **state)
{
	struct scene *scene = *state;

	fill(scene);
	fail_writes = 1;
	discard_all(scene);
	assert_true(scene->failed);
	assert_in_range(scene->records, 1, ENVELOPES - 1);
	assert_int_equal(scene->done, scene->records);
	assert_int_equal(scene->domain->ledger.discarded, scene->records);
	/* They left their lines before, and stay out of them. */
	assert_int_equal(scene->domain->ledger.held,
			 ENVELOPES - scene->records);
	list_each (it, next, &scene->domain->held)
		assert_true(act_is_possible(
			list_entry(it, struct queue_envelope, all),
			ENVELOPE_DISCARDED));
}

static void all_of_it_is_done(void **state)
{
	struct scene *scene = *state;

	fill(scene);
	discard_all(scene);
	assert_false(scene->failed);
	assert_int_equal(scene->done, ENVELOPES);
	assert_int_equal(scene->domain->ledger.discarded, ENVELOPES);
}

#define scene_test(f) cmocka_unit_test_setup_teardown(f, scene_new, scene_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(what_is_durable_is_done_though_other_records_fail),
		scene_test(all_of_it_is_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
