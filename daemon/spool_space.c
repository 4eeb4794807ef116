#include "daemon/spool_space.h"
#include "base/log.h"
#include "spool/evidence.h"
#include "spool/segment.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define LOG_MODULE "space"

enum {
	LOOK_MS = 2000,
	AGAIN_MS = 60000, /* after something failed */
	/* Moving more than this would cost more than it gives. */
	LIVE_MAX = SEGMENT_BYTES / 4
};

/* A MESSAGE record of the segment, as the thread saw it. */
struct candidate {
	struct id id;
	uint64_t offset;
	uint32_t length, body; /* of the payload, and of the body in it */
};

/* One segment on its way out. */
struct clearing {
	struct spool_space *space;
	char *spool_dir, *evidence_dir;
	uint32_t number;
	pthread_t thread;
	bool writing; /* the thread is not joined */
	struct candidate *candidates;
	size_t count;
	struct err err;
	size_t moving; /* appends that are not durable yet */
	bool failed;
};

struct move {
	struct clearing *clearing;
	struct id id;
};

struct spool_space {
	struct store *store;
	struct queue *queue;
	char *spool_dir, *evidence_dir;
	struct loop_timer *timer;
	struct clearing *clearing;
	bool is_short;
};

static void clearing_free(struct clearing *clearing)
{
	free(clearing->candidates);
	free(clearing->spool_dir);
	free(clearing->evidence_dir);
	free(clearing);
}

/* The end of one, well or not. */
static void over(struct clearing *clearing)
{
	struct spool_space *space = clearing->space;

	space->clearing = NULL;
	if (clearing->failed)
		log_error("segment %u stays: %s", clearing->number,
			  clearing->err.text);
	loop_timer_arm(space->timer, clearing->failed ? AGAIN_MS : 0);
	clearing_free(clearing);
}

static void indexed(void *ctx)
{
	struct clearing *clearing = ctx;

	if (spool_writer_remove_segment(clearing->space->store->spool,
					clearing->number, &clearing->err) < 0)
		clearing->failed = true;
	else
		log_info("segment %u is cleared out; its evidence stays",
			 clearing->number);
	over(clearing);
}

static void maybe_moved_all(struct clearing *clearing)
{
	if (clearing->moving > 0)
		return;
	if (clearing->failed)
		over(clearing);
	else
		index_flush(clearing->space->store->index, indexed, clearing);
}

static void moved(void *ctx, const struct spool_place *place,
		  const struct err *err)
{
	struct move *move = ctx;
	struct clearing *clearing = move->clearing;

	clearing->moving--;
	if (err) {
		clearing->failed = true;
		clearing->err = *err;
	} else {
		struct queue *queue = clearing->space->queue;
		struct queue_message *message = queue_find(queue, &move->id);

		if (message)
			queue_set_place(queue, message, place);
	}
	free(move);
	maybe_moved_all(clearing);
}

static int read_at(int fd, uint64_t offset, size_t bytes, struct buf *out,
		   struct err *err)
{
	buf_clear(out);
	buf_reserve(out, bytes);
	if (pread(fd, out->p, bytes, (off_t)offset) != (ssize_t)bytes)
		return err_errno(err, "cannot read a message back");
	out->len = bytes;
	return 0;
}

static int move_one(struct clearing *clearing, int fd,
		    const struct candidate *one)
{
	uint64_t at = one->offset + SEGMENT_RECORD_HEADER;
	size_t head = one->length - one->body;
	struct buf payload = BUF_INIT, body = BUF_INIT;
	struct move *move;

	if (read_at(fd, at, head, &payload, &clearing->err) < 0 ||
	    read_at(fd, at + head, one->body, &body, &clearing->err) < 0) {
		buf_release(&payload);
		buf_release(&body);
		return -1;
	}
	move = mem_alloc(sizeof(*move));
	move->clearing = clearing;
	move->id = one->id;
	clearing->moving++;
	store_again(clearing->space->store, &payload, &body, moved, move);
	return 0;
}

/* Which of the candidates live, only the loop knows. */
static void move_living(struct clearing *clearing)
{
	char *path = mem_printf("%s/%08u.seg", clearing->spool_dir,
				clearing->number);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		err_errno(&clearing->err, "cannot open %s", path);
		clearing->failed = true;
	}
	for (size_t i = 0; i < clearing->count && !clearing->failed; i++) {
		const struct candidate *one = &clearing->candidates[i];
		const struct queue_message *message =
			queue_find(clearing->space->queue, &one->id);

		if (message && message->place.segment == clearing->number &&
		    message->place.offset == one->offset &&
		    move_one(clearing, fd, one) < 0)
			clearing->failed = true;
	}
	if (fd >= 0)
		close(fd);
	free(path);
}

static void evidence_is_written(void *ctx)
{
	struct clearing *clearing = ctx;

	pthread_join(clearing->thread, NULL);
	clearing->writing = false;
	if (!clearing->failed)
		move_living(clearing);
	maybe_moved_all(clearing);
}

/* On the thread. */

static void on_message(void *ctx, const struct scan_record *record,
		       const struct record_message *message)
{
	struct clearing *clearing = ctx;
	struct candidate *one;

	if ((clearing->count & (clearing->count - 1)) == 0)
		clearing->candidates =
			mem_grow(clearing->candidates,
				 (clearing->count ? clearing->count * 2 : 1) *
					 sizeof(*clearing->candidates));
	one = &clearing->candidates[clearing->count++];
	one->id = message->id;
	one->offset = record->offset;
	one->length = (uint32_t)record->payload.len;
	one->body = (uint32_t)message->body.len;
}

static void *write_evidence(void *ctx)
{
	struct clearing *clearing = ctx;

	if (evidence_write(clearing->spool_dir, clearing->evidence_dir,
			   clearing->number, on_message, clearing,
			   &clearing->err) < 0)
		clearing->failed = true;
	loop_post(clearing->space->store->loop, evidence_is_written, clearing);
	return NULL;
}

static void clear_out(struct spool_space *space, uint32_t number)
{
	struct clearing *clearing = mem_alloc(sizeof(*clearing));

	clearing->space = space;
	clearing->spool_dir = mem_dup(space->spool_dir);
	clearing->evidence_dir = mem_dup(space->evidence_dir);
	clearing->number = number;
	space->clearing = clearing;
	clearing->writing = true;
	if (pthread_create(&clearing->thread, NULL, write_evidence, clearing)) {
		err_set(&clearing->err, "no thread to write the evidence");
		clearing->failed = true;
		clearing->writing = false;
		over(clearing);
	}
}

/* The oldest segment that is there; 0: none but the head. */
static uint32_t oldest_segment(const struct spool_space *space)
{
	uint32_t head = spool_writer_head(space->store->spool), oldest = head;
	DIR *dir = opendir(space->spool_dir);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct slice name = slice(entry->d_name);
		uint64_t number;

		if (name.len == 12 && slice_ends_nocase(name, ".seg") &&
		    slice_u64(slice_of(name.p, 8), &number) && number < oldest)
			oldest = (uint32_t)number;
	}
	if (dir)
		closedir(dir);
	return oldest < head ? oldest : 0;
}

static void look(void *ctx)
{
	struct spool_space *space = ctx;
	uint32_t oldest;

	if (space->clearing)
		return;
	oldest = oldest_segment(space);
	if (oldest && queue_segment_live(space->queue, oldest).bytes <=
			      (space->is_short ? SEGMENT_BYTES : LIVE_MAX))
		clear_out(space, oldest);
	else
		loop_timer_arm(space->timer, LOOK_MS);
}

/* Side files. */

static void gone(void *ctx, const struct queue_message *message)
{
	struct spool_space *space = ctx;
	struct err err = ERR_INIT;

	if (message->placed && message->place.body == 0 &&
	    message->body_bytes > 0 &&
	    spool_writer_remove_side(space->store->spool, &message->id, &err) <
		    0)
		log_warn("%s", err.text);
}

/* What a crash left between the last outcome and the removal. */
static void sweep_sides(struct spool_space *space)
{
	DIR *dir = opendir(space->spool_dir);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct slice name = slice(entry->d_name);
		struct err err = ERR_INIT;
		struct id id;

		if (name.len != ID_LEN + 4 ||
		    !slice_ends_nocase(name, ".msg") ||
		    !id_parse(slice_of(name.p, ID_LEN), &id) ||
		    queue_find(space->queue, &id))
			continue;
		if (spool_writer_remove_side(space->store->spool, &id, &err) <
		    0)
			log_warn("%s", err.text);
	}
	if (dir)
		closedir(dir);
}

struct spool_space *spool_space_new(struct store *store, struct queue *queue,
				    const char *spool_dir,
				    const char *evidence_dir, bool keep_sides)
{
	struct spool_space *space = mem_alloc(sizeof(*space));

	space->store = store;
	space->queue = queue;
	space->spool_dir = mem_dup(spool_dir);
	space->evidence_dir = mem_dup(evidence_dir);
	space->timer = loop_timer_new(store->loop, look, space);
	queue_on_gone(queue, gone, space);
	if (!keep_sides)
		sweep_sides(space);
	loop_timer_arm(space->timer, LOOK_MS);
	return space;
}

void spool_space_is_short(struct spool_space *space, bool is_short)
{
	if (space)
		space->is_short = is_short;
}

void spool_space_free(struct spool_space *space)
{
	if (!space)
		return;
	if (space->clearing && space->clearing->writing)
		pthread_join(space->clearing->thread, NULL);
	if (space->clearing)
		clearing_free(space->clearing);
	queue_on_gone(space->queue, NULL, NULL);
	loop_timer_free(space->timer);
	free(space->spool_dir);
	free(space->evidence_dir);
	free(space);
}
