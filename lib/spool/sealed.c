#include "spool/sealed.h"
#include "base/encode.h"
#include <stdlib.h>

enum {
	/* A longer text loses its end, as it would in the record. */
	TEXT_MAX = 32 * 1024,
	/* What a body is bound by, where a text has its field. */
	BOUND_BODY = 0x80,
};

#define BOUND (1 + ID_LEN + 4 + 1)

static void bound_of(unsigned kind, const struct id *id, uint32_t number,
		     bool last, char bound[BOUND])
{
	bound[0] = (char)kind;
	memcpy(bound + 1, id->text, ID_LEN);
	put_u32(bound + 1 + ID_LEN, number);
	bound[1 + ID_LEN + 4] = last;
}

/* Texts. */

/* Where the part in the clear begins: a domain with its '@', or the end. */
static size_t clear_at(enum sealed_field field, struct slice text)
{
	ptrdiff_t at =
		field == SEALED_FORWARD_PATH ? slice_rfind(text, '@') : -1;

	return at < 0 ? text.len : (size_t)at;
}

/* The clear part is bound as well: a mailbox stays in its domain. */
static void text_bound(enum sealed_field field, const struct id *id,
		       uint32_t envelope, struct slice clear, struct buf *out)
{
	char bound[BOUND];

	bound_of(field, id, envelope, true, bound);
	buf_add(out, slice_of(bound, sizeof(bound)));
	buf_add(out, clear);
}

int sealed_text_add(struct keyring *keyring, struct data_key *key,
		    enum sealed_field field, const struct id *id,
		    uint32_t envelope, struct slice plain, struct buf *out,
		    struct err *err)
{
	struct buf bound = BUF_INIT, bytes = BUF_INIT;
	struct slice clear;
	struct key_mark mark;
	int result = -1;

	if (plain.len > TEXT_MAX)
		plain.len = TEXT_MAX;
	clear = slice_from(plain, clear_at(field, plain));
	plain.len -= clear.len;
	text_bound(field, id, envelope, clear, &bound);
	if (data_key_mark(key, &mark, err) < 0)
		goto out;
	key_mark_encode(&mark, &bytes);
	if (!keyring_seal(keyring, &mark, 0, buf_slice(&bound), plain,
			  &bytes)) {
		err_set(err, "the data key %s was shredded", data_key_id(key));
		goto out;
	}
	encode_base64(buf_slice(&bytes), out);
	buf_add(out, clear);
	result = 0;
out:
	buf_release(&bound);
	buf_release(&bytes);
	return result;
}

bool sealed_text_open(struct keyring *keyring, enum sealed_field field,
		      const struct id *id, uint32_t envelope,
		      struct slice sealed, struct buf *out)
{
	size_t at = clear_at(field, sealed);
	struct slice clear = slice_from(sealed, at);
	struct buf bound = BUF_INIT, bytes = BUF_INIT;
	struct key_mark mark;
	struct slice rest;
	bool opened = false;

	if (decode_base64(slice_of(sealed.p, at), &bytes)) {
		rest = buf_slice(&bytes);
		text_bound(field, id, envelope, clear, &bound);
		opened = key_mark_decode(&rest, &mark) &&
			 keyring_open(keyring, &mark, 0, buf_slice(&bound),
				      rest, out);
	}
	if (opened)
		buf_add(out, clear);
	buf_release(&bound);
	buf_release(&bytes);
	return opened;
}

bool sealed_text_has_key(struct keyring *keyring, enum sealed_field field,
			 struct slice sealed)
{
	struct buf bytes = BUF_INIT;
	struct key_mark mark;
	struct slice rest;
	bool has = true;

	sealed.len = clear_at(field, sealed);
	if (decode_base64(sealed, &bytes)) {
		rest = buf_slice(&bytes);
		has = !key_mark_decode(&rest, &mark) ||
		      keyring_knows(keyring, &mark);
	}
	buf_release(&bytes);
	return has;
}

/* Messages: texts are added one after the other, and cut apart at the end,
 * because the buffer moves as it grows. */

struct texts {
	struct buf *text;
	const size_t *ends;
	size_t at;
};

static struct slice next_text(struct texts *t)
{
	size_t from = t->at ? t->ends[t->at - 1] : 0;

	return slice_of(t->text->p + from, t->ends[t->at++] - from);
}

static void cut_apart(struct texts t, struct slice *paths,
		      struct record_message *out)
{
	out->reverse_path = next_text(&t);
	out->helo = next_text(&t);
	out->peer = next_text(&t);
	for (size_t i = 0; i < out->envelope_count; i++)
		paths[i] = next_text(&t);
	out->forward_paths = paths;
}

static struct slice text_of(const struct record_message *m, size_t n,
			    enum sealed_field *field, uint32_t *envelope)
{
	static const enum sealed_field fields[] = { SEALED_REVERSE_PATH,
						    SEALED_HELO, SEALED_PEER };
	const struct slice texts[] = { m->reverse_path, m->helo, m->peer };

	if (n < COUNT(fields)) {
		*field = fields[n];
		*envelope = SEALED_NO_ENVELOPE;
		return texts[n];
	}
	*field = SEALED_FORWARD_PATH;
	*envelope = (uint32_t)(n - COUNT(fields));
	return m->forward_paths[*envelope];
}

static size_t text_count(const struct record_message *m)
{
	return 3 + m->envelope_count;
}

int sealed_message(struct keyring *keyring, struct data_key *key,
		   const struct record_message *plain, struct buf *text,
		   struct slice *paths, struct record_message *out,
		   struct err *err)
{
	size_t count = text_count(plain);
	size_t *ends = mem_alloc(count * sizeof(*ends));
	int result = 0;

	for (size_t n = 0; n < count && result == 0; n++) {
		enum sealed_field field;
		uint32_t envelope;
		struct slice one = text_of(plain, n, &field, &envelope);

		result = sealed_text_add(keyring, key, field, &plain->id,
					 envelope, one, text, err);
		ends[n] = text->len;
	}
	if (result == 0) {
		*out = *plain;
		out->sealed = true;
		cut_apart((struct texts){ text, ends, 0 }, paths, out);
	}
	free(ends);
	return result;
}

void sealed_message_open(struct keyring *keyring,
			 const struct record_message *sealed, struct buf *text,
			 struct slice *paths, struct record_message *out,
			 size_t *unopened)
{
	size_t count = text_count(sealed);
	size_t *ends = mem_alloc(count * sizeof(*ends));

	for (size_t n = 0; n < count; n++) {
		enum sealed_field field;
		uint32_t envelope;
		struct slice one = text_of(sealed, n, &field, &envelope);

		if (!keyring || !sealed_text_open(keyring, field, &sealed->id,
						  envelope, one, text)) {
			buf_adds(text, "(sealed)");
			buf_add(text, slice_from(one, clear_at(field, one)));
			(*unopened)++;
		}
		ends[n] = text->len;
	}
	*out = *sealed;
	cut_apart((struct texts){ text, ends, 0 }, paths, out);
	free(ends);
}

/* Bodies. */

static uint64_t chunks_of(uint64_t bytes)
{
	return bytes ? (bytes + SEALED_CHUNK - 1) / SEALED_CHUNK : 1;
}

uint64_t sealed_body_bytes(uint64_t bytes)
{
	return KEY_MARK + bytes + chunks_of(bytes) * SEAL_TAG;
}

struct sealed_body {
	struct keyring *keyring;
	struct data_key *key;
	struct id id;
	struct key_mark mark;
	uint32_t chunk; /* the next one */
	bool begun;	/* its mark is out */
	struct buf rest;
};

struct sealed_body *sealed_body_new(struct keyring *keyring,
				    struct data_key *key, const struct id *id,
				    struct err *err)
{
	struct key_mark mark;
	struct sealed_body *body;

	if (data_key_mark(key, &mark, err) < 0)
		return NULL;
	body = mem_alloc(sizeof(*body));
	body->keyring = keyring;
	body->key = key;
	body->id = *id;
	body->mark = mark;
	data_key_hold(key);
	return body;
}

void sealed_body_free(struct sealed_body *body)
{
	if (!body)
		return;
	data_key_let(body->key);
	buf_release(&body->rest);
	free(body);
}

static int add_chunk(struct sealed_body *body, struct slice bytes, bool last,
		     struct buf *out, struct err *err)
{
	char bound[BOUND];

	if (!body->begun)
		key_mark_encode(&body->mark, out);
	body->begun = true;
	bound_of(BOUND_BODY, &body->id, body->chunk, last, bound);
	if (!keyring_seal(body->keyring, &body->mark, body->chunk++,
			  slice_of(bound, sizeof(bound)), bytes, out))
		return err_set(err, "the data key %s was shredded",
			       data_key_id(body->key));
	return 0;
}

int sealed_body_add(struct sealed_body *body, struct slice bytes,
		    struct buf *out, struct err *err)
{
	while (bytes.len > 0) {
		size_t room = SEALED_CHUNK - body->rest.len;
		size_t some = bytes.len < room ? bytes.len : room;

		/* Whether a full chunk is the last shows only now. */
		if (room == 0) {
			if (add_chunk(body, buf_slice(&body->rest), false, out,
				      err) < 0)
				return -1;
			buf_clear(&body->rest);
			continue;
		}
		/* Straight from where they are, if more follow. */
		if (room == SEALED_CHUNK && bytes.len > SEALED_CHUNK) {
			if (add_chunk(body, slice_of(bytes.p, SEALED_CHUNK),
				      false, out, err) < 0)
				return -1;
			bytes = slice_from(bytes, SEALED_CHUNK);
			continue;
		}
		buf_add(&body->rest, slice_of(bytes.p, some));
		bytes = slice_from(bytes, some);
	}
	return 0;
}

int sealed_body_end(struct sealed_body *body, struct buf *out, struct err *err)
{
	return add_chunk(body, buf_slice(&body->rest), true, out, err);
}

static int open_chunk(struct keyring *keyring, const struct id *id,
		      const struct key_mark *mark, uint64_t number,
		      uint64_t count, struct slice sealed, struct buf *out,
		      struct err *err)
{
	char bound[BOUND];

	bound_of(BOUND_BODY, id, (uint32_t)number, number + 1 == count, bound);
	if (keyring_open(keyring, mark, (uint32_t)number,
			 slice_of(bound, sizeof(bound)), sealed, out))
		return 0;
	if (!keyring_knows(keyring, mark))
		return err_set(err, "message %s: its data key is not here",
			       id->text);
	return err_set(err, "message %s: chunk %llu of its body was changed",
		       id->text, (unsigned long long)number);
}

static uint64_t chunk_bytes(uint64_t bytes, uint64_t number)
{
	uint64_t left = bytes - number * SEALED_CHUNK;

	return left < SEALED_CHUNK ? left : SEALED_CHUNK;
}

int sealed_body_open(struct keyring *keyring, const struct id *id,
		     uint64_t bytes, uint64_t from, size_t len,
		     sealed_read_fn *read, void *ctx, struct buf *out,
		     struct err *err)
{
	uint64_t count = chunks_of(bytes), number = from / SEALED_CHUNK;
	struct buf sealed = BUF_INIT, plain = BUF_INIT;
	struct key_mark mark;
	struct slice head;
	int result = -1;

	if (read(ctx, 0, KEY_MARK, &sealed, err) < 0)
		goto out;
	head = buf_slice(&sealed);
	key_mark_decode(&head, &mark);
	for (uint64_t end = from + len; number < count; number++) {
		uint64_t begins = number * SEALED_CHUNK;
		uint64_t size = chunk_bytes(bytes, number);
		struct slice part;

		if (begins >= end && number > from / SEALED_CHUNK)
			break;
		buf_clear(&sealed);
		buf_clear(&plain);
		if (read(ctx, KEY_MARK + number * (SEALED_CHUNK + SEAL_TAG),
			 (size_t)size + SEAL_TAG, &sealed, err) < 0 ||
		    open_chunk(keyring, id, &mark, number, count,
			       buf_slice(&sealed), &plain, err) < 0)
			goto out;
		part = buf_slice(&plain);
		if (begins + part.len > end)
			part.len = (size_t)(end - begins);
		if (from > begins)
			part = slice_from(part, (size_t)(from - begins));
		buf_add(out, part);
	}
	result = 0;
out:
	buf_release(&sealed);
	buf_release(&plain);
	return result;
}

bool sealed_body_has_key(struct keyring *keyring, struct slice head)
{
	struct key_mark mark;

	return key_mark_decode(&head, &mark) && keyring_knows(keyring, &mark);
}
