/*
 * record.h - what the spool keeps: messages, attempts, states
 *
 * Pure.  A record is a header (segment.h) and a payload; this module turns the
 * payloads into bytes and back.  Three kinds:
 *
 *   MESSAGE  everything accepted in one transaction, envelopes and bytes
 *   ATTEMPT  one try to deliver one envelope: BEGIN before the final dot may
 *            leave, END with the reply.  BEGIN without END after a crash means
 *            the outcome is uncertain
 *   STATE    an envelope changed state: held, released, delivered, discarded
 *
 * Decoded slices point into the payload.
 */
#ifndef SPOOL_RECORD_H
#define SPOOL_RECORD_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/id.h"

enum record_kind {
	RECORD_MESSAGE = 1,
	RECORD_ATTEMPT = 2,
	RECORD_STATE = 3
};

enum envelope_state {
	ENVELOPE_WAITING,
	ENVELOPE_HELD,
	ENVELOPE_DELIVERED,
	ENVELOPE_BOUNCED,
	ENVELOPE_DISCARDED
};
const char *envelope_state_name(enum envelope_state state);
/* false if no state has that name. */
bool envelope_state_parse(const char *name, enum envelope_state *state);
bool envelope_state_is_final(enum envelope_state state);

#define RECORD_MAX_ENVELOPES 1000
/* A body larger than this is a file beside the segments. */
#define RECORD_BODY_INLINE (256 * 1024)

struct record_message {
	struct id id;
	uint64_t sequence;   /* acceptance order, never reused */
	int64_t accepted_ms; /* wall */
	struct slice plan;
	struct slice reverse_path; /* "" for <> */
	struct slice helo;
	struct slice peer;     /* "192.0.2.1:4711" */
	struct slice protocol; /* "ESMTPS" */
	struct slice tls;      /* "TLSv1.3 TLS_AES_..." or "" */
	bool eightbit, utf8;
	/* Body, reverse-path, helo, peer and the local parts of forward-paths
	 * are sealed (sealed.h); so are replies and reasons of its attempts
	 * and states. */
	bool sealed;
	unsigned char sha256[DIGEST_LEN]; /* of the body as it came */
	uint64_t body_bytes; /* trace field included, before it was sealed */
	size_t envelope_count;
	const struct slice *forward_paths; /* envelope_count addresses */
	bool side_file;			   /* body is in the file "<id>.msg" */
	/* Our trace field and the bytes; empty when it is a side file. */
	struct slice body;
};

struct record_attempt {
	struct id id;
	uint32_t envelope; /* index in the message */
	bool begin;	   /* BEGIN, else END */
	uint32_t number;   /* 1 is the first attempt */
	int64_t at_ms;
	struct slice target; /* "host:port" */
	struct slice tls;    /* what was negotiated, verdict included */
	struct slice stage;  /* of the reply: "rcpt", "dot" ... */
	uint16_t code;	     /* 0: no reply came */
	struct slice enhanced;
	struct slice reply; /* text */
	/* What it led to; a delivered END makes the envelope final. */
	enum envelope_state outcome; /* waiting = deferred */
	bool mailbox;		     /* of held: its mailbox with it */
	bool uncertain;		     /* the cut came after the final dot */
	int64_t next_ms;	     /* deferred until (wall) */
};

struct record_state {
	struct id id;
	uint32_t envelope;
	enum envelope_state state;
	bool mailbox; /* hold: the whole mailbox, not this one */
	int64_t at_ms;
	struct slice by; /* "tideoverd", or who asked */
	struct slice reason;
};

/* Appends the payload without the body (which follows it in the record). */
void record_message_encode(const struct record_message *message,
			   struct buf *out);
void record_attempt_encode(const struct record_attempt *attempt,
			   struct buf *out);
void record_state_encode(const struct record_state *state, struct buf *out);

/*
 * `forward_paths` has room for RECORD_MAX_ENVELOPES.  A payload without its
 * body decodes as well (`body` is empty then): whoever cares compares its
 * length with body_bytes.
 */
int record_message_decode(struct slice payload, struct record_message *message,
			  struct slice *forward_paths, struct err *err);
/* Of an encoded MESSAGE: the flag alone. */
bool record_message_is_sealed(struct slice payload);
int record_attempt_decode(struct slice payload, struct record_attempt *attempt,
			  struct err *err);
int record_state_decode(struct slice payload, struct record_state *state,
			struct err *err);

#endif
