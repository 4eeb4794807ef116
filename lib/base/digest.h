/*
 * digest.h - SHA-256, in one go or piece by piece   [OpenSSL EVP]
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/slice.h"

#define DIGEST_LEN  32
#define DIGEST_TEXT 65 /* hex and NUL */

struct digest; /* a SHA-256 under way */

struct digest *digest_new(void);
void digest_add(struct digest *digest, struct slice bytes);
/* The result; the digest may only be freed (or reset) afterwards. */
void digest_end(struct digest *digest, unsigned char out[DIGEST_LEN]);
void digest_reset(struct digest *digest);
void digest_free(struct digest *digest);

void digest_sha256(struct slice bytes, unsigned char out[DIGEST_LEN]);
const char *digest_text(const unsigned char digest[DIGEST_LEN],
			char text[DIGEST_TEXT]);

#endif
