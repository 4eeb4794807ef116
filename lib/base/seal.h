/*
 * seal.h - keys that leave no trace, and bytes nobody can read or change
 *                                                            [OpenSSL EVP]
 *
 * AES-256-GCM (NIST SP 800-38D), the AES key wrap of RFC 3394 and HMAC-SHA-256
 * (RFC 2104) as one step each.  Which key and nonce belong to what is decided
 * by whoever calls: the same nonce twice under one key gives both texts away.
 */
#ifndef BASE_SEAL_H
#define BASE_SEAL_H

#include "base/buf.h"

#define SEAL_KEY     32
#define SEAL_NONCE   12
#define SEAL_TAG     16
#define SEAL_WRAPPED 8 /* bytes that a wrapped text is longer */

/*
 * Zeroed memory for keys, on pages of its own: kept out of core dumps, and out
 * of the swap where the limit on locked memory allows.  Wiped when freed; the
 * size is that of the allocation.
 */
void *secret_alloc(size_t bytes);
void secret_free(void *p, size_t bytes); /* NULL is fine */
/* Overwrites in a way that no compiler leaves out. */
void secret_wipe(void *p, size_t bytes);

/* Appends `plain` sealed and its tag: SEAL_TAG bytes more.  `bound` is not in
 * it, but without the same bytes it does not open. */
void seal(const unsigned char key[SEAL_KEY],
	  const unsigned char nonce[SEAL_NONCE], struct slice bound,
	  struct slice plain, struct buf *out);
/* Appends the plain bytes.  False, and nothing appended, if key, nonce, `bound`
 * or any bit is another, or if it was cut. */
bool seal_open(const unsigned char key[SEAL_KEY],
	       const unsigned char nonce[SEAL_NONCE], struct slice bound,
	       struct slice sealed, struct buf *out);

/* RFC 3394 with the default initial value; `plain` is a multiple of 8 bytes, at
 * least 16.  `out` has room for SEAL_WRAPPED more. */
void seal_wrap(const unsigned char key[SEAL_KEY], struct slice plain,
	       unsigned char *out);
/* `out` has room for `wrapped` less SEAL_WRAPPED.  False: another key, or
 * changed bytes; `out` is wiped then. */
bool seal_unwrap(const unsigned char key[SEAL_KEY], struct slice wrapped,
		 unsigned char *out);

/* HMAC-SHA-256 of `label` under `key`: another key for another use. */
void seal_derive(const unsigned char key[SEAL_KEY], struct slice label,
		 unsigned char out[SEAL_KEY]);

#endif
