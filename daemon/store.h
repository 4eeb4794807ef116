/*
 * store.h - keep a record: durable in the spool, then known to the index
 *
 * The only way by which records reach the spool, so that the index sees every
 * one of them in the order of the log.  On the loop; `done` as in
 * spool_writer.h: exactly once, never before the call returns.
 */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include "daemon/index.h"
#include "daemon/spool_reader.h"
#include "daemon/spool_writer.h"

struct store {
	struct loop *loop;
	struct spool_writer *spool;
	struct spool_reader *reader;
	struct index *index;
	struct keyring *keyring;
};

typedef void store_done_fn(void *ctx, const struct spool_place *place,
			   const struct err *err);

/* Texts of a plan that encrypts are sealed on the way (sealed.h), which the
 * index sees as they stand in the spool; its bodies come sealed. */

/* `body` is taken over (empty for a side file). */
void store_message(struct store *store, const struct record_message *message,
		   struct buf *body, store_done_fn *done, void *ctx);
/* A MESSAGE as it lay elsewhere in the spool; payload and body are taken. */
void store_again(struct store *store, struct buf *payload, struct buf *body,
		 store_done_fn *done, void *ctx);
/* `done` may be NULL. */
void store_attempt(struct store *store, const char *plan,
		   const struct record_attempt *attempt, store_done_fn *done,
		   void *ctx);
void store_state(struct store *store, const char *plan,
		 const struct record_state *state, store_done_fn *done,
		 void *ctx);

#endif
