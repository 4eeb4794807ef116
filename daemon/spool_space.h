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
 * Oldest first, so that every record about a message lies behind it.  A side
 * file goes when its message is final.  All functions run on the loop.
 */
#ifndef DAEMON_SPOOL_SPACE_H
#define DAEMON_SPOOL_SPACE_H

#include "daemon/queue.h"
#include "daemon/store.h"

struct spool_space;

/*
 * `spool_dir` is what the writer writes to, `evidence_dir` beside it.  The
 * queue is loaded.  `keep_sides`: side files without a message stay (the spool
 * was damaged; they may be all that is left of it).
 */
struct spool_space *spool_space_new(struct store *store, struct queue *queue,
				    const char *spool_dir,
				    const char *evidence_dir, bool keep_sides);
/* Once the writer and the index are closed: what is under way stops there, and
 * is done again by the next start.  NULL is fine. */
void spool_space_free(struct spool_space *space);
/* The disk is short: clear out whatever frees anything. */
void spool_space_is_short(struct spool_space *space, bool is_short);

#endif
