/*
 * id.h - the name of a message
 *
 * 20 characters of Crockford base32 in lower case: 50 bits of milliseconds,
 * 50 random bits.  Sorts by time to the eye; order of delivery never depends
 * on it (that is the sequence).
 */
#ifndef BASE_ID_H
#define BASE_ID_H

#include "base/slice.h"

#define ID_LEN 20

struct id {
	char text[ID_LEN + 1];
};

struct id id_new(int64_t wall_ms);
bool id_parse(struct slice text, struct id *id);
bool id_equal(const struct id *a, const struct id *b);
/* `len` bytes from the kernel's generator. */
void random_bytes(void *p, size_t len);

#endif
