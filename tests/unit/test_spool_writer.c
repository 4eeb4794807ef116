#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "daemon/spool_io.h"
#include "daemon/spool_writer.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	GIVE_UP_MS = 300000
};

/* The disk as the tests want it: which calls fail from now on, and how. */
static struct {
	_Atomic int fail_writes, fail_syncs; /* so many fail; -1: all */
	_Atomic int error;
	_Atomic int syncs;
	_Atomic bool stands; /* a sync takes as long as this is so */
} disk;

/* What was written to each file since it was synced last. */
static struct {
	pthread_mutex_t lock;
	struct {
		ino_t file;
		struct {
			uint64_t from, to;
		} open[64];
		size_t count;
	} at[64];
} files = { .lock = PTHREAD_MUTEX_INITIALIZER };

static size_t file_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	for (size_t i = 0; i < COUNT(files.at); i++) {
		if (files.at[i].file == 0)
			files.at[i].file = st.st_ino;
		if (files.at[i].file == st.st_ino)
			return i;
	}
	fail_msg("more files than expected");
	return 0;
}

static void note_write(int fd, uint64_t from, uint64_t to)
{
	size_t at, n;

	pthread_mutex_lock(&files.lock);
	at = file_of(fd);
	n = files.at[at].count++;
	assert_true(n < COUNT(files.at[at].open));
	files.at[at].open[n].from = from;
	files.at[at].open[n].to = to;
	pthread_mutex_unlock(&files.lock);
}

static void note_sync(int fd)
{
	pthread_mutex_lock(&files.lock);
	files.at[file_of(fd)].count = 0;
	pthread_mutex_unlock(&files.lock);
}

static int disk_write(int fd, struct iovec *iov, size_t count, uint64_t offset)
{
	uint64_t len = 0;

	if (disk.fail_writes) {
		disk.fail_writes -= disk.fail_writes > 0;
		errno = disk.error;
		return -1;
	}
	for (size_t i = 0; i < count; i++)
		len += iov[i].iov_len;
	note_write(fd, offset, offset + len);
	return spool_io_kernel.write_at(fd, iov, count, offset);
}

static int disk_sync(int fd)
{
	disk.syncs++;
	while (disk.stands)
		usleep(100);
	if (disk.fail_syncs) {
		disk.fail_syncs -= disk.fail_syncs > 0;
		errno = disk.error;
		return -1;
	}
	note_sync(fd);
	return spool_io_kernel.sync(fd);
}

static const struct spool_io test_disk = { disk_write, disk_sync };

struct scene {
	struct loop *loop;
	struct loop_timer *late;
	struct spool_writer *writer;
	char dir[64];
	unsigned kept, failed, open;
	struct spool_place last;
	unsigned order[64];
	unsigned ended;
};

struct one {
	struct scene *scene;
	unsigned number;
	bool returned;
};

static void too_late(void *ctx)
{
	fail_msg("the writer did not answer in time");
}

static int scene_new(void **state)
{
	struct scene *scene = mem_alloc(sizeof(*scene));
	struct err err = ERR_INIT;

	memset(&disk, 0, sizeof(disk));
	memset(files.at, 0, sizeof(files.at));
	spool_io_set(&test_disk);
	snprintf(scene->dir, sizeof(scene->dir), "/tmp/tideover-spool-XXXXXX");
	assert_non_null(mkdtemp(scene->dir));
	scene->loop = loop_new(&err);
	scene->late = loop_timer_new(scene->loop, too_late, NULL);
	scene->writer = spool_writer_new(scene->loop, scene->dir,
					 &(struct scan_result){ 0 }, &err);
	assert_non_null(scene->writer);
	*state = scene;
	return 0;
}

static int scene_free(void **state)
{
	struct scene *scene = *state;
	char *remove = mem_printf("rm -rf %s", scene->dir);

	spool_writer_free(scene->writer);
	loop_timer_free(scene->late);
	loop_free(scene->loop);
	spool_io_set(&spool_io_kernel);
	assert_int_equal(system(remove), 0);
	free(remove);
	free(scene);
	return 0;
}

/* No byte of the record's beginning waits for a sync. */
static bool is_synced(const struct scene *scene,
		      const struct spool_place *place)
{
	char *path = mem_printf("%s/%08u.seg", scene->dir, place->segment);
	int fd = open(path, O_RDONLY);
	bool synced = true;
	size_t at;

	assert_true(fd >= 0);
	pthread_mutex_lock(&files.lock);
	at = file_of(fd);
	for (size_t i = 0; i < files.at[at].count; i++)
		if (files.at[at].open[i].from <= place->offset &&
		    files.at[at].open[i].to > place->offset)
			synced = false;
	pthread_mutex_unlock(&files.lock);
	close(fd);
	free(path);
	return synced;
}

static void done(void *ctx, const struct spool_place *place,
		 struct slice payload, const struct err *err)
{
	struct one *one = ctx;
	struct scene *scene = one->scene;

	assert_true(one->returned);
	if (err) {
		scene->failed++;
	} else {
		scene->kept++;
		scene->last = *place;
		/* The promise itself: what was written is synced by now. */
		assert_true(is_synced(scene, place));
	}
	scene->order[scene->ended++ % COUNT(scene->order)] = one->number;
	free(one);
	if (--scene->open == 0)
		loop_stop(scene->loop);
}

static struct spool_append *append(struct scene *scene, unsigned number)
{
	struct one *one = mem_alloc(sizeof(*one));
	struct spool_append *append;
	struct buf payload = BUF_INIT, body = BUF_INIT;
	struct record_state held = {
		.id = id_new(number),
		.state = ENVELOPE_HELD,
		.by = slice("test"),
	};

	record_state_encode(&held, &payload);
	one->scene = scene;
	one->number = number;
	scene->open++;
	append = spool_writer_append_take(scene->writer, RECORD_STATE, &payload,
					  &body, done, one);
	one->returned = true;
	return append;
}

static void wait_all(struct scene *scene)
{
	loop_timer_arm(scene->late, GIVE_UP_MS);
	loop_run(scene->loop);
	loop_timer_stop(scene->late);
}

static int count_record(void *ctx, const struct scan_record *record,
			struct err *err)
{
	++*(unsigned *)ctx;
	return 0;
}

/* What a restart would find. */
static unsigned records_found(struct scene *scene, struct scan_result *result)
{
	static const struct scan_visitor visitor = { .on_record =
							     count_record };
	unsigned count = 0;

	assert_int_equal(
		scan_dir(scene->dir, 0, 0, &visitor, &count, result, NULL), 0);
	return count;
}

static unsigned records_on_disk(struct scene *scene)
{
	struct scan_result result;

	return records_found(scene, &result);
}

/* Of the last record that was kept. */
static void flip_a_byte(struct scene *scene, const struct spool_place *place)
{
	char *path = mem_printf("%s/%08u.seg", scene->dir, place->segment);
	int fd = open(path, O_RDWR);
	char byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)place->offset + 8), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)place->offset + 8), 1);
	close(fd);
	free(path);
}

static void done_follows_the_sync_in_the_order_of_the_appends(void **state)
{
	struct scene *scene = *state;

	for (unsigned i = 0; i < 50; i++)
		append(scene, i);
	wait_all(scene);
	assert_int_equal(scene->kept, 50);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(scene->order[i], i);
	assert_int_equal(records_on_disk(scene), 50);
	/* Group commit: far fewer syncs than records. */
	assert_true(disk.syncs < 30);
}

static void a_cancelled_append_is_never_told(void **state)
{
	struct scene *scene = *state;
	struct one *never = mem_alloc(sizeof(*never));
	struct buf payload = BUF_INIT, body = BUF_INIT;
	struct spool_append *gone;

	buf_adds(&payload, "x");
	/* `returned` stays false: a done would fail the assertion in it. */
	gone = spool_writer_append_take(scene->writer, RECORD_STATE, &payload,
					&body, done, never);
	spool_append_cancel(&gone);
	assert_null(gone);
	append(scene, 1);
	wait_all(scene);
	assert_int_equal(scene->kept, 1);
	free(never);
}

/* A full disk or a bad block: that segment is never written again. */
static void a_failed_write_moves_on_to_a_new_segment(void **state)
{
	struct scene *scene = *state;
	uint32_t before;

	append(scene, 1);
	wait_all(scene);
	before = scene->last.segment;
	disk.fail_writes = 1;
	disk.error = ENOSPC;
	append(scene, 2);
	wait_all(scene);
	assert_int_equal(scene->failed, 1);
	assert_null(spool_writer_broken(scene->writer));
	append(scene, 3);
	wait_all(scene);
	assert_int_equal(scene->kept, 2);
	assert_true(scene->last.segment > before);
	assert_int_equal(records_on_disk(scene), 2);
}

/* After EIO a second sync of the same file may lie. */
static void a_failed_sync_retires_the_segment(void **state)
{
	struct scene *scene = *state;
	uint32_t before;

	append(scene, 1);
	wait_all(scene);
	before = scene->last.segment;
	disk.fail_syncs = 1;
	disk.error = EIO;
	append(scene, 2);
	wait_all(scene);
	assert_int_equal(scene->failed, 1);
	append(scene, 3);
	wait_all(scene);
	assert_true(scene->last.segment > before);
}

static void a_second_failure_stops_acceptance(void **state)
{
	struct scene *scene = *state;

	disk.fail_syncs = -1;
	disk.error = EIO;
	for (unsigned i = 0; i < 4; i++) {
		append(scene, i);
		wait_all(scene);
	}
	assert_int_equal(scene->kept, 0);
	assert_int_equal(scene->failed, 4);
	assert_non_null(spool_writer_broken(scene->writer));
	/* And stays so, whatever the disk says now. */
	disk.fail_syncs = 0;
	append(scene, 5);
	wait_all(scene);
	assert_int_equal(scene->failed, 5);
}

/* It was acknowledged: the header of the next segment tells. */
/* What a failed open leaves, if it cannot be removed either. */
static void a_file_in_the_way_of_a_new_segment_is_passed(void **state)
{
	struct scene *scene = *state;
	char *path = mem_printf("%s/%08u.seg", scene->dir, 2);

	assert_int_equal(file_write(path, slice("x"), 0600, NULL), 0);
	disk.error = EIO;
	disk.fail_writes = 1;
	append(scene, 0);
	wait_all(scene);
	append(scene, 1);
	wait_all(scene);
	assert_int_equal(scene->failed, 1);
	assert_int_equal(scene->kept, 1);
	assert_int_equal(scene->last.segment, 3);
	assert_null(spool_writer_broken(scene->writer));
	free(path);
}

static void damage_to_the_last_record_of_a_segment_is_an_alert(void **state)
{
	struct scene *scene = *state;
	struct scan_result result;
	struct spool_place last;

	append(scene, 1);
	append(scene, 2);
	wait_all(scene);
	last = scene->last;
	disk.fail_syncs = 1;
	disk.error = EIO;
	append(scene, 3);
	wait_all(scene);
	append(scene, 4);
	wait_all(scene);
	/* Record 3 was written and not synced: whole or not, no alert. */
	flip_a_byte(scene, &last);
	records_found(scene, &result);
	assert_int_equal(result.damaged_ranges, 1);
}

static void an_orderly_end_vouches_for_its_last_record(void **state)
{
	struct scene *scene = *state;
	struct scan_result result;

	append(scene, 1);
	wait_all(scene);
	spool_writer_free(scene->writer);
	scene->writer = NULL;
	assert_int_equal(records_found(scene, &result), 1);
	assert_int_equal(result.bad_ranges, 0);
	flip_a_byte(scene, &scene->last);
	assert_int_equal(records_found(scene, &result), 0);
	assert_int_equal(result.damaged_ranges, 1);
}

static void so_is_damage_to_what_a_restart_found(void **state)
{
	struct scene *scene = *state;
	struct scan_result result;
	struct err err = ERR_INIT;

	append(scene, 1);
	wait_all(scene);
	spool_writer_free(scene->writer);
	assert_int_equal(records_found(scene, &result), 1);
	scene->writer =
		spool_writer_new(scene->loop, scene->dir, &result, &err);
	assert_non_null(scene->writer);
	assert_int_equal(records_found(scene, &result), 1);
	assert_int_equal(result.bad_ranges, 0);
	flip_a_byte(scene, &scene->last);
	assert_int_equal(records_found(scene, &result), 0);
	assert_int_equal(result.damaged_ranges, 1);
}

static void never_asked(void *ctx)
{
	fail_msg("nobody waits for this room");
}

/* The loop is busy while the thread does all of it: `room` of a side file is
 * posted behind the news that frees it. */
static void a_long_turn(void *ctx)
{
	struct scene *scene = ctx;
	struct spool_stats stats = { 0 };
	struct buf large = BUF_INIT;
	struct id id = id_new(1);
	struct spool_side *side = spool_side_new(scene->writer, &id, NULL);
	int syncs = disk.syncs;

	assert_non_null(side);
	spool_side_on_room(side, never_asked, NULL);
	buf_reserve(&large, 2 << 20);
	memset(large.p, 'x', 2 << 20);
	large.len = 2 << 20;
	spool_side_write_take(side, &large);
	assert_true(spool_writer_unwritten(scene->writer) <= 2 << 20);
	spool_side_end(side);
	append(scene, 2);
	disk.stands = false;
	while (stats.appends < 2 || disk.syncs == syncs)
		spool_writer_stats(scene->writer, &stats);
}

static void a_side_file_lives_as_long_as_its_room(void **state)
{
	struct scene *scene = *state;
	struct loop_timer *turn =
		loop_timer_new(scene->loop, a_long_turn, scene);

	/* Its sync stands until the turn has done its part. */
	disk.stands = true;
	append(scene, 1);
	loop_timer_arm(turn, 50);
	wait_all(scene);
	loop_timer_free(turn);
	assert_int_equal(scene->kept, 2);
	assert_int_equal(spool_writer_unwritten(scene->writer), 0);
}

enum {
	STANDS_MS = 30
};

static void another_comes(void *ctx)
{
	struct scene *scene = ctx;

	append(scene, 2);
	assert_int_equal(spool_writer_waiting(scene->writer), 2);
	assert_in_range(spool_writer_waits_ms(scene->writer, clock_mono_ms()),
			STANDS_MS, GIVE_UP_MS);
	disk.stands = false;
}

static void the_oldest_append_tells_how_long_it_waits(void **state)
{
	struct scene *scene = *state;
	struct loop_timer *turn =
		loop_timer_new(scene->loop, another_comes, scene);

	assert_int_equal(spool_writer_waits_ms(scene->writer, clock_mono_ms()),
			 0);
	disk.stands = true;
	append(scene, 1);
	loop_timer_arm(turn, STANDS_MS);
	wait_all(scene);
	loop_timer_free(turn);
	assert_int_equal(scene->kept, 2);
	assert_int_equal(spool_writer_waits_ms(scene->writer, clock_mono_ms()),
			 0);
	assert_int_equal(spool_writer_waiting(scene->writer), 0);
}

/* A disk that was full for a while needs no restart, and no file is left of
 * the attempts. */
static void a_full_disk_passes(void **state)
{
	struct scene *scene = *state;
	struct scan_result result;

	append(scene, 0);
	wait_all(scene);
	disk.fail_writes = -1;
	disk.error = ENOSPC;
	for (unsigned i = 1; i < 6; i++) {
		append(scene, i);
		wait_all(scene);
	}
	assert_int_equal(scene->failed, 5);
	assert_null(spool_writer_broken(scene->writer));
	disk.fail_writes = 0;
	append(scene, 6);
	wait_all(scene);
	assert_int_equal(scene->kept, 2);
	assert_int_equal(records_found(scene, &result), 2);
	assert_int_equal(result.next_segment, 3);
	assert_int_equal(result.bad_ranges, 0);
}

/* Neither does a crowd that had all descriptors. */
static void a_want_of_descriptors_passes(void **state)
{
	struct scene *scene = *state;
	struct rlimit limit, none;

	append(scene, 0);
	wait_all(scene);
	disk.fail_syncs = 1;
	disk.error = EIO;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ .rlim_max = limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (unsigned i = 1; i < 5; i++) {
		append(scene, i);
		wait_all(scene);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(scene->failed, 4);
	assert_null(spool_writer_broken(scene->writer));
	append(scene, 5);
	wait_all(scene);
	assert_int_equal(scene->kept, 2);
}

#define SCENE_TEST(test) \
	cmocka_unit_test_setup_teardown(test, scene_new, scene_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCENE_TEST(done_follows_the_sync_in_the_order_of_the_appends),
		SCENE_TEST(a_cancelled_append_is_never_told),
		SCENE_TEST(a_failed_write_moves_on_to_a_new_segment),
		SCENE_TEST(a_failed_sync_retires_the_segment),
		SCENE_TEST(a_second_failure_stops_acceptance),
		SCENE_TEST(a_full_disk_passes),
		SCENE_TEST(a_want_of_descriptors_passes),
		SCENE_TEST(a_file_in_the_way_of_a_new_segment_is_passed),
		SCENE_TEST(damage_to_the_last_record_of_a_segment_is_an_alert),
		SCENE_TEST(so_is_damage_to_what_a_restart_found),
		SCENE_TEST(an_orderly_end_vouches_for_its_last_record),
		SCENE_TEST(a_side_file_lives_as_long_as_its_room),
		SCENE_TEST(the_oldest_append_tells_how_long_it_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
