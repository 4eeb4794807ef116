#include "base/seal.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Fetching an algorithm searches the providers each time: once is enough. */
static EVP_CIPHER *gcm, *wrap;
static EVP_MD *sha256;

static void fetch(void)
{
	gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	wrap = EVP_CIPHER_fetch(NULL, "AES-256-WRAP", NULL);
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static void ready(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fetch);
	if (!gcm || !wrap || !sha256)
		abort();
}

static EVP_CIPHER_CTX *context(void)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	ready();
	if (!ctx)
		abort();
	return ctx;
}

void *secret_alloc(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	/* Neither is promised: a limit may stand against the first. */
	(void)mlock(p, bytes);
	(void)madvise(p, bytes, MADV_DONTDUMP);
	return p;
}

void secret_free(void *p, size_t bytes)
{
	if (!p)
		return;
	OPENSSL_cleanse(p, bytes);
	munmap(p, bytes);
}

void secret_wipe(void *p, size_t bytes)
{
	OPENSSL_cleanse(p, bytes);
}

static const unsigned char *bytes_of(struct slice s)
{
	return (const unsigned char *)s.p;
}

void seal(const unsigned char key[SEAL_KEY],
	  const unsigned char nonce[SEAL_NONCE], struct slice bound,
	  struct slice plain, struct buf *out)
{
	EVP_CIPHER_CTX *ctx = context();
	unsigned char *to;
	int len = 0, more = 0;

	buf_reserve(out, plain.len + SEAL_TAG);
	to = (unsigned char *)out->p + out->len;
	if (EVP_EncryptInit_ex2(ctx, gcm, key, nonce, NULL) != 1 ||
	    EVP_EncryptUpdate(ctx, NULL, &len, bytes_of(bound),
			      (int)bound.len) != 1 ||
	    (plain.len > 0 && EVP_EncryptUpdate(ctx, to, &len, bytes_of(plain),
						(int)plain.len) != 1) ||
	    EVP_EncryptFinal_ex(ctx, to + plain.len, &more) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG,
				to + plain.len) != 1)
		abort();
	out->len += plain.len + SEAL_TAG;
	out->p[out->len] = '\0';
	EVP_CIPHER_CTX_free(ctx);
}

bool seal_open(const unsigned char key[SEAL_KEY],
	       const unsigned char nonce[SEAL_NONCE], struct slice bound,
	       struct slice sealed, struct buf *out)
{
	EVP_CIPHER_CTX *ctx;
	unsigned char tag[SEAL_TAG], *to;
	int len = 0, more = 0;
	size_t plain;
	bool opened;

	if (sealed.len < SEAL_TAG)
		return false;
	plain = sealed.len - SEAL_TAG;
	memcpy(tag, sealed.p + plain, SEAL_TAG);
	/* One more, so that an empty text has a place as well. */
	buf_reserve(out, plain + 1);
	to = (unsigned char *)out->p + out->len;
	ctx = context();
	if (EVP_DecryptInit_ex2(ctx, gcm, key, nonce, NULL) != 1 ||
	    EVP_DecryptUpdate(ctx, NULL, &len, bytes_of(bound),
			      (int)bound.len) != 1 ||
	    (plain > 0 && EVP_DecryptUpdate(ctx, to, &len, bytes_of(sealed),
					    (int)plain) != 1) ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG, tag) != 1)
		abort();
	opened = EVP_DecryptFinal_ex(ctx, to + plain, &more) == 1;
	EVP_CIPHER_CTX_free(ctx);
	if (opened)
		out->len += plain;
	else
		OPENSSL_cleanse(to, plain);
	out->p[out->len] = '\0';
	return opened;
}

void seal_wrap(const unsigned char key[SEAL_KEY], struct slice plain,
	       unsigned char *out)
{
	EVP_CIPHER_CTX *ctx = context();
	int len = 0, more = 0;

	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (EVP_EncryptInit_ex2(ctx, wrap, key, NULL, NULL) != 1 ||
	    EVP_EncryptUpdate(ctx, out, &len, bytes_of(plain),
			      (int)plain.len) != 1 ||
	    EVP_EncryptFinal_ex(ctx, out + len, &more) != 1)
		abort();
	EVP_CIPHER_CTX_free(ctx);
}

bool seal_unwrap(const unsigned char key[SEAL_KEY], struct slice wrapped,
		 unsigned char *out)
{
	EVP_CIPHER_CTX *ctx;
	/* The cipher may write as much as it reads before it says no. */
	unsigned char *room;
	int len = 0, more = 0;
	bool opened;

	if (wrapped.len < 16 + SEAL_WRAPPED || wrapped.len % 8 != 0)
		return false;
	ctx = context();
	room = secret_alloc(wrapped.len + SEAL_WRAPPED);
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (EVP_DecryptInit_ex2(ctx, wrap, key, NULL, NULL) != 1)
		abort();
	opened = EVP_DecryptUpdate(ctx, room, &len, bytes_of(wrapped),
				   (int)wrapped.len) == 1 &&
		 EVP_DecryptFinal_ex(ctx, room + len, &more) == 1 &&
		 (size_t)(len + more) == wrapped.len - SEAL_WRAPPED;
	if (opened)
		memcpy(out, room, wrapped.len - SEAL_WRAPPED);
	else
		OPENSSL_cleanse(out, wrapped.len - SEAL_WRAPPED);
	secret_free(room, wrapped.len + SEAL_WRAPPED);
	EVP_CIPHER_CTX_free(ctx);
	return opened;
}

void seal_derive(const unsigned char key[SEAL_KEY], struct slice label,
		 unsigned char out[SEAL_KEY])
{
	unsigned len = 0;

	ready();
	if (!HMAC(sha256, key, SEAL_KEY, bytes_of(label), label.len, out,
		  &len) ||
	    len != SEAL_KEY)
		abort();
}
