#include "daemon/spool_space.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
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
	ASK_MS = 200,
	AGAIN_MS = 60000, /* after something failed */
	REST_MS = 10000,
	QUIET_MS = 20,
	MOVING_MAX = 256,
	SIDES_MS = 3600 * 1000,
	/* Moving more than this would cost more than it gives. */
	LIVE_MAX = SEGMENT_BYTES / 4
};

/* A MESSAGE record of the segment, as the thread saw it. */
struct candidate {
	struct id id;
	uint64_t sequence, offset;
	const char *plan;      /* one of the clearing's */
	uint64_t bytes;	       /* of the message */
	uint32_t length, body; /* of the payload, and of the body in it */
	bool side;
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
	char **plans;
	size_t plan_count;
	struct err err;
	struct loop_timer *quiet; /* until nothing wakes */
	int fd;			  /* of the segment, while they move; or -1 */
	size_t at;		  /* the next candidate */
	size_t moving;		  /* appends that are not durable yet */
	bool failed;
};

struct move {
	struct clearing *clearing;
	const struct candidate *one;
};

struct spool_space {
	struct store *store;
	struct queue *queue;
	struct backlog *backlog;
	char *spool_dir, *evidence_dir;
	const struct spool_space_owner *owner;
	void *ctx;
	struct loop_timer *timer, *sides_timer;
	struct clearing *clearing;
	bool is_begun, is_short;
	/* The oldest segment's delivered messages, as the index knows them. */
	uint32_t known; /* which segment; 0: ask */
	struct json *copies;
	bool asking;
	/* Ids of the side files that were there at start. */
	struct json *found;
};

static void clearing_free(struct clearing *clearing)
{
	loop_timer_free(clearing->quiet);
	if (clearing->fd >= 0)
		close(clearing->fd);
	free(clearing->candidates);
	for (size_t i = 0; i < clearing->plan_count; i++)
		free(clearing->plans[i]);
	free(clearing->plans);
	free(clearing->spool_dir);
	free(clearing->evidence_dir);
	free(clearing);
}

/* The end of one, well or not. */
static void over(struct clearing *clearing)
{
	struct spool_space *space = clearing->space;

	space->clearing = NULL;
	backlog_thaw(space->backlog);
	if (clearing->failed)
		log_error("segment %u stays: %s", clearing->number,
			  clearing->err.text);
	loop_timer_arm(space->timer, clearing->failed ? AGAIN_MS : 0);
	clearing_free(clearing);
}

static void remove_side(struct spool_space *space, const struct id *id)
{
	struct err err = ERR_INIT;

	if (spool_writer_remove_side(space->store->spool, id, &err) < 0)
		log_warn("%s", err.text);
}

/* In memory or asleep. */
static bool is_alive(const struct spool_space *space,
		     const struct candidate *one)
{
	return queue_find(space->queue, &one->id) ||
	       backlog_sleeps(space->backlog, one->plan, one->sequence);
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
	for (size_t i = 0; i < clearing->count && !clearing->failed; i++)
		if (clearing->candidates[i].side &&
		    !is_alive(clearing->space, &clearing->candidates[i]))
			remove_side(clearing->space,
				    &clearing->candidates[i].id);
	over(clearing);
}

static void move_some(struct clearing *clearing);

/* A damaged record is no candidate: what lives in it would go unseen. */
static bool is_left_alone(struct clearing *clearing)
{
	uint64_t live =
		queue_segment_live(clearing->space->queue, clearing->number)
			.messages;

	if (live > 0)
		err_set(&clearing->err,
			"%llu messages that live in it are damaged: it goes "
			"once they are final",
			(unsigned long long)live);
	return live == 0;
}

static void maybe_moved_all(struct clearing *clearing)
{
	if (!clearing->failed && clearing->at < clearing->count)
		move_some(clearing);
	if (clearing->moving > 0)
		return;
	if (!clearing->failed && !is_left_alone(clearing))
		clearing->failed = true;
	if (clearing->failed)
		over(clearing);
	else
		index_flush(clearing->space->store->index, indexed, clearing);
}

/* It lives there now, in memory or asleep, or is final meanwhile. */
static void take_place(struct clearing *clearing, const struct candidate *one,
		       const struct spool_place *place)
{
	struct queue *queue = clearing->space->queue;
	struct queue_message *message = queue_find(queue, &one->id);

	if (message)
		queue_set_place(queue, message, place);
	else if (backlog_sleeps(clearing->space->backlog, one->plan,
				one->sequence))
		queue_move_asleep(queue, clearing->number, place, one->bytes);
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
		take_place(clearing, move->one, place);
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

static int move_one(struct clearing *clearing, const struct candidate *one)
{
	uint64_t at = one->offset + SEGMENT_RECORD_HEADER;
	size_t head = one->length - one->body;
	struct buf payload = BUF_INIT, body = BUF_INIT;
	struct move *move;

	if (read_at(clearing->fd, at, head, &payload, &clearing->err) < 0 ||
	    read_at(clearing->fd, at + head, one->body, &body, &clearing->err) <
		    0) {
		buf_release(&payload);
		buf_release(&body);
		return -1;
	}
	move = mem_alloc(sizeof(*move));
	move->clearing = clearing;
	move->one = one;
	clearing->moving++;
	store_again(clearing->space->store, &payload, &body, moved, move);
	return 0;
}

/* The index said that nothing of it lives outside memory; should it be wrong,
 * the segment stays. */
static bool is_known(struct clearing *clearing, const struct candidate *one)
{
	const struct backlog *backlog = clearing->space->backlog;

	if (!backlog_knows(backlog, one->plan) ||
	    backlog_has(backlog, one->plan, one->sequence))
		return true;
	err_set(&clearing->err, "message %s in it is not in memory",
		one->id.text);
	return false;
}

static bool lives(const struct clearing *clearing, const struct candidate *one,
		  const struct queue_message *message)
{
	return message ? message->place.segment == clearing->number &&
				 message->place.offset == one->offset :
			 backlog_sleeps(clearing->space->backlog, one->plan,
					one->sequence);
}

/* Which of the candidates live, only the loop knows.  A few at once: they are
 * in memory until they are durable. */
static void move_some(struct clearing *clearing)
{
	while (clearing->moving < MOVING_MAX && !clearing->failed &&
	       clearing->at < clearing->count) {
		const struct candidate *one =
			&clearing->candidates[clearing->at++];
		const struct queue_message *message =
			queue_find(clearing->space->queue, &one->id);

		if (lives(clearing, one, message) ?
			    move_one(clearing, one) < 0 :
			    !message && !is_known(clearing, one))
			clearing->failed = true;
	}
}

static void move_living(struct clearing *clearing)
{
	char *path = mem_printf("%s/%08u.seg", clearing->spool_dir,
				clearing->number);

	clearing->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (clearing->fd < 0) {
		err_errno(&clearing->err, "cannot open %s", path);
		clearing->failed = true;
	}
	free(path);
}

/* What wakes meanwhile would take the old place for the true one. */
static void move_when_quiet(void *ctx)
{
	struct clearing *clearing = ctx;

	if (!clearing->failed && !backlog_freeze(clearing->space->backlog)) {
		loop_timer_arm(clearing->quiet, QUIET_MS);
		return;
	}
	if (!clearing->failed)
		move_living(clearing);
	maybe_moved_all(clearing);
}

static void evidence_is_written(void *ctx)
{
	struct clearing *clearing = ctx;

	pthread_join(clearing->thread, NULL);
	clearing->writing = false;
	move_when_quiet(clearing);
}

/* On the thread. */

static const char *plan_name(struct clearing *clearing, struct slice name)
{
	for (size_t i = 0; i < clearing->plan_count; i++)
		if (slice_is(name, clearing->plans[i]))
			return clearing->plans[i];
	clearing->plans = mem_grow(clearing->plans,
				   (clearing->plan_count + 1) * sizeof(char *));
	return clearing->plans[clearing->plan_count++] = slice_dup(name);
}

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
	one->sequence = message->sequence;
	one->plan = plan_name(clearing, message->plan);
	one->offset = record->offset;
	one->bytes = message->body_bytes;
	one->length = (uint32_t)record->payload.len;
	one->body = (uint32_t)message->body.len;
	one->side = message->side_file;
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
	clearing->fd = -1;
	space->clearing = clearing;
	clearing->quiet =
		loop_timer_new(space->store->loop, move_when_quiet, clearing);
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

static void copies_came(void *ctx, struct json *result, const struct err *err)
{
	struct spool_space *space = ctx;

	space->asking = false;
	json_free(space->copies);
	space->copies = result;
	if (err)
		log_warn("which copies are kept is unknown: %s", err->text);
	/* A short disk does not wait for an index that cannot answer. */
	if (err && !space->is_short)
		space->known = 0;
	loop_timer_arm(space->timer, space->known ? 0 :
				     err	  ? AGAIN_MS :
						    ASK_MS);
}

static bool copy_is_kept(const struct spool_space *space,
			 const struct json *row)
{
	return space->owner->keeps(space->ctx, json_get_text(row, "plan"),
				   (int64_t)json_get_number(row, "last_ms", 0));
}

/* Whether something lives in it that was never in memory: it was never claimed,
 * so there is more like it, and the segment's time will come. */
static bool has_rest(const struct spool_space *space)
{
	if (!space->copies)
		return !backlog_is_whole(space->backlog);
	for (const struct json *row = json_first(space->copies); row;
	     row = json_next(row)) {
		double live = json_get_number(row, "live_sequence", 0);

		if (live > 0 &&
		    !backlog_reaches(space->backlog, json_get_text(row, "plan"),
				     (uint64_t)live))
			return true;
	}
	return false;
}

static uint64_t kept_copies(const struct spool_space *space,
			    const struct json *row)
{
	return copy_is_kept(space, row) ?
		       (uint64_t)json_get_number(row, "count", 0) :
		       0;
}

/* Kept copies hold the segment; a short disk breaks that, and says so. */
static bool copies_hold(const struct spool_space *space)
{
	for (const struct json *row = json_first(space->copies); row;
	     row = json_next(row))
		if (kept_copies(space, row) > 0)
			return !space->is_short;
	return false;
}

static void drop_copies(struct spool_space *space)
{
	for (const struct json *row = json_first(space->copies); row;
	     row = json_next(row))
		if (kept_copies(space, row) > 0)
			space->owner->drops(space->ctx,
					    json_get_text(row, "plan"),
					    kept_copies(space, row),
					    space->known);
}

static uint64_t live_limit(const struct spool_space *space)
{
	return space->is_short ? SEGMENT_BYTES : LIVE_MAX;
}

static void look(void *ctx)
{
	struct spool_space *space = ctx;
	uint32_t oldest;

	if (space->clearing || space->asking)
		return;
	oldest = oldest_segment(space);
	if (!oldest || queue_segment_live(space->queue, oldest).bytes >
			       live_limit(space)) {
		loop_timer_arm(space->timer, LOOK_MS);
		return;
	}
	if (space->known != oldest) {
		space->known = oldest;
		space->asking = true;
		index_segment_copies(space->store->index, oldest, copies_came,
				     space);
	} else if (has_rest(space)) {
		space->known = 0;
		loop_timer_arm(space->timer, REST_MS);
	} else if (copies_hold(space)) {
		loop_timer_arm(space->timer, LOOK_MS);
	} else {
		drop_copies(space);
		space->known = 0;
		clear_out(space, oldest);
	}
}

/* Side files. */

static const char *plan_of(const struct queue_message *message)
{
	for (size_t i = 0; i < message->envelope_room; i++)
		if (message->envelopes[i])
			return message->envelopes[i]->mailbox->domain->plan;
	return "";
}

static void gone(void *ctx, const struct queue_message *message)
{
	struct spool_space *space = ctx;

	/* What the index said of its segment is old now. */
	if (message->placed && message->place.segment == space->known)
		space->known = 0;
	if (message->placed && message->place.body == 0 &&
	    message->body_bytes > 0 &&
	    !space->owner->keeps(space->ctx, plan_of(message), clock_wall_ms()))
		remove_side(space, &message->id);
}

static char *side_path(const struct spool_space *space, const struct id *id)
{
	return mem_printf("%s/%s.msg", space->spool_dir, id->text);
}

/* Final for the index, and its copy not wanted any more. */
static void sides_came(void *ctx, struct json *result, const struct err *err)
{
	struct spool_space *space = ctx;
	struct map kept = { 0 };

	for (const struct json *row = json_first(result); row;
	     row = json_next(row)) {
		struct id id;
		char *path;

		if (!id_parse(slice(json_get_text(row, "id")), &id))
			continue;
		path = side_path(space, &id);
		if (json_get_bool(row, "live") ||
		    (json_get_number(row, "last_ms", 0) > 0 &&
		     copy_is_kept(space, row)))
			map_put(&kept, slice_of(id.text, ID_LEN), space);
		else if (!queue_find(space->queue, &id) && file_exists(path))
			remove_side(space, &id);
		free(path);
	}
	/* What a crash left between the last outcome and the removal. */
	for (const struct json *one = err ? NULL : json_first(space->found);
	     one; one = json_next(one)) {
		struct id id;
		char *path;

		if (!id_parse(slice(json_text(one)), &id) ||
		    queue_find(space->queue, &id) ||
		    map_get(&kept, slice_of(id.text, ID_LEN)))
			continue;
		path = side_path(space, &id);
		if (file_exists(path))
			remove_side(space, &id);
		free(path);
	}
	json_free(space->found);
	space->found = NULL;
	map_release(&kept);
	json_free(result);
	loop_timer_arm(space->sides_timer, SIDES_MS);
}

static void look_at_sides(void *ctx)
{
	struct spool_space *space = ctx;
	uint32_t oldest = oldest_segment(space);

	index_side_copies(space->store->index,
			  oldest ? oldest :
				   spool_writer_head(space->store->spool),
			  sides_came, space);
}

/* What of them lives is known once the queue is loaded. */
static void find_sides(struct spool_space *space)
{
	DIR *dir = opendir(space->spool_dir);
	struct dirent *entry;

	space->found = json_array();
	while (dir && (entry = readdir(dir))) {
		struct slice name = slice(entry->d_name);
		struct id id;

		if (name.len == ID_LEN + 4 && slice_ends_nocase(name, ".msg") &&
		    id_parse(slice_of(name.p, ID_LEN), &id))
			json_add_text(space->found, id.text);
	}
	if (dir)
		closedir(dir);
}

struct spool_space *spool_space_new(struct store *store, struct queue *queue,
				    struct backlog *backlog,
				    const char *spool_dir,
				    const char *evidence_dir, bool keep_sides,
				    const struct spool_space_owner *owner,
				    void *ctx)
{
	struct spool_space *space = mem_alloc(sizeof(*space));

	space->store = store;
	space->queue = queue;
	space->backlog = backlog;
	space->spool_dir = mem_dup(spool_dir);
	space->evidence_dir = mem_dup(evidence_dir);
	space->owner = owner;
	space->ctx = ctx;
	space->timer = loop_timer_new(store->loop, look, space);
	space->sides_timer = loop_timer_new(store->loop, look_at_sides, space);
	queue_on_gone(queue, gone, space);
	if (!keep_sides)
		find_sides(space);
	return space;
}

void spool_space_begin(struct spool_space *space)
{
	space->is_begun = true;
	loop_timer_arm(space->timer, LOOK_MS);
	loop_timer_arm(space->sides_timer, LOOK_MS);
}

bool spool_space_can_free(const struct spool_space *space)
{
	uint32_t oldest;

	if (!space || !space->is_begun)
		return false;
	if (space->clearing)
		return true;
	oldest = oldest_segment(space);
	return oldest && queue_segment_live(space->queue, oldest).bytes <
				 SEGMENT_BYTES / 2;
}

bool spool_space_has(const struct spool_space *space, const struct id *id,
		     const struct spool_place *place)
{
	char *path = place->body ? mem_printf("%s/%08u.seg", space->spool_dir,
					      place->segment) :
				   side_path(space, id);
	bool there = file_exists(path);

	free(path);
	return there;
}

void spool_space_is_short(struct spool_space *space, bool is_short)
{
	if (!space)
		return;
	if (space->is_begun && is_short && !space->is_short &&
	    !space->clearing && !space->asking)
		loop_timer_arm(space->timer, 0);
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
	loop_timer_free(space->sides_timer);
	json_free(space->copies);
	json_free(space->found);
	free(space->spool_dir);
	free(space->evidence_dir);
	free(space);
}
