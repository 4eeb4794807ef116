/*
 * spool_writer.h - the thread that makes records durable
 *
 * One writer, group commit: everything that waits goes out in one writev and
 * one fdatasync, then the waiters learn it.  Segments are 64 MiB, named by
 * number ("00000001.seg"); lib/spool knows their format.  A failed write or sync retires the segment for good (after
 * EIO a second sync may lie), its waiters get the error and appends go to a
 * new segment; when that fails too, and not for want of space, the writer is
 * `broken`: every append fails until a restart and the valves close.
 *
 * All functions run on the loop.
 */
#ifndef DAEMON_SPOOL_WRITER_H
#define DAEMON_SPOOL_WRITER_H

#include "net/loop.h"
#include "spool/record.h"
#include "spool/scan.h"

struct spool_writer;
struct spool_append;

struct spool_place {
	uint32_t segment;
	uint64_t offset; /* of the record */
	uint64_t body;	 /* of the body inside the segment; 0: side file */
	bool sealed;	 /* the body: the writer does not know, store.c does */
};

/* `payload` as it was appended, until this returns. */
typedef void spool_done_fn(void *ctx, const struct spool_place *place,
			   struct slice payload, const struct err *err);

/*
 * Opens `dir` (made if missing) for appending to a new segment.  Existing
 * segments are left alone; `found` is what a scan of them found.  From now on
 * that counts as kept: the last one is synced, and the new one vouches for it.
 */
struct spool_writer *spool_writer_new(struct loop *loop, const char *dir,
				      const struct scan_result *found,
				      struct err *err);
/* Waits for what is under way; the done of each runs before it returns. */
void spool_writer_free(struct spool_writer *writer);

/*
 * Append one record: `payload` and then `body` (may be empty) are its bytes.
 * `done` runs exactly once, from the loop, never before this returns.  With
 * err NULL the record survives a power cut.  payload->p and body->p are taken
 * over (buf_take'n memory, freed by the writer).
 *
 * After a cancel `done` never runs; the record may have been kept all the
 * same: a duplicate is cheaper than a loss.
 */
struct spool_append *spool_writer_append_take(struct spool_writer *writer,
					      enum record_kind kind,
					      struct buf *payload,
					      struct buf *body,
					      spool_done_fn *done, void *ctx);
void spool_append_cancel(struct spool_append **append);

/*
 * One more message is on its way that ends soon, or one less.  While there are
 * any a batch waits for them a moment, less than a sync takes: more of them
 * share it.  A lone message waits for nobody.
 */
void spool_writer_expect(struct spool_writer *writer, bool one_more);

/*
 * A body too big for a record: a side file that is written piece by piece on
 * the spool thread, so memory stays bounded.  After side_end its bytes and its
 * name are synced before the MESSAGE record that names it is written.
 */
struct spool_side *spool_side_new(struct spool_writer *writer,
				  const struct id *id, struct err *err);
/* Takes the bytes over. */
void spool_side_write_take(struct spool_side *side, struct buf *bytes);
/* Too much of it, or of all of them, is not written yet: pause the peer and
 * wait for `room`. */
bool spool_side_is_full(const struct spool_side *side);
/* `room` runs on the loop when its unwritten bytes fell under 256 KiB, or when
 * there are none. */
void spool_side_on_room(struct spool_side *side, loop_fn *room, void *ctx);
/* Done writing; the append of its message must follow (order is kept). */
void spool_side_end(struct spool_side *side);
/* Removes the file. */
void spool_side_abort(struct spool_side *side);

/* The segment that is written, or will be next: not to be removed. */
uint32_t spool_writer_head(const struct spool_writer *writer);
/* Deletes a segment that holds nothing live, or a side file. */
int spool_writer_remove_segment(struct spool_writer *writer, uint32_t segment,
				struct err *err);
int spool_writer_remove_side(struct spool_writer *writer, const struct id *id,
			     struct err *err);
/* NULL, or why nothing can be kept any more. */
const char *spool_writer_broken(const struct spool_writer *writer);
/* How long the oldest append has waited until now; 0: none waits. */
int64_t spool_writer_waits_ms(const struct spool_writer *writer,
			      int64_t now_ms);
/* How many wait. */
size_t spool_writer_waiting(const struct spool_writer *writer);
/* Bytes of side files that are not on the disk yet. */
uint64_t spool_writer_unwritten(const struct spool_writer *writer);
/* Bytes in segments and side files. */
uint64_t spool_writer_bytes(const struct spool_writer *writer);

struct spool_stats {
	uint64_t appends, batches, bytes, syncs;
	double sync_ms; /* mean of the last batches */
};
void spool_writer_stats(const struct spool_writer *writer,
			struct spool_stats *stats);

#endif
