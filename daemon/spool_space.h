/*
 * spool_space.h - the space of mail that is gone comes back
 *
 * Clears out the oldest segment once little of it lives, then the next:
 *
 *   its evidence (evidence.h) is durable, written by a thread of its own
 *   -> messages that still live are appended again, same id and sequence
 *   -> all of that is durable, and the index has it
 *   -> the segment is removed
 *
 * Oldest first, so that every record about a message lies behind it.
 *
 * Delivered mail may be needed once more (resend.h): while its owner keeps a
 * copy of it, its segment and its side file stay, whatever lies beside it.  A
 * short disk is stronger: then copies go, oldest first, and their owner hears
 * of it before.  All functions run on the loop.
 */
#ifndef DAEMON_SPOOL_SPACE_H
#define DAEMON_SPOOL_SPACE_H

#include "daemon/backlog.h"
#include "daemon/store.h"

struct spool_space;

struct spool_space_owner {
	/* Whether a copy of what this plan delivered then is still wanted. */
	bool (*keeps)(void *ctx, const char *plan, int64_t delivered_ms);
	/* So many kept copies of a plan go now, as the disk is short. */
	void (*drops)(void *ctx, const char *plan, uint64_t count,
		      uint32_t segment);
};

/*
 * `spool_dir` is what the writer writes to, `evidence_dir` beside it.  Before
 * the first session: the side files that are there now and belong to nobody
 * will go, later ones may be on their way in.  `keep_sides`: those stay (the
 * spool was damaged; they may be all that is left of it).
 */
struct spool_space *spool_space_new(struct store *store, struct queue *queue,
				    struct backlog *backlog,
				    const char *spool_dir,
				    const char *evidence_dir, bool keep_sides,
				    const struct spool_space_owner *owner,
				    void *ctx);
/* Of every plan the backlog knows how far the queue is in memory; what it does
 * not hold up to there does not live.  Nothing goes before. */
void spool_space_begin(struct spool_space *space);
/* Once the writer and the index are closed: what is under way stops there, and
 * is done again by the next start.  NULL is fine. */
void spool_space_free(struct spool_space *space);
/* The disk is short: clear out whatever frees anything. */
void spool_space_is_short(struct spool_space *space, bool is_short);
/* Short as it is, something may still go: kept copies, or half a segment. */
bool spool_space_can_free(const struct spool_space *space);
/* Whether the bytes of this message are still there. */
bool spool_space_has(const struct spool_space *space, const struct id *id,
		     const struct spool_place *place);

#endif
