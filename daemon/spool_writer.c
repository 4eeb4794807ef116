#include "daemon/spool_writer.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/list.h"
#include "base/log.h"
#include "daemon/spool_io.h"
#include "spool/segment.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define LOG_MODULE "spool"

enum {
	BATCH_RECORDS = 256,
	BATCH_BYTES = 8 * 1024 * 1024,
	GROW_BYTES = 8 * 1024 * 1024, /* disk space is asked for so much
					   at a time */
	GATHER_US = 300, /* a batch waits so long for what is on its way */
	SIDE_ROOM = 256 * 1024,
	SIDE_FULL = 1024 * 1024,
	SIDES_FULL = 64 * 1024 * 1024, /* of all: each waits for its own */
};

enum job_kind {
	JOB_APPEND,
	JOB_SIDE_WRITE,
	JOB_SIDE_END,
	JOB_SIDE_ABORT
};

struct spool_side {
	struct spool_writer *writer;
	struct id id;
	/* The spool thread's: */
	int fd;
	bool failed;
	struct err err;
	/* The loop's: */
	atomic_size_t unwritten;
	loop_fn *room;
	void *room_ctx;
	bool aborted;
};

struct job {
	struct job *next;
	enum job_kind kind;
	struct spool_side *side;
	struct buf bytes; /* SIDE_WRITE */
};

struct spool_append {
	struct job job; /* first: it is a job, and freed as an append */
	struct spool_append *next;
	enum record_kind kind;
	struct buf payload, body;
	char header[SEGMENT_RECORD_HEADER];
	struct spool_side *side;
	struct spool_place place;
	struct err err;
	/* The loop's: */
	struct list waiting;
	int64_t since_ms;
	spool_done_fn *done;
	void *ctx;
};

struct spool_writer {
	struct loop *loop;
	char *dir;
	const struct spool_io *io;
	pthread_t thread;
	bool thread_runs;

	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *first, **last;
	bool has_side_job; /* among these */
	struct spool_append *done, **last_done;
	bool ending;

	/* The spool thread's. */
	struct segment_header segment;
	uint32_t next_number;
	int fd; /* -1: no segment is open */
	uint64_t offset, allocated, synced;
	bool failed_before; /* the last batch failed */
	bool may_pass;	    /* for want of space or of descriptors */

	/* The loop's word: messages on their way. */
	atomic_uint expected;

	/* Told to the loop. */
	atomic_bool is_broken;
	atomic_uint head;
	struct err broken;
	atomic_uint_fast64_t bytes;
	atomic_uint_fast64_t appends, batches, syncs, sync_us;

	atomic_size_t unwritten; /* of all side files */

	/* The loop's. */
	struct spool_side *ended_side; /* its message's append comes next */
	struct list waiting;	       /* appends, the oldest first */
	size_t waiting_count;
	struct loop_timer *kick;
};

/* Segments, on the spool thread. */

/* By errno.  The others speak of the disk. */
static void judge_failure(struct spool_writer *writer)
{
	writer->may_pass = errno == ENOSPC || errno == EDQUOT ||
			   errno == EMFILE || errno == ENFILE ||
			   errno == ENOMEM;
}

static int failed(struct spool_writer *writer, struct err *err,
		  const char *what)
{
	judge_failure(writer);
	return err_errno(err, "cannot %s segment %u", what,
			 writer->segment.number);
}

/* A failed open may have left a file that could not be removed either. */
static int create_next(struct spool_writer *writer, char **path)
{
	for (;;) {
		int fd;

		*path = mem_printf("%s/%08u.seg", writer->dir,
				   writer->next_number);
		fd = open(*path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0 || errno != EEXIST)
			return fd;
		free(*path);
		writer->next_number++;
	}
}

static int segment_open(struct spool_writer *writer, struct err *err)
{
	char header[SEGMENT_HEADER];
	char *path;
	int fd = create_next(writer, &path);

	/* What a failed open left behind as its number never was a segment. */
	if (writer->synced > 0) {
		writer->segment.before = writer->segment.number;
		writer->segment.before_synced = writer->synced;
		writer->synced = 0;
	}
	writer->segment.number = writer->next_number++;
	atomic_store(&writer->head, writer->segment.number);
	if (fd < 0) {
		failed(writer, err, "create");
		goto fail;
	}
	random_bytes(writer->segment.nonce, SEGMENT_NONCE);
	segment_header_encode(&writer->segment, header);
	if (writer->io->write_at(fd, &(struct iovec){ header, sizeof(header) },
				 1, 0) < 0 ||
	    writer->io->sync(fd) < 0) {
		failed(writer, err, "write");
		goto fail;
	}
	/* The folder's entry must be there before any record counts. */
	if (file_sync_dir(writer->dir, err) < 0) {
		failed(writer, err, "sync the folder of");
		goto fail;
	}
	writer->fd = fd;
	writer->offset = writer->synced = SEGMENT_HEADER;
	writer->allocated = 0;
	free(path);
	return 0;
fail:
	/* Nothing was ever in it: the next attempt gets its number. */
	writer->next_number--;
	if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	free(path);
	return -1;
}

/* Vouches for the last records.  Should it get lost, nothing else is. */
static void mark_end(struct spool_writer *writer)
{
	struct segment_record end = {
		.kind = SEGMENT_END,
		.offset = writer->offset,
		.synced = writer->synced,
	};
	char bytes[SEGMENT_RECORD_HEADER];

	end.payload_crc = crc32c(0, slice(""));
	segment_record_encode(&writer->segment, &end, bytes);
	if (writer->io->write_at(writer->fd,
				 &(struct iovec){ bytes, sizeof(bytes) }, 1,
				 writer->offset) == 0)
		writer->offset += segment_record_bytes(0);
}

static void segment_close(struct spool_writer *writer)
{
	if (writer->fd < 0)
		return;
	mark_end(writer);
	/* Gives back what was asked for and not used; only zeros lie there. */
	if (ftruncate(writer->fd, (off_t)writer->offset) < 0)
		log_debug("cannot shorten segment %u: %m",
			  writer->segment.number);
	close(writer->fd);
	writer->fd = -1;
}

static void allocate(struct spool_writer *writer, uint64_t until)
{
	if (until <= writer->allocated)
		return;
	while (writer->allocated < until)
		writer->allocated += GROW_BYTES;
	/* Where this is not supported the file grows as it is written; a full
	 * disk is told by the write. */
	if (posix_fallocate(writer->fd, 0, (off_t)writer->allocated) != 0)
		log_debug("segment %u grows without being allocated",
			  writer->segment.number);
}

/* One batch. */

static uint64_t payload_bytes(const struct spool_append *append)
{
	return append->payload.len + append->body.len;
}

static size_t add_iov(struct iovec *iov, size_t at, const void *p, size_t len)
{
	static const char zeros[SEGMENT_ALIGN];

	if (len > 0)
		iov[at++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)(p ? p : zeros),
			.iov_len = len
		};
	return at;
}

static void place_record(struct spool_writer *writer,
			 struct spool_append *append, uint64_t offset)
{
	struct segment_record record = {
		.kind = append->kind,
		.offset = offset,
		.length = (uint32_t)payload_bytes(append),
		.synced = writer->synced,
	};

	record.payload_crc = crc32c(crc32c(0, buf_slice(&append->payload)),
				    buf_slice(&append->body));
	segment_record_encode(&writer->segment, &record, append->header);
	append->place.segment = writer->segment.number;
	append->place.offset = offset;
	append->place.body =
		append->body.len == 0 ?
			0 :
			offset + SEGMENT_RECORD_HEADER + append->payload.len;
}

static int write_batch(struct spool_writer *writer, struct spool_append **batch,
		       size_t count, struct err *err)
{
	struct iovec iov[BATCH_RECORDS * 4];
	uint64_t end = writer->offset;
	size_t pieces = 0;
	int64_t began;

	for (size_t i = 0; i < count; i++) {
		struct spool_append *append = batch[i];
		uint64_t whole = segment_record_bytes(payload_bytes(append));
		size_t used = SEGMENT_RECORD_HEADER + payload_bytes(append);

		place_record(writer, append, end);
		pieces = add_iov(iov, pieces, append->header,
				 SEGMENT_RECORD_HEADER);
		pieces = add_iov(iov, pieces, append->payload.p,
				 append->payload.len);
		pieces = add_iov(iov, pieces, append->body.p, append->body.len);
		pieces = add_iov(iov, pieces, NULL, whole - used);
		end += whole;
	}
	allocate(writer, end);
	if (writer->io->write_at(writer->fd, iov, pieces, writer->offset) < 0)
		return failed(writer, err, "write");
	began = clock_mono_ms();
	if (writer->io->sync(writer->fd) < 0)
		return failed(writer, err, "sync");
	atomic_store(&writer->sync_us,
		     (uint64_t)(clock_mono_ms() - began) * 1000);
	atomic_fetch_add(&writer->bytes, end - writer->offset);
	atomic_fetch_add(&writer->appends, count);
	atomic_fetch_add(&writer->batches, 1);
	atomic_fetch_add(&writer->syncs, 1);
	writer->offset = writer->synced = end;
	return 0;
}

static void fail_batch(struct spool_append **batch, size_t count,
		       const struct err *err)
{
	for (size_t i = 0; i < count; i++)
		if (!err_is_set(&batch[i]->err))
			batch[i]->err = *err;
}

static void set_broken(struct spool_writer *writer, const struct err *err)
{
	log_error("nothing can be kept until a restart: %s", err->text);
	pthread_mutex_lock(&writer->lock);
	writer->broken = *err;
	pthread_mutex_unlock(&writer->lock);
	atomic_store(&writer->is_broken, true);
}

static void keep_batch(struct spool_writer *writer, struct spool_append **batch,
		       size_t count)
{
	struct err err = ERR_INIT;

	if (atomic_load(&writer->is_broken)) {
		fail_batch(batch, count, &writer->broken);
		return;
	}
	if (writer->fd < 0 && segment_open(writer, &err) < 0) {
		fail_batch(batch, count, &err);
		/* Not even a new segment: give up, unless that may pass. */
		if (writer->failed_before && !writer->may_pass)
			set_broken(writer, &err);
		writer->failed_before = true;
		return;
	}
	if (write_batch(writer, batch, count, &err) == 0) {
		writer->failed_before = false;
		return;
	}
	log_error("%s: the segment is retired", err.text);
	fail_batch(batch, count, &err);
	/* After a failed sync a second one may lie: never this file again. */
	close(writer->fd);
	writer->fd = -1;
	if (writer->failed_before && !writer->may_pass)
		set_broken(writer, &err);
	writer->failed_before = true;
}

/* Side files, on the spool thread. */

static char *side_path(const struct spool_writer *writer, const struct id *id,
		       const char *suffix)
{
	return mem_printf("%s/%s%s", writer->dir, id->text, suffix);
}

static void side_room(void *ctx)
{
	struct spool_side *side = ctx;
	loop_fn *room = side->room;

	side->room = NULL;
	if (room && !side->aborted)
		room(side->room_ctx);
}

static void side_fail(struct spool_side *side, const char *what,
		      const char *path)
{
	side->failed = true;
	err_errno(&side->err, "cannot %s %s", what, path);
}

static void side_write(struct spool_writer *writer, struct job *job)
{
	struct spool_side *side = job->side;
	size_t left;

	if (!side->failed &&
	    file_write_all(side->fd, buf_slice(&job->bytes), &side->err) < 0)
		side->failed = true;
	atomic_fetch_sub(&writer->unwritten, job->bytes.len);
	left = atomic_fetch_sub(&side->unwritten, job->bytes.len) -
	       job->bytes.len;
	if (left == 0 ||
	    (left < SIDE_ROOM && left + job->bytes.len >= SIDE_ROOM))
		loop_post(writer->loop, side_room, side);
}

static void side_end(struct spool_writer *writer, struct spool_side *side)
{
	char *tmp = side_path(writer, &side->id, ".tmp");
	char *path = side_path(writer, &side->id, ".msg");
	struct stat st;

	if (!side->failed && writer->io->sync(side->fd) < 0)
		side_fail(side, "sync", tmp);
	if (fstat(side->fd, &st) == 0)
		atomic_fetch_add(&writer->bytes, (uint64_t)st.st_size);
	close(side->fd);
	if (!side->failed && rename(tmp, path) < 0)
		side_fail(side, "rename", tmp);
	if (!side->failed && file_sync_dir(writer->dir, &side->err) < 0)
		side->failed = true;
	if (side->failed)
		unlink(tmp);
	free(tmp);
	free(path);
}

static void side_free(void *ctx)
{
	free(ctx);
}

static void side_abort(struct spool_writer *writer, struct spool_side *side)
{
	char *tmp = side_path(writer, &side->id, ".tmp");

	close(side->fd);
	unlink(tmp);
	free(tmp);
	loop_post(writer->loop, side_free, side); /* as in tell_done() */
}

/* The thread. */

static void tell_done(void *ctx);

static void finish_batch(struct spool_writer *writer,
			 struct spool_append **batch, size_t count)
{
	bool was_empty;

	if (count == 0)
		return;
	pthread_mutex_lock(&writer->lock);
	was_empty = !writer->done;
	for (size_t i = 0; i < count; i++) {
		batch[i]->next = NULL;
		*writer->last_done = batch[i];
		writer->last_done = &batch[i]->next;
	}
	pthread_mutex_unlock(&writer->lock);
	if (was_empty)
		loop_post(writer->loop, tell_done, writer);
}

static void run_batch(struct spool_writer *writer, struct spool_append **batch,
		      size_t *count, size_t *bytes)
{
	if (*count > 0) {
		keep_batch(writer, batch, *count);
		finish_batch(writer, batch, *count);
	}
	*count = *bytes = 0;
}

static void add_to_batch(struct spool_writer *writer,
			 struct spool_append *append,
			 struct spool_append **batch, size_t *count,
			 size_t *bytes)
{
	uint64_t whole = segment_record_bytes(payload_bytes(append));

	if (append->side && append->side->failed) {
		/* Its place in the line is kept: dones come in order. */
		run_batch(writer, batch, count, bytes);
		append->err = append->side->err;
		finish_batch(writer, &append, 1);
		return;
	}
	if (writer->fd >= 0 &&
	    writer->offset + *bytes + whole > SEGMENT_BYTES) {
		run_batch(writer, batch, count, bytes);
		if (writer->offset + whole > SEGMENT_BYTES)
			segment_close(writer);
	}
	batch[(*count)++] = append;
	*bytes += whole;
	if (*count == BATCH_RECORDS || *bytes >= BATCH_BYTES)
		run_batch(writer, batch, count, bytes);
}

static void run_jobs(struct spool_writer *writer, struct job *job)
{
	struct spool_append *batch[BATCH_RECORDS];
	size_t count = 0, bytes = 0;

	while (job) {
		struct job *next = job->next;
		enum job_kind kind = job->kind;

		switch (kind) {
		case JOB_APPEND:
			add_to_batch(writer, (struct spool_append *)job, batch,
				     &count, &bytes);
			break;
		case JOB_SIDE_WRITE:
			side_write(writer, job);
			break;
		case JOB_SIDE_END:
			side_end(writer, job->side);
			break;
		case JOB_SIDE_ABORT:
			side_abort(writer, job->side);
			break;
		}
		if (kind != JOB_APPEND) {
			buf_release(&job->bytes);
			free(job);
		}
		job = next;
	}
	run_batch(writer, batch, &count, &bytes);
}

/* With the lock: until nobody is on the way, or the moment is over. */
static void gather(struct spool_writer *writer)
{
	struct timespec until;

	if (atomic_load(&writer->expected) == 0)
		return;
	until = clock_mono_after(GATHER_US);
	while (!writer->ending && !writer->has_side_job &&
	       atomic_load(&writer->expected) > 0 &&
	       pthread_cond_timedwait(&writer->more, &writer->lock, &until) ==
		       0)
		;
}

static void *spool_thread(void *ctx)
{
	struct spool_writer *writer = ctx;

	for (;;) {
		struct job *jobs;

		pthread_mutex_lock(&writer->lock);
		while (!writer->first && !writer->ending)
			pthread_cond_wait(&writer->more, &writer->lock);
		gather(writer);
		jobs = writer->first;
		writer->first = NULL;
		writer->last = &writer->first;
		writer->has_side_job = false;
		pthread_mutex_unlock(&writer->lock);
		if (!jobs)
			return NULL;
		run_jobs(writer, jobs);
	}
}

/* The loop's side. */

static void tell_done(void *ctx)
{
	struct spool_writer *writer = ctx;
	struct spool_append *append;

	pthread_mutex_lock(&writer->lock);
	append = writer->done;
	writer->done = NULL;
	writer->last_done = &writer->done;
	pthread_mutex_unlock(&writer->lock);
	while (append) {
		struct spool_append *next = append->next;

		list_remove(&append->waiting);
		writer->waiting_count--;
		if (append->done)
			append->done(append->ctx, &append->place,
				     buf_slice(&append->payload),
				     err_is_set(&append->err) ? &append->err :
								NULL);
		buf_release(&append->payload);
		buf_release(&append->body);
		/* Its room may be posted already; posts keep their order. */
		if (append->side)
			loop_post(writer->loop, side_free, append->side);
		free(append);
		append = next;
	}
}

/* True if nothing was waiting. */
static bool push(struct spool_writer *writer, struct job *job)
{
	bool was_empty;

	pthread_mutex_lock(&writer->lock);
	was_empty = !writer->first;
	*writer->last = job;
	writer->last = &job->next;
	writer->has_side_job |= job->kind != JOB_APPEND;
	pthread_mutex_unlock(&writer->lock);
	return was_empty;
}

void spool_writer_expect(struct spool_writer *writer, bool one_more)
{
	if (one_more)
		atomic_fetch_add(&writer->expected, 1);
	else if (atomic_fetch_sub(&writer->expected, 1) == 1)
		loop_timer_arm(writer->kick, 0);
}

static void push_side(struct spool_side *side, enum job_kind kind,
		      struct buf *bytes)
{
	struct job *job = mem_alloc(sizeof(*job));

	job->kind = kind;
	job->side = side;
	if (bytes) {
		job->bytes = *bytes;
		*bytes = (struct buf)BUF_INIT;
	}
	/* Large bodies are written as they come, or memory would fill. */
	push(side->writer, job);
	pthread_cond_signal(&side->writer->more);
}

static void kick(void *ctx)
{
	struct spool_writer *writer = ctx;

	pthread_cond_signal(&writer->more);
}

struct spool_append *spool_writer_append_take(struct spool_writer *writer,
					      enum record_kind kind,
					      struct buf *payload,
					      struct buf *body,
					      spool_done_fn *done, void *ctx)
{
	struct spool_append *append = mem_alloc(sizeof(*append));

	append->kind = kind;
	append->payload = *payload;
	append->body = *body;
	*payload = *body = (struct buf)BUF_INIT;
	append->done = done;
	append->ctx = ctx;
	append->side = writer->ended_side;
	writer->ended_side = NULL;
	append->job.kind = JOB_APPEND;
	append->since_ms = clock_mono_ms();
	list_append(&writer->waiting, &append->waiting);
	writer->waiting_count++;
	/* What else is ready in this turn of the loop goes into the batch. */
	if (push(writer, &append->job) || atomic_load(&writer->expected) == 0)
		loop_timer_arm(writer->kick, 0);
	return append;
}

void spool_append_cancel(struct spool_append **append)
{
	if (*append)
		(*append)->done = NULL;
	*append = NULL;
}

struct spool_side *spool_side_new(struct spool_writer *writer,
				  const struct id *id, struct err *err)
{
	char *path = side_path(writer, id, ".tmp");
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct spool_side *side = NULL;

	if (fd < 0) {
		err_errno(err, "cannot create %s", path);
	} else {
		side = mem_alloc(sizeof(*side));
		side->writer = writer;
		side->id = *id;
		side->fd = fd;
	}
	free(path);
	return side;
}

void spool_side_write_take(struct spool_side *side, struct buf *bytes)
{
	atomic_fetch_add(&side->unwritten, bytes->len);
	atomic_fetch_add(&side->writer->unwritten, bytes->len);
	push_side(side, JOB_SIDE_WRITE, bytes);
}

bool spool_side_is_full(const struct spool_side *side)
{
	size_t most = atomic_load(&side->writer->unwritten) > SIDES_FULL ?
			      0 :
			      SIDE_FULL;

	return atomic_load(&side->unwritten) > most;
}

void spool_side_on_room(struct spool_side *side, loop_fn *room, void *ctx)
{
	side->room = room;
	side->room_ctx = ctx;
	/* It may have become empty between the question and now. */
	if (atomic_load(&side->unwritten) == 0)
		loop_post(side->writer->loop, side_room, side);
}

void spool_side_end(struct spool_side *side)
{
	side->aborted = true; /* no room callback any more */
	push_side(side, JOB_SIDE_END, NULL);
	side->writer->ended_side = side;
}

void spool_side_abort(struct spool_side *side)
{
	side->aborted = true;
	push_side(side, JOB_SIDE_ABORT, NULL);
}

/* Life. */

static uint64_t sweep_dir(const char *dir)
{
	DIR *entries = opendir(dir);
	struct dirent *entry;
	uint64_t bytes = 0;

	while (entries && (entry = readdir(entries))) {
		char *path = mem_printf("%s/%s", dir, entry->d_name);
		struct stat st;

		/* Never named by a record: its sender was never told 250. */
		if (slice_ends_nocase(slice(entry->d_name), ".tmp"))
			unlink(path);
		else if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_blocks * 512;
		free(path);
	}
	if (entries)
		closedir(entries);
	return bytes;
}

/* The last segment of an earlier run: after a kill its records are in the
 * kernel's memory, maybe not on the disk yet, and it still has the space that
 * was asked for in advance. */
static void vouch_for(struct spool_writer *writer,
		      const struct scan_result *found)
{
	char *path = mem_printf("%s/%08u.seg", writer->dir, found->last);
	int fd = found->last ? open(path, O_RDWR | O_CLOEXEC) : -1;
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 &&
	    (uint64_t)st.st_size > found->end &&
	    ftruncate(fd, (off_t)found->end) < 0)
		log_debug("cannot shorten segment %u: %m", found->last);
	if (fd >= 0 && writer->io->sync(fd) == 0) {
		writer->segment.number = found->last;
		writer->synced = found->whole;
	}
	if (fd >= 0)
		close(fd);
	free(path);
}

struct spool_writer *spool_writer_new(struct loop *loop, const char *dir,
				      const struct scan_result *found,
				      struct err *err)
{
	struct spool_writer *writer;
	pthread_condattr_t monotonic;

	if (file_make_dirs(dir, 0700, err) < 0)
		return NULL;
	writer = mem_alloc(sizeof(*writer));
	writer->loop = loop;
	list_init(&writer->waiting);
	writer->kick = loop_timer_new(loop, kick, writer);
	writer->dir = mem_dup(dir);
	writer->io = spool_io_now();
	writer->next_number = found->next_segment ? found->next_segment : 1;
	atomic_store(&writer->head, writer->next_number);
	writer->fd = -1;
	writer->last = &writer->first;
	writer->last_done = &writer->done;
	pthread_mutex_init(&writer->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&writer->more, &monotonic);
	pthread_condattr_destroy(&monotonic);
	vouch_for(writer, found);
	atomic_store(&writer->bytes, sweep_dir(dir));
	if (segment_open(writer, err) < 0)
		goto fail;
	if (pthread_create(&writer->thread, NULL, spool_thread, writer) != 0) {
		err_set(err, "cannot start the spool thread");
		goto fail;
	}
	writer->thread_runs = true;
	return writer;
fail:
	spool_writer_free(writer);
	return NULL;
}

void spool_writer_free(struct spool_writer *writer)
{
	if (!writer)
		return;
	pthread_mutex_lock(&writer->lock);
	writer->ending = true;
	pthread_mutex_unlock(&writer->lock);
	pthread_cond_broadcast(&writer->more);
	if (writer->thread_runs)
		pthread_join(writer->thread, NULL);
	tell_done(writer);
	segment_close(writer);
	loop_timer_free(writer->kick);
	pthread_mutex_destroy(&writer->lock);
	pthread_cond_destroy(&writer->more);
	free(writer->dir);
	free(writer);
}

static int remove_file(struct spool_writer *writer, const char *path,
		       struct err *err)
{
	struct stat st;

	if (stat(path, &st) < 0 || unlink(path) < 0)
		return errno == ENOENT ?
			       0 :
			       err_errno(err, "cannot remove %s", path);
	atomic_fetch_sub(&writer->bytes, (uint64_t)st.st_size);
	return 0;
}

int spool_writer_remove_segment(struct spool_writer *writer, uint32_t segment,
				struct err *err)
{
	char *path = mem_printf("%s/%08u.seg", writer->dir, segment);
	int result = remove_file(writer, path, err);

	free(path);
	return result;
}

int spool_writer_remove_side(struct spool_writer *writer, const struct id *id,
			     struct err *err)
{
	char *path = side_path(writer, id, ".msg");
	int result = remove_file(writer, path, err);

	free(path);
	return result;
}

uint32_t spool_writer_head(const struct spool_writer *writer)
{
	return atomic_load(&writer->head);
}

const char *spool_writer_broken(const struct spool_writer *writer)
{
	return atomic_load(&writer->is_broken) ? writer->broken.text : NULL;
}

int64_t spool_writer_waits_ms(const struct spool_writer *writer, int64_t now_ms)
{
	if (list_is_empty(&writer->waiting))
		return 0;
	return now_ms -
	       list_entry(writer->waiting.next, struct spool_append, waiting)
		       ->since_ms;
}

size_t spool_writer_waiting(const struct spool_writer *writer)
{
	return writer->waiting_count;
}

uint64_t spool_writer_unwritten(const struct spool_writer *writer)
{
	return atomic_load(&writer->unwritten);
}

uint64_t spool_writer_bytes(const struct spool_writer *writer)
{
	return atomic_load(&writer->bytes);
}

void spool_writer_stats(const struct spool_writer *writer,
			struct spool_stats *stats)
{
	stats->appends = atomic_load(&writer->appends);
	stats->batches = atomic_load(&writer->batches);
	stats->syncs = atomic_load(&writer->syncs);
	stats->bytes = atomic_load(&writer->bytes);
	stats->sync_ms = (double)atomic_load(&writer->sync_us) / 1000;
}
