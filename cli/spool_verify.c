#include "cli/spool_verify.h"
#include "base/file.h"
#include "base/map.h"
#include "spool/sealed.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
	PIECE_BYTES = 64 * 1024
};

struct body {
	enum body_verdict verdict;
	bool sealed; /* so are the texts of its attempts and states */
	struct body *next;
};

struct spool_verify {
	char *dir, *evidence;	 /* evidence: NULL if none is needed */
	struct keyring *keyring; /* or NULL */
	uint64_t broken_seals;
	struct spool_ledger *ledger;
	struct map bodies; /* by id */
	struct body *first_body;
	struct slice *paths, *opened; /* room for decoding */
	uint32_t first;		      /* segment of the spool; 0: none */
	struct spool_range *ranges;
	size_t range_count;
	uint32_t *missing;
	size_t missing_count;
};

static const char *const verdict_names[] = {
	[BODY_VERIFIED] = "verified",	   [BODY_UNVERIFIED] = "unverified",
	[BODY_SEALED] = "sealed",	   [BODY_GONE] = "gone",
	[BODY_MISSING] = "missing",	   [BODY_SIZE] = "another size",
	[BODY_SHA256] = "another SHA-256", [BODY_SEAL] = "a broken seal",
};

const char *body_verdict_name(enum body_verdict verdict)
{
	return verdict_names[verdict];
}

bool body_verdict_is_bad(enum body_verdict verdict)
{
	return verdict >= BODY_MISSING;
}

/* Bodies. */

/*
 * The recorded hash is over the bytes as they came, without the Received field
 * that session_data.c put before them.  How many lines that field has follows
 * from the record.  0: this is not that field.
 */
static size_t trace_length(const struct record_message *m, struct slice body)
{
	size_t lines = 3 + (m->tls.len > 0) + (m->envelope_count == 1);
	struct slice rest = body;

	if (!slice_starts(rest, "Received: from "))
		return 0;
	for (size_t i = 0; i < lines; i++) {
		ptrdiff_t end = slice_find(rest, '\n');

		if (end < 1 || rest.p[end - 1] != '\r' ||
		    (i > 0 && rest.p[0] != '\t'))
			return 0;
		rest = slice_from(rest, (size_t)end + 1);
	}
	return body.len - rest.len;
}

static enum body_verdict compare(const struct record_message *m,
				 struct digest *digest)
{
	unsigned char sha256[DIGEST_LEN];

	digest_end(digest, sha256);
	return memcmp(sha256, m->sha256, DIGEST_LEN) == 0 ? BODY_VERIFIED :
							    BODY_SHA256;
}

static enum body_verdict judge_file(const struct record_message *m, FILE *file)
{
	char *piece = mem_alloc(PIECE_BYTES);
	size_t got = fread(piece, 1, PIECE_BYTES, file);
	size_t trace = trace_length(m, slice_of(piece, got));
	struct digest *digest = digest_new();
	uint64_t bytes = got;
	enum body_verdict verdict;

	digest_add(digest, slice_of(piece + trace, got - trace));
	while ((got = fread(piece, 1, PIECE_BYTES, file)) > 0) {
		digest_add(digest, slice_of(piece, got));
		bytes += got;
	}
	if (ferror(file))
		verdict = BODY_MISSING;
	else if (bytes != m->body_bytes)
		verdict = BODY_SIZE;
	else if (trace == 0)
		verdict = BODY_UNVERIFIED;
	else
		verdict = compare(m, digest);
	digest_free(digest);
	free(piece);
	return verdict;
}

/* Where a sealed body lies: in memory, or in a file. */
struct sealed_source {
	struct slice bytes;
	FILE *file; /* or NULL */
};

static int read_sealed(void *ctx, uint64_t at, size_t len, struct buf *out,
		       struct err *err)
{
	const struct sealed_source *source = ctx;

	if (!source->file) {
		if (at + len > source->bytes.len)
			return err_set(err, "ends too early");
		buf_add(out, slice_of(source->bytes.p + at, len));
		return 0;
	}
	buf_reserve(out, len);
	if (fseek(source->file, (long)at, SEEK_SET) < 0 ||
	    fread(out->p + out->len, 1, len, source->file) != len)
		return err_set(err, "ends too early");
	out->len += len;
	return 0;
}

static enum body_verdict judge_sealed(const struct spool_verify *verify,
				      const struct record_message *m,
				      struct sealed_source *source,
				      uint64_t bytes)
{
	enum body_verdict verdict = BODY_VERIFIED;
	struct buf piece = BUF_INIT;
	struct digest *digest;
	size_t trace;

	if (bytes != sealed_body_bytes(m->body_bytes))
		return BODY_SIZE;
	if (!verify->keyring ||
	    read_sealed(source, 0, KEY_MARK, &piece, NULL) < 0 ||
	    !sealed_body_has_key(verify->keyring, buf_slice(&piece))) {
		buf_release(&piece);
		return BODY_SEALED;
	}
	digest = digest_new();
	for (uint64_t at = 0; at < m->body_bytes; at += PIECE_BYTES) {
		uint64_t left = m->body_bytes - at;

		buf_clear(&piece);
		if (sealed_body_open(verify->keyring, &m->id, m->body_bytes, at,
				     left < PIECE_BYTES ? (size_t)left :
							  PIECE_BYTES,
				     read_sealed, source, &piece, NULL) < 0) {
			verdict = BODY_SEAL;
			break;
		}
		trace = at == 0 ? trace_length(m, buf_slice(&piece)) : 0;
		if (at == 0 && trace == 0)
			verdict = BODY_UNVERIFIED;
		digest_add(digest, slice_from(buf_slice(&piece), trace));
	}
	if (verdict == BODY_VERIFIED)
		verdict = compare(m, digest);
	digest_free(digest);
	buf_release(&piece);
	return verdict;
}

static enum body_verdict judge_inline(const struct spool_verify *verify,
				      const struct record_message *m)
{
	size_t trace = trace_length(m, m->body);
	struct digest *digest;
	enum body_verdict verdict;

	/* Evidence of a segment that is gone has no bodies. */
	if (m->body.len == 0)
		return BODY_MISSING;
	if (m->sealed) {
		struct sealed_source source = { .bytes = m->body };

		return judge_sealed(verify, m, &source, m->body.len);
	}
	if (m->body.len != m->body_bytes)
		return BODY_SIZE;
	if (trace == 0)
		return BODY_UNVERIFIED;
	digest = digest_new();
	digest_add(digest, slice_from(m->body, trace));
	verdict = compare(m, digest);
	digest_free(digest);
	return verdict;
}

static enum body_verdict judge_sealed_file(const struct spool_verify *verify,
					   const struct record_message *m,
					   FILE *file)
{
	struct sealed_source source = { .file = file };
	struct stat st;

	if (fstat(fileno(file), &st) < 0)
		return BODY_MISSING;
	return judge_sealed(verify, m, &source, (uint64_t)st.st_size);
}

static enum body_verdict judge_side(const struct spool_verify *verify,
				    const struct record_message *m)
{
	char *path = mem_printf("%s/%s.msg", verify->dir, m->id.text);
	FILE *file = fopen(path, "re");
	enum body_verdict verdict = BODY_MISSING;

	if (file) {
		verdict = m->sealed ? judge_sealed_file(verify, m, file) :
				      judge_file(m, file);
		fclose(file);
	}
	free(path);
	return verdict;
}

/* A message that moved has its bytes where its last record is. */
static void judge_body(struct spool_verify *verify,
		       const struct record_message *m)
{
	struct slice key = slice_of(m->id.text, ID_LEN);
	struct body *body = map_get(&verify->bodies, key);

	if (!body) {
		body = mem_alloc(sizeof(*body));
		body->next = verify->first_body;
		verify->first_body = body;
		map_put(&verify->bodies, key, body);
	}
	body->verdict =
		m->side_file ? judge_side(verify, m) : judge_inline(verify, m);
}

/* The ledger reads it as it was before it was sealed. */
static void put_opened(struct spool_verify *verify,
		       const struct scan_record *record,
		       const struct record_message *sealed)
{
	struct buf text = BUF_INIT, payload = BUF_INIT;
	struct scan_record opened = *record;
	struct record_message m;
	size_t unopened = 0;

	sealed_message_open(verify->keyring, sealed, &text, verify->opened, &m,
			    &unopened);
	if (verify->keyring &&
	    sealed_text_has_key(verify->keyring, SEALED_REVERSE_PATH,
				sealed->reverse_path))
		verify->broken_seals += unopened;
	record_message_encode(&m, &payload);
	opened.payload = buf_slice(&payload);
	spool_ledger_put(verify->ledger, &opened);
	buf_release(&text);
	buf_release(&payload);
}

static void put_message(struct spool_verify *verify,
			const struct scan_record *record)
{
	struct record_message m;

	if (record_message_decode(record->payload, &m, verify->paths, NULL) < 0)
		spool_ledger_put(verify->ledger, record); /* counts it */
	else {
		if (m.sealed)
			put_opened(verify, record, &m);
		else
			spool_ledger_put(verify->ledger, record);
		judge_body(verify, &m);
	}
}

enum body_verdict spool_verify_body(const struct spool_verify *verify,
				    const struct ledger_message *message)
{
	const struct body *body =
		map_get(&verify->bodies, slice_of(message->id.text, ID_LEN));
	enum body_verdict verdict = body ? body->verdict : BODY_MISSING;

	/* The daemon takes a side file away once its message is final, and
	 * the body of an inline one with its segment. */
	if (ledger_message_is_final(message) &&
	    (verdict == BODY_MISSING ||
	     (message->side_file && body_verdict_is_bad(verdict))))
		return BODY_GONE;
	return verdict;
}

/* A text of an attempt or a state; it is not shown, only tried. */
static void check_text(struct spool_verify *verify, enum sealed_field field,
		       const struct id *id, uint32_t envelope,
		       struct slice text)
{
	const struct body *body =
		map_get(&verify->bodies, slice_of(id->text, ID_LEN));
	struct buf plain = BUF_INIT;

	if (body && body->sealed &&
	    sealed_text_has_key(verify->keyring, field, text) &&
	    !sealed_text_open(verify->keyring, field, id, envelope, text,
			      &plain))
		verify->broken_seals++;
	buf_release(&plain);
}

static void check_attempt(struct spool_verify *verify, struct slice payload)
{
	struct record_attempt a;

	if (record_attempt_decode(payload, &a, NULL) == 0 && !a.begin)
		check_text(verify, SEALED_REPLY, &a.id, a.envelope, a.reply);
}

static void check_state(struct spool_verify *verify, struct slice payload)
{
	struct record_state s;

	if (record_state_decode(payload, &s, NULL) == 0)
		check_text(verify, SEALED_REASON, &s.id, s.envelope, s.reason);
}

/* Segments. */

static int on_record(void *ctx, const struct scan_record *record,
		     struct err *err)
{
	struct spool_verify *verify = ctx;

	if (record->kind == RECORD_MESSAGE) {
		put_message(verify, record);
		return 0;
	}
	spool_ledger_put(verify->ledger, record);
	if (verify->keyring && record->kind == RECORD_ATTEMPT)
		check_attempt(verify, record->payload);
	else if (verify->keyring)
		check_state(verify, record->payload);
	return 0;
}

static void on_bad(void *ctx, const struct scan_bad *bad)
{
	struct spool_verify *verify = ctx;

	verify->ranges =
		mem_grow(verify->ranges,
			 (verify->range_count + 1) * sizeof(*verify->ranges));
	verify->ranges[verify->range_count++] = (struct spool_range){
		.segment = bad->segment,
		.offset = bad->offset,
		.length = bad->length,
		.damaged = bad->damaged,
	};
}

/* Evidence of a segment that is still there was not finished: the segment
 * itself says it all.  Segments go oldest first. */
static int on_old_record(void *ctx, const struct scan_record *record,
			 struct err *err)
{
	struct spool_verify *verify = ctx;

	if (verify->first && record->segment >= verify->first)
		return 0;
	return on_record(ctx, record, err);
}

static void on_old_bad(void *ctx, const struct scan_bad *bad)
{
	struct spool_verify *verify = ctx;

	if (!verify->first || bad->segment < verify->first)
		on_bad(ctx, bad);
}

static bool is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The lowest number of a segment in `dir`; 0: there is none. */
static uint32_t first_segment(const char *dir)
{
	DIR *entries = opendir(dir);
	struct dirent *entry;
	uint32_t first = 0;

	while (entries && (entry = readdir(entries))) {
		struct slice name = slice(entry->d_name);
		uint64_t number;

		if (name.len == 12 && slice_ends_nocase(name, ".seg") &&
		    slice_u64(slice_of(name.p, 8), &number) &&
		    (first == 0 || number < first))
			first = (uint32_t)number;
	}
	if (entries)
		closedir(entries);
	return first;
}

static bool has_segment(const char *dir, uint32_t number)
{
	char *path = mem_printf("%s/%08u.seg", dir, number);
	bool has = file_exists(path);

	free(path);
	return has;
}

/* The writer numbers from 1 and skips nothing that it could create. */
static void find_missing(struct spool_verify *verify, uint32_t end)
{
	for (uint32_t number = 1; number < end; number++) {
		if (has_segment(verify->dir, number) ||
		    (verify->evidence && has_segment(verify->evidence, number)))
			continue;
		verify->missing =
			mem_grow(verify->missing, (verify->missing_count + 1) *
							  sizeof(uint32_t));
		verify->missing[verify->missing_count++] = number;
	}
}

static int read_all(struct spool_verify *verify, struct err *err)
{
	static const struct scan_visitor visitor = { .on_record = on_record,
						     .on_bad = on_bad,
						     .past_unreadable = true };
	static const struct scan_visitor old = { .on_record = on_old_record,
						 .on_bad = on_old_bad,
						 .files_are_whole = true,
						 .past_unreadable = true };
	struct scan_result result, before = { 0 };

	if (verify->evidence &&
	    scan_dir(verify->evidence, 0, 0, &old, verify, &before, err) < 0)
		return -1;
	if (scan_dir(verify->dir, 0, 0, &visitor, verify, &result, err) < 0)
		return -1;
	find_missing(verify, result.next_segment > before.next_segment ?
				     result.next_segment :
				     before.next_segment);
	return 0;
}

/* Sets `dir` and `evidence`. */
static bool find_spool(struct spool_verify *verify, const char *dir)
{
	char *inside = mem_printf("%s/spool", dir);
	bool is_state = !first_segment(dir) && is_dir(inside);
	char *evidence =
		mem_printf("%s%s/evidence", dir, is_state ? "" : "/..");

	verify->dir = mem_dup(is_state ? inside : dir);
	verify->first = first_segment(verify->dir);
	/* Nothing older than segment 1 was cleared out: evidence that lies
	 * beside such a spool is none of its. */
	if (verify->first != 1 && is_dir(evidence))
		verify->evidence = mem_dup(evidence);
	free(inside);
	free(evidence);
	return is_state || verify->first;
}

/* What is beside the spool: `spool` is DIR/spool. */
static int load_keys(struct spool_verify *verify, const char *master_key,
		     struct err *err)
{
	char *state = mem_printf("%s/..", verify->dir);
	int result;

	verify->keyring = keyring_new();
	result = keyring_read_master(verify->keyring, master_key, err);
	if (result == 0)
		result = keyring_load_all(verify->keyring, state, err);
	free(state);
	return result;
}

struct spool_verify *spool_verify_run(const char *dir, const char *master_key,
				      bool *is_spool, struct err *err)
{
	struct spool_verify *verify = mem_alloc(sizeof(*verify));

	verify->ledger = spool_ledger_new();
	verify->paths = mem_alloc(RECORD_MAX_ENVELOPES * sizeof(struct slice));
	verify->opened = mem_alloc(RECORD_MAX_ENVELOPES * sizeof(struct slice));
	*is_spool = find_spool(verify, dir);
	if (!*is_spool) {
		if (is_dir(dir))
			err_set(err,
				"%s is no spool: it has neither segments "
				"(00000001.seg) nor a folder spool",
				dir);
		else
			err_set(err, "%s is no folder", dir);
		goto fail;
	}
	if ((master_key && load_keys(verify, master_key, err) < 0) ||
	    read_all(verify, err) < 0)
		goto fail;
	return verify;
fail:
	spool_verify_free(verify);
	return NULL;
}

void spool_verify_free(struct spool_verify *verify)
{
	struct body *body;

	if (!verify)
		return;
	while ((body = verify->first_body)) {
		verify->first_body = body->next;
		free(body);
	}
	map_release(&verify->bodies);
	spool_ledger_free(verify->ledger);
	keyring_free(verify->keyring);
	free(verify->paths);
	free(verify->opened);
	free(verify->ranges);
	free(verify->missing);
	free(verify->dir);
	free(verify->evidence);
	free(verify);
}

const char *spool_verify_dir(const struct spool_verify *verify)
{
	return verify->dir;
}

uint64_t spool_verify_broken_seals(const struct spool_verify *verify)
{
	return verify->broken_seals;
}

struct spool_ledger *spool_verify_ledger(const struct spool_verify *verify)
{
	return verify->ledger;
}

const struct spool_range *spool_verify_ranges(const struct spool_verify *verify,
					      size_t *count)
{
	*count = verify->range_count;
	return verify->ranges;
}

const uint32_t *spool_verify_missing_segments(const struct spool_verify *verify,
					      size_t *count)
{
	*count = verify->missing_count;
	return verify->missing;
}
