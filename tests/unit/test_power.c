#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/spool_io.h"
#include "daemon/spool_writer.h"
#include "spool/segment.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A power cut.  Every write and sync of the writer is recorded.  Then the disk
 * is built as a cut at some moment may leave it: what was synced is there; of
 * what was written since, each sector is there or not, as chance has it, in any
 * order.  Whatever was answered before the cut must be found by a scan.
 */

enum {
	SECTOR = 512,
	FILES = 8,
	APPENDS = 400,
	CUTS = 400,
	OPS_MAX = 4 * APPENDS,
	FILLER = 3000, /* the longest record */
	GIVE_UP_MS = 300000
};

struct op {
	bool sync;
	ino_t file;
	uint64_t offset;
	struct buf bytes;
};

static struct {
	pthread_mutex_t lock;
	struct op at[OPS_MAX];
	size_t count;
	int fail_sync_at; /* this one fails with EIO; 0: none */
	int syncs;
} tape = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct op *record(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_true(tape.count < OPS_MAX);
	tape.at[tape.count] = (struct op){ .file = st.st_ino };
	return &tape.at[tape.count++];
}

static int tape_write(int fd, struct iovec *iov, size_t count, uint64_t offset)
{
	struct op *op;

	pthread_mutex_lock(&tape.lock);
	op = record(fd);
	op->offset = offset;
	for (size_t i = 0; i < count; i++)
		buf_add(&op->bytes, slice_of(iov[i].iov_base, iov[i].iov_len));
	pthread_mutex_unlock(&tape.lock);
	return spool_io_kernel.write_at(fd, iov, count, offset);
}

static int tape_sync(int fd)
{
	int result = 0;

	pthread_mutex_lock(&tape.lock);
	if (++tape.syncs == tape.fail_sync_at) {
		errno = EIO;
		result = -1;
	} else {
		record(fd)->sync = true;
	}
	pthread_mutex_unlock(&tape.lock);
	return result;
}

static const struct spool_io tape_io = { tape_write, tape_sync };

static char filler[FILLER];

struct scene {
	struct loop *loop;
	struct loop_timer *late, *more;
	struct spool_writer *writer;
	unsigned begun, open;
	size_t acked_at[APPENDS]; /* length of the tape then; 0: never */
	unsigned dice;
};

struct one {
	struct scene *scene;
	unsigned number;
};

static unsigned roll(struct scene *scene, unsigned sides)
{
	scene->dice = scene->dice * 1103515245 + 12345;
	return (scene->dice >> 16) % sides;
}

static void done(void *ctx, const struct spool_place *place,
		 struct slice payload, const struct err *err)
{
	struct one *one = ctx;
	struct scene *scene = one->scene;

	if (!err) {
		pthread_mutex_lock(&tape.lock);
		scene->acked_at[one->number] = tape.count;
		pthread_mutex_unlock(&tape.lock);
	}
	free(one);
	scene->open--;
	loop_timer_arm(scene->more, 0);
}

/* Some appends at once, so that batches of all sizes are written. */
static void append_more(void *ctx)
{
	struct scene *scene = ctx;
	unsigned count = 1 + roll(scene, 9);

	if (scene->begun == APPENDS) {
		if (scene->open == 0)
			loop_stop(scene->loop);
		return;
	}
	while (count-- > 0 && scene->begun < APPENDS) {
		struct one *one = mem_alloc(sizeof(*one));
		struct buf payload = BUF_INIT, body = BUF_INIT;
		struct record_state state = {
			.id = id_new(scene->begun),
			.envelope = scene->begun,
			.state = ENVELOPE_HELD,
			.reason = slice_of(filler, roll(scene, FILLER)),
		};

		record_state_encode(&state, &payload);
		one->scene = scene;
		one->number = scene->begun++;
		scene->open++;
		spool_writer_append_take(scene->writer, RECORD_STATE, &payload,
					 &body, done, one);
	}
}

static void too_late(void *ctx)
{
	fail_msg("the writer did not answer in time");
}

/* Runs the writer; what it did is on the tape afterwards. */
static void make_tape(struct scene *scene)
{
	char dir[] = "/tmp/tideover-power-XXXXXX", remove[80];
	struct err err = ERR_INIT;

	memset(filler, 'f', sizeof(filler));
	assert_non_null(mkdtemp(dir));
	spool_io_set(&tape_io);
	scene->loop = loop_new(&err);
	scene->late = loop_timer_new(scene->loop, too_late, NULL);
	scene->more = loop_timer_new(scene->loop, append_more, scene);
	scene->writer = spool_writer_new(scene->loop, dir,
					 &(struct scan_result){ 0 }, &err);
	assert_non_null(scene->writer);
	loop_timer_arm(scene->late, GIVE_UP_MS);
	loop_timer_arm(scene->more, 0);
	loop_run(scene->loop);
	spool_writer_free(scene->writer);
	loop_timer_free(scene->late);
	loop_timer_free(scene->more);
	loop_free(scene->loop);
	spool_io_set(&spool_io_kernel);
	snprintf(remove, sizeof(remove), "rm -rf %s", dir);
	assert_int_equal(system(remove), 0);
}

static void free_tape(void)
{
	for (size_t i = 0; i < tape.count; i++)
		buf_release(&tape.at[i].bytes);
	tape.count = 0;
	tape.syncs = tape.fail_sync_at = 0;
}

/* One file as the cut leaves it. */
struct image {
	ino_t file;
	struct buf bytes;
};

static struct image *image_of(struct image *images, ino_t file)
{
	for (size_t i = 0; i < FILES; i++) {
		if (images[i].file == file)
			return &images[i];
		if (images[i].file == 0) {
			images[i].file = file;
			return &images[i];
		}
	}
	fail_msg("more files than expected");
	return NULL;
}

static bool synced_later(size_t at, size_t cut)
{
	for (size_t i = at + 1; i < cut; i++)
		if (tape.at[i].sync && tape.at[i].file == tape.at[at].file)
			return true;
	return false;
}

static void lay(struct scene *scene, struct image *image, const struct op *op,
		bool whole)
{
	uint64_t end = op->offset + op->bytes.len;

	if (image->bytes.len < end) {
		buf_reserve(&image->bytes, end - image->bytes.len);
		memset(image->bytes.p + image->bytes.len, 0,
		       end - image->bytes.len);
		image->bytes.len = end;
	}
	for (uint64_t at = op->offset; at < end;) {
		uint64_t next = (at / SECTOR + 1) * SECTOR;

		if (next > end)
			next = end;
		if (whole || roll(scene, 2))
			memcpy(image->bytes.p + at,
			       op->bytes.p + (at - op->offset), next - at);
		at = next;
	}
}

static int note_record(void *ctx, const struct scan_record *record,
		       struct err *err)
{
	bool *found = ctx;
	struct record_state state;

	if (record_state_decode(record->payload, &state, NULL) < 0 ||
	    state.envelope >= APPENDS)
		fail_msg("a record that was never written");
	found[state.envelope] = true;
	return 0;
}

/* What the second says of the first, as scan_dir() would read it. */
static uint64_t vouched(const struct image *first, const struct image *second)
{
	struct segment_header one, other;

	return segment_header_decode(buf_slice(&first->bytes), &one) == 0 &&
			       segment_header_decode(buf_slice(&second->bytes),
						     &other) == 0 &&
			       other.before == one.number ?
		       other.before_synced :
		       0;
}

static void cut_at(struct scene *scene, size_t cut)
{
	static const struct scan_visitor visitor = { .on_record = note_record };
	struct image images[FILES] = { 0 };
	struct scan_result result = { 0 };
	bool found[APPENDS] = { false };

	for (size_t i = 0; i < cut; i++)
		if (!tape.at[i].sync)
			lay(scene, image_of(images, tape.at[i].file),
			    &tape.at[i], synced_later(i, cut));
	for (size_t i = 0; i < FILES; i++) {
		uint64_t synced = 0;

		if (i + 1 < FILES)
			synced = vouched(&images[i], &images[i + 1]);
		if (images[i].bytes.len > 0)
			assert_int_equal(
				scan_segment(buf_slice(&images[i].bytes), 1, 0,
					     synced, &visitor, found, &result,
					     NULL),
				0);
	}
	for (size_t i = 0; i < FILES; i++)
		buf_release(&images[i].bytes);
	/* A torn tail is no damage: nobody was told that it is kept. */
	assert_int_equal(result.damaged_ranges, 0);
	for (unsigned i = 0; i < APPENDS; i++)
		if (scene->acked_at[i] > 0 && scene->acked_at[i] <= cut &&
		    !found[i])
			fail_msg("cut after %zu of %zu calls: record %u was "
				 "answered and is lost",
				 cut, tape.count, i);
}

static void what_was_answered_survives_a_power_cut(void **state)
{
	struct scene scene = { .dice = 4711 };
	unsigned acked = 0;

	make_tape(&scene);
	for (unsigned i = 0; i < APPENDS; i++)
		acked += scene.acked_at[i] > 0;
	assert_int_equal(acked, APPENDS);
	for (int i = 0; i < CUTS; i++)
		cut_at(&scene, roll(&scene, (unsigned)tape.count + 1));
	cut_at(&scene, tape.count);
	free_tape();
}

/* A disk that failed a sync and is written on, in a new segment. */
static void it_does_so_after_a_sync_that_failed(void **state)
{
	struct scene scene = { .dice = 815 };
	unsigned acked = 0;

	tape.fail_sync_at = 20;
	make_tape(&scene);
	for (unsigned i = 0; i < APPENDS; i++)
		acked += scene.acked_at[i] > 0;
	assert_in_range(acked, APPENDS - 100, APPENDS - 1);
	for (int i = 0; i < CUTS; i++)
		cut_at(&scene, roll(&scene, (unsigned)tape.count + 1));
	free_tape();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_answered_survives_a_power_cut),
		cmocka_unit_test(it_does_so_after_a_sync_that_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
