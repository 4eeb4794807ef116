/*
 * spool_reader.h - the threads that read bodies back
 *
 * For replay, notices and export: a piece at a time, from a segment or a side
 * file, opened if it is sealed.  Nothing here changes the spool.
 *
 * All functions run on the loop.
 */
#ifndef DAEMON_SPOOL_READER_H
#define DAEMON_SPOOL_READER_H

#include "daemon/spool_writer.h"
#include "spool/keyring.h"

struct spool_reader;
struct spool_read;

/* Of the spool in `dir`; `keyring` (or NULL) is borrowed. */
struct spool_reader *spool_reader_new(struct loop *loop, const char *dir,
				      struct keyring *keyring, struct err *err);
/* Ends what is under way; no `done` runs any more.  NULL is fine. */
void spool_reader_free(struct spool_reader *reader);

/*
 * At most `max` bytes of the body of a kept message, which has `bytes`, from
 * `from` on; both count in the plain body.  `done` runs exactly once, from the
 * loop, unless cancelled.
 */
typedef void spool_body_fn(void *ctx, struct slice bytes,
			   const struct err *err);
struct spool_read *spool_read_body(struct spool_reader *reader,
				   const struct id *id,
				   const struct spool_place *place,
				   uint64_t bytes, uint64_t from, size_t max,
				   spool_body_fn *done, void *ctx);
void spool_read_cancel(struct spool_read **read);

#endif
