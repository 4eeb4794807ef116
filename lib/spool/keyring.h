/*
 * keyring.h - a data key per plan, wrapped by the one master key
 *
 * What a plan seals is sealed under its data key: 32 random bytes that stand
 * in the state folder only wrapped (RFC 3394) by the master key, which is read
 * from a file of the operator's and never written.  Without its data key
 * nothing of a plan can be read again, so to destroy the wrapped key is to
 * destroy all of it at once (`queue shred`).
 *
 * Nonces never repeat under a key.  A data key seals nothing itself: each
 * process draws a salt of 16 random bytes per data key and seals under
 * HMAC-SHA-256(data key, label and salt), with a 64-bit counter from 0 as the
 * nonce (and the number of the chunk).  Salt and counter stand before what they
 * sealed.  Nothing about this is kept on disk, so that a state folder put back
 * from a backup, or a machine run twice from one image, cannot go back to a
 * nonce that was used: it draws another salt.
 *
 * Any thread.  Keys lie on locked pages (seal.h) and are wiped at the end.
 */
#ifndef SPOOL_KEYRING_H
#define SPOOL_KEYRING_H

#include "base/buf.h"
#include "base/err.h"
#include "base/id.h"
#include "base/seal.h"

#define KEY_ID	      8
#define KEY_ID_TEXT   (2 * KEY_ID + 1)
#define KEY_SALT      16
#define KEY_FILE_NAME "data.key" /* in the folder of a plan */

struct keyring;
struct data_key;

/* Without a master key it makes and opens none. */
struct keyring *keyring_new(void);
void keyring_free(struct keyring *keyring); /* NULL is fine */

/*
 * The file holds 32 bytes, or 64 hex digits and perhaps a newline.  One that
 * others than user and group may read or write is refused.
 */
int keyring_read_master(struct keyring *keyring, const char *path,
			struct err *err);
bool keyring_has_master(const struct keyring *keyring);

/*
 * Takes up the wrapped key in `path` as that of `plan`, unless it has one.  -1 without the master
 * key, or with another one than wrapped it; the sentence says what to do.  A
 * key that was shredded is taken up as such.
 */
int keyring_load(struct keyring *keyring, const char *plan, const char *path,
		 struct err *err);
/*
 * As keyring_load() for each plan of STATE_DIR/plans.  A plan that wants
 * encryption, and has a journal but no data.key, is an error as well: its mail
 * could not be opened again.  Changes nothing.
 */
int keyring_load_all(struct keyring *keyring, const char *state_dir,
		     struct err *err);
/* A new key for `plan`, durable in `path` when it returns. */
int keyring_make(struct keyring *keyring, const char *plan, const char *path,
		 struct err *err);
/*
 * Overwrites the wrapped key in `path`, then puts a note in its place that says
 * when; all of it synced.  The key in memory is wiped.  What copies of the file
 * exist elsewhere, it cannot know.
 */
int keyring_shred(struct keyring *keyring, const char *plan, const char *path,
		  struct err *err);
/* The plan is gone: its key is no longer found by its name. */
void keyring_forget(struct keyring *keyring, const char *plan);

/* NULL: the plan seals nothing.  Lives as long as the keyring. */
struct data_key *keyring_find(struct keyring *keyring, const char *plan);
bool data_key_is_shredded(struct data_key *key);
const char *data_key_id(const struct data_key *key); /* in hex */
/* For what will be sealed, or is and is not yet durable: while anything holds a
 * key, it is neither shredded nor forgotten by those who ask first. */
void data_key_hold(struct data_key *key);
void data_key_let(struct data_key *key);
unsigned data_key_holds(struct data_key *key);

/* What opens a sealed text again, besides the key: it stands before it. */
struct key_mark {
	unsigned char id[KEY_ID], salt[KEY_SALT];
	uint64_t counter;
};
#define KEY_MARK (KEY_ID + KEY_SALT + 8)

void key_mark_encode(const struct key_mark *mark, struct buf *out);
/* Takes it off the front; false if there is not so much. */
bool key_mark_decode(struct slice *bytes, struct key_mark *mark);

/* A mark nobody had before.  -1: the key was shredded. */
int data_key_mark(struct data_key *key, struct key_mark *mark, struct err *err);
/* Under the key that `mark` names: seal.h.  False if it is not here. */
bool keyring_seal(struct keyring *keyring, const struct key_mark *mark,
		  uint32_t chunk, struct slice bound, struct slice plain,
		  struct buf *out);
bool keyring_open(struct keyring *keyring, const struct key_mark *mark,
		  uint32_t chunk, struct slice bound, struct slice sealed,
		  struct buf *out);
/* Whether the key that `mark` names is here and not shredded. */
bool keyring_knows(struct keyring *keyring, const struct key_mark *mark);

#endif
