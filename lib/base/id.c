#include "base/id.h"
#include "base/clock.h"
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *p, size_t len)
{
	static _Thread_local unsigned char pool[256];
	static _Thread_local size_t left;

	if (len > sizeof(pool)) {
		if (getrandom(p, len, 0) != (ssize_t)len)
			abort();
		return;
	}
	if (left < len) {
		/* Up to 256 bytes come whole or not at all: getrandom(2). */
		if (getrandom(pool, sizeof(pool), 0) != sizeof(pool))
			abort();
		left = sizeof(pool);
	}
	left -= len;
	memcpy(p, pool + left, len);
}

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

struct id id_new(int64_t wall_ms)
{
	uint64_t time = (uint64_t)wall_ms & 0xffffffffffffu, noise;
	struct id id = { "" };

	random_bytes(&noise, sizeof(noise));
	/* 100 bits: ten characters of time and two bits, ten of noise. */
	for (int i = 9; i >= 0; i--, time >>= 5)
		id.text[i] = alphabet[time & 31];
	for (int i = 19; i >= 10; i--, noise >>= 5)
		id.text[i] = alphabet[noise & 31];
	return id;
}

bool id_parse(struct slice text, struct id *id)
{
	if (text.len != ID_LEN)
		return false;
	for (size_t i = 0; i < ID_LEN; i++)
		if (!text.p[i] || !strchr(alphabet, text.p[i]))
			return false;
	memcpy(id->text, text.p, ID_LEN);
	id->text[ID_LEN] = '\0';
	return true;
}

bool id_equal(const struct id *a, const struct id *b)
{
	return memcmp(a->text, b->text, ID_LEN) == 0;
}
