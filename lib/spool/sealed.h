/*
 * sealed.h - what of a record is sealed, and how it stands there
 *
 * Texts: reverse-path, the local part of each forward-path, HELO name and peer
 * of a message; the reply of an attempt; the reason of a state.  Each becomes a
 * text again, base64 of mark (keyring.h), ciphertext and tag, bound to the
 * message's id, to the field and to the envelope, so that none can be put in
 * another's place.  A forward-path keeps its domain in the clear: the plan
 * names it anyway, and ledger, index and `spool verify` count by it without a
 * key.  In the clear stay ids, times, sizes, the body's SHA-256, plan, domain,
 * protocol, TLS, states and reply codes.
 *
 * Bodies: a mark, then chunks of 64 KiB, each with a tag of its own, bound to
 * the id, to its number and to whether it is the last; so that a body which was
 * cut, extended, reordered or swapped does not open.  Any chunk can be read
 * without those before it.
 *
 * Pure but for the keys.
 */
#ifndef SPOOL_SEALED_H
#define SPOOL_SEALED_H

#include "spool/keyring.h"
#include "spool/record.h"

#define SEALED_CHUNK (64 * 1024)
/* Of a message, not of one of its envelopes. */
#define SEALED_NO_ENVELOPE UINT32_MAX

enum sealed_field {
	SEALED_REVERSE_PATH = 1,
	SEALED_FORWARD_PATH = 2,
	SEALED_HELO = 3,
	SEALED_PEER = 4,
	SEALED_REPLY = 5,
	SEALED_REASON = 6
};

/* Appends the text as it stands in a record.  -1: the key was shredded. */
int sealed_text_add(struct keyring *keyring, struct data_key *key,
		    enum sealed_field field, const struct id *id,
		    uint32_t envelope, struct slice plain, struct buf *out,
		    struct err *err);
/* Appends the plain text.  False, and nothing appended: its key is not here,
 * or it was changed. */
bool sealed_text_open(struct keyring *keyring, enum sealed_field field,
		      const struct id *id, uint32_t envelope,
		      struct slice sealed, struct buf *out);

/* Whether its key is here; true as well for what does not even name one: that
 * is no sealed text. */
bool sealed_text_has_key(struct keyring *keyring, enum sealed_field field,
			 struct slice sealed);

/*
 * The same message with its texts sealed and marked as such; those lie in
 * `text`, and `paths` has room for its envelopes.  The body is not touched.
 */
int sealed_message(struct keyring *keyring, struct data_key *key,
		   const struct record_message *plain, struct buf *text,
		   struct slice *paths, struct record_message *out,
		   struct err *err);
/*
 * The way back.  What does not open (or with a keyring of NULL) becomes
 * "(sealed)", and *unopened counts it.
 */
void sealed_message_open(struct keyring *keyring,
			 const struct record_message *sealed, struct buf *text,
			 struct slice *paths, struct record_message *out,
			 size_t *unopened);

/* Bytes that a body of `bytes` takes when it is sealed. */
uint64_t sealed_body_bytes(uint64_t bytes);

/* A body on its way: any pieces in, whole chunks out. */
struct sealed_body;
/* NULL: the key was shredded.  Holds the key until it is freed. */
struct sealed_body *sealed_body_new(struct keyring *keyring,
				    struct data_key *key, const struct id *id,
				    struct err *err);
void sealed_body_free(struct sealed_body *body); /* NULL is fine */
/* Both append what is ready to `out`; -1: the key was shredded meanwhile. */
int sealed_body_add(struct sealed_body *body, struct slice bytes,
		    struct buf *out, struct err *err);
int sealed_body_end(struct sealed_body *body, struct buf *out, struct err *err);

/*
 * Bytes `from` to `from + len` of a body of `bytes`, appended to `out`.  `read`
 * gives bytes of the sealed body: appends exactly `len` at `at`, or fails.
 */
typedef int sealed_read_fn(void *ctx, uint64_t at, size_t len, struct buf *out,
			   struct err *err);
int sealed_body_open(struct keyring *keyring, const struct id *id,
		     uint64_t bytes, uint64_t from, size_t len,
		     sealed_read_fn *read, void *ctx, struct buf *out,
		     struct err *err);
/* Whether the key of this body, which `head` begins, is here. */
bool sealed_body_has_key(struct keyring *keyring, struct slice head);

#endif
