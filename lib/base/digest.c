#include "base/digest.h"
#include "base/buf.h"
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>

struct digest {
	EVP_MD_CTX *ctx;
};

/* Fetching an algorithm searches the providers each time: once is enough. */
static EVP_MD *sha256;

static void fetch(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static void begin(EVP_MD_CTX *ctx)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fetch);
	if (!sha256 || EVP_DigestInit_ex2(ctx, sha256, NULL) != 1)
		abort();
}

struct digest *digest_new(void)
{
	struct digest *digest = mem_alloc(sizeof(*digest));

	digest->ctx = EVP_MD_CTX_new();
	if (!digest->ctx)
		abort();
	begin(digest->ctx);
	return digest;
}

void digest_add(struct digest *digest, struct slice bytes)
{
	if (EVP_DigestUpdate(digest->ctx, bytes.p, bytes.len) != 1)
		abort();
}

void digest_end(struct digest *digest, unsigned char out[DIGEST_LEN])
{
	if (EVP_DigestFinal_ex(digest->ctx, out, NULL) != 1)
		abort();
}

void digest_reset(struct digest *digest)
{
	begin(digest->ctx);
}

void digest_free(struct digest *digest)
{
	if (!digest)
		return;
	EVP_MD_CTX_free(digest->ctx);
	free(digest);
}

void digest_sha256(struct slice bytes, unsigned char out[DIGEST_LEN])
{
	struct digest *digest = digest_new();

	digest_add(digest, bytes);
	digest_end(digest, out);
	digest_free(digest);
}

const char *digest_text(const unsigned char digest[DIGEST_LEN],
			char text[DIGEST_TEXT])
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < DIGEST_LEN; i++) {
		text[2 * i] = hex[digest[i] >> 4];
		text[2 * i + 1] = hex[digest[i] & 15];
	}
	text[2 * DIGEST_LEN] = '\0';
	return text;
}
