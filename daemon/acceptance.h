/*
 * acceptance.h - what a session asks of the rest of the daemon
 *
 * Where mail is welcome and how it is kept, as a session sees it.  Implemented
 * by the daemon; a session knows no plan, phase or valve beside this.
 */
#ifndef DAEMON_ACCEPTANCE_H
#define DAEMON_ACCEPTANCE_H

#include "daemon/store.h"
#include "smtp/smtp_path.h"

struct acceptance_answer {
	int code;	     /* 250, or what refuses it */
	char text[160];	     /* "4.3.2 not accepting for this domain now" */
	const char *plan;    /* of a 250: whose transaction this becomes;
				   lives as long as the session's turn */
	const char *address; /* of a 250: who gets it in place of the
				      recipient, or NULL; lives as `plan` */
	uint64_t max_bytes;  /* of a 250: what that plan takes */
};

struct acceptance {
	struct loop *loop;
	struct store *store;
	void *ctx;
	size_t body_bytes; /* in memory, of all messages that come in */
	/* May a message of about this size (0: unknown) be taken (space,
	 * spool)?  250 or a 4xx. */
	void (*admit)(void *ctx, uint64_t size,
		      struct acceptance_answer *answer);
	/* May so many bytes of a message under way go to the disk? */
	bool (*room)(void *ctx, uint64_t bytes);
	/* One recipient; `plan` is that of the transaction's first, or NULL. */
	void (*recipient)(void *ctx, const struct smtp_path *path,
			  struct slice address, const char *plan, uint64_t size,
			  struct acceptance_answer *answer);
	/* A transaction of the plan begins, or is over.  In between the plan is
	 * not removed. */
	void (*enter)(void *ctx, const char *plan);
	void (*leave)(void *ctx, const char *plan);
	/* At the end of a message: its plan may have come to an end meanwhile.
	 * 250 or a 4xx. */
	void (*still)(void *ctx, const char *plan,
		      struct acceptance_answer *answer);
	/* Next acceptance sequence number. */
	uint64_t (*sequence)(void *ctx);
	/* A durable message joins the queue (before its 250 leaves). */
	void (*accepted)(void *ctx, const struct record_message *message,
			 const struct spool_place *place);
	/* Largest message any active plan takes. */
	uint64_t (*max_bytes)(void *ctx);
	/* Every target of every active plan offered SMTPUTF8 when it was last
	 * probed: only then is it offered here. */
	bool (*utf8)(void *ctx);
};

#endif
